"""What the venue says is owned, and orders there that no intent explains, in a comparison through real sockets."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from unittest.mock import patch

import pytest

from app.clock import Ports
from app.config import Settings
from tests.support.polymarket_rig import API_KEY, COLLATERAL, SIGNER, PolymarketRig, pm_fixture
from tests.support.simulator_client import Trader
from tests.support.worker import SETTINGS, until
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


async def compare(
    pm: PolymarketRig, kind: Literal["start", "reconnect"] = "start", **settings: Any
) -> ReconcileReport:
    """One comparison as a start makes it, without a worker."""
    async with opened(pm, **settings) as context:
        return await Reconciler(context, "main").run(kind, second_look=False)


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
    [row] = await pm.owner.fetch("SELECT * FROM audit.drift")
    assert (row["drift_class"], row["after"]) == ("resync", "10000000000")
    assert row["action"].startswith("nothing: a person books it")


async def test_a_holding_that_differs_says_which_halt_stands_for_it(pm: PolymarketRig) -> None:
    """The first comparison halts, the next finds the halt, and after a person resumed the same numbers halt no more."""
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="-50", tokens={}, seen=True)
    await compare(pm)
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="-1", tokens={}, seen=True)
    await compare(pm)
    version = await pm.owner.fetchval("SELECT halt_id FROM ledger.halt")
    await pm.owner.fetchval(
        "SELECT ledger.clear_halt('account', 'main', $1, 'known', 'ann')", version
    )
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="1", tokens={}, seen=True)
    await compare(pm)
    rows = await pm.owner.fetch("SELECT * FROM audit.drift ORDER BY drift_id")
    assert [row["action"] for row in rows] == [
        f"the account was halted, version {version}",
        f"the account is halted, version {version}",
        f"nothing: a person resumed version {version}, which told the same numbers",
    ]
    assert {row["drift_class"] for row in rows} == {"halt"}
    assert [json.loads(row["evidence"]) for row in rows] == [{"halt": version}] * 3


async def test_the_same_numbers_again_after_both_sides_agreed_halt_again(
    pm: PolymarketRig,
) -> None:
    """Who resumed knew of what was there then. A second credit of the same size is somebody else's."""

    def credit(size: int) -> None:
        pm.simulator.do(
            "credit",
            wallet=SIGNER.address,
            collateral="0",
            tokens={pm.market.no: str(size)},
            seen=True,
        )

    credit(500)
    assert (await compare(pm)).result == "drift"
    version = await pm.owner.fetchval("SELECT halt_id FROM ledger.halt")
    await pm.owner.fetchval(
        "SELECT ledger.clear_halt('account', 'main', $1, 'sold by hand', 'ann')", version
    )
    assert (await compare(pm)).drift[0].action.startswith("nothing: a person resumed version")
    credit(-500)  # the list of positions shows it no more, so it is asked for because it differed
    assert (await compare(pm)).result == "clean"
    credit(500)
    [one] = (await compare(pm)).drift
    assert one.action == f"the account was halted, version {version + 1}"
    assert await pm.owner.fetchval("SELECT count(*) FROM ledger.halt WHERE cleared_at IS NULL") == 1


async def test_a_comparison_behind_a_connection_reads_orders_and_trades_and_no_balance(
    pm: PolymarketRig,
) -> None:
    """A request for each token held would close placing for as long as that takes, at each new connection."""
    for endpoint in ("GET /balance-allowance", "GET /data-api/v2/positions"):
        pm.simulator.fault("http_error", endpoint=endpoint, times=0)
    report = await compare(pm, "reconnect")
    assert (report.result, report.reason) == ("clean", "")
    assert (await compare(pm)).result == "incomplete"


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


async def test_tokens_that_the_wallet_holds_and_our_rows_do_not_halt(pm: PolymarketRig) -> None:
    """What a stranger's fill, a transfer in or a reversed trade that moved after all leaves behind."""
    pm.simulator.do(
        "credit", wallet=SIGNER.address, collateral="0", tokens={pm.market.no: "500"}, seen=True
    )
    report = await compare(pm)
    [one] = report.differences
    assert (report.result, one.kind, one.subject, one.ours, one.theirs) == (
        "drift",
        "position_differs",
        pm.market.no,
        "0",
        "500000000",
    )
    [why] = await halts(pm)
    assert why.startswith(f"POSITION_DIFFERS: {pm.market.no}: ours 0, the venue's 500000000")


