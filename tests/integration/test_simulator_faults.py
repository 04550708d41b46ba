"""Each fault by name, through real sockets: what the sender sees, and what the venue really did."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.simulator_client import Trader

START_MS = 1_800_000_000_000
_numbers = itertools.count(1)


@pytest.fixture(scope="module", name="venue")
def venue_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One venue for the module, whose clock stands; every test has an account and a market."""
    folder = tmp_path_factory.mktemp("simulator")
    with running_simulator(folder, at_ms=START_MS, rate_limits=False, page_limit=3) as simulator:
        yield simulator
        assert simulator.log() == ""


@pytest.fixture(name="market")
def market_fixture(venue: Simulator) -> Market:
    return venue.market()


@pytest.fixture(name="trader")
def trader_fixture(venue: Simulator, market: Market) -> Iterator[Trader]:
    """Its faults are its own; what they did to the venue as a whole is undone behind it."""
    trader = Trader(venue, next(_numbers), tokens={market.yes: "100"})
    yield trader
    trader.close()
    venue.do("no_fault")
    venue.do("mode", mode="normal")
    venue.do("geoblock", blocked=False)


def strike(trader: Trader, name: str, **terms: Any) -> int:
    return trader.simulator.fault(name, account=trader.address, **terms)


# --- not processed: the same bytes are taken afterwards -------------------------------------------

NO_ANSWER = ["drop_before", "goaway_before"]


@pytest.mark.parametrize("name", NO_ANSWER)
def test_a_request_dropped_at_the_edge_was_not_processed(
    trader: Trader, market: Market, name: str
) -> None:
    strike(trader, name)
    order = trader.sign(market.yes)
    with pytest.raises(httpx.TransportError):
        trader.post(order)
    assert trader.status(order) == "ABSENT"
    assert trader.post(order).json()["status"] == "live"


def test_a_request_that_hangs_was_not_processed(trader: Trader, market: Market) -> None:
    strike(trader, "hang", ms=60_000)
    order = trader.sign(market.yes)
    with pytest.raises(httpx.ReadTimeout):
        trader.ask("POST", "/order", trader.body(order), timeout=0.3)
    assert trader.status(order) == "ABSENT"
    assert trader.post(order).json()["status"] == "live"


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("http_error", {"status": 502, "text": "Bad Gateway"}, 502),
    ("rate_limited", {"retry_after_s": 2}, 429),
    ("rate_limited", {"retry_after_s": -1}, 429),
    ("restarting", {}, 425),
    ("html_403", {}, 403),
]


@pytest.mark.parametrize(("name", "params", "status"), REFUSED)
def test_a_request_the_edge_refuses_was_not_processed(
    trader: Trader, market: Market, name: str, params: dict[str, Any], status: int
) -> None:
    strike(trader, name, **params)
    order = trader.sign(market.yes)
    answer = trader.post(order)
    assert answer.status_code == status
    if name == "rate_limited":
        wanted = "2" if params["retry_after_s"] == 2 else None
        assert answer.headers.get("retry-after") == wanted
    if name == "html_403":
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.text.startswith("<!DOCTYPE html>")
    assert trader.status(order) == "ABSENT"
    assert trader.post(order).json()["status"] == "live"


def test_success_may_come_with_an_error_and_without_an_id(trader: Trader, market: Market) -> None:
    strike(trader, "success_with_error", times=2)
    order, other = trader.sign(market.yes), trader.sign(market.yes)
    answer = trader.post(order)
    assert (answer.status_code, answer.json()["success"], answer.json()["orderID"]) == (
        200,
        True,
        "",
    )
    assert answer.json()["errorMsg"] == "the market is not yet ready to process new orders"
    items = trader.post_all([order, other]).json()
    assert [one["orderID"] for one in items] == ["", ""]
    assert trader.status(order) == trader.status(other) == "ABSENT"


# --- processed, and the sender cannot know --------------------------------------------------------


@pytest.mark.parametrize("at_byte", [0, 1, 60])
def test_an_answer_lost_on_its_way_leaves_a_live_order(
    trader: Trader, market: Market, at_byte: int
) -> None:
    strike(trader, "drop_after", at_byte=at_byte)
    order = trader.sign(market.yes)
    with pytest.raises(httpx.TransportError):
        trader.post(order)
    assert trader.status(order) == "LIVE"
    again = trader.post(order)
    assert (again.status_code, "Duplicated" in again.text) == (400, True)


def test_goaway_behind_the_request_leaves_a_live_order(trader: Trader, market: Market) -> None:
    strike(trader, "goaway_after")
    order = trader.sign(market.yes)
    with pytest.raises(httpx.TransportError):
        trader.post(order)
    assert trader.status(order) == "LIVE"


