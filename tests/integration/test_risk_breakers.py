"""Breakers: what opens one, how long, what goes on all the same, and what closes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.life import Life

MINUTE_MS = 60_000


@pytest.fixture(name="open_life")
async def _open_life(life: Life) -> Life:
    for name in ("burst_per_minute", "burst_gap_ms", "max_outcome_micros", "max_market_micros"):
        await life.limit(name, None)
    await life.add_market("m2")
    return life


async def code(life: Life, **changes: Any) -> str:
    answer = await life.reserve(**changes)
    return str(answer.get("code", answer["status"]))


async def rejected(life: Life, reason_class: str = "ours", **changes: Any) -> int:
    order_id = await life.sending(**changes)
    answer = await life.complete("reject", order_id, code="NOT_ENOUGH", reason_class=reason_class)
    assert answer["state"] == "REJECTED"
    return order_id


async def waits_ms(life: Life, market: str = "m1") -> int:
    """How long nothing is admitted, found by asking."""
    until = await life.conn.fetchval(
        "SELECT max(b.until) FROM ledger.breaker b LEFT JOIN ledger.market m USING (market_id) "
        "WHERE b.until IS NOT NULL AND (b.market_id = 0 OR m.slug = $1)",
        market,
    )
    now = await life.conn.fetchval("SELECT ledger.clock()")
    return 0 if until is None else round((until - now).total_seconds() * 1000)


async def test_the_third_reject_pauses_the_market_then_one_probe_goes(open_life: Life) -> None:
    for _ in range(2):
        await rejected(open_life)
    assert await code(open_life) == "admitted"
    await open_life.item("release_pending", order_id=3)
    await rejected(open_life)
    assert await code(open_life) == "BREAKER"
    assert await code(open_life, market="m2") == "admitted", "other markets go on"
    assert await waits_ms(open_life) == MINUTE_MS
    await open_life.clock.advance(MINUTE_MS)
    probe = await open_life.sending()
    assert await code(open_life) == "BREAKER", "one at a time"
    await open_life.complete("acknowledge", probe)
    assert await code(open_life, price_micros=390_000) == "admitted"
    (closed,) = await open_life.events("BREAKER_CLOSED")
    assert closed["order_id"] == probe


async def test_rejects_of_probes_pause_for_longer_and_longer_up_to_two_hours(
    open_life: Life,
) -> None:
    """R2: 60 s from the third, then 5, 10, 20, 40 ... minutes from the fifth, at most two hours."""
    waits = []
    for _ in range(12):
        await rejected(open_life)
        waits.append(await waits_ms(open_life) // MINUTE_MS)
        await open_life.clock.advance(await waits_ms(open_life))
    assert waits == [0, 0, 1, 1, 5, 10, 20, 40, 80, 120, 120, 120]
    probe = await open_life.live()
    assert await open_life.state(probe) == "LIVE"
    for _ in range(2):
        await rejected(open_life, price_micros=390_000)
    assert await waits_ms(open_life) == 0, "a success began the count anew"


async def a_set(life: Life, count: int) -> list[int]:
    """Orders that travel together, prepared."""
    prices = [400_000 - n * 10_000 for n in range(count)]
    items = [life.request(price_micros=price, set_id=1, valid_for_ms=600_000) for price in prices]
    orders = [answer["order_id"] for answer in await life.call("reserve_pending", items)]
    await life.claim()
    for order_id in orders:
        await life.prepare(order_id)
    return orders


async def test_a_burst_that_was_on_its_way_is_one_step(open_life: Life) -> None:
    orders = await a_set(open_life, 8)
    for order_id in orders:
        assert (await open_life.open_attempt(order_id))["status"] == "ok"
    for order_id in orders:
        await open_life.complete("reject", order_id, code="NOT_ENOUGH", reason_class="ours")
    assert await waits_ms(open_life) == MINUTE_MS


async def test_the_venues_own_fault_pauses_the_account_longer_and_blames_no_market(
    open_life: Life,
) -> None:
    for market in ("m1", "m2", "m1"):
        await rejected(open_life, "venue", market=market)
    assert await waits_ms(open_life) == 2 * MINUTE_MS
    assert [await code(open_life, market=market) for market in ("m1", "m2")] == ["BREAKER"] * 2
    assert (
        await open_life.conn.fetchval("SELECT count(*) FROM ledger.breaker WHERE market_id <> 0")
        == 0
    )


async def test_what_was_admitted_before_waits_in_its_lane_and_is_not_sent(open_life: Life) -> None:
    *refused, waiting, other = await a_set(open_life, 5)
    for order_id in refused:
        assert (await open_life.open_attempt(order_id))["status"] == "ok"
        await open_life.complete("reject", order_id, code="NOT_ENOUGH", reason_class="ours")
    for order_id in (waiting, other):
        answer = await open_life.open_attempt(order_id)
        assert (answer["status"], answer["code"]) == ("refused", "BREAKER")
        assert await open_life.state(order_id) == "PREPARED"
    await open_life.clock.advance(MINUTE_MS)
    await open_life.claim()
    assert (await open_life.open_attempt(waiting))["status"] == "ok", "it is the probe"
    assert (await open_life.open_attempt(other))["code"] == "BREAKER"
    await open_life.complete("acknowledge", waiting)
    await open_life.clock.advance(5_000)
    await open_life.claim()
    assert (await open_life.open_attempt(other))["status"] == "ok"


async def test_a_probe_that_is_never_sent_makes_room_for_another(open_life: Life) -> None:
    for _ in range(3):
        await rejected(open_life)
    await open_life.clock.advance(MINUTE_MS)
    probe = await open_life.sending()
    assert await code(open_life) == "BREAKER"
    assert (await open_life.complete("hold_back", probe))["state"] == "HELD_BACK"
    assert await code(open_life) == "admitted"
    await open_life.item("release_pending", order_id=probe)
    await open_life.claim()
    await open_life.prepare(probe + 1)
    assert (await open_life.open_attempt(probe + 1))["status"] == "ok"


async def test_cancels_nobody_answers_stop_placements_and_never_cancels(open_life: Life) -> None:
    orders = [await open_life.live(price_micros=400_000 - n * 10_000) for n in range(4)]
    for order_id in orders[:3]:
        await open_life.cancel(order_id)
        await open_life.claim_cancels()
        await open_life.cancel_answered(order_id, "unknown")
    assert await code(open_life, price_micros=100_000) == "BREAKER"
    await open_life.cancel(orders[3])
    assert orders[3] in await open_life.claim_cancels()
    await open_life.cancel_answered(orders[3], "accepted")
    assert await code(open_life, price_micros=100_000) == "admitted"


@pytest.mark.parametrize(("took_ms", "wanted"), [(1_999, 6), (2_000, 3), (4_999, 3), (5_000, 0)])
async def test_a_slow_venue_halves_the_rate_and_a_very_slow_one_stops_it(
    open_life: Life, took_ms: int, wanted: int
) -> None:
    await open_life.limit("burst_per_minute", 6)
    slow = await open_life.sending(price_micros=500_000)
    await open_life.clock.advance(took_ms)
    await open_life.complete("acknowledge", slow)
    codes = [await code(open_life, price_micros=400_000 - n * 10_000) for n in range(7)]
    # the slow one itself is one of the six of its minute
    admitted = codes.count("admitted") + 1 if wanted else codes.count("admitted")
    assert admitted == wanted, codes


async def test_after_a_stop_a_probe_that_is_answered_in_time_opens_the_market_again(
    open_life: Life,
) -> None:
    slow = await open_life.sending(price_micros=500_000)
    await open_life.clock.advance(5_000)
    await open_life.complete("acknowledge", slow)
    assert await code(open_life) == "BREAKER"
    await open_life.clock.advance(MINUTE_MS)
    await open_life.live()
    assert await code(open_life, price_micros=390_000) == "admitted"


async def test_a_person_resets_a_breaker_with_a_reason(open_life: Life) -> None:
    for _ in range(3):
        await rejected(open_life)
    with pytest.raises(Exception, match="needs a reason"):
        await open_life.conn.fetchval("SELECT ledger.reset_breaker('main', 'm1', '')")
    assert await open_life.conn.fetchval("SELECT ledger.reset_breaker('main', 'm1', 'mended')") == 1
    assert await open_life.conn.fetchval("SELECT ledger.reset_breaker('main', 'm1', 'mended')") == 0
    assert await code(open_life) == "admitted"


async def test_a_breaker_is_there_after_a_restart_and_sound_in_the_audit(open_life: Life) -> None:
    for _ in range(3):
        await rejected(open_life)
    rows = await open_life.conn.fetch("SELECT name, is_notice FROM audit.checks()")
    assert {row["name"] for row in rows if not row["is_notice"]} == set()
    assert "open_breakers" in {row["name"] for row in rows}
    await open_life.conn.execute("UPDATE ledger.breaker SET until = NULL, count = 0")
    found = await open_life.conn.fetch("SELECT name FROM audit.checks() WHERE NOT is_notice")
    assert {row["name"] for row in found} == {"breakers"}


async def test_no_threshold_means_no_breaker(open_life: Life) -> None:
    await open_life.limit("breaker_rejects", None)
    for _ in range(6):
        await rejected(open_life)
    assert await code(open_life) == "admitted"
