"""A snapshot counts only if it is proved, and never in the place of a stream's book that is fit."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.markets.books.book import Book, apply, empty
from app.markets.books.depth import Unfit
from app.markets.books.desk import Followed
from app.markets.books.fallback import Fallback, FallbackRules, prove
from app.markets.books.feed import BookFeed
from app.markets.books.frames import read_frames
from app.markets.books.notices import Notice
from app.markets.fetching import Query, Reader, Unread
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.books import DOWN, MARKET, UP, VenueBook
from tests.support.channel import Channel, Lost
from tests.support.stepping import SteppingClock, ports_on

SHARE = 1_000_000
RULES = FallbackRules(after_s=3.0, every_s=2.0, most_age_ms=5_000)


def there() -> VenueBook:
    return VenueBook(bids={450_000: 10 * SHARE}, asks={470_000: 10 * SHARE})


def known(book: VenueBook | None = None) -> Book:
    """What the stream has of it: nothing, or the whole book."""
    start = empty(UP, market=MARKET, tick_micros=10_000, min_size_micros=5 * SHARE, neg_risk=False)
    if book is None:
        return start
    [frame], _ = read_frames(json.dumps(book.book()))
    return apply(start, frame, seen_ns=1).book


def answered(book: VenueBook, **changes: Any) -> dict[str, Any]:
    """As GET /book shows it: no event type."""
    return book.book(event_type=..., **changes)


def test_a_book_whose_hash_comes_out_is_taken_whatever_was_wrong_with_the_streams() -> None:
    venue = there()
    for before in (known(), replace(known(venue), suspect="HASH_MISMATCH")):
        taken = prove(before, answered(venue), newest_ms=0, seen_ns=7)
        assert isinstance(taken, Book)
        assert (taken.best_bid, taken.best_ask, taken.suspect) == (450_000, 470_000, "")
        assert (taken.proven_ms, taken.seen_ns) == (venue.now_ms, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"hash": "0" * 40},
        {"hash": ...},
        {"hash": "x"},
        {"asset_id": DOWN},
        {"market": "0x" + "cd" * 32},
        {"bids": [{"price": "0.45", "size": "11"}]},
        {"bids": [{"price": "0.48", "size": "10"}]},
        {"bids": [{"price": "much", "size": "10"}]},
        {"timestamp": "0"},
        {"timestamp": ...},
    ],
)
def test_what_is_not_proved_is_unread(change: dict[str, Any]) -> None:
    assert isinstance(prove(known(), answered(there(), **change), newest_ms=1, seen_ns=7), Unread)


def test_a_crossed_book_is_unread_even_with_its_right_hash() -> None:
    crossed = VenueBook(bids={480_000: SHARE}, asks={470_000: SHARE})
    found = prove(known(), answered(crossed), newest_ms=0, seen_ns=7)
    assert isinstance(found, Unread)
    assert "CROSSED" in found.why


def test_a_snapshot_older_than_what_is_known_is_unread() -> None:
    venue = there()
    old = answered(venue)
    assert isinstance(prove(known(), old, newest_ms=venue.now_ms + 1, seen_ns=7), Unread)
    assert isinstance(prove(known(), old, newest_ms=venue.now_ms, seen_ns=7), Book)


@pytest.mark.parametrize("value", [None, [], "book", 7, {}, {"bids": []}])
def test_what_is_no_book_at_all_is_unread(value: object) -> None:
    assert isinstance(prove(known(), value, newest_ms=0, seen_ns=7), Unread)


class Scene:
    """A feed on a channel in memory, REST beside it, and time in the test's hand."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.venue = there()
        self.channel = Channel({UP: self.venue})
        self.notices: list[Notice] = []
        self.asked = 0
        self.answer: Any = None
        self.feed = BookFeed(
            "wss://example.test/ws/market", self.channel.connect, ports_on(self.clock), lost=(Lost,)
        )
        self.fallback = Fallback(
            lambda: self.feed,
            Reader(self.fetch, ports_on(self.clock), tries=1),
            ports_on(self.clock),
            rules=RULES,
            tell=self.notices.append,
        )

    async def fetch(self, endpoint: str, query: Query) -> Exchange:
        assert (endpoint, query) == ("GET /book", {"token_id": UP})
        self.asked += 1
        body = self.answer if self.answer is not None else answered(self.venue)
        if isinstance(body, Exchange):
            return body
        return Exchange(Endpoint.GET_BOOK, Phase.DONE, status=200, body=json.dumps(body).encode())

    def book(self, max_age_ms: int = 60_000) -> Book | Unfit:
        return self.fallback.book(UP, max_age_ms=max_age_ms)

    def kinds(self) -> list[str]:
        return [one.kind.value for one in self.notices]


