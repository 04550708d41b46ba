"""The send path of one worker: what leaves, what never leaves, what goes again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest

from app.clock import Ports, SystemClock
from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from app.ledger.calls import LedgerCalls
from app.venue.polymarket.body import with_owner
from tests.support.clock import SettableClock
from tests.support.life import SHARE
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker import sending
from workers.worker.context import Context


async def test_an_intent_becomes_one_order_with_the_stored_bytes(rig: Rig) -> None:
    order_id = await rig.reserve(cents=5, shares=7)
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    [found] = await rig.at_venue(order_id)
    body = await rig.owner.fetchval(
        "SELECT body FROM ledger.signed_order WHERE order_id = $1", order_id
    )
    owner = await rig.owner.fetchval(
        "SELECT owner FROM ledger.attempt WHERE order_id = $1", order_id
    )
    assert found["body"] in (body, with_owner(body, owner))
    assert (found["price_micros"], found["size_micros"]) == (50_000, 7 * SHARE)
    await rig.check_sound()


async def test_an_intent_that_crosses_is_filled_and_confirmed(rig: Rig) -> None:
    order_id = await rig.reserve(cents=90, shares=5)
    async with rig.inside():
        await rig.until_state(order_id, "FILLED")
        await rig.until_resolved()
    order = await rig.order(order_id)
    assert order["confirmed_micros"] == 5 * SHARE
    await rig.check_sound()


async def test_an_intent_that_ran_out_is_never_sent(rig: Rig) -> None:
    late = await rig.reserve("m1", valid_for_ms=1)
    wanted = await rig.reserve("m1")
    async with rig.inside():
        await rig.until_state(wanted, "LIVE")
        await rig.until_state(late, "NOT_PLACED")
    assert (await rig.order(late))["cause"] == "EXPIRED"
    assert await rig.at_venue(late) == []
    await rig.check_sound()


async def test_an_intent_that_runs_out_while_held_back_is_not_sent_again(rig: Rig) -> None:
    order_id = await rig.reserve(valid_for_ms=1_500)
    await rig.fault("place", "http", order_id, times=100, http_status=503, retry_after_ms=400)
    async with rig.inside():
        await rig.until_state(order_id, "NOT_PLACED")
    assert (await rig.order(order_id))["cause"] == "EXPIRED"
    assert await rig.at_venue(order_id) == []
    await rig.check_sound()


@pytest.mark.parametrize("status", [425, 429, 503])
async def test_held_back_bytes_go_again_unchanged_and_not_before_the_venue_allows(
    rig: Rig, status: int
) -> None:
    order_id = await rig.reserve()
    await rig.fault("place", "http", order_id, http_status=status, retry_after_ms=900)
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    first, second = await rig.owner.fetch(
        "SELECT outcome, opened_at, ended_at FROM ledger.attempt WHERE order_id = $1 ORDER BY attempt",
        order_id,
    )
    assert (first["outcome"], second["outcome"]) == ("held_back", "accepted")
    assert (second["opened_at"] - first["ended_at"]).total_seconds() >= 0.9
    [found] = await rig.at_venue(order_id)
    assert found["times_received"] == 1
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.signed_order") == 1
    await rig.check_sound()


async def test_a_lost_answer_ends_in_the_order_that_the_venue_has(rig: Rig) -> None:
    order_id = await rig.reserve()
    await rig.fault("place", "drop_answer", order_id)
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    [found] = await rig.at_venue(order_id)
    assert found["times_received"] == 1, "a look-up was enough"
    await rig.check_sound()


async def test_what_a_look_up_misses_is_sent_again_with_the_same_bytes(rig: Rig) -> None:
    order_id = await rig.reserve()
    await rig.fault("place", "drop_answer", order_id)
    await rig.fault("order", "null", order_id, times=4)
    await rig.fault("events", "silent", times=1_000)
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    [found] = await rig.at_venue(order_id)
    assert found["times_received"] > 1, "the same bytes went again"
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.attempt WHERE outcome = 'seen'")
    await rig.check_sound()


async def test_an_unknown_head_holds_its_lane_and_no_other(rig: Rig) -> None:
    head = await rig.reserve("m1")
    await rig.fault("place", "lost_request", head, times=100)
    behind = await rig.reserve("m1")
    as_hedge: dict[str, Any] = {"class": "hedge"}
    hedge = await rig.reserve("m1", **as_hedge)
    beside = await rig.reserve("m2")
    async with rig.inside():
        await rig.until_state(head, "UNKNOWN")
        await rig.until_state(beside, "LIVE")
        await rig.until_state(hedge, "LIVE")
        assert (await rig.order(behind))["state"] == "RESERVED"
        await rig.venue.faults.clear()
        await rig.until_state(head, "LIVE")
        await rig.until_state(behind, "LIVE")
    await rig.check_sound()


async def test_what_cannot_be_signed_becomes_a_dead_letter_and_frees_its_lane_when_it_expires(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.owner.acquire() as owner:
        clock = await SettableClock.install(owner)
        poisoned = await rig.reserve("m1", shares=10, valid_for_ms=3_600_000)
        sign = sending._sign

        def fail(key: Any, work: Any) -> Any:
            if work["order_id"] == poisoned:
                raise LedgerError(Code.BAD_SETTING, "the key is locked away")
            return sign(key, work)

        monkeypatch.setattr(sending, "_sign", fail)
        async with rig.inside():
            for failures in range(1, 6):
                await rig.until(
                    "SELECT failures = $2 FROM ledger.outbox WHERE order_id = $1",
                    poisoned,
                    failures,
                )
                await clock.advance(31_000)
            letter = await rig.owner.fetchrow("SELECT * FROM ledger.dead_letter")
            assert (letter["source"], letter["subject"]) == ("outbox", str(poisoned))
            assert "locked away" in letter["problem"]
            held = "SELECT locked FROM ledger.balance WHERE asset = 'collateral'"
            assert await rig.owner.fetchval(held) == 500_000, "10 shares at 0.05"
            behind = await rig.reserve("m1", shares=5, valid_for_ms=86_400_000)
            await clock.advance(3_600_000)
            await rig.until_state(poisoned, "NOT_PLACED")
            await rig.until_state(behind, "LIVE")
            assert await rig.owner.fetchval(held) == 250_000
        assert await rig.at_venue(poisoned) == []
    await rig.check_sound()


async def test_what_can_never_be_signed_ends_at_once_and_holds_up_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hopeless, behind = await rig.reserve("m1"), await rig.reserve("m1")
    sign = sending._sign

    def fail(key: Any, work: Any) -> Any:
        if work["order_id"] == hopeless:
            raise BadInput(Code.BAD_SIZE, "no such amounts")
        return sign(key, work)

    monkeypatch.setattr(sending, "_sign", fail)
    async with rig.inside():
        await rig.until_state(behind, "LIVE")
    order = await rig.order(hopeless)
    assert (order["state"], order["cause"]) == ("NOT_PLACED", "NOT_SIGNABLE: BAD_SIZE")
    await rig.check_sound()


async def test_a_request_is_waited_for_no_longer_than_the_quarantine_counts_on(rig: Rig) -> None:
    """Whatever the venue's own client makes of its time-outs: then the answer counts as lost."""
    order_id = await rig.reserve()
    await rig.fault("place", "delay", order_id, before_ms=20_000)
    async with rig.inside(request_timeout_ms=300):
        await rig.until_state(order_id, "UNKNOWN", within_s=10)
        attempt = await rig.owner.fetchrow("SELECT * FROM ledger.attempt WHERE attempt = 1")
        assert (attempt["outcome"], attempt["code"]) == ("unknown", "timeout")
        await rig.until_state(order_id, "LIVE")
    await rig.check_sound()


