"""Every command does what its help says, in the role it connects as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.markets.files import sample_path
from tests.support.cli import MARKET, Cli, captured, cli_fixture  # noqa: F401

WORKER = "00000000-0000-0000-0000-000000000001"
VENUE_ID = "0x" + "b" * 64
NOWHERE = {
    f"LEDGER_POLYMARKET_{name}_URL": f"{scheme}://127.0.0.1:9"
    for scheme, names in (("http", "CLOB GAMMA DATA SITE"), ("ws", "WS MARKET_WS"))
    for name in names.split()
}
"""Addresses at which nobody listens."""


def call(cli: Cli, function: str, *items: dict[str, Any]) -> Any:
    """A function of the send path, as a worker would call it."""
    (row,) = cli.fetch(f"SELECT ledger.{function}($1)::text AS answer", json.dumps(items))
    return json.loads(row["answer"])


def lose(cli: Cli, number: int) -> None:
    """Let an order's fate become unknown: sent, and never answered."""
    cli.fetch("SELECT ledger.claim_placements($1, '{main}', 60000, 15)", WORKER)
    work = {"order_id": number, "incarnation": WORKER, "claim_no": 1}
    fields = {"venue_order_id": VENUE_ID, "body": "e30=", "fields": {}}
    call(cli, "prepare", work | fields)
    (opened,) = call(cli, "open_attempt", work | {"owner": "me", "request_timeout_ms": 1000})
    assert opened["status"] == "ok", opened
    attempt = {"order_id": number, "attempt": 1, "incarnation": WORKER}
    (lost,) = call(cli, "mark_unknown", attempt | {"code": "TIMEOUT", "raw": ""})
    assert lost["state"] == "UNKNOWN", lost


def placed(cli: Cli, key: str = "k", **terms: str) -> int:
    number: int = cli.place(key, **terms).value["order_id"]
    return number


def test_a_placed_order_is_listed_shown_and_holds_collateral(cli: Cli) -> None:
    number = placed(cli)
    (row,) = cli.good("orders", "--open", "--market", MARKET, "--account", "main")
    assert (row["order_id"], row["price_micros"], row["state"]) == (number, 450_000, "RESERVED")
    shown = cli.good("order", "show", str(number))
    assert shown["held_micros"] > 4_500_000
    assert [entry["event"] for entry in shown["journal"]] == ["RESERVE"]
    (balance,) = cli.good("balances", "--account", "main")
    assert balance["available_micros"] == 500_000_000 - shown["held_micros"]
    assert "BUY 10 at 0.45 of Up, GTC" in cli.run("order", "show", str(number)).out


def test_the_same_key_gets_the_same_order_and_another_request_is_refused(cli: Cli) -> None:
    first = cli.place("k").value
    again = cli.place("k")
    assert again.code == 0
    assert (again.value["order_id"], again.value["replay"]) == (first["order_id"], True)
    other = cli.place("k", price="0.46")
    assert (other.code, other.error["code"]) == (1, "KEY_REUSED")


def test_a_cap_refuses_more_and_with_clamp_takes_what_is_left(cli: Cli) -> None:
    placed(cli, "a", size="95")
    refused = cli.place("b", size="10")
    assert (refused.code, refused.error["code"]) == (1, "CAP_OUTCOME")
    assert refused.error["wrong"] == "5 shares are left under the cap"
    taken = cli.place("b", "--clamp", size="10").value
    assert (taken["size_micros"], taken["clamped"]) == (5_000_000, True)


def test_an_order_good_till_a_date_keeps_its_date(cli: Cli) -> None:
    done = cli.place("k", **{"type": "gtd", "expires-at": "2034-01-01T00:00:00+00:00"})
    shown = cli.good("order", "show", str(done.value["order_id"]))
    assert (shown["order_type"], shown["expires_at_s"]) == ("GTD", 2_019_686_400)


def test_waiting_tells_when_nothing_is_known_in_time(cli: Cli) -> None:
    done = cli.place("k", "--wait", timeout="1ms")
    assert (done.code, done.value["waited"]) == (2, "timed_out")
    assert done.value["order"]["state"] == "RESERVED"