async def test_tokens_of_which_the_venue_lists_none_are_asked_for_by_what_our_rows_hold(
    pm: PolymarketRig,
) -> None:
    """A list of positions that shows nothing proves nothing: the balance does."""
    pm.simulator.do(
        "credit", wallet=SIGNER.address, collateral="0", tokens={pm.market.yes: "5"}, seen=True
    )
    await pm.owner.fetchval(
        "SELECT ledger.book_movement('main', $1, 5000000, 'opening', 'tokens', 'test')",
        pm.market.yes,
    )
    pm.simulator.fault("missing_rows", endpoint="GET /data-api/v2/positions", times=0)
    report = await compare(pm)
    assert (report.result, report.differences) == ("clean", ())


async def test_positions_that_cannot_be_read_make_the_comparison_incomplete(
    pm: PolymarketRig,
) -> None:
    pm.simulator.fault("http_error", endpoint="GET /data-api/v2/positions", times=0)
    report = await compare(pm)
    assert report.result == "incomplete"
    assert report.reason.startswith("positions: page 1: ")
    assert await halts(pm) == []


async def test_a_balance_that_the_venue_has_not_looked_up_lately_is_asked_for_anew(
    pm: PolymarketRig,
) -> None:
    """The venue's cache did not notice a deposit; asked to look at the chain, it does."""
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="-50", tokens={}, seen=True)
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="50", tokens={}, seen=False)
    report = await compare(pm)
    assert (report.result, report.differences) == ("clean", ())
    assert await halts(pm) == []


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
    [row] = await pm.owner.fetch("SELECT * FROM audit.drift")
    version = await pm.owner.fetchval("SELECT halt_id FROM ledger.halt")
    action = f"kept as a foreign order; the account is halted, version {version}"
    if policy == "cancel":
        action = "kept as a foreign order; cancel asked: taken off; " + action.split("; ")[1]
    assert (row["drift_class"], row["action"]) == ("halt", action)
    evidence = json.loads(row["evidence"])
    assert evidence["listed"]["venue_order_id"] == venue_order_id
    assert evidence["halt"] == version
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
    assert (seen.differences, seen.unread) == ((), "")


async def test_a_foreign_order_that_the_stream_tells_of_is_cancelled_soon(
    pm: PolymarketRig,
) -> None:
    """By policy, and not only when the next regular comparison comes."""
    async with pm.inside(foreign_orders="cancel", reconcile_every_s=86_400):
        await pm.trading()
        stranger = Trader(pm.simulator, 7, key=API_KEY, collateral="0", tier="elite")
        venue_order_id = stranger.placed(pm.market.yes, price="0.05").venue_order_id
        stranger.close()

        def ended() -> bool:
            found = pm.simulator.order(venue_order_id)
            return found is not None and found["status"] == "CANCELED"

        await until(ended, "the stranger's order is taken off", within_s=30)
    assert [why.split(":")[0] for why in await halts(pm)] == ["FOREIGN_ORDER"]


async def test_a_refusal_for_want_of_balance_is_followed_by_a_look_at_the_balance(
    pm: PolymarketRig,
) -> None:
    """The venue says there is not enough, our rows say there is: one of both is wrong, and orders that are refused
    one by one would not show which.
    """
    async with pm.inside(reconcile_every_s=86_400):
        await pm.trading()
        taken = f"-{COLLATERAL - 1}"
        pm.simulator.do("credit", wallet=SIGNER.address, collateral=taken, tokens={}, seen=True)
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "REJECTED")
        assert await pm.attempts(order_id) == [("rejected", "NOT_ENOUGH_BALANCE")]
        await pm.until("SELECT EXISTS (SELECT FROM ledger.halt)", within_s=30)
    assert [why.split(":")[0] for why in await halts(pm)] == ["COLLATERAL_DIFFERS"]
