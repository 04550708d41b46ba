"""The demo on the paper venue, which lives in the demo's own database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from app.clock import Ports, Rng
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from app.money import parse_micros
from app.venue.paper import Fault, PaperBook
from workers.demo.exposure import VenueMoment
from workers.demo.facts import Trade
from workers.demo.script import Ground
from workers.demo.stage import DemoMarket, Stage
from workers.demo.venues import Patience, VenueFacts, statement
from workers.worker.context import Context
from workers.worker.main import open_context
from workers.worker.paper_host import PaperHost


class OnPaper:
    """A `DemoVenue`."""

    patience: Final = Patience(dies=4.0, settles=30.0)
    reconciliations: Final = 1

    def __init__(self, stage: Stage, context: Context, host: PaperHost, rng: Rng) -> None:
        self._stage = stage
        self._context = context
        self._host = host
        self._rng = rng
        self._stack = AsyncExitStack()

    @classmethod
    async def open(cls, stage: Stage, ports: Ports, rng: Rng) -> OnPaper:
        stack = AsyncExitStack()
        context = await stack.enter_async_context(
            open_context(stage.settings, ports, stage.url("worker"))
        )
        host = context.host
        assert isinstance(host, PaperHost), "the demo's settings name the paper venue"
        venue = cls(stage, context, host, rng)
        venue._stack = stack
        return venue

    async def aclose(self) -> None:
        await self._stack.aclose()

    async def worker_env(self) -> dict[str, str]:
        return self._stage.worker_env()

    async def grounds(self) -> list[Ground]:
        pool = await open_pool(self._stage.owner_url, role_hint="demo", max_size=1)
        try:
            book = PaperBook(pool)
            return [await self._ground(market, book) for market in self._stage.cast.markets]
        finally:
            pool.terminate()

    async def _ground(self, market: DemoMarket, book: PaperBook) -> Ground:
        await self._host.venue.register_market(
            market.condition_id,
            market.tokens,
            market.tick_micros,
            market.min_size_micros,
            fee_rate_ppm=market.record.fee_rate_micros or 0,
        )
        bids, asks = [], []
        for token in market.tokens:
            quotes = await book.quotes(token)
            bids.append(
                max((one.price_micros for one in quotes if one.side == "BUY"), default=400_000)
            )
            asks.append(
                min((one.price_micros for one in quotes if one.side == "SELL"), default=600_000)
            )
        return Ground(market, (bids[0], bids[1]), (asks[0], asks[1]))

    async def misbehave(self, number: int) -> None:
        """So that fates are unknown for other reasons than kills, too. All of it at the start."""
        for op, kind, every, times, fault in _FAULTS if number == 0 else ():
            for nth in range(times):
                skip = every * nth + self._rng.bits(16) % every
                await self._host.venue.faults.inject(op, kind, skip=skip, fault=fault)

    async def behave(self) -> None:
        """Nothing: what was ordered is counted and comes to its end by itself."""

    async def let_time_pass(self) -> None:
        while True:
            for name, one_pass, _ in self._host.passes(self._context):
                if name == "pace":
                    await one_pass()
            await self._context.ports.clock.sleep(0.15)

    async def unsettled(self, ledger: LedgerCalls) -> Sequence[tuple[str, int]]:
        """Nothing that the ledger's own query, which sees the paper venue's schema, does not count."""
        return ()

    async def facts(self, ledger: LedgerCalls) -> VenueFacts:
        return VenueFacts(
            book=tuple(await PaperBook(ledger.pool).all_orders()),
            trades=tuple(
                Trade(
                    row["trade_id"],
                    row["venue_order_id"] or "",
                    row["size_micros"],
                    row["price_micros"],
                    row["status"].lower(),
                )
                for row in await ledger.rows(statement("venue_trades"))
            ),
            moments=_moments(await ledger.rows(statement("venue_events"))),
        )


def _moments(rows: Sequence[Mapping[str, Any]]) -> tuple[VenueMoment, ...]:
    moments = []
    for row in rows:
        frame = json.loads(row["payload"])
        is_trade = frame["event_type"] == "trade"
        moments.append(
            VenueMoment(
                row["at_ms"],
                row["account"],
                frame["order_id"] if is_trade else frame["id"],
                frame["asset_id"],
                frame["side"],
                frame["status"],
                parse_micros(frame["size"] if is_trade else frame["original_size"], what="size"),
                0 if is_trade else parse_micros(frame["size_matched"], what="size_matched"),
                frame["id"] if is_trade else "",
            )
        )
    return tuple(moments)


_FAULTS: Final = (
    ("place", "drop_answer", 40, 4, Fault("drop_answer")),
    ("place", "lost_request", 60, 3, Fault("lost_request")),
    ("place", "appear_late", 70, 3, Fault("appear_late", late_ms=900)),
    ("place", "http", 45, 3, Fault("http", http_status=425, retry_after_ms=400, text="restarting")),
    ("place", "http", 80, 2, Fault("http", http_status=503, retry_after_ms=300, text="disabled")),
    ("place", "delay", 50, 3, Fault("delay", before_ms=250, after_ms=150)),
    ("cancel", "drop_answer", 12, 2, Fault("drop_answer")),
    ("cancel", "cancel_miss", 15, 2, Fault("cancel_miss")),
    ("cancel", "http", 20, 1, Fault("http", http_status=429, retry_after_ms=300, text="slow down")),
    ("order", "unread", 20, 2, Fault("unread")),
    ("order", "null", 30, 1, Fault("null")),
    ("events", "silent", 20, 2, Fault("silent")),
)
"""Operation, kind, about every how many calls, how often, and what exactly."""
