"""The event refresher (M2): every ten minutes the stored markets against the venue's word for them.

A market that turns neg-risk is an error: its orders would go to another exchange, so it is halted and
everything in its event is cancelled. A changed tick, minimum or fee takes effect by being stored. What
cannot be read changes nothing: a market is touched only on what the venue says of it.
"""

from __future__ import annotations

from typing import Final

from app.markets.changes import StoredMarket, plan
from app.markets.fetching import Reader
from app.markets.gamma import normal_condition
from app.markets.model import TICKS_MICROS
from app.markets.sync import Completeness, SyncReport, Wanted, sync_markets
from workers.market_store import carry_out, stored_markets
from workers.worker.context import Context

EVERY_MS: Final = 600_000
LEASE: Final = "refresher"
TICKS_EVERY_MS: Final = 250
TRUST_STREAM_MS: Final = 120_000
"""So long a tick told by the market stream is believed over the metadata, which is cached."""


class Refresher:
    """One worker at a time does it: the lease outlives a pass and lapses before the next is due."""

    def __init__(self, context: Context, reader: Reader, *, every_ms: int = EVERY_MS) -> None:
        self._context = context
        self._reader = reader
        self._every_ms = every_ms
        self._log = context.named("refresher")
        self._told: dict[str, tuple[int, int]] = {}
        self._due: set[str] = set()

    async def one_pass(self) -> bool:
        """Compare every market that may still matter, store what changed, stop what turned."""
        calls = self._context.calls
        term = await calls.value(
            "take_lease", LEASE, self._context.incarnation, self._every_ms // 2
        )
        if term is None:
            return False
        started_ns = self._context.ports.clock.monotonic_ns()
        stored = await stored_markets(calls)
        if not stored:
            return False
        wanted = Wanted(condition_ids=tuple(one.condition_id for one in stored), closed=None)
        report = await sync_markets(self._reader, self._context.ports, wanted)
        found = plan(stored, report.markets, ticks=self._recent_ticks())
        done = await carry_out(calls, found, self._log)
        self._tell(stored, report)
        self._log.info(
            "MARKETS_REFRESHED",
            state=report.state,
            markets=len(report.markets),
            changed=len(found.changes),
            stored=done.updated,
            halted=done.halted,
            cancels=done.cancels,
            latency_ms=self._context.elapsed_ms(started_ns),
        )
        return False

    def tick_changed(self, condition_id: str, tick_micros: int) -> None:
        """Told by the market stream; `tick_pass` stores it. Never waits."""
        condition = normal_condition(condition_id)
        if condition is None or tick_micros not in TICKS_MICROS:
            self._log.error("TICK_UNUSABLE", market=condition_id, tick_micros=tick_micros)
            return
        self._told[condition] = (tick_micros, self._context.ports.clock.monotonic_ns())
        self._due.add(condition)

    async def tick_pass(self) -> bool:
        """Store the ticks that the stream told of: the ledger enforces them from the next reservation."""
        told = {condition: self._told[condition][0] for condition in self._due}
        if not told:
            return False
        calls = self._context.calls
        rows = []
        for market in await stored_markets(calls, told):
            tick = told[market.condition_id]
            if market.tick_micros != tick:
                self._log.info(
                    "TICK_CHANGED",
                    market=market.condition_id,
                    before=market.tick_micros,
                    after=tick,
                )
                rows.append(market.to_row() | {"tick_micros": tick})
        if rows:
            await calls.value("import_markets", rows)
        # another tick may have been told meanwhile
        self._due = {one for one in self._due if self._told[one][0] != told.get(one)}
        return False

    def _recent_ticks(self) -> dict[str, int]:
        """What the stream told of a moment ago: a cache must not go back on it."""
        oldest_ns = self._context.ports.clock.monotonic_ns() - TRUST_STREAM_MS * 1_000_000
        self._told = {
            condition: told
            for condition, told in self._told.items()
            if told[1] >= oldest_ns or condition in self._due
        }
        return {condition: tick for condition, (tick, _) in self._told.items()}

    def _tell(self, stored: list[StoredMarket], report: SyncReport) -> None:
        if report.state is not Completeness.COMPLETE:
            self._log.warning(
                "REFRESH_INCOMPLETE", state=report.state, why="; ".join(report.why)[:500]
            )
        if report.unconfirmed:
            self._log.warning("CLOB_MARKETS_UNREAD", count=len(report.unconfirmed))
        if absent := report.absent(one.condition_id for one in stored if one.tradable):
            # said aloud and no more: a listing that hides a market does not close it
            self._log.warning("MARKETS_NOT_LISTED", count=len(absent), markets=sorted(absent)[:20])
