"""The commands that reach the venue, against the simulated venue in a process of its own."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.database import TestDatabase
from tests.support.polymarket_rig import API_KEY, PRIVATE_KEY, SIGNER
from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.simulator_client import Trader


@pytest.fixture(name="venue")
def venue_fixture(tmp_path: Path) -> Iterator[Simulator]:
    with running_simulator(tmp_path) as simulator:
        simulator.account(SIGNER.address, collateral="500", key=API_KEY, tier="elite")
        yield simulator


@pytest.fixture(name="market")
def market_fixture(venue: Simulator) -> Market:
    """Bids far from the lowest price and asks farther: a place for the live test too."""
    return venue.market()


@pytest.fixture(name="live")
def live_fixture(database: TestDatabase, venue: Simulator, tmp_path: Path) -> Cli:
    """The command line of an account on the simulated venue, opened and not yet adopted."""
    settings = venue.environment() | {
        "LEDGER_VENUE": "polymarket",
        "LEDGER_POLYMARKET_SITE_URL": venue.url,
        "LEDGER_PRIVATE_KEY": PRIVATE_KEY,
        "LEDGER_API_KEY": API_KEY["key_id"],
        "LEDGER_API_SECRET": API_KEY["secret"],
        "LEDGER_API_PASSPHRASE": API_KEY["passphrase"],
        "LEDGER_QUARANTINE_MS": "1500",
        "LEDGER_REQUEST_TIMEOUT_MS": "2000",
    }
    cli = Cli(database, tmp_path, settings)
    cli.good("account", "open", "main", "--venue", "polymarket")
    return cli


def rows(cli: Cli) -> dict[str, int]:
    """Rows of every table but the log of what was asked of the venue: looking is logged."""
    return {name: count for name, count in cli.counts().items() if name != "ledger.venue_exchange"}


def secrets_of(cli: Cli) -> list[str]:
    names = ("PRIVATE_KEY", "API_SECRET", "API_PASSPHRASE")
    return [cli.settings[f"LEDGER_{name}"] for name in names]


# --- markets sync ----------------------------------------------------------------------------------


def test_markets_are_fetched_stored_and_the_second_time_unchanged(
    live: Cli, venue: Simulator, market: Market
) -> None:
    other = venue.market(tick="0.001")
    done = live.good("markets", "sync", role="worker")
    assert (done["state"], done["created"], done["tradable"]) == ("complete", 2, 2)
    listed = {row["market"]: row for row in live.good("markets", "list")}
    assert listed.keys() == {market.condition_id, other.condition_id}
    assert listed[other.condition_id]["tick_micros"] == 1_000
    again = live.good("markets", "sync")
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 2)
    venue.do("market", condition_id=market.condition_id, tick="0.001")
    changed = live.good("markets", "sync", "--slug", market.condition_id)
    assert (changed["markets"], changed["updated"]) == (1, 1)
    assert "1 markets: 0 new" in live.run("markets", "sync", "--slug", market.condition_id).out


def test_a_sync_with_a_venue_that_is_gone_is_no_and_stores_nothing(
    live: Cli, venue: Simulator
) -> None:
    venue.kill()
    before = rows(live)
    done = live.run("markets", "sync", "--json")
    assert (done.code, done.value["ok"], done.value["state"]) == (1, False, "unread")
    assert done.value["why"]
    assert rows(live) == before


# --- doctor and keys -------------------------------------------------------------------------------


def checks(cli: Cli) -> dict[str, dict[str, Any]]:
    found = cli.run("doctor", "--json").value["checks"]
    named = {one["name"]: one for one in found}
    assert len(named) == len(found), "a check is there twice"
    return named


def test_the_doctor_looks_at_the_venue_too(live: Cli, market: Market) -> None:
    live.good("markets", "sync")
    found = checks(live)
    wanted = {"settings", "schema", "order book", "API key", "collateral", "user channel", "books"}
    assert wanted <= found.keys()
    for name in ("fsync", "full_page_writes"):  # the tests' server may do without
        found.pop(name)
    bad = {name: one for name, one in found.items() if one["result"] == "fail"}
    assert bad == {}
    assert found["account"]["detail"] == "main trades on polymarket with this key"


def test_the_doctor_fails_for_a_key_of_somebody_else_and_a_geoblock(
    live: Cli, venue: Simulator
) -> None:
    live.settings["LEDGER_API_PASSPHRASE"] = "another"
    venue.do("geoblock", blocked=True, country="XX")
    done = live.run("doctor", "--json")
    results = {one["name"]: one["result"] for one in done.value["checks"]}
    assert (done.code, results["API key"], results["geoblock"]) == (1, "fail", "fail")
    text = live.run("doctor")
    assert not [one for one in secrets_of(live) if one in text.out + text.err + done.out]


def test_an_api_key_is_derived_into_a_file_of_its_owner_and_never_shown(
    database: TestDatabase, tmp_path: Path
) -> None:
    (tmp_path / "venue").mkdir()
    with running_simulator(tmp_path / "venue") as venue:
        settings = venue.environment() | {"LEDGER_PRIVATE_KEY": PRIVATE_KEY}
        cli = Cli(database, tmp_path, settings)
        none = cli.run("keys", "derive", "--to", "keys.env", "--json")
        assert (none.code, none.error["code"]) == (2, "BAD_SETTING")
        assert "--make" in none.error["next"]
        path = tmp_path / "keys.env"
        assert not path.exists()
        made = cli.run("keys", "derive", "--to", "keys.env", "--make", "--json")
        assert made.code == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        assert made.value["api_key"] == lines["LEDGER_API_KEY"].strip("'\"")
        for name in ("LEDGER_API_SECRET", "LEDGER_API_PASSPHRASE"):
            assert lines[name].strip("'\"") not in made.out + made.err
        text = path.read_text()
        again = cli.run("keys", "derive", "--to", "keys.env", "--json")
        assert (again.code, again.error["code"]) == (2, "BAD_FILE")
        assert path.read_text() == text


def test_a_live_test_that_nobody_consents_to_places_nothing(
    live: Cli, venue: Simulator, market: Market
) -> None:
    live.good("markets", "sync")
    done = live.process("doctor", "--live", "--json", typed="no\n")
    assert done.code == 0, done
    assert done.value["steps"]["place"] == "declined"
    assert done.value["last_words"] == "nothing was placed"
    assert live.fetch("SELECT * FROM ledger.orders") == []
    assert venue.see("orders") == []


def test_a_live_test_places_one_order_and_leaves_nothing_behind(
    live: Cli, venue: Simulator, market: Market
) -> None:
    live.good("markets", "sync")
    live.good("adopt", "--yes")
    arguments = ("doctor", "--live", "--market", market.condition_id, "--no-cancel-first", "--json")
    done = live.process(*arguments, typed="yes\n" * 3)
    assert done.code == 0, done
    report = done.value
    assert (report["ok"], report["verified"]) == (True, True)
    assert report["steps"]["place"] == "done"
    [order] = venue.see("orders")
    assert (order["id"], order["status"]) == (report["venue_order_id"], "CANCELED")
    [row] = live.fetch("SELECT state FROM ledger.orders")
    assert row["state"] == "CANCELLED"


# --- adopt -----------------------------------------------------------------------------------------


def seen_foreign(live: Cli, venue: Simulator, market: Market) -> str:
    """An order by the same key that this ledger did not place, as a comparison found it."""
    stranger = Trader(venue, 7, key=API_KEY, collateral="0", tier="elite")
    found = stranger.placed(market.yes, price="0.05").venue_order_id
    stranger.close()
    assert live.run("reconcile", "--json").code == 1
    return found


def test_adopting_ends_foreign_orders_and_books_what_the_wallet_held(
    live: Cli, venue: Simulator, market: Market
) -> None:
    live.good("markets", "sync")
    venue.do("credit", wallet=SIGNER.address, collateral="0", tokens={market.yes: "50"}, seen=True)
    foreign = seen_foreign(live, venue, market)
    before = rows(live)
    refused = live.process("adopt", "--json", typed="y\n")
    assert (refused.code, refused.value["adopted"]) == (1, None)
    assert [one["venue_order_id"] for one in refused.value["foreign_orders"]] == [foreign]
    amounts = {one["asset"]: one["amount_micros"] for one in refused.value["holdings"]}
    assert amounts == {"collateral": 500_000_000, market.yes: 50_000_000}
    assert rows(live) == before
    [standing] = venue.see("orders")
    assert standing["status"] == "LIVE"

    done = live.process("adopt", "--json", "--operator", "ann", typed="yes\n")
    assert done.code == 0, done
    [order] = done.value["adopted"]["orders"]
    assert (order["venue_order_id"], order["resolved_as"]) == (foreign, "cancelled")
    [ended] = venue.see("orders")
    assert ended["status"] == "CANCELED"
    owned = {row["asset"]: row["available_micros"] for row in live.good("balances")}
    assert owned == amounts
    [row] = live.fetch("SELECT resolution, resolved_at FROM ledger.foreign_order")
    assert row["resolution"].startswith("cancelled: ")
    again = live.good("adopt")
    assert (again["foreign_orders"], again["holdings"]) == ([], [])
    assert live.good("audit")["ok"] is True


def test_an_order_whose_end_no_read_shows_is_not_resolved_and_nothing_is_booked(
    live: Cli, venue: Simulator, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.adopting.ENDS_WITHIN_S", 1.0)
    live.good("markets", "sync")
    seen_foreign(live, venue, market)
    venue.fault("http_error", endpoint="DELETE *", times=0)
    done = live.run("adopt", "--yes", "--json")
    assert (done.code, done.value["adopted"]["ok"]) == (1, False)
    [order] = done.value["adopted"]["orders"]
    assert order["resolved_as"] == ""
    assert done.value["adopted"]["booked"] == []
    assert [row["resolved_at"] for row in live.fetch("SELECT * FROM ledger.foreign_order")] == [
        None
    ]


def test_what_an_asset_came_to_after_its_opening_is_not_taken_for_an_opening(
    live: Cli, venue: Simulator
) -> None:
    live.good("adopt", "--yes")
    venue.do("credit", wallet=SIGNER.address, collateral="25", tokens={}, seen=True)
    before = rows(live)
    done = live.run("adopt", "--yes", "--json")
    assert (done.code, done.value["adopted"]) == (1, None)
    [one] = done.value["holdings"]
    assert (one["amount_micros"], "balances book" in one["why_not"]) == (25_000_000, True)
    assert rows(live) == before


def test_a_venue_that_cannot_be_read_is_said_and_nothing_is_adopted(
    live: Cli, venue: Simulator
) -> None:
    venue.fault("http_error", endpoint="GET /balance-allowance", times=0)
    before = rows(live)
    done = live.run("adopt", "--yes", "--json")
    assert (done.code, done.value["adopted"]) == (2, None)
    assert done.value["unread"].startswith("balances: collateral")
    assert rows(live) == before


# --- status ----------------------------------------------------------------------------------------


def test_the_status_shows_the_conditions_of_the_venue_and_the_pulses(live: Cli) -> None:
    assert live.good("status")["venue"] == []
    live.fetch("SELECT ledger.note_mode('main', 'POST_ONLY', 60000, 'a test')")
    live.fetch("SELECT ledger.require_pulse('main', 'stream', true, 5000)")
    found = {row["mode"]: row for row in live.good("status")["venue"]}
    assert found.keys() == {"POST_ONLY", "BLIND_STREAM"}
    assert found["POST_ONLY"]["gates"] == "orders that are not post-only"
    assert (found["BLIND_STREAM"]["standing"], found["BLIND_STREAM"]["seen_at"]) == (True, None)
    text = live.run("status").out
    assert "venue" in text.splitlines()
    assert "POST_ONLY" in text
    live.fetch("SELECT ledger.end_mode('main', 'POST_ONLY', 'a test')")
    assert [row["mode"] for row in live.good("status")["venue"]] == ["BLIND_STREAM"]


# --- markets book ----------------------------------------------------------------------------------


def test_a_book_is_shown_with_the_effective_price_of_a_size(
    live: Cli, venue: Simulator, market: Market
) -> None:
    live.good("markets", "sync", "--slug", market.condition_id)
    before = rows(live)
    name = ("--market", market.condition_id, "--outcome", market.yes)
    book = live.good("markets", "book", *name, "--size", "10")
    assert book["best_bid_micros"] < book["mid_micros"] < book["best_ask_micros"]
    asks = [one for one in book["levels"] if one["side"] == "ask"]
    assert asks[0]["price_micros"] == book["best_ask_micros"]
    buy, sell = book["effective"]
    assert (buy["side"], sell["side"]) == ("BUY", "SELL")
    assert buy["enough"]
    assert buy["average_price_micros"] >= book["best_ask_micros"]
    assert sell["average_price_micros"] <= book["best_bid_micros"]
    assert "effective price" in live.run("markets", "book", *name, "--size", "10").out
    assert rows(live) == before, "looking writes nothing"


def test_a_book_that_cannot_be_believed_is_not_shown(
    live: Cli, venue: Simulator, market: Market
) -> None:
    live.good("markets", "sync", "--slug", market.condition_id)
    name = ("--market", market.condition_id, "--outcome", market.yes)
    wrong = live.run("markets", "book", "--market", market.condition_id, "--outcome", "Perhaps")
    assert (wrong.code, "names no outcome" in wrong.err) == (2, True)
    venue.fault("http_error", endpoint="GET /book", times=0)
    done = live.run("markets", "book", *name)
    assert (done.code, done.out) == (2, "")
    assert "no book that could be believed" in done.err