def test_waiting_for_an_order_that_was_never_placed_ends_with_one(cli: Cli) -> None:
    cli.good("cancel", str(placed(cli)))
    done = cli.place("k", "--wait")
    assert (done.code, done.value["order"]["state"]) == (1, "NOT_PLACED")


def test_cancelling_ends_what_was_never_sent_and_queues_the_rest(cli: Cli) -> None:
    unsent, sent = placed(cli, "a"), placed(cli, "b", market="eth-updown-15m-2056370400")
    lose(cli, sent)
    answers = cli.good("cancel", str(unsent), str(sent))
    assert [one["state"] for one in answers] == ["NOT_PLACED", "UNKNOWN"]
    assert cli.good("status")["counts"]["cancels_due"] == 1
    assert cli.good("cancel", VENUE_ID)[0]["order_id"] == sent
    assert cli.good("cancel", "--all") == []


def test_all_orders_of_a_market_or_of_the_account_are_cancelled(cli: Cli) -> None:
    here, there = placed(cli, "a"), placed(cli, "b", market="eth-updown-15m-2056370400")
    assert [one["order_id"] for one in cli.good("cancel", "--market", MARKET)] == [here]
    assert [one["order_id"] for one in cli.good("cancel", "--all")] == [there]


def test_an_unknown_order_among_others_is_refused_and_the_others_are_cancelled(cli: Cli) -> None:
    number = placed(cli)
    done = cli.run("cancel", str(number), "999999", "--json")
    assert done.code == 1
    assert [one["status"] for one in done.value] == ["ok", "refused"]


def test_replacing_an_order_that_was_never_sent_reserves_the_new_one_at_once(cli: Cli) -> None:
    old = placed(cli)
    arguments = ("replace", str(old), "--price", "0.46", "--size", "12", "--key", "r")
    done = cli.good(*arguments)
    assert (done["state"], done["old_order_id"]) == ("done", old)
    new = cli.good("order", "show", str(done["new_order_id"]))
    assert (new["size_micros"], new["replaces_order_id"]) == (12_000_000, old)
    again = cli.good(*arguments)
    assert (again["replay"], again["new_order_id"]) == (True, done["new_order_id"])
    assert cli.good("order", "show", str(old))["replaced_by"] == done["new_order_id"]


def test_a_replacement_that_is_refused_says_that_the_old_order_is_gone(cli: Cli) -> None:
    old = placed(cli)
    arguments = ("replace", str(old), "--price", "0.46", "--size", "1000", "--key", "r")
    done = cli.run(*arguments, "--json")
    assert (done.code, done.error["code"]) == (1, "CAP_OUTCOME")
    assert f"the old order {old} was ended" in done.error["wrong"]


def test_a_replacement_waits_for_the_end_of_an_order_that_may_live(cli: Cli) -> None:
    old = placed(cli)
    lose(cli, old)
    arguments = ("replace", str(old), "--price", "0.46", "--size", "12", "--key", "r")
    assert cli.good(*arguments)["state"] == "waiting"
    done = cli.run(*arguments, "--wait", "--timeout", "1ms", "--json")
    assert (done.code, done.value["waited"]) == (2, "timed_out")


def test_an_unknown_order_is_in_status_blocks_its_lane_and_is_resolved(cli: Cli) -> None:
    number = placed(cli)
    lose(cli, number)
    behind = placed(cli, "behind")
    status = cli.good("status")
    assert [one["order_id"] for one in status["unresolved"]] == [number]
    (lane,) = cli.good("lanes")
    assert (lane["order_id"], lane["status"], lane["waiting"]) == (number, "blocked", 1)
    done = cli.good("lanes", "release", "--market", MARKET, "--why", "seen by hand")
    assert done["released"] == 1
    assert cli.good("lanes") == []
    how = (
        "--as",
        "cancelled",
        "--final-size",
        "0",
        "--why",
        "the page shows it",
        "--operator",
        "ann",
    )
    answer = cli.good("order", "resolve", str(number), *how)
    assert answer["state"] == "CANCELLED"
    shown = cli.good("order", "show", VENUE_ID)
    assert shown["evidence"][-1]["detail"] == "ann: the page shows it"
    assert behind in [one["order_id"] for one in cli.good("orders", "--open")]
    assert "UNKNOWN" in cli.run("order", "show", str(number)).out


