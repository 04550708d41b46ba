"""A maker-only run on the paper venue: no taker fill, one attempt an order, no churn (G7, T4)."""

from __future__ import annotations

import random

import asyncpg
import pytest

from app.venue.interface import Side
from app.venue.matching import Level
from tests.support.life import SHARE, call, market_row, token
from tests.support.worker import Rig, rig_fixture  # noqa: F401 - the fixture
from workers.worker.paper_host import PaperHost

CENT = 10_000
UP = token("m1", 0)
ROUNDS = 24


async def open_market(rig: Rig) -> None:
    """Known to the venue before the first order, so that its book can be set."""
    row = market_row("m1")
    tokens = [one["token_id"] for one in row["outcomes"]]
    await rig.venue.register_market(
        row["condition_id"], tokens, row["tick_micros"], row["min_size_micros"]
    )


async def book_at_venue(rig: Rig, bid: int, ask: int) -> None:
    def level(side: Side, cents: int) -> Level:
        return Level(side, cents * CENT, 500 * SHARE, 500 * SHARE)

    assert await rig.venue.load_books({UP: (level(Side.BUY, bid), level(Side.SELL, ask))}) == []


async def book_in_ledger(rig: Rig, bid: int, ask: int) -> None:
    sides = {"bids": [[bid * CENT, 500 * SHARE]], "asks": [[ask * CENT, 500 * SHARE]]}
    assert await call(rig.owner, "note_books", [{"token_id": UP, "age_ms": 0, **sides}]) == 1


async def settled_at_venue(rig: Rig) -> None:
    """Nothing is on its way: each order rests or has ended."""
    await rig.until(
        "SELECT NOT EXISTS (SELECT FROM ledger.orders WHERE state IN ('RESERVED', 'PREPARED', 'SENDING', "
        "'HELD_BACK', 'UNKNOWN', 'DELAYED'))"
    )


async def note_nothing(host: PaperHost, notes: object) -> bool:
    """In place of the worker's own notes of the paper books: the test says what the ledger has heard."""
    return False


async def check_that_all_were_makers(rig: Rig, asked: int) -> list[asyncpg.Record]:
    """One order and one attempt for each wish, makers by our own truth and by the venue's."""
    fills = await rig.owner.fetch("SELECT * FROM audit.fills")
    assert {(row["liquidity"], row["liquidity_source"]) for row in fills} == {
        ("maker", "post_only")
    }
    assert {row["is_maker"] for row in fills} == {True}
    assert await rig.owner.fetchval(
        "SELECT bool_and(is_maker) FROM paper.trade_part WHERE account = 'main'"
    )
    orders = list(await rig.owner.fetch("SELECT * FROM ledger.orders"))
    assert len(orders) == asked
    assert {row["attempts"] for row in orders} == {1}
    assert {row["cause"] for row in orders if row["state"] == "REJECTED"} <= {"POST_ONLY_CROSSES"}
    assert not any(row["crossed"] for row in orders)
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.cancel_request") == 0
    await rig.check_sound()
    return orders


async def sell_through(rig: Rig) -> None:
    """Somebody sells to everything that rests."""
    await book_at_venue(rig, 1, 2)
    await rig.until("SELECT count(*) > 0 AND bool_and(settlement = 'confirmed') FROM ledger.fill")
    await rig.until_resolved()


@pytest.mark.slow
async def test_orders_that_may_only_make_never_take_and_are_never_asked_for_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot that always bids through the offer, while the market moves and the ledger's book is now and
    then a step behind: what crosses there is moved, what crosses at the venue is refused once.
    """
    monkeypatch.setattr(PaperHost, "note_books", note_nothing)
    for name in ("max_outcome_micros", "max_market_micros"):
        await rig.limit(name, None)
    await open_market(rig)
    rng = random.Random(7)
    mid, clamped, behind = 50, 0, 0
    async with rig.inside():
        for n in range(ROUNDS):
            mid = min(max(mid + rng.choice([-3, -2, -1, 1, 2, 3]), 20), 80)
            if n % 4 == 3:
                # The offer comes down at the venue and the ledger has not heard of it.
                behind += 1
                await book_in_ledger(rig, mid + 4, mid + 6)
            else:
                await book_in_ledger(rig, mid - 1, mid + 1)
            await book_at_venue(rig, mid - 1, mid + 1)
            wish = rig.request("m1", mid + 2 if n % 4 != 3 else mid + 5, post_only=True, clamp=True)
            [answer] = await rig.ask(wish)
            assert answer["status"] == "admitted", answer
            clamped += answer["price_micros"] < wish["price_micros"]
            await settled_at_venue(rig)
        await sell_through(rig)
    orders = await check_that_all_were_makers(rig, ROUNDS)
    assert clamped == ROUNDS - behind
    refused = [row for row in orders if row["state"] == "REJECTED"]
    # The outside market moves by itself too, between the ledger's book and the order's arrival.
    assert 0 < len(refused) <= 2 * behind


async def test_a_bot_that_will_not_learn_is_stopped_after_a_few_refusals(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same crossing wish on every tick, and no book in the ledger to hold it against."""
    monkeypatch.setattr(PaperHost, "note_books", note_nothing)
    await open_market(rig)
    await book_at_venue(rig, 49, 51)
    codes: list[str] = []
    async with rig.inside():
        for _ in range(12):
            wish = rig.request("m1", 60, post_only=True, clamp=True)
            for _ in range(2):  # a tick, and the same tick in doubt: one key asks once
                [answer] = await rig.ask(wish)
                codes.append(answer.get("code", "admitted"))
                await settled_at_venue(rig)
    rows = await rig.owner.fetch("SELECT state, cause, attempts FROM ledger.orders")
    assert [tuple(row) for row in rows] == [("REJECTED", "POST_ONLY_CROSSES", 1)] * 3
    assert codes == ["admitted"] * 6 + ["BREAKER"] * 18
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.fill") == 0
