"""Recorded answers of the venue, where a folder of them is at hand (``LEDGER_TEST_DATA_DIR``).

Every file of ``clob-rest`` and ``data-api`` is read by what reads such an answer in earnest, and
its values are asserted. A file that no test here names fails the last one.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.venue.interface import (
    Accepted,
    CancelAccepted,
    CancelRefused,
    Found,
    PlaceOutcome,
    Rejected,
    Side,
    TradeStatus,
    Unknown,
    Unread,
    VenueOrderStatus,
    VenueTrade,
)
from app.venue.polymarket.answers import (
    FeeTerms,
    Ours,
    Page,
    cancel_outcomes,
    fee_micros,
    own_fills,
    place_outcomes,
    read_balance,
    read_order,
    read_orders_page,
    read_positions_page,
    read_trades_page,
)
from app.venue.polymarket.answers.border import Fields, parse
from app.venue.polymarket.answers.data_api import (
    read_activity,
    read_old_positions,
    read_public_trades,
)
from app.venue.polymarket.answers.rows import read_trade_row
from app.venue.polymarket.wire import Endpoint, Exchange
from tests.support.answers import exchange
from tests.support.recorded import Recorded

LISTENER = "00000000-0000-4000-8000-c9769eaf28ea"
"""The key that recorded the frames of 2024, as the recording names it."""
WALLET = "0xa3d82ed56f4c68d2328fb8c29e568ba2caf7d7c8"
TOKEN = "21742633143463906290569050155826241533067272736897614950488156847949938836455"
SAMPLE = "0x1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef12"
SAMPLE_KEY = "00000000-0000-0000-0000-000000000001"
SAMPLE_TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"

DATA = Recorded()


def account(*owners: str, knows: str = "", rate: int = 0) -> Ours:
    return Ours(frozenset(owners), WALLET, lambda one: one == knows, lambda _token: FeeTerms(rate))


def placed(body: Any, order_id: str, status: int = 200) -> PlaceOutcome:
    (found,) = place_outcomes(exchange(Endpoint.POST_ORDER, status, body), [order_id])
    return found


def page_of(*rows: Any, endpoint: Endpoint) -> Exchange:
    return exchange(endpoint, 200, {"data": list(rows), "next_cursor": "LTE="})


# --- clob-rest: placing -------------------------------------------------------------------------


def test_a_recorded_placement_and_the_read_that_followed_it() -> None:
    sent = DATA.load("clob-rest/tydog99_poly_full_fill_real.json")["response"]
    order_id = "0x300b6f4a853408b38846aee01695d25ff0da109a1072fea577f067fbb67bb80f"
    found = placed(sent["body_raw"], order_id, sent["status"])
    assert isinstance(found, Accepted)
    assert (found.venue_order_id, found.status) == (order_id, "matched")
    assert isinstance(placed(sent["body_raw"], "0x" + "0" * 64), Unknown)

    read = DATA.load("clob-rest/tydog99_poly_order_status_full_real.json")["response"]
    answer = read_order(exchange(Endpoint.GET_ORDER, 200, read["body_raw"]), order_id)
    assert isinstance(answer, Found)
    order = answer.value.order
    assert (order.status, order.side, order.price_micros) == (
        VenueOrderStatus.MATCHED,
        Side.BUY,
        530_000,
    )
    assert order.original_size_micros == order.size_matched_micros == 5_000_000
    assert answer.value.trade_ids == ("9a34f42f-492d-4e10-a1cb-151f71451f98",)
    assert answer.value.created_at_ms == 1_768_944_180_000
    assert answer.value.wallet == "0xe49d13c6addd6900bdaf5d1be19c7deb72a4e76f"


def test_recorded_refusals_of_a_placement() -> None:
    found = {}
    for line in DATA.lines("clob-rest/quoted_post_order_errors.jsonl"):
        outcome = placed(line["body"], "0x" + "0" * 64, line["status"])
        assert isinstance(outcome, Rejected)
        found[line["body"]["error"]] = outcome.code
    assert found == {
        "not enough balance / allowance": "NOT_ENOUGH_BALANCE",
        "order couldn't be fully filled. FOK orders are fully filled or killed.": "FOK_KILLED",
        "order XXX crosses the book": "CROSSES_BOOK",
        "maker address not allowed, please use the deposit wallet flow": "WRONG_WALLET",
        "the order signer address has to be the address of the API KEY": "WRONG_SIGNER",
        "order_version_mismatch": "ORDER_VERSION",
        "invalid signature": "INVALID_SIGNATURE",
        "invalid order version": "ORDER_VERSION",
        "invalid signer address": "WRONG_SIGNER",
    }


def test_an_invented_refusal_is_none() -> None:
    """The real venue writes another text; what nobody has described is left to a read."""
    invented = DATA.load("clob-rest/tydog99_poly_insufficient_balance.json")["response"]
    found = placed(invented["body_raw"], "0x" + "0" * 64, invented["status"])
    assert isinstance(found, Unknown)
    assert found.reason == "HTTP_400"


def test_recorded_answers_to_placements_cancels_and_a_trade() -> None:
    told = DATA.lines("clob-rest/quoted_real_responses.jsonl")
    posts = [line["body"] for line in told if line["endpoint"] == "POST /order"]
    assert len(posts) == 9
    for body in posts:
        found = placed(body, body["orderID"])
        assert isinstance(found, Accepted)
        assert found.status == "matched"
    assert sum("errorMsg" not in body for body in posts) == 2

    first, second, third = [line["body"] for line in told if line["endpoint"] == "DELETE /orders"]
    order_id = first["canceled"][0]
    (yes,) = cancel_outcomes(exchange(Endpoint.DELETE_ORDERS, 200, first), [order_id])
    assert isinstance(yes, CancelAccepted)
    (no,) = cancel_outcomes(exchange(Endpoint.DELETE_ORDERS, 200, second), [order_id])
    assert isinstance(no, CancelRefused)
    assert no.reason == "order already canceled"
    (both,) = cancel_outcomes(exchange(Endpoint.DELETE_ORDERS, 200, third), ["0x..."])
    assert not isinstance(both, CancelAccepted)

    ((row,),) = [line["body"] for line in told if line["endpoint"] == "GET /data/trades"]
    taker = own_fills(read_trade_row(row), account(row["owner"]))["t"]
    assert (taker.size_micros, taker.price_micros) == (11_000_000, 160_000)
    assert (taker.status, taker.matched_at_ms) == (TradeStatus.MINED, 1_749_364_472_000)
    maker = own_fills(read_trade_row(row), account("00000000-0000-4000-8000-45b98b21d356"))["m0"]
    assert (maker.size_micros, maker.is_maker) == (11_000_000, True)
    # A bare list is what a client made of pages: it does not say whether there is more.
    assert isinstance(read_trades_page(exchange(Endpoint.GET_TRADES, 200, [row])), Unread)


def test_the_documented_example_of_a_placement() -> None:
    contract = DATA.load("clob-rest/openapi_2026-08_order_submission_contract.json")
    (body,) = contract["examples"]
    found = placed(body, body["orderID"])
    assert isinstance(found, Accepted)
    assert found.status == "matched"


SHAPES = "clob-rest/shapes-handmade/nautilus_"


def test_shapes_of_answers_to_a_placement() -> None:
    found = {
        name: placed(DATA.text(f"{SHAPES}{name}.json"), SAMPLE, status)
        for name, status in (
            ("http_order_response_ok", 200),
            ("http_order_response_failed", 200),
            ("http_order_response_error_500", 500),
            ("http_signed_order", 200),
        )
    }
    reasons = {name: one.reason for name, one in found.items() if isinstance(one, Unknown)}
    assert reasons == {
        # Names our id and no status: nothing says whether it rests or was matched.
        "http_order_response_ok": "STATUS_UNRECOGNISED",
        "http_order_response_failed": "UNRECOGNISED",
        "http_order_response_error_500": "HTTP_500",
        "http_signed_order": "NO_ORDER_ID",
    }


# --- clob-rest: cancelling, reading -------------------------------------------------------------


def test_shapes_of_answers_to_a_cancel() -> None:
    body = DATA.load(f"{SHAPES}http_batch_cancel_response.json")
    ids = [*body["canceled"], *body["not_canceled"], "0x" + "4" * 64]
    kinds = [
        type(one).__name__
        for one in cancel_outcomes(exchange(Endpoint.DELETE_ORDERS, 200, body), ids)
    ]
    assert kinds == ["CancelAccepted", "CancelAccepted", "CancelRefused", "CancelUnknown"]
    order_id = "0xb816482a1234567890abcdef1234567890abcdef1234567890abcdef12345678"
    for name, kind in (("ok", CancelAccepted), ("failed", CancelRefused)):
        body = DATA.load(f"{SHAPES}http_cancel_response_{name}.json")
        (one,) = cancel_outcomes(exchange(Endpoint.DELETE_ORDER, 200, body), [order_id])
        assert isinstance(one, kind)


def test_shapes_of_orders() -> None:
    live = DATA.text(f"{SHAPES}http_open_order.json")
    found = read_order(exchange(Endpoint.GET_ORDER, 200, live), SAMPLE)
    assert isinstance(found, Found)
    assert found.value.order.size_matched_micros == 25_000_000
    assert found.value.order.original_size_micros == 100_000_000
    assert found.value.trade_ids == ("0xabc001",)
    killed = DATA.text(f"{SHAPES}http_open_order_sell_fok.json")
    found = read_order(exchange(Endpoint.GET_ORDER, 200, killed), "0x" + "deadbeef" * 8)
    assert isinstance(found, Found)
    assert (found.value.order.side, found.value.order_type) == (Side.SELL, "FOK")
    assert found.value.order.status is VenueOrderStatus.MATCHED
    page = read_orders_page(
        exchange(Endpoint.GET_ORDERS, 200, DATA.text(f"{SHAPES}http_open_orders_page.json"))
    )
    assert isinstance(page, Page)
    assert page.next_cursor is None
    assert [row.order.size_matched_micros for row in page.rows] == [0, 50_000_000]
    assert [row.order.price_micros for row in page.rows] == [600_000, 400_000]


def test_a_recorded_trade_and_shapes_of_trades() -> None:
    row = DATA.load("clob-rest/nautilus_data_trade_confirmed.json")
    page = read_trades_page(page_of(row, endpoint=Endpoint.GET_TRADES))
    assert isinstance(page, Page)
    assert own_fills(page.rows[0], account(LISTENER)) == {
        "t": VenueTrade(
            "0c357886-b9d3-44bb-9aa9-72d8abc90e6e",
            "0x4505aada9831d06078a005c8ec96396a78c8f06035bf763b40fc16d27a250043",
            TOKEN,
            5_000_000,
            489_000,
            TradeStatus.CONFIRMED,
            "CONFIRMED",
            is_maker=False,
            matched_at_ms=1_726_043_102_000,
        )
    }
    report = read_trade_row(DATA.load(f"{SHAPES}http_trade_report.json"))
    taker = own_fills(report, account(SAMPLE_KEY, rate=50_000))["t"]
    assert (taker.size_micros, taker.fee_micros) == (25_000_000, 312_500)
    assert taker.matched_at_ms == 1_704_067_200_000
    maker = own_fills(report, account("00000000-0000-0000-0000-000000000003"))
    assert {place: fill.size_micros for place, fill in maker.items()} == {"m1": 5_000_000}
    shown = read_trades_page(
        exchange(Endpoint.GET_TRADES, 200, DATA.text(f"{SHAPES}http_trades_page.json"))
    )
    assert isinstance(shown, Page)
    assert [(r.trade_id, r.status) for r in shown.rows] == [("trade-0x001", TradeStatus.MINED)]


def test_shapes_of_balances() -> None:
    for name, micros in (("collateral", 1_000_000_000), ("no_allowance", 250_500_000)):
        body = DATA.text(f"{SHAPES}http_balance_allowance_{name}.json")
        found = read_balance(exchange(Endpoint.GET_BALANCE, 200, body))
        assert isinstance(found, Found)
        assert (found.value.balance_micros, found.value.allowances) == (micros, ())


def test_a_fee_rate_answer_is_a_ceiling_and_no_fee() -> None:
    """It is none of the reads: a fee comes from the market's own object (lesson 43)."""
    for name, ceiling in (("zero", "0"), ("nonzero", "150")):
        body = DATA.load(f"{SHAPES}clob_fee_rate_response_{name}.json")
        assert body == {"base_fee": ceiling}
        assert isinstance(read_balance(exchange(Endpoint.GET_BALANCE, 200, body)), Unread)


