"""How often a cancel is repeated: soon while there is something to cancel, seldom and quietly where there is not."""

from __future__ import annotations

import pytest

from tests.support.life import QUARANTINE_MS, REQUEST_TIMEOUT_MS, SEND_BY_MS, SHARE, Life

LONG_AFTER_MS = SEND_BY_MS + REQUEST_TIMEOUT_MS + QUARANTINE_MS + 1


async def tries(life: Life, order_id: int, answer: str, seconds: int, *, absent: bool) -> int:
    """How many DELETEs leave in that time, each followed by a read that shows it, or shows nothing."""
    sent = 0
    for _ in range(seconds):
        if order_id in await life.claim_cancels():
            sent += 1
            await life.cancel_answered(order_id, answer)
            if absent:
                await life.call("cancels_unseen", (order_id,))
            else:
                await life.read(order_id, "LIVE")
        await life.clock.advance(1_000)
    return sent


async def rows(life: Life) -> tuple[int, int]:
    """Journal rows of answers, and pieces of evidence."""
    journal = await life.conn.fetchval(
        "SELECT count(*) FROM ledger.journal WHERE event = 'CANCEL_ANSWERED'"
    )
    return journal, await life.conn.fetchval("SELECT count(*) FROM ledger.evidence")


@pytest.mark.parametrize("answer", ["refused", "accepted"])
async def test_what_the_venue_does_not_show_is_cancelled_seldom_after_five_tries(
    life: Life, answer: str
) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await tries(life, order_id, answer, 4, absent=True) == 4
    assert await tries(life, order_id, answer, 301, absent=True) == 11
    assert await rows(life) == (1, 1)


async def test_what_the_venue_shows_is_cancelled_each_second_and_told_once(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await tries(life, order_id, "refused", 60, absent=False) == 60
    assert await rows(life) == (1, 1)


@pytest.mark.parametrize("sighting", ["read", "stream", "fill"])
async def test_a_sighting_makes_a_slow_cancel_due_at_once(life: Life, sighting: str) -> None:
    order_id = await life.live(size_micros=10 * SHARE)
    await life.cancel(order_id)
    await tries(life, order_id, "refused", 10, absent=True)
    assert await life.claim_cancels() == []
    if sighting == "read":
        await life.read(order_id, "LIVE")
    elif sighting == "stream":
        await life.stream(order_id, "LIVE")
    else:
        await life.fill(order_id, SHARE)
    assert await life.claim_cancels() == [order_id]
    await life.cancel_answered(order_id, "refused")
    assert await tries(life, order_id, "refused", 5, absent=True) >= 4


async def test_a_person_who_asks_again_is_not_made_to_wait(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await tries(life, order_id, "refused", 10, absent=True)
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]


async def test_while_a_copy_may_still_appear_no_cancel_is_slow(life: Life) -> None:
    order_id = await life.unknown()
    await life.cancel(order_id)
    assert await tries(life, order_id, "refused", 120, absent=True) == 120


async def test_what_the_venue_holds_back_is_cancelled_each_second_for_a_minute(life: Life) -> None:
    """A look-up may not show it meanwhile, and nobody says when it comes to rest."""
    order_id = await life.sending()
    await life.complete("acknowledge_delayed", order_id)
    await life.cancel(order_id)
    assert await tries(life, order_id, "refused", 60, absent=True) == 60
    assert await tries(life, order_id, "refused", 306, absent=True) <= 16


async def test_another_answer_is_told(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    for answer, raw in (("refused", "a"), ("refused", "b"), ("refused", "b"), ("accepted", "b")):
        await life.cancel_answered(order_id, answer, raw=raw)
    assert await rows(life) == (3, 3)
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_the_same_refusal_after_the_last_copy_could_arrive_is_evidence_all_the_same(
    life: Life,
) -> None:
    order_id = await life.unknown(valid_for_ms=1_000)
    await life.cancel(order_id)
    await tries(life, order_id, "refused", 3, absent=True)
    await life.clock.advance(LONG_AFTER_MS)
    await life.cancel_answered(order_id, "refused")
    for kind in ("order_absent", "trades_absent"):
        await life.evidence(order_id, kind)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_look_ups_that_say_the_same_for_hours_are_evidence_once_on_each_side_of_the_quarantine(
    life: Life,
) -> None:
    order_id = await life.unknown(valid_for_ms=1_000)
    for _ in range(2):
        for _ in range(5):
            await life.evidence(order_id, "order_absent")
            await life.evidence(order_id, "order_absent", owner="another key")
            await life.clock.advance(1_000)
        await life.clock.advance(LONG_AFTER_MS)
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.evidence") == 4


@pytest.mark.parametrize("retry_after_ms", [None, 0])
async def test_a_cancel_that_is_refused_without_a_time_comes_again_soon_and_then_not_so_soon(
    life: Life, retry_after_ms: int | None
) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    sent = 0
    for _ in range(1_000):
        if order_id in await life.claim_cancels():
            sent += 1
            await life.cancel_answered(order_id, "not_sent", retry_after_ms=retry_after_ms)
        await life.clock.advance(10)
    assert 5 <= sent <= 12
    assert (await rows(life))[0] == 1
