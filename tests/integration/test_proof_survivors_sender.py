"""What the sender could do without any test's noticing: found by letting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.clock import SystemClock
from app.ledger.calls import LedgerCalls
from app.venue.interface import PlaceRequest
from tests.support.life import call
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker.context import Context


def watched(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[PlaceRequest]:
    """Every request that leaves, as the transport gets it."""
    seen: list[PlaceRequest] = []
    place = context.venue.place

    async def noted(account: str, requests: Sequence[PlaceRequest]) -> Any:
        seen.extend(requests)
        return await place(account, requests)

    monkeypatch.setattr(context.venue, "place", noted)
    return seen


async def test_what_the_ledger_refuses_to_open_never_leaves(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A halt that comes between the bytes and their attempt."""
    items = LedgerCalls.items

    async def halted(self: LedgerCalls, function: str, given: Any) -> Any:
        if function == "open_attempt":
            await call(rig.owner, "set_halt", "global", "", "test")
        return await items(self, function, given)

    monkeypatch.setattr(LedgerCalls, "items", halted)
    async with rig.inside() as context:
        await until(lambda: "main" in context.shared.ready, "the account is ready")
        left = watched(context, monkeypatch)
        order_id = await rig.reserve()
        await rig.until_state(order_id, "NOT_PLACED")
    assert (await rig.order(order_id))["cause"] == "HALTED"
    assert left == []
    assert await rig.at_venue(order_id) == []


@pytest.mark.parametrize("valid_for_ms", [1_500, 60_000])
async def test_the_transport_is_told_until_when_bytes_may_leave(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, valid_for_ms: int
) -> None:
    """It may have to wait for a connection, and nobody else looks at the clock then."""
    clock = SystemClock()
    async with rig.inside() as context:
        await until(lambda: "main" in context.shared.ready, "the account is ready")
        left = watched(context, monkeypatch)
        began_ns = clock.monotonic_ns()
        await rig.reserve(valid_for_ms=valid_for_ms)
        await until(lambda: left, "it is sent")
        sent_ns = clock.monotonic_ns()
    allowed_ns = min(valid_for_ms, 2_000) * 1_000_000
    assert began_ns < left[0].send_by_ns <= sent_ns + allowed_ns
