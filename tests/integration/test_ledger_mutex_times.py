"""How long a market mutex may be asked for: what is asked wrongly is refused, and nothing is renewed by default."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.life import Life, incarnation

WRONG = (None, 0, -1, 9, 60_001, 2**31 - 1)


@pytest.mark.parametrize("ttl_ms", WRONG)
async def test_a_renewal_for_no_time_or_a_wrong_one_is_refused_and_renews_nothing(
    life: Life, ttl_ms: int | None
) -> None:
    taken = await life.call("take_mutex", "main", "m1", incarnation(3), 1_000)
    before = await life.conn.fetchval("SELECT mutex_until FROM ledger.exposure")
    with pytest.raises(asyncpg.PostgresError, match="BAD_REQUEST") as caught:
        await life.call("renew_mutex", "main", "m1", taken["term"], ttl_ms)
    assert caught.value.sqlstate == "LG004"
    assert await life.conn.fetchval("SELECT mutex_until FROM ledger.exposure") == before


@pytest.mark.parametrize("ttl_ms", [10, 60_000])
async def test_a_renewal_holds_for_what_was_asked(life: Life, ttl_ms: int) -> None:
    taken = await life.call("take_mutex", "main", "m1", incarnation(3), 1_000)
    assert await life.call("renew_mutex", "main", "m1", taken["term"], ttl_ms) is True
    left = await life.conn.fetchval(
        "SELECT floor(extract(epoch FROM mutex_until - ledger.clock()) * 1000)::bigint "
        "FROM ledger.exposure"
    )
    assert left == ttl_ms


@pytest.mark.parametrize("ttl_ms", WRONG)
async def test_taking_it_for_a_wrong_time_is_refused_too(life: Life, ttl_ms: int | None) -> None:
    answer = await life.call("take_mutex", "main", "m1", incarnation(3), ttl_ms)
    assert (answer["status"], answer["code"]) == ("refused", "BAD_REQUEST")
