"""A worker on the simulated Polymarket through real sockets: the whole life of an order."""

from __future__ import annotations

import pytest

from tests.support.polymarket_rig import PolymarketRig, pm_fixture

__all__ = ["pm_fixture"]


async def test_an_order_is_placed_rests_and_is_cancelled(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    [at_venue] = await pm.venue_orders(order_id)
    assert at_venue["status"] == "CANCELED"
    await pm.check_against_venue()


async def test_an_order_that_crosses_fills_and_settles(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    row = await pm.order(order_id)
    assert row["confirmed_micros"] == row["size_micros"]
    await pm.check_against_venue()


async def test_a_resting_order_is_filled_by_somebody_and_the_stream_tells_it(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "LIVE")
        pm.simulator.do(
            "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="10", mint=False
        )
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    await pm.check_against_venue()


@pytest.mark.parametrize("order_type", ["FOK", "FAK"])
async def test_a_buy_that_spends_instead_of_counting_shares_is_refused(
    pm: PolymarketRig, order_type: str
) -> None:
    """At a better price the venue would bring more shares than were held for."""
    [buy, sell] = await pm.ask(
        pm.request(cents=70, shares=10, order_type=order_type),
        pm.request(cents=30, shares=10, order_type=order_type, side="SELL"),
    )
    assert buy["code"] == "TAKER_BUY_UNBOUNDED"
    assert sell["code"] == "INSUFFICIENT_TOKENS", "a SELL is bounded by its shares"
