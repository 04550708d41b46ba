"""Recorded market streams, books and CLOB markets, where a folder of them is at hand
(``LEDGER_TEST_DATA_DIR``).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.markets.books.book import Book, apply, empty, settle
from app.markets.books.depth import mid_micros, walk
from app.markets.books.frames import BookFrame, Frame, PriceChange, read_frame, read_frames
from app.markets.books.hashing import Summary, Terms
from app.markets.clob import ClobMarket, merge, read_clob_market
from app.markets.exact_json import single
from app.markets.files import read_markets

# file -> its frames in order. Every file of the folder must be here.
STREAMS = {
    "nautilus_book.json": ["BookFrame"],
    "nautilus_last_trade_price.json": ["LastTrade"],
    "nautilus_price_change.json": ["PriceChange"],
    "nautilus_price_change_v2.json": ["PriceChange"],
    "nautilus_tick_size_change.json": ["TickSizeChange"],
    "nautilus_ws_market_best_bid_ask_msg.json": ["BestBidAsk"],
    "nautilus_ws_market_new_market_msg.json": ["NewMarket"],
    "nautilus_ws_market_resolved_msg.json": ["MarketResolved"],
    "quoted_market_channel_2025-12-23.jsonl": [
        "BookFrame",
        "BookFrame",
        "PriceChange",
        "BookFrame",
    ],
    "quoted_market_channel_2026-08-01_tick0001.jsonl": ["BookFrame", "PriceChange"],
    "rsahn_btc_updown_15m_2026-09-21_stretch_A.jsonl": ["BookFrame"] * 2 + ["PriceChange"] * 9,
    "shapes-handmade/nautilus_ws_market_book_msg.json": ["BookFrame"],
    "shapes-handmade/nautilus_ws_market_last_trade_msg.json": ["LastTrade"],
    "shapes-handmade/nautilus_ws_market_price_change_msg.json": ["PriceChange"],
    "shapes-handmade/nautilus_ws_market_tick_size_msg.json": ["TickSizeChange"],
    "shapes-handmade/official_docs_and_sdk_quirks.jsonl": [
        "LastTrade",
        "TickSizeChange",
        "PriceChange",
        "BestBidAsk",
    ],
}

STRETCH = "rsahn_btc_updown_15m_2026-09-21_stretch_A.jsonl"
QUOTED = "quoted_market_channel_2025-12-23.jsonl"

# file -> (form, objects)
CLOB_MARKETS = {
    "trebuchet_v2_clob_markets_compact.json": ("compact", 5),
    "nautilus_clob_market.json": ("long", 1),
    "nautilus_clob_market_closed_accepting_false.json": ("long", 1),
    "nautilus_clob_market_closed_accepting_true.json": ("long", 1),
    "nautilus_clob_markets_page.json": ("long", 100),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    named = os.environ.get("LEDGER_TEST_DATA_DIR")
    if not named:
        pytest.skip("LEDGER_TEST_DATA_DIR names no folder of recorded data")
    return Path(named)


def messages(path: Path) -> Iterator[str]:
    """The texts as the socket gave them: a recorder's line holds the text under ``raw``."""
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
        value = json.loads(line)
        yield value["raw"] if isinstance(value, dict) and "raw" in value else line


def replay(path: Path) -> Iterator[tuple[str, Frame]]:
    """(token, frame) for each token a frame is about, in order."""
    for text in messages(path):
        frames, unparsed = read_frames(text)
        assert unparsed == ()
        for frame in frames:
            if isinstance(frame, PriceChange):
                for token in dict.fromkeys(change.token_id for change in frame.changes):
                    yield token, frame
            elif isinstance(frame, BookFrame):
                yield frame.token_id, frame


def test_every_recorded_message_is_read(folder: Path) -> None:
    streams = folder / "ws-market"
    found = {
        path.relative_to(streams).as_posix(): [
            type(frame).__name__ for text in messages(path) for frame in read_frames(text)[0]
        ]
        for path in streams.rglob("*.json*")
    }
    assert found == STREAMS
    unparsed = [
        one
        for path in streams.rglob("*.json*")
        for text in messages(path)
        for one in read_frames(text)[1]
    ]
    assert unparsed == []


