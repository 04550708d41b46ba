"""What people do by command beside trading: resolve a strange order, take an account away, hear that nobody sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import MARKET, Cli, cli_fixture  # noqa: F401
from tests.support.database import TestDatabase
from tests.support.polymarket_rig import SIGNER
from tests.support.simulator import running_simulator

STRANGER = "0x" + "B" * 64
TERMS = (
    "--market",
    MARKET,
    *["--outcome", "Up", "--side", "BUY", "--price", "0.45", "--size", "10"],
)
WORKER = "00000000-0000-0000-0000-000000000001"


def observe(cli: Cli) -> None:
    """A read shows an order under our account that no intent explains."""
    seen: dict[str, Any] = {"account": "main", "venue_order_id": STRANGER.lower(), "status": "LIVE"}
    seen |= {"raw_status": "LIVE", "size_matched_micros": 0, "source": "read"}
    cli.fetch("SELECT ledger.observe_orders($1)", json.dumps([seen]))


# --- adopt resolve ---------------------------------------------------------------------------------


def test_a_strange_order_is_listed_with_its_age_and_resolved_as_not_ours(cli: Cli) -> None:
    observe(cli)
    shown = cli.process("adopt", "--json", typed="no\n").value
    assert [one["age_s"] >= 0 for one in shown["foreign_orders"]] == [True]
    [listed] = cli.good("status")["foreign_orders"]
    assert listed["age_s"] >= 0
    assert "age" in cli.run("status").out

    done = cli.run("adopt", "resolve", STRANGER, "--why", "the other desk's", "--operator", "ann")
    assert done.code == 0, done
    assert "not_ours" in done.out
    assert "stays halted" in done.err
    assert cli.good("status")["foreign_orders"] == []
    assert cli.good("adopt")["foreign_orders"] == []

    [row] = cli.fetch("SELECT resolution, resolved_at FROM ledger.foreign_order")
    assert row["resolution"] == "not_ours: the other desk's"
    [change] = cli.fetch("SELECT * FROM audit.changes WHERE kind = 'foreign order'")
    assert (change["what"], change["after"]) == (STRANGER.lower(), "not_ours")
    assert (change["as_whom"], change["why"]) == ("ann", "the other desk's")
    assert cli.good("audit")["ok"] is True
    # It was a person's word, and trading is another one's.
    assert cli.good("status")["halts"][0]["scope"] == "account"


@pytest.mark.parametrize("fate", ["cancelled", "filled"])
def test_a_person_may_say_that_it_ended(cli: Cli, fate: str) -> None:
    observe(cli)
    done = cli.good("adopt", "resolve", STRANGER, "--as", fate, "--why", "seen at the venue's page")
    assert (done["status"], done["as"]) == ("resolved", fate)


def test_resolving_what_does_not_stand_says_so_and_changes_nothing(cli: Cli) -> None:
    observe(cli)
    before = cli.counts()
    for arguments in (
        ("0x" + "c" * 64, "--why", "x"),
        (STRANGER, "--why", "x", "--account", "nobody"),
        (STRANGER, "--why", ""),
    ):
        done = cli.run("adopt", "resolve", *arguments, "--json")
        assert done.code == 2, done
        assert done.error["not_done"]
        assert done.error["next"]
    assert cli.counts() == before
    cli.good("adopt", "resolve", STRANGER, "--why", "x")
    again = cli.run("adopt", "resolve", STRANGER, "--why", "x", "--json")
    assert (again.code, again.error["code"]) == (2, "UNKNOWN_ORDER")


# --- account revoke --------------------------------------------------------------------------------


def test_an_account_is_taken_away_from_a_login_that_can_reserve_no_more(cli: Cli) -> None:
    trader = cli.database.server.role_prefix + "trader"
    cli.good("account", "grant", "main", trader)
    bot = cli.run("place", *TERMS, "--key", "before", "--json", role="trader")
    assert bot.code == 0, bot

    done = cli.run("account", "revoke", "main", trader, "--why", "sold", "--operator", "ann")
    assert (done.code, done.out) == (0, f"{trader} may no longer trade for main\n")
    assert "Its orders stand" in done.err
    [account] = cli.good("account", "list")
    assert account["granted_to"] == []
    bot = cli.run("place", *TERMS, "--key", "after", "--json", role="trader")
    assert (bot.code, bot.error["code"]) == (2, "NOT_GRANTED")
    assert [row["key"] for row in cli.good("orders", "--open")] == ["before"]
    [change] = cli.fetch("SELECT * FROM audit.changes WHERE kind = 'revoke'")
    assert (change["before"], change["as_whom"], change["why"]) == (trader, "ann", "sold")
    again = cli.good("account", "revoke", "main", trader, "--why", "again")
    assert again["status"] == "not granted"


def test_taking_away_without_an_account_or_a_reason_changes_nothing(cli: Cli) -> None:
    before = cli.counts()
    for arguments, code in (
        (("nobody", "bot", "--why", "x"), "UNKNOWN_ACCOUNT"),
        (("main", "bot", "--why", ""), "BAD_REQUEST"),
        (("main", "", "--why", "x"), "BAD_REQUEST"),
    ):
        done = cli.run("account", "revoke", *arguments, "--json")
        assert (done.code, done.error["code"]) == (2, code)
    assert cli.counts() == before


# --- place, and nobody sends -----------------------------------------------------------------------


def beat(cli: Cli, *, ready: bool) -> None:
    """A worker of the database's own making."""
    cli.fetch("SELECT ledger.worker_started($1, 'w', '1')", WORKER)
    cli.fetch("SELECT ledger.worker_ready($1, $2)", WORKER, None if ready else "main: no stream")


