"""The event refresher: every ten minutes the stored markets against the venue's word for them.

A market that turns neg-risk is an error: its orders would go to another exchange, so it is halted and
everything in its event is cancelled. A changed tick, minimum or fee takes effect by being stored. What
cannot be read changes nothing: a market is touched only on what the venue says of it.
"""

from __future__ import annotations

from typing import Any, Final

from app.markets.changes import StoredMarket, plan
from app.markets.fetching import Reader
from app.markets.gamma import normal_condition
from app.markets.model import TICKS_MICROS, Reason
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
        self._told: dict[str, tuple[int | None, int]] = {}
        """By condition id the tick, None for one that no table knows, and when that was told."""
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
        ticks = self._recent_ticks()
        # Of a market that has turned to a tick nobody knows, a cache would say the old one.
        shown = [one for one in report.markets if ticks.get(one.condition_id, 0) is not None]
        usable = {condition: tick for condition, tick in ticks.items() if tick is not None}
        found = plan(stored, shown, ticks=usable)
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
        usable = condition is not None and tick_micros in TICKS_MICROS
        if not usable:
            self._log.error("TICK_UNUSABLE", market=condition_id, tick_micros=tick_micros)
        if condition is not None:
            tick = tick_micros if usable else None
            self._told[condition] = (tick, self._context.ports.clock.monotonic_ns())
            self._due.add(condition)

    async def tick_pass(self) -> bool:
        """Store the ticks that the stream told of: the ledger enforces them from the next reservation, and
        reserves nothing in a market whose tick nobody knows until one is told or read that is known.
        """
        told = {condition: self._told[condition][0] for condition in self._due}
        if not told:
            return False
        calls = self._context.calls
        rows = []
        for market in await stored_markets(calls, told):
            row = _with_tick(market, told[market.condition_id])
            if row == market.to_row():
                continue
            self._log.info(
                "TICK_CHANGED",
                market=market.condition_id,
                before=market.tick_micros,
                after=told[market.condition_id],
            )
            rows.append(row)
        if rows:
            await calls.value("import_markets", rows)
        # another tick may have been told meanwhile
        self._due = {one for one in self._due if one not in told or self._told[one][0] != told[one]}
        return False

    def _recent_ticks(self) -> dict[str, int | None]:
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


def _with_tick(market: StoredMarket, tick_micros: int | None) -> dict[str, Any]:
    """The market as a row with that tick; with None it is traded no more, and keeps the one it had."""
    row = market.to_row()
    reasons = [one for one in market.untradable_reasons if one != Reason.BAD_TICK]
    if tick_micros is None:
        return row | {"tradable": False, "untradable_reasons": [*reasons, Reason.BAD_TICK.value]}
    healed = len(reasons) < len(market.untradable_reasons) and not reasons
    return row | {
        "tick_micros": tick_micros,
        "tradable": market.tradable or healed,
        "untradable_reasons": reasons,
    }