def test_dead_letters_are_listed_shown_and_retried_once(cli: Cli) -> None:
    cli.fetch("SELECT ledger.store_events('main', $1)", '[{"event_id": "e1", "raw": "{odd}"}]')
    cli.fetch("SELECT ledger.mark_events('main', '{e1}', 'not JSON')")
    (letter,) = cli.good("dead-letters")
    assert letter["problem"] == "not JSON"
    number = str(letter["dead_letter_id"])
    assert cli.good("dead-letters", "show", number)["raw"] == "{odd}"
    assert cli.good("dead-letters", "retry", number)["subject"] == "venue_event:e1"
    assert cli.run("dead-letters", "retry", number).code == 2
    assert cli.good("dead-letters", "list") == []
    assert len(cli.good("dead-letters", "list", "--all")) == 1


def test_a_halt_stops_placing_and_ends_only_by_its_newest_version(cli: Cli) -> None:
    first = cli.good("halt", f"market:{MARKET}", "--why", "odd prices")["version"]
    refused = cli.place("k")
    assert (refused.code, refused.error["code"]) == (1, "HALTED")
    assert "odd prices" in refused.error["wrong"]
    second = cli.good("halt", f"market:{MARKET}", "--why", "still odd")["version"]
    stale = cli.run("resume", f"market:{MARKET}", "--version", str(first), "--json")
    assert (stale.code, stale.error["code"]) == (1, "STALE_VERSION")
    (halt, _) = cli.good("status")["halts"]
    assert (halt["name"], halt["why"]) == (MARKET, "odd prices")
    done = cli.good("resume", f"market:{MARKET}", "--version", str(second), "--why", "settled")
    assert done["ended"] == 2
    assert cli.place("k").code == 0


@pytest.mark.parametrize("scope", ["global", "account:main", "group:event:45003"])
def test_every_scope_can_be_halted_and_resumed(cli: Cli, scope: str) -> None:
    version = cli.good("halt", scope, "--why", "x")["version"]
    assert cli.good("status")["halts"][0]["version"] == version
    assert scope.partition(":")[2] in cli.run("status").out
    assert cli.good("resume", scope, "--version", str(version))["ended"] == 1


def test_limits_are_set_where_they_are_named_and_every_change_is_kept(cli: Cli) -> None:
    where = ("--account", "main", "--market", MARKET)
    values = ("--max-outcome", "12.5", "--max-market", "20", "--per-minute", "3", "--gap-ms", "0")
    cli.good("limits", "set", *where, *values, "--count-sells", "--why", "careful")
    row = next(one for one in cli.good("limits") if one["account"] and one["market"])
    assert (row["account"], row["slug"], row["max_outcome_micros"]) == ("main", MARKET, 12_500_000)
    assert (row["burst_per_minute"], row["burst_gap_ms"]) == (3, 0)
    assert row["burst_counts_sells"] is True
    assert cli.place("k", size="13").error["code"] == "CAP_OUTCOME"
    cli.good("limits", "set", *where, "--max-outcome", "none", "--why", "enough")
    change = cli.good("limits", "changes")[0]
    assert (change["before"], change["after"], change["why"]) == ("12500000", None, "enough")
    assert "12.5" in cli.run("limits", "changes").out


def test_markets_are_imported_anew_without_doubling(cli: Cli) -> None:
    again = cli.good("markets", "import", "--sample")
    assert (again["created"], again["updated"], again["tradable"]) == (0, 20, 20)
    assert len(cli.good("markets", "list", "--tradable")) == 20
    (one,) = cli.good("markets", "list", "--market", MARKET)
    assert (one["tick_micros"], one["outcomes"]) == (10_000, ["Up", "Down"])
    assert cli.good("markets", "list", "--search", "BITCOIN UP OR DOWN")
    assert cli.good("markets", "list", "--search", "no such words") == []


