"""A hostile trader that holds a row and waits for something the ledger knows nothing of, or halts in our words.

Beside tests/integration/test_roles_hostile.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, call, token
from tests.support.profit import book, sweep, total_limit

BOUND_MS: Final = 500
WITHIN_S: Final = 30.0
GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@pytest.fixture(name="traders")
async def _traders(
    life: Life, module_database: TestDatabase
) -> AsyncIterator[list[asyncpg.Connection]]:
    """Three sessions of one trader."""
    login = module_database.server.role_prefix + "trader"
    await life.call("grant_account", "main", login)
    sessions = [await module_database.connect("trader") for _ in range(3)]
    yield sessions
    for session in sessions:
        session.terminate()


@pytest.fixture(name="watchdog")
async def _watchdog(life: Life, module_database: TestDatabase) -> asyncpg.Connection:
    return await module_database.connect("worker")


async def sit(trader: asyncpg.Connection, life: Life) -> None:
    await trader.execute("BEGIN")
    [answer] = await call(trader, "reserve_pending", [life.request(key="sit")])
    assert answer["status"] == "admitted"


async def ended(watchdog: asyncpg.Connection, sitting: asyncio.Future[Any]) -> None:
    """The watchdog's passes, until the session that sits is gone; not before its bound is over."""
    async with asyncio.timeout(WITHIN_S):
        while not sitting.done():
            await call(watchdog, "end_lock_holders", BOUND_MS)
    with pytest.raises(GONE):
        await sitting


async def row_is_free(life: Life, module_database: TestDatabase) -> None:
    honest = life.on(await module_database.connect("trader"))
    async with asyncio.timeout(WITHIN_S):
        assert (await honest.reserve(price_micros=100_000))["status"] == "admitted"
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.orders WHERE key = 'sit'") == 0


async def waits_for(life: Life, event: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await life.conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = $1",
            event,
        ):
            await life.conn.execute("SELECT pg_stat_clear_snapshot()")


@pytest.mark.parametrize(
    "way",
    [
        "SELECT lo_create(424242)",
        "ALTER ROLE CURRENT_USER IN DATABASE {database} SET work_mem = '5MB'",
    ],
    ids=["an id of a large object", "a setting of its own role"],
)
async def test_who_waits_for_its_own_second_session_is_ended_though_it_waits_as_for_a_row(
    life: Life,
    traders: list[asyncpg.Connection],
    watchdog: asyncpg.Connection,
    module_database: TestDatabase,
    way: str,
) -> None:
    sitter, keeper, _ = traders
    database = await life.conn.fetchval("SELECT current_database()")
    statement = way.format(database=database)
    if "ALTER" in way:  # the row that both write
        await keeper.execute(statement)
    await keeper.execute("SET idle_in_transaction_session_timeout = 0")
    await keeper.execute("BEGIN")
    await keeper.execute(statement)
    await sit(sitter, life)
    sitting = asyncio.ensure_future(sitter.execute(statement))
    await waits_for(life, "transactionid")
    await ended(watchdog, sitting)
    await keeper.execute("ROLLBACK")  # it has locked nothing of ours: it is left alone
    await row_is_free(life, module_database)


async def test_who_waits_behind_one_that_is_ended_is_left_alone(
    life: Life,
    traders: list[asyncpg.Connection],
    watchdog: asyncpg.Connection,
) -> None:
    """Two honest sessions queue up for the row of one that waits for its own second session."""
    sitter, keeper, honest = traders
    await keeper.execute("BEGIN")
    await keeper.execute("SELECT lo_create(424242)")
    await sit(sitter, life)
    asked = asyncio.ensure_future(
        call(honest, "reserve_pending", [life.request(key="honest", price_micros=100_000)])
    )
    await waits_for(life, "transactionid")
    sitting = asyncio.ensure_future(sitter.execute("SELECT lo_create(424242)"))
    await ended(watchdog, sitting)
    async with asyncio.timeout(WITHIN_S):
        [answer] = await asked
    assert answer["status"] == "admitted"


