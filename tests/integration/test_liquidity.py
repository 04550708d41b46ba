"""Maker or taker, and how that is known, on each fill (M4)."""

from __future__ import annotations

from typing import Any

import pytest

from app.db.migrate import downgrade, upgrade
from app.roles import RolePrefix
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life
from tests.support.profit import CENT, book
from tests.support.servers import in_thread


async def fill_of(life: Life, **fill: Any) -> tuple[str, str]:
    (row,) = await life.conn.fetch("SELECT liquidity, liquidity_source FROM audit.fills")
    return row["liquidity"], row["liquidity_source"]


async def crossed(life: Life) -> bool | None:
    found: bool | None = await life.conn.fetchval(
        "SELECT crossed FROM ledger.orders ORDER BY order_id DESC LIMIT 1"
    )
    return found


@pytest.mark.parametrize(
    ("side", "cents", "expected"),
    [
        ("BUY", 52, True),
        ("BUY", 51, True),
        ("BUY", 50, False),
        ("SELL", 48, True),
        ("SELL", 49, True),
        ("SELL", 50, False),
    ],
)
async def test_an_order_knows_whether_it_crossed_the_last_good_book(
    life: Life, side: str, cents: int, expected: bool
) -> None:
    await life.add_tokens(0, 100 * SHARE)
    await book(life, 49, 51)
    await life.reserved(side=side, price_micros=cents * CENT)
    assert await crossed(life) is expected


async def test_without_a_good_book_nobody_knows(life: Life) -> None:
    await life.reserved()
    assert await crossed(life) is None
    await book(life, 49, 51)
    await life.clock.advance(30_000)
    await life.reserved(price_micros=60 * CENT)
    assert await crossed(life) is None


async def test_an_empty_side_cannot_be_crossed(life: Life) -> None:
    await book(life, 49, None)
    await life.reserved(price_micros=60 * CENT)
    assert await crossed(life) is False


async def test_a_replacement_knows_it_too(life: Life) -> None:
    await book(life, 49, 51)
    order_id = await life.live()
    await life.call("replace_order", order_id, life.request(price_micros=51 * CENT))
    await life.read(order_id, "CANCELLED")
    assert await crossed(life) is True


@pytest.mark.parametrize(
    ("order", "asks", "fill_cents", "is_maker", "expected"),
    [
        # The order's own terms come first, whatever else is said.
        ({"post_only": True}, 60, 50, False, ("maker", "post_only")),
        ({"post_only": True}, None, 50, True, ("maker", "post_only")),
        ({"order_type": "FAK"}, None, 50, True, ("taker", "crossing")),
        # It crossed: a better price than its own is the other side's, and what the venue calls a taker's is one.
        ({}, 45, 45, True, ("taker", "crossing")),
        ({}, 45, 50, False, ("taker", "crossing")),
        # The rest of it stood in the book, at its own price.
        ({}, 45, 50, True, ("maker", "venue_flag")),
        # It did not cross, or nobody knows: the venue's word.
        ({}, 60, 50, True, ("maker", "venue_flag")),
        ({}, 60, 50, False, ("taker", "venue_flag")),
        ({}, None, 50, True, ("maker", "venue_flag")),
        ({}, None, 45, False, ("taker", "venue_flag")),
    ],
)  # fmt: skip
async def test_the_first_truth_that_tells_decides(
    life: Life,
    order: dict[str, Any],
    asks: int | None,
    fill_cents: int,
    is_maker: bool,
    expected: tuple[str, str],
) -> None:
    if asks is not None:
        await book(life, 40, asks)
    order_id = await life.live(price_micros=50 * CENT, **order)
    await life.fill(order_id, 10 * SHARE, price_micros=fill_cents * CENT, is_maker=is_maker)
    assert await fill_of(life) == expected


