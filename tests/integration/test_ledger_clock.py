"""The database's clock may be set back. No intent is sent late for it, no limit opens, no cancel waits.

A step is known by an order that was reserved later than now, by a worker whose own clock went on
faster between two beats, or by a worker that starts and finds the last beat of anybody ahead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.life import SEND_BY_MS, SHARE, Life, incarnation

DAY_MS = 86_400_000
BEAT_MS = 1_000


async def start(life: Life, n: int = 1) -> None:
    await life.call("worker_started", incarnation(n), "w", "1")


class Heart:
    """A worker that beats, and what it remembers of its last beat."""

    def __init__(self, life: Life, n: int = 1) -> None:
        self._life = life
        self._me = incarnation(n)
        self._last: int | None = None

    async def beat(self, since_ms: int = BEAT_MS) -> int:
        """How much time the database's clock has lost since the last beat, as far as is known."""
        since = None if self._last is None else since_ms
        answer = await self._life.call("beat", self._me, 5_000, self._last, since)
        self._last = answer["at_us"]
        return int(answer["lost_ms"])


async def steps(life: Life) -> list[dict[str, Any]]:
    found = await life.conn.fetch("SELECT * FROM ledger.clock_step ORDER BY last_order_id")
    return [dict(row) for row in found]


@pytest.fixture(name="heart")
async def _heart(life: Life) -> Heart:
    await start(life)
    heart = Heart(life)
    assert await heart.beat() == 0
    return heart


# ---- what was reserved before


@pytest.mark.parametrize("state", ["prepared", "held_back"])
async def test_an_intent_from_the_future_is_not_sent(life: Life, state: str) -> None:
    order_id = await getattr(life, state)()
    await life.clock.advance(2_000)
    await life.claim()
    await life.clock.advance(-3_600_000)
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "NOT_PLACED"
    assert await life.balance() == (10_000 * SHARE, 0)


async def test_an_unknown_order_from_the_future_is_not_sent_again(life: Life) -> None:
    order_id = await life.unknown()
    await life.clock.advance(-3_600_000)
    (work,) = await life.claim_look_ups()
    assert (work["wanted"], work["valid_for_ms"]) == (False, 0)
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "UNKNOWN"
    assert await life.claim_cancels() == [order_id]


async def test_what_was_reserved_before_a_step_that_a_beat_finds_ends_unsent(
    life: Life, heart: Heart
) -> None:
    await life.clock.advance(10_000)
    assert await heart.beat(10_000) == 0
    prepared = await life.prepared(valid_for_ms=30_000)
    waiting = await life.reserved(valid_for_ms=30_000)
    await life.clock.advance(10_000)
    assert await heart.beat(10_000) == 0
    # it is younger than its validity by this clock, and for how long no longer by any other
    await life.clock.advance(-9_000 + BEAT_MS)
    assert await heart.beat() == 9_000
    assert (await life.open_attempt(prepared))["code"] == "EXPIRED"
    assert await life.call("sweep_expired") == 1
    assert [await life.state(one) for one in (prepared, waiting)] == ["NOT_PLACED"] * 2
    (step,) = await steps(life)
    assert (step["lost_ms"], step["last_order_id"]) == (9_000, waiting)
    assert step["found_by"] == incarnation(1)


async def test_an_unknown_order_is_not_sent_again_after_a_step(life: Life, heart: Heart) -> None:
    order_id = await life.unknown(valid_for_ms=DAY_MS)
    await life.clock.advance(60_000)
    await heart.beat(60_000)
    await life.clock.advance(-30_000)
    assert await heart.beat() > 0
    (work,) = await life.claim_look_ups()
    assert not work["wanted"]
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "UNKNOWN", "only evidence ends that"


async def test_what_is_at_the_venue_goes_on_after_a_step(life: Life, heart: Heart) -> None:
    order_id = await life.live()
    await life.clock.advance(-3_600_000)
    assert await heart.beat() > 0
    await life.call("sweep_expired")
    assert await life.state(order_id) == "LIVE"
    await life.fill(order_id, 10 * SHARE, "CONFIRMED")
    assert await life.state(order_id) == "FILLED"


# ---- how a step is found