async def test_while_the_stream_is_fit_nothing_is_read() -> None:
    scene = Scene()
    scene.feed.follow([Followed(UP, MARKET, 10_000, 5 * SHARE, False)])
    running = asyncio.ensure_future(scene.feed.run())
    await scene.clock.settle()
    for _ in range(5):
        await scene.fallback.one_pass()
        await scene.clock.advance(2)
    found = scene.book()
    assert isinstance(found, Book)
    assert found is scene.feed.book(UP)
    assert scene.asked == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_silent_stream_is_stood_in_for_after_a_while_at_a_pace_and_not_for_long() -> None:
    scene = Scene()
    scene.feed.follow([Followed(UP, MARKET, 10_000, 5 * SHARE, False)])  # and nobody runs it
    assert scene.book() is Unfit.NO_SNAPSHOT
    await scene.fallback.one_pass()
    await scene.clock.advance(2.9)
    await scene.fallback.one_pass()
    assert scene.asked == 0
    await scene.clock.advance(0.2)
    await scene.fallback.one_pass()
    await scene.fallback.one_pass()
    assert scene.asked == 1
    found = scene.book()
    assert isinstance(found, Book)
    assert found.best_bid == 450_000
    assert scene.kinds() == ["FALLBACK"]
    # The reader would bear a minute; what happened since nobody has told.
    await scene.clock.advance(5.1)
    assert scene.book() is Unfit.STALE
    scene.venue.now_ms += 5_000
    scene.venue.set("BUY", 460_000, SHARE)
    await scene.fallback.one_pass()
    found = scene.book()
    assert isinstance(found, Book)
    assert (found.best_bid, scene.asked) == (460_000, 2)
    assert scene.fallback.counters.taken == 2


async def test_a_read_that_fails_concludes_nothing_and_is_said_once() -> None:
    scene = Scene()
    scene.feed.follow([Followed(UP, MARKET, 10_000, 5 * SHARE, False)])
    await scene.fallback.one_pass()
    await scene.clock.advance(3.1)
    await scene.fallback.one_pass()
    assert isinstance(scene.book(), Book)
    for answer in (
        Exchange(Endpoint.GET_BOOK, Phase.READING, problem="cut"),
        Exchange(Endpoint.GET_BOOK, Phase.DONE, status=503, body=b"{}"),
        answered(scene.venue, hash="0" * 40),
    ):
        scene.answer = answer
        await scene.clock.advance(0.5)
        scene.fallback._needs[UP].read_ns = None
        await scene.fallback.one_pass()
        assert isinstance(scene.book(), Book)  # the one of before, until it is old
    assert scene.fallback.counters.unread == 3
    assert scene.kinds() == ["FALLBACK", "FALLBACK_UNREAD"]


async def test_the_venues_word_that_there_is_no_book_ends_the_one_of_before() -> None:
    scene = Scene()
    scene.feed.follow([Followed(UP, MARKET, 10_000, 5 * SHARE, False)])
    await scene.fallback.one_pass()
    await scene.clock.advance(3.1)
    await scene.fallback.one_pass()
    assert isinstance(scene.book(), Book)
    gone = b'{"error": "No orderbook exists for the requested token id"}'
    scene.answer = Exchange(Endpoint.GET_BOOK, Phase.DONE, status=404, body=gone)
    await scene.clock.advance(2.1)
    await scene.fallback.one_pass()
    assert scene.book() is Unfit.NO_SNAPSHOT
    assert scene.fallback.counters.absent == 1


async def test_a_token_that_is_followed_no_more_has_no_book() -> None:
    scene = Scene()
    scene.feed.follow([Followed(UP, MARKET, 10_000, 5 * SHARE, False)])
    await scene.fallback.one_pass()
    await scene.clock.advance(3.1)
    await scene.fallback.one_pass()
    scene.feed.unfollow([UP])
    assert scene.book() is Unfit.NO_SNAPSHOT
    await scene.fallback.one_pass()
    assert scene.asked == 1


def test_every_recorded_answer_to_a_read_of_a_book_is_proved() -> None:
    named = os.environ.get("LEDGER_TEST_DATA_DIR")
    if not named:
        pytest.skip("LEDGER_TEST_DATA_DIR names no folder of recorded data")
    text = (Path(named) / "clob-rest" / "trebuchet_v2_books.json").read_text("utf-8")
    books = list(_books(json.loads(text)))
    assert len(books) == 10
    for book in books:
        start = empty(book["asset_id"], market=book["market"])
        assert isinstance(prove(start, book, newest_ms=0, seen_ns=1), Book)


def _books(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and "bids" in value:
        yield value
    else:
        inner = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        for one in inner:
            yield from _books(one)