@pytest.mark.parametrize(("status", "text"), [(500, "could not run the execution"), (504, "")])
def test_an_error_answer_may_belong_to_a_live_order(
    trader: Trader, market: Market, status: int, text: str
) -> None:
    strike(trader, "error_after", status=status, text=text)
    order = trader.sign(market.yes)
    answer = trader.post(order)
    assert (answer.status_code, answer.json()["error"]) == (status, text)
    assert trader.status(order) == "LIVE"


def test_an_answer_may_be_cut_off_json(trader: Trader, market: Market) -> None:
    strike(trader, "truncated_json", keep=25)
    order = trader.sign(market.yes)
    answer = trader.post(order)
    assert (answer.status_code, len(answer.content)) == (200, 25)
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert trader.status(order) == "LIVE"


def test_an_answer_may_come_too_late(trader: Trader, market: Market) -> None:
    strike(trader, "slow_head", ms=60_000)
    order = trader.sign(market.yes)
    with pytest.raises(httpx.ReadTimeout):
        trader.ask("POST", "/order", trader.body(order), timeout=0.3)
    assert trader.status(order) == "LIVE"


def test_an_answer_may_come_in_pieces(trader: Trader, market: Market) -> None:
    strike(trader, "slow_body", chunk=40, ms=20)
    order = trader.sign(market.yes)
    answer = trader.post(order)
    assert answer.json()["orderID"] == order.venue_order_id
    # five waits and more between the pieces of some two hundred bytes
    assert answer.elapsed.total_seconds() >= 0.08


# --- processed later ------------------------------------------------------------------------------


@pytest.mark.parametrize("sees", ["drop", "hang", 504])
def test_an_order_appears_long_after_its_request_failed(
    trader: Trader, market: Market, sees: str | int
) -> None:
    strike(trader, "appear_late", ms=40_000, answer=sees)
    order = trader.sign(market.yes)
    if isinstance(sees, int):
        assert trader.post(order).status_code == sees
    else:
        with pytest.raises(httpx.TransportError):
            trader.ask("POST", "/order", trader.body(order), timeout=0.3)
    trader.simulator.advance(39_999)
    assert trader.status(order) == "ABSENT"
    trader.simulator.advance(1)
    assert trader.status(order) == "LIVE"


def test_the_same_bytes_sent_meanwhile_are_taken_once(trader: Trader, market: Market) -> None:
    strike(trader, "appear_late", ms=40_000, answer=504)
    order = trader.sign(market.yes)
    assert trader.post(order).status_code == 504
    assert trader.post(order).json()["status"] == "live"
    trader.simulator.advance(40_000)
    found = trader.simulator.order(order.venue_order_id)
    assert found is not None
    assert found["arrivals"] == {
        "received": 2,
        "accepted": 1,
        "duplicated": 1,
        "bodies": 1,
    }


def test_a_cancel_may_miss_an_order_that_is_still_under_way(trader: Trader, market: Market) -> None:
    strike(trader, "appear_late", ms=40_000, answer=504)
    order = trader.sign(market.yes)
    trader.post(order)
    assert trader.cancel(order).json()["canceled"] == []
    assert trader.ask("DELETE", "/cancel-all").json()["canceled"] == []
    trader.simulator.advance(40_000)
    assert trader.status(order) == "LIVE"


# --- carried out otherwise ------------------------------------------------------------------------


def test_a_delayed_order_is_accepted_and_matched_later(trader: Trader, market: Market) -> None:
    strike(trader, "delayed", ms=3_000)
    order = trader.sign(market.yes, price="0.60")
    answer = trader.post(order).json()
    assert (answer["status"], answer["takingAmount"], "tradeIDs" in answer) == (
        "delayed",
        "",
        False,
    )
    assert trader.status(order) == "DELAYED"
    assert trader.cancel(order).json()["canceled"] == []
    trader.simulator.advance(3_000)
    assert trader.status(order) == "MATCHED"
    assert len(trader.trades()) == 1


@pytest.mark.parametrize(
    ("name", "course"),
    [
        ("settle_fail", ["MATCHED", "RETRYING", "FAILED"]),
        ("settle_retry", ["MATCHED", "RETRYING", "MINED", "CONFIRMED"]),
    ],
)
def test_a_settlement_takes_another_course(
    trader: Trader, market: Market, name: str, course: list[str]
) -> None:
    strike(trader, name, after_ms=2_000)
    trader.placed(market.yes, "BUY", "0.60")
    seen = [trader.trades()[0]["status"]]
    for wait_ms in (1_999, 1, *[50] * 4):
        trader.simulator.advance(wait_ms)
        seen.append(trader.trades()[0]["status"])
    assert seen[1] == "TRADE_STATUS_MATCHED"  # for all of its two seconds
    told = [one.removeprefix("TRADE_STATUS_") for one in dict.fromkeys(seen)]
    assert told == course
    held = trader.simulator.see("balances")[trader.address]
    assert held["COLLATERAL"] == ("1000" if name == "settle_fail" else "994")
    assert held[market.yes] == ("100" if name == "settle_fail" else "110")


