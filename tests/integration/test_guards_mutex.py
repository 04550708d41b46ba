"""Two that look at a free market at the same moment: one takes it. The moment is made by a clock that waits."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.support.database import TestDatabase
from tests.support.life import Life, incarnation
from tests.support.trading import eventually

GATE: Final = 7

_WAITING_CLOCK: Final = f"""
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF coalesce(current_setting('test.looks', true), '') <> '' THEN
        PERFORM set_config('test.looks', (current_setting('test.looks')::integer - 1)::text, false);
        IF current_setting('test.looks') = '0' THEN
            PERFORM pg_advisory_lock_shared({GATE});
        END IF;
    END IF;
    RETURN (SELECT to_timestamp(0) + last_value * interval '1 microsecond' FROM test_clock.micros);
END $$;
"""


@pytest.fixture(name="other")
async def _other(module_database: TestDatabase, life: Life) -> Life:
    return life.on(await module_database.connect(), incarnation(3))


async def take(who: Life) -> dict[str, Any]:
    return dict(await who.call("take_mutex", "main", "m1", who.worker, 60_000))


async def test_of_two_that_see_a_market_free_one_takes_it(
    life: Life, second: Life, other: Life
) -> None:
    await life.call("release_mutex", "main", "m1", (await take(life))["term"])
    await life.conn.execute(_WAITING_CLOCK)
    await life.conn.execute("SELECT pg_advisory_lock($1)", GATE)
    for one in (second, other):
        # The first look makes the market's row, the second asks whether it is held.
        await one.conn.execute("SET test.looks = '2'")
    both = asyncio.gather(take(second), take(other))
    await eventually(
        lambda: life.conn.fetchval(
            "SELECT count(*) = 2 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
    await life.conn.execute("SELECT pg_advisory_unlock($1)", GATE)
    assert sorted(answer["status"] for answer in await both) == ["ok", "refused"]
