"""The rest of the faults against a worker: markets that are not ready, restarts by an order, odd amounts, lost
frames, reads that are limited or blocked, conditions that stand at the start. And none is forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.venue.simulator.faults import CATALOGUE
from tests.support.life import SHARE
from tests.support.polymarket_rig import SIGNER, PolymarketRig, pm_fixture
from workers.worker import polymarket_host

__all__ = ["pm_fixture"]


def test_every_fault_of_the_catalogue_is_tried_on_a_worker() -> None:
    """By its name in quotes, in one of the files that run a worker on the simulated venue."""
    folder = Path(__file__).parent
    texts = [path.read_text() for path in sorted(folder.glob("test_polymarket_*.py"))]
    rig = (folder.parent / "support" / "polymarket_rig.py").read_text()
    everything = "".join([*texts, rig])
    assert [name for name in CATALOGUE if f'"{name}"' not in everything] == []


# --- placing --------------------------------------------------------------------------------------


async def test_an_order_of_a_market_that_is_not_ready_yet_goes_again_with_the_same_bytes(
    pm: PolymarketRig,
) -> None:
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        number = pm.simulator.fault("market_not_ready", ms=1_500)
        order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
        await pm.until_state(order_id, "HELD_BACK")
        # It is the market's matter alone.
        beside = await pm.reserve("m2", cents=5)
        await pm.until_state(beside, "LIVE")
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
        await pm.until_struck(number)
    attempts = await pm.attempts(order_id)
    assert attempts[0] == ("held_back", "MARKET_NOT_READY")
    assert attempts[-1] == ("accepted", "live")
    assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()


async def test_an_order_that_meets_a_restart_of_the_engine_rests_once_when_it_is_over(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        before = await pm.reserve(cents=5)
        await pm.until_state(before, "LIVE")
        number = pm.simulator.fault("engine_restart", for_ms=1_500, post_only_ms=2_000)
        order_id = await pm.reserve(cents=6, valid_for_ms=60_000)
        await pm.until_struck(number)
        await pm.until_state(order_id, "LIVE")
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.reconcile_run WHERE kind = 'episode' AND result = 'clean')"
        )
        await pm.until_settled()
        assert (await pm.order(before))["state"] == "LIVE"
    assert (await pm.attempts(order_id))[0] == ("held_back", "ENGINE_RESTARTING")
    assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize("told", [True, False], ids=["the stream tells", "no stream tells"])
async def test_amounts_of_an_answer_are_believed_in_no_unit_only_trades_are_booked(
    pm: PolymarketRig, told: bool
) -> None:
    """What an answer says was made and taken comes in shares or in base units; neither is a fill."""
    async with pm.inside(reconcile_every_s=1):
        await pm.trading()
        if not told:
            pm.no_stream()
        number = pm.simulator.fault("amounts_in_micros")
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "FILLED")
        await pm.until_struck(number)
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    assert await pm.owner.fetchval("SELECT sum(size_micros) FROM ledger.fill") == 10 * SHARE
    await pm.check_against_venue()


async def test_a_frame_that_is_lost_is_made_good_by_a_comparison(pm: PolymarketRig) -> None:
    """Only the trade's frames are lost, so that the order looks filled and nothing is booked."""
    async with pm.inside(reconcile_every_s=1):
        await pm.trading()
        order_id = await pm.reserve(cents=45)
        await pm.until_state(order_id, "LIVE")
        pm.simulator.fault("frames_lost", contains='"event_type":"trade"', times=0)
        pm.simulator.do(
            "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="5", mint=False
        )
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 5 * SHARE
    await pm.check_against_venue()


# --- reads that are limited or blocked --------------------------------------------------------------


