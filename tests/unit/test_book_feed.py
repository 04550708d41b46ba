"""The feed believes only what a whole book has shown, asks again for what is wrong, and ends nothing
for one token's sake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from app.markets.books.depth import Unfit
from app.markets.books.desk import Followed, followed
from app.markets.books.feed import BookFeed
from app.markets.books.frames import Frame
from app.markets.books.notices import Notice, NoticeKind, Rules
from app.markets.gamma import parse_market
from app.markets.model import MarketRecord
from app.venue.polymarket import sockets as real
from tests.support.books import DOWN, MARKET, UP, VenueBook
from tests.support.channel import Channel, Lost
from tests.support.gamma import gamma_market
from tests.support.stepping import SteppingClock, ports_on

SHARE = 1_000_000
URL = "wss://example.test/ws/market"
AGE_MS = 60_000


def book_of(token: str, market: str = MARKET, **more: Any) -> VenueBook:
    return VenueBook(token, market, bids={450_000: 10 * SHARE}, asks={470_000: 10 * SHARE}, **more)


def wish(token: str, market: str = MARKET) -> Followed:
    return Followed(token, market, 10_000, 5 * SHARE, False)


@dataclass
class Rig:
    """A feed on a channel in memory, with time in the test's hand."""

    channel: Channel
    feed: BookFeed
    clock: SteppingClock
    notices: list[Notice]
    task: asyncio.Task[None]

    def kinds(self, *, without: tuple[str, ...] = ("CONNECTED",)) -> list[str]:
        return [one.kind.value for one in self.notices if one.kind.value not in without]

    def fit(self, token: str = UP) -> bool:
        return self.feed.unfit(token, max_age_ms=AGE_MS) is None

    async def wait(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def say(self, *frames: object) -> None:
        self.channel.now.say(*frames)
        await self.clock.settle()


@asynccontextmanager
async def running(
    *tokens: Followed, channel: Channel | None = None, **options: Any
) -> AsyncIterator[Rig]:
    clock = SteppingClock()
    there = channel or Channel({UP: book_of(UP)})
    notices: list[Notice] = []
    rules = options.pop("rules", Rules())
    feed = BookFeed(
        URL,
        there.connect,
        ports_on(clock),
        lost=(Lost,),
        rules=rules,
        tell=notices.append,
        **options,
    )
    feed.follow(tokens or (wish(UP),))
    task = asyncio.ensure_future(feed.run())
    rig = Rig(there, feed, clock, notices, task)
    await clock.settle()
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [one for one in asyncio.all_tasks() if one.get_name().startswith("books")] == []
        assert all(socket.closed for socket in there.sockets)


# ------------------------------------------------------------------------------------ following


async def test_a_book_is_subscribed_to_read_and_proved() -> None:
    async with running() as rig:
        (asked,) = rig.channel.now.asked
        assert asked == {
            "type": "market",
            "assets_ids": [UP],
            "initial_dump": True,
            "custom_feature_enabled": True,
        }
        book = rig.feed.book(UP)
        assert book is not None
        assert (book.best_bid, book.best_ask, book.suspect) == (450_000, 470_000, "")
        assert book.proven_ms == rig.channel.books[UP].now_ms
        assert rig.fit()
        assert rig.feed.book(DOWN) is None
        assert rig.feed.unfit(DOWN, max_age_ms=AGE_MS) is Unfit.NO_SNAPSHOT
        there = rig.channel.books[UP]
        there.now_ms += 1
        await rig.say(there.change(("BUY", 460_000, SHARE)))
        assert rig.feed.counters.proved == 1
        assert rig.kinds() == []


async def test_a_ping_goes_out_every_ten_seconds() -> None:
    async with running() as rig:
        await rig.wait(9.9)
        assert rig.channel.now.sent.count("PING") == 0
        await rig.wait(0.2)
        assert rig.channel.now.sent.count("PING") == 1
        await rig.wait(30)
        assert rig.channel.now.sent.count("PING") == 4
        assert len(rig.channel.sockets) == 1


async def test_tokens_share_connections_and_both_of_a_market_the_same() -> None:
    tokens = {f"{market}{side}": f"0x{market}" for market in range(1, 8) for side in (1, 2)}
    channel = Channel({token: book_of(token, market) for token, market in tokens.items()})
    wishes = [wish(token, market) for token, market in tokens.items()]
    async with running(*wishes, channel=channel, rules=Rules(tokens_per_connection=5)) as rig:
        subscribed = [set(socket.asked[0]["assets_ids"]) for socket in channel.sockets]
        assert [len(one) for one in subscribed] == [4, 4, 4, 2]
        for market in range(1, 8):
            assert any({f"{market}1", f"{market}2"} <= one for one in subscribed)
        assert all(rig.fit(token) for token in tokens)
        assert rig.feed.counters.connections == 4


async def test_tokens_come_and_go_while_it_runs() -> None:
    channel = Channel({UP: book_of(UP), DOWN: book_of(DOWN)})
    async with running(channel=channel) as rig:
        rig.feed.follow([wish(DOWN), wish(UP)])
        await rig.wait(1)
        assert rig.channel.now.asked[1:] == [
            {
                "operation": "subscribe",
                "assets_ids": [DOWN],
                "initial_dump": True,
                "custom_feature_enabled": True,
            }
        ]
        assert rig.fit(DOWN)
        rig.feed.unfollow([UP, "999"])
        await rig.wait(1)
        assert rig.channel.now.asked[2:] == [{"operation": "unsubscribe", "assets_ids": [UP]}]
        assert rig.feed.book(UP) is None
        await rig.say(channel.books[UP].book())
        assert rig.feed.counters.strangers == 1
        rig.feed.unfollow([DOWN])
        await rig.clock.settle()
        assert rig.channel.now.closed
        rig.feed.follow([wish(UP)])
        await rig.clock.settle()
        assert len(channel.sockets) == 2
        assert rig.fit(UP)


async def test_readers_are_told_of_each_changed_token_once() -> None:
    async with running() as rig:
        updates = rig.feed.updates()
        there = rig.channel.books[UP]
        for step in range(3):
            there.now_ms += 1
            await rig.say(there.change(("BUY", 400_000, (step + 1) * SHARE)))
        assert await updates.take() == {UP}
        waiting = asyncio.ensure_future(updates.take())
        await rig.clock.settle()
        assert not waiting.done()
        there.now_ms += 1
        await rig.say(there.change(("BUY", 400_000, 0)))
        assert await waiting == {UP}


async def test_what_the_stream_announces_is_told_with_its_value() -> None:
    seen: list[tuple[str, tuple[Frame, ...]]] = []
    async with running(saw=lambda text, frames: seen.append((text, frames))) as rig:
        base = {"market": MARKET, "timestamp": "1790000000001"}
        tick = {"event_type": "tick_size_change", "asset_id": UP, "new_tick_size": "0.001"}
        await rig.say(base | tick)
        await rig.say(base | {"event_type": "new_market", "condition_id": "0x5", "slug": "new"})
        resolved = {"event_type": "market_resolved", "winning_asset_id": UP, "assets_ids": [UP]}
        await rig.say(base | resolved | {"winning_outcome": "Yes"})
        told = [one for one in rig.notices if one.kind is not NoticeKind.CONNECTED]
        assert [(one.kind.value, one.token_id, one.market, one.count) for one in told] == [
            ("TICK_CHANGED", UP, MARKET, 1_000),
            ("NEW_MARKET", "", "0x5", 0),
            ("RESOLVED", UP, MARKET, 0),
        ]
        assert rig.feed.unfit(UP, max_age_ms=AGE_MS) is Unfit.RESOLVED
        assert [len(frames) for _, frames in seen] == [1, 1, 1, 1]


# -------------------------------------------------------------------------------- what goes wrong


async def test_a_gap_is_found_told_and_asked_for_again() -> None:
    async with running() as rig:
        there = rig.channel.books[UP]
        there.now_ms += 1
        there.change(("BUY", 430_000, SHARE))
        there.now_ms += 1
        await rig.say(there.change(("BUY", 440_000, SHARE)))
        assert rig.fit()
        there.now_ms += 1
        await rig.say(there.change(("BUY", 420_000, SHARE)))
        assert rig.feed.unfit(UP, max_age_ms=AGE_MS) is Unfit.SUSPECT
        await rig.wait(1)
        assert [one.get("operation") for one in rig.channel.now.asked] == [
            None,
            "unsubscribe",
            "subscribe",
        ]
        assert rig.fit()
        book = rig.feed.book(UP)
        assert book is not None
        assert book.bids == there.bids
        await rig.wait(1)
        assert rig.kinds() == ["PROBLEM", "RESUBSCRIBED", "RESTORED"]
        assert len(rig.channel.sockets) == 1


async def test_a_last_change_that_does_not_fit_is_found_without_another_frame() -> None:
    async with running() as rig:
        there = rig.channel.books[UP]
        there.now_ms += 1
        there.change(("BUY", 430_000, SHARE))
        await rig.say(there.told(("BUY", 440_000, SHARE)))
        assert rig.fit()
        await rig.wait(2.5)
        assert rig.kinds() == ["PROBLEM", "RESUBSCRIBED", "RESTORED"]


async def test_a_book_that_keeps_going_wrong_is_asked_for_ever_less_often() -> None:
    async with running() as rig:
        there = rig.channel.books[UP]
        times = []
        for _ in range(240):
            there.now_ms += 1000
            before = rig.feed.counters.resubscriptions
            await rig.say(there.change(("BUY", 400_000, SHARE), hash="00" * 20))
            await rig.wait(1)
            if rig.feed.counters.resubscriptions > before:
                times.append(rig.clock.now_ns // 1_000_000_000)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert len(times) < 12
        assert pauses[-1] > 30
        assert len(rig.channel.sockets) == 1


async def test_a_quiet_token_is_asked_for_again_and_its_connection_kept() -> None:
    async with running() as rig:
        await rig.wait(59)
        assert len(rig.channel.now.asked) == 1
        await rig.wait(3)
        assert len(rig.channel.now.asked) == 3
        assert rig.fit()
        await rig.wait(300)
        assert 4 <= rig.feed.counters.resubscriptions <= 6
        assert len(rig.channel.sockets) == 1


async def test_a_connection_that_answers_pings_and_carries_no_data_is_replaced() -> None:
    async with running() as rig:
        rig.channel.mute.add(UP)
        await rig.wait(73)
        assert len(rig.channel.sockets) == 2
        assert rig.feed.unfit(UP, max_age_ms=AGE_MS) in (Unfit.SUSPECT, Unfit.STALE)
        assert "DISCONNECTED" in rig.kinds()
        rig.channel.mute.clear()
        await rig.wait(60)
        assert rig.fit()


async def test_a_token_that_never_answers_costs_the_others_one_connection_only() -> None:
    channel = Channel({UP: book_of(UP), DOWN: book_of(DOWN)}, mute={DOWN})
    async with running(wish(UP), wish(DOWN), channel=channel) as rig:
        await rig.wait(400)
        assert len(channel.sockets) == 2
        assert rig.kinds().count("SILENT") == 1
        assert rig.fit(UP)
        assert rig.feed.unfit(DOWN, max_age_ms=AGE_MS) is Unfit.NO_SNAPSHOT
        channel.mute.clear()
        await rig.wait(650)
        assert rig.fit(DOWN)
        assert len(channel.sockets) == 2


async def test_a_resolved_token_is_neither_stale_nor_asked_for() -> None:
    async with running() as rig:
        resolved = {"event_type": "market_resolved", "market": MARKET, "timestamp": "1"}
        await rig.say(resolved)
        await rig.wait(200)
        assert len(rig.channel.now.asked) == 1
        assert len(rig.channel.sockets) == 1


async def test_a_lost_connection_is_opened_again_and_its_books_are_not_believed_meanwhile() -> None:
    async with running() as rig:
        rig.channel.now.cut("1006")
        await rig.clock.settle()
        assert rig.feed.unfit(UP, max_age_ms=AGE_MS) is Unfit.SUSPECT
        assert rig.channel.sockets[0].closed
        await rig.wait(1)
        assert len(rig.channel.sockets) == 2
        assert rig.fit()
        (lost,) = [one for one in rig.notices if one.kind is NoticeKind.DISCONNECTED]
        assert lost.detail == "1006"
        book = rig.feed.book(UP)
        assert book is not None
        assert book.suspect == ""


async def test_failures_in_a_row_are_counted_and_pauses_grow_with_jitter() -> None:
    channel = Channel({UP: book_of(UP)}, refuse=8)
    async with running(channel=channel) as rig:
        await rig.wait(200)
        lost = [one.count for one in rig.notices if one.kind is NoticeKind.DISCONNECTED]
        assert lost == [1, 2, 3, 4, 5, 6, 7, 8]
        assert rig.fit() or rig.feed.unfit(UP, max_age_ms=AGE_MS) is Unfit.STALE
        assert len(channel.sockets) == 1
    pauses: dict[int, float] = {}
    for seed in (1, 2):
        clock = SteppingClock()
        feed = BookFeed(
            URL, Channel(refuse=3).connect, ports_on(clock, seed), lost=(Lost,), rules=Rules()
        )
        feed.follow([wish(UP)])
        task = asyncio.ensure_future(feed.run())
        await clock.settle()
        start = clock.now_ns
        while feed.counters.disconnections < 3:
            await clock.advance(0.01)
        pauses[seed] = clock.now_ns - start
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert pauses[1] != pauses[2]


async def test_a_connection_without_any_frame_is_taken_for_dead() -> None:
    async with running() as rig:
        rig.channel.pong = False
        await rig.wait(32)
        assert len(rig.channel.sockets) == 2
        (lost,) = [one for one in rig.notices if one.kind is NoticeKind.DISCONNECTED]
        assert lost.detail == "no frame for 30 s"


async def test_what_cannot_be_read_is_kept_counted_and_told_and_stops_nothing() -> None:
    async with running(rules=Rules(keep_unreadable=2)) as rig:
        for text in ("INVALID OPERATION", '{"event_type": "comet"}', "{"):
            rig.channel.now.put(text)
        await rig.clock.settle()
        assert rig.feed.counters.unreadable == 3
        assert [one.text for one in rig.feed.unreadable] == ['{"event_type": "comet"}', "{"]
        assert rig.kinds() == ["UNREADABLE"] * 3
        assert rig.fit()


async def test_more_messages_than_the_queue_holds_are_a_new_start_and_no_gap() -> None:
    async with running(rules=Rules(queue_frames=3)) as rig:
        there = rig.channel.books[UP]
        for _ in range(200):
            there.now_ms += 1
            rig.channel.now.say(there.change(("BUY", 400_000, there.now_ms)))
        await rig.wait(1)
        assert rig.feed.counters.overflows == 1
        assert len(rig.channel.sockets) == 2
        assert rig.fit()
        book = rig.feed.book(UP)
        assert book is not None
        assert book.bids == there.bids


async def test_hashes_of_changes_that_never_fit_are_no_longer_looked_at() -> None:
    tokens = [str(10 + n) for n in range(5)]
    channel = Channel({token: book_of(token, f"0x{token}") for token in tokens})
    wishes = [wish(token, f"0x{token}") for token in tokens]
    async with running(*wishes, channel=channel, rules=Rules(distrust_after=5)) as rig:
        for _ in range(2):
            for token in tokens:
                there = channel.books[token]
                there.now_ms += 1
                rig.channel.now.say(there.change(("BUY", 400_000, SHARE), hash="00" * 20))
            await rig.clock.settle()
        assert rig.kinds() == ["PROBLEM"] * 5 + ["CHANGE_HASHES_UNUSABLE"]
        await rig.wait(2)
        assert all(rig.fit(token) for token in tokens)
        for _ in range(3):
            for token in tokens:
                there = channel.books[token]
                there.now_ms += 1
                rig.channel.now.say(there.change(("BUY", 400_000, SHARE), hash="00" * 20))
            await rig.wait(2)
        assert all(rig.fit(token) for token in tokens)
        assert rig.feed.counters.problems == 5


async def test_an_error_that_nobody_foresaw_ends_the_feed_and_is_raised() -> None:
    async with running() as rig:
        rig.channel.now.fail(ZeroDivisionError("a fault of ours"))
        await rig.clock.settle()
        assert rig.task.done()
        with pytest.raises(ZeroDivisionError):
            await rig.task


def test_a_market_record_gives_both_tokens_with_what_the_hash_needs() -> None:
    record = parse_market(gamma_market("a", orderPriceMinTickSize="0.01", feeSchedule=...))
    assert isinstance(record, MarketRecord)
    both = followed(record)
    assert [one.token_id for one in both] == [one.token_id for one in record.outcomes]
    assert {(one.market, one.tick_micros, one.min_size_micros, one.neg_risk) for one in both} == {
        (record.condition_id, 10_000, 5 * SHARE, False)
    }


def test_the_sockets_of_the_venue_fit_the_feed() -> None:
    """Checked by the type checker; at run time it is enough that the feed can be made."""
    feed = BookFeed(URL, real.connector(), ports_on(SteppingClock()), lost=(real.SocketLost,))
    assert feed.counters.messages == 0
