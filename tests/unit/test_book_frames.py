"""What the market channel sends is read exactly or kept; the hash of a book is the venue's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markets.books.frames import (
    BestBidAsk,
    BookFrame,
    LastTrade,
    MarketResolved,
    NewMarket,
    PriceChange,
    TickSizeChange,
    read_frames,
)
from app.markets.books.hashing import Summary, Terms, trade_texts
from tests.support.books import DOWN, MARKET, UP, VenueBook, frames

SHARE = 1_000_000


def venue(**changes: Any) -> VenueBook:
    made = VenueBook(
        bids={450_000: 100 * SHARE, 440_000: 50 * SHARE},
        asks={470_000: 30 * SHARE, 480_000: 219_217_767, 990_000: 1_000 * SHARE},
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_whole_book_is_read_exactly() -> None:
    (frame,) = frames(
        {
            "event_type": "book",
            "market": MARKET,
            "asset_id": UP,
            "timestamp": "1790000000000",
            "hash": "ab" * 20,
            "bids": [{"price": ".48", "size": "30"}, {"price": "0.5", "size": "0"}],
            "asks": [{"price": "0.52", "size": "219.217767"}],
            "min_order_size": "5",
            "tick_size": "0.01",
            "neg_risk": True,
            "last_trade_price": "0.850",
        }
    )
    assert frame == BookFrame(
        token_id=UP,
        market=MARKET,
        timestamp_ms=1_790_000_000_000,
        bids={480_000: 30 * SHARE},
        asks={520_000: 219_217_767},
        hash="ab" * 20,
        tick="0.01",
        min_size="5",
        neg_risk=True,
        last_trade="0.850",
    )


@pytest.mark.parametrize(
    "shape",
    [
        {
            "price_changes": [
                {"asset_id": UP, "price": "0.5", "side": "BUY", "size": "200", "hash": "cd" * 20}
            ]
        },
        {
            "asset_id": UP,
            "hash": "cd" * 20,
            "changes": [{"price": "0.5", "side": "buy", "size": "200"}],
        },
        {"asset_id": UP, "hash": "cd" * 20, "price": "0.5", "side": "BUY", "size": "200"},
    ],
)
def test_a_price_change_is_read_in_each_of_its_shapes(shape: dict[str, Any]) -> None:
    base = {"event_type": "price_change", "market": MARKET, "timestamp": "1"}
    (frame,) = frames(base | shape)
    assert isinstance(frame, PriceChange)
    (change,) = frame.changes
    assert (change.token_id, change.side, change.price, change.size, change.hash) == (
        UP,
        "BUY",
        500_000,
        200 * SHARE,
        "cd" * 20,
    )
    assert (change.best_bid, change.best_ask) == (None, None)


def test_the_other_events_are_read() -> None:
    base = {"market": MARKET, "asset_id": UP, "timestamp": "17"}
    found = frames(
        base
        | {"event_type": "tick_size_change", "old_tick_size": "0.01", "new_tick_size": "0.001"},
        base | {"event_type": "last_trade_price", "price": "0.08", "side": "SELL", "size": ""},
        base | {"event_type": "best_bid_ask", "best_bid": "0", "best_ask": "", "spread": ""},
        {
            "event_type": "market_resolved",
            "market": MARKET,
            "timestamp": 17,
            "assets_ids": [UP, DOWN],
            "winning_asset_id": UP,
            "winning_outcome": "Yes",
        },
        {
            "event_type": "new_market",
            "market": MARKET,
            "timestamp": "17",
            "slug": "a-market",
            "assets_ids": [UP, DOWN],
            "order_price_min_tick_size": "0.01",
        },
    )
    assert found == (
        TickSizeChange(MARKET, UP, 17, 10_000, 1_000),
        LastTrade(MARKET, UP, 17, "SELL", 80_000, None, None),
        BestBidAsk(MARKET, UP, 17, 0, None),
        MarketResolved(MARKET, 17, (UP, DOWN), UP, "Yes"),
        NewMarket(MARKET, 17, MARKET, "a-market", (UP, DOWN), 10_000),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "comet"},
        {"event_type": None},
        {"event_type": ["book"]},
        {"asset_id": "0x12"},
        {"asset_id": ...},
        {"market": ""},
        {"timestamp": "soon"},
        {"timestamp": "-1"},
        {"timestamp": True},
        {"timestamp": 1.5},
        {"bids": {}},
        {"asks": None},
        {"bids": ["0.5"]},
        {"bids": [{"price": "0.5", "size": "1"}, {"price": "0.50", "size": "2"}]},
        {"bids": [{"price": "0", "size": "1"}]},
        {"bids": [{"price": "1", "size": "1"}]},
        {"bids": [{"price": "0.50005", "size": "1"}]},
        {"bids": [{"price": "NaN", "size": "1"}]},
        {"bids": [{"price": "0.5", "size": "-1"}]},
        {"bids": [{"price": "0.5", "size": "1e3"}]},
        {"bids": [{"price": "0.5", "size": "0.0000001"}]},
        {"bids": [{"price": 0.5, "size": [1]}]},
        {"neg_risk": "no"},
        {"tick_size": {}},
    ],
)
def test_what_cannot_be_read_is_kept_and_voids_nothing_else(changes: dict[str, Any]) -> None:
    good, bad = venue().book(), venue().book(**changes)
    found, unparsed = read_frames(json.dumps([bad, good]))
    assert [type(frame) for frame in found] == [BookFrame]
    (one,) = unparsed
    assert one.why
    assert json.loads(one.text).keys() == bad.keys()
    alone = json.dumps(bad)
    assert [kept.text for kept in read_frames(alone)[1]] == [alone]


@pytest.mark.parametrize("text", ["INVALID OPERATION", "{", "7", '"x"', "[[]]", "[" * 100_000])
def test_text_that_is_no_frame_is_kept_whole_enough_to_be_looked_at(text: str) -> None:
    found, unparsed = read_frames(text)
    assert found == ()
    assert len(unparsed) == 1
    assert unparsed[0].why


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["event_type", "market", "asset_id", "bids", "price_changes", "timestamp"]),
        inner,
    ),
).map(json.dumps))  # fmt: skip
def test_no_text_breaks_the_reader(text: str) -> None:
    found, unparsed = read_frames(text)
    assert found or unparsed or text.strip() == "[]"


def test_the_hash_is_the_official_one() -> None:
    official = pytest.importorskip("py_clob_client_v2.utilities")
    there = venue(neg_risk=True)
    raw = there.book(hash="", min_order_size="5", neg_risk=True)
    theirs = official.generate_orderbook_summary_hash(official.parse_raw_orderbook_summary(raw))
    terms = Terms(min_size="5", tick="0.01", neg_risk=True, last_trade="0.500")
    ours = Summary(MARKET, UP, there.now_ms, there.bids, there.asks).hash(terms)
    assert ours == theirs == there.hash()


def test_a_hash_is_explained_by_what_frames_leave_out_and_by_nothing_else() -> None:
    there = venue(min_size="15", tick="0.001", neg_risk=True, last_trade="0.007")
    summary = Summary(MARKET, UP, there.now_ms, there.bids, there.asks)
    terms = Terms(last_trade="0.007")
    found = Terms("15", "0.001", True, "0.007")
    assert summary.explain(there.hash(), terms, thorough=True) == found
    assert summary.explain(there.hash(), terms) is None
    known = Terms("15", "0.001", True)
    assert summary.explain(there.hash(), known, trade_texts(7_000)) == found
    assert summary.explain(there.hash(), known, thorough=True) == found
    other = Summary(MARKET, UP, there.now_ms, there.bids, {**there.asks, 470_000: 1})
    assert other.explain(there.hash(), known, thorough=True) is None


def test_a_trade_is_written_with_three_decimals_or_as_many_as_it_takes() -> None:
    assert trade_texts(850_000) == ("0.850", "0.150")
    assert trade_texts(2_500) == ("0.0025", "0.9975")
    fine = venue(tick="0.0025", last_trade="0.0475")
    summary = Summary(MARKET, UP, fine.now_ms, fine.bids, fine.asks)
    found = summary.explain(fine.hash(), Terms("5", "0.0025", False), thorough=True)
    assert found == Terms("5", "0.0025", False, "0.0475")
