"""A worker on the simulated Polymarket while cancels miss or lie, batches break, and the venue cancels by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE
from tests.support.polymarket_rig import SIGNER, PolymarketRig, pm_fixture, polymarket_rig

__all__ = ["pm_fixture"]


async def cancelled_through(pm: PolymarketRig, fault: str, **terms: Any) -> int:
    """A cancel that meets the fault: the hold stays until a read has shown the order's end."""
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        number = pm.simulator.fault(fault, **terms)
        await pm.cancel(order_id)
        await pm.until_struck(number, terms.get("times", 1))
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    assert (await pm.book(order_id))["status"] == "CANCELED"
    held = await pm.owner.fetchval(
        "SELECT held_micros FROM ledger.reservation WHERE order_id = $1", order_id
    )
    assert held == 0
    await pm.check_against_venue()
    return order_id


@pytest.mark.parametrize("fault", ["cancel_miss", "cancel_unlisted", "cancel_phantom"])
async def test_a_cancel_that_did_nothing_is_sent_again_and_releases_nothing_meanwhile(
    pm: PolymarketRig, fault: str
) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        number = pm.simulator.fault(fault, times=0)
        await pm.cancel(order_id)
        await pm.until("SELECT tries >= 2 AND last_answer IS NOT NULL FROM ledger.cancel_request")
        assert (await pm.order(order_id))["state"] == "LIVE"
        held = await pm.owner.fetchval(
            "SELECT held_micros FROM ledger.reservation WHERE order_id = $1", order_id
        )
        assert held == 5 * 50_000
        assert (await pm.book(order_id))["status"] == "LIVE"
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    assert (await pm.book(order_id))["status"] == "CANCELED"
    await pm.check_against_venue()


@pytest.mark.parametrize(
    ("fault", "terms"),
    [
        ("drop_before", {}),
        ("drop_after", {}),
        ("http_error", {"status": 500, "text": "internal error"}),
        ("truncated_json", {}),
        ("restarting", {}),
        ("html_403", {}),
    ],
)
async def test_a_cancel_whose_answer_is_lost_or_unreadable_ends_the_order_by_a_read(
    pm: PolymarketRig, fault: str, terms: dict[str, Any]
) -> None:
    await cancelled_through(pm, fault, endpoint="DELETE /*", **terms)