def test_the_recorded_stretch_proves_sixteen_of_eighteen_hashes_at_once_and_the_rest_in_time(
    folder: Path,
) -> None:
    books: dict[str, Book] = {}
    proved, waited, hashes = 0, 0, 0
    for token, frame in replay(folder / "ws-market" / STRETCH):
        applied = apply(books.get(token, empty(token)), frame, seen_ns=0)
        books[token] = applied.book
        assert applied.problems == ()
        if isinstance(frame, PriceChange):
            hashes += 1
            assert applied.book.claim is not None
            proved += applied.book.claim.held
            waited += not applied.book.claim.held
        else:
            assert applied.book.proven_ms == frame.timestamp_ms
    assert (hashes, proved, waited) == (18, 16, 2)
    # the two that waited were those of a millisecond whose last frame came after them
    assert all(book.claim is not None and book.claim.held for book in books.values())
    assert all(settle(book).problems == () for book in books.values())


def test_a_frame_of_the_recorded_stretch_that_is_lost_is_found(folder: Path) -> None:
    frames = list(replay(folder / "ws-market" / STRETCH))
    whole, _ = followed(frames)
    changes = [index for index, (_, frame) in enumerate(frames) if isinstance(frame, PriceChange)]
    found = 0
    for lost in changes:
        books, problems = followed(frames[:lost] + frames[lost + 1 :])
        token = frames[lost][0]
        assert problems in ([], ["HASH_MISMATCH"])
        # only a level that was set again within the next claim's millisecond leaves no trace
        assert problems or (books[token].bids, books[token].asks) == (
            whole[token].bids,
            whole[token].asks,
        )
        found += bool(problems)
    assert (len(changes), found) == (18, 16)


def followed(frames: list[tuple[str, Frame]]) -> tuple[dict[str, Book], list[str]]:
    """The books after these frames, settled, and the kinds of what was found wrong."""
    books: dict[str, Book] = {}
    problems: list[str] = []
    for token, frame in frames:
        applied = apply(books.get(token, empty(token)), frame, seen_ns=0)
        books[token] = applied.book
        problems += [problem.kind for problem in applied.problems]
    for book in books.values():
        problems += [problem.kind for problem in settle(book).problems]
    return books, problems


def test_both_tokens_of_the_recorded_stretch_mirror_each_other(folder: Path) -> None:
    books: dict[str, Book] = {}
    for token, frame in replay(folder / "ws-market" / STRETCH):
        books[token] = apply(books.get(token, empty(token)), frame, seen_ns=0).book
    one, other = books.values()
    assert {1_000_000 - price: size for price, size in one.bids.items()} == dict(other.asks)
    assert {1_000_000 - price: size for price, size in one.asks.items()} == dict(other.bids)
    middle, opposite = mid_micros(one), mid_micros(other)
    assert middle is not None
    assert opposite is not None
    assert middle + opposite == 1_000_000
    size = 1_000_000_000
    bought, sold = walk(one, "BUY", size), walk(other, "SELL", size)
    assert bought.enough
    assert bought.cost == size * 1_000_000 - sold.cost


def test_quoted_frames_are_proved_though_they_leave_terms_and_a_trade_out(folder: Path) -> None:
    books: dict[str, Book] = {}
    for token, frame in replay(folder / "ws-market" / QUOTED):
        applied = apply(books.get(token, empty(token)), frame, seen_ns=0)
        books[token] = applied.book
        assert applied.problems == ()
        if isinstance(frame, BookFrame):
            assert applied.book.proven_ms == frame.timestamp_ms
            assert applied.book.terms == Terms("5", "0.01", False, "0.500")
    (waiting,) = [book for book in books.values() if book.claim is not None]
    judged = settle(waiting)
    assert judged.problems == ()
    assert judged.proved_change
    # a trade of that moment, which no frame told of
    assert judged.book.terms.last_trade == "0.490"


@pytest.mark.parametrize("name", [name for name, kinds in STREAMS.items() if "BookFrame" in kinds])
def test_no_recorded_book_is_crossed_or_suspect(folder: Path, name: str) -> None:
    books: dict[str, Book] = {}
    for token, frame in replay(folder / "ws-market" / name):
        if token in books or isinstance(frame, BookFrame):
            books[token] = apply(books.get(token, empty(token)), frame, seen_ns=0).book
    assert books
    for book in books.values():
        assert not book.crossed
        assert book.suspect == ""


