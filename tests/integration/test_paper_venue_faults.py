"""The paper venue misbehaves when it is told to."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from app.venue.interface import (
    Absent,
    Accepted,
    CancelNotSent,
    CancelRefused,
    CancelUnknown,
    Found,
    NotPlaced,
    OrderEvent,
    Rejected,
    Seen,
    Unknown,
    Unread,
    VenueOrderStatus,
)
from app.venue.paper import Fault, PaperVenue
from tests.support.paper import (  # noqa: F401
    CENT,
    TOKEN,
    World,
    drop,
    look,
    one,
    read_events,
    request,
    trades,
    until,
    venue_fixture,
    world_fixture,
)


async def test_a_dropped_answer_leaves_an_order_and_an_unknown(venue: PaperVenue) -> None:
    what = request(1)
    await venue.faults.inject("place", "drop_answer")
    assert isinstance(await one(venue, what), Unknown)
    assert (await look(venue, what)).status is VenueOrderStatus.LIVE
    assert isinstance(await one(venue, what), Seen)


async def test_a_lost_request_leaves_nothing(venue: PaperVenue) -> None:
    what = request(1)
    await venue.faults.inject("place", "lost_request", venue_order_id=what.venue_order_id)
    other, lost = await venue.place("a", [request(2), what])
    assert isinstance(other, Accepted)
    assert isinstance(lost, Unknown)
    assert isinstance(await venue.order("a", what.venue_order_id), Absent)
    assert isinstance(await one(venue, what), Accepted)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (425, "", NotPlaced),
        (429, "", NotPlaced),
        (503, "", NotPlaced),
        (400, "market not yet ready", NotPlaced),
        (400, "not enough balance / allowance", Rejected),
        (500, "could not run the execution", Unknown),
    ],
)
async def test_an_http_answer_is_given_and_nothing_is_placed(
    venue: PaperVenue, status: int, text: str, kind: type
) -> None:
    what = request(1)
    fault = Fault("", http_status=status, text=text, retry_after_ms=700)
    await venue.faults.inject("place", "http", fault=fault)
    outcome = await one(venue, what)
    assert isinstance(outcome, kind)
    if isinstance(outcome, NotPlaced):
        assert outcome.retry_after_ms == 700
    assert isinstance(await venue.order("a", what.venue_order_id), Absent)
    assert isinstance(await one(venue, what), Accepted)


async def test_an_order_may_appear_late_and_only_once(world: World, venue: PaperVenue) -> None:
    late, overtaken = request(1), request(2)
    await venue.faults.inject("place", "appear_late", times=2, fault=Fault("", late_ms=40_000))
    for outcome in await venue.place("a", [late, overtaken]):
        assert isinstance(outcome, Unknown)
    assert isinstance(await one(venue, overtaken), Accepted)
    world.clock.ms += 39_999
    await venue.step()
    assert isinstance(await venue.order("a", late.venue_order_id), Absent)
    world.clock.ms += 1
    other = await world.venue()
    await asyncio.gather(venue.step(), other.step())
    assert (await look(venue, late)).status is VenueOrderStatus.LIVE
    orders = await (await world.book()).all_orders()
    assert sorted(order.times_received for order in orders) == [1, 2]


async def test_a_fault_strikes_the_nth_call_over_all_processes(world: World) -> None:
    venues = [await world.venue() for _ in range(3)]
    await venues[0].register_market("0xc", [TOKEN], CENT, 0)
    await venues[0].faults.inject("place", "lost_request", skip=4, times=2)
    outcomes = [await one(venues[i % 3], request(i, 1)) for i in range(8)]
    lost = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Unknown)]
    assert lost == [4, 5]
    await venues[0].faults.inject("place", "lost_request", skip=7, times=1)
    outcomes = await asyncio.gather(*(one(venues[i % 3], request(100 + i, 1)) for i in range(16)))
    assert sum(isinstance(outcome, Unknown) for outcome in outcomes) == 1
    await venues[0].faults.inject("place", "lost_request", times=1_000)
    await venues[0].faults.clear()
    assert isinstance(await one(venues[1], request(999, 1)), Accepted)


async def test_waits_go_through_the_clock(world: World, venue: PaperVenue) -> None:
    fault = Fault("", before_ms=300, after_ms=900)
    await venue.faults.inject("place", "delay", fault=fault)
    assert isinstance(await one(venue, request(1)), Accepted)
    assert world.clock.waits == [300, 900]


async def test_cancels_can_miss_or_get_lost_or_be_put_off(venue: PaperVenue) -> None:
    what = request(1)
    await one(venue, what)
    await venue.faults.inject("cancel", "cancel_miss")
    assert isinstance(await drop(venue, what), CancelRefused)
    await venue.faults.inject("cancel", "http", fault=Fault("", http_status=503))
    assert isinstance(await drop(venue, what), CancelNotSent)
    await venue.faults.inject("cancel", "lost_request")
    assert isinstance(await drop(venue, what), CancelUnknown)
    assert (await look(venue, what)).status is VenueOrderStatus.LIVE
    await venue.faults.inject("cancel", "drop_answer")
    assert isinstance(await drop(venue, what), CancelUnknown)
    assert (await look(venue, what)).status is VenueOrderStatus.CANCELLED


async def test_reads_can_lie_or_fail_once(venue: PaperVenue) -> None:
    what = request(1, 55, 30)
    await one(venue, what)
    await venue.faults.inject("order", "null")
    assert isinstance(await venue.order("a", what.venue_order_id), Absent)
    await venue.faults.inject("order", "unread")
    assert isinstance(await venue.order("a", what.venue_order_id), Unread)
    await venue.faults.inject("trades", "null")
    assert await trades(venue) == []
    await venue.faults.inject("open_orders", "unread", account="a")
    assert isinstance(await venue.open_orders("b"), Found)
    assert isinstance(await venue.open_orders("a"), Unread)
    assert len(await trades(venue)) == 1


async def test_the_stream_can_lose_a_delivery_that_reads_still_have(
    world: World, venue: PaperVenue
) -> None:
    await one(venue, request(1))
    await venue.faults.inject("events", "silent")
    reading = asyncio.ensure_future(read_events(venue, 1))
    pool = await world.pool()
    await until(lambda: pool.fetchval("SELECT sum(times) = 0 FROM paper.fault"))
    later = request(2)
    await one(venue, later)
    (event,) = await reading
    assert isinstance(event, OrderEvent)
    assert event.order.venue_order_id == later.venue_order_id


async def test_an_unknown_fault_is_refused_by_the_table(venue: PaperVenue) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await venue.faults.inject("order", "drop_answer")
