"""A book is what the venue says it is, to the last millionth, or it says that it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.markets.books.book import distrust, settle
from tests.support.books import DOWN, MARKET, UP, Reader, VenueBook

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


def test_a_book_follows_its_changes_and_proves_each() -> None:
    there, ours = opened()
    for side, price, size in [
        ("BUY", 460_000, 5 * SHARE),
        ("SELL", 470_000, 0),
        ("BUY", 460_000, 7 * SHARE),
        ("BUY", 440_000, 0),
    ]:
        there.now_ms += 3
        applied = ours.take(there.change((side, price, size)))
        assert applied.proved_change
        assert (ours.book.bids, ours.book.asks) == (there.bids, there.asks)
        assert ours.book.proven_ms == there.now_ms
    assert ours.problems == []


def test_the_hash_of_a_millisecond_is_that_of_its_end() -> None:
    there, ours = opened()
    there.now_ms += 1
    there.set("BUY", 460_000, 5 * SHARE)
    there.set("SELL", 470_000, 0)
    first = there.told(("BUY", 460_000, 5 * SHARE))
    second = there.told(("SELL", 470_000, 0))
    assert not ours.take(first).proved_change
    assert ours.take(second).proved_change
    there.now_ms += 1
    ours.take(there.change(("BUY", 460_000, 0)))
    assert ours.problems == []


def test_a_frame_that_was_lost_is_found_by_the_next_millisecond() -> None:
    there, ours = opened()
    there.now_ms += 1
    there.change(("BUY", 430_000, 5 * SHARE))
    there.now_ms += 1
    assert ours.take(there.change(("BUY", 420_000, 5 * SHARE))).problems == ()
    there.now_ms += 1
    ours.take(there.change(("BUY", 410_000, 5 * SHARE)))
    assert ours.kinds() == ["HASH_MISMATCH"]
    assert ours.book.suspect == "HASH_MISMATCH"
    for step in range(3):
        there.now_ms += 1
        ours.take(there.change(("BUY", 400_000, step * SHARE)))
    assert ours.kinds() == ["HASH_MISMATCH"]
    ours.take(there.book())
    assert ours.book.suspect == ""
    assert (ours.book.bids, ours.book.asks) == (there.bids, there.asks)


def test_a_claim_that_nothing_follows_is_judged_by_settling() -> None:
    there, ours = opened()
    there.now_ms += 1
    there.set("SELL", 999_000, SHARE)
    ours.take(there.change(("BUY", 420_000, 5 * SHARE)))
    assert settle(ours.book, before_ms=there.now_ms).problems == ()
    judged = settle(ours.book)
    assert [problem.kind for problem in judged.problems] == ["HASH_MISMATCH"]
    assert settle(judged.book).problems == ()


def test_a_trade_that_was_not_told_of_is_no_gap() -> None:
    """The venue hashes with a trade that it tells of later, or never."""
    there, ours = opened()
    there.now_ms += 1
    there.last_trade = "0.470"
    ours.take(there.change(("SELL", 470_000, 20 * SHARE)))
    there.now_ms += 1
    ours.take(there.change(("BUY", 420_000, 5 * SHARE)))
    assert ours.problems == []
    assert ours.book.terms.last_trade == "0.470"
    there.now_ms += 1
    there.last_trade = "0.008"
    assert ours.take(there.book(last_trade_price=...)).problems == ()
    assert ours.book.proven_ms == there.now_ms


def test_a_trade_of_either_token_is_known_to_the_next_hash() -> None:
    there, ours = opened()
    there.now_ms += 1
    ours.take(there.trade("0.53", asset_id=DOWN))
    there.last_trade = "0.530"
    assert ours.take(there.change(("SELL", 470_000, 20 * SHARE))).proved_change


def test_a_tick_change_counts_from_the_next_hash() -> None:
    there, ours = opened()
    told = {"market": MARKET, "asset_id": UP, "timestamp": str(there.now_ms)}
    change = {"event_type": "tick_size_change", "old_tick_size": "0.01", "new_tick_size": "0.001"}
    ours.take(told | change)
    assert ours.book.tick_micros == 1_000
    there.tick = "0.001"
    there.now_ms += 1
    assert ours.take(there.change(("BUY", 451_000, SHARE))).proved_change
    ours.take(told | change | {"asset_id": DOWN, "new_tick_size": "0.0001"})
    assert ours.book.tick_micros == 1_000


def test_a_tick_change_that_was_lost_is_seen_by_the_next_whole_book() -> None:
    there, ours = opened()
    there.tick = "0.001"
    there.now_ms += 1
    ours.take(there.book(tick_size=..., last_trade_price=...))
    assert ours.problems == []
    assert (ours.book.tick_micros, ours.book.terms.tick) == (1_000, "0.001")


def test_a_change_before_its_book_is_a_gap() -> None:
    there, ours = venue(), Reader()
    ours.take(there.change(("BUY", 460_000, SHARE)))
    ours.take(there.change(("BUY", 460_000, SHARE)))
    assert ours.kinds() == ["NO_SNAPSHOT"]
    assert ours.book.bids == {}
    ours.take(there.book())
    assert ours.book.suspect == ""


def test_changes_that_a_whole_book_holds_already_are_dropped() -> None:
    there, ours = opened()
    there.now_ms += 1
    late = there.change(("BUY", 460_000, SHARE))
    there.now_ms += 1
    there.change(("BUY", 460_000, 2 * SHARE))
    ours.take(there.book(), late)
    assert ours.book.bids[460_000] == 2 * SHARE
    assert ours.problems == []


def test_a_change_that_comes_late_is_not_applied_and_wants_a_new_book() -> None:
    there, ours = opened()
    there.now_ms += 1
    late = there.change(("BUY", 460_000, SHARE))
    there.now_ms += 1
    newer = there.change(("BUY", 460_000, 2 * SHARE))
    ours.take(newer, late)
    assert ours.book.bids[460_000] == 2 * SHARE
    assert ours.kinds() == ["OUT_OF_ORDER"]


def test_an_older_whole_book_does_not_undo_a_sound_one() -> None:
    there, ours = opened()
    old = there.book()
    there.now_ms += 5
    ours.take(there.change(("BUY", 460_000, SHARE)), old)
    assert ours.book.bids == there.bids
    ours.book = distrust(ours.book, "DISCONNECTED")
    ours.take(old)
    assert 460_000 not in ours.book.bids
    assert ours.book.suspect == ""


def test_a_crossed_book_is_wrong_once_its_millisecond_is_over() -> None:
    there, ours = opened()
    there.now_ms += 1
    crossing = there.change(("BUY", 475_000, SHARE))
    assert ours.take(crossing).problems == ()
    assert ours.book.crossed
    there.set("SELL", 470_000, 0)
    ours.take(there.told(("SELL", 470_000, 0)))
    assert settle(ours.book).problems == ()
    there.now_ms += 1
    ours.take(there.change(("BUY", 480_000, SHARE)))
    there.now_ms += 1
    ours.take(there.change(("BUY", 400_000, SHARE)))
    assert ours.kinds() == ["CROSSED"]


def test_a_whole_book_that_is_crossed_is_wrong_at_once() -> None:
    ours = Reader()
    ours.take(venue(bids={470_000: SHARE}).book())
    assert ours.kinds() == ["CROSSED"]


def test_a_hash_that_cannot_be_made_is_said_and_is_no_gap() -> None:
    there, ours = venue(), Reader()
    ours.take(there.book(hash="00" * 20))
    assert ours.kinds() == ["HASH_UNCHECKABLE"]
    assert ours.book.suspect == ""
    for step in range(1, 4):
        there.now_ms += 1
        ours.take(there.change(("BUY", 400_000, step * SHARE), hash="11" * 20))
    assert ours.kinds() == ["HASH_UNCHECKABLE"]


@pytest.mark.parametrize("hashless", [True, False])
def test_without_a_hash_the_best_prices_are_the_check(hashless: bool) -> None:
    there = venue()
    ours = Reader(check_changes=not hashless)
    ours.take(there.book(hash="00" * 20))
    there.now_ms += 1
    there.change(("BUY", 460_000, SHARE))
    there.now_ms += 1
    ours.take(there.change(("BUY", 400_000, SHARE), hash="11" * 20))
    there.now_ms += 1
    ours.take(there.change(("BUY", 400_000, SHARE), hash="11" * 20))
    assert ours.kinds() == ["HASH_UNCHECKABLE", "BEST_MISMATCH"]


def test_told_best_prices_check_a_book_without_hash_and_empty_sides_are_prices_too() -> None:
    there = venue(asks={})
    ours = Reader()
    ours.take(there.book(hash=...))
    best = {"event_type": "best_bid_ask", "market": MARKET, "asset_id": UP}
    ours.take(best | {"best_bid": "0.45", "best_ask": "1", "timestamp": str(there.now_ms)})
    ours.take(best | {"best_bid": "", "best_ask": "", "timestamp": str(there.now_ms + 1)})
    assert settle(ours.book).problems == ()
    ours.take(best | {"best_bid": "0.45", "best_ask": "0.99", "timestamp": str(there.now_ms + 2)})
    assert [one.kind for one in settle(ours.book).problems] == ["BEST_MISMATCH"]


def test_a_resolved_market_is_said_by_token_or_by_market() -> None:
    told: dict[str, Any] = {"event_type": "market_resolved", "market": MARKET, "timestamp": "1"}
    for frame in (told | {"assets_ids": [DOWN, UP]}, told | {"assets_ids": []}):
        _, ours = opened()
        ours.take(frame)
        assert ours.book.resolved
    _, ours = opened()
    ours.take(told | {"market": "0xother", "assets_ids": [DOWN]})
    assert not ours.book.resolved


def test_frames_of_other_tokens_leave_a_book_as_it_is() -> None:
    there, ours = opened()
    before = ours.book
    other = VenueBook(token_id=DOWN, bids={1_000: SHARE})
    best = {"event_type": "best_bid_ask", "market": MARKET, "asset_id": DOWN, "timestamp": "1"}
    ours.take(other.book(), other.change(("BUY", 2_000, SHARE)), best)
    ours.take({"event_type": "new_market", "market": MARKET, "timestamp": "1"})
    assert ours.book is before
    assert there.bids == before.bids


_MOVE = st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 49), st.integers(0, 3))


def _move(raw: tuple[str, int, int]) -> tuple[str, int, int]:
    """Bids below one half, asks above, so that the book is never crossed."""
    side, step, size = raw
    return side, (step if side == "BUY" else 50 + step) * 10_000, size * SHARE


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(_MOVE, min_size=1, max_size=4), st.booleans()), max_size=12),
    st.integers(0, 999),
)
def test_a_book_that_got_every_frame_is_the_venues_and_never_complains(
    history: list[tuple[list[tuple[str, int, int]], bool]], trade: int
) -> None:
    there, ours = opened(venue(last_trade=f"0.{trade:03d}", bids={}, asks={}))
    for moves, together in history:
        there.now_ms += 1
        parts = [_move(raw) for raw in moves]
        for part in parts:
            there.set(*part)
        if together:
            ours.take(there.told(*parts))
        else:
            for part in parts:
                ours.take(there.told(part))
        # the same level twice in a millisecond is told with its first size too: the last one counts
        ours.take(
            there.told(*((side, price, _now(there, side, price)) for side, price, _ in parts))
        )
        assert (dict(ours.book.bids), dict(ours.book.asks)) == (there.bids, there.asks)
    assert ours.problems == []
    assert settle(ours.book).problems == ()


def _now(there: VenueBook, side: str, price: int) -> int:
    return (there.bids if side == "BUY" else there.asks).get(price, 0)


@settings(max_examples=60)
@given(st.lists(_MOVE, min_size=2, max_size=12), st.data())
def test_a_frame_that_was_lost_is_always_found_if_it_made_a_difference(
    history: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    there, ours = opened(venue(bids={}, asks={}))
    lost = data.draw(st.integers(0, len(history) - 1))
    for index, raw in enumerate(history):
        there.now_ms += 1
        frame = there.change(_move(raw))
        if index != lost:
            ours.take(frame)
        same = (dict(ours.book.bids), dict(ours.book.asks)) == (there.bids, there.asks)
        if index > lost and not same:
            assert settle(ours.book).problems or ours.book.suspect
    if ours.problems:
        assert set(ours.kinds()) <= {"HASH_MISMATCH"}
