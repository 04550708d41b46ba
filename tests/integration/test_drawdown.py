"""What a drawdown leaves of an order's size, and what a sweep of losses reads (R3)."""

from __future__ import annotations

from typing import Any

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life
from tests.support.profit import lose, sweep, total_limit, trade, win

UNIT = 1_000_000


async def factor(life: Life) -> int:
    return int(await life.conn.fetchval("SELECT size_factor_ppm FROM ledger.account_state"))


async def test_sizes_shrink_evenly_with_the_drawdown_and_come_back(life: Life) -> None:
    await total_limit(life, "account", "drawdown_to_micros", 30 * UNIT)
    await total_limit(life, "account", "drawdown_from_micros", 10 * UNIT)
    await life.limit("max_order_micros", 100 * SHARE)
    await win(life, 5)
    await sweep(life)
    seen = []
    for units in (10, 5, 10, 5, 3):
        await life.clock.advance(60_000)
        await lose(life, units) if await factor(life) == 1_000_000 else await mark_down(life, units)
        await sweep(life)
        seen.append(await factor(life))
    assert seen == [1_000_000, 750_000, 250_000, 0, 0]
    assert (await life.reserve())["code"] == "DRAWDOWN"
    await mark_down(life, -13)
    await sweep(life)
    assert await factor(life) == 500_000
    assert (await life.reserve(size_micros=51 * SHARE))["code"] == "ORDER_SIZE"
    assert (await life.reserve(size_micros=50 * SHARE))["status"] == "admitted"


async def mark_down(life: Life, units: int) -> None:
    """A loss (or, below zero, a gain) without an order: tokens come and go at other values."""
    token_id = await life.conn.fetchval("SELECT token_id FROM ledger.outcome WHERE outcome = 1")
    keys = await life.conn.fetchval("SELECT count(*) FROM ledger.balance_entry")
    bought, sold = (units, 0) if units > 0 else (0, -units)
    for amount, value in ((100 * SHARE, bought * UNIT), (-100 * SHARE, sold * UNIT)):
        await life.call(
            "book_movement", "main", token_id, amount, "conversion", f"{keys} {amount}", "", value
        )


async def test_without_drawdown_limits_sizes_are_whole_again(life: Life) -> None:
    await total_limit(life, "account", "drawdown_to_micros", 10 * UNIT)
    await sweep(life)
    await lose(life, 20)
    await sweep(life)
    assert await factor(life) == 0
    await total_limit(life, "account", "drawdown_to_micros", None)
    await sweep(life)
    assert await factor(life) == 1_000_000


async def test_whoever_sits_on_the_account_does_not_keep_the_halt_away(
    life: Life, module_database: TestDatabase
) -> None:
    await total_limit(life, "account", "max_daily_loss_micros", 10 * UNIT)
    await total_limit(life, "account", "drawdown_to_micros", 20 * UNIT)
    await sweep(life)
    await life.clock.advance(60_000)
    await lose(life, 15)
    sitter = await module_database.connect()
    await sitter.execute("BEGIN")
    await sitter.execute("SELECT FROM ledger.account_state FOR UPDATE")
    await life.conn.execute("SET lock_timeout = '1s'")
    assert await sweep(life) == [("account", "DAILY_LOSS")]
    assert await factor(life) == 1_000_000
    await sitter.execute("ROLLBACK")
    await sweep(life)
    assert await factor(life) == 250_000


# ------------------------------------------------------------------------ cost


async def read(life: Life) -> dict[str, int]:
    """Rows that one sweep reads of each table, whatever the plan."""
    await life.conn.execute(
        "SELECT pg_stat_force_next_flush()"
    )  # what was read before counts no more
    await life.conn.execute("BEGIN")
    await sweep(life)
    rows: list[Any] = await life.conn.fetch(
        "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS n "
        "FROM pg_stat_xact_user_tables WHERE schemaname = 'ledger'"
    )
    await life.conn.execute("ROLLBACK")
    return {row["relname"]: row["n"] for row in rows}


async def test_a_sweep_reads_open_positions_and_no_history(life: Life) -> None:
    await trade(life, "BUY", 10, 40)
    await sweep(life)
    await grow(life, 0, 500)
    before = await read(life)
    await grow(life, 500, 5_000)
    await life.conn.execute("DISCARD PLANS")
    after = await read(life)
    # Nothing but noise of the planner's choices: of the closed lanes and old marks nothing is read.
    assert after["exposure"] <= 10
    assert {name: n for name, n in after.items() if n > before.get(name, 0) + 20} == {}


async def grow(life: Life, first: int, count: int) -> None:
    """Closed markets with a past, and marks of long ago."""
    await life.conn.execute(
        "INSERT INTO ledger.market (condition_id, slug, tradable, untradable_reasons, created_at, updated_at) "
        "SELECT '0x' || lpad(to_hex(n), 64, '0'), 'old ' || n, false, '{closed}', ledger.clock(), ledger.clock() "
        "FROM generate_series($1::integer, $2::integer) n", first + 1, first + count,
    )  # fmt: skip
    await life.conn.execute(
        "INSERT INTO ledger.exposure (account_id, market_id, clock_at, bought, sold, bought_cost, sold_cost) "
        "SELECT 1, m.market_id, ledger.clock(), '{5,5}', '{5,5}', '{2,2}', '{2,2}' FROM ledger.market m "
        "WHERE m.slug LIKE 'old %' ON CONFLICT DO NOTHING"
    )
    await life.conn.execute(
        "INSERT INTO ledger.equity_mark (account_id, at, equity_micros, realised_micros, unrealised_micros, "
        "fees_micros, stale_markets) SELECT 1, ledger.clock() - interval '25 hours' - n * interval '1 minute', "
        "0, 0, 0, 0, 0 FROM generate_series($1::integer, $2::integer) n ON CONFLICT DO NOTHING", first, first + count,
    )  # fmt: skip
    await life.conn.execute("ANALYZE")
