"""A worker that stops in order leaves a snapshot: what of its accounts is not over, for whoever looks next."""

from __future__ import annotations

import json
from typing import Any

from structlog.testing import capture_logs

from tests.support.life import Life, incarnation
from tests.support.worker import Rig, rig_fixture  # noqa: F401

NOTHING = {
    "open": 0,
    "waiting": 0,
    "in_flight": [],
    "cancels_due": 0,
    "unsettled_fills": 0,
    "unapplied_events": 0,
}


async def left(rig: Rig) -> list[Any]:
    """By time of their start; None for a worker that did not stop in order."""
    rows = await rig.owner.fetch("SELECT left_at_stop FROM ledger.worker ORDER BY started_at")
    return [row["left_at_stop"] and json.loads(row["left_at_stop"]) for row in rows]


async def test_a_stop_writes_down_what_is_open_waiting_and_in_flight_of_each_account(
    rig: Rig,
) -> None:
    await rig.account("second")
    with capture_logs() as told:
        async with rig.inside(accounts="main,second"):
            resting = [await rig.reserve("m1"), await rig.reserve("m1")]
            for order_id in resting:
                await rig.until_state(order_id, "LIVE")
            lost = await rig.reserve("m2")
            await rig.fault("place", "lost_request", lost, times=10_000)
            await rig.until_state(lost, "UNKNOWN")
            waiting = await rig.reserve("m2")
            assert await left(rig) == [None]
    assert (await rig.order(waiting))["state"] == "RESERVED"
    expected = {
        "main": NOTHING | {"open": 2, "waiting": 1, "in_flight": [lost]},
        "second": NOTHING,
    }
    assert await left(rig) == [expected]
    [stopped] = [one for one in told if one["event"] == "STOPPED"]
    assert stopped["left"] == expected


async def test_a_worker_that_is_killed_leaves_no_snapshot_and_its_successor_does(rig: Rig) -> None:
    worker = await rig.started()
    order_id = await rig.reserve()
    await rig.until_state(order_id, "LIVE")
    await worker.kill()
    successor = await rig.started()
    await successor.stop()
    assert await left(rig) == [None, {"main": NOTHING | {"open": 1}}]


async def test_cancels_under_way_and_fills_that_are_not_settled_are_part_of_it(life: Life) -> None:
    await life.call("worker_started", incarnation(1), "test", "0", 60_000)
    cancelled = await life.live()
    await life.cancel(cancelled)
    filled = await life.live(size_micros=10_000_000)
    await life.fill(filled, 5_000_000)
    found = await life.call("worker_stopped", incarnation(1), (life.account,))
    expected = NOTHING | {"open": 2, "cancels_due": 1, "unsettled_fills": 1}
    assert found == {life.account: expected}
