"""Locks that somebody sits on: the watchdog ends who sits on a row, and nobody waits for the rest.

Lesson 37: one idle transaction stopped the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import Life, call, incarnation
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401

GONE = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError)
ADVISORY = "SELECT wait_event_type = 'Lock' AND wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $1"
PARTITIONS = 7316040
"""The advisory lock of `ledger.make_partitions`."""


async def sit_on(conn: asyncpg.Connection, holder: int = 1) -> None:
    """Open a transaction that holds the row of market m1."""
    await conn.execute("BEGIN")
    answer = await call(conn, "take_mutex", "main", "m1", incarnation(holder), 1_000)
    assert answer["status"] == "ok", answer


async def blocked(conn: asyncpg.Connection, other: asyncpg.Connection) -> None:
    """Until ``other`` waits for somebody's lock, as ``conn`` sees it."""
    pid = other.get_server_pid()
    await until(
        lambda: conn.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid), "it waits for a lock"
    )


async def ended(conn: asyncpg.Connection, other: asyncpg.Connection) -> None:
    """Until the session of ``other`` is gone, as ``conn`` sees it."""
    pid = other.get_server_pid()
    gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
    await until(lambda: conn.fetchval(gone, pid), "its session is gone")


async def grant(conn: asyncpg.Connection, database: TestDatabase) -> None:
    await call(conn, "grant_account", "main", database.server.role_prefix + "trader")


# ---- whom it ends


async def test_a_trader_that_sits_idle_on_a_row_is_ended_once_its_time_is_over(
    life: Life, module_database: TestDatabase
) -> None:
    await grant(life.conn, module_database)
    trader = await module_database.connect("trader")
    worker = await module_database.connect("worker")
    await sit_on(trader)
    assert await call(worker, "end_lock_holders", 600_000) == 0
    assert await call(worker, "end_lock_holders", 0) == 1
    await ended(life.conn, trader)
    assert await life.conn.fetch("TABLE ledger.exposure") == [], "what it had begun is undone"
    assert await call(worker, "end_lock_holders", 0) == 0


async def test_a_trader_that_waits_for_a_second_session_of_its_own_is_ended(
    life: Life, module_database: TestDatabase
) -> None:
    """It would hold the row for as long as it likes, and look like somebody who waits in a queue."""
    await grant(life.conn, module_database)
    keeper, trader = [await module_database.connect("trader") for _ in range(2)]
    worker = await module_database.connect("worker")
    await keeper.execute("SELECT pg_advisory_lock(1)")
    await sit_on(trader)
    waiting = asyncio.ensure_future(trader.execute("SELECT pg_advisory_lock(1)"))
    await until(
        lambda: life.conn.fetchval(ADVISORY, trader.get_server_pid()), "it waits for its colleague"
    )
    assert await call(worker, "end_lock_holders", 0) == 1
    with pytest.raises(GONE):
        await waiting
    assert await keeper.fetchval("SELECT true"), "who holds nothing of the ledger is left alone"
    assert (await life.reserve())["status"] == "admitted"


async def test_a_trader_busy_with_something_else_beside_a_row_is_ended(
    life: Life, module_database: TestDatabase
) -> None:
    await grant(life.conn, module_database)
    trader = await module_database.connect("trader")
    worker = await module_database.connect("worker")
    await sit_on(trader)
    waiting = asyncio.ensure_future(trader.execute("SELECT pg_sleep(600)"))
    busy = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"
    await until(lambda: life.conn.fetchval(busy, trader.get_server_pid()), "it sleeps")
    assert await call(worker, "end_lock_holders", 0) == 1
    with pytest.raises(GONE):
        await waiting


async def test_a_trader_that_waits_for_a_row_goes_on_when_who_holds_it_is_ended(
    life: Life, module_database: TestDatabase
) -> None:
    await grant(life.conn, module_database)
    sitter, first, second = [await module_database.connect("trader") for _ in range(3)]
    worker = await module_database.connect("worker")
    await life.reserved()
    await sit_on(sitter)
    asked = [
        asyncio.ensure_future(call(conn, "reserve_pending", [life.request(key=str(n))]))
        for n, conn in enumerate((first, second))
    ]
    for conn in (first, second):
        await blocked(life.conn, conn)
    assert await call(worker, "end_lock_holders", 0) == 1
    for [answer] in await asyncio.gather(*asked):
        assert answer["status"] == "admitted"


