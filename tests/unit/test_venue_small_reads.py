"""Balances, positions, heartbeats and the venue's own state: exact, or Unread."""

from __future__ import annotations

from typing import Any

import pytest

from app.venue.interface import Found, Unread
from app.venue.polymarket.answers import (
    Beat,
    Page,
    PositionRow,
    WrongBeat,
    read_balance,
    read_closed_only,
    read_heartbeat,
    read_positions_page,
    read_tier,
    read_time_ms,
    read_version,
)
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.answers import exchange

TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
WALLET = "0x" + "aa" * 20


def balance(body: Any) -> Any:
    return read_balance(exchange(Endpoint.GET_BALANCE, 200, body))


def test_a_balance_is_in_base_units_with_its_allowances() -> None:
    spender = "0xE111180000d2663C0091e4f400237545B87B996B"
    found = balance({"balance": "1000000000", "allowances": {spender: str(2**256 - 1), "0xb": 5}})
    assert isinstance(found, Found)
    assert found.value.balance_micros == 1_000_000_000
    assert found.value.allowance(spender) == 2**256 - 1
    assert found.value.allowance("0xB") == 5
    assert found.value.allowance("0xc") == 0


def test_a_balance_with_a_point_is_in_whole_units() -> None:
    found = balance({"balance": "250.500000"})
    assert isinstance(found, Found)
    assert (found.value.balance_micros, found.value.allowances) == (250_500_000, ())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"balance": ""},
        {"balance": None},
        {"balance": "-5"},
        {"balance": "0.0000001"},
        {"balance": "5", "allowances": []},
        {"balance": "5", "allowances": {"0xa": "many"}},
        {"balance": "5", "allowances": {"0xa": True}},
        [],
        b"",
    ],
)
def test_a_balance_that_cannot_be_read_is_not_zero(body: Any) -> None:
    assert isinstance(balance(body), Unread)


def test_small_reads() -> None:
    def of(endpoint: Endpoint, body: Any) -> Exchange:
        return exchange(endpoint, 200, body)

    assert read_closed_only(of(Endpoint.GET_CLOSED_ONLY, {"closed_only": False})) == Found(False)
    assert read_closed_only(of(Endpoint.GET_CLOSED_ONLY, {"closed_only": True})) == Found(True)
    assert read_time_ms(of(Endpoint.GET_TIME, 1_725_841_741)) == Found(1_725_841_741_000)
    assert read_time_ms(of(Endpoint.GET_TIME, '"1725841741"')) == Found(1_725_841_741_000)
    assert read_version(of(Endpoint.GET_VERSION, {"version": 2})) == Found(2)
    assert read_version(of(Endpoint.GET_VERSION, 2)) == Found(2)
    assert read_tier(of(Endpoint.GET_TIER, {"tier": "Standard"})) == Found("standard")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[]", b'"x"', b"false", b'{"tier":1}'])
def test_small_reads_of_another_shape_are_unread(body: bytes) -> None:
    for endpoint, reading in (
        (Endpoint.GET_CLOSED_ONLY, read_closed_only),
        (Endpoint.GET_TIME, read_time_ms),
        (Endpoint.GET_VERSION, read_version),
        (Endpoint.GET_TIER, read_tier),
        (Endpoint.POST_HEARTBEAT, read_heartbeat),
    ):
        assert isinstance(reading(exchange(endpoint, 200, body)), Unread), endpoint


def test_a_heartbeat_is_taken_or_names_the_id_that_was_expected() -> None:
    def beat(status: int, body: Any, **more: Any) -> Any:
        return read_heartbeat(exchange(Endpoint.POST_HEARTBEAT, status, body, **more))

    assert beat(200, {"heartbeat_id": "h-2"}) == Beat("h-2")
    refused = {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": "h-1"}
    assert beat(400, refused) == WrongBeat("h-1")
    assert beat(400, refused | {"heartbeat_id": ""}) == WrongBeat("")
    for status, body in (
        (200, {"status": "ok"}),
        (200, {"heartbeat_id": ""}),
        (400, {"error": "Invalid Heartbeat ID"}),
        (500, {"heartbeat_id": "h-2"}),
        (425, b""),
    ):
        assert isinstance(beat(status, body), Unread)
    assert isinstance(beat(200, {"heartbeat_id": "h-2"}, phase=Phase.READING), Unread)


def test_positions_are_read_with_exact_sizes_and_say_where_they_go_on() -> None:
    row = {
        "token_id": TOKEN,
        "condition_id": "0x" + "dd" * 32,
        "proxy_wallet": WALLET,
        "current_size": 28.09,
        "avg_price": 0.6699,
        "entry_cost_usdc": 18.8202,
        "entry_fees_usdc": 0.1234567891,
        "status": "OPEN",
        "redeemable": False,
        "mergeable": True,
        "negative_risk": "no",
    }
    more = {"has_more": True, "next_cursor": "abc"}

    def positions(body: Any) -> Any:
        return read_positions_page(exchange(Endpoint.GET_POSITIONS, 200, body))

    assert positions({"data": [row], "pagination": more}) == Page(
        (
            PositionRow(
                TOKEN,
                "0x" + "dd" * 32,
                WALLET,
                28_090_000,
                669_900,
                18_820_200,
                None,
                "OPEN",
                redeemable=False,
                mergeable=True,
                negative_risk=None,
            ),
        ),
        "abc",
    )
    assert positions({"data": [], "pagination": {"has_more": False}}) == Page((), None)
    bad: Any
    for bad in (
        {"data": []},
        {"data": [], "pagination": {}},
        {"data": [], "pagination": {"has_more": True, "next_cursor": ""}},
        {"data": [row | {"current_size": None}], "pagination": more},
        {"data": [row | {"token_id": ""}], "pagination": more},
        [row],
    ):
        assert isinstance(positions(bad), Unread)
