"""A worker on the simulated Polymarket whose stream is silent, late, doubled or out of order; and failed trades."""

from __future__ import annotations

import pytest

from tests.support.life import SHARE
from tests.support.polymarket_rig import PolymarketRig, pm_fixture
from workers.worker import polymarket_host, stream

__all__ = ["pm_fixture"]


@pytest.fixture(name="impatient")
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that does not tell of an order within a second and a half carries no data."""
    monkeypatch.setattr(stream, "TOLD_WITHIN_MS", 1_500)
    monkeypatch.setattr(polymarket_host, "STREAM_GRACE_MS", 2_500)


async def gate(pm: PolymarketRig) -> str | None:
    found: str | None = await pm.owner.fetchval(
        "SELECT ledger._gate(account_id, true) FROM ledger.account"
    )
    return found


def sells(pm: PolymarketRig, size: str, price: str = "0.45") -> None:
    """Somebody outside sells into our resting BUY."""
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price=price, size=size, mint=False
    )


# --- silence --------------------------------------------------------------------------------------


async def test_a_stream_that_goes_silent_while_pings_are_answered_gates_placements_until_it_caught_up(
    pm: PolymarketRig, impatient: None
) -> None:
    """Pongs prove nothing. It is left, and only a comparison behind the new connection opens the gate."""
    async with pm.inside():
        await pm.trading()
        silence = pm.simulator.fault("stream_silence", ms=600_000)
        resting = await pm.reserve(cents=45, shares=10)
        await pm.until_state(resting, "LIVE")
        await pm.until_struck(silence)
        no_read = pm.simulator.fault("http_error", endpoint="GET /data/trades", times=0)
        sells(pm, "4")
        await pm.until("SELECT ledger._gate(account_id, true) IS NOT NULL FROM ledger.account")
        assert await gate(pm) == "BLIND_STREAM"
        assert pm.simulator.see("state")["listeners"]["user"] == 1
        waiting = await pm.reserve(cents=5, valid_for_ms=60_000)
        # the comparison fails again and again; a cancel leaves all the same
        await pm.until_struck(no_read, 2)
        await pm.cancel(resting)
        await pm.until_venue(resting, "CANCELED")
        assert (await pm.order(waiting))["state"] == "RESERVED"
        assert await gate(pm) == "BLIND_STREAM"
        pm.simulator.do("no_fault", number=no_read)
        await pm.until_state(waiting, "LIVE")
        await pm.until_state(resting, "CANCELLED")
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.reconcile_run WHERE kind = 'reconnect' "
            "AND result = 'incomplete')"
        )
        await pm.until_settled()
    assert (await pm.order(resting))["confirmed_micros"] == 4 * SHARE
    assert (await pm.arrivals(waiting))["received"] == 1
    await pm.check_against_venue()


async def test_a_fill_that_no_stream_tells_is_found_by_comparing(pm: PolymarketRig) -> None:
    async with pm.inside(reconcile_every_s=1):
        await pm.trading()
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "LIVE")
        pm.no_stream()
        sells(pm, "10")
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    await pm.check_against_venue()


async def test_a_connection_that_drops_instead_of_telling_of_a_fill_is_made_good_behind_the_next(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_state(order_id, "LIVE")
        before = await pm.owner.fetchval(
            "SELECT count(*) FROM ledger.reconcile_run WHERE kind = 'reconnect'"
        )
        pm.simulator.fault("stream_drop", contains='"event_type":"trade"')
        sells(pm, "10")
        await pm.until_state(order_id, "FILLED")
        await pm.until(
            "SELECT count(*) > $1 FROM ledger.reconcile_run WHERE kind = 'reconnect' "
            "AND result IN ('clean', 'drift')",
            before,
        )
        await pm.until_settled()
    assert await pm.owner.fetchval("SELECT sum(size_micros) FROM ledger.fill") == 10 * SHARE
    await pm.check_against_venue()


async def test_a_venue_that_dies_and_comes_back_loses_no_order_and_gets_none_twice(
    pm: PolymarketRig, impatient: None
) -> None:
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve("m2", cents=5)
        await pm.until_state(resting, "LIVE")
        pm.simulator.kill()
        meanwhile = await pm.reserve(cents=5, valid_for_ms=60_000)
        await pm.until("SELECT ledger._gate(account_id, true) IS NOT NULL FROM ledger.account")
        pm.simulator.restart()
        await pm.until_state(meanwhile, "LIVE")
        await pm.until_settled()
    for order_id in (resting, meanwhile):
        assert (await pm.book(order_id))["status"] == "LIVE"
        assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()


# --- frames in another number and order -----------------------------------------------------------


@pytest.mark.parametrize("fault", ["frames_twice", "frames_swapped"])
async def test_frames_that_come_twice_or_in_another_order_give_the_same_rows(
    pm: PolymarketRig, fault: str
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault(fault, times=0)
        resting = await pm.reserve(cents=45, shares=10)
        await pm.until_state(resting, "LIVE")
        sells(pm, "4")
        await pm.until(
            "SELECT traded_micros = $2 FROM ledger.orders WHERE order_id = $1", resting, 4 * SHARE
        )
        sells(pm, "6")
        await pm.until_state(resting, "FILLED")
        crossing = await pm.reserve(cents=60, shares=7)
        await pm.until_state(crossing, "FILLED")
        await pm.until_settled()
    fills = await pm.owner.fetch(
        "SELECT order_id, sum(size_micros)::bigint AS size, count(*) AS parts FROM ledger.fill "
        "GROUP BY order_id ORDER BY order_id"
    )
    assert [tuple(row) for row in fills] == [(resting, 10 * SHARE, 2), (crossing, 7 * SHARE, 1)]
    assert await pm.owner.fetchval("SELECT count(*) FROM ledger.dead_letter") == 0
    await pm.check_against_venue()


@pytest.mark.parametrize("fault", ["frames_first", "frames_late"])
@pytest.mark.parametrize(("cents", "state"), [(5, "LIVE"), (60, "FILLED")])
async def test_the_stream_and_the_answer_may_come_in_either_order(
    pm: PolymarketRig, fault: str, cents: int, state: str
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault(fault, ms=600)
        order_id = await pm.reserve(cents=cents, shares=10)
        await pm.until_state(order_id, state)
        await pm.until_settled()
    assert [outcome for outcome, _ in await pm.attempts(order_id)] == ["accepted"]
    assert (await pm.arrivals(order_id))["received"] == 1
    told = await pm.owner.fetchval(
        "SELECT count(*) FROM ledger.journal WHERE order_id = $1 AND event = 'LOSE'", order_id
    )
    assert told == 0, "it was never unknown: evidence and answer agree"
    await pm.check_against_venue()


async def test_a_fill_that_is_told_before_its_order_belongs_to_it(pm: PolymarketRig) -> None:
    """Somebody takes a resting order while the frame of its placement is still held back."""
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("frames_swapped", contains='"PLACEMENT"', ms=700)
        pm.simulator.fault("slow_head", endpoint="POST /order*", ms=500)
        order_id = await pm.reserve(cents=45, shares=10)
        await pm.until_venue(order_id, "LIVE")
        sells(pm, "3")
        await pm.until(
            "SELECT traded_micros = $2 FROM ledger.orders WHERE order_id = $1", order_id, 3 * SHARE
        )
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    row = await pm.order(order_id)
    assert (row["traded_micros"], row["confirmed_micros"]) == (3 * SHARE, 3 * SHARE)
    assert await pm.owner.fetchval("SELECT count(*) FROM ledger.halt") == 0
    await pm.check_against_venue()


# --- settlement -----------------------------------------------------------------------------------


async def test_a_settlement_that_fails_after_seconds_is_reversed(pm: PolymarketRig) -> None:
    """Booked when matched, taken back as a row of its own when it failed: no money and no shares are left."""
    async with pm.inside():
        await pm.trading()
        before = await pm.owner.fetchval("SELECT available FROM ledger.balance")
        pm.simulator.fault("settle_fail", after_ms=2_000)
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "FILLED")
        await pm.until("SELECT settlement = 'provisional' FROM ledger.fill")
        assert await pm.owner.fetchval("SELECT max(position_micros) FROM audit.exposure") == 0
        await pm.until("SELECT settlement = 'failed' FROM ledger.fill")
        await pm.until_settled()
    row = await pm.order(order_id)
    assert (row["traded_micros"], row["failed_micros"], row["confirmed_micros"]) == (
        10 * SHARE,
        10 * SHARE,
        0,
    )
    assert await pm.owner.fetchval("SELECT available FROM ledger.balance") == before
    assert await pm.owner.fetchval("SELECT max(effective_micros) FROM audit.exposure") == 0
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


async def test_a_failed_settlement_that_no_stream_tells_is_reversed_by_comparing(
    pm: PolymarketRig,
) -> None:
    async with pm.inside(reconcile_every_s=1):
        await pm.trading()
        pm.simulator.fault("settle_fail", after_ms=1_500)
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "FILLED")
        pm.no_stream()
        await pm.until("SELECT settlement = 'failed' FROM ledger.fill")
        await pm.until_settled()
    assert (await pm.order(order_id))["failed_micros"] == 10 * SHARE
    await pm.check_against_venue()


async def test_a_settlement_that_is_tried_twice_ends_as_confirmed_once(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("settle_retry", after_ms=500)
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until("SELECT settlement = 'confirmed' FROM ledger.fill", within_s=20)
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    await pm.check_against_venue()