def test_every_book_of_the_rest_answer_reproduces_its_hash(folder: Path) -> None:
    books = json.loads((folder / "clob-rest" / "trebuchet_v2_books.json").read_text())
    assert len(books) == 10
    for raw in books:
        frame = book_frame(raw)
        assert frame.hash == raw["hash"]
        summary = Summary(frame.market, frame.token_id, frame.timestamp_ms, frame.bids, frame.asks)
        terms = Terms(frame.min_size, frame.tick, frame.neg_risk, frame.last_trade)
        assert summary.hash(terms) == raw["hash"]
        applied = apply(empty(frame.token_id), frame, seen_ns=0)
        assert applied.problems == ()
        assert applied.book.proven_ms == frame.timestamp_ms


def test_a_book_of_2024_is_read_though_its_hash_had_another_recipe(folder: Path) -> None:
    raw = json.loads((folder / "clob-rest" / "nautilus_clob_book.json").read_text())
    applied = apply(empty(raw["asset_id"]), book_frame(raw), seen_ns=0)
    assert [problem.kind for problem in applied.problems] == ["HASH_UNCHECKABLE"]
    assert (applied.book.best_bid, applied.book.best_ask) == (100_000, 140_000)
    assert applied.book.asks[380_000] == 192_300_000


def book_frame(raw: dict[str, Any]) -> BookFrame:
    """A book of the REST answer, which has no event type."""
    frame = read_frame({**raw, "event_type": "book"})
    assert isinstance(frame, BookFrame)
    return frame


# ------------------------------------------------------------------------------------ CLOB markets


def clob_markets(folder: Path, name: str) -> list[ClobMarket]:
    value = single((folder / "clob-rest" / name).read_text(encoding="utf-8"))
    if isinstance(value, dict):
        value = value.get("data", [value])
    assert isinstance(value, list)
    return [read_clob_market(raw) for raw in value]


def test_every_recorded_clob_market_is_read_whole(folder: Path) -> None:
    found = {name: clob_markets(folder, name) for name in CLOB_MARKETS}
    assert {
        name: (markets[0].form, len(markets)) for name, markets in found.items()
    } == CLOB_MARKETS
    every = [market for markets in found.values() for market in markets]
    assert all(market.bad == () for market in every)
    assert all(market.condition_id and len(market.tokens) == 2 for market in every)
    assert Counter(market.tick_micros for market in every) == {10_000: 84, 1_000: 24}
    assert {market.fee_rate_micros for market in every if market.form == "compact"} == {50_000}
    assert all(market.min_size_micros is not None for market in every)


def test_recorded_gamma_and_clob_objects_of_one_event_agree(folder: Path) -> None:
    gamma = read_markets(folder / "gamma-markets" / "trebuchet_fed_june_2026_event.json").markets
    clob = {
        market.condition_id: market
        for market in clob_markets(folder, "trebuchet_v2_clob_markets_compact.json")
    }
    assert len(gamma) == 5
    for record in gamma:
        merged = merge(record, clob[record.condition_id])
        assert merged.tradable
        assert merged.outcomes == record.outcomes
        assert merged.neg_risk is True
        assert (merged.tick_micros, merged.min_size_micros) == (1_000, 5_000_000)
        assert (merged.fee_rate_micros, merged.fee_exponent) == (50_000, 1)
        strange = merge(
            record, next(m for m in clob.values() if m.condition_id != record.condition_id)
        )
        assert {"CLOB_MISMATCH", "OUTCOME_CONFLICT"} <= set(strange.untradable_reasons)


@pytest.mark.parametrize("accepting", ["true", "false"])
def test_recorded_closed_markets_stay_closed_whatever_they_accept(
    folder: Path, accepting: str
) -> None:
    name = f"nautilus_gamma_market_closed_binary_accepting_{accepting}.json"
    (record,) = read_markets(folder / "gamma-markets" / name).markets
    (market,) = clob_markets(folder, f"nautilus_clob_market_closed_accepting_{accepting}.json")
    merged = merge(record, market)
    assert {"CLOSED", "RESOLVED"} <= set(merged.untradable_reasons)
    assert "CLOB_MISMATCH" not in merged.untradable_reasons
    assert merged.tick_micros == market.tick_micros
