"""What the resolver owes the ledger, step by step, without a database: each guard of it is missed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.venue.interface import Absent, Found, TradeStatus, Unread, VenueTrade
from tests.support.scripted import START_NS, Desk, order_at_venue
from workers.worker.look_ups import LookUps


class Sender:
    """Keeps what it was given to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[int]]] = []

    async def send(self, account: str, claimed: Sequence[dict[str, Any]]) -> None:
        self.sent.append((account, [work["order_id"] for work in claimed]))


def unknown(**changes: Any) -> dict[str, Any]:
    """An order that was sent a second ago and may be anywhere; still wanted."""
    return {
        "account": "main",
        "order_id": 1,
        "claim_no": 3,
        "venue_order_id": "0x01",
        "wanted": True,
        "cancel_asked": False,
        "fate_age_ms": 1_000,
        "last_matched_ms": 1_700_000_000_000,
        "valid_for_ms": 5_000,
    } | changes


async def resolved(at: Desk, **changes: Any) -> list[tuple[str, list[int]]]:
    sender = Sender()
    at.calls.answers.setdefault("claim_look_ups", [unknown(**changes)])
    at.calls.answers.setdefault(
        "prove_absent", [{"status": "refused", "code": "NOT_PROVEN", "detail": ""}]
    )
    await LookUps(at.context, sender).one_pass()  # type: ignore[arg-type]
    return sender.sent


def given_back(at: Desk) -> list[int]:
    """After how many milliseconds each claim may be taken again."""
    dropped = [item for [items] in at.calls.given("drop_claims") for item in items]
    assert all((item["order_id"], item["claim_no"]) == (1, 3) for item in dropped)
    return [item["after_ms"] for item in dropped]


def evidence(at: Desk) -> list[tuple[str, str, int]]:
    return [
        (item["kind"], item["owner"], item["took_ms"])
        for item in at.calls.items_given("record_evidence")
    ]


def absent() -> Desk:
    at = Desk()
    at.venue.shown = lambda _id, _owner: Absent("")
    return at


def trade(venue_order_id: str) -> VenueTrade:
    return VenueTrade(
        "t1",
        venue_order_id,
        "1",
        1,
        1,
        TradeStatus.MATCHED,
        "MATCHED",
        is_maker=True,
        matched_at_ms=1,
    )


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_is_found_is_booked_and_neither_sent_nor_given_up(wanted: bool) -> None:
    at = Desk()
    at.at["look.after"] = lambda: at.clock.advance(120)
    at.venue.shown = lambda one, _owner: Found(order_at_venue(one))
    assert await resolved(at, wanted=wanted) == []
    [seen] = at.calls.items_given("observe_orders")
    assert (seen["venue_order_id"], seen["source"], seen["took_ms"]) == ("0x01", "read", 120)
    assert given_back(at) == [1_000]
    assert at.calls.given("prove_absent") == at.calls.given("record_evidence") == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_could_not_be_read_concludes_nothing(wanted: bool) -> None:
    at = Desk()
    at.venue.shown = lambda _id, _owner: Unread("a test")
    assert await resolved(at, wanted=wanted) == []
    assert [name for name, _ in at.calls.asked] == ["claim_look_ups", "drop_claims"]


async def test_what_is_wanted_and_not_shown_is_sent_again() -> None:
    at = absent()
    assert await resolved(at) == [("main", [1])]
    assert len(given_back(at)) == 1
    assert evidence(at) == []


async def test_what_is_wanted_was_claimed_with_its_time_from_the_question_on() -> None:
    at = absent()
    work = unknown()

    def claimed(_arguments: object) -> list[dict[str, Any]]:
        at.clock.advance(700)
        return [work]

    at.calls.answers["claim_look_ups"] = claimed
    await resolved(at)
    assert work["wanted_until_ns"] == START_NS + 5_000_000_000


@pytest.mark.parametrize("reason", ["young", "not ready", "stopping"])
async def test_what_is_wanted_is_not_sent_again_too_early(reason: str) -> None:
    at = absent()
    if reason == "not ready":
        at.context.shared.ready.clear()
    if reason == "stopping":
        at.context.shared.stopping.set()
    assert await resolved(at, fate_age_ms=999 if reason == "young" else 60_000) == []
    assert len(given_back(at)) == 1
    assert evidence(at) == []
    assert at.calls.given("prove_absent") == []


async def test_what_is_not_wanted_is_cancelled_and_every_key_is_asked_for_order_and_trades() -> (
    None
):
    at = absent()
    at.calls.answers["rows"] = [{"owner": "old"}]
    at.at["look.after"] = lambda: at.clock.advance(50)
    assert await resolved(at, wanted=False, fate_age_ms=60_000) == []
    [asked] = at.calls.items_given("request_cancel")
    assert (asked["order_id"], asked["protective"]) == (1, True)
    assert evidence(at) == [
        ("order_absent", "key", 50),
        ("trades_absent", "key", 0),
        ("order_absent", "old", 50),
        ("trades_absent", "old", 0),
    ]
    assert [one[2] for one in at.venue.named("order")] == ["key", "old"]
    since = {one[1] for one in at.venue.named("trades")}
    assert since == {1_700_000_000_000 - 60_000}
    assert at.calls.items_given("prove_absent") == [{"order_id": 1}]
    assert 700 <= given_back(at)[0] <= 1_050


async def test_a_cancel_that_was_asked_is_not_asked_again() -> None:
    at = absent()
    await resolved(at, wanted=False, cancel_asked=True)
    assert at.calls.given("request_cancel") == []


async def test_what_is_proven_absent_is_not_looked_up_again() -> None:
    at = absent()
    at.calls.answers["prove_absent"] = [{"status": "ok"}]
    await resolved(at, wanted=False)
    assert given_back(at) == []


async def test_trades_that_could_not_be_read_are_no_evidence_and_nothing_hurries() -> None:
    at = absent()
    at.venue.traded = lambda _owner: Unread("a test")
    await resolved(at, wanted=False)
    assert evidence(at) == [("order_absent", "key", 0)]
    assert given_back(at)[0] >= 10_000


async def test_trades_of_the_order_are_booked_and_those_of_others_are_not() -> None:
    at = absent()
    at.venue.traded = lambda _owner: Found((trade("0x01"), trade("0x02")))
    await resolved(at, wanted=False)
    assert [one["venue_order_id"] for one in at.calls.items_given("record_fills")] == ["0x01"]
    assert evidence(at) == [("order_absent", "key", 0)]


async def test_what_another_key_shows_is_found() -> None:
    at = absent()
    at.calls.answers["rows"] = [{"owner": "old"}]
    at.venue.shown = lambda one, owner: Found(order_at_venue(one)) if owner == "old" else Absent("")
    await resolved(at, wanted=False)
    assert len(at.calls.given("observe_orders")) == 1
    assert at.calls.given("prove_absent") == []
    assert given_back(at) == [1_000]


async def test_what_is_unknown_for_long_is_looked_up_seldom() -> None:
    at = absent()
    await resolved(at, wanted=False, fate_age_ms=600_001)
    assert given_back(at)[0] >= 10_000