class LeapingClock(SystemClock):
    """Monotonic time that leaps, as it does for a process that was stopped."""

    leapt_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.leapt_ns


@pytest.mark.parametrize(("valid_for_ms", "sent"), [(1_800, False), (30_000, True)])
async def test_bytes_do_not_leave_once_the_intent_has_run_out_while_they_were_made_ready(
    rig: Rig, valid_for_ms: int, sent: bool
) -> None:
    """1.9 s pass between the attempt and its first byte: in time for most, too late for this one."""
    clock = LeapingClock()

    def reached(point: str) -> None:
        if point == "send.before":
            clock.leapt_ns += 1_900_000_000

    order_id = await rig.reserve(valid_for_ms=valid_for_ms)
    ports = dataclasses.replace(Ports.system(), clock=clock)
    async with rig.inside(ports=ports, reached=reached):
        await rig.until_state(order_id, "LIVE" if sent else "NOT_PLACED")
    attempt = await rig.owner.fetchrow("SELECT * FROM ledger.attempt WHERE attempt = 1")
    expected = ("accepted", "live") if sent else ("held_back", "SEND_BY_PASSED")
    assert (attempt["outcome"], attempt["code"]) == expected
    assert len(await rig.at_venue(order_id)) == sent
    await rig.check_sound()


async def test_an_error_nobody_foresaw_in_sending_ends_the_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: Any, work: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(sending, "_sign", fail)
    await rig.reserve()
    with pytest.raises(ZeroDivisionError):
        async with rig.inside() as context:
            await until(context.shared.stopping.is_set, "the worker gives up")


async def set_back(rig: Rig, by: str) -> None:
    """Somebody sets the database's clock back."""
    await rig.owner.execute(
        "CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
        f"AS $$ SELECT clock_timestamp() - interval '{by}' $$"
    )


async def test_what_waits_while_the_databases_clock_is_set_back_is_not_sent_any_more(
    rig: Rig,
) -> None:
    held, unsure = await rig.reserve("m1"), await rig.reserve("m2", valid_for_ms=3_600_000)
    await rig.fault("place", "http", held, times=10_000, http_status=503, retry_after_ms=100)
    await rig.fault("place", "lost_request", unsure, times=10_000)
    async with rig.inside():
        await rig.until_state(held, "HELD_BACK")
        await rig.until_state(unsure, "UNKNOWN")
        # the intents are older than that: by the new time they have just been reserved
        await set_back(rig, "2 seconds")
        lost = await rig.until("SELECT lost_ms FROM ledger.clock_step")
        assert 1_000 < lost <= 2_100
        await rig.until_state(held, "NOT_PLACED")
        await rig.venue.faults.clear()
        await rig.until_state(unsure, "NOT_PLACED")
        afterwards = await rig.reserve("m3")
        await rig.until_state(afterwards, "LIVE")
    assert (await rig.order(held))["cause"] == "EXPIRED"
    assert await rig.at_venue(held) == await rig.at_venue(unsure) == []
    await rig.check_sound()