async def test_a_superuser_that_sits_on_a_row_saves_nobody_else_who_does(
    life: Life, module_database: TestDatabase
) -> None:
    """The watchdog may not end it. It may be found first, or last."""
    await grant(life.conn, module_database)
    superusers = [await module_database.connect() for _ in range(2)]
    trader = await module_database.connect("trader")
    worker = await module_database.connect("worker")
    asked = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
    if not await life.conn.fetchval(asked):
        pytest.skip("the owner of this server's databases is no superuser")
    await life.call("take_lease", "l", incarnation(1), 1_000)
    for each in superusers:
        await each.execute("BEGIN; SELECT FROM ledger.lease FOR KEY SHARE")
    await sit_on(trader)
    assert await call(worker, "end_lock_holders", 0) == 1
    await ended(life.conn, trader)
    for each in superusers:
        await each.execute("COMMIT")


# ---- that it gets to work


async def test_an_idle_transaction_does_not_stop_the_queue(rig: Rig) -> None:
    async with rig.owner.acquire() as owner:
        await grant(owner, rig.database)
    async with rig.inside() as context, sitting(rig, "trader") as trader:
        await until(lambda: context.shared.ready, "the account is ready")
        before = await rig.reserve("m1")
        await rig.until_state(before, "LIVE")
        await trader.execute("BEGIN")
        [answer] = await call(trader, "reserve_pending", [rig.request("m1")])
        assert answer["status"] == "admitted"
        async with asyncio.timeout(10):
            after = await rig.reserve("m1")
        await rig.until_state(after, "LIVE")
        with pytest.raises(GONE):
            await trader.execute("COMMIT")
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.orders") == 2
    await rig.check_sound()


async def test_the_watchdog_waits_in_no_queue_behind_the_lock_it_is_there_to_break(
    rig: Rig,
) -> None:
    """Every connection its worker works with waits for the row, and so do all its other tasks."""
    order_id = await rig.reserve("m1")
    async with rig.inside() as context, sitting(rig, "worker") as sitter:
        await rig.until_state(order_id, "LIVE")
        await sit_on(sitter)
        asked: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(cancel(context.calls, order_id)) for _ in range(15)
        ]

        async def all_wait() -> Any:
            # never idle for long, so that it is not ended before everybody has queued up
            await sitter.execute("SELECT 1")
            return await rig.owner.fetchval(
                "SELECT count(*) = $1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'ledger worker' AND wait_event_type = 'Lock'",
                context.calls.pool.get_max_size(),
            )

        await until(all_wait, "all connections of the worker wait for the row")
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*asked)
        assert {answer["status"] for [answer] in answers} == {"ok"}
        with pytest.raises(GONE):
            await sitter.execute("COMMIT")
        await rig.until_state(order_id, "CANCELLED")
    await rig.check_sound()


@asynccontextmanager
async def sitting(rig: Rig, role: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that is to be ended by others; here only so that a failure does not hang."""
    conn = await rig.database.connect(role)
    try:
        yield conn
    finally:
        conn.terminate()


def cancel(calls: Any, order_id: int) -> Awaitable[Any]:
    asked: Awaitable[Any] = calls.items("request_cancel", [{"order_id": order_id, "reason": "t"}])
    return asked


# ---- locks that anybody may hold


async def test_partitions_are_left_to_who_is_at_it(
    life: Life, module_database: TestDatabase
) -> None:
    trader = await module_database.connect("trader")
    await trader.execute(f"SELECT pg_advisory_lock({PARTITIONS})")
    async with asyncio.timeout(20):
        assert await life.call("make_partitions", 2) == 0
        await trader.execute(f"SELECT pg_advisory_unlock({PARTITIONS})")
        assert await life.call("make_partitions", 2) == 2


async def test_the_beat_goes_on_beside_an_advisory_lock_that_somebody_holds(rig: Rig) -> None:
    trader = await rig.database.connect("trader")
    await trader.execute(f"SELECT pg_advisory_lock({PARTITIONS})")
    order_id = await rig.reserve("m1")
    # under way for longer than a claim lives: only the beat keeps it
    await rig.fault("place", "delay", order_id, before_ms=2_500)
    async with rig.inside(request_timeout_ms=20_000) as context:
        assert context.lease_ms < 2_500
        await rig.until("SELECT seen_at > started_at + interval '1 s' FROM ledger.worker")
        await rig.until_state(order_id, "LIVE")
    attempts = await rig.owner.fetch("SELECT outcome FROM ledger.attempt")
    assert [row["outcome"] for row in attempts] == ["accepted"]
    await rig.check_sound()
