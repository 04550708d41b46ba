"""Times and sightings that could be forgotten without any test's noticing: found by forgetting them one at a time."""

from __future__ import annotations

import pytest

from tests.support.life import LEASE_MS, Life


def gtd(life: Life, ahead_s: int) -> dict[str, object]:
    return {
        "order_type": "GTD",
        "expires_at_s": int(life.clock.now.timestamp()) + ahead_s,
        "valid_for_ms": 3_600_000,
    }


async def test_an_order_that_expires_at_the_venue_is_not_sent_behind_that(life: Life) -> None:
    order_id = await life.reserved(**gtd(life, 200))
    await life.clock.advance(199_000)
    await life.claim()
    await life.prepare(order_id)
    await life.clock.advance(1_000)
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "NOT_PLACED"


async def test_an_order_that_is_about_to_expire_is_sent_no_longer_than_that(life: Life) -> None:
    order_id = await life.reserved(**gtd(life, 200))
    await life.clock.advance(199_500)
    await life.claim()
    await life.prepare(order_id)
    assert (await life.open_attempt(order_id))["send_within_ms"] == 500


async def test_a_quicker_second_attempt_does_not_shorten_the_quarantine(life: Life) -> None:
    order_id = await life.unknown()
    before = (await life.row("orders", order_id))["last_deadline"]
    await life.claim_look_ups()
    answer = await life.item(
        "open_attempt", **life._claimed(order_id), owner="owner", request_timeout_ms=1
    )
    assert answer["attempt"] == 2
    assert (await life.row("orders", order_id))["last_deadline"] == before


@pytest.mark.parametrize("how", ["reject", "hold_back"])
async def test_a_refusal_of_what_a_delete_has_listed_proves_nothing(life: Life, how: str) -> None:
    """The DELETE listed it as cancelled, so the venue has had it: whatever the send is told then, a read decides."""
    order_id = await life.sending()
    await life.cancel(order_id)
    await life.cancel_answered(order_id, "accepted")
    assert (await life.complete(how, order_id))["state"] == "UNKNOWN"


async def test_a_lapsed_attempt_whose_resend_is_refused_stays_unknown(life: Life) -> None:
    order_id = await life.sending()
    await life.clock.advance(LEASE_MS)
    await life.call("sweep_lapsed")
    await life.claim_look_ups()
    assert (await life.open_attempt(order_id))["attempt"] == 2
    assert (await life.complete("reject", order_id, 2))["state"] == "UNKNOWN"


async def test_orders_whose_cancel_is_under_way_do_not_hide_others_from_the_sweep(
    life: Life,
) -> None:
    """A sweep looks at two hundred; a venue that answers no cancel would keep it busy with the same for ever."""
    asked = [life.request() for _ in range(201)]
    answers = await life.call("reserve_pending", asked)
    assert {one["status"] for one in answers} == {"admitted"}
    await life.conn.execute("UPDATE ledger.orders SET cancel_asked_at = ledger.clock()")
    await life.add_market("m2")
    other = await life.reserved(market="m2")
    await life.call("set_halt", "global", "", "test")
    assert await life.call("sweep_cancels") == 1
    assert await life.state(other) == "NOT_PLACED"