async def test_a_cancel_that_an_unread_look_up_follows_does_not_end_the_order_unread(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        pm.no_stream()
        number = pm.simulator.fault("http_error", endpoint="GET /data/order*", times=0)
        await pm.cancel(order_id)
        await pm.until_venue(order_id, "CANCELED")
        await pm.until_struck(number)
        assert (await pm.order(order_id))["state"] == "LIVE"
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    await pm.check_against_venue()


async def test_a_cancel_that_comes_too_late_for_a_part_keeps_that_part(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "LIVE")
        pm.no_stream()
        pm.simulator.do(
            "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="4", mint=False
        )
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
        pm.simulator.do("no_fault")
    # what was matched and is not booked is held until a comparison brings the trade
    async with pm.inside():
        await pm.until(
            "SELECT confirmed_micros > 0 FROM ledger.orders WHERE order_id = $1", order_id
        )
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 4 * SHARE
    await pm.check_against_venue()


async def test_a_cancel_of_an_order_in_flight_is_repeated_until_it_meets_it(
    database: TestDatabase,
    tmp_path: Path,
) -> None:
    """The DELETE comes before the order does, which appears two seconds later (lesson 28)."""
    async with polymarket_rig(database, tmp_path, quarantine_ms=30_000) as pm:
        async with pm.inside():
            await pm.trading()
            pm.simulator.fault("appear_late", ms=2_500)
            order_id = await pm.reserve(cents=5)
            await pm.until_state(order_id, "UNKNOWN")
            await pm.cancel(order_id)
            await pm.until(
                "SELECT EXISTS (SELECT FROM ledger.evidence WHERE order_id = $1 AND kind = 'delete_answered')",
                order_id,
            )
            await pm.until_state(order_id, "CANCELLED")
            await pm.until_settled()
        assert (await pm.book(order_id))["status"] == "CANCELED"
        assert (await pm.arrivals(order_id))["received"] == 1
        await pm.check_against_venue()


# --- batches --------------------------------------------------------------------------------------


async def three_in_one_request(pm: PolymarketRig, fault: str, **terms: Any) -> list[int]:
    """Orders of three markets that leave together; all rest in the end, once each."""
    for slug in ("m2", "m3"):
        await pm.new_market(slug)
    order_ids = [await pm.reserve(slug, cents=5) for slug in ("m1", "m2", "m3")]
    number = pm.simulator.fault(fault, endpoint="POST /orders", **terms)
    async with pm.inside():
        for order_id in order_ids:
            await pm.until_state(order_id, "LIVE")
        await pm.until_struck(number)
        await pm.until_settled()
    for order_id in order_ids:
        assert (await pm.book(order_id))["status"] == "LIVE"
        assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()
    return order_ids


async def test_a_batch_of_which_the_rest_is_refused_keeps_what_was_accepted(
    pm: PolymarketRig,
) -> None:
    order_ids = await three_in_one_request(pm, "partial_batch", first=1, rest="error")
    assert await pm.attempts(order_ids[0]) == [("accepted", "live")]
    for order_id in order_ids[1:]:
        assert await pm.attempts(order_id) == [("held_back", "MATCH_DELAYED"), ("accepted", "live")]
        assert (await pm.arrivals(order_id))["received"] == 1


async def test_a_batch_answer_with_results_missing_proves_nothing_about_any_of_them(
    pm: PolymarketRig,
) -> None:
    order_ids = await three_in_one_request(pm, "partial_batch", first=2, rest="missing")
    assert {(await pm.attempts(one))[0] for one in order_ids} == {("unknown", "COUNT_MISMATCH")}
    received = [(await pm.arrivals(one))["received"] for one in order_ids]
    assert received == [1, 1, 1]


@pytest.mark.parametrize("fault", ["drop_after", "null_error_msg", "truncated_json", "error_after"])
async def test_a_batch_whose_answer_is_bent_is_three_orders_once_each(
    pm: PolymarketRig, fault: str
) -> None:
    order_ids = await three_in_one_request(pm, fault)
    for order_id in order_ids:
        assert (await pm.arrivals(order_id))["received"] == 1


async def test_cancels_that_leave_together_are_read_each_by_itself(pm: PolymarketRig) -> None:
    for slug in ("m2", "m3"):
        await pm.new_market(slug)
    order_ids = [await pm.reserve(slug, cents=5) for slug in ("m1", "m2", "m3")]
    async with pm.inside():
        for order_id in order_ids:
            await pm.until_state(order_id, "LIVE")
        number = pm.simulator.fault("cancel_unlisted", times=1)
        await pm.cancel(*order_ids)
        await pm.until_struck(number)
        for order_id in order_ids:
            await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    for order_id in order_ids:
        assert (await pm.book(order_id))["status"] == "CANCELED"
    await pm.check_against_venue()


# --- the venue cancels by itself ------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["the stream tells", "no stream tells"])
async def test_a_mass_cancellation_by_the_venue_ends_every_order_in_the_ledger(
    pm: PolymarketRig, told: bool
) -> None:
    """The key's heartbeat is taken for lost right before the next order comes, which rests."""
    await pm.new_market("m2")
    async with pm.inside(reconcile_every_s=1):
        await pm.trading()
        order_ids = [await pm.reserve(cents=5) for _ in range(3)]
        for order_id in order_ids:
            await pm.until_state(order_id, "LIVE")
        if not told:
            pm.no_stream()
        pm.simulator.fault("mass_cancel")
        last = await pm.reserve("m2", cents=5)
        for order_id in order_ids:
            await pm.until_state(order_id, "CANCELLED")
        await pm.until_state(last, "LIVE")
        await pm.until_settled()
    for order_id in order_ids:
        assert (await pm.book(order_id))["status"] == "CANCELED"
        assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize(
    "status",
    ["CANCELED_NOT_ENOUGH_BALANCE", "CANCELED_MARKET_RESOLVED", "CANCELED_ORDER_TIMED_OUT"],
)
async def test_an_order_that_the_venue_ends_by_itself_is_over_in_the_ledger(
    pm: PolymarketRig, status: str
) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        venue_order_id = (await pm.order(order_id))["venue_order_id"]
        pm.simulator.do("cancel", address=SIGNER.address, order_id=venue_order_id, status=status)
        await pm.until("SELECT state IN ('CANCELLED', 'EXPIRED') FROM ledger.orders", within_s=20)
        await pm.until_settled()
    assert (await pm.book(order_id))["status"] == status
    await pm.check_against_venue()
