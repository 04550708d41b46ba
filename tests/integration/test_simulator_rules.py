"""The simulated venue's rules, each as docs/venue.md tells it, asked through real sockets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.clock import SystemClock
from app.venue.polymarket.body import decode_body
from app.venue.polymarket.signing import SignatureType
from app.venue.simulator.limits import TIERS
from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.simulator_client import Trader
from tests.support.waiting import wait_until

START_MS = 1_800_000_000_000
WALLET = "0x1111111111111111111111111111111111111111"
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
def trader_fixture(venue: Simulator, market: Market) -> Iterator[Trader]:
    trader = Trader(venue, next(_numbers), tokens={market.yes: "100"})
    yield trader
    trader.close()


def error(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    text: str = answer.json()["error"]
    return text


# --- who asks -------------------------------------------------------------------------------------

SPOILED = {
    "POLY_SIGNATURE": "AAAA",
    "POLY_PASSPHRASE": "wrong",
    "POLY_API_KEY": "00000000-0000-4000-8000-000000000000",
    "POLY_ADDRESS": WALLET,
    "POLY_TIMESTAMP": "1",
}


@pytest.mark.parametrize("name", sorted(SPOILED))
def test_every_header_is_looked_at(trader: Trader, name: str) -> None:
    path, now_s = "/data/orders", SystemClock().now_ms() // 1000
    headers = trader.credentials.headers(
        address=trader.address, timestamp_s=now_s, method="GET", path=path
    )
    assert trader.http.get(path, headers=headers).status_code == 200
    assert trader.http.get(path).status_code == 401
    spoiled = trader.http.get(path, headers=headers | {name: SPOILED[name]})
    assert error(spoiled, 401) == "Unauthorized/Invalid api key"


def test_the_signature_covers_the_body_and_not_the_query(trader: Trader, market: Market) -> None:
    order = trader.sign(market.yes)
    body = trader.body(order)
    headers = trader.credentials.headers(
        address=trader.address,
        timestamp_s=SystemClock().now_ms() // 1000,
        method="POST",
        path="/order",
        body=body,
    )
    changed = body.replace(b'"GTC"', b'"FOK"')
    assert trader.http.post("/order", content=changed, headers=headers).status_code == 401
    assert trader.http.post("/order", content=body, headers=headers).status_code == 200
    assert trader.ask("GET", "/data/orders", market=market.condition_id).json()["count"] == 1


def test_a_key_posts_for_itself_alone(trader: Trader, market: Market, venue: Simulator) -> None:
    other = Trader(venue, next(_numbers))
    order = trader.sign(market.yes)
    theirs = other.body(order)
    assert error(trader.ask("POST", "/order", theirs)) == (
        "the owner has to be the owner of the API KEY"
    )
    assert error(other.ask("POST", "/order", theirs)) == (
        "the order signer address has to be the address of the API KEY"
    )
    mine = trader.placed(market.yes)
    assert other.look(mine) is None
    assert other.cancel(mine).json()["canceled"] == []
    other.close()


def test_a_signature_of_another_order_is_invalid(trader: Trader, market: Market) -> None:
    first, second = trader.body(trader.sign(market.yes)), trader.body(trader.sign(market.yes))
    message = json.loads(first)
    message["order"]["signature"] = json.loads(second)["order"]["signature"]
    assert error(trader.ask("POST", "/order", json.dumps(message).encode())) == "invalid signature"


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_wallets_of_every_kind_trade_and_unknown_ones_do_not(
    venue: Simulator, market: Market, kind: int
) -> None:
    wallet = f"0x{kind:02x}" + f"{next(_numbers):038x}"
    trader = Trader(venue, next(_numbers), wallet=wallet, signature_type=kind)
    assert trader.kind is SignatureType(kind)
    assert trader.post(trader.sign(market.yes)).json()["status"] == "live"
    trader.wallet = WALLET
    assert "deposit wallet flow" in error(trader.post(trader.sign(market.yes)))
    trader.close()


def test_a_v1_order_is_refused_by_its_version(trader: Trader, market: Market) -> None:
    message = json.loads(trader.body(trader.sign(market.yes)))
    message["order"] |= {"nonce": "0", "feeRateBps": "0", "taker": WALLET}
    answer = trader.ask("POST", "/order", json.dumps(message).encode())
    assert error(answer) == "order_version_mismatch"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"order":{"timestamp":"1"}}'])
def test_what_is_no_order_is_refused(trader: Trader, body: bytes) -> None:
    assert error(trader.ask("POST", "/order", body)) == "Invalid order payload"


# --- what is asked --------------------------------------------------------------------------------


def test_prices_sizes_and_amounts_are_checked_in_the_venues_words(
    trader: Trader, market: Market
) -> None:
    fine = trader.sign(market.yes, price="0.455", tick="0.001")
    assert error(trader.post(fine)) == (
        f"order {fine.venue_order_id} is invalid. Price (0.455) breaks minimum tick size rule: 0.01"
    )
    finer = trader.sign(market.yes, price="0.4551", size="10.01", tick="0.0001")
    assert error(trader.post(finer)) == (
        "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, "
        "taker amount a max of 2 decimals"
    )
    small = trader.sign(market.yes, size="4.99")
    assert error(trader.post(small)) == (
        f"order {small.venue_order_id} is invalid. Size (4.99) lower than the minimum: 5"
    )
    poor = trader.sign(market.yes, size="9000")
    assert error(trader.post(poor)) == (
        "not enough balance / allowance: the balance is not enough -> "
        "balance: 1000000000, order amount: 4050000000"
    )
    crossing = trader.sign(market.yes, price="0.60", post_only=True)
    assert error(trader.post(crossing)) == "invalid post-only order: order crosses book"


def test_open_orders_and_unsettled_trades_bind_what_backs_them(
    trader: Trader, market: Market
) -> None:
    trader.placed(market.yes, "BUY", "0.60", "500")  # 300, matched and not settled
    trader.placed(market.yes, "BUY", "0.50", "1000")  # 500
    text = error(trader.post(trader.sign(market.yes, "BUY", "0.50", "500")))
    assert text.endswith(
        "balance: 1000000000, sum of active orders: 500000000, "
        "sum of matched orders: 300000000, order amount: 250000000"
    )
    trader.simulator.advance(100)
    trader.placed(market.yes, "BUY", "0.50", "400")
    trader.placed(market.yes, "SELL", "0.90", "600")
    assert "not enough balance" in error(trader.post(trader.sign(market.yes, "SELL", "0.90")))


def test_a_stale_cache_is_refreshed_on_demand(trader: Trader, market: Market) -> None:
    asked: dict[str, Any] = {"asset_type": "COLLATERAL", "signature_type": "0"}
    trader.simulator.do("credit", wallet=trader.address, collateral="500", seen=False)
    held = trader.ask("GET", "/balance-allowance", **asked).json()
    assert held["balance"] == "1000000000"
    assert "not enough balance" in error(trader.post(trader.sign(market.yes, size="3000")))
    assert trader.ask("GET", "/balance-allowance/update", **asked).status_code == 200
    held = trader.ask("GET", "/balance-allowance", **asked).json()
    assert held["balance"] == "1500000000"
    trader.placed(market.yes, "BUY", "0.45", "3000")


def test_a_gtd_order_needs_time_and_ends_a_minute_early(trader: Trader, market: Market) -> None:
    start_s = trader.simulator.see("state")["at_ms"] // 1000

    def gtd(seconds: int) -> Any:
        return trader.sign(
            market.yes,
            order_type="GTD",
            expiration_s=start_s + seconds,
            at_ms=START_MS - 10_000_000,
        )

    assert error(trader.post(gtd(60))) == "invalid expiration"
    order = gtd(90)
    assert trader.post(order).json()["status"] == "live"
    trader.simulator.advance(31_000)
    assert trader.status(order) == "CANCELED_EXPIRED_ORDER"


def test_duplicated_whatever_became_of_the_first(trader: Trader, market: Market) -> None:
    live, filled = trader.placed(market.yes), trader.placed(market.yes, price="0.60")
    cancelled = trader.placed(market.yes)
    trader.cancel(cancelled)
    killed = trader.sign(market.yes, price="0.50", order_type="FOK")
    assert error(trader.post(killed)) == (
        "order couldn't be fully filled. FOK orders are fully filled or killed."
    )
    for order in (live, filled, cancelled, killed):
        text = f"order {order.venue_order_id} is invalid. Duplicated."
        assert error(trader.post(order)) == text
    # an early refusal does not burn the id
    early = trader.sign(market.yes, "BUY", "0.50", "9000")
    assert "not enough" in error(trader.post(early))
    trader.simulator.do("credit", wallet=trader.address, collateral="5000")
    assert trader.post(early).json()["status"] == "live"


def test_a_market_buy_spends_its_amount_and_may_get_more_shares(
    trader: Trader, market: Market
) -> None:
    book = [["0.50", "10"], ["0.52", "10"], ["0.60", "100"]]
    trader.simulator.do("book", token_id=market.yes, asks=book)
    order = trader.sign(market.yes, "BUY", "0.60", "30", order_type="FOK")
    assert decode_body(trader.body(order)).fields.maker_amount == 18_000_000
    answer = trader.post(order).json()
    # 5 + 5.20 + 7.80 for 10 + 10 + 13 shares
    assert (answer["makingAmount"], answer["takingAmount"]) == ("18", "33")
    found = trader.look(order)
    assert found is not None
    assert (found["status"], found["original_size"], found["size_matched"]) == (
        "MATCHED",
        "30",
        "33",
    )


def test_a_fak_takes_what_there_is_and_is_reported_matched(trader: Trader, market: Market) -> None:
    trader.simulator.do("book", token_id=market.yes, asks=[["0.50", "10"]])
    order = trader.sign(market.yes, "BUY", "0.50", "30", order_type="FAK")
    answer = trader.post(order).json()
    assert (answer["status"], answer["makingAmount"], answer["takingAmount"]) == (
        "matched",
        "5",
        "10",
    )
    assert trader.status(order) == "MATCHED"
    other = trader.sign(market.yes, "BUY", "0.50", "30", order_type="FAK")
    assert error(trader.post(other)).startswith("no orders found to match with FAK order.")


def test_a_market_with_a_delay_holds_what_would_match(venue: Simulator, trader: Trader) -> None:
    market = venue.market(seconds_delay=3)
    resting, taking = trader.sign(market.yes), trader.sign(market.yes, price="0.60")
    assert trader.post(resting).json()["status"] == "live"
    assert trader.post(taking).json()["status"] == "delayed"
    venue.do("book", token_id=market.yes, asks=[["0.70", "10"]])
    venue.advance(3_000)
    assert trader.status(taking) == "LIVE"


def test_a_batch_has_an_answer_per_item_and_fifteen_at_most(trader: Trader, market: Market) -> None:
    small, good = trader.sign(market.yes, size="1"), trader.sign(market.yes)
    stray = trader.sign("12345678901234567890123456789012345678901234567890")
    items = trader.post_all([small, good, good, stray]).json()
    assert [(one["success"], one["status"]) for one in items] == [
        (False, ""),
        (True, "live"),
        (True, ""),
        (True, ""),
    ]
    assert "Duplicated" in items[2]["errorMsg"]
    assert "does not exist" in items[3]["errorMsg"]
    many = trader.post_all([trader.sign(market.yes) for _ in range(16)])
    assert error(many) == "Too many orders in payload: 16, max allowed: 15"


def test_cancels_name_what_they_did_and_repeat_harmlessly(
    trader: Trader, market: Market, venue: Simulator
) -> None:
    elsewhere = venue.market()
    orders = [trader.placed(market.yes), trader.placed(market.no), trader.placed(elsewhere.yes)]
    ids = [one.venue_order_id for one in orders]
    body = json.dumps({"asset_id": market.no}).encode()
    assert trader.ask("DELETE", "/cancel-market-orders", body).json()["canceled"] == [ids[1]]
    listed = trader.ask("DELETE", "/orders", json.dumps([ids[0], ids[1], ids[0]]).encode()).json()
    assert (listed["canceled"], list(listed["not_canceled"])) == ([ids[0]], [ids[1]])
    assert trader.ask("DELETE", "/cancel-all").json() == {"canceled": [ids[2]], "not_canceled": {}}
    assert error(trader.ask("DELETE", "/order", b'{"orderID":"x"}')) == "Invalid orderID"
    assert error(trader.ask("DELETE", "/cancel-market-orders", b"{}")) == "Invalid order payload"


def test_an_order_is_found_by_id_after_its_end_and_not_in_the_list(
    trader: Trader, market: Market
) -> None:
    order = trader.placed(market.yes)
    trader.cancel(order)
    assert trader.pages("/data/orders") == []
    by_id = trader.pages("/data/orders", id=order.venue_order_id)
    assert [one["status"] for one in by_id] == ["CANCELED"]
    assert error(trader.ask("GET", "/order/0x12")) == "Invalid orderID"
    assert error(trader.ask("GET", f"/order/0x{'0' * 64}"), 404) == "Order not found"


def test_trades_are_filtered_by_time_token_and_id(
    trader: Trader, market: Market, venue: Simulator
) -> None:
    trader.placed(market.yes, price="0.60")
    first_s = venue.see("state")["at_ms"] // 1000
    venue.advance(10_000)
    trader.placed(market.no, price="0.60")
    trades = trader.trades()
    assert [one["asset_id"] for one in trades] == [market.no, market.yes]

    def ids(**query: str) -> list[str]:
        return [one["id"] for one in trader.pages("/data/trades", **query)]

    newest, oldest = trades[0]["id"], trades[1]["id"]
    assert ids(after=str(first_s + 1)) == [newest]
    assert ids(before=str(first_s + 1)) == [oldest]
    assert ids(asset_id=market.no) == ids(id=newest) == [newest]
    assert ids(market=market.condition_id) == [newest, oldest]
    assert error(trader.ask("GET", "/data/trades", after="soon")) == "Invalid trade params payload"


# --- the dead-man switch --------------------------------------------------------------------------


def beat(trader: Trader, heartbeat_id: str) -> httpx.Response:
    body = json.dumps({"heartbeat_id": heartbeat_id}).encode()
    return trader.ask("POST", "/v1/heartbeats", body)


def test_a_key_that_stops_beating_loses_its_orders(trader: Trader, market: Market) -> None:
    order = trader.placed(market.yes)
    trader.simulator.advance(60_000)
    assert trader.status(order) == "LIVE"  # never begun, never cancelled
    following = beat(trader, "").json()["heartbeat_id"]
    wrong = beat(trader, "wrong")
    assert (wrong.status_code, wrong.json()) == (
        400,
        {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": following},
    )
    trader.simulator.advance(9_999)
    assert beat(trader, following).status_code == 200
    trader.simulator.advance(9_999)
    assert trader.status(order) == "LIVE"
    trader.simulator.advance(1)
    assert trader.status(order) == "CANCELED"
    later = trader.placed(market.yes)
    trader.simulator.advance(60_000)
    assert trader.status(later) == "LIVE"  # the expiry has forgotten the registration


# --- limits ---------------------------------------------------------------------------------------


def test_buckets_are_charged_all_or_nothing_and_refill(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        market, trader = venue.market(), Trader(venue, 1)
        batches = [trader.post_all([trader.sign(market.yes) for _ in range(15)]) for _ in range(3)]
        assert [one.status_code for one in batches] == [200, 200, 200]
        answer = batches[-1]
        assert answer.headers["poly-ratelimit-remaining"] == "15"
        assert answer.headers["poly-ratelimit-tier"] == "standard"
        trader.post(trader.sign(market.yes))
        refused = trader.post_all([trader.sign(market.yes) for _ in range(15)])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert len(trader.pages("/data/orders")) == 46
        venue.advance(25)  # one token at 40 a second
        assert trader.post_all([trader.sign(market.yes) for _ in range(15)]).status_code == 200
        assert trader.cancel(trader.sign(market.yes)).status_code == 200  # another bucket
        venue.do("account", address=trader.address, tier="elite")
        tier = trader.ask("GET", "/v1/user/rate-limit-tier").json()
        assert (tier["tier"], tier["order_burst"]) == ("elite", TIERS["elite"].order_burst)
        trader.close()


def test_a_mass_cancel_goes_into_debt(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        market, trader = venue.market(), Trader(venue, 1, tier="gold", collateral="100000")
        for _ in range(40):
            trader.post_all([trader.sign(market.yes) for _ in range(15)])
        venue.do("account", address=trader.address, tier="standard")
        swept = trader.ask("DELETE", "/cancel-all")
        assert len(swept.json()["canceled"]) == 600
        later = trader.cancel(trader.sign(market.yes))
        assert (later.status_code, later.headers["poly-ratelimit-remaining"]) == (429, "0")
        venue.advance(int(later.headers["retry-after"]) * 1000)
        assert trader.cancel(trader.sign(market.yes)).status_code == 200
        trader.close()


def test_its_clock_goes_on_while_nothing_happens(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as simulator:
        first = int(httpx.get(f"{simulator.url}/time").text)
        wait_until(
            lambda: int(httpx.get(f"{simulator.url}/time").text) > first, "a second has passed"
        )
