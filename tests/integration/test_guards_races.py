"""What came between two looks is told, and made again it is done: nobody is a stranger for having been quick."""

from __future__ import annotations

import asyncpg
import pytest

from tests.integration.test_guards_locks import give_back, waiting
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, incarnation


@pytest.fixture(name="other")
async def _other(module_database: TestDatabase, life: Life) -> Life:
    return life.on(await module_database.connect(), incarnation(3))


@pytest.mark.parametrize("fact", ["observation", "trade"])
async def test_a_fact_that_met_an_order_too_early_is_booked_when_it_is_told_again(
    life: Life, second: Life, other: Life, fact: str
) -> None:
    order_id = await life.claimed()
    writer = second.on(second.conn, life.worker)
    writer.claims |= life.claims

    async def tell() -> str:
        if fact == "observation":
            return str((await other.read(order_id, "LIVE", SHARE))["state"])
        return str((await other.fill(order_id, SHARE))["state"])

    async with second.conn.transaction():
        assert (await writer.prepare(order_id))["state"] == "PREPARED"
        async with waiting(life, tell()) as early:
            await give_back(second)
            with pytest.raises(asyncpg.SerializationError, match="appeared meanwhile"):
                await early
    assert await tell() == "LIVE"
    assert await life.halts() == []
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.foreign_order") == 0
