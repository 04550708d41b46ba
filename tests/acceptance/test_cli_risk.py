"""``limits``, ``risk`` and ``breakers``: every limit is set and shown in human units, and what is used of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import MARKET, Cli, cli_fixture
from workers.cli.limit_names import LIMITS, OF_SCOPE, TOTALS

__all__ = ["cli_fixture"]

OTHER = "eth-updown-15m-2056370400"
GIVEN = {"micros": ("0.5", 500_000, "0.5"), "count": ("7", 7, "7"), "switch": ("yes", True, "yes")}
"""Typed, stored and shown."""


def place(cli: Cli, key: str, **terms: str) -> Any:
    done = cli.place(key, **terms)
    return done.value if done.code == 0 else done.error["code"]


def columns(cli: Cli, table: str) -> set[str]:
    rows = cli.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 2 "
        "AND NOT attisdropped",
        f"ledger.{table}",
    )
    return {row["attname"] for row in rows}


def test_every_limit_of_the_database_has_an_option_and_is_listed(cli: Cli) -> None:
    assert {one.column for one in LIMITS} == columns(cli, "limits")
    assert {one.column for one in TOTALS} == columns(cli, "total_limits")
    rows = cli.good("limits", role="worker")
    market = next(row for row in rows if row["scope"] == "market")
    assert {one.column for one in LIMITS} <= market.keys()
    assert {row["scope"] for row in rows} == {"market", *OF_SCOPE}
    assert all(one.column in row for row in rows[1:] for one in TOTALS)


def test_every_limit_is_set_shown_and_unset_in_human_units(cli: Cli) -> None:
    typed = [
        (f"--{one.option}", GIVEN[one.unit][0]) for one in LIMITS if one.option != "count-sells"
    ]
    words = [word for pair in typed for word in pair]
    where = ("--account", "main", "--market", MARKET)
    cli.good("limits", "set", *where, "--count-sells", *words, "--why", "all of them")
    row = next(one for one in cli.good("limits") if one["account"] and one["market"])
    assert [row[one.column] for one in LIMITS] == [GIVEN[one.unit][1] for one in LIMITS]
    shown = cli.run("limits").out
    for one in LIMITS:
        line = f"account main in {MARKET}  {one.option:<{len('duplicate-window-ms')}}  "
        assert line + GIVEN[one.unit][2] in shown, one
    words = [word for option, _ in typed for word in (option, "none")]
    done = cli.good("limits", "set", *where, *words, "--why", "and none")
    assert {change["after"] for change in done["changes"]} == {None}
    row = next(one for one in cli.good("limits") if one["account"] and one["market"])
    assert {one.column for one in LIMITS if row[one.column] is not None} == {"burst_counts_sells"}


@pytest.mark.parametrize(
    "scope", ["account", "account:main", "group", "group:btc", "global", "live"]
)
def test_every_total_of_a_scope_is_set_and_its_change_is_kept(cli: Cli, scope: str) -> None:
    kind, _, name = scope.partition(":")
    names = [one for one in TOTALS if one.option in OF_SCOPE[kind]]
    words = [word for n, one in enumerate(names) for word in (f"--{one.option}", str(n + 1))]
    cli.good("limits", "set", "--scope", scope, *words, "--why", "first week", role="risk")
    row = next(
        one
        for one in cli.good("limits")
        if one["scope"] == kind and (one["account"] or one["group"] or "") == name
    )
    for n, one in enumerate(names):
        assert row[one.column] == (n + 1) * (1_000_000 if one.unit == "micros" else 1), one
    changes = cli.good("limits", "changes", role="worker")[: len(names)]
    assert {(one["scope"], one["name"]) for one in changes} == {(kind, one.column) for one in names}
    assert {one["account"] or one["group"] or "" for one in changes} == {name}
    assert "first week" in cli.run("limits", "changes").out
    assert cli.good("audit")["ok"] is True


def test_the_two_ends_of_a_drawdown_can_be_moved_past_each_other(cli: Cli) -> None:
    for begin, end in (("10", "20"), ("30", "40"), ("5", "8"), ("7", "9")):
        ends = ("--drawdown-from", begin, "--drawdown-to", end)
        cli.good("limits", "set", "--scope", "account:main", *ends, "--why", "x", role="risk")
        row = next(
            one for one in cli.good("limits") if one["account"] and one["scope"] == "account"
        )
        found = (row["drawdown_from_micros"], row["drawdown_to_micros"])
        assert found == (int(begin) * 1_000_000, int(end) * 1_000_000)


def test_a_total_is_kept_and_its_refusal_speaks_of_decimals(cli: Cli) -> None:
    cli.good("limits", "set", "--scope", "account", "--max-cost", "5", "--why", "x")
    assert place(cli, "a", size="5")["size_micros"] == 5_000_000
    done = cli.place("b", market=OTHER)
    assert (done.error["code"], done.code) == ("CAP_ACCOUNT", 1)
    assert "_micros" not in done.error["wrong"]
    assert "ledger-worker risk" in done.error["next"]


def test_risk_shows_what_is_used_of_each_cap(cli: Cli) -> None:
    cli.good("limits", "set", "--scope", "account:main", "--max-cost", "9", "--why", "x")
    cli.good("limits", "set", "--scope", "global", "--max-cost", "10", "--why", "x")
    cli.good("limits", "set", "--scope", "account", "--open-orders", "4", "--why", "x")
    cli.good("limits", "set", "--max-market-cost", "6", "--why", "x")
    held = place(cli, "a", size="10") and cli.good("order", "show", "1")["held_micros"]
    found = cli.good("risk", role="worker")
    totals = {(row["scope"], row["name"]): row for row in found["totals"]}
    account = totals["account", "max_cost_micros"]
    assert (account["used"], account["cap"]) == (held, 9_000_000)
    assert account["used_ppm"] == held * 1_000_000 // 9_000_000
    assert totals["account", "max_open_orders"]["used"] == 1
    shared = totals["global", "max_cost_micros"]
    assert shared["used"] == held <= shared["lent"] <= shared["cap"]
    assert totals["live", "max_cost_micros"]["used"] == 0
    (loan,) = found["loans"]
    assert (loan["account"], loan["used_cost_micros"]) == ("main", held)
    assert found["markets"][0]["name"] == "max_market_cost_micros"
    assert {row["slug"] for row in found["markets"]} == {MARKET}
    assert [(row["outcome"], row["too_old"]) for row in found["books"]] == [
        ("Up", True),
        ("Down", True),
    ]
    shown = cli.run("risk", "--account", "main").out
    assert "all accounts" in shown
    assert "of 9" in shown
    assert "none (too old)" not in shown


def test_breakers_are_listed_shown_in_status_and_reset_by_a_person(cli: Cli) -> None:
    assert cli.good("breakers") == []
    cli.fetch(
        "INSERT INTO ledger.breaker (account_id, market_id, kind, count, until, why, changed_at) "
        "SELECT 1, market_id, 'reject', 3, ledger.clock() + interval '5 minutes', 'not enough', "
        "ledger.clock() FROM ledger.market WHERE slug = $1",
        MARKET,
    )
    (row,) = cli.good("breakers", "--account", "main", role="worker")
    assert (row["slug"], row["kind"], row["state"], row["count"]) == (MARKET, "reject", "open", 3)
    assert 0 < row["ends_in_s"] <= 300
    assert [one["kind"] for one in cli.good("status")["breakers"]] == ["reject"]
    assert cli.good("risk")["breakers"][0]["why"] == "not enough"
    refused = cli.place("k")
    assert (refused.error["code"], refused.code) == ("BREAKER", 1)
    why = ("--why", "the venue is well again", "--operator", "ann")
    done = cli.good("breakers", "reset", "--market", MARKET, *why, role="risk")
    assert done == {"status": "reset", "account": "main", "market": MARKET, "count": 1}
    assert cli.good("breakers", "reset", *why)["count"] == 0
    assert cli.place("k").code == 0
    (told,) = cli.fetch("SELECT detail FROM ledger.journal WHERE event = 'BREAKER_RESET'")
    assert json.loads(told["detail"])["why"] == "ann: the venue is well again"
    (changed,) = cli.fetch("SELECT * FROM audit.changes WHERE kind = 'breaker'")
    assert (changed["slug"], changed["after"]) == (MARKET, "closed")


@pytest.mark.parametrize("role", ["worker", "trader"])
def test_only_risk_resets_a_breaker_or_changes_a_limit(cli: Cli, role: str) -> None:
    for words in (
        ("breakers", "reset", "--why", "x"),
        ("limits", "set", "--max-order", "5", "--why", "x"),
        ("limits", "set", "--scope", "live", "--max-cost", "none", "--why", "x"),
    ):
        done = cli.run(*words, "--json", role=role)
        assert (done.error["code"], done.code) == ("DATABASE_PRIVILEGE", 2)


def test_a_moved_price_and_a_suspected_duplicate_are_told(cli: Cli) -> None:
    token = cli.fetch(
        "SELECT token_id FROM ledger.outcome JOIN ledger.market USING (market_id) "
        "WHERE slug = $1 AND outcome = 0",
        MARKET,
    )[0]["token_id"]
    book = {"token_id": token, "bids": [[390_000, 9_000_000]], "asks": [[410_000, 9_000_000]]}
    cli.fetch("SELECT ledger.note_books($1)", json.dumps([book | {"age_ms": 0}]))
    crossing = cli.place("a", "--post-only")
    assert (crossing.error["code"], crossing.code) == ("WOULD_CROSS", 1)
    moved = cli.place("a", "--post-only", "--clamp")
    assert (moved.value["price_micros"], moved.value["asked_price_micros"]) == (400_000, 450_000)
    assert (
        "moved to 0.4, where it does not cross"
        in cli.run(
            *("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.45"),
            *("--size", "10", "--key", "a", "--post-only", "--clamp"),
        ).out
    )
    cli.good("limits", "set", "--duplicate-window-ms", "600000", "--why", "slow hands")
    again = cli.place("b", price="0.40")
    assert again.value["duplicate_of"] == moved.value["order_id"]
    cli.good("limits", "set", "--refuse-duplicates", "yes", "--why", "x")
    refused = cli.place("c", price="0.40")
    assert (refused.error["code"], refused.code) == ("DUPLICATE", 1)


def test_the_value_of_redeemed_tokens_is_booked_and_kept_to(cli: Cli) -> None:
    rows = cli.fetch(
        "SELECT token_id FROM ledger.outcome JOIN ledger.market USING (market_id) "
        "WHERE slug = $1 ORDER BY outcome",
        MARKET,
    )
    token = ("--asset", rows[0]["token_id"])
    opened = ("--amount", "8", "--cause", "opening", "--key", "o", "--why", "x", "--value", "3.2")
    assert cli.good("balances", "book", *token, *opened)["value_micros"] == 3_200_000
    gone = ("--amount", "-5", "--cause", "redemption", "--key", "r", "--why", "won")
    first = cli.good("balances", "book", *token, *gone, "--value", "5")
    assert (first["status"], first["value_micros"]) == ("booked", 5_000_000)
    assert cli.good("balances", "book", *token, *gone, "--value", "5")["status"] == "replay"
    other = cli.run("balances", "book", *token, *gone, "--value", "4", "--json")
    assert (other.error["code"], other.code) == ("KEY_REUSED", 1)
    (row,) = cli.fetch("SELECT * FROM audit.pnl")
    assert (row["cost_micros"], row["proceeds_micros"]) == (3_200_000, 5_000_000)
    assert cli.good("audit")["ok"] is True
