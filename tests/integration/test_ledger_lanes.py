"""Lanes: orders of a market leave in their order, an unknown head holds the rest, and no order is
ever claimed twice at once. Lessons 12, 35 and 41.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.database import TestDatabase
from tests.support.life import LEASE_MS, Life, incarnation


async def ids(life: Life) -> list[int]:
    return [work["order_id"] for work in await life.claim()]


async def test_a_lane_gives_its_orders_one_after_the_other(life: Life) -> None:
    first, second, third = [await life.reserved() for _ in range(3)]
    assert await ids(life) == [first]
    assert await ids(life) == []
    await life.prepare(first)
    await life.open_attempt(first)
    assert await ids(life) == []
    await life.complete("acknowledge", first)
    assert await ids(life) == [second]
    await life.cancel(second)
    assert await ids(life) == [third]


async def test_lanes_do_not_wait_for_each_other(life: Life) -> None:
    await life.add_market("m2")
    await life.unknown()
    other = await life.reserved(market="m2")
    assert await ids(life) == [other]


async def test_a_rejected_head_blocks_nothing(life: Life) -> None:
    head = await life.sending()
    behind = await life.reserved()
    await life.complete("reject", head)
    assert await ids(life) == [behind]


async def test_an_unknown_head_blocks_its_lane_until_evidence(life: Life) -> None:
    head = await life.unknown()
    behind = await life.reserved()
    await life.clock.advance(20_000)
    assert await ids(life) == []
    await life.read(head, "LIVE")
    assert await ids(life) == [behind]


@pytest.mark.parametrize("kind", ["hedge", "micro_hedge", "unwind", "emergency"])
async def test_it_passes_a_blocked_head(life: Life, kind: str) -> None:
    await life.unknown()
    await life.reserved()
    passing = await life.reserved(**{"class": kind})
    assert await ids(life) == [passing]


async def test_a_hedge_passes_no_head_that_is_merely_at_work(life: Life) -> None:
    head = await life.claimed()
    hedge = await life.reserved(**{"class": "hedge"})
    assert await ids(life) == []
    await life.prepare(head)
    await life.open_attempt(head)
    assert await ids(life) == []
    await life.complete("acknowledge", head)
    assert await ids(life) == [hedge]


async def test_a_head_held_back_is_not_overtaken(life: Life) -> None:
    head = await life.held_back()
    await life.reserved()
    assert await ids(life) == []
    await life.clock.advance(1_000)
    assert await ids(life) == [head]


async def test_an_operator_releases_a_lane_and_the_head_keeps_its_hold(life: Life) -> None:
    head = await life.unknown()
    behind = await life.reserved()
    assert await life.call("release_lane", "main", "m1", "seen on the page", "me") == 1
    (row,) = await life.events("LANE_RELEASED")
    assert (row["detail"]["operator"], row["detail"]["rows"]) == ("me", 1)
    assert await ids(life) == [behind]
    assert (await life.row("reservation", head))["shares_micros"] > 0
    assert [work["order_id"] for work in await life.claim_look_ups()] == [head]
    assert await life.call("release_lane", "main", "m1", "again", "me") == 0


async def resent(life: Life, order_id: int, attempt: int) -> None:
    """The same bytes are under way again."""
    await life.clock.advance(2_000)
    assert order_id in [work["order_id"] for work in await life.claim_look_ups()]
    assert (await life.open_attempt(order_id))["attempt"] == attempt


async def release(life: Life) -> int:
    return int(await life.call("release_lane", "main", "m1", "seen on the page", "me"))


async def test_a_released_head_blocks_no_more_though_its_resends_are_lost_again(life: Life) -> None:
    head = await life.unknown(valid_for_ms=86_400_000)
    assert await release(life) == 1
    for attempt in (2, 3):
        await resent(life, head, attempt)
        beside = await life.reserved()
        assert await ids(life) == [beside], "nor while it is under way"
        await life.cancel(beside)
        assert (await life.complete("mark_unknown", head, attempt))["state"] == "UNKNOWN"
        behind = await life.reserved()
        assert await ids(life) == [behind]
        await life.cancel(behind)
    assert (await life.row("outbox", head))["status"] == "released"
    assert len(await life.events("LANE_RELEASED")) == 1


async def test_a_released_head_blocks_no_more_though_its_sender_dies(life: Life) -> None:
    head = await life.unknown(valid_for_ms=86_400_000)
    await release(life)
    await resent(life, head, 2)
    await life.clock.advance(LEASE_MS)
    assert (await life.call("sweep_lapsed"))["lost"] == [head]
    behind = await life.reserved()
    assert await ids(life) == [behind]


async def test_a_head_that_is_just_being_sent_again_can_be_released(life: Life) -> None:
    head = await life.unknown(valid_for_ms=86_400_000)
    await resent(life, head, 2)
    assert await release(life) == 1
    behind = await life.reserved()
    assert await ids(life) == [behind]
    await life.complete("mark_unknown", head, 2)
    assert (await life.row("outbox", head))["status"] == "released"
    # a first attempt is under way, not lost: it is the lane at work, and nothing to be released
    await life.prepare(behind)
    await life.open_attempt(behind)
    assert await release(life) == 0


async def test_a_release_is_for_the_heads_that_stood_then_and_names_them(life: Life) -> None:
    head = await life.unknown()
    await release(life)
    (row,) = await life.events("LANE_RELEASED")
    assert row["detail"] == {
        "rows": 1, "orders": [head], "why": "seen on the page", "operator": "me",
    }  # fmt: skip
    assert (await life.row("outbox", head))["released_at"] == life.clock.now
    later = await life.unknown()
    await life.reserved()
    assert await ids(life) == []
    assert await release(life) == 1
    assert [row["detail"]["orders"] for row in await life.events("LANE_RELEASED")] == [
        [head], [later],
    ]  # fmt: skip


async def test_a_released_head_ends_like_any_other(life: Life) -> None:
    head = await life.unknown()
    await release(life)
    await life.read(head, "CANCELLED")
    row = await life.row("outbox", head)
    assert (row["status"], await life.claim_look_ups()) == ("done", [])
    assert (await life.row("reservation", head))["phase"] == "released"


async def test_a_set_travels_together(life: Life) -> None:
    answers = await life.call("reserve_pending", [life.request(set_id=7) for _ in range(4)])
    later = await life.reserved()
    assert await ids(life) == [answer["order_id"] for answer in answers]
    assert later not in await ids(life)


async def test_a_claim_takes_at_most_what_was_asked_for(life: Life) -> None:
    for n in range(5):
        await life.add_market(f"lane {n}")
        await life.reserved(market=f"lane {n}")
    assert len(await life.claim(limit=2)) == 2
    assert len(await life.claim(limit=2)) == 2
    assert len(await life.claim(limit=2)) == 1


async def test_a_worker_claims_only_for_accounts_it_names(life: Life) -> None:
    await life.open_account("other")
    await life.reserved(account="other")
    assert await ids(life) == []


# ---- dead letters


async def fail(life: Life, order_id: int) -> str:
    await life.clock.advance(30_000)
    assert await ids(life) == [order_id]
    claim_no = life.claims[order_id]
    return str(await life.call("fail_placement", order_id, life.worker, claim_no, "no key"))


async def test_the_fifth_failure_is_a_dead_letter_that_blocks_and_can_be_retried(
    life: Life,
) -> None:
    head = await life.reserved(valid_for_ms=86_400_000)
    behind = await life.reserved(valid_for_ms=86_400_000)
    assert [await fail(life, head) for _ in range(5)] == ["ready"] * 4 + ["dead"]
    await life.clock.advance(60_000)
    assert await ids(life) == []
    letter = await life.conn.fetchrow("SELECT * FROM ledger.dead_letter")
    assert (letter["subject"], letter["problem"]) == (str(head), "no key")
    assert await life.call("retry_dead_letter", letter["dead_letter_id"]) == f"outbox:{head}"
    assert await ids(life) == [head]
    await life.cancel(head)
    assert await ids(life) == [behind]


async def test_failures_are_retried_with_growing_pauses(life: Life) -> None:
    order_id = await life.reserved(valid_for_ms=86_400_000)
    for pause_ms in (1_000, 2_000, 4_000, 8_000):
        assert await ids(life) == [order_id]
        await life.call("fail_placement", order_id, life.worker, life.claims[order_id], "p")
        await life.clock.advance(pause_ms - 1)
        assert await ids(life) == []
        await life.clock.advance(1)


async def test_a_released_dead_letter_blocks_no_more_though_its_retries_fail(life: Life) -> None:
    head = await life.reserved(valid_for_ms=86_400_000)
    for _ in range(5):
        await fail(life, head)
    assert await release(life) == 1
    for _ in range(2):
        behind = await life.reserved()
        assert await ids(life) == [behind]
        letter = await life.conn.fetchval(
            "SELECT dead_letter_id FROM ledger.dead_letter WHERE retried_at IS NULL"
        )
        assert await life.call("retry_dead_letter", letter) == f"outbox:{head}"
        # claimed beside the lane, which has another head by now, and in nobody's way
        assert [await fail(life, head) for _ in range(5)] == ["ready"] * 4 + ["released"]
        await life.cancel(behind)
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.dead_letter") == 3


async def test_a_released_dead_letter_that_is_retried_is_sent(life: Life) -> None:
    head = await life.reserved(valid_for_ms=86_400_000)
    for _ in range(5):
        await fail(life, head)
    await release(life)
    busy = await life.claimed()
    letter = await life.conn.fetchval("SELECT dead_letter_id FROM ledger.dead_letter")
    await life.call("retry_dead_letter", letter)
    assert await ids(life) == [head]
    await life.prepare(head)
    await life.open_attempt(head)
    assert (await life.complete("mark_unknown", head))["state"] == "UNKNOWN"
    await life.cancel(busy)
    behind = await life.reserved()
    assert await ids(life) == [behind]


async def test_a_dead_intent_ends_when_its_time_runs_out(life: Life) -> None:
    order_id = await life.reserved(valid_for_ms=200_000)
    for _ in range(5):
        await fail(life, order_id)
    await life.clock.advance(200_000)
    assert await life.call("sweep_expired") == 1
    assert (await life.row("reservation", order_id))["phase"] == "released"
    behind = await life.reserved()
    assert await ids(life) == [behind]


# ---- several workers


async def test_what_another_session_is_just_claiming_is_skipped(life: Life, second: Life) -> None:
    await life.add_market("m2")
    first, other = await life.reserved(), await life.reserved(market="m2")
    async with life.conn.transaction():
        assert len(await life.claim(limit=1)) == 1
        assert [work["order_id"] for work in await second.claim()] == [other]
    assert await life.claim() == []
    assert (await life.row("outbox", first))["claimed_by"] == life.worker


async def test_no_order_is_claimed_twice_by_workers_that_race(
    life: Life, module_database: TestDatabase
) -> None:
    lanes, depth, workers = 12, 5, 4
    for n in range(lanes):
        await life.add_market(f"lane {n}")
        requests = [life.request(market=f"lane {n}") for _ in range(depth)]
        await life.call("reserve_pending", requests)
    order: dict[str, list[int]] = {}

    async def work(n: int) -> list[int]:
        mine = life.on(await module_database.connect(), incarnation(10 + n))
        done: list[int] = []
        empty = 0
        while empty < 3:
            claimed = await mine.claim(limit=3)
            empty = 0 if claimed else empty + 1
            for item in claimed:
                order_id = item["order_id"]
                assert (await mine.prepare(order_id))["state"] == "PREPARED"
                order.setdefault(str(item["market_id"]), []).append(order_id)
                assert (await mine.open_attempt(order_id))["state"] == "SENDING"
                assert (await mine.complete("acknowledge", order_id))["state"] == "LIVE"
                done.append(order_id)
        return done

    done = await asyncio.gather(*(work(n) for n in range(workers)))
    everything = [order_id for part in done for order_id in part]
    assert len(everything) == len(set(everything)) == lanes * depth
    # each lane in its order, whoever sent
    assert all(sent == sorted(sent) for sent in order.values())
    assert await life.conn.fetchval("SELECT max(claim_no) FROM ledger.outbox") == 1


async def test_a_look_up_is_claimed_by_one_at_a_time(life: Life, second: Life) -> None:
    order_id = await life.unknown()
    assert [work["order_id"] for work in await life.claim_look_ups()] == [order_id]
    assert await second.claim_look_ups() == []
    await life.clock.advance(LEASE_MS)
    assert [work["order_id"] for work in await second.claim_look_ups()] == [order_id]
