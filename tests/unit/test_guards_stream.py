"""What the reader of a stream owes the ledger, step by step, without a database: each guard of it is missed here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import BadInput, Code
from app.venue.interface import (
    OrderEvent,
    StreamOpened,
    TradeEvent,
    TradeStatus,
    Unread,
    VenueEvent,
    VenueOrderStatus,
    VenueTrade,
)
from tests.support.scripted import Desk, Venue, order_at_venue
from tests.support.worker import until
from workers.worker import stream
from workers.worker.stream import Stream

TERM = 5


@dataclass
class Streaming(Venue):
    """Each connection tells ``told`` and stays open."""

    replays: bool = True
    told: list[VenueEvent] = field(default_factory=list)
    stored: VenueEvent | None = None
    opened: int = 0
    closed: int = 0

    async def events(self, _account: str, after: int) -> AsyncIterator[VenueEvent | StreamOpened]:
        self.opened += 1
        try:
            yield StreamOpened(replays=self.replays)
            for one in self.told:
                yield one
            self.told.clear()
            await asyncio.Event().wait()
        finally:
            self.closed += 1

    async def read_event(self, _account: str, _event_id: str, _raw: str) -> VenueEvent | None:
        return self.stored


def order_event(
    event_id: str, status: VenueOrderStatus = VenueOrderStatus.LIVE, position: int = 0
) -> OrderEvent:
    order = replace(order_at_venue(f"0x{event_id}"), status=status)
    return OrderEvent(event_id, order, "{}", position)


def trade_event(event_id: str) -> TradeEvent:
    trade = VenueTrade(
        f"t{event_id}", f"0x{event_id}", "1", 1, 1, TradeStatus.MATCHED, "MATCHED", True, 1
    )
    return TradeEvent(event_id, trade, "{}")


def desk(*told: VenueEvent, replays: bool = True, **answers: Any) -> Desk:
    at = Desk(venue=Streaming(told=list(told), replays=replays))
    at.context.settings.foreign_orders = "cancel"
    at.calls.answers |= {
        "take_lease": TERM,
        "take_pulse": {"at_us": 0, "chain_id": ""},
        "beat_pulse": {"at_us": 0, "mine": True},
        "waiting_events": [],
        "move_cursor": 0,
        "untold_orders": 0,
    } | answers
    return at


def venue(at: Desk) -> Streaming:
    assert isinstance(at.venue, Streaming)
    return at.venue


@asynccontextmanager
async def followed(at: Desk) -> AsyncIterator[None]:
    task = asyncio.create_task(Stream(at.context, "main").run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        at.context.shared.stopping.set()
        await task


async def turns(count: int = 200) -> None:
    """Everybody goes on for a while."""
    for _ in range(count):
        await asyncio.sleep(0)


def marked(at: Desk) -> dict[str, str | None]:
    """By event what it was marked with: None is applied."""
    return {
        event_id: problem for _, ids, problem in at.calls.given("mark_events") for event_id in ids
    }


async def until_marked(at: Desk, *event_ids: str) -> None:
    await until(lambda: marked(at).keys() >= set(event_ids), f"{event_ids} are marked", within_s=5)


def compared(monkeypatch: pytest.MonkeyPatch, results: list[str]) -> list[str]:
    """What the comparisons behind a connection come to, the last one for ever; returns what was asked."""
    asked: list[str] = []

    class Reconciler:
        def __init__(self, *_: object) -> None: ...

        async def run(self, why: str, *, second_look: bool) -> Any:
            assert second_look
            asked.append(why)
            return SimpleNamespace(result=results[min(len(asked), len(results)) - 1], reason="")

    monkeypatch.setattr(stream, "Reconciler", Reconciler)
    return asked


async def test_an_event_is_stored_before_it_is_applied_and_the_place_is_kept_last() -> None:
    at = desk(order_event("e", position=7))
    async with followed(at):
        await until(lambda: len(at.calls.given("move_cursor")) > 1, "the place is kept", within_s=5)
    names = [name for name, _ in at.calls.asked]
    steps = ("store_events", "observe_orders", "mark_events")
    assert [name for name in names if name in steps] == list(steps)
    assert names.index("store_events") < names.index("observe_orders")
    assert at.calls.given("store_events") == [("main", [{"event_id": "e", "raw": "{}"}])]
    assert at.calls.given("move_cursor") == [("main", "stream", 0), ("main", "stream", 7)]
    assert names.index("mark_events") < len(names) - 1 - names[::-1].index("move_cursor")


async def test_what_was_stored_and_not_applied_before_is_applied_first() -> None:
    pages = [[{"event_id": "old", "raw": "{}"}]]
    at = desk(waiting_events=lambda _arguments: pages.pop() if pages else [])
    venue(at).stored = order_event("old")
    opened_before: list[int] = []
    at.at["event.apply.after"] = lambda: opened_before.append(venue(at).opened)
    async with followed(at):
        await until_marked(at, "old")
    assert marked(at) == {"old": None}
    assert opened_before[0] == 0


async def test_a_stream_that_replays_nothing_is_believed_after_a_whole_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = ["incomplete"]
    asked = compared(monkeypatch, results)
    at = desk(replays=False)
    async with followed(at):
        await until(lambda: len(asked) > 3, "it was compared in vain", within_s=5)
        await turns()
        assert at.calls.given("beat_pulse") == []
        results.append("clean")
        await until(lambda: at.calls.given("beat_pulse"), "it is believed", within_s=5)
    assert set(asked) == {"reconnect"}


async def test_a_stream_that_tells_nothing_of_what_was_accepted_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared(monkeypatch, ["clean"])
    at = desk(replays=False, untold_orders=2)
    async with followed(at):
        await until(lambda: venue(at).opened > 1, "another is opened", within_s=5)
    assert at.calls.given("beat_pulse") == []


async def test_nobody_follows_without_the_lease() -> None:
    at = desk(take_lease=None)
    async with followed(at):
        await until(lambda: len(at.calls.given("take_lease")) > 3, "it is asked", within_s=5)
        await turns()
    assert venue(at).opened == 0
    assert at.calls.given("take_pulse") == []


async def test_who_loses_the_lease_reads_no_more() -> None:
    at = desk()
    async with followed(at):
        await until(lambda: venue(at).opened == 1, "it is followed", within_s=5)
        at.calls.answers["take_lease"] = None
        await until(lambda: venue(at).closed == 1, "it is left", within_s=5)
        await turns()
        assert venue(at).opened == 1


async def test_who_has_the_lease_takes_the_pulse_under_its_term_once() -> None:
    at = desk()
    async with followed(at):
        await until(lambda: len(at.calls.given("take_lease")) > 3, "it is held", within_s=5)
    assert at.calls.given("take_pulse") == [("main", "stream", TERM)]


async def test_what_the_stream_calls_over_is_read() -> None:
    at = desk(order_event("e", VenueOrderStatus.CANCELLED), order_event("f"))
    async with followed(at):
        await until_marked(at, "e", "f")
    assert [one[1] for one in venue(at).named("order")] == ["0xe"]


async def test_an_event_whose_order_could_not_be_read_stays() -> None:
    at = desk(order_event("e", VenueOrderStatus.CANCELLED), order_event("f"))
    venue(at).shown = lambda _id, _owner: Unread("a test")
    async with followed(at):
        await until_marked(at, "f")
        await turns()
    assert marked(at) == {"f": None}


@pytest.mark.parametrize("kind", ["order", "trade"])
@pytest.mark.parametrize("code", ["BAD_REQUEST", "UNKNOWN_ORDER"])
async def test_what_cannot_be_booked_is_named_and_a_stranger_is_booked_as_one(
    kind: str, code: str
) -> None:
    refused = [{"status": "refused", "code": code, "detail": "a test"}]
    at = desk(
        order_event("e") if kind == "order" else trade_event("e"),
        observe_orders=refused,
        record_fills=refused,
    )
    async with followed(at):
        await until_marked(at, "e")
    assert marked(at) == {"e": None if code == "UNKNOWN_ORDER" else "BAD_REQUEST: a test"}
    assert len(at.calls.given("observe_orders" if kind == "order" else "record_fills")) == 1


async def test_an_event_that_cannot_be_said_takes_no_other_along() -> None:
    def booked(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(item["venue_order_id"] == "0xbad" for item in items):
            raise BadInput(Code.BAD_REQUEST, "a test")
        return [{"status": "ok"} for _ in items]

    at = desk(order_event("bad"), order_event("good"), observe_orders=booked)
    async with followed(at):
        await until_marked(at, "bad", "good")
    assert marked(at)["good"] is None
    assert "a test" in str(marked(at)["bad"])


@pytest.mark.parametrize("setting", ["cancel", "halt"])
async def test_a_stranger_brings_a_comparison_about_where_it_is_to_be_ended(setting: str) -> None:
    unknown = [{"status": "refused", "code": "UNKNOWN_ORDER", "detail": ""}]
    at = desk(order_event("e"), observe_orders=unknown)
    at.context.settings.foreign_orders = setting  # type: ignore[assignment]
    async with followed(at):
        await until_marked(at, "e")
    assert at.context.shared.compare_soon == ({"main"} if setting == "cancel" else set())
