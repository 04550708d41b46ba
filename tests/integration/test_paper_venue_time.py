"""The paper venue as time passes: settlement, expiry, the tape, the user stream."""

from __future__ import annotations

import asyncio
from typing import Any

from app.money import MICROS
from app.venue.interface import (
    Accepted,
    OrderEvent,
    Side,
    TradeEvent,
    TradeStatus,
    VenueOrderStatus,
)
from app.venue.matching import Rules
from app.venue.paper import PaperVenue
from tests.support.paper import (  # noqa: F401
    CENT,
    OTHER,
    TOKEN,
    TestClock,
    World,
    level,
    look,
    one,
    read_events,
    request,
    trades,
    venue_fixture,
    world_fixture,
)


async def test_trades_settle_over_steps_and_each_step_is_told(
    world: World, venue: PaperVenue
) -> None:
    await one(venue, request(1, 55, 20))
    assert await venue.step() == 0
    for status in (TradeStatus.MINED, TradeStatus.CONFIRMED):
        world.clock.ms += 2_000
        assert await venue.step() == 1
        (trade,) = await trades(venue)
        assert trade.status is status
    world.clock.ms += 60_000
    assert await venue.step() == 0
    events = await read_events(venue, 4)
    told = [event.trade.status for event in events if isinstance(event, TradeEvent)]
    assert told == [TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.CONFIRMED]


async def test_a_trade_can_fail(world: World) -> None:
    venue = await world.venue(rules=Rules(fail_ppm=1_000_000))
    await venue.register_market("0xc", [TOKEN], CENT, 0)
    await venue.load_books({TOKEN: (level(Side.SELL, 55, 20),)})
    await one(venue, request(1, 55, 10))
    for _ in range(2):
        world.clock.ms += 2_000
        await venue.step()
    (trade,) = await trades(venue)
    assert trade.status is TradeStatus.FAILED


async def test_a_gtd_order_expires_by_itself(world: World, venue: PaperVenue) -> None:
    expiration = str(world.clock.ms // 1000 + 120)
    what = request(1, orderType="GTD", expiration=expiration)
    assert isinstance(await one(venue, what), Accepted)
    world.clock.ms += 60_000
    await venue.step()
    assert (await look(venue, what)).status is VenueOrderStatus.EXPIRED


async def test_resting_orders_near_the_touch_fill_as_time_passes(world: World) -> None:
    venue = await world.venue()
    await venue.register_market("0xc", [TOKEN, OTHER], CENT, 5 * MICROS)
    quotes = await (await world.book()).quotes(TOKEN)
    best = next(quote for quote in quotes if quote.side is Side.BUY)
    what = request(1, best.price_micros // CENT, 30)
    outcome = await one(venue, what)
    assert isinstance(outcome, Accepted)
    assert outcome.status == "live"
    for _ in range(120):
        world.clock.ms += 1_000
        await venue.step()
    order = await look(venue, what)
    assert order.status is VenueOrderStatus.MATCHED
    assert sum(trade.size_micros for trade in await trades(venue)) == 30 * MICROS


async def run_a_day(world: World) -> tuple[list[Any], list[Any], list[Any]]:
    venue = await world.venue(rules=Rules(fail_ppm=200_000, retry_ppm=200_000))
    await venue.register_market("0xc", [TOKEN, OTHER], CENT, 5 * MICROS)
    for salt in range(30):
        side, token = ("BUY", "SELL")[salt % 2], (TOKEN, OTHER)[salt // 2 % 2]
        await one(venue, request(salt, 30 + salt, 10, side, token), "ab"[salt % 2])
        world.clock.ms += 700
        await venue.step()
    orders = await (await world.book()).all_orders()
    events = [event.raw for event in await read_events(venue, 20)]
    return orders, await trades(venue), events


async def test_the_same_seed_and_calls_give_the_same_venue_and_another_seed_another(
    world: World,
) -> None:
    first = await run_a_day(world)
    pool = await world.pool()
    await pool.execute(
        "TRUNCATE paper.account, paper.book, paper.book_level, paper.venue_order, paper.trade,"
        " paper.trade_part, paper.event RESTART IDENTITY"
    )
    world.clock.ms = TestClock().ms
    assert await run_a_day(world) == first
    assert first[1]


async def test_the_stream_goes_on_from_a_cursor_and_waits_for_more(
    world: World, venue: PaperVenue
) -> None:
    for salt in range(3):
        await one(venue, request(salt))
    all_three = await read_events(venue, 3)
    ids = [event.event_id for event in all_three]
    assert len(set(ids)) == 3
    after = int(ids[1].removeprefix("paper-"))
    (last,) = await read_events(venue, 1, after=after)
    assert last == all_three[2]
    world.clock.waited.clear()
    waiting = asyncio.ensure_future(read_events(venue, 4))
    await asyncio.wait_for(world.clock.waited.wait(), 10)
    await one(venue, request(9))
    assert [event.event_id for event in await waiting][:3] == ids
    assert set(world.clock.waits) == {50}


async def test_a_reader_with_a_cursor_misses_no_event_of_busy_writers(world: World) -> None:
    venues = [await world.venue() for _ in range(3)]
    tokens = [str(2_000 + i) for i in range(6)]
    for i, token in enumerate(tokens):
        await venues[0].register_market(f"0x{i}", [token], CENT, 0)
    reading = asyncio.ensure_future(read_events(await world.venue(), 120))
    await asyncio.gather(
        *(one(venues[salt % 3], request(salt, 1, token=tokens[salt % 6])) for salt in range(120))
    )
    events = await reading
    numbers = [int(event.event_id.removeprefix("paper-")) for event in events]
    assert numbers == sorted(set(numbers))
    assert (
        len({event.order.venue_order_id for event in events if isinstance(event, OrderEvent)})
        == 120
    )


async def test_steps_of_several_workers_at_once_settle_each_trade_once(world: World) -> None:
    venues = [await world.venue() for _ in range(3)]
    for i in range(10):
        await venues[0].register_market(f"0x{i}", [str(3_000 + i)], CENT, 0)
        await venues[0].load_books({str(3_000 + i): (level(Side.SELL, 55, 20),)})
        await one(venues[0], request(i, 55, 20, token=str(3_000 + i)))
    world.clock.ms += 2_000
    moved = await asyncio.gather(*(venue.step() for venue in venues * 4))
    assert sum(moved) == 10
    assert {trade.status for trade in await trades(venues[0])} == {TradeStatus.MINED}


async def test_a_step_leaves_alone_the_book_that_somebody_holds(
    world: World, venue: PaperVenue
) -> None:
    await one(venue, request(1, 55, 20))
    world.clock.ms += 2_000
    pool = await world.pool()
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT 1 FROM paper.book WHERE token_id = $1 FOR UPDATE", TOKEN)
        async with asyncio.timeout(5):
            assert await venue.step() == 0
    assert await venue.step() == 1
