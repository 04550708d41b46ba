"""Locks that nothing else would miss: taken before anything is decided, in one order, and on one's own rows only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import LEASE_MS, Life, incarnation
from tests.support.trading import eventually

T = TypeVar("T")

LANE: Final = ("exposure", "account_state", "orders")


async def free(conn: asyncpg.Connection, table: str) -> bool:
    """Whether nobody else holds a row of the table."""
    rows = await conn.fetchval(f"SELECT count(*) FROM ledger.{table}")
    found = len(await conn.fetch(f"SELECT 1 FROM ledger.{table} FOR UPDATE SKIP LOCKED"))
    assert rows > 0
    return bool(found == rows)


@asynccontextmanager
async def waiting(life: Life, work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """``work`` is begun and waits for a lock; whoever holds it must give it back inside."""
    task = asyncio.create_task(work)
    await eventually(
        lambda: life.conn.fetchval(
            "SELECT count(*) > 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
    assert not task.done()
    try:
        yield task
    finally:
        task.cancel()


async def give_back(holder: Life) -> None:
    """What was done counts from here; the transaction around it ends empty."""
    await holder.conn.execute("COMMIT; BEGIN")


@pytest.fixture(name="other")
async def _other(module_database: TestDatabase, life: Life) -> Life:
    """A third session."""
    return life.on(await module_database.connect(), incarnation(3))


async def test_a_lane_is_its_market_its_account_and_its_orders(life: Life, second: Life) -> None:
    order_id = await life.live()
    async with life.conn.transaction():
        await life.conn.fetchval("SELECT ledger._lock_lanes(ARRAY[$1::bigint])", order_id)
        assert [table for table in LANE if await free(second.conn, table)] == []
    assert [table for table in LANE if await free(second.conn, table)] == [*LANE]


async def test_naming_orders_of_others_holds_nobody_up(
    module_database: TestDatabase, life: Life
) -> None:
    order_id = await life.live()
    stranger = life.on(await module_database.connect("trader"))
    async with stranger.conn.transaction():
        assert (await stranger.cancel(order_id))["code"] == "NOT_GRANTED"
        assert [table for table in LANE if not await free(life.conn, table)] == []


async def test_one_of_two_that_take_a_market_at_once_waits_and_is_refused(
    life: Life, second: Life, other: Life
) -> None:
    async def take(who: Life) -> dict[str, Any]:
        return dict(await who.call("take_mutex", "main", "m1", who.worker, 60_000))

    await life.call("release_mutex", "main", "m1", (await take(life))["term"])
    async with second.conn.transaction():
        assert (await take(second))["status"] == "ok"
        async with waiting(life, take(other)) as late:
            await give_back(second)
            assert (await late)["code"] == "LOCKED"


async def test_who_waits_for_a_market_holds_nothing_else_of_the_account(
    life: Life, second: Life, other: Life
) -> None:
    """Taken in another order than everybody else's, two locks are a deadlock."""
    await life.reserved()
    async with second.conn.transaction():
        await second.conn.fetch("SELECT 1 FROM ledger.exposure FOR UPDATE")
        async with waiting(life, other.reserve(key="late")) as late:
            assert await free(second.conn, "account_state")
            await give_back(second)
            assert (await late)["status"] == "admitted"


async def test_a_sweep_of_lapsed_claims_waits_for_an_answer_that_is_being_written(
    life: Life, second: Life, other: Life
) -> None:
    order_id = await life.sending()
    writer = second.on(second.conn, life.worker)
    await life.clock.advance(LEASE_MS)
    async with second.conn.transaction():
        await second.conn.fetchval("SELECT ledger._lock_lanes(ARRAY[$1::bigint])", order_id)
        async with waiting(life, other.call("sweep_lapsed")) as sweep:
            assert (await writer.complete("acknowledge", order_id))["state"] == "LIVE"
            await give_back(second)
            assert await sweep == {"lost": [], "taken_back": []}
    assert await life.state(order_id) == "LIVE"


async def test_a_sweep_leaves_what_was_opened_while_it_waited(
    life: Life, second: Life, other: Life
) -> None:
    order_id = await life.prepared(valid_for_ms=5_000)
    sender = second.on(second.conn, life.worker)
    sender.claims |= life.claims
    async with second.conn.transaction():
        assert (await sender.open_attempt(order_id))["state"] == "SENDING"
        await life.clock.advance(5_000)
        async with waiting(life, other.call("sweep_expired")) as sweep:
            await give_back(second)
            assert await sweep == 0
    assert await life.state(order_id) == "SENDING"
    assert await life.events("ILLEGAL_EVENT") == []


async def test_a_sweep_judges_the_validity_by_the_clock_as_it_is_after_the_wait(
    life: Life, second: Life, other: Life
) -> None:
    order_id = await life.reserved(valid_for_ms=60_000)
    await life.clock.advance(60_000)
    async with second.conn.transaction():
        await second.conn.fetchval("SELECT ledger._lock_lanes(ARRAY[$1::bigint])", order_id)
        async with waiting(life, other.call("sweep_expired")) as sweep:
            await life.clock.advance(-30_000)
            await give_back(second)
            assert await sweep == 0
    assert await life.state(order_id) == "RESERVED"