def test_recorded_market_objects_tell_their_fee_exactly() -> None:
    markets = parse(DATA.text("clob-rest/trebuchet_v2_clob_markets_compact.json"))
    assert isinstance(markets, list)
    assert len(markets) == 5
    for market in markets:
        terms = Fields(Fields(market, "market").get("fd"), "fee")
        assert (terms.micros("r"), terms.decimal("e"), terms.flag("to")) == (50_000, "1", True)


BOOKS = {"clob-rest/nautilus_clob_book.json": 1, "clob-rest/trebuchet_v2_books.json": 10}
MARKETS = {
    "clob-rest/nautilus_clob_market.json": 1,
    "clob-rest/nautilus_clob_market_closed_accepting_false.json": 1,
    "clob-rest/nautilus_clob_market_closed_accepting_true.json": 1,
    "clob-rest/nautilus_clob_markets_page.json": 100,
}


@pytest.mark.parametrize("name", [*BOOKS, *MARKETS])
def test_books_and_markets_are_read_exactly_and_taken_for_no_order(name: str) -> None:
    body = DATA.text(name)
    value = parse(body)
    rows = value if isinstance(value, list) else Fields(value, "file").get("data") or [value]
    assert isinstance(rows, list)
    assert len(rows) == (BOOKS | MARKETS)[name]
    for row in rows:
        if name in BOOKS:
            levels = [*Fields(row, "book").rows("bids"), *Fields(row, "book").rows("asks")]
            assert levels
            for level in levels:
                one = Fields(level, "level")
                assert 0 < one.price_micros("price") < 1_000_000
                assert one.micros("size") > 0
        else:
            assert Fields(row, "market").micros("minimum_tick_size") in (1_000, 10_000)
    assert isinstance(read_order(exchange(Endpoint.GET_ORDER, 200, body), SAMPLE), Unread)
    assert isinstance(read_orders_page(exchange(Endpoint.GET_ORDERS, 200, body)), Unread)


