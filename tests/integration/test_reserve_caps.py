"""Caps and limiters hold whoever asks at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.errors import Code
from app.ledger import Admission, Refusal
from tests.support.trading import (
    SHARE,
    World,
    buy,
    singly,
    world_fixture,  # noqa: F401 - the fixture
)

CALLERS = 64


async def ask_singly(world: World, shares: int) -> Counter[str]:
    sessions = [await world.database.connect("trader") for _ in range(CALLERS)]
    answers = await asyncio.gather(
        *(singly(conn, buy(f"k{n}", shares)) for n, conn in enumerate(sessions))
    )
    return Counter(one.get("code", one["status"]) for (one,) in answers)


async def ask_in_shared_commits(world: World, shares: int) -> Counter[str]:
    ledger = await world.ledger()
    answers = await asyncio.gather(
        *(ledger.try_reserve(buy(f"k{n}", shares)) for n in range(CALLERS))
    )
    assert max(ledger.commits.sizes) > 1
    return Counter(str(one.code) if isinstance(one, Refusal) else "admitted" for one in answers)


async def ask_in_several_clients(world: World, shares: int) -> Counter[str]:
    ledgers = [await world.ledger() for _ in range(4)]
    answers = await asyncio.gather(
        *(ledgers[n % 4].try_reserve(buy(f"k{n}", shares)) for n in range(CALLERS))
    )
    return Counter(str(one.code) if isinstance(one, Refusal) else "admitted" for one in answers)


WAYS = pytest.mark.parametrize(
    "ask", [ask_singly, ask_in_shared_commits, ask_in_several_clients], ids=lambda way: way.__name__
)


@WAYS
async def test_64_callers_of_7_shares_under_a_cap_of_100_get_exactly_14_in(
    world: World, ask: object
) -> None:
    await world.open_limiter()
    found = await ask(world, 7)  # type: ignore[operator]
    assert found == {"admitted": 14, "CAP_OUTCOME": CALLERS - 14}
    assert (await world.rows())["orders"] == 14
    assert (await world.life.exposure())["pending_buy"] == [98 * SHARE, 0]
    assert await world.life.balance() == (
        10_000 * SHARE - 98 * 450_000,
        98 * 450_000,
    )


@WAYS
async def test_64_callers_under_the_default_limiter_get_exactly_one_in(
    world: World, ask: object
) -> None:
    await world.stop_clock()
    found = await ask(world, 7)  # type: ignore[operator]
    assert found == {"admitted": 1, "BURST_GAP": CALLERS - 1}
    assert (await world.rows())["orders"] == 1


async def test_the_limiter_admits_six_a_minute_and_one_in_two_seconds(world: World) -> None:
    clock = await world.stop_clock()
    ledger = await world.ledger()
    codes = []
    for n in range(8):
        answer = await ledger.try_reserve(buy(f"k{n}", 5))
        codes.append(answer.code if isinstance(answer, Refusal) else "admitted")
        await clock.advance(2_000)
    assert codes == ["admitted"] * 6 + [Code.BURST_MINUTE] * 2
    await clock.advance(60_000 - 16_000)
    assert isinstance(await ledger.try_reserve(buy("k9", 5)), Admission)


async def test_the_limiter_is_shared_by_clients_and_survives_them(world: World) -> None:
    clock = await world.stop_clock()
    await (await world.ledger()).reserve_pending(buy("k1", 5))
    await clock.advance(1_999)
    second = await world.ledger()
    answer = await second.try_reserve(buy("k2", 5))
    assert isinstance(answer, Refusal)
    assert answer.code is Code.BURST_GAP
    await clock.advance(1)
    assert isinstance(await second.try_reserve(buy("k2", 5)), Admission)


async def test_replays_and_refusals_do_not_count_against_the_limiter(world: World) -> None:
    clock = await world.stop_clock()
    ledger = await world.ledger()
    await ledger.reserve_pending(buy("k1", 5))
    await ledger.reserve_pending(buy("k1", 5))
    await ledger.try_reserve(buy("k2", 500))
    await clock.advance(2_000)
    assert isinstance(await ledger.try_reserve(buy("k3", 5)), Admission)


async def test_a_set_is_one_unit_for_the_gap_and_counts_singly_for_the_minute(
    world: World,
) -> None:
    clock = await world.stop_clock()
    ledger = await world.ledger()
    wanted = [buy(f"k{n}", 5, set_id=1) for n in range(7)]
    answers = await ledger.try_reserve_many(wanted)
    assert [isinstance(one, Admission) for one in answers] == [True] * 6 + [False]
    assert isinstance(answers[6], Refusal)
    assert answers[6].code is Code.DEFERRED
    await clock.advance(2_000)
    late = await ledger.try_reserve(buy("late", 5))
    assert isinstance(late, Refusal)
    assert late.code is Code.BURST_MINUTE


async def test_two_sets_that_share_a_commit_stay_two_sets(world: World) -> None:
    """Both callers number their set 1; one of them must still wait for the gap."""
    await world.stop_clock()
    ledger = await world.ledger(pool_size=2)
    blocker = asyncio.gather(ledger.try_reserve(buy("first", 5, market="m2")))
    sets = [
        ledger.try_reserve_many([buy(f"{name}{n}", 5, set_id=1) for n in range(2)])
        for name in ("a", "b")
    ]
    first, second = await asyncio.gather(*sets)
    await blocker
    assert ledger.commits.sizes[4] == 1, "the two sets did not travel together"
    assert all(isinstance(one, Admission) for one in first)
    assert [one.code for one in second if isinstance(one, Refusal)] == [Code.BURST_GAP] * 2


async def test_an_intent_that_clamps_takes_what_is_left_under_the_cap(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    await ledger.reserve_pending(buy("k1", 93))
    clamped = await ledger.reserve_pending(buy("k2", 20, clamp=True))
    assert (clamped.size_micros, clamped.clamped) == (7 * SHARE, True)
    again = await ledger.reserve_pending(buy("k2", 20, clamp=True))
    assert (again.size_micros, again.clamped, again.replay) == (7 * SHARE, True, True)
    refused = await ledger.try_reserve(buy("k3", 20, clamp=True))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.CAP_OUTCOME


async def test_the_cap_of_a_market_counts_both_outcomes(world: World) -> None:
    await world.open_limiter()
    await world.limit("max_market_micros", 150 * SHARE)
    ledger = await world.ledger()
    await ledger.reserve_pending(buy("up", 100))
    refused = await ledger.try_reserve(buy("down", 60, outcome="Down"))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.CAP_MARKET
    await ledger.reserve_pending(buy("down", 50, outcome="Down"))


async def test_an_order_that_never_left_frees_its_capacity_when_it_is_cancelled(
    world: World,
) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    first = await ledger.reserve_pending(buy("k1", 100))
    assert isinstance(await ledger.try_reserve(buy("k2", 5)), Refusal)
    await ledger.cancel(first.order_id)
    assert isinstance(await ledger.try_reserve(buy("k2", 100)), Admission)
