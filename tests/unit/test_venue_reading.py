"""Bodies of the reads: exact numbers, both spellings of the venue, and Unread for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.money import format_micros
from app.venue.interface import (
    Absent,
    Found,
    Side,
    Unread,
    VenueOrder,
    VenueOrderStatus,
)
from app.venue.polymarket.answers import (
    NOT_TOLD,
    OrderRow,
    Page,
    read_balance,
    read_order,
    read_orders_page,
    read_positions_page,
    read_trades_page,
)
from app.venue.polymarket.answers.border import exact_micros, plain
from app.venue.polymarket.answers.rows import order_status
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.answers import OURS, SECOND, STRANGER, THIRD, exchange

TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
KEY, OTHER_KEY = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
WALLET, OTHER_WALLET = "0x" + "aa" * 20, "0x" + "bb" * 20
SIGNED = {OURS: 100_000_000, SECOND: 5_000_000, THIRD: 2_000_000_000_000}


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": OURS,
        "status": "LIVE",
        "owner": KEY,
        "maker_address": WALLET.upper().replace("0X", "0x"),
        "market": "0x" + "dd" * 32,
        "asset_id": TOKEN,
        "side": "BUY",
        "original_size": "100",
        "size_matched": "25.5",
        "price": "0.52",
        "outcome": "Yes",
        "expiration": "0",
        "order_type": "GTC",
        "associate_trades": ["t-1"],
        "created_at": 1_768_944_180,
    } | changes


def read(body: Any, status: int = 200, **more: Any) -> Found[OrderRow] | Absent | Unread:
    return read_order(exchange(Endpoint.GET_ORDER, status, body, **more), OURS, SIGNED.get)


def seen(body: Any) -> VenueOrder:
    found = read(body)
    assert isinstance(found, Found)
    return found.value.order


# --- one order ----------------------------------------------------------------------------------


def test_an_order_is_read_with_exact_numbers() -> None:
    found = read(order())
    assert isinstance(found, Found)
    assert found.value.order == VenueOrder(
        OURS, TOKEN, Side.BUY, 520_000, 100_000_000, 25_500_000, VenueOrderStatus.LIVE, "LIVE"
    )
    assert found.value.owner == KEY
    assert found.value.wallet == WALLET
    assert found.value.created_at_ms == 1_768_944_180_000
    assert found.value.trade_ids == ("t-1",)


@pytest.mark.parametrize(
    ("size", "micros"),
    [
        ("5", 5_000_000),
        (5, 5_000_000),
        ("99.997714", 99_997_714),
        (0.1, 100_000),
        ("1.219511", 1_219_511),
        ("100.0000", 100_000_000),
        ("0.000001", 1),
        ("0.5000000000", 500_000),
    ],
)
def test_sizes_come_as_text_or_numbers_and_never_through_a_float(size: Any, micros: int) -> None:
    assert seen(order(size_matched=size)).size_matched_micros == micros


def test_a_json_number_with_an_exponent_is_exact() -> None:
    body = json.dumps(order()).replace('"25.5"', "1e-06")
    assert seen(body).size_matched_micros == 1
    body = json.dumps(order()).replace('"25.5"', "2.55E1")
    assert seen(body).size_matched_micros == 25_500_000


@pytest.mark.parametrize(
    "size",
    ["0.0000001", "1e3", "-1", "", None, "NaN", "0x10", "1,000", True, [], "5 shares", "9" * 30],
)
def test_a_size_that_is_no_exact_amount_makes_the_order_unread(size: Any) -> None:
    assert isinstance(read(order(size_matched=size)), Unread)


def test_null_and_not_found_are_absent() -> None:
    for answer in (
        read(b"null"),
        read({"error": "Order not found"}, 404),
        read({"error": f"order {OURS} not found"}, 404),
    ):
        assert isinstance(answer, Absent)
        assert answer.raw


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, b"nul"),
        (200, b"<html></html>"),
        (404, b""),
        (404, b"<html>not found</html>"),
        (404, {"error": "market not found"}),
        (400, {"error": "Invalid orderID"}),
        (401, {"error": "Unauthorized/Invalid api key"}),
        (500, {"error": "Internal server error"}),
        (429, b"null"),
        (204, b"null"),
    ],
)
def test_an_answer_that_is_neither_an_order_nor_none_is_unread(status: int, body: Any) -> None:
    assert isinstance(read(body, status), Unread)


@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.SENDING, Phase.READING])
def test_a_read_that_broke_concludes_nothing(phase: Phase) -> None:
    """Lesson 15."""
    assert isinstance(read(order(), phase=phase, problem="timeout"), Unread)
    assert isinstance(read(b"null", phase=phase, problem="timeout"), Unread)


def test_another_order_than_the_one_asked_for_is_unread() -> None:
    assert isinstance(read(order(id=STRANGER)), Unread)


@pytest.mark.parametrize("name", ["id", "asset_id", "side", "price", "original_size"])
@pytest.mark.parametrize("value", [None, "", [], "\u0000", "\ud800"])
def test_a_field_that_matters_and_is_missing_makes_the_order_unread(name: str, value: Any) -> None:
    assert isinstance(read(order(**{name: value})), Unread)


@pytest.mark.parametrize("price", ["1.01", "-0.1", "0.5.5", "half"])
def test_a_price_outside_zero_to_one_is_unread(price: str) -> None:
    assert isinstance(read(order(price=price)), Unread)


@pytest.mark.parametrize(
    "name", ["market", "owner", "maker_address", "order_type", "created_at", "associate_trades"]
)
@pytest.mark.parametrize("value", [None, "", 7, {}, "\u0007"])
def test_a_field_from_which_nothing_follows_may_be_anything(name: str, value: Any) -> None:
    assert seen(order(**{name: value})).size_matched_micros == 25_500_000


@pytest.mark.parametrize("created_at", ["", None, "yesterday"])
def test_a_time_that_is_not_told_is_said_so(created_at: Any) -> None:
    found = read(order(created_at=created_at))
    assert isinstance(found, Found)
    assert found.value.created_at_ms == NOT_TOLD


# --- statuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "ORDER_STATUS_"])
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("LIVE", VenueOrderStatus.LIVE),
        ("live", VenueOrderStatus.LIVE),
        ("DELAYED", VenueOrderStatus.DELAYED),
        ("MATCHED", VenueOrderStatus.MATCHED),
        ("CANCELED", VenueOrderStatus.CANCELLED),
        ("CANCELED_MARKET_RESOLVED", VenueOrderStatus.CANCELLED),
        ("CANCELED_NOT_ENOUGH_BALANCE", VenueOrderStatus.CANCELLED),
        ("CANCELED_MARKET_NOT_FOUND", VenueOrderStatus.CANCELLED),
        ("CANCELED_ORDER_TIMED_OUT", VenueOrderStatus.CANCELLED),
        ("CANCELED_EXPIRED_ORDER", VenueOrderStatus.EXPIRED),
        ("INVALID", VenueOrderStatus.REJECTED),
        (
            "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed.",
            VenueOrderStatus.REJECTED,
        ),
        ("CANCELED_no orders found to match with FAK order.", VenueOrderStatus.REJECTED),
        ("UNMATCHED", VenueOrderStatus.OTHER),
        ("SOMETHING_NEW", VenueOrderStatus.OTHER),
        ("", VenueOrderStatus.OTHER),
    ],
)
def test_order_statuses_mean_the_same_in_both_spellings(
    prefix: str, raw: str, status: VenueOrderStatus
) -> None:
    assert order_status(prefix + raw) is status
    found = seen(order(status=prefix + raw))
    assert (found.status, found.raw_status) == (status, prefix + raw)


def test_a_terminated_part_that_is_reported_matched_is_told_as_it_is() -> None:
    """The ledger decides from trades (docs/venue.md 5.1): neither the status nor the size is bent here."""
    found = seen(order(status="MATCHED", size_matched="99.997714"))
    assert found.status is VenueOrderStatus.MATCHED
    assert (found.size_matched_micros, found.original_size_micros) == (99_997_714, 100_000_000)


@pytest.mark.parametrize("blank", ["", None])
def test_an_empty_matched_size_counts_as_none_for_a_killed_order_only(blank: Any) -> None:
    """A cancelled order that is read with nothing matched would give its hold back."""
    killed = order(
        size_matched=blank,
        status="CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed.",
    )
    assert seen(killed).size_matched_micros == 0
    for status in ("CANCELED", "LIVE", "MATCHED", "NEW"):
        assert isinstance(read(order(size_matched=blank, status=status)), Unread)


# --- units --------------------------------------------------------------------------------------


def test_sizes_in_millionths_are_told_apart_by_what_we_signed() -> None:
    found = seen(order(original_size="100000000", size_matched="25500000"))
    assert (found.original_size_micros, found.size_matched_micros) == (100_000_000, 25_500_000)


def test_a_small_matched_size_follows_the_unit_of_its_row() -> None:
    found = seen(order(original_size="100000000", size_matched="500000"))
    assert found.size_matched_micros == 500_000


def test_a_large_order_in_shares_stays_in_shares() -> None:
    body = order(id=THIRD, original_size="2000000", size_matched="1500000")
    found = read_order(exchange(Endpoint.GET_ORDER, 200, body), THIRD, SIGNED.get)
    assert isinstance(found, Found)
    assert found.value.order.original_size_micros == 2_000_000_000_000
    assert found.value.order.size_matched_micros == 1_500_000_000_000


def test_where_both_units_are_possible_and_the_order_is_not_ours_nothing_is_concluded() -> None:
    body = order(id=STRANGER, original_size="5000000", size_matched="0")
    answer = read_order(exchange(Endpoint.GET_ORDER, 200, body), STRANGER, SIGNED.get)
    assert isinstance(answer, Unread)
    assert "could be shares or millionths" in answer.reason
    pointed = order(id=STRANGER, original_size="5000000.0", size_matched="0")
    assert isinstance(read_order(exchange(Endpoint.GET_ORDER, 200, pointed), STRANGER), Found)


def test_an_overfill_is_told_and_not_taken_for_another_unit() -> None:
    """Lesson 25: what happened is recorded."""
    assert seen(order(size_matched="101")).size_matched_micros == 101_000_000


# --- pages --------------------------------------------------------------------------------------


def page(rows: Any, **changes: Any) -> dict[str, Any]:
    return {"limit": 100, "count": 1, "next_cursor": "LTE=", "data": rows} | changes


def orders(body: Any, **more: Any) -> Page[OrderRow] | Unread:
    return read_orders_page(exchange(Endpoint.GET_ORDERS, 200, body, **more), SIGNED.get)


def test_a_page_of_orders_and_where_it_goes_on() -> None:
    last = orders(page([order(), order(id=SECOND, original_size="5", size_matched=0)]))
    assert isinstance(last, Page)
    assert [row.order.venue_order_id for row in last.rows] == [OURS, SECOND]
    assert last.next_cursor is None
    first = orders(page([], next_cursor="MTAw"))
    assert first == Page((), "MTAw")
    assert orders(page([], next_cursor=None)) == Page((), None)


@pytest.mark.parametrize(
    "body",
    [
        page([order(), order(price="?")]),
        page([order(), None]),
        page(None),
        page({}),
        page([], next_cursor=""),
        page([], next_cursor=7),
        {"data": []},
        {"next_cursor": "LTE="},
        [],
        None,
        b'{"next_cursor":"LTE=","data":[',
    ],
)
def test_a_page_that_is_not_whole_is_unread(body: Any) -> None:
    """Lesson 16: one row that cannot be read makes the whole read unknown."""
    assert isinstance(orders(body), Unread)


def test_a_failed_page_is_no_empty_list() -> None:
    for status in (400, 404, 425, 429, 500, 502, 503):
        answer = exchange(Endpoint.GET_ORDERS, status, page([]))
        assert isinstance(read_orders_page(answer), Unread)
        assert isinstance(read_trades_page(answer), Unread)


# --- numbers ------------------------------------------------------------------------------------


@given(st.integers(0, 10**15))
def test_every_amount_comes_through_the_border_exactly(micros: int) -> None:
    told = plain(format_micros(micros))
    assert told is not None
    assert exact_micros(told, "amount") == micros


@given(st.text(max_size=30) | st.integers() | st.booleans() | st.none() | st.lists(st.none()))
def test_nothing_that_is_no_number_becomes_one(value: Any) -> None:
    told = plain(value)
    assert told is None or (told.lstrip("-").replace(".", "", 1).isdigit() and told.isascii())


READS: list[Callable[[Exchange], Any]] = [
    read_orders_page,
    read_trades_page,
    read_positions_page,
    read_balance,
]


@given(st.integers(0, 599), st.binary(max_size=200), st.sampled_from(list(Phase)))
def test_no_body_makes_a_read_raise(status: int, body: bytes, phase: Phase) -> None:
    answer = Exchange(Endpoint.GET_ORDER, phase, status, {}, body, "broke")
    for reading in READS:
        assert isinstance(reading(answer), Unread)
    assert isinstance(read_order(answer, OURS), Unread | Absent)


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANY = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3)
)


@given(st.sampled_from(sorted(order())), ANY)
def test_no_field_of_an_order_makes_a_read_raise(name: str, value: Any) -> None:
    assert isinstance(read(json.dumps(order(**{name: value}))), Found | Unread)