@pytest.mark.parametrize(
    ("gone_ms", "since_ms", "lost_ms"),
    [
        (1_000, 1_000, 0),
        (60_000, 1_000, 0),  # forward: nothing is sent longer for it
        (0, 1_000, 0),  # clocks differ
        (0, 1_001, 1_001),
        (-1, 1_000, 1_001),
        (598_000, 600_000, 2_000),
    ],
)
async def test_a_beat_finds_what_the_clock_has_lost_by_more_than_a_second(
    life: Life, heart: Heart, gone_ms: int, since_ms: int, lost_ms: int
) -> None:
    await life.clock.advance(gone_ms)
    assert await heart.beat(since_ms) == lost_ms
    assert [one["lost_ms"] for one in await steps(life)] == [lost_ms][: bool(lost_ms)]


async def test_a_step_that_several_find_is_noted_once(life: Life, heart: Heart) -> None:
    await start(life, 2)
    other = Heart(life, 2)
    await other.beat()
    await life.reserved()
    await life.clock.advance(-5_000)
    assert await heart.beat() > 0
    assert await other.beat() > 0
    assert len(await steps(life)) == 1


async def test_a_worker_that_starts_behind_the_last_beat_of_another_notes_a_step(
    life: Life, heart: Heart
) -> None:
    order_id = await life.prepared(valid_for_ms=DAY_MS)
    await life.clock.advance(60_000)
    await heart.beat(60_000)
    await life.call("worker_stopped", incarnation(1))
    await start(life, 2)
    assert await steps(life) == []
    await life.clock.advance(-30_000)
    await start(life, 3)
    (step,) = await steps(life)
    assert (step["lost_ms"], step["found_by"]) == (30_000, incarnation(3))
    assert await life.call("sweep_expired") == 1
    assert await life.state(order_id) == "NOT_PLACED"


# ---- what is reserved afterwards


async def test_what_is_reserved_after_a_step_lives_by_the_new_time(
    life: Life, heart: Heart
) -> None:
    """Also in a market whose own time, which no limit may see go back, is ahead of the clock."""
    await life.reserved()
    await life.clock.advance(-3_600_000)
    assert await heart.beat() > 0
    await life.call("sweep_expired")
    order_id = await life.reserved(valid_for_ms=5_000)
    order = await life.row("orders", order_id)
    assert order["created_at"] == life.clock.now
    assert order["valid_until"] == life.clock.now + timedelta(seconds=5)
    (work,) = await life.claim()
    assert (work["order_id"], work["valid_for_ms"], work["wanted"]) == (order_id, 5_000, True)
    await life.prepare(order_id)
    await life.clock.advance(4_000)
    assert (await life.open_attempt(order_id))["send_within_ms"] == 1_000
    assert (await life.complete("hold_back", order_id))["state"] == "HELD_BACK"
    await life.clock.advance(1_000)
    assert await life.call("sweep_expired") == 1, "no later than by the clock"


async def test_what_was_held_back_after_a_step_goes_again_when_the_venue_allows_it(
    life: Life, heart: Heart
) -> None:
    await life.reserved()
    await life.clock.advance(-3_600_000)
    await heart.beat()
    await life.call("sweep_expired")
    order_id = await life.sending()
    await life.complete("hold_back", order_id, retry_after_ms=300)
    assert await life.claim() == []
    await life.clock.advance(300)
    assert [work["order_id"] for work in await life.claim()] == [order_id]


async def test_no_cancel_waits_for_the_time_of_its_market(life: Life) -> None:
    order_id = await life.live()
    await life.clock.advance(-3_600_000)
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    await life.cancel_answered(order_id)
    await life.clock.advance(1_000)
    assert await life.claim_cancels() == [order_id]
    # nor for the time at which it was to be repeated
    await life.clock.advance(-3_600_000)
    assert await life.claim_cancels() == [order_id]


async def test_an_attempt_is_open_for_two_seconds_whatever_the_time_of_its_market(
    life: Life,
) -> None:
    await life.reserved(market="m1")
    ahead = life.clock.now
    await life.clock.advance(-3_600_000)
    await life.call("sweep_expired")
    order_id = await life.sending()
    attempt = await life.row("attempt", order_id)
    assert attempt["opened_at"] == ahead, "evidence is weighed by the market's time"
    assert attempt["send_by"] == ahead + timedelta(milliseconds=SEND_BY_MS)


@pytest.mark.parametrize("back_ms", [3_000, 240_000])
async def test_a_cancel_that_was_just_asked_for_waits_for_no_step_of_the_clock(
    life: Life, back_ms: int
) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await life.clock.advance(-back_ms)
    assert await life.claim_cancels() == [order_id]
