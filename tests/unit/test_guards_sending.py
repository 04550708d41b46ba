"""What the sender owes the ledger, step by step, without a database: each guard of it is missed here."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import BadInput, Code, DatabaseProblem
from app.venue.interface import (
    Accepted,
    NotPlaced,
    PlaceOutcome,
    RefusedBy,
    Rejected,
    Seen,
    Unknown,
)
from tests.support.scripted import START_NS, TIMEOUT_MS, Desk
from workers.worker import sending
from workers.worker.sending import Sender, timed

MS = 1_000_000
AT_VENUE = "0xaa"


def work(order_id: int = 1, **changes: Any) -> dict[str, Any]:
    """A claimed order, prepared before, wanted for a minute."""
    return {
        "order_id": order_id,
        "claim_no": 3,
        "state": "PREPARED",
        "venue_order_id": AT_VENUE,
        "body": base64.b64encode(b"bytes").decode(),
        "token_id": "1",
        "neg_risk": False,
        "wanted_until_ns": START_NS + 60_000 * MS,
    } | changes


def opening(send_within_ms: int = 60_000) -> Any:
    return lambda items: [
        {"status": "ok", "attempt": 1, "send_within_ms": send_within_ms} for _ in items
    ]


def desk(**answers: Any) -> Desk:
    made = Desk()
    made.calls.answers |= {"open_attempt": opening()} | answers
    return made


async def sent(at: Desk, *works: dict[str, Any]) -> None:
    await Sender(at.context).send("main", list(works))


@pytest.mark.parametrize(
    ("outcome", "call", "code"),
    [
        (Accepted(AT_VENUE.upper().replace("X", "x"), "live", ""), "acknowledge", "live"),
        (Accepted(AT_VENUE, "delayed", ""), "acknowledge_delayed", "delayed"),
        (Accepted("0xbb", "live", ""), "mark_unknown", "ID_MISMATCH"),
        (Accepted("0xbb", "delayed", ""), "mark_unknown", "ID_MISMATCH"),
        (Rejected("NOT_ENOUGH_BALANCE", "", RefusedBy.OURS), "reject", "NOT_ENOUGH_BALANCE"),
        (NotPlaced("RESTARTING", 0, ""), "hold_back", "RESTARTING"),
        (Seen(""), "mark_seen", "DUPLICATED"),
        (Unknown("timeout", ""), "mark_unknown", "timeout"),
    ],
)
async def test_each_answer_is_recorded_as_what_it_is(
    outcome: PlaceOutcome, call: str, code: str
) -> None:
    at = desk()
    at.venue.placed = lambda _request: outcome
    await sent(at, work())
    [item] = at.calls.items_given(call)
    assert (item["order_id"], item["attempt"], item["code"]) == (1, 1, code)
    assert item["incarnation"] == str(at.context.incarnation)
    assert [name for name, _ in at.calls.asked] == ["open_attempt", call]


@pytest.mark.parametrize(("said_ms", "least", "most"), [(70_000, 70_000, 70_000), (0, 250, 1_000)])
async def test_what_is_held_back_waits_as_long_as_the_venue_says_and_never_not_at_all(
    said_ms: int, least: int, most: int
) -> None:
    at = desk()
    at.venue.placed = lambda _request: NotPlaced("RESTARTING", said_ms, "")
    await sent(at, work())
    [item] = at.calls.items_given("hold_back")
    assert least <= item["retry_after_ms"] <= most


async def test_an_attempt_is_opened_with_the_claims_number_before_anything_is_sent() -> None:
    at = desk()
    sent_before_open = []
    at.at["open.after"] = lambda: sent_before_open.extend(at.venue.calls)
    await sent(at, work())
    [item] = at.calls.items_given("open_attempt")
    assert (item["order_id"], item["claim_no"]) == (1, 3)
    assert item["incarnation"] == str(at.context.incarnation)
    assert sent_before_open == []
    assert len(at.venue.calls) == 1


async def test_what_the_ledger_does_not_open_is_not_sent() -> None:
    refused = {"status": "refused", "code": "HALTED", "detail": ""}
    ok = {"status": "ok", "attempt": 2, "send_within_ms": 2_000}
    at = desk(open_attempt=[refused, ok])
    await sent(at, work(1, venue_order_id="0x01"), work(2, venue_order_id="0x02"))
    [(_, requests)] = at.venue.named("place")
    assert [one.venue_order_id for one in requests] == ["0x02"]
    assert [item["order_id"] for item in at.calls.items_given("mark_unknown")] == [2]


async def test_what_the_ledger_does_not_prepare_is_not_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signed = SimpleNamespace(venue_order_id="0x01", body_template=b"bytes")
    monkeypatch.setattr(sending, "_sign", lambda _key, _work: signed)
    monkeypatch.setattr(sending, "_fields", lambda _key, _signed: {})
    refused = {"status": "refused", "code": "STALE_ATTEMPT", "detail": ""}
    at = desk(prepare=[refused])
    await sent(at, work(state="RESERVED"))
    [item] = at.calls.items_given("prepare")
    assert (item["claim_no"], item["venue_order_id"]) == (3, "0x01")
    assert at.calls.given("open_attempt") == []
    assert at.venue.calls == []


@pytest.mark.parametrize(
    ("allowed_ms", "wanted_ms", "until_ms"),
    [(300, 60_000, 300), (60_000, 60_000, 2_000), (60_000, 700, 700)],
    ids=["as the ledger says", "two seconds", "as long as it is wanted"],
)
async def test_the_transport_is_told_the_earliest_end(
    allowed_ms: int, wanted_ms: int, until_ms: int
) -> None:
    at = desk(open_attempt=opening(allowed_ms))
    await sent(at, work(wanted_until_ns=START_NS + wanted_ms * MS))
    [(_, [request])] = at.venue.named("place")
    assert request.send_by_ns == START_NS + until_ms * MS
    assert (request.body, request.owner) == (b"bytes", "key")


async def test_bytes_that_would_leave_late_do_not_and_go_again() -> None:
    at = desk()
    at.at["open.after"] = lambda: at.clock.advance(2_001)
    await sent(at, work())
    assert at.venue.calls == []
    [item] = at.calls.items_given("hold_back")
    assert item["code"] == "SEND_BY_PASSED"
    assert at.calls.items_given("request_cancel") == []


async def test_what_is_not_wanted_any_more_by_the_senders_clock_is_given_up() -> None:
    at = desk()
    at.at["open.after"] = lambda: at.clock.advance(800)
    await sent(at, work(wanted_until_ns=START_NS + 700 * MS))
    assert at.venue.calls == []
    [item] = at.calls.items_given("request_cancel")
    assert (item["order_id"], item["protective"]) == (1, True)


def test_an_order_is_wanted_from_the_question_on() -> None:
    [claimed] = timed([{"valid_for_ms": 1_500}], START_NS)
    assert claimed["wanted_until_ns"] == START_NS + 1_500 * MS


async def test_a_request_without_an_end_is_ended_and_its_fate_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "BACKSTOP_MS", 10 - TIMEOUT_MS)
    at = desk()
    at.venue.before = asyncio.Event().wait
    async with asyncio.timeout(5):
        await sent(at, work())
    [item] = at.calls.items_given("mark_unknown")
    assert item["code"] == "timeout"


def away() -> DatabaseProblem:
    return DatabaseProblem(Code.DATABASE_UNREACHABLE, "a test")


async def test_a_result_is_told_again_until_the_database_takes_it() -> None:
    left = [away(), away()]

    def taken(items: Any) -> Any:
        if left:
            raise left.pop()
        return [{"status": "ok"} for _ in items]

    at = desk(acknowledge=taken)
    at.venue.placed = lambda _request: Accepted(AT_VENUE, "live", "")
    await sent(at, work())
    assert len(at.calls.given("acknowledge")) == 3
    assert len(at.clock.slept) == 2
    assert all(0 < seconds < 1 for seconds in at.clock.slept)


async def test_one_result_that_cannot_be_stored_takes_no_other_along() -> None:
    def taken(items: Any) -> Any:
        if any(item["raw"] == "odd" for item in items):
            raise BadInput(Code.BAD_REQUEST, "a test")
        return [{"status": "ok"} for _ in items]

    at = desk(acknowledge=taken)
    at.venue.placed = lambda one: Accepted(
        one.venue_order_id, "live", "odd" if one.venue_order_id == "0x01" else "fine"
    )
    await sent(at, work(1, venue_order_id="0x01"), work(2, venue_order_id="0x02"))
    _, first, second = at.calls.given("acknowledge")
    assert [(item["order_id"], item["raw"]) for item in (*first, *second)] == [(1, ""), (2, "")]


async def test_claims_are_renewed_while_something_is_sent_and_no_longer() -> None:
    at = desk()
    held: list[set[int]] = []
    at.at["send.before"] = lambda: held.append(set(at.context.shared.holding))
    at.context.shared.holding.add(7)
    await sent(at, work(1), work(2))
    assert held == [{1, 2, 7}]
    assert at.context.shared.holding == {7}


async def test_a_caller_that_is_cancelled_takes_no_send_along_and_the_end_waits_for_it() -> None:
    at = desk()
    going_on, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        begun.set()
        await going_on.wait()

    at.venue.before = slowly
    at.venue.placed = lambda _request: Accepted(AT_VENUE, "live", "")
    sender = Sender(at.context)
    caller = asyncio.create_task(sender.send("main", [work()]))
    await begun.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert at.calls.given("acknowledge") == []
    drained = asyncio.create_task(sender.drain(5))
    await asyncio.sleep(0)
    assert not drained.done()
    going_on.set()
    await drained
    assert len(at.calls.given("acknowledge")) == 1


@pytest.mark.parametrize(("later_ms", "times"), [(29_999, 1), (30_000, 2)])
async def test_want_of_balance_is_doubted_now_and_then(later_ms: int, times: int) -> None:
    at = desk()
    at.venue.placed = lambda _request: Rejected("NOT_ENOUGH_BALANCE", "", RefusedBy.OURS)
    sender, doubted = Sender(at.context), 0
    for _ in range(2):
        await sender.send("main", [work(wanted_until_ns=2**62)])
        doubted += len(at.context.shared.compare_soon)
        at.context.shared.compare_soon.clear()
        at.clock.advance(later_ms)
    assert doubted == times
