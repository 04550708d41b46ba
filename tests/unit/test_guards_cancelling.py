"""What the canceller owes the ledger, step by step, without a database: each guard of it is missed here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import Code, DatabaseProblem
from app.venue.interface import (
    Absent,
    CancelAccepted,
    CancelNotListed,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    CancelUnknown,
    Unread,
)
from tests.support.scripted import Desk
from tests.support.worker import until
from workers.worker.cancels import Cancels


def due(order_id: int = 1, *, account: str = "main", way: str = "id") -> dict[str, Any]:
    return {
        "account": account,
        "order_id": order_id,
        "venue_order_id": f"0x{order_id:02}",
        "tries": 1,
        "condition_id": "0xcc",
        "way": way,
    }


def desk(*requests: dict[str, Any], **answers: Any) -> Desk:
    """These are due now, and none later."""
    left = list(requests)

    def claimed(_arguments: Any) -> list[dict[str, Any]]:
        now = list(left)
        left.clear()
        return now

    made = Desk()
    made.calls.answers |= {"claim_cancels": claimed} | answers
    return made


async def passed(at: Desk) -> None:
    cancels = Cancels(at.context)
    assert await cancels.one_pass()
    await cancels.drain(5)


ANSWERS: list[tuple[CancelOutcome, dict[str, Any]]] = [
    (CancelAccepted(""), {"answer": "accepted"}),
    (CancelRefused("matched", ""), {"answer": "refused"}),
    (
        CancelNotSent("RESTARTING", 900, "", refused=True),
        {"answer": "not_sent", "retry_after_ms": 900, "refused": True},
    ),
    (CancelNotListed(""), {"answer": "not_listed"}),
    (CancelUnknown("timeout", ""), {"answer": "unknown"}),
]
ANSWERED = ("accepted", "refused", "not_listed")


@pytest.mark.parametrize(("outcome", "told"), ANSWERS, ids=lambda one: type(one).__name__)
async def test_each_answer_is_recorded_as_what_it_is_and_the_order_is_read(
    outcome: CancelOutcome, told: dict[str, Any]
) -> None:
    at = desk(due())
    at.venue.cancelled = lambda _id: outcome
    await passed(at)
    [item] = at.calls.items_given("record_cancel_answers")
    assert item.items() >= ({"order_id": 1, "wide": False} | told).items()
    assert at.venue.named("order") == [("main", "0x01", "")]
    [seen] = at.calls.items_given("observe_orders")
    assert (seen["venue_order_id"], seen["source"]) == ("0x01", "read")
    futile = [((1,),)] if told["answer"] in ANSWERED else []
    assert at.calls.given("cancels_futile") == futile


@pytest.mark.parametrize("outcome", [CancelAccepted(""), CancelUnknown("timeout", "")])
async def test_what_a_read_does_not_show_is_counted_whatever_the_answer(
    outcome: CancelOutcome,
) -> None:
    at = desk(due(1), due(2), due(3))
    at.venue.cancelled = lambda _id: outcome
    at.venue.shown = lambda one, _owner: Unread("a test") if one == "0x03" else Absent("")
    await passed(at)
    assert sorted(one for [given] in at.calls.given("cancels_unseen") for one in given) == [1, 2]
    assert at.calls.given("cancels_futile") == []


async def test_it_goes_the_way_that_the_ledger_says() -> None:
    at = desk(due(1), due(2, way="market"), due(3, way="all"))
    await passed(at)
    assert at.venue.named("cancel") == [("main", ["0x01"])]
    assert at.venue.named("cancel_market") == [("main", "0xcc", ["0x02"])]
    assert at.venue.named("cancel_all") == [("main", ["0x03"])]
    wide = {
        item["order_id"]: item["wide"] for item in at.calls.items_given("record_cancel_answers")
    }
    assert wide == {1: False, 2: True, 3: True}


async def test_a_database_that_is_away_ends_nothing() -> None:
    def away(_items: Any) -> Any:
        raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "a test")

    at = desk(due(), record_cancel_answers=away)
    await passed(at)
    assert at.venue.named("order") == []


async def test_a_venue_that_answers_nothing_holds_up_no_other_account() -> None:
    at = desk(due(1), due(2, account="other"))
    answers = asyncio.Event()

    async def never_for_main() -> None:
        if at.venue.calls[-1][1] == "main":
            await answers.wait()

    at.venue.before = never_for_main
    cancels = Cancels(at.context)
    async with asyncio.timeout(5):
        assert await cancels.one_pass()
        await until(lambda: at.calls.given("record_cancel_answers"), "the other is answered")
    assert [item["order_id"] for item in at.calls.items_given("record_cancel_answers")] == [2]
    answers.set()
    await cancels.drain(5)


async def test_an_order_is_read_by_one_at_a_time_and_again_afterwards() -> None:
    rounds: list[list[dict[str, Any]]] = [[due()], [due()], [due()]]
    at = desk(claim_cancels=lambda _arguments: rounds.pop())
    reads, reading = asyncio.Event(), asyncio.Event()

    async def slow_to_read() -> None:
        if at.venue.calls[-1][0] == "order":
            reading.set()
            await reads.wait()

    at.venue.before = slow_to_read
    cancels = Cancels(at.context)
    async with asyncio.timeout(5):
        await cancels.one_pass()
        await reading.wait()
        await cancels.one_pass()
        await until(lambda: len(at.calls.given("record_cancel_answers")) == 2, "both are answered")
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(at.venue.named("order")) == 1
        reads.set()
        await cancels.drain(5)
        await cancels.one_pass()
        await cancels.drain(5)
    assert len(at.venue.named("order")) == 2


async def test_nothing_is_asked_for_accounts_nobody_named() -> None:
    at = desk(due())
    at.context.shared.known.clear()
    assert not await Cancels(at.context).one_pass()
    assert at.calls.asked == []
