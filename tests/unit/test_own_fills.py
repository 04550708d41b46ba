"""Our parts of a trade: which are ours, what each one is, and what it cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.venue.interface import TradeStatus, Unread, VenueTrade
from app.venue.matching.crossing import taker_fee_micros
from app.venue.polymarket.answers import (
    NOT_TOLD,
    FeeTerms,
    Ours,
    Page,
    TradeRow,
    Unreadable,
    fee_micros,
    own_fills,
    read_trades_page,
)
from app.venue.polymarket.answers.border import instant_ms
from app.venue.polymarket.answers.rows import read_trade_row, trade_status
from app.venue.polymarket.wire import Endpoint
from tests.support.answers import OURS, SECOND, STRANGER, THIRD, exchange

TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
OTHER_TOKEN = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
KEY, OTHER_KEY = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
WALLET, OTHER_WALLET = "0x" + "aa" * 20, "0x" + "bb" * 20
SIGNED = {OURS: 100_000_000, SECOND: 5_000_000, THIRD: 2_000_000_000_000}


def page(rows: Any) -> dict[str, Any]:
    return {"limit": 100, "count": 1, "next_cursor": "LTE=", "data": rows}


def entry(order_id: str = OURS, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "owner": KEY,
        "maker_address": WALLET,
        "matched_amount": "10",
        "price": "0.48",
        "fee_rate_bps": "0",
        "asset_id": OTHER_TOKEN,
        "outcome": "No",
        "side": "BUY",
    } | changes


def strangers(**changes: Any) -> dict[str, Any]:
    return entry("0x" + "99" * 32, owner=OTHER_KEY, maker_address=OTHER_WALLET, **changes)


def trade(makers: Any = (), **changes: Any) -> dict[str, Any]:
    return {
        "id": "t-1",
        "taker_order_id": SECOND,
        "market": "0x" + "dd" * 32,
        "asset_id": TOKEN,
        "side": "BUY",
        "size": "5",
        "fee_rate_bps": "0",
        "price": "0.52",
        "status": "MATCHED",
        "match_time": "1725868859",
        "last_update": "1725868885",
        "outcome": "Yes",
        "bucket_index": 0,
        "owner": OTHER_KEY,
        "maker_address": OTHER_WALLET,
        "transaction_hash": "",
        "trader_side": "TAKER",
        "maker_orders": list(makers),
    } | changes


def ours_of(*known: str, rate: int = 50_000, exponent: int = 1) -> Ours:
    return Ours(
        owners=frozenset({KEY}),
        wallet=WALLET,
        knows=lambda one: one in known,
        fee_terms=lambda _token: FeeTerms(rate, exponent),
        size_of=SIGNED.get,
    )


def fills(body: Any, ours: Ours) -> dict[str, VenueTrade]:
    return own_fills(read_trade_row(body), ours)


def test_a_fill_as_taker_has_the_trades_own_values_and_a_fee() -> None:
    found = fills(trade([strangers()], owner=KEY), ours_of())
    assert found == {
        "t": VenueTrade(
            "t-1",
            SECOND,
            TOKEN,
            5_000_000,
            520_000,
            TradeStatus.MATCHED,
            "MATCHED",
            is_maker=False,
            matched_at_ms=1_725_868_859_000,
            fee_micros=62_400,
        )
    }


def test_a_fill_as_maker_has_its_own_entrys_values_and_no_fee() -> None:
    """Lesson 20: another token and another price than the trade's head."""
    found = fills(trade([strangers(), entry()], trader_side="MAKER"), ours_of(OURS))
    assert list(found) == ["m1"]
    fill = found["m1"]
    assert (fill.token_id, fill.price_micros, fill.size_micros) == (
        OTHER_TOKEN,
        480_000,
        10_000_000,
    )
    assert (fill.is_maker, fill.fee_micros) == (True, 0)


def test_several_of_our_orders_in_one_trade_are_several_fills() -> None:
    """Lesson 19."""
    makers = [entry(OURS), strangers(), entry(THIRD, matched_amount="2.5", price="0.47")]
    found = fills(trade(makers, trader_side="MAKER"), ours_of(OURS, THIRD))
    assert [(k, f.venue_order_id, f.size_micros) for k, f in found.items()] == [
        ("m0", OURS, 10_000_000),
        ("m2", THIRD, 2_500_000),
    ]


