"""Who is halted for holdings that differ, and which foreign orders are cancelled: by the ledger's rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from app.observe import logs
from app.observe.logs import Logger
from app.reconcile.compare import Difference, DriftClass
from app.venue.interface import CancelAccepted, CancelOutcome
from tests.support.life import Life, call
from workers.holdings import HoldingsSeen, cancel_foreign_orders, halt_for_holdings
from workers.worker.context import Context


@dataclass
class Calls:
    """`LedgerCalls` over the one connection of a test."""

    life: Life

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.life.conn.fetch(query, *arguments)]

    async def value(self, function: str, *arguments: Any) -> Any:
        return await call(self.life.conn, function, *arguments)


@dataclass
class Venue:
    """Takes every cancel, and remembers each request."""

    asked: list[list[str]] = field(default_factory=list)

    async def cancel(self, account: str, ids: Sequence[str]) -> list[CancelOutcome]:
        self.asked.append(list(ids))
        return [CancelAccepted("") for _ in ids]


@dataclass
class Only:
    """As much of a `Context` as is needed."""

    calls: Calls
    venue: Venue = field(default_factory=Venue)

    def named(self, component: str) -> Logger:
        return logs.get_logger(component)


def context(life: Life) -> tuple[Context, Venue]:
    only = Only(Calls(life))
    return cast(Context, only), only.venue


async def test_the_same_finding_halts_each_account_that_has_it_and_once(life: Life) -> None:
    await life.open_account("other")
    one = Difference("collateral_differs", "collateral", "10000000000", "0", DriftClass.HALT)
    for name in (life.account, "other", life.account):
        await halt_for_holdings(context(life)[0], name, HoldingsSeen((one,)))
    halted = await life.conn.fetch("SELECT scope_id FROM ledger.halt ORDER BY halt_id")
    assert len(halted) == len({row["scope_id"] for row in halted}) == 2


async def foreign(life: Life, venue_order_id: str, status: str = "LIVE") -> None:
    order = {"account": life.account, "venue_order_id": venue_order_id, "status": status}
    rest = {"raw_status": status, "size_matched_micros": 0, "source": "read"}
    await life.item("observe_orders", **order, **rest)


async def test_every_foreign_order_is_cancelled_however_many_nobody_resolved(life: Life) -> None:
    ids = [f"0x{number:064x}" for number in range(250)]
    for one in ids:
        await foreign(life, one)
    worker, venue = context(life)
    assert await cancel_foreign_orders(worker, life.account) == dict.fromkeys(ids, "taken off")
    assert sorted(one for request in venue.asked for one in request) == ids
    assert max(map(len, venue.asked)) <= 100


async def test_an_id_that_the_venue_may_call_invalid_voids_no_other_cancel(life: Life) -> None:
    for one in ("0x12", f"0x{1:064x}", "strange"):
        await foreign(life, one)
    worker, venue = context(life)
    await cancel_foreign_orders(worker, life.account)
    assert sorted(venue.asked) == [[f"0x{1:064x}"], ["0x12"], ["strange"]]


async def test_a_foreign_order_that_a_read_has_shown_ended_is_not_cancelled(life: Life) -> None:
    await foreign(life, f"0x{1:064x}", "CANCELLED")
    await foreign(life, f"0x{2:064x}")
    worker, venue = context(life)
    await cancel_foreign_orders(worker, life.account)
    assert venue.asked == [[f"0x{2:064x}"]]
