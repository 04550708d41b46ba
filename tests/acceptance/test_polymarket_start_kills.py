"""A start on Polymarket is killed after each single thing that it does: every call of the ledger, every request
to the venue. And a start waits until it has looked at each order whose fate is open.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.support.cli import ROOT, command
from tests.support.life import SHARE
from tests.support.polymarket_rig import PolymarketRig, pm_fixture
from tests.support.worker import SETTINGS, WorkerProcess

__all__ = ["pm_fixture"]

MOST_STEPS = 60


# --- killed at every step -------------------------------------------------------------------------


@pytest.mark.campaign
async def test_a_start_killed_after_each_of_its_steps_loses_and_doubles_nothing(
    pm: PolymarketRig,
) -> None:
    """Every start finds another order filled meanwhile, one on the wire and one waiting, and dies a step later."""
    for name in ("max_outcome_micros", "max_market_micros"):
        await pm.limit(name, None)
    worker = await pm.started()
    await pm.trading()
    orders = [await pm.reserve(cents=45) for _ in range(MOST_STEPS)]
    for order_id in orders:
        await pm.until_state(order_id, "LIVE")
    await worker.stop()
    lost = await on_the_wire(pm)
    waiting = await pm.reserve("m1", cents=6, valid_for_ms=3_600_000)
    steps: list[str] = []
    while not steps or steps[-1] != "worker_ready":
        assert len(steps) < MOST_STEPS - 1, steps
        sell_one(pm)
        steps.append(await dies_after(pm.start(die_after_step=len(steps) + 1)))
    filled = orders[: len(steps)]
    worker = await pm.started()
    for order_id in filled:
        await pm.until_state(order_id, "FILLED")
    for order_id in (lost, waiting):
        await pm.until_state(order_id, "LIVE")
    await pm.until_settled()
    await worker.stop()
    for order_id in orders:
        assert (await pm.arrivals(order_id))["received"] == 1
        confirmed = 5 * SHARE if order_id in filled else 0
        assert (await pm.order(order_id))["confirmed_micros"] == confirmed
    assert (await pm.arrivals(waiting))["accepted"] == 1
    assert (await pm.arrivals(lost))["accepted"] == 1
    await pm.check_against_venue()
    # The steps were those of a start, from its first row to the last before it is ready.
    assert {"worker_started", "require_pulse", "sign_as", "start_run", "end_run"} <= set(steps)
    assert {"record_fills", "move_cursor", "waiting_events"} <= set(steps)
    assert {"GET_TIME", "GET_VERSION", "GET_TRADES", "GET_ORDERS", "GET_BALANCE"} <= set(steps)
    assert len(steps) > 20


async def on_the_wire(pm: PolymarketRig) -> int:
    """An order whose worker died before it heard the answer."""
    await pm.new_market("m2")
    worker = pm.start(stop_at="send.after")
    order_id = await pm.reserve("m2", cents=5, valid_for_ms=3_600_000)
    await worker.died()
    return order_id


def sell_one(pm: PolymarketRig) -> None:
    """The oldest of the orders at rest is filled while nobody looks."""
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="5", mint=False
    )


async def dies_after(worker: WorkerProcess) -> str:
    """The name of the step behind which it died."""
    await worker.died()
    [line] = [one for one in worker.log.read_text().splitlines() if one.startswith("STEP ")]
    return line.removeprefix("STEP ").split(" ")[0]


# --- looked at before it is ready -----------------------------------------------------------------


@pytest.mark.parametrize("state", ["SENDING", "UNKNOWN"])
async def test_a_start_that_cannot_look_up_an_order_of_open_fate_is_not_ready_and_names_it(
    pm: PolymarketRig, state: str
) -> None:
    """It is in no list of the venue, so that only a look-up by its id could tell."""
    order_id = await lost_before_it_arrived(pm, state)
    venue_order_id = (await pm.order(order_id))["venue_order_id"]
    await pm.new_market("m2")
    waiting = await pm.reserve("m2", cents=5, valid_for_ms=60_000)
    number = pm.simulator.fault("http_error", endpoint="GET /data/order/{id}", times=0)
    async with pm.inside():
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.worker WHERE stopped_at IS NULL "
            "AND not_ready_why LIKE 'main: order ' || $1 || ': %')",
            venue_order_id,
        )
        assert (await pm.order(waiting))["state"] == "RESERVED"
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(waiting, "LIVE")
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()


async def test_a_start_that_finds_an_order_of_open_fate_cleanly_absent_serves_all_but_its_lane(
    pm: PolymarketRig,
) -> None:
    order_id = await lost_before_it_arrived(pm, "UNKNOWN")
    await pm.new_market("m2")
    behind = await pm.reserve("m1", cents=6, valid_for_ms=60_000)
    beside = await pm.reserve("m2", cents=5, valid_for_ms=60_000)
    number = pm.simulator.fault(
        "drop_before", endpoint="POST /order", contains=salt_of(await pm.order(order_id)), times=0
    )
    async with pm.inside():
        await pm.until_state(beside, "LIVE")
        assert (await pm.order(order_id))["state"] in ("UNKNOWN", "SENDING")
        assert (await pm.order(behind))["state"] == "RESERVED"
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "LIVE")
        await pm.until_state(behind, "LIVE")
        await pm.until_settled()
    await pm.check_against_venue()


def salt_of(order: Any) -> str:
    return f'"salt":{order["salt"]},'


async def lost_before_it_arrived(pm: PolymarketRig, state: str) -> int:
    """A worker dies with the order open; nothing arrived. UNKNOWN once somebody has judged its lease."""
    worker = pm.start(stop_at="send.before", claim_lease_ms=5_000 if state == "SENDING" else 1_000)
    order_id = await pm.reserve(cents=5, valid_for_ms=120_000)
    await worker.died()
    if state == "UNKNOWN":
        await pm.until("SELECT (ledger.sweep_lapsed() ->> 'lost')::jsonb <> '[]'")
    assert (await pm.order(order_id))["state"] == state
    return order_id


# --- compared beside a running worker ---------------------------------------------------------------


async def reconcile(pm: PolymarketRig) -> tuple[int, dict[str, Any]]:
    """``ledger-worker reconcile`` as cron runs it, in a process of its own."""
    chosen = {"account": "main"} | SETTINGS | pm.settings()
    given = {f"LEDGER_{name.upper()}": str(value) for name, value in chosen.items()}
    given["LEDGER_DATABASE_URL"] = pm.database.url_for("worker")
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = await asyncio.create_subprocess_exec(
        *command(),
        *("reconcile", "--json"),
        env=kept | given | {"PYTHONPATH": str(ROOT)},
        cwd=pm.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert out, err.decode()
    return process.returncode, json.loads(out)


async def rows(pm: PolymarketRig) -> dict[str, Any]:
    """Every row that trading writes, what was sent, and what a comparison is allowed to add: nothing but its run."""
    arrivals = {one["id"]: one["arrivals"] for one in pm.simulator.see("orders")}
    drift = await pm.owner.fetchval("SELECT count(*) FROM ledger.drift")
    journal = await pm.owner.fetchval("SELECT count(*) FROM ledger.journal")
    return {**await pm.state(), "arrivals": arrivals, "drift": drift, "journal": journal}


async def test_the_command_beside_a_running_worker_changes_no_row(pm: PolymarketRig) -> None:
    """With an order at rest, one filled, one partly filled and cancelled, and nothing left to do."""
    worker = await pm.started()
    await pm.trading()
    resting = await pm.reserve(cents=5)
    part = await pm.reserve(cents=46, shares=10)
    filled = await pm.reserve(cents=47)
    for order_id in (resting, part, filled):
        await pm.until_state(order_id, "LIVE")
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price="0.46", size="9", mint=False
    )
    await pm.until_state(filled, "FILLED")
    await pm.until("SELECT traded_micros > 0 FROM ledger.orders WHERE order_id = $1", part)
    await pm.cancel(part)
    await pm.until_state(part, "CANCELLED")
    await pm.until_settled()
    before = await rows(pm)
    for _ in range(2):
        code, report = await reconcile(pm)
        assert (code, report["result"]) == (0, "clean"), report
        assert await rows(pm) == before
    kinds = await pm.owner.fetch(
        "SELECT result FROM ledger.reconcile_run WHERE kind = 'once' ORDER BY run_id"
    )
    assert [row["result"] for row in kinds] == ["clean", "clean"]
    await worker.stop()
    await pm.check_against_venue()


async def test_the_command_beside_a_worker_in_full_flight_takes_nothing_from_it(
    pm: PolymarketRig,
) -> None:
    """Orders are placed, filled and cancelled while it compares, again and again."""
    slugs = ["m1", *[f"m{n}" for n in range(2, 6)]]
    for slug in slugs[1:]:
        await pm.new_market(slug)
    worker = await pm.started()
    await pm.trading()
    comparing = asyncio.gather(*(reconcile(pm) for _ in range(2)))
    orders: list[int] = []
    try:
        while not comparing.done() or len(orders) < 10:
            orders.append(await pm.reserve(slugs[len(orders) % 5], cents=5))
            if len(orders) % 3 == 0:
                await pm.cancel(orders[-2])
            await pm.until_state(orders[-1], "LIVE")
        reports = await comparing
    finally:
        comparing.cancel()
    assert {report["result"] for _, report in reports} == {"clean"}, reports
    await pm.until_settled()
    for order_id in orders:
        assert (await pm.arrivals(order_id))["received"] == 1
    await worker.stop()
    await pm.check_against_venue()
