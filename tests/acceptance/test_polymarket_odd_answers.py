"""What the simulated Polymarket says oddly, or not at all, and what stays of it: a worker lives, and rows tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.venue.polymarket.venue import PolymarketVenue
from app.venue.polymarket.wire import Endpoint, Exchange
from tests.support.polymarket_rig import PolymarketRig, pm_fixture

__all__ = ["pm_fixture"]


async def test_a_balance_that_no_row_can_hold_makes_a_comparison_incomplete_and_ends_no_worker(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, odd = PolymarketVenue._ask, [True]

    async def beyond(
        self: PolymarketVenue, wallet: Any, endpoint: Endpoint, **how: Any
    ) -> Exchange:
        exchange = await ask(self, wallet, endpoint, **how)
        if odd and endpoint is Endpoint.GET_BALANCE:
            body = b'{"balance":"9999999999999999999999","allowances":{}}'
            return replace(exchange, body=body)
        return exchange

    monkeypatch.setattr(PolymarketVenue, "_ask", beyond)
    async with pm.inside() as context:
        await pm.until(
            "SELECT count(*) >= 2 FROM ledger.reconcile_run WHERE result = 'incomplete'",
            within_s=20,
        )
        assert not context.shared.stopping.is_set()
        assert not await pm.owner.fetchval("SELECT bool_or(ready) FROM ledger.worker")
        odd.clear()
        await pm.trading()
    assert await pm.owner.fetch("SELECT * FROM ledger.halt") == []


async def test_a_placement_that_got_no_answer_is_in_the_record_of_exchanges(
    pm: PolymarketRig,
) -> None:
    """The very request whose fate is open, with its bytes and how far it got."""
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("hang", endpoint="POST /order", times=1, ms=5_000)
        order_id = await pm.reserve(cents=5)
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.attempt WHERE order_id = $1 AND outcome = 'unknown')",
            order_id,
        )
        salt = (await pm.order(order_id))["salt"]
        row = await pm.until(
            "SELECT phase || ' ' || status || ' ' || problem FROM ledger.venue_exchange "
            "WHERE method = 'POST' AND path = '/order' AND request LIKE '%' || $1 || '%' "
            "ORDER BY exchange_id LIMIT 1",
            str(salt),
        )
        assert row == "sending 0 timeout"
        await pm.until_state(order_id, "LIVE")
    await pm.check_against_venue()


async def test_a_worker_sends_no_cancel_faster_for_its_key_being_refused(
    pm: PolymarketRig,
) -> None:
    """An address or a key that hammers is shut out, and then no cancel arrives at all."""
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        refused = pm.simulator.fault(
            "http_error",
            endpoint="DELETE /order*",
            times=0,
            status=401,
            text="Unauthorized/Invalid api key",
        )
        await pm.cancel(order_id)
        await pm.until_struck(refused, 5)
        spread_s = await pm.until(
            "SELECT CASE WHEN count(*) = 5 THEN extract(epoch FROM max(at) - min(at))::float END "
            "FROM (SELECT at FROM ledger.venue_exchange WHERE method = 'DELETE' "
            "ORDER BY exchange_id LIMIT 5) q"
        )
        assert spread_s > 0.5
        pm.simulator.do("no_fault", number=refused)
        await pm.until_state(order_id, "CANCELLED")
