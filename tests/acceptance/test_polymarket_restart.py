"""Starting on Polymarket: killed at every point of a start, started twice, compared beside a running worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.polymarket_rig import PolymarketRig, pm_fixture
from workers.worker.points import POINTS

__all__ = ["pm_fixture"]

START_POINTS = tuple(point for point in POINTS if point.startswith("start."))


async def lived(pm: PolymarketRig) -> list[int]:
    """Four intents behind a worker that died: at rest, filled meanwhile, on the wire, and not yet looked at."""
    worker = await pm.started(stop_at="send.after:3")
    await pm.trading()
    resting = await pm.reserve(cents=5)
    await pm.until_state(resting, "LIVE")
    filled = await pm.reserve(cents=45, shares=10)
    await pm.until_state(filled, "LIVE")
    on_the_wire = await pm.reserve(cents=6)
    await worker.died()
    assert len(await pm.venue_orders(on_the_wire)) == 1
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="10", mint=False
    )
    return [resting, filled, on_the_wire, await pm.reserve(cents=7)]


async def settled(pm: PolymarketRig, orders: list[int]) -> None:
    resting, filled, on_the_wire, new = orders
    for order_id in (resting, on_the_wire, new):
        await pm.until_state(order_id, "LIVE")
    await pm.until_state(filled, "FILLED")
    await pm.until_settled()
    for order_id in orders:
        assert len(await pm.venue_orders(order_id)) == 1
    await pm.check_against_venue()


@pytest.mark.parametrize("point", START_POINTS)
async def test_killed_at_a_point_of_the_start_the_next_start_makes_it_right(
    pm: PolymarketRig, point: str
) -> None:
    orders = await lived(pm)
    await pm.start(stop_at=point).died()
    worker = await pm.started()
    await settled(pm, orders)
    await worker.stop()


async def test_a_second_start_and_a_comparison_beside_it_change_nothing(pm: PolymarketRig) -> None:
    orders = await lived(pm)
    worker = await pm.started()
    await settled(pm, orders)
    await worker.stop()
    before = await at_rest(pm)
    again = await pm.started()
    await pm.trading()
    assert await at_rest(pm) == before, "a second start"
    known = await pm.incarnations()
    async with pm.inside():
        await pm.ready(known)
        assert await at_rest(pm) == before, "a comparison of another worker beside it"
    await again.stop()
    assert await at_rest(pm) == before


async def at_rest(pm: PolymarketRig) -> dict[str, Any]:
    """Every row that trading writes, and what the venue was sent."""
    arrivals = {one["id"]: one["arrivals"] for one in pm.simulator.see("orders")}
    return {**await pm.state(), "arrivals": arrivals}