# --- data-api -----------------------------------------------------------------------------------


def test_recorded_positions() -> None:
    body = DATA.text("data-api/polyoxide_v2_positions.json")
    page = read_positions_page(exchange(Endpoint.GET_POSITIONS, 200, body))
    assert isinstance(page, Page)
    assert page.next_cursor
    assert [(p.size_micros, p.entry_fees_micros, p.entry_cost_micros) for p in page.rows] == [
        (28_090_000, 310_530, 18_820_200),
        (35_440_000, 438_570, 19_492_000),
    ]
    assert [(p.avg_price_micros, p.status, p.negative_risk) for p in page.rows] == [
        (669_900, "OPEN", True),
        (550_000, "OPEN", True),
    ]


def test_recorded_fees_are_what_the_formula_gives() -> None:
    body = parse(DATA.text("data-api/real_taker_fee_rows.json"))
    assert isinstance(body, list)
    assert len(body) == 4
    for value in body:
        row = Fields(value, "row")
        terms = FeeTerms(row.micros("feeRate"), int(row.decimal("exponent")))
        fee = fee_micros(terms, row.price_micros("price"), row.micros("size"))
        assert fee == row.micros("fee")


def shown(name: str) -> Exchange:
    """A recorded answer of the Data API."""
    return exchange(Endpoint.GET_POSITIONS, 200, DATA.text(f"data-api/{name}"))