def test_markets_whose_window_ended_are_not_counted_as_tradable(cli: Cli) -> None:
    market = json.loads(sample_path().read_text())[0]["markets"][0]
    past = {"endDate": "2020-01-01T00:15:00Z", "eventStartTime": "2020-01-01T00:00:00Z"}
    rows = [
        market
        | change
        | {"conditionId": "0x" + str(n) * 64, "slug": slug}
        | {"clobTokenIds": json.dumps([str(n) * 76, str(n) * 75])}
        for n, slug, change in ((5, "old", past), (6, "new", {}), (7, "odd", {"closed": True}))
    ]
    file = cli.folder / "some.json"
    file.write_text(json.dumps(rows))
    done = cli.good("markets", "import", str(file))
    assert (done["markets"], done["tradable"], done["ended"]) == (3, 1, 1)
    said = cli.run("markets", "import", str(file)).out
    assert said.startswith(f"3 markets from {file}: 0 new, 3 updated, 1 tradable now, 1 ended\n")
    listed = cli.good("markets", "list", "--tradable")
    assert "new" in [one["slug"] for one in listed]
    assert not {"old", "odd"} & {one["slug"] for one in listed}


def test_a_file_without_markets_says_so_and_is_no_error(cli: Cli) -> None:
    file = cli.folder / "tags.json"
    file.write_text('[{"id": "1", "label": "Crypto"}]')
    done = cli.run("markets", "import", str(file))
    assert (done.code, done.err) == (0, "")
    assert "holds no markets" in done.out
    assert cli.good("markets", "import", str(file))["markets"] == 0


def test_an_account_is_opened_once_and_granted(cli: Cli) -> None:
    opened = cli.good("account", "open", "second", "--collateral", "25")
    assert opened["collateral_micros"] == 25_000_000
    assert cli.good("account", "open", "second", "--collateral", "25")["collateral_micros"] == 0
    cli.good("account", "open", "far", "--venue", "polymarket")
    trader = cli.database.server.role_prefix + "trader"
    assert cli.good("account", "grant", "second", trader)["is_trader"] is True
    accounts = {one["account"]: one for one in cli.good("account", "list")}
    assert accounts["second"]["granted_to"] == [trader]
    assert accounts["far"]["venue"] == "polymarket"
    assert {one["account"] for one in cli.good("balances")} >= {"main", "second"}


def test_a_grant_to_a_login_that_is_no_trader_says_what_it_still_lacks(cli: Cli) -> None:
    prefix = cli.database.server.role_prefix
    done = cli.run("account", "grant", "main", prefix + "auditor")
    assert (done.code, done.out) == (0, f"{prefix}auditor may trade for main\n")
    assert f"GRANT {prefix}trader TO {prefix}auditor" in done.err


def test_a_halt_of_a_group_that_no_market_belongs_to_stands_and_says_so(cli: Cli) -> None:
    done = cli.run("halt", "group:no-such-group", "--why", "x")
    assert done.code == 0
    assert "no market of that name is known" in done.err
    assert "no market known" in cli.run("status").out
    again = cli.good("halt", "group:no-such-group", "--why", "x")
    assert again["group_markets"] == 0
    known = cli.good("halt", "group:event:45003", "--why", "x")
    assert known["group_markets"] == 1


def test_orders_that_nobody_placed_are_shown_and_not_touched_without_a_yes(cli: Cli) -> None:
    assert cli.good("adopt")["foreign_orders"] == []
    seen = {"account": "main", "venue_order_id": VENUE_ID, "status": "LIVE", "raw_status": "LIVE"}
    call(cli, "observe_orders", seen | {"size_matched_micros": 0, "source": "read"})
    before = cli.counts()
    done = cli.process("adopt", "--json", typed="no\n")
    assert (done.code, done.value["adopted"]) == (1, None)
    assert [one["venue_order_id"] for one in done.value["foreign_orders"]] == [VENUE_ID]
    assert "Nothing was adopted" in done.err
    assert cli.counts() == before
    assert cli.good("status")["halts"][0]["scope"] == "account"


