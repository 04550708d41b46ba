"""What positions cost is worked out by the migration for ledgers of before, whatever has happened to them."""

from __future__ import annotations

from app.db.migrate import upgrade
from app.roles import RolePrefix
from tests.support.clock import SettableClock
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, token


async def of_before(database: TestDatabase) -> Life:
    upgrade(database.url, "0002", prefix=RolePrefix(database.server.role_prefix))
    conn = await database.connect()
    life = Life(conn, await SettableClock.install(conn))
    for name in ("max_outcome_micros", "max_market_micros", "burst_per_minute", "burst_gap_ms"):
        await life.limit(name, None)
    await life.open_account("main", 10_000 * SHARE)
    await life.add_market("m1")
    return life


async def carried_over(database: TestDatabase, life: Life) -> tuple[list[int], int]:
    upgrade(database.url, "0003", prefix=RolePrefix(database.server.role_prefix))
    await life.conn.reload_schema_state()
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []
    row = await life.exposure()
    return row["basis"], row["at_risk"]


async def correct(life: Life, shares: int, key: str) -> None:
    await life.call("book_movement", "main", token("m1", 0), shares * SHARE, "correction", key, "")


async def test_tokens_that_went_where_none_ever_came_cost_nothing(
    blank_database: TestDatabase,
) -> None:
    life = await of_before(blank_database)
    await correct(life, -10, "none ever came")
    assert await carried_over(blank_database, life) == ([0, 0], 0)


async def test_a_buy_that_failed_before_its_tokens_went_cost_nothing(
    blank_database: TestDatabase,
) -> None:
    life = await of_before(blank_database)
    order_id = await life.live(size_micros=10 * SHARE)
    for status in ("MATCHED", "FAILED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    await correct(life, -10, "gone")
    assert await carried_over(blank_database, life) == ([0, 0], 0)


async def test_what_was_sold_took_its_part_of_the_average(blank_database: TestDatabase) -> None:
    life = await of_before(blank_database)
    for price, trade in ((200_000, "cheap"), (600_000, "dear")):
        order_id = await life.live(size_micros=10 * SHARE, price_micros=price)
        await life.fill(order_id, 10 * SHARE, "CONFIRMED", price_micros=price, trade_id=trade)
    sold = await life.live(side="SELL", size_micros=5 * SHARE, price_micros=700_000)
    await life.fill(sold, 5 * SHARE, "CONFIRMED", price_micros=700_000, trade_id="sale")
    await correct(life, -5, "lost")
    assert await carried_over(blank_database, life) == ([4 * SHARE, 0], 4 * SHARE)
    parts = await life.conn.fetch("SELECT basis_micros FROM ledger.fill ORDER BY order_id")
    assert [row["basis_micros"] for row in parts] == [2 * SHARE, 6 * SHARE, -2 * SHARE]