def test_an_order_that_nobody_will_send_says_so_with_and_without_waiting(cli: Cli) -> None:
    never = cli.place("one")
    assert never.code == 0
    assert never.value["not_sent_why"].startswith("No worker has been seen")
    said = cli.run("place", *TERMS, "--key", "two")
    assert said.code == 0
    assert "No worker has been seen" in said.err
    waited = cli.run("place", *TERMS, "--key", "three", "--wait", "--timeout", "100ms")
    assert waited.code == 2
    assert "No worker has been seen" in waited.err

    beat(cli, ready=False)
    assert "No worker is ready (main: no stream)" in cli.place("four").value["not_sent_why"]
    cli.fetch("SELECT ledger.worker_ready($1)", WORKER)
    assert cli.place("five").value["not_sent_why"] == ""
    ready = cli.run("place", *TERMS, "--key", "six")
    assert (ready.code, ready.err) == (0, "")

    cli.fetch("UPDATE ledger.worker SET alive_until = ledger.clock() - interval '1 second'")
    assert "No worker is running" in cli.place("seven").value["not_sent_why"]
    # What was said of the first is not said of its replay: that may be at the venue for long.
    assert cli.place("one").value["not_sent_why"] == ""


def test_a_bot_that_may_not_look_at_workers_places_all_the_same(cli: Cli) -> None:
    trader = cli.database.server.role_prefix + "trader"
    cli.good("account", "grant", "main", trader)
    done = cli.run("place", *TERMS, "--key", "bot", "--json", role="trader")
    assert (done.code, done.value["not_sent_why"]) == (0, "")


# --- rewards ---------------------------------------------------------------------------------------


def test_rewards_are_listed_and_counted_for_strategies_up_to_what_was_paid(cli: Cli) -> None:
    assert cli.good("rewards") == []
    assert "no rewards" in cli.run("rewards").out
    item = {"reward_key": "r1", "earned_on": "2026-03-01", "amount_micros": 2_000_000}
    cli.fetch("SELECT ledger.record_rewards('main', $1)", json.dumps([item]))
    part = ("rewards", "allocate", "r1", "--strategy", "maker", "--amount")
    assert cli.good(*part, "1.5")["status"] == "allocated"
    assert cli.good(*part, "1.5")["status"] == "unchanged"
    [row] = cli.good("rewards")
    assert (row["allocated_micros"], row["over_allocated"]) == (1_500_000, False)
    for amount, code in (("2.1", "OVER_ALLOCATED"), ("0", "BAD_NUMBER"), ("x", "BAD_NUMBER")):
        done = cli.run(*part, amount, "--json")
        assert (done.code, done.error["code"]) == (2, code), done
    missing = cli.run("rewards", "allocate", "r2", *part[3:], "1", "--json")
    assert (missing.code, missing.error["code"]) == (2, "BAD_REQUEST")
    assert cli.run("rewards", "--account", "nobody", "--json").code == 2
    cli.fetch("SELECT ledger.record_rewards('main', $1)", json.dumps([item | {"amount_micros": 1}]))
    assert "MORE THAN PAID" in cli.run("rewards").out


# --- markets sync ----------------------------------------------------------------------------------


def test_markets_are_read_through_the_authority_of_the_settings_and_no_other(
    database: TestDatabase, tmp_path: Path
) -> None:
    with running_simulator(tmp_path, tls=True) as venue:
        venue.account(SIGNER.address, collateral="1")
        market = venue.market()
        settings: dict[str, Any] = venue.environment() | {
            "LEDGER_POLYMARKET_CLOB_URL": venue.tls_url,
            "LEDGER_POLYMARKET_GAMMA_URL": f"{venue.tls_url}/gamma",
            "LEDGER_POLYMARKET_CA_FILE": venue.ca_path,
        }
        cli = Cli(database, tmp_path, settings)
        done = cli.good("markets", "sync")
        assert (done["state"], done["created"]) == ("complete", 1)
        assert [row["market"] for row in cli.good("markets", "list")] == [market.condition_id]
        del cli.settings["LEDGER_POLYMARKET_CA_FILE"]
        refused = cli.run("markets", "sync", "--json")
        assert (refused.code, refused.value["state"]) == (1, "unread")
