"""Markets, the catalogue and positions, as the simulator takes them in and shows them."""

from __future__ import annotations

import itertools
import json
import ssl
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


def test_gamma_markets_are_loaded_and_served_as_they_came(venue: Simulator) -> None:
    raw = {
        "id": "77",
        "conditionId": "0x" + "ab" * 32,
        "questionID": "0x" + "cd" * 32,
        "slug": "who-wins",
        "question": "Who wins?",
        "clobTokenIds": json.dumps([str(10**70 + 1), str(10**70 + 2)]),
        "outcomes": json.dumps(["Home", "Away"]),
        "orderPriceMinTickSize": 0.001,
        "orderMinSize": 5,
        "negRisk": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "feeSchedule": {"exponent": 1, "rate": 0.05, "takerOnly": True},
        "secondsDelay": 3,
        "somethingElse": {"kept": [1.5]},
    }
    found = venue.do("markets", gamma=[{"id": "9", "markets": [raw]}])[0]
    assert (found["tick"], found["neg_risk"], found["outcomes"]) == (
        "0.001",
        True,
        ["Home", "Away"],
    )
    with httpx.Client(base_url=venue.url, verify=ssl.create_default_context()) as http:
        compact = http.get(f"/clob-markets/{found['condition_id']}").json()
        assert (compact["mts"], compact["mos"], compact["nr"], compact["itode"], compact["fd"]) == (
            0.001,
            5,
            True,
            True,
            {"r": 0.05, "e": 1, "to": True},
        )
        by_token = http.get(f"/markets-by-token/{10**70 + 2}").json()
        assert by_token["condition_id"] == found["condition_id"]
        gamma = httpx.get(f"{venue.ready['gamma_url']}/markets", params={"slug": "who-wins"}).json()
        assert gamma == [raw]
        assert http.get("/fee-rate", params={"token_id": str(10**70 + 1)}).json() == {
            "base_fee": 1000
        }


def test_a_taker_pays_the_fee_of_the_published_formula(venue: Simulator) -> None:
    market, trader = venue.market(fee_rate="0.05"), Trader(venue, next(_numbers))
    trader.placed(market.yes, "BUY", "0.60", "22.84")
    venue.advance(100)
    part = venue.see("trades", account=trader.address)[0]
    # 22.84 x 0.05 x 0.6 x 0.4
    assert (part["fee"], part["status"]) == ("0.27408", "CONFIRMED")
    assert venue.see("balances")[trader.address]["COLLATERAL"] == "986.02192"
    trader.close()


def test_keyset_pages_end_without_a_cursor(venue: Simulator) -> None:
    venue.do("markets", made_up={"count": 25})
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 10}
    while True:
        page = httpx.get(f"{venue.ready['gamma_url']}/markets/keyset", params=query).json()
        seen += [one["conditionId"] for one in page["markets"]]
        if "next_cursor" not in page:
            break
        query["after_cursor"] = page["next_cursor"]
    there = [one["condition_id"] for one in venue.see("markets") if not one["closed"]]
    assert seen == there
    events = httpx.get(f"{venue.ready['gamma_url']}/events/keyset", params={"limit": 100}).json()
    assert sum(len(one["markets"]) for one in events["events"]) >= 25


def test_positions_and_trades_of_a_wallet(trader: Trader, market: Market) -> None:
    trader.placed(market.no, "BUY", "0.60", "10")
    trader.simulator.advance(100)
    data = trader.simulator.ready["data_url"]
    held = httpx.get(f"{data}/v2/positions", params={"user": trader.address}).json()
    sizes = {one["token_id"]: one["current_size"] for one in held["data"]}
    assert sizes == {market.yes: 100, market.no: 10}
    rows = httpx.get(f"{data}/v2/trades", params={"user": trader.address}).json()["data"]
    assert [(one["token_id"], one["size"], one["price"]) for one in rows] == [(market.no, 10, 0.6)]
    assert httpx.get(f"{data}/v2/positions").status_code == 400
