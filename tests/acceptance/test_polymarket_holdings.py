"""What the venue says is owned, and orders there that no intent explains, in a comparison through real sockets."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest

from app.clock import Ports
from app.config import Settings
from tests.support.polymarket_rig import API_KEY, SIGNER, PolymarketRig, pm_fixture
from tests.support.simulator_client import Trader
from tests.support.worker import SETTINGS
from workers.holdings import look_at_holdings
from workers.reconcile import Reconciler, ReconcileReport
from workers.worker import main
from workers.worker.context import Context

__all__ = ["pm_fixture"]


@asynccontextmanager
async def opened(pm: PolymarketRig, **settings: Any) -> AsyncIterator[Context]:
    chosen = pm.settings(**SETTINGS, account="main", **settings)
    secret = ("private_key", "api_key", "api_secret", "api_passphrase")
    url = pm.database.url_for("worker")
    with patch.dict(os.environ, {f"LEDGER_{name.upper()}": chosen[name] for name in secret}):
        given = Settings(**{**chosen, "database_url": url})
        context_of = main.open_context(given, Ports.system(), url)
    async with context_of as context:
        await context.host.prepare(to_trade=False)
        yield context


async def compare(pm: PolymarketRig, **settings: Any) -> ReconcileReport:
    """One comparison as a start makes it, without a worker."""
    async with opened(pm, **settings) as context:
        return await Reconciler(context, "main").run("start", second_look=False)


async def halts(pm: PolymarketRig) -> list[str]:
    return [row["why"] for row in await pm.owner.fetch("SELECT why FROM ledger.halt")]


async def test_the_same_on_both_sides_is_clean(pm: PolymarketRig) -> None:
    report = await compare(pm)
    assert (report.result, report.differences) == ("clean", ())
    [row] = await pm.owner.fetch("SELECT * FROM audit.holdings")
    assert (row["asset"], row["difference_micros"], row["differs"]) == ("collateral", 0, False)


async def test_collateral_that_is_gone_halts_the_account_once(pm: PolymarketRig) -> None:
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="-50", tokens={}, seen=True)
    for _ in range(2):
        report = await compare(pm)
        [one] = report.differences
        assert (report.result, one.kind, one.subject) == (
            "drift",
            "collateral_differs",
            "collateral",
        )
    [why] = await halts(pm)
    assert why.startswith(
        "COLLATERAL_DIFFERS: collateral: ours 10000000000, the venue's 9950000000"
    )


async def test_collateral_beyond_ours_is_a_deposit_and_halts_nothing(pm: PolymarketRig) -> None:
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="50", tokens={}, seen=True)
    report = await compare(pm)
    assert report.result == "drift"
    assert await halts(pm) == []


async def test_tokens_that_our_rows_hold_and_the_venue_does_not_halt(pm: PolymarketRig) -> None:
    await pm.owner.fetchval(
        "SELECT ledger.book_movement('main', $1, 5000000, 'opening', 'tokens', 'test')",
        pm.market.yes,
    )
    report = await compare(pm)
    [one] = report.differences
    assert (one.kind, one.subject, one.ours, one.theirs) == (
        "position_differs",
        pm.market.yes,
        "5000000",
        "0",
    )
    assert [why.split(":")[0] for why in await halts(pm)] == ["POSITION_DIFFERS"]


async def test_balances_that_cannot_be_read_make_the_comparison_incomplete(
    pm: PolymarketRig,
) -> None:
    pm.simulator.fault("http_error", endpoint="GET /balance-allowance", times=0)
    report = await compare(pm)
    assert report.result == "incomplete"
    assert report.reason.startswith("balances: collateral:")


@pytest.mark.parametrize("policy", ["halt", "cancel"])
async def test_an_order_that_no_intent_explains_halts_and_is_cancelled_by_policy(
    pm: PolymarketRig, policy: str
) -> None:
    stranger = Trader(
        pm.simulator, 7, key=API_KEY, collateral="0", tier="elite"
    )  # the same key, and not our ledger
    venue_order_id = stranger.placed(pm.market.yes, price="0.05").venue_order_id
    stranger.close()
    report = await compare(pm, foreign_orders=policy)
    assert [one.kind for one in report.differences] == ["order_not_ours"]
    assert [why.split(":")[0] for why in await halts(pm)] == ["FOREIGN_ORDER"]
    found = pm.simulator.order(venue_order_id)
    assert found is not None
    assert found["status"] == ("CANCELED" if policy == "cancel" else "LIVE")
    [row] = await pm.owner.fetch("SELECT detail FROM ledger.foreign_order")
    assert json.loads(row["detail"])["price_micros"] == 50_000


async def test_what_filled_unseen_is_no_difference(pm: PolymarketRig) -> None:
    """Our own order explains it, and the trades will tell: halted for it, an account would stop for nothing."""
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "LIVE")
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="10", mint=False
    )
    pm.simulator.fault("missing_rows", endpoint="GET /data/trades", times=0)
    pm.simulator.fault("null_answer", endpoint="GET /data/order/{id}", times=0)
    pm.simulator.fault("missing_rows", endpoint="GET /data/orders", times=0)
    async with opened(pm) as context:
        seen = await look_at_holdings(context, "main")
    assert (seen.grave, seen.unread) == ((), "")
