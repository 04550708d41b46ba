"""Fences that could be taken away without any test's noticing: found by removing them one at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.venue.interface import PlaceRequest, RefusedBy, Rejected
from tests.support.life import LEASE_MS, Life
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker import sending
from workers.worker.sending import DOUBT_EVERY_MS, Sender


async def lapse(life: Life) -> None:
    await life.clock.advance(LEASE_MS)
    await life.call("sweep_lapsed")


async def test_a_claim_taken_anew_by_the_same_worker_shuts_out_its_old_task(life: Life) -> None:
    order_id = await life.prepared()
    old = dict(life.claims)
    await lapse(life)
    await life.claim()
    assert life.claims[order_id] == old[order_id] + 1
    late = life.on(life.conn)
    late.claims |= old
    assert (await late.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    assert (await life.open_attempt(order_id))["state"] == "SENDING"


async def test_a_claim_taken_anew_is_not_given_back_by_the_old_task(life: Life) -> None:
    order_id = await life.claimed()
    old = life.claims[order_id]
    await lapse(life)
    await life.claim()
    item = {"order_id": order_id, "incarnation": str(life.worker), "after_ms": 0}
    assert await life.call("drop_claims", [item | {"claim_no": old}]) == 0
    assert await life.call("drop_claims", [item | {"claim_no": life.claims[order_id]}]) == 1


async def test_a_look_up_that_is_claimed_anew_shuts_out_the_one_before(life: Life) -> None:
    """It may send again: two of them would send twice at once."""
    order_id = await life.unknown()
    (first,) = await life.claim_look_ups()
    await life.clock.advance(LEASE_MS)
    (again,) = await life.claim_look_ups()
    assert again["claim_no"] == first["claim_no"] + 1
    late = life.on(life.conn)
    late.claims[order_id] = first["claim_no"]
    assert (await late.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    assert (await life.open_attempt(order_id))["attempt"] == 2


async def test_the_number_of_a_claim_is_of_no_use_to_another_worker(
    life: Life, second: Life
) -> None:
    order_id = await life.claimed()
    second.claims |= life.claims
    assert (await second.prepare(order_id))["code"] == "STALE_ATTEMPT"
    await life.prepare(order_id)
    assert (await second.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    assert (await life.row("orders", order_id))["attempts"] == 0


@pytest.mark.parametrize("how", ["acknowledge", "reject", "hold_back", "mark_seen", "mark_unknown"])
async def test_an_open_attempt_is_not_ended_by_another_worker(
    life: Life, second: Life, how: str
) -> None:
    order_id = await life.sending()
    assert (await second.complete(how, order_id))["code"] == "STALE_ATTEMPT"
    assert await life.state(order_id) == "SENDING"
    assert (await life.row("attempt", order_id))["outcome"] == "open"
    assert (await life.complete("acknowledge", order_id))["state"] == "LIVE"


@pytest.mark.parametrize("how", ["acknowledge", "reject", "hold_back", "mark_seen", "mark_unknown"])
async def test_an_answer_to_the_first_attempt_does_not_end_the_second(life: Life, how: str) -> None:
    order_id = await life.unknown()
    await life.claim_look_ups()
    assert (await life.open_attempt(order_id))["attempt"] == 2
    assert (await life.complete(how, order_id, 1))["code"] == "STALE_ATTEMPT"
    assert await life.state(order_id) == "SENDING"
    assert (await life.complete("acknowledge", order_id, 2))["state"] == "LIVE"


async def test_refusals_for_want_of_balance_bring_about_one_comparison(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our rows said that there was enough: one of the two is wrong."""

    async def poor(account: str, requests: Any) -> list[Rejected]:
        assert all(isinstance(one, PlaceRequest) for one in requests)
        return [Rejected("NOT_ENOUGH_BALANCE", "{}", RefusedBy.OURS) for _ in requests]

    async with rig.inside() as context:
        await until(lambda: "main" in context.shared.ready, "the account is ready")
        asked: list[str] = []
        monkeypatch.setattr(
            context.shared, "compare_soon", _Noted(context.shared.compare_soon, asked)
        )
        monkeypatch.setattr(context.venue, "place", poor)
        first = await rig.reserve("m1")
        await rig.until_state(first, "REJECTED")
        second = await rig.reserve("m2")
        await rig.until_state(second, "REJECTED")
    assert asked == ["main"], "one for many"


class _Noted(set[str]):
    def __init__(self, of: set[str], asked: list[str]) -> None:
        super().__init__(of)
        self._asked = asked

    def add(self, account: str) -> None:
        self._asked.append(account)
        super().add(account)


def test_a_later_refusal_for_want_of_balance_is_looked_into_again() -> None:
    now_ns, asked = [0], set[str]()
    clock = SimpleNamespace(monotonic_ns=lambda: now_ns[0])
    # of a worker's context what the sender's judgement needs
    context: Any = SimpleNamespace(
        ports=SimpleNamespace(clock=clock, tasks=None),
        shared=SimpleNamespace(compare_soon=asked),
        named=lambda name: None,
    )
    sender = Sender(context)
    for at_ms, expected in ((0, True), (DOUBT_EVERY_MS - 1, False), (DOUBT_EVERY_MS, True)):
        now_ns[0] = at_ms * 1_000_000
        asked.clear()
        sender._doubt_balance("main")
        assert ("main" in asked) is expected, at_ms
    assert sending._is_of_balance(Rejected("NOT_ENOUGH_BALANCE", "", RefusedBy.OURS))
    assert not sending._is_of_balance(Rejected("ANYTHING", "", RefusedBy.OURS))


async def test_cancelling_everything_of_one_account_leaves_another_alone(life: Life) -> None:
    """Also where the login acts for both."""
    await life.open_account("other")
    ours = await life.live()
    theirs = await life.reserved(account="other")
    assert [
        one["order_id"] for one in await life.call("request_cancel_all", "main", None, "x")
    ] == [ours]
    assert await life.state(theirs) == "RESERVED"
    assert await life.call("request_cancel_all", "main", "m1", "x") == []


async def test_a_cancel_that_is_just_being_claimed_is_skipped(life: Life, second: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    async with life.conn.transaction():
        assert await life.claim_cancels() == [order_id]
        assert await second.claim_cancels() == []
    assert await second.claim_cancels() == []


async def test_a_pulse_is_kept_alive_by_the_holder_of_the_newest_term_alone(life: Life) -> None:
    await life.call("require_pulse", "main", "heartbeat", True, 10_000)
    await life.call("take_pulse", "main", "heartbeat", 1)
    await life.call("take_pulse", "main", "heartbeat", 2)
    beat = ("main", "heartbeat")
    assert not (await life.call("beat_pulse", *beat, 1, "old", 0, None))["mine"]
    row = "SELECT chain_id, ok_at FROM ledger.pulse"
    assert tuple(await life.conn.fetchrow(row)) == ("", None)
    assert (await life.call("beat_pulse", *beat, 2, "new", 0, None))["mine"]
    assert (await life.conn.fetchrow(row))["chain_id"] == "new"
