"""Which order is a breaker's probe, what it may close, and what counts as one step of a breaker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.test_ledger_races import blocked
from tests.support.database import TestDatabase
from tests.support.life import Life, incarnation

MINUTE_MS = 60_000
LONG_MS = 3_600_000


async def code(life: Life, **changes: Any) -> str:
    answer = await life.reserve(**changes)
    return str(answer.get("code", answer["status"]))


async def breaker(life: Life, kind: str) -> dict[str, Any]:
    found = await life.conn.fetchrow(
        "SELECT b.*, coalesce(extract(epoch FROM b.until - ledger.clock()), 0)::int AS left_s "
        "FROM ledger.breaker b WHERE b.kind = $1",
        kind,
    )
    assert found is not None, f"no breaker of kind {kind}"
    return dict(found)


async def rejects(life: Life, count: int = 3, reason_class: str = "ours", **changes: Any) -> None:
    for _ in range(count):
        order_id = await life.sending(**changes)
        await life.complete("reject", order_id, code="NO", reason_class=reason_class)


async def in_flight(life: Life, count: int) -> list[int]:
    """Orders of one set, all of them sent."""
    wishes = [
        life.request(price_micros=400_000 - n * 10_000, set_id=1, valid_for_ms=LONG_MS)
        for n in range(count)
    ]
    orders = [answer["order_id"] for answer in await life.call("reserve_pending", wishes)]
    await life.claim()
    for order_id in orders:
        await life.prepare(order_id)
        assert (await life.open_attempt(order_id))["status"] == "ok"
    return orders


async def cancels_unanswered(life: Life, order_id: int, count: int) -> None:
    for _ in range(count):
        await life.clock.advance(3_001)
        assert order_id in await life.claim_cancels(), "a cancel is never kept back"
        await life.cancel_answered(order_id, "unknown")


async def being_cancelled(life: Life) -> int:
    order_id = await life.live(price_micros=300_000)
    await life.cancel(order_id)
    return order_id


# ---- cancels: there is no probe among them


async def test_the_cancel_breaker_opens_again_after_its_first_probe(life: Life) -> None:
    order_id = await being_cancelled(life)
    await cancels_unanswered(life, order_id, 3)
    assert await code(life) == "BREAKER"
    await life.clock.advance(MINUTE_MS)
    await life.live(price_micros=380_000)
    assert await code(life, price_micros=370_000) == "admitted", "the accepted probe closed it"
    await cancels_unanswered(life, order_id, 3)
    assert await code(life, price_micros=360_000) == "BREAKER"


async def test_a_cancel_unanswered_after_the_pause_counts_on_without_any_probe(life: Life) -> None:
    order_id = await being_cancelled(life)
    waits: list[int] = []
    for _ in range(5):
        await cancels_unanswered(life, order_id, 1 if waits else 3)
        waits.append((await breaker(life, "cancel"))["left_s"])
        await life.clock.advance(waits[-1] * 1_000)
    assert waits == [60, 60, 300, 600, 1_200]


async def test_a_burst_of_unanswered_cancels_is_one_step(life: Life) -> None:
    order_id = await being_cancelled(life)
    await cancels_unanswered(life, order_id, 10)
    found = await breaker(life, "cancel")
    assert found["count"] == 3
    assert 0 < found["left_s"] <= 60


@pytest.mark.parametrize("answer", ["accepted", "refused", "not_listed"])
async def test_an_answer_to_a_cancel_ends_the_row_of_unanswered_ones_whatever_it_says(
    life: Life, answer: str
) -> None:
    order_id = await being_cancelled(life)
    for _ in range(3):
        await cancels_unanswered(life, order_id, 2)
        await life.cancel_answered(order_id, answer)
    assert await code(life) == "admitted"
    await cancels_unanswered(life, order_id, 3)
    assert await code(life) == "BREAKER"
    await life.cancel_answered(order_id, answer)
    assert await code(life) == "admitted", "it is answered again"


async def test_a_cancel_that_was_not_sent_is_no_answer(life: Life) -> None:
    order_id = await being_cancelled(life)
    for _ in range(3):
        await cancels_unanswered(life, order_id, 1)
        await life.cancel_answered(order_id, "not_sent")
    assert await code(life) == "BREAKER"


async def test_an_accepted_order_says_nothing_about_cancels_unless_it_is_the_probe(
    life: Life,
) -> None:
    order_id = await being_cancelled(life)
    await cancels_unanswered(life, order_id, 2)
    await life.live()
    await cancels_unanswered(life, order_id, 1)
    assert await code(life, price_micros=390_000) == "BREAKER"


async def test_a_probe_does_not_close_what_a_cancel_has_opened_again_meanwhile(life: Life) -> None:
    order_id = await being_cancelled(life)
    await cancels_unanswered(life, order_id, 3)
    await life.clock.advance(MINUTE_MS)
    probe = await life.sending()
    await cancels_unanswered(life, order_id, 1)
    await life.complete("acknowledge", probe)
    assert await code(life, price_micros=390_000) == "BREAKER"


# ---- the probe is what leaves


async def test_the_head_of_the_lane_is_the_probe_though_a_later_order_was_admitted_after_the_pause(
    life: Life,
) -> None:
    orders = await in_flight(life, 3)
    head = await life.reserved(price_micros=350_000, valid_for_ms=LONG_MS)
    for order_id in orders:
        await life.complete("reject", order_id, code="NO", reason_class="ours")
    await life.clock.advance(MINUTE_MS)
    later = await life.reserved(price_micros=300_000, valid_for_ms=LONG_MS)
    assert [work["order_id"] for work in await life.claim()] == [head]
    await life.prepare(head)
    assert (await life.open_attempt(head))["status"] == "ok"
    await life.complete("acknowledge", head)
    assert [work["order_id"] for work in await life.claim()] == [later]
    await life.prepare(later)
    assert (await life.open_attempt(later))["status"] == "ok"


async def test_no_market_of_the_account_waits_for_a_probe_behind_an_unknown_order(
    life: Life,
) -> None:
    await life.add_market("m2")
    await life.unknown(valid_for_ms=1_000)
    await rejects(life, reason_class="venue", market="m2")
    await life.clock.advance(2 * MINUTE_MS)
    stuck = await life.reserved(price_micros=300_000, valid_for_ms=LONG_MS)
    probe = await life.live(market="m2", price_micros=310_000)
    assert await life.state(stuck) == "RESERVED", "its lane is blocked"
    assert (await breaker(life, "venue"))["until"] is None
    (closed,) = await life.events("BREAKER_CLOSED")
    assert closed["order_id"] == probe


async def test_a_probe_that_was_held_back_does_not_keep_the_other_markets_waiting(
    life: Life,
) -> None:
    await life.add_market("m2")
    await rejects(life, reason_class="venue")
    await life.clock.advance(2 * MINUTE_MS)
    first = await life.held_back(valid_for_ms=LONG_MS)
    second = await life.sending(market="m2")
    await life.clock.advance(1_000)
    await life.claim()
    assert (await life.open_attempt(first))["code"] == "BREAKER", "one at a time"
    await life.complete("acknowledge", second)
    await life.clock.advance(5_000)
    await life.claim()
    assert (await life.open_attempt(first))["status"] == "ok"


async def test_no_second_probe_leaves_while_the_first_is_unknown_not_even_after_the_next_pause(
    life: Life, second: Life
) -> None:
    await rejects(life)
    await life.clock.advance(MINUTE_MS)
    probe = await life.sending(valid_for_ms=LONG_MS)
    await life.clock.advance(10_000)
    await life.complete("mark_unknown", probe)
    await life.clock.advance(MINUTE_MS)
    assert (await breaker(life, "latency"))["left_s"] == 0, "its pause is over"
    assert await code(life, price_micros=350_000) == "BREAKER"
    assert await code(second, price_micros=350_000) == "BREAKER", "another start of a worker"
    await life.read(probe, "LIVE")
    another = await life.sending(price_micros=350_000)
    await life.complete("acknowledge", another)
    rows = await life.conn.fetch("SELECT state FROM audit.breakers")
    assert {row["state"] for row in rows} == {"closed"}


async def test_two_sessions_that_send_at_once_after_the_pause_send_one_probe(
    life: Life, second: Life
) -> None:
    await life.add_market("m2")
    await rejects(life, reason_class="venue")
    await life.clock.advance(2 * MINUTE_MS)
    orders = [await life.reserved(market=market, valid_for_ms=LONG_MS) for market in ("m1", "m2")]
    await life.claim(1)
    await second.claim(1)
    await life.prepare(orders[0])
    await second.prepare(orders[1])
    async with life.conn.transaction():
        assert (await life.open_attempt(orders[0]))["status"] == "ok"
        other = asyncio.create_task(second.open_attempt(orders[1]))
        await blocked(life)
    assert (await other)["code"] == "BREAKER"
    assert [await life.state(order_id) for order_id in orders] == ["SENDING", "PREPARED"]


async def test_many_sessions_never_have_two_probes_under_way(
    life: Life, module_database: TestDatabase
) -> None:
    """Whoever comes first; held back, unknown and found, again and again."""
    markets = ("m1", "m2", "m3")
    for market in markets[1:]:
        await life.add_market(market)
    await rejects(life, reason_class="venue")
    await life.clock.advance(2 * MINUTE_MS)
    sessions = [life.on(await module_database.connect(), incarnation(n)) for n in (2, 3)]
    for n in range(6):
        for market in markets:
            await life.reserved(
                market=market, price_micros=390_000 - n * 10_000, valid_for_ms=LONG_MS
            )

    async def send(session: Life) -> list[int]:
        sent = []
        for work in await session.claim():
            order_id = work["order_id"]
            if work["state"] == "RESERVED":
                await session.prepare(order_id)
            if (await session.open_attempt(order_id))["status"] == "ok":
                sent.append(order_id)
        return sent

    for n in range(5):
        sent = await asyncio.gather(*(send(session) for session in sessions))
        (probe,) = sent[0] + sent[1]
        holder = next(s for s, orders in zip(sessions, sent, strict=True) if orders)
        await life.clock.advance(1_000)
        assert await asyncio.gather(*(send(session) for session in sessions)) == [[], []]
        if n % 2:
            await holder.complete("hold_back", probe, (await life.row("orders", probe))["attempts"])
            await life.item("release_pending", order_id=probe)
        else:
            attempts = (await life.row("orders", probe))["attempts"]
            await holder.complete("mark_unknown", probe, attempts)
            await life.read(probe, "LIVE")
        await life.clock.advance(5_000)


# ---- what closes an open breaker


async def test_an_order_sent_before_it_opened_does_not_close_it(life: Life) -> None:
    *orders, late = await in_flight(life, 4)
    for order_id in orders:
        await life.complete("reject", order_id, code="NO", reason_class="ours")
    await life.complete("acknowledge", late)
    assert await code(life, price_micros=300_000) == "BREAKER"
    assert (await breaker(life, "reject"))["left_s"] == 60
    await life.clock.advance(MINUTE_MS)
    await life.live(price_micros=300_000)
    assert (await breaker(life, "reject"))["until"] is None, "its probe does"


async def test_an_answer_after_the_pause_to_what_was_sent_before_it_neither_closes_nor_counts(
    life: Life,
) -> None:
    *orders, good, bad = await in_flight(life, 5)
    for order_id in orders:
        await life.complete("reject", order_id, code="NO", reason_class="ours")
    await life.clock.advance(MINUTE_MS)
    before = await breaker(life, "reject")
    await life.complete("acknowledge", good)
    await life.complete("reject", bad, code="NO", reason_class="ours")
    assert await breaker(life, "reject") == before


# ---- slow answers, and none


async def test_an_order_without_an_answer_counts_as_slow_by_the_time_it_took(life: Life) -> None:
    for took_ms, state in ((1_999, None), (2_000, "slowed"), (10_000, "open")):
        order_id = await life.sending(price_micros=400_000 - took_ms // 1_000 * 10_000)
        await life.clock.advance(took_ms)
        await life.complete("mark_unknown", order_id)
        await life.read(order_id, "CANCELLED")
        found = await life.conn.fetchval("SELECT state FROM audit.breakers WHERE kind = 'latency'")
        assert found == state, took_ms
    assert await code(life, price_micros=100_000) == "BREAKER"
    assert (await breaker(life, "latency"))["why"] == "no answer for 10000 ms"


async def test_a_probe_without_an_answer_pauses_for_longer_and_a_quick_unknown_closes_nothing(
    life: Life,
) -> None:
    waits: list[int] = []
    for price in (400_000, 390_000, 380_000):
        order_id = await life.sending(price_micros=price)
        await life.clock.advance(10_000)
        await life.complete("mark_unknown", order_id)
        await life.read(order_id, "CANCELLED")
        waits.append((await breaker(life, "latency"))["left_s"])
        await life.clock.advance(waits[-1] * 1_000)
    assert waits == [60, 60, 300]
    order_id = await life.unknown()
    await life.read(order_id, "CANCELLED")
    assert (await breaker(life, "latency"))["until"] is not None


# ---- what is the whole account's matter


async def test_refused_credentials_pause_the_account_and_blame_no_market(life: Life) -> None:
    await life.add_market("m2")
    await life.add_market("m3")
    for market in ("m1", "m2", "m3"):
        await rejects(life, 1, "credentials", market=market)
    for market in ("m1", "m2", "m3"):
        assert await code(life, market=market, price_micros=300_000) == "BREAKER"
    (row,) = await life.conn.fetch("SELECT kind, market, count FROM audit.breakers")
    assert tuple(row) == ("credentials", None, 3)
    assert (await breaker(life, "credentials"))["left_s"] == 120
    await life.clock.advance(2 * MINUTE_MS)
    await life.live(market="m2")
    assert await code(life, market="m3", price_micros=300_000) == "admitted"


@pytest.mark.parametrize("reason_class", ["ours", "venue", "credentials"])
async def test_a_cancel_leaves_while_a_breaker_is_open_and_while_its_probe_is_under_way(
    life: Life, reason_class: str
) -> None:
    resting = [await life.live(price_micros=100_000 + n * 10_000) for n in range(2)]
    await rejects(life, reason_class=reason_class)
    await life.cancel(resting[0])
    assert await life.claim_cancels() == [resting[0]]
    await life.clock.advance(2 * MINUTE_MS)
    probe = await life.unknown()
    await life.cancel(resting[1])
    await life.cancel(probe)
    assert set(await life.claim_cancels()) == {*resting, probe}


async def test_a_breaker_from_ahead_of_the_clock_lets_a_probe_out(life: Life) -> None:
    """Opened while the clock was hours ahead, it is not to hold everything back until then."""
    await life.limit("breaker_rejects", 1)
    await life.clock.advance(10 * 3_600_000)
    await life.complete("reject", await life.sending())
    assert (await life.reserve(price_micros=390_000))["code"] == "BREAKER"
    await life.clock.advance(-10 * 3_600_000)
    order_id = await life.sending(price_micros=390_000)
    await life.complete("acknowledge", order_id)
    assert (await life.reserve(price_micros=380_000))["status"] == "admitted"