def test_recorded_activity_costs_its_price_and_its_fee() -> None:
    answer = read_activity(shown("polyoxide_v2_activity.json"))
    assert isinstance(answer, Found)
    assert [(one.kind, one.side, one.size_micros) for one in answer.value] == [
        ("TRADE", "BUY", 22_840_000),
        ("TRADE", "BUY", 7_440_000),
    ]
    told = Fields(parse(DATA.text("data-api/polyoxide_v2_activity.json")), "page").rows("data")
    for one, row in zip(answer.value, told, strict=True):
        price = Fields(row, "row").price_micros("price")
        fee = fee_micros(FeeTerms(50_000), price, one.size_micros)
        assert one.collateral_micros == one.size_micros * price // 1_000_000 + fee


def test_recorded_trades_of_wallets_are_read_in_both_versions() -> None:
    answer = read_public_trades(shown("polyoxide_v2_trades.json"))
    assert isinstance(answer, Found)
    assert [(one.size_micros, one.price_micros, one.at_ms) for one in answer.value] == [
        (22_840_000, 520_000, 1_789_381_477_000),
        (5_000_000, 2_000, 1_789_381_477_000),
    ]
    older = read_public_trades(shown("nautilus_trades_v1.json"))
    assert isinstance(older, Found)
    assert len(older.value) == 4
    assert older.value[0].token_id == TOKEN
    assert (older.value[0].side, older.value[0].size_micros) == (Side.SELL, 5_400_000)
    assert all(one.transaction_hash.startswith("0x") for one in (*answer.value, *older.value))


def test_recorded_positions_of_the_older_version_are_read() -> None:
    answer = read_old_positions(shown("nautilus_positions_v1.json"))
    assert isinstance(answer, Found)
    assert [one.size_micros for one in answer.value][:2] == [150_500_000, 0]
    assert len(answer.value) == 4


@pytest.mark.parametrize(
    "name", ["polyoxide_v2_trades.json", "nautilus_trades_v1.json", "nautilus_positions_v1.json"]
)
def test_what_the_data_api_shows_of_trades_is_no_position_and_no_fill(name: str) -> None:
    assert isinstance(read_positions_page(shown(name)), Unread)
    assert isinstance(read_trades_page(shown(name)), Unread)


def test_what_is_no_page_of_the_data_api_is_unread() -> None:
    for read in (read_public_trades, read_activity, read_old_positions):
        for text in ('{"data": [{}]}', '{"data": 7}', "[[]]", "null", "<html>"):
            assert isinstance(read(exchange(Endpoint.GET_POSITIONS, 200, text)), Unread), text


# --- nothing left out ---------------------------------------------------------------------------


def test_every_recorded_answer_has_a_test_above(request: pytest.FixtureRequest) -> None:
    if request.session.testscollected < 20:
        pytest.skip("only some tests of this file were run")
    assert DATA.unread("clob-rest", "data-api") == set()
