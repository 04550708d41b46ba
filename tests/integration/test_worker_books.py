"""What a worker tells the ledger beside the send path: books for limits on prices, and whose matter a refusal is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from app.venue.interface import Side
from app.venue.matching import Level
from tests.support.life import SHARE, token
from tests.support.polymarket_rig import PolymarketRig, pm_fixture  # noqa: F401 - the fixture
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401 - the fixture
from workers.worker import book_notes
from workers.worker.book_notes import BookNotes, Noted

BOOK = "SELECT b.bids, b.asks FROM ledger.book b JOIN ledger.outcome o USING (market_id, outcome) WHERE o.token_id = $1"


async def quote(rig: Rig, bid: int, ask: int, market: str = "m1") -> None:
    levels = (
        Level(Side.BUY, bid, 50 * SHARE, 50 * SHARE),
        Level(Side.SELL, ask, 50 * SHARE, 50 * SHARE),
    )
    assert await rig.venue.load_books({token(market, 0): levels}) == []


async def told(rig: Rig, bid: int, ask: int, market: str = "m1") -> None:
    """Until the ledger holds these best prices."""

    async def is_there() -> bool:
        row = await rig.owner.fetchrow(BOOK, token(market, 0))
        return row is not None and (row["bids"][:1], row["asks"][:1]) == ([bid], [ask])

    await until(is_there, f"the book {bid}/{ask} of {market} is told")


async def test_the_paper_venues_books_reach_the_ledger_and_limits_judge_by_them(rig: Rig) -> None:
    await rig.limit("collar_micros", 20_000)
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        [first] = await rig.ask(rig.request(cents=5))
        assert first["code"] == "NO_BOOK", "nobody had asked for this market before"
        await rig.until("SELECT count(*) = 2 FROM ledger.book")
        await quote(rig, 480_000, 500_000)
        await told(rig, 480_000, 500_000)
        far, near = await rig.ask(rig.request(cents=60), rig.request(cents=50, post_only=True))
        assert (far["code"], near["code"]) == ("COLLAR", "WOULD_CROSS")
        order_id = await rig.reserve(cents=49)
        await rig.until_state(order_id, "LIVE")
        await told(rig, 490_000, 500_000)  # our own order is a part of the book
        assert await rig.owner.fetchval("SELECT count(DISTINCT market_id) FROM ledger.book") == 1


async def test_a_market_in_which_nothing_is_at_stake_is_not_told(rig: Rig) -> None:
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        order_id = await rig.reserve("m2")
        await rig.until_state(order_id, "LIVE")
        await rig.until("SELECT count(*) = 2 FROM ledger.book")
        slugs = await rig.owner.fetch(
            "SELECT DISTINCT m.slug FROM ledger.book JOIN ledger.market m USING (market_id)"
        )
        assert [row["slug"] for row in slugs] == ["m2"]


@dataclass
class Stub:
    """The parts of a context that notes use."""

    now_ns: int = 0
    calls: Any = None
    told: list[list[Any]] = field(default_factory=list)

    @property
    def ports(self) -> Any:
        return self

    @property
    def clock(self) -> Any:
        return self

    def monotonic_ns(self) -> int:
        return self.now_ns

    def named(self, _name: str) -> Any:
        return None

    def elapsed_ms(self, since_ns: int) -> int:
        return (self.now_ns - since_ns) // 1_000_000

    async def value(self, function: str, items: list[Any]) -> int:
        assert function == "note_books"
        self.told.append(items)
        return len(items)


async def test_an_unchanged_book_is_told_each_second_and_a_changed_one_at_once() -> None:
    stub = Stub()
    stub.calls = stub
    notes = BookNotes(stub)  # type: ignore[arg-type]
    ages = []
    for quarter in range(9):
        stub.now_ns = quarter * 250_000_000
        asks = ((500_000, SHARE),) if quarter < 6 else ((510_000, SHARE),)
        await notes.note([Noted("1", ((480_000, SHARE),), asks, stub.now_ns)])
        ages.append(len(stub.told))
    assert ages == [1, 1, 1, 1, 2, 2, 3, 3, 3]
    stub.now_ns += 5_000_000_000
    await notes.note([Noted("1", ((480_000, SHARE),), ((510_000, SHARE),), 2_000_000_000)])
    assert stub.told[-1][0]["age_ms"] == 5_000, "as old as it is, not as old as the telling"


async def test_books_go_in_calls_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_notes, "PER_CALL", 2)
    stub = Stub()
    stub.calls = stub
    await BookNotes(stub).note([Noted(str(n), (), (), 0) for n in range(5)])  # type: ignore[arg-type]
    assert [len(items) for items in stub.told] == [2, 2, 1]


async def test_rejects_of_the_paper_venue_are_our_own_matter_and_open_the_markets_breaker(
    rig: Rig,
) -> None:
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        for _ in range(3):
            order_id = await rig.reserve()
            await rig.fault("place", "http", order_id, http_status=400, text="no")
            await rig.until_state(order_id, "REJECTED")
        breakers = await rig.owner.fetch("SELECT kind, count, until FROM ledger.breaker")
        assert [(row["kind"], row["count"]) for row in breakers] == [("reject", 3)]
        assert breakers[0]["until"] is not None
        [answer] = await rig.ask(rig.request())
        assert answer["code"] == "BREAKER"


async def test_groups_follow_their_market_in_a_sweep(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.markets("m1", group_key="coins")
        await rig.until("SELECT EXISTS (SELECT FROM ledger.exposure WHERE group_key = 'coins')")
    assert await rig.owner.fetchval("SELECT sum(at_risk) FROM ledger.group_state") == 250_000
    await rig.check_sound()


async def test_the_books_of_the_market_stream_reach_the_ledger(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        # our own order is a part of that book
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.book b JOIN ledger.outcome o USING (market_id, outcome) "
            "WHERE o.token_id = $1 AND 50000 = ANY (b.bids))",
            pm.market.yes,
        )