READS = ("GET /data/trades", "GET /data/orders", "GET /v1/user/rate-limit-tier", "GET /time")


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize(
    ("fault", "said"), [("rate_limited", "HTTP 429"), ("html_403", "HTTP 403")]
)
async def test_a_start_whose_reads_are_limited_or_blocked_waits_says_so_and_begins_by_itself(
    pm: PolymarketRig, fault: str, said: str, endpoint: str
) -> None:
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    number = pm.simulator.fault(fault, endpoint=endpoint, times=0)
    async with pm.inside():
        await pm.until("SELECT not_ready_why LIKE $1 FROM ledger.worker", f"main: %{said}%")
        assert (await pm.order(order_id))["state"] == "RESERVED"
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize("fault", ["rate_limited", "html_403"])
async def test_look_ups_that_are_limited_or_blocked_prove_nothing_about_an_order(
    pm: PolymarketRig, fault: str
) -> None:
    """Its answer was lost; neither 429 nor a page of the edge is taken for "no such order"."""
    async with pm.inside():
        await pm.trading()
        pm.no_stream()
        pm.simulator.fault("drop_after", endpoint="POST /order*")
        number = pm.simulator.fault(fault, endpoint="GET /data/*", times=0)
        order_id = await pm.reserve(cents=5, valid_for_ms=2_500)
        await pm.until_state(order_id, "UNKNOWN")
        await pm.until("SELECT valid_until < ledger.clock() FROM ledger.orders")
        await pm.until_struck(number, 4)
        assert (await pm.order(order_id))["state"] == "UNKNOWN"
        absent = (
            "SELECT count(*) FROM ledger.evidence WHERE kind IN ('order_absent', 'trades_absent')"
        )
        assert await pm.owner.fetchval(absent) == 0
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


# --- conditions that stand at the start -------------------------------------------------------------


def closed_only(pm: PolymarketRig, on: bool) -> Any:
    return pm.simulator.do("account", address=SIGNER.address, closed_only=on)


def geoblocked(pm: PolymarketRig, on: bool) -> Any:
    return pm.simulator.do("geoblock", blocked=on)


@pytest.mark.parametrize(
    ("mode", "switch"), [("CLOSED_ONLY", closed_only), ("GEOBLOCKED", geoblocked)]
)
async def test_a_condition_that_a_start_reads_is_in_force_before_the_first_order(
    pm: PolymarketRig, mode: str, switch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the task that writes down modes, a moment later: that one does nothing here for a minute."""
    monkeypatch.setattr(polymarket_host, "MODES_EVERY_MS", 60_000)
    monkeypatch.setattr(polymarket_host, "WATCH_SOON_MS", 300)
    switch(pm, True)
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    async with pm.inside():
        await pm.until("SELECT EXISTS (SELECT FROM ledger.worker WHERE ready)")
        standing = await pm.owner.fetch("SELECT mode FROM ledger.venue_mode WHERE ended_at IS NULL")
        assert [row["mode"] for row in standing] == [mode]
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.pulse WHERE kind = 'stream' AND ok_at IS NOT NULL)"
        )
        assert (await pm.order(order_id))["attempts"] == 0
        switch(pm, False)
        # While it stands it is asked for again soon, not each minute.
        await pm.until_state(order_id, "LIVE", within_s=20)
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


async def test_a_cut_over_to_other_orders_is_seen_while_the_worker_runs_and_gates_before_any_refusal(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polymarket_host, "WATCH_EVERY_MS", 300)
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve("m2", cents=5)
        await pm.until_state(resting, "LIVE")
        pm.simulator.do("settings", order_version=3)
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.venue_mode WHERE mode = 'ORDER_VERSION' "
            "AND detail = 'VERSION_3' AND ended_at IS NULL)"
        )
        waiting = [await pm.reserve(cents=5, valid_for_ms=60_000) for _ in range(3)]
        await pm.cancel(resting)
        await pm.until_state(resting, "CANCELLED")
        for order_id in waiting:
            assert (await pm.order(order_id))["attempts"] == 0
        pm.simulator.do("settings", order_version=2)
        for order_id in waiting:
            await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    await pm.check_against_venue()


async def test_a_start_at_a_venue_that_takes_other_orders_trades_nothing_and_cancels(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve(cents=5)
        await pm.until_state(resting, "LIVE")
    pm.simulator.do("settings", order_version=3)
    waiting = await pm.reserve(cents=6, valid_for_ms=60_000)
    await pm.cancel(resting)
    async with pm.inside():
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.worker WHERE stopped_at IS NULL "
            "AND not_ready_why LIKE 'main: the venue takes orders of version 3,%')"
        )
        await pm.until_state(resting, "CANCELLED")
        assert (await pm.order(waiting))["attempts"] == 0
        pm.simulator.do("settings", order_version=2)
        await pm.until_state(waiting, "LIVE")
        await pm.until_settled()
    await pm.check_against_venue()