async def test_a_claimed_intent_is_not_sent_later_for_a_clock_that_was_set_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process's own clock, also before a beat has told anybody."""
    items, value, clock = LedgerCalls.items, LedgerCalls.value, SystemClock()
    begun_ns, opened = 0, list[Any]()

    async def age(seconds: float) -> None:
        await until(lambda: clock.monotonic_ns() - begun_ns > seconds * 1e9, "it grows older")

    async def slow(self: LedgerCalls, function: str, given: Any) -> Any:
        if function == "prepare":
            await age(2)
            await set_back(rig, "1.9 seconds")
            await age(5.1)
        answers = await items(self, function, given)
        if function == "open_attempt":
            opened.extend(answers)
        return answers

    async def deaf(self: LedgerCalls, function: str, *arguments: Any) -> Any:
        if function == "beat":
            return {"at_us": None, "lost_ms": 0}
        return await value(self, function, *arguments)

    monkeypatch.setattr(LedgerCalls, "items", slow)
    monkeypatch.setattr(LedgerCalls, "value", deaf)
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        order_id = await rig.reserve(valid_for_ms=5_000)
        begun_ns = clock.monotonic_ns()
        await rig.until_state(order_id, "NOT_PLACED")
    assert await rig.at_venue(order_id) == []
    assert opened[0]["send_within_ms"] > 0, "as far as the database knew, it was in time"
    dropped = "SELECT code FROM ledger.attempt WHERE order_id = $1 ORDER BY attempt LIMIT 1"
    assert await rig.owner.fetchval(dropped, order_id) == "SEND_BY_PASSED"
    await rig.check_sound()


class Unreliable(LedgerCalls):
    """A database whose answers get lost: before the statement ran, or after it was committed.

    ``turns`` says what becomes of the first calls of each function; all later ones come through.
    """

    def __init__(self, pool: Any, turns: Sequence[str]) -> None:
        super().__init__(pool)
        self.bad = False
        self.lost: set[tuple[str, str]] = set()
        self._turns = turns
        self._calls: Counter[str] = Counter()

    async def value(self, function: str, *arguments: Any) -> Any:
        turn = ""
        if self.bad and self._calls[function] < len(self._turns):
            turn = self._turns[self._calls[function]]
            self._calls[function] += 1
        answer = None if turn == "before" else await super().value(function, *arguments)
        if turn:
            self.lost.add((function, turn))
            raise DatabaseProblem(Code.NOT_DURABLE, "lost", next_step="repeat")
        return answer


LOST: Final = {
    *("claim_placements", "prepare", "open_attempt", "acknowledge", "mark_unknown"),
    *("claim_look_ups", "drop_claims", "observe_orders", "record_fills", "renew_claims"),
    *("store_events", "mark_events", "claim_cancels", "record_cancel_answers"),
    *("sweep_lapsed", "sweep_expired", "sweep_cancels", "take_lease", "move_cursor", "beat"),
}
"""Whose answers are lost in the test below."""


@pytest.mark.parametrize("turns", [("after", "before"), ("before", "after")])
async def test_any_answer_of_the_database_may_be_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, turns: Sequence[str]
) -> None:
    opened: list[Unreliable] = []

    def unreliable(pool: Any) -> Unreliable:
        opened.append(Unreliable(pool, turns))
        return opened[-1]

    slugs = [f"chaos {n}" for n in range(8)]
    await rig.markets(*slugs)
    monkeypatch.setattr("workers.worker.main.LedgerCalls", unreliable)
    monkeypatch.setattr(Context, "backoff_ms", lambda _self, _tries, **_: 50)
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        opened[0].bad = True
        for fault in ("drop_answer", "lost_request", "appear_late"):
            await rig.fault("place", fault, skip=2, late_ms=900 if fault == "appear_late" else 0)
        orders = [await rig.reserve(slug, shares=10, valid_for_ms=600_000) for slug in slugs]
        filled = await rig.reserve("m1", cents=90, valid_for_ms=600_000)
        await rig.until_state(filled, "FILLED", within_s=40)
        for order_id in orders:
            await rig.until_state(order_id, "LIVE", within_s=40)
        await rig.cancel(*orders)
        for order_id in orders:
            await rig.until_state(order_id, "CANCELLED", within_s=40)
        await until(
            lambda: {function for function, _ in opened[0].lost} >= LOST,
            lambda: f"each was lost: {LOST - {function for function, _ in opened[0].lost}}",
        )
        opened[0].bad = False
        await rig.until_resolved()
    await rig.check_sound()