def test_a_market_may_not_be_ready(trader: Trader, market: Market) -> None:
    strike(trader, "market_not_ready", ms=5_000)
    order = trader.sign(market.yes)
    assert "not yet ready" in trader.post(order).json()["error"]
    trader.simulator.advance(4_999)
    assert trader.post(order).status_code == 400
    trader.simulator.advance(1)
    assert trader.post(order).json()["status"] == "live"


@pytest.mark.parametrize(
    ("name", "listed"),
    [("cancel_miss", "not_canceled"), ("cancel_phantom", "canceled"), ("cancel_unlisted", "")],
)
def test_a_cancel_is_not_carried_out_whatever_it_says(
    trader: Trader, market: Market, name: str, listed: str
) -> None:
    order = trader.placed(market.yes)
    strike(trader, name)
    answer = trader.cancel(order).json()
    said = [key for key in ("canceled", "not_canceled") if order.venue_order_id in answer[key]]
    assert said == ([listed] if listed else [])
    assert trader.status(order) == "LIVE"
    assert trader.cancel(order).json()["canceled"] == [order.venue_order_id]


def test_a_phantom_cancel_names_only_what_the_venue_has_seen(
    trader: Trader, market: Market
) -> None:
    strike(trader, "cancel_phantom")
    order = trader.sign(market.yes)
    answer = trader.cancel(order).json()
    assert (answer["canceled"], [*answer["not_canceled"]]) == ([], [order.venue_order_id])


@pytest.mark.parametrize(("rest", "answers"), [("error", 3), ("missing", 1)])
def test_a_batch_may_be_processed_in_part(
    trader: Trader, market: Market, rest: str, answers: int
) -> None:
    strike(trader, "partial_batch", first=1, rest=rest)
    orders = [trader.sign(market.yes) for _ in range(3)]
    items = trader.post_all(orders).json()
    assert len(items) == answers
    assert items[0]["status"] == "live"
    assert all(one["orderID"] == "" and one["errorMsg"] for one in items[1:])
    assert [trader.status(one) for one in orders] == ["LIVE", "ABSENT", "ABSENT"]


def test_an_edge_that_delivers_twice_answers_duplicated(trader: Trader, market: Market) -> None:
    strike(trader, "delivered_twice")
    order = trader.sign(market.yes)
    answer = trader.post(order)
    assert (answer.status_code, "Duplicated" in answer.text) == (400, True)
    assert trader.status(order) == "LIVE"
    found = trader.simulator.order(order.venue_order_id)
    assert found is not None
    assert found["arrivals"] == {
        "received": 2,
        "accepted": 1,
        "duplicated": 1,
        "bodies": 1,
    }


def test_a_lost_heartbeat_cancels_everything(trader: Trader, market: Market) -> None:
    before = [trader.placed(market.yes) for _ in range(2)]
    strike(trader, "mass_cancel")
    last = trader.placed(market.yes)
    assert [trader.status(one) for one in (*before, last)] == ["CANCELED", "CANCELED", "LIVE"]


def test_the_tick_changes_under_an_order(trader: Trader, market: Market) -> None:
    strike(trader, "tick_change", tick="0.1")
    order = trader.sign(market.yes)
    text = trader.post(order).json()["error"]
    assert text.endswith("Price (0.45) breaks minimum tick size rule: 0.1")
    assert trader.ask("GET", "/tick-size", token_id=market.yes).json() == {"minimum_tick_size": 0.1}


def test_a_restart_is_followed_by_post_only(trader: Trader, market: Market) -> None:
    strike(trader, "engine_restart", for_ms=5_000, post_only_ms=120_000)
    taker, maker = trader.sign(market.yes), trader.sign(market.yes, post_only=True)
    assert trader.post(taker).status_code == 425
    assert trader.cancel(taker).status_code == 425
    trader.simulator.advance(5_000)
    refused = trader.post(taker)
    assert (refused.status_code, refused.json()["code"]) == (503, "post_only_mode")
    assert refused.headers["retry-after"] == str(refused.json()["retry_after_seconds"]) == "120"
    items = trader.post_all([taker, maker]).json()
    assert [(one["success"], bool(one["orderID"])) for one in items] == [
        (True, False),
        (True, True),
    ]
    assert trader.cancel(maker).json()["canceled"] == [maker.venue_order_id]
    trader.simulator.advance(120_000)
    assert trader.post(taker).json()["status"] == "live"


