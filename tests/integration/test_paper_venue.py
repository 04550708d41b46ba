"""The paper venue on a real Postgres: placing, cancelling, and what it remembers."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.errors import BadInput
from app.money import MICROS
from app.venue.interface import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelRefused,
    Found,
    NotPlaced,
    OrderEvent,
    PlaceRequest,
    Rejected,
    Seen,
    TradeEvent,
    TradeStatus,
    Venue,
    VenueOrderStatus,
)
from app.venue.paper import Fault, PaperMarket, PaperVenue
from tests.support.paper import (  # noqa: F401
    CENT,
    OTHER,
    TOKEN,
    World,
    drop,
    look,
    one,
    read_events,
    request,
    trades,
    venue_fixture,
    world_fixture,
)


async def test_it_is_a_venue(venue: PaperVenue) -> None:
    face: Venue = venue
    assert face.name == "paper"


async def test_a_placed_order_is_live_under_its_hash(venue: PaperVenue) -> None:
    what = request(1)
    outcome = await one(venue, what)
    assert isinstance(outcome, Accepted)
    assert (outcome.venue_order_id, outcome.status) == (what.venue_order_id, "live")
    order = await look(venue, what)
    assert (order.status, order.price_micros) == (VenueOrderStatus.LIVE, 40 * CENT)
    found = await venue.open_orders("a")
    assert isinstance(found, Found)
    assert list(found.value) == [order]


async def test_the_id_is_computed_from_the_bytes_and_not_believed(venue: PaperVenue) -> None:
    what = request(1)
    outcome = await one(venue, PlaceRequest("0xwrong", what.body))
    assert isinstance(outcome, Accepted)
    assert outcome.venue_order_id == what.venue_order_id
    assert isinstance(await venue.order("a", "0xwrong"), Absent)


async def test_identical_bytes_are_seen_whatever_became_of_the_first(
    world: World, venue: PaperVenue
) -> None:
    live, filled = request(1), request(2, 55, 20)
    cancelled, killed = request(3), request(4, 54, orderType="FOK")
    for what in (live, filled, cancelled, killed):
        await one(venue, what)
    await drop(venue, cancelled)
    world.clock.ms += 400 * 86_400_000
    stranger = await world.venue()
    for what in (live, filled, cancelled, killed):
        for _ in range(2):
            outcome = await one(stranger, what)
            assert isinstance(outcome, Seen)
            assert "Duplicated" in outcome.raw
    orders = await (await world.book()).all_orders()
    assert [order.times_received for order in orders] == [3, 3, 3, 3]
    assert [order.status for order in orders] == ["LIVE", "MATCHED", "CANCELED", "INVALID"]
    assert [order.salt for order in orders] == ["1", "2", "3", "4"]


async def test_the_owner_in_the_bytes_is_no_part_of_the_identity(venue: PaperVenue) -> None:
    await one(venue, request(1, owner="key-1"))
    assert isinstance(await one(venue, request(1, owner="key-2")), Seen)


async def test_copies_sent_at_once_from_many_processes_make_one_order(world: World) -> None:
    venues = [await world.venue() for _ in range(4)]
    await venues[0].register_market("0xc", [TOKEN, OTHER], CENT, 0)
    what = request(1)
    outcomes = await asyncio.gather(*(one(venue, what) for venue in venues * 8))
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds == {Accepted: 1, Seen: 31}
    (order,) = await (await world.book()).all_orders()
    assert order.times_received == 32


async def test_copies_within_one_request_make_one_order(venue: PaperVenue) -> None:
    outcomes = await venue.place("a", [request(1), request(1), request(2)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Seen, Accepted]


async def test_early_refusals_do_not_burn_the_id(world: World, venue: PaperVenue) -> None:
    what = request(1, token="9009")
    outcome = await one(venue, what)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "ORDERBOOK_MISSING"
    await venue.faults.inject("place", "http", fault=Fault("", http_status=425))
    assert isinstance(await one(venue, what), NotPlaced)
    await venue.register_market("0xd", ["9009"], CENT, 0)
    assert isinstance(await one(venue, what), Accepted)
    (order,) = await (await world.book()).all_orders()
    assert order.times_received == 1


async def test_a_market_nobody_registered_is_taken_on_the_fly(world: World) -> None:
    asked = []

    async def find(token: str) -> PaperMarket | None:
        asked.append(token)
        return PaperMarket("0xe", ("77", "78"), CENT, 0) if token == "77" else None

    venue = await world.venue(find_market=find)
    first, second = request(1, token="77"), request(2, token="79")
    outcomes = await venue.place("a", [first, second])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected]
    await one(venue, request(3, token="77"))
    assert asked == ["77", "79"]


async def test_a_changed_tick_is_taken_over(venue: PaperVenue) -> None:
    what = request(1, 40)
    odd = PlaceRequest(what.venue_order_id, what.body.replace(b"4000000", b"4010000"))
    assert isinstance(await one(venue, odd), Rejected)
    await venue.register_market("0xc", [TOKEN, OTHER], 1_000, 5 * MICROS)
    assert isinstance(await one(venue, odd), Accepted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"order": {}}',
        b"[" * 100_000,
        request(1).body.replace(b'"BUY"', b'"HOLD"'),
        request(1).body.replace(b'"GTC"', b'"IOC"'),
        request(1).body.replace(b'"4000000"', b'"-4000000"'),
        request(1).body.replace(b'"4000000"', b'"4e6"'),
        request(1).body.replace(b'"4000000"', b'"NaN"'),
        request(1).body.replace(b'"4000000"', b'"4000001"'),
        request(1).body.replace(b'"10000000"', b'"0"'),
        request(1).body.replace(b'"10000000"', b'"' + b"9" * 400 + b'"'),
        request(1).body.replace(b'"1001"', b'"\xd9\xa1"'),
        request(1).body.replace(b"false}", b'"yes"}'),
        request(1).body + b" " * 20_000,
    ],
)
async def test_bytes_that_are_no_order_are_refused_and_leave_nothing(
    world: World, venue: PaperVenue, body: bytes
) -> None:
    outcome = await one(venue, PlaceRequest("0x1", body))
    assert isinstance(outcome, Rejected)
    assert await (await world.book()).all_orders() == []


async def test_a_batch_keeps_accepted_and_refused_apart_in_order(venue: PaperVenue) -> None:
    outcomes = await venue.place(
        "a", [request(1), request(2, shares=1), request(3, token="5"), request(4)]
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Rejected, Accepted]
    for count in (0, 16):
        with pytest.raises(BadInput):
            await venue.place("a", [request(i) for i in range(count)])


async def test_a_fill_is_in_the_order_the_trades_and_the_stream(
    world: World, venue: PaperVenue
) -> None:
    what = request(1, 55, 30)
    outcome = await one(venue, what)
    assert isinstance(outcome, Accepted)
    assert outcome.status == "matched"
    order = await look(venue, what)
    assert (order.size_matched_micros, order.status) == (20 * MICROS, VenueOrderStatus.LIVE)
    (trade,) = await trades(venue)
    assert (trade.size_micros, trade.price_micros) == (20 * MICROS, 55 * CENT)
    assert (trade.status, trade.is_maker) == (TradeStatus.MATCHED, False)
    assert trade.matched_at_ms == world.clock.ms
    placed, told = await read_events(venue, 2)
    assert isinstance(placed, OrderEvent)
    assert isinstance(told, TradeEvent)
    assert placed.order == order
    assert told.trade == trade
    assert await trades(venue, since_ms=world.clock.ms + 1) == []


async def test_two_accounts_trade_and_each_sees_its_own_part_only(
    world: World, venue: PaperVenue
) -> None:
    bid, ask = request(1, 50, 30), request(2, 48, 10, "SELL")
    await one(venue, bid, "a")
    await one(venue, ask, "b")
    (of_a,), (of_b,) = await trades(venue, "a"), await trades(venue, "b")
    assert of_a.trade_id == of_b.trade_id
    assert (of_a.venue_order_id, of_a.is_maker) == (bid.venue_order_id, True)
    assert (of_b.venue_order_id, of_b.price_micros) == (ask.venue_order_id, 50 * CENT)
    assert isinstance(await venue.order("b", bid.venue_order_id), Absent)
    (refused,) = await venue.cancel("b", [bid.venue_order_id])
    assert isinstance(refused, CancelRefused)


async def test_a_killed_fok_is_remembered_as_rejected(venue: PaperVenue) -> None:
    what = request(1, 55, 21, orderType="FOK")
    outcome = await one(venue, what)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "FOK_KILLED"
    order = await look(venue, what)
    assert (order.status, order.size_matched_micros) == (VenueOrderStatus.REJECTED, 0)


async def test_a_cancel_ends_what_is_live_and_is_refused_after(venue: PaperVenue) -> None:
    what = request(1, 55, 30)
    await one(venue, what)
    first, second, unknown = await venue.cancel("a", [what.venue_order_id] * 2 + ["0xnone"])
    assert isinstance(first, CancelAccepted)
    assert isinstance(second, CancelRefused)
    assert isinstance(unknown, CancelRefused)
    order = await look(venue, what)
    assert order.status is VenueOrderStatus.CANCELLED
    assert order.size_matched_micros == 20 * MICROS