def test_an_audit_is_clean_and_turns_red_naming_the_row(cli: Cli) -> None:
    placed(cli)
    clean = cli.good("audit")
    assert clean["ok"] is True
    assert {"name", "ok", "rows"} <= clean["checks"][0].keys()
    cli.fetch("UPDATE ledger.exposure SET pending_buy[1] = pending_buy[1] + 1")
    red = cli.run("audit", "--json")
    assert (red.code, red.value["ok"]) == (1, False)
    text = cli.run("audit")
    assert text.code == 1
    assert MARKET in text.out


def test_a_reconciliation_with_nothing_at_the_venue_is_clean(cli: Cli) -> None:
    done = cli.run("reconcile", "--json")
    assert (done.code, done.value["result"]) == (0, "clean")
    assert cli.good("status")["reconcile"][0]["result"] == "clean"


def test_the_doctor_finds_a_sound_set_up(cli: Cli) -> None:
    done = cli.run("doctor", "--json")
    results = {one["name"]: one["result"] for one in done.value["checks"]}
    for name in ("fsync", "full_page_writes"):  # the tests' server may do without
        assert results.pop(name) in ("ok", "warn")
    assert set(results.values()) == {"ok"}, done
    assert {"settings", "clock", "schema", "roles", "markets", "account", "venue"} <= set(results)


@pytest.mark.parametrize(
    "key", ["0xzz", "5ec7e7" * 10, "0x" + "0" * 64, "0x" + "f" * 64, "½5ec7e7", "5ec7e7 " * 9]
)
@pytest.mark.parametrize(("venue", "result"), [("paper", "warn"), ("polymarket", "fail")])
def test_the_doctor_tells_a_private_key_that_cannot_sign_and_shows_nothing_of_it(
    cli: Cli, key: str, venue: str, result: str
) -> None:
    cli.settings |= {"LEDGER_PRIVATE_KEY": key, "LEDGER_VENUE": venue} | NOWHERE
    done = cli.run("doctor", "--json")
    (found,) = [one for one in done.value["checks"] if one["name"] == "private key"]
    assert found["result"] == result
    assert found["detail"].startswith("BAD_KEY: LEDGER_PRIVATE_KEY is not 64 hex digits")
    assert "Next: " in found["detail"]
    shown = done.out + done.err
    assert key not in shown
    assert "5ec7e7" not in shown


def test_a_private_key_that_is_not_text_is_named_and_nothing_of_it_shown(cli: Cli) -> None:
    cli.settings["LEDGER_PRIVATE_KEY"] = "\udcff5ec7e7"
    done = cli.run("status", "--json")
    assert (done.code, done.error["code"]) == (2, "BAD_KEY")
    assert "LEDGER_PRIVATE_KEY" in done.error["wrong"]
    assert "5ec7e7" not in done.out + done.err


def test_the_doctor_says_for_which_address_a_private_key_signs(cli: Cli) -> None:
    cli.settings["LEDGER_PRIVATE_KEY"] = "0x" + "0" * 63 + "1"
    found = {one["name"]: one for one in cli.run("doctor", "--json").value["checks"]}
    assert found["private key"]["result"] == "ok"
    assert "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf" in found["private key"]["detail"]


def test_the_doctor_names_what_is_missing_and_changes_nothing(cli: Cli) -> None:
    cli.settings["LEDGER_ACCOUNT"] = "nobody"
    cli.fetch("UPDATE ledger.market SET tradable = false, untradable_reasons = '{CLOSED}'")
    before = cli.counts()
    results = {one["name"]: one for one in cli.run("doctor", "--json").value["checks"]}
    assert results["markets"]["result"] == results["account"]["result"] == "warn"
    cli.settings["LEDGER_SIGNATURE_TYPE"] = "9"
    done = cli.run("doctor", "--json")
    assert (done.code, done.value["ok"]) == (1, False)
    assert cli.counts() == before


