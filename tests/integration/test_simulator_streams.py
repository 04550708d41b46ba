"""The websocket channels through real sockets: what they tell, in which order, and how they fail."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from py_clob_client_v2.utilities import (
    generate_orderbook_summary_hash,
    parse_raw_orderbook_summary,
)
from websockets.exceptions import ConnectionClosed

from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.simulator_client import Trader, listen

START_MS = 1_800_000_000_000
_numbers = itertools.count(1)


@pytest.fixture(scope="module", name="venue")
def venue_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("simulator")
    with running_simulator(folder, at_ms=START_MS, rate_limits=False) as simulator:
        yield simulator
        assert simulator.log() == ""


@pytest.fixture(name="market")
def market_fixture(venue: Simulator) -> Market:
    return venue.market()


@pytest.fixture(name="trader")
def trader_fixture(venue: Simulator) -> Iterator[Trader]:
    trader = Trader(venue, next(_numbers))
    yield trader
    trader.close()
    venue.do("no_fault")


def kinds(frames: list[Any]) -> list[str]:
    """Type and status of user frames, short."""
    return [f"{one['type']} {one['status']}" for one in frames]


# --- the user channel -----------------------------------------------------------------------------


def test_an_order_is_followed_from_its_placement_to_its_end(trader: Trader, market: Market) -> None:
    with trader.stream() as frames:
        order = trader.placed(market.yes)
        trader.simulator.do("trade", token_id=market.yes, side="SELL", price="0.45", size="4")
        trader.simulator.advance(100)
        trader.cancel(order)
        told = frames.ping()
    assert kinds(told) == [
        "PLACEMENT LIVE",
        "UPDATE LIVE",
        "TRADE MATCHED",
        "TRADE MINED",
        "TRADE CONFIRMED",
        "CANCELLATION CANCELED",
    ]
    assert {one.get("id") for one in told if one["event_type"] == "order"} == {order.venue_order_id}
    assert [one["size_matched"] for one in told if one["event_type"] == "order"] == ["0", "4", "4"]
    maker = told[2]["maker_orders"][0]
    assert (maker["order_id"], maker["matched_amount"], maker["side"]) == (
        order.venue_order_id,
        "4",
        "BUY",
    )
    assert (told[2]["trader_side"], told[2]["side"]) == ("MAKER", "SELL")


def test_a_fill_by_way_of_the_other_token_names_the_takers_token_on_top(
    trader: Trader, market: Market
) -> None:
    trader.placed(market.yes)
    with trader.stream() as frames:
        trader.simulator.do(
            "trade", token_id=market.yes, side="SELL", price="0.45", size="4", mint=True
        )
        trade = frames.ping()[1]
    own = trade["maker_orders"][0]
    assert (trade["asset_id"], trade["side"], trade["price"], trade["outcome"]) == (
        market.no,
        "BUY",
        "0.55",
        "No",
    )
    assert (own["asset_id"], own["side"], own["price"], own["outcome"]) == (
        market.yes,
        "BUY",
        "0.45",
        "Yes",
    )


def test_one_trade_may_hold_several_orders_of_one_account(trader: Trader, market: Market) -> None:
    orders = [trader.placed(market.yes).venue_order_id for _ in range(2)]
    with trader.stream() as frames:
        trader.simulator.do("trade", token_id=market.yes, side="SELL", price="0.45", size="15")
        trades = [one for one in frames.ping() if one["event_type"] == "trade"]
    assert len(trades) == 1
    rows = [(one["order_id"], one["matched_amount"]) for one in trades[0]["maker_orders"]]
    assert rows == [(orders[0], "10"), (orders[1], "5")]


def test_nobody_hears_of_other_accounts_or_other_markets(
    trader: Trader, market: Market, venue: Simulator
) -> None:
    other, elsewhere = Trader(venue, next(_numbers)), venue.market()
    with trader.stream([market.condition_id]) as frames:
        other.placed(market.yes)
        trader.placed(elsewhere.yes)
        assert frames.ping() == []
        frames.socket.send(
            json.dumps({"operation": "subscribe", "markets": [elsewhere.condition_id]})
        )
        assert frames.ping() == []
        trader.placed(elsewhere.yes)
        assert kinds(frames.ping()) == ["PLACEMENT LIVE"]
    other.close()


def test_wrong_credentials_are_shut_out(trader: Trader, venue: Simulator) -> None:
    auth = {"apiKey": trader.key["key_id"], "secret": "c2VjcmV0", "passphrase": "p"}
    first = {"auth": auth, "type": "user"}
    with listen(venue, "user", first, entered=False) as frames, pytest.raises(ConnectionClosed):
        frames.text()


def test_a_reconnected_stream_replays_nothing(trader: Trader, market: Market) -> None:
    with trader.stream():
        order = trader.placed(market.yes)
    with trader.stream() as frames:
        assert frames.ping() == []
        trader.cancel(order)
        assert kinds(frames.ping()) == ["CANCELLATION CANCELED"]


# --- how it fails ---------------------------------------------------------------------------------


def strike(trader: Trader, name: str, **terms: Any) -> int:
    return trader.simulator.fault(name, account=trader.address, **terms)


def test_a_stream_goes_silent_while_it_answers_pings(trader: Trader, market: Market) -> None:
    strike(trader, "stream_silence", ms=10_000)
    with trader.stream() as frames:
        trader.placed(market.yes)
        assert frames.ping() == []
        trader.simulator.advance(9_999)
        trader.placed(market.yes)
        assert frames.ping() == []
        trader.simulator.advance(1)
        trader.placed(market.yes)
        assert kinds(frames.ping()) == ["PLACEMENT LIVE"]


def test_frames_are_lost_doubled_and_swapped(trader: Trader, market: Market) -> None:
    with trader.stream() as frames:
        strike(trader, "frames_lost")
        trader.placed(market.yes)
        assert frames.ping() == []
        strike(trader, "frames_twice")
        trader.placed(market.yes)
        assert kinds(frames.ping()) == ["PLACEMENT LIVE", "PLACEMENT LIVE"]
        strike(trader, "frames_swapped", ms=60_000)
        trader.simulator.do("trade", token_id=market.yes, side="SELL", price="0.45", size="10")
        told = frames.ping()
        assert [one["event_type"] for one in told] == ["trade", "order"]


def test_a_held_frame_that_nothing_follows_comes_by_itself(trader: Trader, market: Market) -> None:
    with trader.stream() as frames:
        strike(trader, "frames_swapped", ms=30)
        trader.placed(market.yes)
        assert frames.next()["type"] == "PLACEMENT"


def test_a_stream_breaks_off(trader: Trader, market: Market) -> None:
    strike(trader, "stream_drop")
    with trader.stream() as frames:
        trader.placed(market.yes)
        with pytest.raises(ConnectionClosed):
            frames.text()


def test_the_stream_may_tell_before_the_answer(trader: Trader, market: Market) -> None:
    strike(trader, "frames_first", ms=60_000)
    order = trader.sign(market.yes)
    with trader.stream() as frames:
        # the answer is a minute away: whoever waits for it has long heard of the order
        with pytest.raises(Exception, match="timed out"):
            trader.ask("POST", "/order", trader.body(order), timeout=0.3)
        assert frames.next()["id"] == order.venue_order_id


def test_the_stream_may_tell_long_after_the_answer(trader: Trader, market: Market) -> None:
    strike(trader, "frames_late", ms=300)
    with trader.stream() as frames:
        trader.placed(market.yes)
        assert frames.ping() == []
        assert frames.next()["type"] == "PLACEMENT"


# --- the market channel ---------------------------------------------------------------------------


def watch(venue: Simulator, *tokens: str, custom: bool = False) -> Any:
    first = {"type": "market", "assets_ids": list(tokens), "custom_feature_enabled": custom}
    return listen(venue, "market", first, entered=False)


def test_books_come_first_as_one_array_with_the_venues_hash(
    venue: Simulator, market: Market
) -> None:
    with watch(venue, market.yes, market.no) as frames:
        books = frames.next()
    assert [one["asset_id"] for one in books] == [market.yes, market.no]
    for book in books:
        stated = book["hash"]
        assert generate_orderbook_summary_hash(parse_raw_orderbook_summary(book)) == stated
        assert (book["event_type"], book["tick_size"], book["min_order_size"]) == (
            "book",
            "0.01",
            "5",
        )


class Replica:
    """A book that is kept by applying what the stream says."""

    def __init__(self, book: dict[str, Any]) -> None:
        self.book = book
        self.sides = {
            side: {row["price"]: row["size"] for row in book[key]}
            for side, key in (("BUY", "bids"), ("SELL", "asks"))
        }

    def apply(self, frame: dict[str, Any]) -> None:
        if frame["event_type"] == "last_trade_price":
            self.book["last_trade_price"] = frame["price"]
            return
        for row in frame["price_changes"]:
            if row["size"] == "0":
                self.sides[row["side"]].pop(row["price"], None)
            else:
                self.sides[row["side"]][row["price"]] = row["size"]

    def hash(self, timestamp: str) -> str:
        """Recomputed by the official client."""
        view = {**self.book, "timestamp": timestamp, "hash": ""}
        for side, key in (("BUY", "bids"), ("SELL", "asks")):
            rows = [
                {"price": p, "size": s}
                for p, s in sorted(self.sides[side].items(), reverse=side == "SELL")
            ]
            view[key] = rows
        return str(generate_orderbook_summary_hash(parse_raw_orderbook_summary(view)))


def test_the_changes_of_a_book_add_up_to_its_hash(
    venue: Simulator, market: Market, trader: Trader
) -> None:
    """As with recorded streams of the venue: each change's hash is that of the book behind it."""
    with watch(venue, market.yes) as frames:
        replica = Replica(frames.next()[0])
        order = trader.placed(market.yes, "BUY", "0.45", "10")
        venue.do("liquidity", token_id=market.yes, side="SELL", price="0.58", size="7.5")
        trader.placed(market.yes, "BUY", "0.58", "5")
        trader.cancel(order)
        venue.do("trade", token_id=market.yes, side="SELL", price="0.40", size="1000")
        told = frames.ping()
    checked = 0
    for frame in told:
        replica.apply(frame)
        if frame["event_type"] == "price_change":
            assert replica.hash(frame["timestamp"]) == frame["price_changes"][-1]["hash"]
            checked += 1
    assert checked == 5
    assert {one["event_type"] for one in told} == {"price_change", "last_trade_price"}


