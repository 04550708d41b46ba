"""Frames of the user channel: every item becomes an event, told twice it is one, stored it stays the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.venue.interface import (
    OrderEvent,
    TradeEvent,
    TradeStatus,
    UnreadEvent,
    VenueEvent,
    VenueOrderStatus,
)
from app.venue.polymarket.answers import FeeTerms, Ours, frame_events, read_event
from tests.support.answers import OURS, SECOND, STRANGER, THIRD

KEY = "00000000-0000-4000-8000-00000000000a"
WALLET = "0x" + "aa" * 20
TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"


def account(*known: str) -> Ours:
    return Ours(frozenset({KEY}), WALLET, lambda one: one in known, lambda _token: FeeTerms(50_000))


ME = account(OURS, SECOND, THIRD)


def order(**changes: Any) -> dict[str, Any]:
    return {
        "event_type": "order",
        "type": "PLACEMENT",
        "id": OURS,
        "owner": KEY,
        "order_owner": KEY,
        "market": "0x" + "dd" * 32,
        "asset_id": TOKEN,
        "side": "SELL",
        "original_size": "10",
        "size_matched": "0",
        "price": "0.57",
        "associate_trades": None,
        "outcome": "Yes",
        "created_at": "1725842520",
        "expiration": "0",
        "order_type": "GTC",
        "status": "LIVE",
        "maker_address": WALLET,
        "timestamp": "1725842520990",
    } | changes


def maker(order_id: str, amount: str = "4") -> dict[str, Any]:
    return {
        "order_id": order_id,
        "owner": KEY,
        "maker_address": WALLET,
        "matched_amount": amount,
        "price": "0.43",
        "asset_id": TOKEN,
    }


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "event_type": "trade",
        "type": "TRADE",
        "id": "t-1",
        "taker_order_id": OURS,
        "market": "0x" + "dd" * 32,
        "asset_id": TOKEN,
        "side": "BUY",
        "size": "10",
        "price": "0.57",
        "fee_rate_bps": "",
        "status": "MATCHED",
        "matchtime": "1725868859",
        "last_update": "1725868885",
        "owner": KEY,
        "trade_owner": KEY,
        "maker_address": WALLET,
        "transaction_hash": None,
        "trader_side": "TAKER",
        "maker_orders": [],
        "timestamp": "1725868885871",
    } | changes


def others(**changes: Any) -> dict[str, Any]:
    """A trade whose head tells nothing of us."""
    nothing = {"owner": "x", "trade_owner": "x", "maker_address": "0x0", "trader_side": ""}
    return trade(**nothing | changes)


def events(frame: Any, ours: Ours = ME) -> list[VenueEvent]:
    return frame_events(frame if isinstance(frame, str) else json.dumps(frame), ours)


def single(frame: Any, ours: Ours = ME) -> VenueEvent:
    (found,) = events(frame, ours)
    return found


# --- what a frame gives -------------------------------------------------------------------------


@pytest.mark.parametrize("frame", ["", "   ", "\n", "PONG", "pong", " PONG\r\n", "PING", "[]"])
def test_keep_alives_and_empty_frames_give_nothing(frame: str) -> None:
    assert events(frame) == []


@pytest.mark.parametrize(
    ("kind", "status", "means"),
    [
        ("PLACEMENT", "LIVE", VenueOrderStatus.LIVE),
        ("UPDATE", "LIVE", VenueOrderStatus.LIVE),
        ("UPDATE", "MATCHED", VenueOrderStatus.MATCHED),
        ("UPDATE", "CANCELED", VenueOrderStatus.CANCELLED),
        ("CANCELLATION", "CANCELED", VenueOrderStatus.CANCELLED),
        ("CANCELLATION", "CANCELED_EXPIRED_ORDER", VenueOrderStatus.EXPIRED),
        ("CANCELLATION", "INVALID", VenueOrderStatus.REJECTED),
        ("CANCELLATION", None, VenueOrderStatus.OTHER),
        ("PLACEMENT", "DELAYED", VenueOrderStatus.DELAYED),
    ],
)
def test_an_order_frame_of_every_type(kind: str, status: Any, means: VenueOrderStatus) -> None:
    found = single(order(type=kind, status=status, size_matched="1.219511"))
    assert isinstance(found, OrderEvent)
    assert found.order.venue_order_id == OURS
    assert (found.order.status, found.order.raw_status) == (means, status or "")
    assert found.order.size_matched_micros == 1_219_511
    assert found.position == 0


def test_a_killed_order_comes_with_empty_fields() -> None:
    text = "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed."
    frame = order(type="CANCELLATION", size_matched="", created_at="", outcome="", status=text)
    found = single(frame)
    assert isinstance(found, OrderEvent)
    assert (found.order.size_matched_micros, found.order.raw_status) == (0, text)
    assert found.order.status is VenueOrderStatus.REJECTED


@pytest.mark.parametrize("status", [one.value for one in TradeStatus])
def test_a_trade_frame_of_every_status(status: str) -> None:
    found = single(trade(status=status))
    assert isinstance(found, TradeEvent)
    assert found.trade.status == status
    assert found.trade.matched_at_ms == 1_725_868_859_000
    assert (found.trade.size_micros, found.trade.fee_micros) == (10_000_000, 122_550)


def test_an_array_gives_the_events_of_its_items_each_with_its_own_text() -> None:
    frame = json.dumps([order(), trade(), order(id=SECOND)], indent=1)
    first, second, third = events(frame)
    assert isinstance(first, OrderEvent)
    assert isinstance(second, TradeEvent)
    assert isinstance(third, OrderEvent)
    assert json.loads(first.raw) == order()
    assert json.loads(second.raw) == trade()
    assert first.raw in frame


def test_a_trade_with_several_of_our_orders_gives_one_event_for_each() -> None:
    frame = trade(trader_side="MAKER", maker_orders=[maker(SECOND), maker(THIRD, "6")])
    found = events(frame, account(SECOND, THIRD))
    assert [e.trade.venue_order_id for e in found if isinstance(e, TradeEvent)] == [SECOND, THIRD]
    assert len({event.event_id for event in found}) == 2
    assert len({event.raw for event in found}) == 1


def test_a_match_with_ourselves_gives_both_sides() -> None:
    found = events(trade(maker_orders=[maker(SECOND)]))
    assert [e.trade.is_maker for e in found if isinstance(e, TradeEvent)] == [False, True]


@pytest.mark.parametrize("name", ["event_type", "type"])
def test_one_of_the_two_names_of_the_kind_is_enough(name: str) -> None:
    assert isinstance(single({k: v for k, v in order().items() if k != name}), OrderEvent)
    assert isinstance(single({k: v for k, v in trade().items() if k != name}), TradeEvent)


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("hello", "not JSON"),
        ('{"event_type":"order"', "not JSON"),
        ("[1,2", "cut or broken"),
        ("null", "not an object"),
        ("{}", "neither an order nor a trade"),
        ('{"event_type":"market_resolved"}', "market_resolved"),
        (order(price="free"), "price"),
        (order(id=""), "id"),
        (order(original_size="1e3"), "original_size"),
        (trade(maker_orders={}), "maker_orders"),
        (trade(size="0"), "not above zero"),
        (others(taker_order_id=STRANGER), "no order is ours"),
        ('{"type":"order","type":"trade"}', "stands twice"),
    ],
)
def test_what_cannot_be_read_is_kept_with_its_reason(frame: Any, reason: str) -> None:
    """An official parser once dropped every trade: what is not understood must be seen."""
    found = single(frame)
    assert isinstance(found, UnreadEvent)
    assert reason in found.reason
    assert found.raw == (frame if isinstance(frame, str) else json.dumps(frame))
    assert found.event_id.endswith(":u")


def test_an_odd_item_does_not_void_the_rest_of_its_frame() -> None:
    first, second, third = events([order(), 7, trade()])
    assert isinstance(first, OrderEvent)
    assert isinstance(second, UnreadEvent)
    assert second.raw == "7"
    assert isinstance(third, TradeEvent)


# --- identity -----------------------------------------------------------------------------------


def test_a_frame_told_again_gives_the_same_ids_alone_or_in_an_array() -> None:
    alone = json.dumps(order())
    together = f"[{alone}, {json.dumps(trade())}]"
    assert single(alone).event_id == events(together)[0].event_id
    assert [e.event_id for e in events(together)] == [e.event_id for e in events(together)]


def test_another_text_is_another_event() -> None:
    ids = {
        single(frame).event_id
        for frame in (order(), order(size_matched="1"), trade(), trade(status="MINED"))
    }
    assert len(ids) == 4


@pytest.mark.parametrize("order_id", [OURS, "0x78xx", "\u20ac" * 900, "x:y:u"])
def test_an_order_events_id_begins_with_the_order_and_fits_its_column(order_id: str) -> None:
    found = single(order(id=order_id))
    assert isinstance(found, OrderEvent)
    assert found.event_id.startswith(f"o:{order_id[:100].replace(chr(0x20AC), '?')}:pm:")
    assert len(found.event_id.encode()) <= 300
    assert read_event(found.event_id, found.raw, ME) == found


def test_what_else_is_ours_by_then_does_not_rename_a_part() -> None:
    """The id of a part is its place in the trade, not its number among ours."""
    frame = others(maker_orders=[maker(SECOND) | {"owner": "x"}, maker(THIRD)])
    few = events(frame, account(THIRD))
    more = events(frame, account(SECOND, THIRD))
    assert few[0] == more[1]


def test_a_stored_event_is_the_same_event_again() -> None:
    frame = [order(), trade(maker_orders=[maker(SECOND), maker(THIRD)]), 7, order(price="?")]
    for event in events(frame):
        assert read_event(event.event_id, event.raw, ME) == event


def test_a_stored_event_keeps_the_id_under_which_it_was_stored() -> None:
    found = read_event("pm:of-an-older-release:o", json.dumps(order()), ME)
    assert isinstance(found, OrderEvent)
    assert found.event_id == "pm:of-an-older-release:o"


def test_an_unread_event_is_read_anew() -> None:
    """A later release, or an order that the ledger knows by now, may make it readable."""
    raw = json.dumps(others())
    before = single(raw, account())
    assert isinstance(before, UnreadEvent)
    after = read_event(before.event_id, raw, account(OURS))
    assert isinstance(after, TradeEvent)
    assert after.event_id == before.event_id


def test_an_unread_event_that_has_become_several_stays_unread_and_says_so() -> None:
    raw = json.dumps(trade(maker_orders=[maker(SECOND)]))
    found = read_event("pm:x:u", raw, ME)
    assert isinstance(found, UnreadEvent)
    assert "2 events" in found.reason
    assert len(frame_events(found.raw, ME)) == 2


def test_a_part_that_the_stored_text_does_not_hold_is_unread() -> None:
    found = read_event("pm:x:m5", json.dumps(trade()), ME)
    assert isinstance(found, UnreadEvent)
    assert read_event("nonsense", "", ME) == UnreadEvent(
        "nonsense", "", "the stored text now holds 0 events, none of them this one"
    )


def test_a_frame_is_read_as_a_database_can_hold_it() -> None:
    frame = json.dumps(order()).replace("Yes", "Y\0s\ud800")
    found = single(frame)
    found.raw.encode()
    assert "\0" not in found.raw
    assert read_event(found.event_id, found.raw, ME) == found


# --- anything -----------------------------------------------------------------------------------

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANY = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3)
)


@given(st.text(max_size=200))
def test_no_text_makes_a_frame_raise(frame: str) -> None:
    for event in frame_events(frame, ME):
        assert read_event(event.event_id, event.raw, ME) == event


@given(st.lists(st.sampled_from([order(), trade(maker_orders=[maker(SECOND)]), 7, {}]), max_size=4))
def test_every_item_of_a_frame_gives_at_least_one_event(items: list[Any]) -> None:
    found = events(items)
    assert len(found) >= len(items)
    for event in found:
        assert read_event(event.event_id, event.raw, ME) == event


@given(st.sampled_from([order(), trade(maker_orders=[maker(SECOND)])]), st.data())
def test_no_value_in_a_frame_raises_or_is_lost(frame: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(frame)))
    found = events(frame | {name: data.draw(ANY)})
    assert found
    for event in found:
        assert read_event(event.event_id, event.raw, ME) == event
