"""The database's clock may be set back while somebody holds a market, a lease or a claim, or has died holding it.

Nobody holds anything for the length of the step, nothing has two holders, and nothing is sent twice for it.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.life import LEASE_MS, QUARANTINE_MS, SHARE, Item, Life, incarnation

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LONGEST_MUTEX_MS = 60_000
LONGEST_CLAIM_MS = 120_000
CUT_MS = 30_000
STREAM_MS = 4_000


async def take(life: Life, n: int, ttl_ms: int = LONGEST_MUTEX_MS) -> Item:
    return dict(await life.call("take_mutex", "main", "m1", incarnation(n), ttl_ms))


async def renew(life: Life, term: int, ttl_ms: int = LONGEST_MUTEX_MS) -> bool:
    return bool(await life.call("renew_mutex", "main", "m1", term, ttl_ms))


async def lease(life: Life, n: int, ttl_ms: int = STREAM_MS) -> int | None:
    term: int | None = await life.call("take_lease", "stream:main", incarnation(n), ttl_ms)
    return term


async def market_an_hour_ahead(life: Life) -> None:
    """A market whose own time, which no limit may see go back, is ahead of the clock."""
    await life.reserved()
    await life.clock.advance(-HOUR_MS)
    await life.call("sweep_expired")


# ---- the market mutex


async def test_a_market_held_and_renewed_after_a_step_is_nobody_elses(life: Life) -> None:
    await market_an_hour_ahead(life)
    held = await take(life, 3)
    assert await renew(life, held["term"])
    for _ in range(3):
        await life.clock.advance(20_000)
        assert (await take(life, 4))["code"] == "LOCKED"
        assert await renew(life, held["term"])


async def test_a_market_whose_holder_died_after_a_step_is_free_when_its_time_is_over(
    life: Life,
) -> None:
    await market_an_hour_ahead(life)
    held = await take(life, 3, 1_000)
    await life.clock.advance(999)
    assert (await take(life, 4))["code"] == "LOCKED"
    await life.clock.advance(1)
    assert (await take(life, 4))["term"] == held["term"] + 1


async def test_a_market_held_since_before_a_step_is_free_and_its_late_holder_is_refused(
    life: Life,
) -> None:
    held = await take(life, 3)
    await life.clock.advance(-HOUR_MS)
    assert not await renew(life, held["term"]), "what another may take is not kept either"
    assert (await life.reserve(mutex_term=held["term"]))["code"] == "MUTEX_LOST"
    assert (await life.reserve())["status"] == "admitted", "nobody holds it"
    taken = await take(life, 4)
    assert taken["term"] == held["term"] + 1
    assert (await life.reserve(mutex_term=held["term"]))["code"] == "MUTEX_LOST"
    assert (await life.reserve())["code"] == "LOCKED"
    assert await renew(life, taken["term"])


async def test_a_small_step_costs_a_holder_nothing(life: Life) -> None:
    held = await take(life, 3)
    await life.clock.advance(-1_000)
    assert (await take(life, 4))["code"] == "LOCKED"
    assert await renew(life, held["term"])


async def test_whoever_holds_a_market_after_a_step_reserves_and_replaces_in_it(
    life: Life,
) -> None:
    await market_an_hour_ahead(life)
    held = await take(life, 3)
    assert await renew(life, held["term"])
    own = await life.reserve(mutex_term=held["term"])
    assert own["status"] == "admitted", own
    assert (await life.reserve())["code"] == "LOCKED"
    changed = life.request(price_micros=410_000)
    assert (await life.call("replace_order", own["order_id"], changed))["code"] == "LOCKED"
    asked = await life.call(
        "replace_order", own["order_id"], changed | {"mutex_term": held["term"]}
    )
    assert asked["status"] == "asked", asked


# ---- leases


async def test_a_lease_of_the_dead_lapses_one_lease_after_a_step(life: Life) -> None:
    first = await lease(life, 3)
    await life.clock.advance(-HOUR_MS)
    for _ in range(4):
        assert await lease(life, 4) is None, "asking again does not lengthen it"
        await life.clock.advance(STREAM_MS // 4)
    assert first is not None
    assert await lease(life, 4) == first + 1
    assert await lease(life, 3) is None, "the late holder"


async def test_whoever_lives_keeps_its_lease_over_a_step(life: Life) -> None:
    first = await lease(life, 3)
    await life.clock.advance(-HOUR_MS)
    for _ in range(10):
        assert await lease(life, 4) is None
        await life.clock.advance(STREAM_MS // 3)
        assert await lease(life, 3) == first


async def test_a_lease_is_cut_to_its_own_length_and_not_to_that_of_whoever_asks(
    life: Life,
) -> None:
    await lease(life, 3, 60_000)
    await life.clock.advance(-HOUR_MS)
    assert await lease(life, 4, 1_000) is None
    await life.clock.advance(59_999)
    assert await lease(life, 4, 1_000) is None
    await life.clock.advance(1)
    assert await lease(life, 4, 1_000) == 2


# ---- claims


async def lapse(life: Life) -> Item:
    """What two sweeps find, one before and one after a claim of the dead has run out."""
    assert await life.call("sweep_lapsed") == {"lost": [], "taken_back": []}
    await life.clock.advance(CUT_MS)
    return dict(await life.call("sweep_lapsed"))


async def test_what_the_dead_were_sending_is_unknown_half_a_minute_after_a_step(
    life: Life,
) -> None:
    order_id = await life.sending()
    await life.clock.advance(-HOUR_MS)
    assert await life.call("sweep_lapsed") == {"lost": [], "taken_back": []}
    await life.clock.advance(CUT_MS - 1)
    assert await life.call("sweep_lapsed") == {"lost": [], "taken_back": []}
    await life.clock.advance(1)
    assert (await life.call("sweep_lapsed"))["lost"] == [order_id]
    assert await life.state(order_id) == "UNKNOWN"
    assert [work["order_id"] for work in await life.claim_look_ups()] == [order_id]


async def test_what_the_dead_had_claimed_is_given_back_half_a_minute_after_a_step(
    life: Life,
) -> None:
    order_id = await life.reserved(valid_for_ms=DAY_MS)
    await life.clock.advance(2 * HOUR_MS)
    await life.claim()
    await life.clock.advance(-HOUR_MS)
    assert await lapse(life) == {"lost": [], "taken_back": [order_id]}
    # and the claim itself has shown the step: how old the intent is cannot be told any more
    assert await life.call("sweep_expired") == 1
    assert await life.state(order_id) == "NOT_PLACED"


async def test_whoever_lives_keeps_its_claim_over_a_step_and_its_answer_counts(
    life: Life, second: Life
) -> None:
    order_id = await life.sending()
    await life.clock.advance(-HOUR_MS)
    for _ in range(5):
        assert await second.call("sweep_lapsed") == {"lost": [], "taken_back": []}
        assert await life.call("renew_claims", life.worker, LONGEST_CLAIM_MS, (order_id,)) == 1
        await life.clock.advance(LONGEST_CLAIM_MS // 5)
    assert (await life.complete("acknowledge", order_id))["state"] == "LIVE"


async def test_an_order_lost_to_a_step_is_sent_once_whatever_its_sender_says_late(
    life: Life, second: Life
) -> None:
    """Reserved long before the step, so by its time alone it might go again."""
    order_id = await life.reserved(valid_for_ms=DAY_MS)
    await life.clock.advance(2 * HOUR_MS)
    await life.claim()
    await life.prepare(order_id)
    assert (await life.open_attempt(order_id))["status"] == "ok"
    await life.clock.advance(-HOUR_MS)
    assert (await lapse(second))["lost"] == [order_id]
    (work,) = await second.claim_look_ups()
    assert (work["wanted"], work["valid_for_ms"]) == (False, 0)
    assert (await second.open_attempt(order_id))["code"] == "EXPIRED"
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    late = await life.complete("acknowledge", order_id)
    assert late["code"] == "STALE_ATTEMPT"
    order = await life.row("orders", order_id)
    assert (order["state"], order["seen_at_venue"], order["attempts"]) == ("UNKNOWN", True, 1)
    assert (await life.read(order_id, "LIVE"))["state"] == "LIVE"


async def test_absence_is_not_proven_by_the_time_of_a_step(life: Life) -> None:
    """The sender's bytes may be on their way still: its quarantine goes by the market's time."""
    order_id = await life.sending()
    await life.clock.advance(-HOUR_MS)
    assert (await lapse(life))["lost"] == [order_id]
    await life.cancel(order_id)
    for passed_ms in (0, QUARANTINE_MS + 12_001):
        await life.clock.advance(passed_ms)
        await life.cancel_answered(order_id)
        for kind in ("order_absent", "trades_absent"):
            await life.evidence(order_id, kind)
        assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    assert await life.balance() == (10_000 * SHARE - 4 * SHARE, 4 * SHARE)


async def test_a_claim_from_ahead_shows_a_step_by_itself(life: Life) -> None:
    order_id = await life.sending()
    await life.clock.advance(-HOUR_MS)
    await life.call("sweep_lapsed")
    (step,) = await life.conn.fetch("SELECT * FROM ledger.clock_step")
    assert step["last_order_id"] == order_id
    assert step["lost_ms"] == HOUR_MS + LEASE_MS - LONGEST_CLAIM_MS, "as much at least"
    await life.call("sweep_lapsed")
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.clock_step") == 1


async def test_a_look_up_of_the_dead_is_done_by_the_next_and_its_late_claim_sends_nothing(
    life: Life, second: Life
) -> None:
    order_id = await life.unknown(valid_for_ms=DAY_MS)
    await life.clock.advance(1_100)
    assert len(await life.claim_look_ups()) == 1
    await life.clock.advance(-HOUR_MS)
    assert [work["order_id"] for work in await second.claim_look_ups()] == [order_id]
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"


@pytest.mark.parametrize("lease_ms", [LONGEST_CLAIM_MS, LONGEST_CLAIM_MS + 1, DAY_MS])
async def test_no_claim_is_longer_than_two_minutes(life: Life, lease_ms: int) -> None:
    order_id = await life.reserved()
    await life.claim(lease_ms=lease_ms)
    longest = life.clock.now + timedelta(milliseconds=LONGEST_CLAIM_MS)
    assert (await life.row("outbox", order_id))["claimed_until"] == longest
    await life.call("renew_claims", life.worker, lease_ms, (order_id,))
    assert (await life.row("outbox", order_id))["claimed_until"] == longest
