"""Recorded frames of the user channel, where a folder of them is at hand (``LEDGER_TEST_DATA_DIR``).

Every file of ``ws-user`` is read as a frame, and its values are asserted. A file that no test here names fails
the last one.
"""

from __future__ import annotations

import json

import pytest

from app.venue.interface import OrderEvent, TradeEvent, TradeStatus, UnreadEvent
from app.venue.polymarket.answers import FeeTerms, Ours, frame_events, read_event
from tests.support.recorded import Recorded

LISTENER = "00000000-0000-4000-8000-c9769eaf28ea"
"""The key that recorded the frames of 2024, as the recording names it."""
WALLET = "0xa3d82ed56f4c68d2328fb8c29e568ba2caf7d7c8"
TOKEN = "21742633143463906290569050155826241533067272736897614950488156847949938836455"
SAMPLE = "0x1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef12"
SAMPLE_KEY = "00000000-0000-0000-0000-000000000001"

DATA = Recorded()


def account(*owners: str, rate: int = 0) -> Ours:
    terms = FeeTerms(rate)
    return Ours(frozenset(owners), WALLET, lambda _one: False, lambda _token: terms)


ORDER_FRAMES = {
    # file -> (id begins, status, matched, original, price)
    "nautilus_order_cancel.json": ("0xc6e99c14", "CANCELLED", 5_000_000, 5_000_000, 513_000),
    "nautilus_order_placement.json": ("0x0f76f4dc", "LIVE", 0, 5_000_000, 513_000),
    "nautilus_ws_user_order_fok_killed.json": ("0x78xx", "REJECTED", 0, 12_000_000, 600_000),
    "quoted_order_placement_2025-12-23.json": ("0xc52997cc", "LIVE", 0, 5_000_000, 800_000),
    "shapes-handmade/nautilus_ws_user_order_cancellation.json": (
        SAMPLE,
        "CANCELLED",
        0,
        100_000_000,
        500_000,
    ),
    "shapes-handmade/nautilus_ws_user_order_matched.json": (
        SAMPLE,
        "MATCHED",
        100_000_000,
        100_000_000,
        500_000,
    ),
    "shapes-handmade/nautilus_ws_user_order_msg.json": (SAMPLE, "LIVE", 0, 100_000_000, 500_000),
    "shapes-handmade/nautilus_ws_user_order_placement.json": (
        SAMPLE,
        "LIVE",
        0,
        100_000_000,
        500_000,
    ),
    "shapes-handmade/nautilus_ws_user_order_update.json": (
        SAMPLE,
        "LIVE",
        25_000_000,
        100_000_000,
        500_000,
    ),
}


@pytest.mark.parametrize("name", ORDER_FRAMES)
def test_recorded_frames_of_orders(name: str) -> None:
    frame = DATA.text(f"ws-user/{name}")
    (event,) = frame_events(frame, account())
    assert isinstance(event, OrderEvent)
    begins, status, matched, original, price = ORDER_FRAMES[name]
    order = event.order
    assert order.venue_order_id.startswith(begins)
    assert (order.status, order.raw_status) == (status, json.loads(frame)["status"])
    assert (order.size_matched_micros, order.original_size_micros) == (matched, original)
    assert order.price_micros == price
    assert event.raw == frame.strip()
    assert read_event(event.event_id, event.raw, account()) == event


TRADE_FRAMES: dict[str, tuple[Ours, dict[str, tuple[int, int, str, bool]]]] = {
    # file -> (who listens, place -> (size, price, status, maker))
    "nautilus_user_trade1.json": (
        account(LISTENER),
        {"m3": (5_000_000, 518_000, "MINED", True)},
    ),
    "nautilus_user_trade2.json": (
        account(LISTENER),
        {"t": (5_000_000, 520_000, "MATCHED", False)},
    ),
    "nautilus_user_trade3.json": (
        account("00000000-0000-4000-8000-6206345114ec"),
        {"m0": (5_000_000, 513_000, "CONFIRMED", True)},
    ),
    "shapes-handmade/nautilus_ws_user_trade.json": (
        account(SAMPLE_KEY),
        {"t": (25_000_000, 500_000, "CONFIRMED", False)},
    ),
    "shapes-handmade/nautilus_ws_user_trade_msg.json": (
        account(SAMPLE_KEY),
        {"t": (25_000_000, 500_000, "CONFIRMED", False)},
    ),
}