async def test_no_transaction_with_a_row_locked_grows_old_whatever_it_waits_for(
    life: Life,
    traders: list[asyncpg.Connection],
    watchdog: asyncpg.Connection,
    module_database: TestDatabase,
) -> None:
    """Its second session keeps a row of the ledger too, and is a worker's, which is not ended while it is busy."""
    await life.add_market("m2")
    sitter = traders[0]
    keeper = await module_database.connect("worker")
    await keeper.execute("BEGIN")
    await call(keeper, "reserve_pending", [life.request(key="k", market="m2")])
    kept = asyncio.ensure_future(keeper.execute("SELECT pg_sleep(3600)"))
    await sitter.execute("BEGIN")
    await sitter.execute("SELECT ledger.set_halt('market', 'm1', 'mine')")  # a row, if of no lane
    sitting = asyncio.ensure_future(
        call(sitter, "reserve_pending", [life.request(key="sit", market="m2")])
    )
    began = asyncio.get_running_loop().time()
    await ended(watchdog, sitting)
    assert asyncio.get_running_loop().time() - began > BOUND_MS / 1000 * 5, "a queue is no reason"
    await life.conn.execute("SELECT pg_terminate_backend($1)", keeper.get_server_pid())
    with suppress(*GONE):
        await kept
    assert await life.halts() == []


async def test_the_watchdog_relies_on_no_time_out_that_a_role_can_change(
    life: Life,
    traders: list[asyncpg.Connection],
    watchdog: asyncpg.Connection,
    module_database: TestDatabase,
) -> None:
    database = await life.conn.fetchval("SELECT current_database()")
    for name in ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"):
        await traders[0].execute(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = 0")
    try:
        sitter = await module_database.connect("trader")
        assert await sitter.fetchval("SHOW idle_in_transaction_session_timeout") == "0"
        await sit(sitter, life)
        async with asyncio.timeout(WITHIN_S):
            while not await call(watchdog, "end_lock_holders", BOUND_MS):
                pass
        with pytest.raises(GONE):
            await sitter.execute("COMMIT")
        await row_is_free(life, module_database)
    finally:
        await traders[0].execute(f"ALTER ROLE CURRENT_USER IN DATABASE {database} RESET ALL")


# -------------------------------------------------------------------------------------- its halts


@pytest.mark.parametrize(
    ("why", "name"),
    [
        ("DAILY_LOSS: a test of the button", ""),
        (" ROLLING_LOSS : x", ""),
        ("NEG_RISK_ON", ""),
        ("a test", "ledger"),
        ("a test", " Ledger"),
    ],
)
@pytest.mark.parametrize("role", ["trader", "risk"])
async def test_nobody_halts_in_the_words_or_the_name_of_the_ledger(
    life: Life, module_database: TestDatabase, role: str, why: str, name: str
) -> None:
    conn = await module_database.connect(role)
    with pytest.raises(asyncpg.PostgresError, match="BAD_REQUEST") as caught:
        await call(conn, "set_halt", "account", "main", why, name)
    assert caught.value.sqlstate == "LG004"
    assert await life.halts() == []
    assert await call(conn, "set_halt", "account", "main", "DAILY_LOSS_TEST: mine", "bot") > 0


async def test_no_halt_of_anybody_else_keeps_the_ledger_from_halting_for_a_loss(
    life: Life, module_database: TestDatabase
) -> None:
    """Also not one in its very words, as a worker could set it: they mute it only while they stand."""
    await total_limit(life, "account", "max_daily_loss_micros", 20 * SHARE)
    await sweep(life)
    worker = await module_database.connect("worker")
    version = await call(worker, "set_halt", "account", "main", "DAILY_LOSS: the button", "worker")
    await life.call(
        *("book_movement", "main", token("m1", 0), 100 * SHARE, "transfer_in", "k", ""), 90 * SHARE
    )
    await book(life, 40, 42)
    assert await sweep(life) == [("account", "DAILY_LOSS")]
    with pytest.raises(asyncpg.PostgresError, match="STALE_VERSION"):
        await life.call("clear_halt", "account", "main", version)
    assert await life.halts() == ["DAILY_LOSS", "DAILY_LOSS"]
    assert (await life.reserve())["code"] == "HALTED"