def test_custom_features_tell_the_best_prices_and_the_end(venue: Simulator, market: Market) -> None:
    with watch(venue, market.yes, custom=True) as frames:
        frames.next()
        venue.do("liquidity", token_id=market.yes, side="BUY", price="0.41", size="5")
        venue.do("market", condition_id=market.condition_id, tick="0.001")
        venue.do("resolve", condition_id=market.condition_id, winner=market.no)
        told: dict[str, Any] = {}
        for one in frames.ping():
            told.setdefault(one["event_type"], one)
    assert told["best_bid_ask"]["best_bid"] == "0.41"
    assert told["tick_size_change"]["new_tick_size"] == "0.001"
    assert (told["market_resolved"]["winning_asset_id"], told["market_resolved"]["market"]) == (
        market.no,
        market.condition_id,
    )


def test_a_token_that_is_no_longer_watched_is_not_told(venue: Simulator, market: Market) -> None:
    with watch(venue, market.yes, market.no) as frames:
        frames.next()
        frames.socket.send(json.dumps({"operation": "unsubscribe", "assets_ids": [market.yes]}))
        assert frames.ping() == []
        for token in (market.yes, market.no):
            venue.do("liquidity", token_id=token, side="BUY", price="0.41", size="5")
        told = frames.ping()
    assert [one["price_changes"][0]["asset_id"] for one in told] == [market.no]
