"""Prices asked of a book are exact, and say when the depth does not suffice."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.markets.books.book import Book, distrust, empty
from app.markets.books.depth import (
    Unfit,
    age_ms,
    levels,
    mid_micros,
    spread_micros,
    unfit,
    walk,
)
from tests.support.books import MARKET, UP, Reader, VenueBook

SHARE = 1_000_000


def venue(**changes: Any) -> VenueBook:
    made = VenueBook(
        bids={450_000: 100 * SHARE, 440_000: 50 * SHARE},
        asks={470_000: 30 * SHARE, 480_000: 219_217_767, 990_000: 1_000 * SHARE},
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def opened(there: VenueBook | None = None) -> tuple[VenueBook, Reader]:
    there = there or venue()
    ours = Reader()
    ours.take(there.book())
    assert ours.problems == []
    return there, ours


def test_the_middle_is_exact_on_every_tick() -> None:
    def book(bid: int, ask: int) -> Book:
        return Book(UP, bids={bid: SHARE}, asks={ask: SHARE})

    assert mid_micros(book(450_000, 470_000)) == 460_000
    assert mid_micros(book(450_000, 460_000)) == 455_000
    assert mid_micros(book(100, 200)) == 150
    assert spread_micros(book(450_000, 470_000)) == 20_000
    assert spread_micros(book(470_000, 450_000)) == -20_000
    assert mid_micros(Book(UP, bids={450_000: SHARE})) is None
    assert spread_micros(empty(UP)) is None


@given(st.integers(1, 9_999), st.integers(1, 9_999))
def test_the_middle_of_two_prices_never_needs_rounding(bid: int, ask: int) -> None:
    book = Book(UP, bids={bid * 100: SHARE}, asks={ask * 100: SHARE})
    assert mid_micros(book) == Fraction(bid * 100 + ask * 100, 2)


def test_a_size_is_walked_through_the_levels_best_first() -> None:
    book = Book(UP, bids=venue().bids, asks=venue().asks)
    assert levels(book, "BUY")[0] == (470_000, 30 * SHARE)
    assert levels(book, "SELL")[0] == (450_000, 100 * SHARE)
    taken = walk(book, "BUY", 40 * SHARE)
    assert (taken.enough, taken.filled, taken.worst, taken.levels) == (True, 40 * SHARE, 480_000, 2)
    assert taken.cost == 30 * SHARE * 470_000 + 10 * SHARE * 480_000
    assert taken.collateral_micros == 18_900_000
    assert taken.average_price == 472_500
    sold = walk(book, "SELL", 120 * SHARE)
    assert sold.collateral_micros == 53_800_000
    assert sold.average_price == 448_333


def test_a_walk_says_when_the_depth_or_the_limit_does_not_suffice() -> None:
    book = Book(UP, bids=venue().bids, asks=venue().asks)
    short = walk(book, "SELL", 1_000 * SHARE)
    assert (short.enough, short.filled, short.wanted) == (False, 150 * SHARE, 1_000 * SHARE)
    limited = walk(book, "BUY", 40 * SHARE, limit=470_000)
    assert (limited.enough, limited.filled, limited.worst) == (False, 30 * SHARE, 470_000)
    nothing = walk(book, "SELL", SHARE, limit=460_000)
    assert (nothing.enough, nothing.filled, nothing.average_price) == (False, 0, None)
    assert walk(empty(UP), "BUY", SHARE).levels == 0
    assert walk(book, "BUY", 0).enough


_PRICES = st.integers(1, 99).map(lambda n: n * 10_000)
_LEVELS = st.dictionaries(_PRICES, st.integers(1, 10**12), max_size=12)


@given(_LEVELS, st.integers(0, 10**13), st.sampled_from(["BUY", "SELL"]))
def test_a_walk_costs_what_the_cheapest_way_costs(
    depth: dict[int, int], size: int, side: Any
) -> None:
    book = Book(UP, bids=depth, asks=depth)
    taken = walk(book, side, size)
    assert taken.filled == min(size, sum(depth.values()))
    assert taken.enough is (taken.filled == size)
    best = sorted(depth, reverse=side == "SELL")
    left, cost = size, 0
    for price in best:
        cost += min(left, depth[price]) * price
        left -= min(left, depth[price])
    assert taken.cost == cost
    if taken.filled:
        exact = Fraction(taken.cost, taken.filled)
        assert taken.average_price is not None
        off = taken.average_price - exact
        assert 0 <= off < 1 if side == "BUY" else -1 < off <= 0


def test_a_book_says_why_it_is_not_to_be_used() -> None:
    there, ours = opened()
    now_ns = ours.seen_ns + 5_000_000_000

    def why(book: Book, max_age_ms: int = 60_000) -> Unfit | None:
        return unfit(book, now_ns=now_ns, max_age_ms=max_age_ms)

    assert age_ms(ours.book, now_ns=now_ns) == 5_000
    assert why(ours.book) is None
    assert why(ours.book, 5_000) is None
    assert why(ours.book, 4_999) is Unfit.STALE
    assert why(empty(UP)) is Unfit.NO_SNAPSHOT
    assert why(distrust(ours.book, "DISCONNECTED")) is Unfit.SUSPECT
    there.now_ms += 1
    ours.take(there.change(("BUY", 470_000, SHARE)))
    assert why(ours.book) is Unfit.CROSSED
    resolved = {"event_type": "market_resolved", "market": MARKET, "timestamp": "1"}
    ours.take(resolved)
    assert why(ours.book) is Unfit.RESOLVED