@pytest.mark.parametrize("trader_side", ["TAKER", "MAKER", "", None])
def test_a_match_with_ourselves_gives_both_sides(trader_side: Any) -> None:
    body = trade([entry()], owner=KEY, trader_side=trader_side)
    found = fills(body, ours_of(OURS, SECOND))
    assert {k: f.venue_order_id for k, f in found.items()} == {"t": SECOND, "m0": OURS}


def test_the_heads_owner_makes_no_taker_of_a_maker() -> None:
    """Some pages put the listener's key there: the taker's order would be booked as a stranger of ours."""
    found = fills(trade([entry()], owner=KEY, trader_side="MAKER"), ours_of(OURS))
    assert list(found) == ["m0"]
    unsaid = fills(trade([entry()], owner=KEY, trader_side=""), ours_of(OURS))
    assert list(unsaid) == ["m0"]


def test_an_order_under_our_key_that_the_ledger_does_not_know_is_told() -> None:
    """So that the ledger halts the account: something else trades with this key."""
    assert list(fills(trade(owner=KEY), ours_of())) == ["t"]
    assert list(fills(trade([entry(STRANGER)], trader_side="MAKER"), ours_of())) == ["m0"]


def test_another_key_of_the_same_wallet_is_not_us() -> None:
    """Two of our accounts may share a wallet; each books its own (docs/venue.md 2.3)."""
    body = trade([entry(STRANGER, owner=OTHER_KEY)], maker_address=WALLET)
    assert fills(body, ours_of()) == {}
    ownerless = trade([entry(STRANGER, owner="")], trader_side="MAKER")
    assert list(fills(ownerless, ours_of())) == ["m0"]


def test_keys_and_ids_are_compared_without_regard_to_case() -> None:
    body = trade([entry("0x" + "A1" * 32, owner=OTHER_KEY)], trader_side="MAKER")
    assert fills(body, ours_of(OURS))["m0"].venue_order_id == OURS
    assert list(fills(trade(owner=KEY.upper()), ours_of())) == ["t"]


def test_a_trade_of_others_gives_nothing() -> None:
    assert fills(trade([strangers()]), ours_of()) == {}


def test_an_order_of_ours_that_stands_twice_in_a_trade_is_unreadable() -> None:
    for body in (
        trade([entry(), entry(matched_amount="3")], trader_side="MAKER"),
        trade([entry(SECOND)], owner=KEY),
    ):
        with pytest.raises(Unreadable):
            fills(body, ours_of(OURS, SECOND))