@pytest.mark.parametrize("name", TRADE_FRAMES)
def test_recorded_frames_of_trades(name: str) -> None:
    frame = DATA.text(f"ws-user/{name}")
    ours, parts = TRADE_FRAMES[name]
    found = {}
    for event in frame_events(frame, ours):
        assert isinstance(event, TradeEvent)
        assert read_event(event.event_id, event.raw, ours) == event
        fill = event.trade
        place = event.event_id.rpartition(":")[2]
        found[place] = (fill.size_micros, fill.price_micros, fill.status.value, fill.is_maker)
    assert found == parts
    (nobody,) = frame_events(frame, account("somebody-else"))
    assert isinstance(nobody, UnreadEvent)


def test_a_recorded_maker_has_the_complementary_token_of_its_taker() -> None:
    """Lesson 20: the first entry of this trade is the other outcome, at one minus the price."""
    frame = DATA.text("ws-user/nautilus_user_trade1.json")
    owner = json.loads(frame)["maker_orders"][0]["owner"]
    (event,) = frame_events(frame, account(owner))
    assert isinstance(event, TradeEvent)
    assert event.trade.token_id != json.loads(frame)["asset_id"] == TOKEN
    assert (event.trade.price_micros, event.trade.size_micros) == (482_000, 10_000_000)


def test_the_documented_frames_and_the_odd_ones_of_the_official_tests() -> None:
    order, trade = DATA.text(
        "ws-user/shapes-handmade/official_docs_2026-08_user_channel.jsonl"
    ).splitlines()
    (placed_event,) = frame_events(order, account("<clob_api_key>"))
    assert isinstance(placed_event, OrderEvent)
    assert placed_event.order.original_size_micros == 10_000_000
    (fill,) = frame_events(trade, account("<clob_api_key>", rate=50_000))
    assert isinstance(fill, TradeEvent)
    assert (fill.trade.size_micros, fill.trade.fee_micros) == (10_000_000, 124_800)

    odd = DATA.text("ws-user/shapes-handmade/official_ts_sdk_quirks.jsonl").splitlines()
    events = [frame_events(line, account("owner-1")) for line in odd]
    found = [event.trade for (event,) in events if isinstance(event, TradeEvent)]
    assert [(t.venue_order_id, t.status, t.raw_status) for t in found] == [
        ("order-1", TradeStatus.CONFIRMED, "CONFIRMED"),
        ("order-2", TradeStatus.MATCHED, "TRADE_STATUS_MATCHED"),
        ("order-3", TradeStatus.CONFIRMED, "CONFIRMED"),
    ]
    (resting,) = frame_events(odd[2], account("owner-2"))
    assert isinstance(resting, TradeEvent)
    assert (resting.trade.venue_order_id, resting.trade.size_micros) == ("order-4", 10_000_000)


def test_all_recorded_frames_at_once_are_as_many_events() -> None:
    frames = [DATA.text(f"ws-user/{name}").strip() for name in (*ORDER_FRAMES, *TRADE_FRAMES)]
    events = frame_events(f"[{','.join(frames)}]", account(LISTENER, SAMPLE_KEY))
    assert [event.raw for event in events] == frames


def test_every_recorded_frame_has_a_test_above(request: pytest.FixtureRequest) -> None:
    if request.session.testscollected < 15:
        pytest.skip("only some tests of this file were run")
    assert DATA.unread("ws-user") == set()
