"""A stop: nothing new is begun, what is under way is finished and recorded, and it ends in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.clock import SystemClock
from app.ledger.calls import LedgerCalls
from app.venue.paper import PaperVenue
from tests.support.worker import SETTINGS, Rig, rig_fixture, until  # noqa: F401
from workers.worker import look_ups, main
from workers.worker.sending import Sender

REQUEST_MS = int(str(SETTINGS["request_timeout_ms"]))
LEASE_MS = int(str(SETTINGS["claim_lease_ms"]))
ATTEMPTS = "SELECT outcome FROM ledger.attempt WHERE order_id = $1 ORDER BY attempt"


class Held:
    """Holds up a call until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def pass_by(self) -> None:
        self.reached.set()
        await self.go.wait()


def hold_record(monkeypatch: pytest.MonkeyPatch, attempt: int) -> Held:
    """The outcome of that attempt waits on its way into the database."""
    held, items = Held(), LedgerCalls.items

    async def slow(self: LedgerCalls, function: str, given: Any) -> Any:
        sent = list(given)
        if function == "acknowledge" and sent[0]["attempt"] == attempt:
            await held.pass_by()
        return await items(self, function, sent)

    monkeypatch.setattr(LedgerCalls, "items", slow)
    return held


async def after(milliseconds: float, since: Callable[[], bool]) -> None:
    """Wait until that much time has passed since something became true."""
    clock = SystemClock()
    await until(since, "it begins")
    begun = clock.monotonic_ns()
    await until(lambda: clock.monotonic_ns() - begun >= milliseconds * 1e6, "time passes")


async def resending(rig: Rig, held: Held) -> int:
    """An order whose first copy is lost, and whose second is at the venue and not yet recorded."""
    order_id = await rig.reserve(valid_for_ms=600_000)
    await rig.fault("place", "lost_request", order_id, times=1)
    await held.reached.wait()
    assert (await rig.order(order_id))["state"] == "SENDING"
    return order_id


async def outcomes(rig: Rig, order_id: int) -> list[str]:
    return [row["outcome"] for row in await rig.owner.fetch(ATTEMPTS, order_id)]


async def test_a_resend_under_way_is_recorded_though_its_task_was_to_end_long_ago(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold_record(monkeypatch, attempt=2)
    async with rig.inside() as context:
        order_id = await resending(rig, held)
        stopping = context.shared.stopping
        # by then whoever waited for the resend has been told to end
        late = asyncio.ensure_future(after(3 * REQUEST_MS, stopping.is_set))
        late.add_done_callback(lambda _: held.go.set())
    await late
    assert (await rig.order(order_id))["state"] == "LIVE"
    assert await outcomes(rig, order_id) == ["unknown", "accepted"]
    stopped = "SELECT stopped_at >= (SELECT max(ended_at) FROM ledger.attempt) FROM ledger.worker"
    assert await rig.owner.fetchval(stopped)
    await rig.check_sound()


async def test_a_stop_ends_though_an_outcome_cannot_be_recorded_and_the_lease_judges_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RECORD_S", 0.1)
    with monkeypatch.context() as patched:
        held = hold_record(patched, attempt=2)
        async with asyncio.timeout(30):
            async with rig.inside():
                order_id = await resending(rig, held)
    assert await rig.owner.fetchval("SELECT stopped_at IS NOT NULL FROM ledger.worker")
    assert (await rig.order(order_id))["state"] == "SENDING"
    assert await outcomes(rig, order_id) == ["unknown", "open"]
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        lapsed = "SELECT outcome = 'lapsed' FROM ledger.attempt WHERE order_id = $1 AND attempt = 2"
        await rig.until(lapsed, order_id)
    assert len(await rig.at_venue(order_id)) == 1
    await rig.check_sound()


async def test_a_stop_begins_no_resend(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    held, look_up = Held(), PaperVenue.order

    async def slow(self: PaperVenue, account: str, venue_order_id: str, **how: Any) -> Any:
        answer = await look_up(self, account, venue_order_id, **how)
        await held.pass_by()
        return answer

    order_id = await rig.reserve(valid_for_ms=600_000)
    await rig.fault("place", "lost_request", order_id, times=1)
    with monkeypatch.context() as patched:
        patched.setattr(PaperVenue, "order", slow)
        # every look-up that finds nothing would be followed by the same bytes
        patched.setattr(look_ups, "RESEND_AFTER_MS", 0)
        async with rig.inside() as context:
            await rig.until_state(order_id, "UNKNOWN")
            await held.reached.wait()
            release = asyncio.ensure_future(context.shared.stopping.wait())
            release.add_done_callback(lambda _: held.go.set())
    assert (await rig.order(order_id))["state"] == "UNKNOWN"
    assert await outcomes(rig, order_id) == ["unknown"]
    row = await rig.owner.fetchrow("SELECT * FROM ledger.outbox WHERE order_id = $1", order_id)
    assert (row["status"], row["claimed_by"]) == ("blocked", None), "whoever runs next may look"
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    await rig.check_sound()


async def test_an_error_nobody_foresaw_in_a_send_without_caller_is_not_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        sender = Sender(context)
        begun, go = asyncio.Event(), asyncio.Event()

        async def fail(*_: Any) -> None:
            begun.set()
            await go.wait()
            raise ZeroDivisionError

        monkeypatch.setattr(sender, "_send", fail)
        caller = asyncio.ensure_future(sender.send("main", []))
        await begun.wait()
        caller.cancel()
        await asyncio.wait({caller})
        go.set()
        with pytest.raises(ZeroDivisionError):
            await sender.drain(5)


async def test_sends_under_way_keep_their_claims_while_a_worker_stops(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a lease: a claim that lapsed meanwhile would make its answer come too late."""
    held = hold_record(monkeypatch, attempt=1)
    async with rig.inside() as context:
        order_id = await rig.reserve()
        await held.reached.wait()
        late = asyncio.ensure_future(after(1.5 * LEASE_MS, context.shared.stopping.is_set))
        late.add_done_callback(lambda _: held.go.set())
    await late
    assert (await rig.order(order_id))["state"] == "LIVE"
    assert await outcomes(rig, order_id) == ["accepted"]