@pytest.mark.parametrize(
    "bad",
    [
        {"matched_amount": "0"},
        {"matched_amount": ""},
        {"matched_amount": "-3"},
        {"price": "2"},
        {"asset_id": ""},
        {"order_id": ""},
    ],
)
def test_a_part_of_ours_that_cannot_be_read_makes_the_trade_unreadable(bad: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        fills(trade([entry() | bad], trader_side="MAKER"), ours_of(OURS))


def test_an_odd_entry_of_a_stranger_costs_us_nothing() -> None:
    odd = strangers(matched_amount="?", price="", asset_id=None)
    assert list(fills(trade([odd, entry()], trader_side="MAKER"), ours_of(OURS))) == ["m1"]


def test_sizes_of_a_trade_in_millionths_are_told_apart_by_what_we_signed() -> None:
    body = trade([strangers(matched_amount="5000000")], owner=KEY, size="5000000")
    assert fills(body, ours_of())["t"].size_micros == 5_000_000
    mixed = trade([strangers(matched_amount="2.5")], owner=KEY, size="5000000")
    assert fills(mixed, ours_of())["t"].size_micros == 5_000_000_000_000


def test_an_average_price_without_end_is_taken_to_the_nearest_millionth() -> None:
    body = trade(owner=KEY, price="0.5233333333333333")
    assert fills(body, ours_of())["t"].price_micros == 523_333
    body = trade(owner=KEY, price="0.5266666666666667")
    assert fills(body, ours_of())["t"].price_micros == 526_667


@pytest.mark.parametrize(
    ("told", "at_ms"),
    [
        ("1725868859", 1_725_868_859_000),
        (1_725_868_859, 1_725_868_859_000),
        ("1725868885871", 1_725_868_885_871),
        ("2024-01-01T00:00:00Z", 1_704_067_200_000),
        ("2024-01-01T02:00:00.5+02:00", 1_704_067_200_500),
        ("2024-01-01T00:00:00", NOT_TOLD),
        ("", NOT_TOLD),
        ("0", NOT_TOLD),
        (True, NOT_TOLD),
        ("99999999999999999", NOT_TOLD),
    ],
)
def test_instants_come_in_seconds_in_milliseconds_and_in_words(told: Any, at_ms: int) -> None:
    assert instant_ms(told) == at_ms


def test_a_trade_without_a_readable_time_takes_the_next_best_and_is_never_kept_out() -> None:
    body = trade(owner=KEY, match_time="", last_update="1725868885")
    assert fills(body, ours_of())["t"].matched_at_ms == 1_725_868_885_000
    body = trade(owner=KEY, match_time=None, last_update=None)
    assert fills(body, ours_of())["t"].matched_at_ms == NOT_TOLD


def test_a_page_of_trades_is_read_whole_or_not_at_all() -> None:
    def trades(body: Any) -> Page[TradeRow] | Unread:
        return read_trades_page(exchange(Endpoint.GET_TRADES, 200, body))

    found = trades(page([trade(), trade(id="t-2", status="TRADE_STATUS_CONFIRMED")]))
    assert isinstance(found, Page)
    assert [(r.trade_id, r.status) for r in found.rows] == [
        ("t-1", TradeStatus.MATCHED),
        ("t-2", TradeStatus.CONFIRMED),
    ]
    for bad in (trade(id=""), trade(maker_orders={}), trade([None]), "x"):
        assert isinstance(trades(page([trade(), bad])), Unread)


# --- fees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "exponent", "price", "size", "fee"),
    [
        (50_000, 1, 520_000, 22_840_000, 285_040),
        (50_000, 1, 900_000, 7_440_000, 33_480),
        (0, 1, 500_000, 100_000_000, 0),
        (70_000, 1, 500_000, 100_000_000, 1_750_000),
        (250_000, 2, 500_000, 100_000_000, 1_562_500),
        (50_000, 1, 1_000_000, 100_000_000, 0),
    ],
)
def test_a_takers_fee_is_the_venues_formula_down_to_five_decimals(
    rate: int, exponent: int, price: int, size: int, fee: int
) -> None:
    assert fee_micros(FeeTerms(rate, exponent), price, size) == fee


@given(st.integers(0, 200_000), st.integers(0, 1_000_000), st.integers(0, 10**12))
def test_the_paper_venue_and_the_adapter_charge_the_same(rate: int, price: int, size: int) -> None:
    assert fee_micros(FeeTerms(rate), price, size) == taker_fee_micros(rate, price, size)


@pytest.mark.parametrize("prefix", ["", "TRADE_STATUS_"])
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        *((one.value, one) for one in TradeStatus),
        ("MATCHED_NOT_BROADCASTED", TradeStatus.MATCHED),
        ("SOMETHING_NEW", TradeStatus.MATCHED),
        ("", TradeStatus.MATCHED),
    ],
)
def test_trade_statuses_mean_the_same_in_both_spellings_and_new_ones_are_provisional(
    prefix: str, raw: str, status: TradeStatus
) -> None:
    assert trade_status(prefix + raw) is status


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANY = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3)
)


@given(st.sampled_from(sorted(trade())), ANY, st.sampled_from(sorted(entry())), ANY)
def test_no_field_of_a_trade_makes_a_read_raise(
    name: str, value: Any, inner: str, other: Any
) -> None:
    body = json.dumps(page([trade([entry() | {inner: other}], **{name: value})]))
    found = read_trades_page(exchange(Endpoint.GET_TRADES, 200, body))
    if isinstance(found, Page):
        try:
            parts = own_fills(found.rows[0], ours_of(OURS, SECOND))
        except Unreadable:
            return
        assert all(part.size_micros > 0 for part in parts.values())
