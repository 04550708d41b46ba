"""How a worker looks for what became of an order, and what it may conclude from what it did not find."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.life import SHARE
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401


async def looked(rig: Rig, order_id: int, times: int = 3) -> None:
    """So many look-ups of an order later."""
    claim_no = "SELECT claim_no FROM ledger.outbox WHERE order_id = $1"
    before = await rig.owner.fetchval(claim_no, order_id)
    await rig.until(f"SELECT ({claim_no}) >= $2", order_id, before + times)


async def test_an_order_that_no_look_up_finds_is_booked_by_its_trades(rig: Rig) -> None:
    order_id = await rig.reserve(cents=90)
    await rig.fault("place", "drop_answer", order_id)
    await rig.fault("order", "null", order_id, times=10_000)
    await rig.fault("open_orders", "null", times=10_000)
    await rig.fault("events", "silent", times=10_000)
    async with rig.inside(reconcile_every_s=3_600):
        await rig.until_state(order_id, "UNKNOWN")
        await rig.cancel(order_id)
        await rig.until_state(order_id, "FILLED", within_s=20)
        await rig.venue.faults.clear()
        await rig.until("SELECT count(*) = 1 FROM ledger.fill WHERE order_id = $1", order_id)
    assert (await rig.order(order_id))["traded_micros"] == 5 * SHARE
    absent = "SELECT count(*) FROM ledger.evidence WHERE kind = 'trades_absent'"
    assert await rig.owner.fetchval(absent) == 0


async def test_a_look_up_that_fails_concludes_nothing(rig: Rig) -> None:
    """It is neither a sign to send again nor a proof of absence."""
    order_id = await rig.reserve(valid_for_ms=600_000)
    await rig.fault("place", "drop_answer", order_id)
    await rig.fault("order", "unread", times=10_000)
    await rig.fault("events", "silent", times=10_000)
    async with rig.inside(reconcile_every_s=3_600):
        await rig.until_state(order_id, "UNKNOWN")
        await looked(rig, order_id)
        await rig.cancel(order_id)
        await looked(rig, order_id)
        assert (await rig.order(order_id))["state"] == "UNKNOWN"
        held = "SELECT held_micros FROM ledger.reservation WHERE order_id = $1"
        assert await rig.owner.fetchval(held, order_id) == 250_000
        await rig.venue.faults.clear()
        await rig.until_state(order_id, "CANCELLED")
    absent = "SELECT count(*) FROM ledger.evidence WHERE kind IN ('order_absent', 'trades_absent')"
    assert await rig.owner.fetchval(absent) == 0
    [found] = await rig.at_venue(order_id)
    assert found["times_received"] == 1
    await rig.check_sound()


async def test_a_twin_at_the_venue_is_never_taken_for_an_order_of_unknown_fate(rig: Rig) -> None:
    """Equal in market, side, price, size and time: only the identity tells which one it is."""
    as_hedge: dict[str, Any] = {"class": "hedge"}
    lost = await rig.reserve(valid_for_ms=600_000, **as_hedge)
    await rig.fault("place", "lost_request", lost, times=10_000)
    twin = await rig.reserve(valid_for_ms=600_000, **as_hedge)
    async with rig.inside():
        await rig.until_state(lost, "UNKNOWN")
        await rig.until_state(twin, "LIVE")
        await looked(rig, lost)
    assert (await rig.order(lost))["state"] == "UNKNOWN"
    await rig.cancel(lost)
    # nor by the comparison of a start
    async with rig.inside():
        await rig.until_state(lost, "NOT_PLACED")
        assert (await rig.order(twin))["state"] == "LIVE"
    assert await rig.at_venue(lost) == []
    [found] = await rig.at_venue(twin)
    assert (found["status"], found["times_received"]) == ("LIVE", 1)
    await rig.check_sound()


async def test_a_look_up_is_recorded_before_the_next_one_begins(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded behind a slow one, it would count as begun when the slow one was: after the quarantine."""
    order_id = await rig.reserve()
    await rig.fault("place", "lost_request", order_id, times=10_000)
    recorded = "SELECT count(*) > 0 FROM ledger.evidence WHERE order_id = $1 AND kind = $2"
    asked, answered = asyncio.Event(), asyncio.Event()
    async with rig.inside() as context:
        await rig.until_state(order_id, "UNKNOWN")
        read = context.venue.trades

        async def slowly(*arguments: Any, **how: Any) -> Any:
            asked.set()
            await answered.wait()
            return await read(*arguments, **how)

        monkeypatch.setattr(context.venue, "trades", slowly)
        try:
            await rig.cancel(order_id)
            await until(asked.is_set, "the trades are asked for")
            assert await rig.owner.fetchval(recorded, order_id, "order_absent")
            assert not await rig.owner.fetchval(recorded, order_id, "trades_absent")
        finally:
            answered.set()
        await rig.until_state(order_id, "NOT_PLACED")
    await rig.check_sound()
