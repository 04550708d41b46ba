"""A cancel by id that comes to nothing grows: after five tries its market is cancelled, after ten the account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.polymarket_rig import PolymarketRig, pm_fixture
from workers.worker import cancels

__all__ = ["pm_fixture"]

BY_ID = "DELETE /order*"
BY_MARKET = "DELETE /cancel-market-orders"
ALL = "DELETE /cancel-all"


async def resting(pm: PolymarketRig) -> tuple[int, int, int]:
    """The one to be cancelled, another beside it in its market, and one in another market."""
    await pm.new_market("m2")
    await pm.trading()
    orders = [await pm.reserve(one, cents=5) for one in ("m1", "m1", "m2")]
    for order_id in orders:
        await pm.until_state(order_id, "LIVE")
    await pm.until_settled()
    return orders[0], orders[1], orders[2]


async def requests(pm: PolymarketRig) -> list[str]:
    """The paths of every DELETE, by time; once the worker has stopped, none is still to be written down."""
    rows = await pm.owner.fetch(
        "SELECT path FROM ledger.venue_exchange WHERE method = 'DELETE' ORDER BY at, exchange_id"
    )
    return [row["path"] for row in rows]


@pytest.mark.parametrize(
    ("fault", "terms"),
    [
        ("http_error", {"status": 500, "text": "internal error"}),
        ("http_error", {"status": 400, "text": "Invalid order payload"}),
        ("cancel_miss", {}),
        ("cancel_phantom", {}),
        ("cancel_unlisted", {}),
    ],
    ids=["no answer", "request refused", "missed", "phantom", "unlisted"],
)
async def test_after_five_tries_in_vain_the_whole_market_is_cancelled_and_nothing_beside_it(
    pm: PolymarketRig, fault: str, terms: dict[str, Any]
) -> None:
    async with pm.inside():
        stuck, beside, elsewhere = await resting(pm)
        pm.simulator.fault(fault, endpoint=BY_ID, times=0, **terms)
        await pm.cancel(stuck)
        await pm.until_state(stuck, "CANCELLED")
        await pm.until_state(beside, "CANCELLED")
        await pm.until_settled()
        assert (await pm.order(elsewhere))["state"] == "LIVE"
    asked = await requests(pm)
    assert asked[:5] == ["/order"] * 5
    assert asked[5] == "/cancel-market-orders"
    assert "/cancel-all" not in asked
    body = await pm.owner.fetchval(
        "SELECT request FROM ledger.venue_exchange WHERE path = '/cancel-market-orders' LIMIT 1"
    )
    assert json.loads(body) == {"market": pm.market.condition_id}
    await pm.check_against_venue()


async def test_after_ten_tries_in_vain_everything_of_the_account_is_cancelled(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        orders = await resting(pm)
        pm.simulator.fault("http_error", endpoint=BY_ID, times=0, status=500)
        pm.simulator.fault("http_error", endpoint=BY_MARKET, times=0, status=500)
        await pm.cancel(orders[0])
        for order_id in orders:
            await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    asked = await requests(pm)
    assert asked[:5] == ["/order"] * 5
    assert asked[5:10] == ["/cancel-market-orders", *["/order"] * 4]
    assert asked[10] == "/cancel-all"
    await pm.check_against_venue()


async def test_each_order_that_an_escalation_meets_ends_by_its_own_read(pm: PolymarketRig) -> None:
    """The answer to cancel-all is lost, no stream tells, and nothing is released before a look-up has shown it."""
    async with pm.inside(reconcile_every_s=1):
        orders = await resting(pm)
        pm.no_stream()
        pm.simulator.fault("http_error", endpoint=BY_ID, times=0, status=500)
        pm.simulator.fault("http_error", endpoint=BY_MARKET, times=0, status=500)
        pm.simulator.fault("drop_after", endpoint=ALL, times=1)
        blind = pm.simulator.fault("http_error", endpoint="GET /data/*", times=0)
        await pm.cancel(orders[0])
        for order_id in orders:
            await pm.until_venue(order_id, "CANCELED", within_s=30)
        assert {(await pm.order(one))["state"] for one in orders} == {"LIVE"}
        held = await pm.owner.fetchval(
            "SELECT min(held_micros) FROM ledger.reservation WHERE order_id = ANY ($1)", [*orders]
        )
        assert held == 5 * 50_000
        pm.simulator.do("no_fault", number=blind)
        for order_id in orders:
            await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    await pm.check_against_venue()


async def test_what_only_puts_a_cancel_off_never_escalates_it(pm: PolymarketRig) -> None:
    """Cancelling more of an account is no answer to a venue that restarts or limits."""
    async with pm.inside():
        stuck, beside, _ = await resting(pm)
        number = pm.simulator.fault("restarting", endpoint="DELETE /*", times=0)
        await pm.cancel(stuck)
        await pm.owner.execute("UPDATE ledger.cancel_request SET tries = 20")
        await pm.until_struck(number, 2)
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(stuck, "CANCELLED")
        await pm.until_settled()
        assert (await pm.order(beside))["state"] == "LIVE"
    assert set(await requests(pm)) == {"/order"}
    assert await pm.owner.fetchval("SELECT futile_tries FROM ledger.cancel_request") == 0
    await pm.check_against_venue()


@pytest.mark.parametrize("look_ups", ["show nothing", "fail as well"])
async def test_the_cancel_of_an_order_that_never_arrived_comes_down_again_and_spares_all_others(
    pm: PolymarketRig, look_ups: str
) -> None:
    """Five DELETEs fail, then the venue is well: its wide answers name no order that is not there."""
    async with pm.inside():
        await pm.new_market("m2")
        await pm.trading()
        innocent = await pm.reserve("m2", cents=5)
        await pm.until_state(innocent, "LIVE")
        lost = pm.simulator.fault("drop_before", endpoint="POST /order*", times=0)
        failing = pm.simulator.fault("http_error", endpoint=BY_ID, times=5, status=502)
        blind = None
        if look_ups == "fail as well":
            blind = pm.simulator.fault("http_error", endpoint="GET /data/order/*", times=0)
        stuck = await pm.reserve("m1", cents=5, valid_for_ms=1_000)
        await pm.until_state(stuck, "UNKNOWN")
        await pm.cancel(stuck)
        await pm.until_struck(failing, 5)
        pm.simulator.do("no_fault", number=lost)
        if blind is not None:
            await pm.until("SELECT wide_at IS NOT NULL FROM ledger.cancel_request", within_s=20)
            pm.simulator.do("no_fault", number=blind)
        await pm.until_state(stuck, "NOT_PLACED", within_s=30)
        await pm.until_settled()
        assert (await pm.order(innocent))["state"] == "LIVE"
    asked = await requests(pm)
    assert "/cancel-all" not in asked
    assert asked.count("/cancel-market-orders") == (blind is not None)
    assert asked[-1] == "/order"
    await pm.check_against_venue()


def test_each_try_goes_the_way_that_the_ledger_tells() -> None:
    def request(order_id: int, way: str, market: str) -> dict[str, Any]:
        return {"order_id": order_id, "way": way, "condition_id": market}

    found = cancels._ways(
        [
            request(1, "id", "a"),
            request(2, "id", "a"),
            request(3, "market", "a"),
            request(4, "market", "b"),
            request(5, "all", "b"),
            request(6, "all", "a"),
        ]
    )
    ways = {way: [one["order_id"] for one in some] for way, some in found.items()}
    assert ways == {cancels.BY_ID: [1, 2], "a": [3], "b": [4], cancels.EVERYTHING: [5, 6]}