def test_cancel_only_takes_cancels_alone(trader: Trader, market: Market) -> None:
    resting = trader.placed(market.yes)
    strike(trader, "cancel_only", for_ms=5_000)
    order = trader.sign(market.yes)
    refused = trader.post(order)
    assert (refused.status_code, "cancel-only" in refused.json()["error"]) == (503, True)
    assert trader.cancel(resting).json()["canceled"] == [resting.venue_order_id]
    trader.simulator.advance(5_000)
    assert trader.post(order).json()["status"] == "live"


def test_disabled_trading_takes_no_cancels_either(trader: Trader, market: Market) -> None:
    resting = trader.placed(market.yes)
    strike(trader, "disabled", for_ms=5_000)
    order = trader.sign(market.yes)
    assert trader.post(order).status_code == trader.cancel(resting).status_code == 503
    assert trader.status(resting) == "LIVE"
    trader.simulator.advance(5_000)
    assert trader.cancel(resting).json()["canceled"] == [resting.venue_order_id]


def test_a_closed_only_account_may_sell_and_not_buy(trader: Trader, market: Market) -> None:
    strike(trader, "closed_only")
    assert "closed only mode" in trader.post(trader.sign(market.yes)).json()["error"]
    assert trader.ask("GET", "/auth/ban-status/closed-only").json() == {"closed_only": True}
    assert trader.post(trader.sign(market.yes, "SELL", "0.70")).json()["status"] == "live"


def test_a_blocked_country_places_nothing(trader: Trader, market: Market) -> None:
    resting = trader.placed(market.yes)
    strike(trader, "geoblock", country="US")
    trader.post(trader.sign(market.yes))
    where = trader.ask("GET", "/api/geoblock").json()
    assert (where["blocked"], where["country"]) == (True, "US")
    order = trader.sign(market.yes)
    assert trader.post(order).status_code == 403
    assert trader.status(order) == "ABSENT"
    assert trader.cancel(resting).json()["canceled"] == [resting.venue_order_id]


# --- carried out, the answer is bent --------------------------------------------------------------

BENT: list[tuple[str, dict[str, Any], str, Any]] = [
    ("null_error_msg", {}, "errorMsg", None),
    ("no_error_msg", {}, "errorMsg", "absent"),
    ("unmatched", {}, "status", "unmatched"),
    ("odd_status", {"status": "pondering"}, "status", "pondering"),
]


@pytest.mark.parametrize(("name", "params", "key", "value"), BENT)
def test_an_odd_answer_belongs_to_a_live_order(
    trader: Trader, market: Market, name: str, params: dict[str, Any], key: str, value: Any
) -> None:
    strike(trader, name, **params)
    order = trader.sign(market.yes)
    answer = trader.post(order).json()
    assert (answer.get(key, "absent"), answer["orderID"]) == (value, order.venue_order_id)
    assert trader.status(order) == "LIVE"


def test_an_answer_may_carry_another_orders_id(trader: Trader, market: Market) -> None:
    strike(trader, "wrong_id")
    order = trader.sign(market.yes)
    said = trader.post(order).json()["orderID"]
    assert re.fullmatch(r"0x[0-9a-f]{64}", said)
    assert said != order.venue_order_id
    assert trader.status(order) == "LIVE"


def test_amounts_may_come_in_base_units(trader: Trader, market: Market) -> None:
    strike(trader, "amounts_in_micros")
    answer = trader.post(trader.sign(market.yes, price="0.60")).json()
    assert (answer["makingAmount"], answer["takingAmount"]) == ("6000000", "10000000")


def test_null_is_answered_for_a_known_order(trader: Trader, market: Market) -> None:
    order = trader.placed(market.yes)
    strike(trader, "null_answer", times=1)
    assert trader.look(order) is None
    assert trader.status(order) == "LIVE"


def test_pages_shift_while_they_are_read(trader: Trader, market: Market) -> None:
    orders = [trader.placed(market.yes).venue_order_id for _ in range(7)]
    strike(trader, "page_shift", by=1)
    ids = [one["id"] for one in trader.pages("/data/orders")]
    assert ids == orders[:3] + orders[4:]
    strike(trader, "page_shift", by=-1)
    ids = [one["id"] for one in trader.pages("/data/orders")]
    assert ids == orders[:3] + orders[2:5] + orders[5:]


def test_rows_are_listed_twice_or_left_out(trader: Trader, market: Market) -> None:
    orders = [trader.placed(market.yes).venue_order_id for _ in range(3)]
    strike(trader, "duplicate_rows")
    assert [one["id"] for one in trader.pages("/data/orders")] == [orders[0], *orders]
    strike(trader, "missing_rows", count=2)
    assert [one["id"] for one in trader.pages("/data/orders")] == orders[2:]
