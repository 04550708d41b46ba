"""A fill and everything that follows from it are one commit: all of it is there, or nothing.

Lesson 22: the fill was in one commit and the position in the next, and a kill between them lost it.
"""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, token

WRITTEN = ("fill", "orders", "reservation", "exposure", "balance", "balance_entry", "journal")
START = 10_000 * SHARE


async def rows(life: Life) -> dict[str, list[str]]:
    """All that a fill changes."""
    return {
        table: sorted(
            row[0] for row in await life.conn.fetch(f"SELECT t::text FROM ledger.{table} t")
        )
        for table in (*WRITTEN, "outbox", "account_state", "halt")
    }


async def is_booked(life: Life, order_id: int) -> None:
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.fill") == 1
    assert (await life.exposure())["confirmed"] == [4 * SHARE, 0]
    assert await life.balance(token("m1", 0)) == (4 * SHARE, 0)
    assert await life.balance() == (START - 4 * SHARE, 2_400_000)
    assert (await life.row("orders", order_id))["confirmed_micros"] == 4 * SHARE


@pytest.mark.parametrize("table", WRITTEN)
async def test_a_fill_stands_or_falls_with_the_position_it_makes(
    database: TestDatabase, table: str
) -> None:
    """Whichever of its writes fails."""
    life = await Life.begin(database)
    order_id = await life.live()
    before = await rows(life)
    await life.conn.execute(f"""
        CREATE FUNCTION ledger.break_down() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
        CREATE TRIGGER zz_break_down BEFORE INSERT OR UPDATE ON ledger.{table}
        FOR EACH ROW EXECUTE FUNCTION ledger.break_down()""")
    with pytest.raises(asyncpg.RaiseError, match="the disk is full"):
        await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t")
    assert await rows(life) == before
    await life.conn.execute("DROP FUNCTION ledger.break_down CASCADE")
    await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t")
    await is_booked(life, order_id)


async def test_a_session_killed_behind_a_fill_leaves_neither_fill_nor_position(
    life: Life, second: Life
) -> None:
    order_id = await life.live()
    before = await rows(life)
    await second.conn.execute("BEGIN")
    assert (await second.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t"))["status"] == "ok"
    assert await rows(life) == before, "not to be seen before its commit"
    await life.conn.fetchval("SELECT pg_terminate_backend($1, 10000)", second.conn.get_server_pid())
    assert await rows(life) == before
    await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t")
    await is_booked(life, order_id)
