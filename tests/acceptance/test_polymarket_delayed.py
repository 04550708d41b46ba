"""Orders that the simulated Polymarket holds back before it matches them, while no stream tells of their end."""

from __future__ import annotations

import pytest

from tests.support.life import SHARE
from tests.support.polymarket_rig import PolymarketRig, pm_fixture
from workers.worker import delayed

__all__ = ["pm_fixture"]

ALONE = {"reconcile_every_s": 3_600}


@pytest.fixture(name="soon", autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayed, "FIRST_MS", 300)
    monkeypatch.setattr(delayed, "EVERY_MS", 100)


async def filled_unheard(pm: PolymarketRig, *, shown: bool) -> int:
    """An order whose delay ends in a fill that the stream keeps to itself. Nothing else compares meanwhile."""
    async with pm.inside(**ALONE):
        await pm.trading()
        pm.no_stream()
        pm.simulator.fault("delayed", ms=1_500)
        if not shown:
            pm.simulator.fault("null_answer", times=0)
            pm.simulator.fault("missing_rows", endpoint="GET /data/orders", times=0)
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "DELAYED")
        compared = await pm.owner.fetchval("SELECT count(*) FROM ledger.reconcile_run")
        await pm.until_state(order_id, "FILLED", within_s=10)
        assert await pm.owner.fetchval("SELECT count(*) FROM ledger.reconcile_run") == compared
    assert (await pm.arrivals(order_id))["received"] == 1
    return order_id


async def test_a_delayed_order_that_fills_is_read_where_the_stream_is_silent(
    pm: PolymarketRig,
) -> None:
    order_id = await filled_unheard(pm, shown=True)
    assert await pm.attempts(order_id) == [("accepted", "delayed")]


async def test_a_delayed_order_that_no_look_up_shows_is_found_by_its_trades(
    pm: PolymarketRig,
) -> None:
    order_id = await filled_unheard(pm, shown=False)
    assert (await pm.order(order_id))["traded_micros"] == 10 * SHARE


async def test_a_delayed_order_that_comes_to_rest_is_seen_live(pm: PolymarketRig) -> None:
    async with pm.inside(**ALONE):
        await pm.trading()
        pm.no_stream()
        pm.simulator.fault("delayed", ms=1_500)
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "DELAYED")
        await pm.until_state(order_id, "LIVE", within_s=10)
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
    await pm.check_against_venue()