def test_a_configured_database_is_not_started_or_stopped_and_its_password_not_shown(
    cli: Cli,
) -> None:
    cli.settings["LEDGER_DATABASE_URL"] = "postgresql://me:s3cr3t-word@db.example/ledger"
    shown = cli.run("db", "status", "--json")
    assert shown.value["state"] == "configured"
    assert "s3cr3t" not in shown.out
    assert cli.run("db", "stop").code == 2


def test_the_state_of_the_embedded_server_is_a_failure_only_where_it_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_DATA_DIR", str(tmp_path / "home"))
    none = captured(("db", "status", "--json"))
    assert (none.code, none.value["state"], none.value["next"]) == (0, "none", "")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    unusable = captured(("db", "status", "--json"))
    assert (unusable.code, unusable.value["state"]) == (2, "unusable")
    assert unusable.value["detail"]
    assert unusable.value["next"]


WORKER_COMMANDS = [
    (
        *("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.4"),
        *("--size", "10", "--key", "k"),
    ),
    ("orders",),
    ("order", "show", "{order}"),
    ("status",),
    ("lanes",),
    ("dead-letters",),
    ("balances",),
    ("limits",),
    ("limits", "changes"),
    ("markets", "list"),
    ("markets", "import", "--sample"),
    ("account", "list"),
    ("adopt",),
    ("reconcile",),
    ("doctor",),
    ("cancel", "{order}"),
]
RISK_COMMANDS = [
    ("halt", "global", "--why", "x"),
    ("resume", "global", "--version", "1"),
    ("limits", "set", "--per-minute", "5", "--why", "x"),
    ("lanes", "release", "--market", MARKET, "--why", "x"),
    ("account", "open", "third", "--collateral", "5"),
    ("account", "grant", "third", "{risk}"),
    (
        *("balances", "book", "--asset", "collateral", "--amount", "1", "--cause", "deposit"),
        *("--key", "k", "--why", "x"),
    ),
]


@pytest.mark.parametrize(
    ("role", "commands"),
    [("worker", WORKER_COMMANDS), ("risk", RISK_COMMANDS), ("auditor", [("audit",)])],
)
def test_each_role_may_do_what_the_embedded_server_lets_it_do(
    cli: Cli, role: str, commands: list[tuple[str, ...]]
) -> None:
    number = str(placed(cli, "first"))
    failed = {}
    for arguments in commands:
        names = {"order": number, "risk": cli.database.server.role_prefix + "risk"}
        done = cli.run(*(part.format(**names) for part in arguments), "--json", role=role)
        if done.code and arguments != ("doctor",):
            failed[arguments] = done
    assert not failed


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("worker", ("limits", "set", "--per-minute", "5", "--why", "x")),
        ("worker", ("resume", "global", "--version", "1")),
        ("auditor", ("halt", "global", "--why", "x")),
        ("auditor", ("orders",)),
        ("trader", ("account", "open", "mine", "--collateral", "1000000")),
        ("trader", ("limits", "set", "--max-outcome", "none", "--why", "x")),
        ("risk", ("cancel", "1")),
    ],
)
def test_a_login_without_the_right_is_told_so_and_changes_nothing(
    cli: Cli, role: str, arguments: tuple[str, ...]
) -> None:
    before = cli.counts()
    done = cli.run(*arguments, "--json", role=role)
    assert (done.code, done.error["code"]) == (2, "DATABASE_PRIVILEGE")
    assert cli.counts() == before


def test_a_bot_places_and_cancels_for_the_account_it_was_granted_alone(cli: Cli) -> None:
    trader = cli.database.server.role_prefix + "trader"
    asked = ("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.4")
    terms = ("--size", "10", "--key", "k", "--json")
    refused = cli.run(*asked, *terms, role="trader")
    assert (refused.code, refused.error["code"]) == (2, "NOT_GRANTED")
    cli.good("account", "grant", "main", trader)
    done = cli.run(*asked, *terms, role="trader")
    assert done.code == 0, done
    assert (
        cli.good("cancel", str(done.value["order_id"]), role="trader")[0]["state"] == "NOT_PLACED"
    )
