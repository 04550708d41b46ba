"""Cancels: nothing of ours delays one, no answer ends an order, and the sweep finds what raced.

Lessons 27-31: phantom cancels, cancel-all that missed what was in flight, back-off that held
cancels back.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.life import SHARE, Life, incarnation

START = 10_000 * SHARE


async def waiting_for_a_lock(life: Life) -> None:
    """Until some session of this database waits for a row lock."""
    async with asyncio.timeout(20):
        while not await life.conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        ):
            pass


@pytest.mark.parametrize("state", ["reserved", "claimed", "prepared", "held_back"])
async def test_a_cancel_of_what_was_never_sent_ends_it_at_once(life: Life, state: str) -> None:
    order_id = await getattr(life, state)()
    assert (await life.cancel(order_id))["state"] == "NOT_PLACED"
    row = await life.row("orders", order_id)
    assert (row["cause"], row["cancel_reason"]) == ("CANCEL_ASKED", "test")
    assert await life.balance() == (START, 0)
    assert (await life.exposure())["pending_buy"] == [0, 0]
    assert await life.claim_cancels() == []
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"


@pytest.mark.parametrize("state", ["sending", "unknown", "live"])
async def test_a_cancel_of_what_may_be_there_is_sent_and_frees_nothing(
    life: Life, state: str
) -> None:
    order_id = await getattr(life, state)()
    assert (await life.cancel(order_id))["status"] == "ok"
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    assert await life.claim_cancels() == [order_id]


async def test_an_attempt_that_opens_behind_a_cancel_is_refused(life: Life, second: Life) -> None:
    order_id = await life.prepared()
    second.worker, second.claims = life.worker, life.claims
    async with second.conn.transaction():
        assert (await second.cancel(order_id))["state"] == "NOT_PLACED"
        opening = asyncio.get_running_loop().create_task(life.open_attempt(order_id))
        await waiting_for_a_lock(second)
    assert (await opening)["code"] == "STALE_ATTEMPT"
    assert (await life.row("orders", order_id))["attempts"] == 0


async def test_a_cancel_behind_an_attempt_that_opens_is_queued(life: Life, second: Life) -> None:
    order_id = await life.prepared()
    async with life.conn.transaction():
        await life.open_attempt(order_id)
        cancelling = asyncio.get_running_loop().create_task(second.cancel(order_id))
        await waiting_for_a_lock(life)
    assert (await cancelling)["state"] == "SENDING"
    assert await life.claim_cancels() == [order_id]


# ---- nothing of ours delays a cancel


async def halted(life: Life, order_id: int) -> None:
    for scope, name in (("global", None), ("account", "main"), ("market", "m1")):
        await life.call("set_halt", scope, name, "test", "tester")


async def suspended(life: Life, order_id: int) -> None:
    await life.limit("max_outcome_micros", 1)
    assert await life.call("sweep_breaches") == 1


async def lane_blocked(life: Life, order_id: int) -> None:
    await life.unknown()


async def lane_dead(life: Life, order_id: int) -> None:
    dead = await life.reserved()
    for _ in range(5):
        await life.clock.advance(30_000)
        await life.claim()
        claim_no = life.claims[dead]
        await life.call("fail_placement", dead, life.worker, claim_no, "no key")
    assert (await life.row("outbox", dead))["status"] == "dead"


async def mutex_held(life: Life, order_id: int) -> None:
    answer = await life.call("take_mutex", "main", "m1", incarnation(9), 60_000)
    assert answer["status"] == "ok"


async def limiter_full(life: Life, order_id: int) -> None:
    await life.limit("burst_per_minute", 0)
    await life.limit("burst_gap_ms", 600_000)
    assert (await life.reserve())["code"] == "BURST_MINUTE"


async def not_tradable(life: Life, order_id: int) -> None:
    await life.add_market("m1", tradable=False, untradable_reasons=["CLOSED"])


async def negative_balance(life: Life, order_id: int) -> None:
    await life.call("book_movement", "main", "collateral", -2 * START, "withdrawal", "w", "")


HINDRANCES = [
    halted,
    suspended,
    lane_blocked,
    lane_dead,
    mutex_held,
    limiter_full,
    not_tradable,
    negative_balance,
]


@pytest.mark.parametrize("hindrance", HINDRANCES, ids=lambda f: f.__name__)
async def test_a_cancel_leaves_at_once_under(life: Life, hindrance: object) -> None:
    order_id = await life.live(valid_for_ms=86_400_000)
    await hindrance(life, order_id)  # type: ignore[operator]
    assert (await life.cancel(order_id))["status"] == "ok"
    assert order_id in await life.claim_cancels()


@pytest.mark.parametrize("hindrance", HINDRANCES, ids=lambda f: f.__name__)
async def test_a_cancel_of_what_was_never_sent_ends_it_under(life: Life, hindrance: object) -> None:
    order_id = await life.prepared(valid_for_ms=86_400_000)
    await life.call(
        "drop_claims", [{"order_id": order_id, "incarnation": str(life.worker), "claim_no": 1}]
    )
    if hindrance in (lane_blocked, lane_dead):
        await life.add_market("m2")
        life.market = "m2"
    await hindrance(life, order_id)  # type: ignore[operator]
    assert (await life.cancel(order_id))["state"] == "NOT_PLACED"


async def test_what_the_venue_refuses_is_repeated_at_its_earliest_time(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    await life.cancel_answered(order_id, "not_sent", retry_after_ms=250)
    await life.clock.advance(249)
    assert await life.claim_cancels() == []
    await life.clock.advance(1)
    assert await life.claim_cancels() == [order_id]


async def test_a_claimer_that_dies_delays_a_cancel_by_seconds(life: Life, second: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    assert await second.claim_cancels() == []
    await life.clock.advance(3_000)
    assert await second.claim_cancels() == [order_id]


async def test_asking_again_makes_it_leave_at_once_and_is_journaled_once(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await life.claim_cancels()
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    assert len(await life.events("CANCEL_ASKED")) == 1


async def test_cancelling_what_has_ended_or_never_was_does_nothing(life: Life) -> None:
    order_id = await life.cancelled()
    before = await life.row("orders", order_id)
    assert (await life.cancel(order_id))["state"] == "CANCELLED"
    assert (await life.cancel(4_711))["code"] == "UNKNOWN_ORDER"
    assert await life.row("orders", order_id) == before
    assert await life.claim_cancels() == []


async def test_each_id_of_a_cancel_is_answered_by_itself(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    answers = await life.call(
        "record_cancel_answers",
        [{"order_id": 4_711, "answer": "accepted"}, {"order_id": order_id, "answer": "maybe"},
         {"order_id": order_id, "answer": "accepted", "raw": "{}"}, 5,
         {"order_id": order_id}],
    )  # fmt: skip
    codes = [a.get("code", "ok") for a in answers]
    assert codes == ["BAD_REQUEST", "BAD_REQUEST", "ok", "BAD_REQUEST", "BAD_REQUEST"]


async def test_cancel_all_reaches_every_state_and_ends_by_itself(life: Life) -> None:
    ids = [await life.live(), await life.sending()]
    ids += [await life.reserved() for _ in range(3)]
    answers = await life.call("request_cancel_all", "main", None, "stop")
    assert [a["state"] for a in answers] == ["LIVE", "SENDING"] + ["NOT_PLACED"] * 3
    assert await life.call("request_cancel_all", "main", None, "stop") == []
    assert await life.claim_cancels() == ids[:2]


async def test_cancel_all_of_a_market_leaves_the_others(life: Life) -> None:
    await life.add_market("m2")
    here, there = await life.live(), await life.live(market="m2")
    await life.call("request_cancel_all", "main", "m1", "stop")
    assert await life.claim_cancels() == [here]
    assert (await life.row("orders", there))["cancel_asked_at"] is None


# ---- cancels that belong to an evaluation


async def test_a_cancel_inside_an_evaluation_needs_its_term(life: Life) -> None:
    order_id = await life.live()
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert (await life.cancel(order_id, mutex_term=term + 1))["code"] == "MUTEX_LOST"
    await life.clock.advance(1_000)
    assert (await life.cancel(order_id, mutex_term=term))["code"] == "MUTEX_LOST"
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert (await life.cancel(order_id, mutex_term=term))["status"] == "ok"


async def test_an_evaluation_that_gave_its_market_back_can_cancel_nothing_in_it(
    life: Life,
) -> None:
    order_id = await life.live()
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    await life.call("release_mutex", "main", "m1", term)
    assert (await life.cancel(order_id, mutex_term=term))["code"] == "MUTEX_LOST"
    assert (await life.cancel(order_id))["status"] == "ok"


# ---- the sweep


async def test_the_sweep_cancels_everything_under_a_halt(life: Life) -> None:
    await life.add_market("m2")
    live, waiting = await life.live(), await life.reserved()
    elsewhere = await life.live(market="m2")
    await life.call("set_halt", "market", "m1", "test", "tester")
    assert await life.call("sweep_cancels") == 2
    assert await life.state(waiting) == "NOT_PLACED"
    assert await life.claim_cancels() == [live]
    assert (await life.row("orders", elsewhere))["cancel_asked_at"] is None
    assert await life.call("sweep_cancels") == 0


async def test_the_sweep_finds_a_reservation_that_raced_the_halt(life: Life, second: Life) -> None:
    async with life.conn.transaction():
        order_id = await life.reserved()
        await second.call("set_halt", "global", None, "test", "tester")
        assert await second.call("sweep_cancels") == 0
    assert await life.call("sweep_cancels") == 1
    assert await life.state(order_id) == "NOT_PLACED"


async def test_an_order_that_raced_the_halt_is_not_sent_either(life: Life, second: Life) -> None:
    async with life.conn.transaction():
        order_id = await life.reserved()
        await second.call("set_halt", "global", None, "test", "tester")
    await life.claim()
    await life.prepare(order_id)
    assert (await life.open_attempt(order_id))["code"] == "HALTED"


async def test_the_sweep_cancels_what_is_reopened_under_a_halt(life: Life) -> None:
    order_id = await life.cancelled()
    await life.call("set_halt", "global", None, "test", "tester")
    await life.clock.advance(1)
    await life.observe(order_id, "LIVE", took_ms=0)
    assert await life.claim_cancels() == [order_id]
