"""The signer's buckets: one for all workers of a signer, never overdrawn by requests, paused by a 429 for all."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from app.ledger.calls import LedgerCalls
from app.venue.polymarket.limits import STANDARD, TIERS, Kind, Tier
from tests.support.database import TestDatabase
from tests.support.life import Life
from workers.worker.venue_state import SharedBudget

SIGNER = "0x" + "1" * 40
OTHER = "0x" + "2" * 40
MINUTE_MS = 60_000


async def spend(
    life: Life, count: int, kind: Kind = "orders", tier: Tier = STANDARD, signer: str = SIGNER
) -> int:
    waited: int = await life.call("spend", signer, kind, count, *tier.rate(kind))
    return waited


async def test_a_burst_is_there_at_once_and_what_is_spent_comes_back_by_the_second(
    life: Life,
) -> None:
    assert await spend(life, 60) == 0
    assert await spend(life, 1) == 25
    await life.clock.advance(25)
    assert await spend(life, 1) == 0
    assert await spend(life, 40) == 1_000
    await life.clock.advance(999)
    assert await spend(life, 40) == 1
    await life.clock.advance(1)
    assert await spend(life, 40) == 0


async def test_a_bucket_never_holds_more_than_its_burst(life: Life) -> None:
    assert await spend(life, 1) == 0
    await life.clock.advance(60 * MINUTE_MS)
    assert await spend(life, 60) == 0
    assert await spend(life, 1) == 25


async def test_a_refused_request_takes_nothing(life: Life) -> None:
    assert await spend(life, 50) == 0
    for _ in range(20):
        assert await spend(life, 15) > 0
    assert await spend(life, 10) == 0


async def test_orders_and_cancels_and_two_signers_have_buckets_of_their_own(life: Life) -> None:
    assert await spend(life, 60) == 0
    assert await spend(life, 120, "cancels") == 0
    assert await spend(life, 60, signer=OTHER) == 0
    assert await spend(life, 60, signer=OTHER.upper().replace("0X", "0x")) > 0


async def test_another_tier_fills_the_same_bucket_faster_and_higher(life: Life) -> None:
    assert await spend(life, 60) == 0
    gold = TIERS["gold"]
    await life.clock.advance(1_000)
    assert await spend(life, 400, tier=gold) == 0
    assert await spend(life, 1, tier=gold) == 3


async def test_more_than_a_burst_can_never_pass_and_is_said_to_be_wrong(life: Life) -> None:
    with pytest.raises(asyncpg.PostgresError, match="BAD_REQUEST: 61 of at most 60"):
        await spend(life, 61)


async def test_what_a_cancel_of_everything_cost_is_owed_and_the_next_cancels_wait(
    life: Life,
) -> None:
    assert await spend(life, 1, "cancels") == 0
    await life.call("owe_budget", SIGNER, "cancels", 199)
    assert await spend(life, 1, "cancels") == 1_013
    await life.clock.advance(1_013)
    assert await spend(life, 1, "cancels") == 0
    assert await spend(life, 60) == 0


async def test_a_pause_holds_its_kind_alone_and_for_as_long_as_the_venue_said(life: Life) -> None:
    await life.call("pause_budget", SIGNER, "orders", 20 * MINUTE_MS)
    await life.clock.advance(19 * MINUTE_MS)
    assert await spend(life, 1) == MINUTE_MS
    assert await spend(life, 1, "cancels") == 0
    await life.clock.advance(MINUTE_MS)
    assert await spend(life, 1) == 0


async def test_no_pause_is_longer_than_an_hour(life: Life) -> None:
    await life.call("pause_budget", SIGNER, "orders", 24 * 60 * MINUTE_MS)
    assert await spend(life, 1) == 60 * MINUTE_MS


@pytest.mark.parametrize("back_ms", [1_000, 10 * MINUTE_MS, 600 * MINUTE_MS])
async def test_a_clock_that_is_set_back_by_however_much_prolongs_no_pause(
    life: Life, back_ms: int
) -> None:
    await life.call("pause_budget", SIGNER, "cancels", 30 * MINUTE_MS)
    await life.clock.advance(-back_ms)
    assert await spend(life, 1, "cancels") <= 1_000
    await life.clock.advance(1_000)
    assert await spend(life, 1, "cancels") == 0
    shown = await life.conn.fetch("SELECT * FROM audit.venue WHERE standing")
    assert shown == []


# --- by all workers -------------------------------------------------------------------------------


async def test_workers_that_spend_at_the_same_time_get_one_burst_together(
    life: Life, module_database: TestDatabase
) -> None:
    """Time stands still: what passes is the burst and nothing more, whoever asked."""
    pools = [
        await asyncpg.create_pool(module_database.url, min_size=4, max_size=4) for _ in range(2)
    ]
    try:
        workers = [SharedBudget(LedgerCalls(pool)) for pool in pools]

        async def worker(budget: SharedBudget) -> list[int]:
            return list(
                await asyncio.gather(
                    *(budget.spend(SIGNER, "orders", 3, STANDARD) for _ in range(15))
                )
            )

        waits = [one for found in await asyncio.gather(*map(worker, workers)) for one in found]
        assert waits.count(0) == 60 // 3
        assert all(one == 75 for one in waits if one)
        # A 429 that one of them was answered is heard by the other.
        await workers[0].pause(SIGNER, "orders", 5_000)
        assert await workers[1].spend(SIGNER, "orders", 1, STANDARD) == 5_000
        await workers[0].owe(SIGNER, "cancels", 10)
        assert await workers[1].spend(SIGNER, "cancels", 120, STANDARD) == 0
        await workers[0].owe(SIGNER, "cancels", 80)
        assert await workers[1].spend(SIGNER, "cancels", 1, STANDARD) == 1_013
    finally:
        for pool in pools:
            pool.terminate()


def test_every_tier_is_wider_than_the_one_before_it() -> None:
    rates: list[tuple[Any, ...]] = [
        (*tier.rate("orders"), *tier.rate("cancels")) for tier in TIERS.values()
    ]
    assert all(all(a < b for a, b in zip(low, high, strict=True)) for low, high in pairwise(rates))