async def test_a_sell_took_what_it_sold_above_its_price(life: Life) -> None:
    await life.add_tokens(0, 100 * SHARE)
    await book(life, 55, 60)
    order_id = await life.live(side="SELL", price_micros=50 * CENT)
    await life.fill(order_id, 10 * SHARE, price_micros=55 * CENT, is_maker=True)
    assert await fill_of(life) == ("taker", "crossing")


async def test_later_reports_of_a_trade_change_nothing(life: Life) -> None:
    order_id = await life.live(price_micros=50 * CENT)
    for status, is_maker in (("MATCHED", True), ("MINED", False), ("CONFIRMED", False)):
        await life.fill(
            order_id, 10 * SHARE, status, price_micros=50 * CENT, is_maker=is_maker, trade_id="t"
        )
    assert await fill_of(life) == ("maker", "venue_flag")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger.fill SET liquidity = 'taker'",
        "UPDATE ledger.fill SET liquidity_source = 'crossing'",
        "UPDATE ledger.fill SET is_maker = NOT is_maker",
        "UPDATE ledger.orders SET crossed = true",
        "UPDATE ledger.orders SET crossed = NULL",
    ],
)
async def test_the_audit_finds_another_story(life: Life, change: str) -> None:
    await book(life, 49, 60)
    order_id = await life.live(price_micros=50 * CENT)
    await life.fill(order_id, 10 * SHARE, price_micros=50 * CENT, is_maker=True)
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []
    await life.conn.execute(change)
    found = {
        row["name"]
        for row in await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    }
    assert "liquidity" in found


async def test_a_price_that_was_moved_behind_the_offer_is_the_order_s_and_the_audit_knows_both(
    life: Life,
) -> None:
    await book(life, 49, 51)
    wish = life.request(price_micros=55 * CENT, post_only=True, clamp=True)
    answer = await life.item("reserve_pending", **wish)
    assert (answer["status"], answer["price_micros"]) == ("admitted", 50 * CENT)
    assert await life.item("reserve_pending", **wish) == answer | {"replay": True}
    assert await crossed(life) is False
    await life.cancel(answer["order_id"])
    resting = await life.live()
    await life.call(
        "replace_order",
        resting,
        life.request(price_micros=60 * CENT, post_only=True, clamp=True),
    )
    await life.read(resting, "CANCELLED")
    prices = await life.conn.fetch("SELECT price_micros FROM ledger.orders ORDER BY order_id")
    assert [row["price_micros"] // CENT for row in prices] == [50, 40, 50]
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_fills_from_before_are_classified_by_what_is_known_of_them(
    database: TestDatabase,
) -> None:
    """The revision is taken back and put on again over fills: the same rows, and nothing for the audit."""
    life = await Life.begin(database)
    await book(life, 40, 45)
    orders: list[dict[str, Any]] = [
        {"post_only": True, "price_micros": 44 * CENT},
        {"order_type": "FAK"},
        {},
    ]
    for order in orders:
        await life.limit("duplicate_window_ms", None)
        order_id = await life.live(**{"price_micros": 50 * CENT} | order)
        await life.fill(order_id, 10 * SHARE, "CONFIRMED", price_micros=44 * CENT, is_maker=True)
    query = "SELECT order_id, liquidity, liquidity_source FROM ledger.fill ORDER BY order_id"
    before = await life.conn.fetch(query)
    net = await life.conn.fetchval("SELECT traded_net FROM ledger.account_state")
    assert {row["liquidity_source"] for row in before} == {"post_only", "crossing"}
    prefix = RolePrefix(database.server.role_prefix)
    in_thread(lambda: downgrade(database.url, "-1", prefix=prefix))
    in_thread(lambda: upgrade(database.url, prefix=prefix))
    conn = await database.connect()
    assert await conn.fetch(query) == before
    assert await conn.fetchval("SELECT traded_net FROM ledger.account_state") == net
    found = await conn.fetch("SELECT * FROM audit.checks() WHERE name IN ('pnl', 'liquidity')")
    assert found == []
