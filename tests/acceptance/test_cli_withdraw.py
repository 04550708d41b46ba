"""``withdraw``: asked for once per key, shown, cancelled, resolved; with a worker it moves the money."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.cli import Cli, cli_fixture
from tests.support.worker import Rig, rig_fixture, until

__all__ = ["cli_fixture", "rig_fixture"]

TO: Final = "0x" + "ab" * 20
START: Final = ("withdraw", "start", "--to", TO, "--why", "test", "--operator", "jo")


def start(cli: Cli, *more: str, amount: str = "12.5", key: str = "w1", **role: str) -> Any:
    return cli.run(*START, "--amount", amount, "--key", key, *more, "--json", **role)


def test_the_same_key_is_the_same_withdrawal(cli: Cli) -> None:
    assert start(cli, role="risk").error["wrong"] == "nobody agreed", "it may not see which it is"
    first = start(cli, "--yes", role="risk")
    assert (first.code, first.value["state"], first.value["replay"]) == (0, "REQUESTED", False)
    again = start(cli, "--yes", role="risk")
    assert (again.code, again.value["replay"]) == (0, True)
    assert again.value["withdrawal_id"] == first.value["withdrawal_id"]
    other = start(cli, amount="13")
    assert (other.code, other.error["code"]) == (1, "KEY_REUSED")
    second = start(cli, key="w2")
    assert (second.code, second.error["code"]) == (1, "BUSY")
    (row,) = cli.good("withdraw", role="risk")
    assert (row["amount_micros"], row["destination"], row["needs_person"]) == (
        12_500_000,
        TO,
        False,
    )


def test_nobody_but_risk_may_start_cancel_or_resolve(cli: Cli) -> None:
    for role in ("worker", "trader"):
        done = start(cli, "--yes", role=role)
        assert (done.code, done.error["code"]) == (2, "DATABASE_PRIVILEGE"), role
    number = str(start(cli).value["withdrawal_id"])
    for words in (("cancel", number), ("resolve", number, "--as", "done")):
        done = cli.run("withdraw", *words, "--why", "x", "--json", role="worker")
        assert (done.code, done.error["code"]) == (2, "DATABASE_PRIVILEGE"), words


def test_it_is_shown_with_its_history_and_cancelled_before_the_debit(cli: Cli) -> None:
    number = str(start(cli).value["withdrawal_id"])
    assert cli.good("withdraw", "cancel", number, "--why", "changed")["state"] == "CANCELLED"
    assert cli.good("withdraw", "list") == []
    (row,) = cli.good("withdraw", "list", "--all", "--account", "main")
    assert (row["state"], row["ended"]) == ("CANCELLED", True)
    shown = cli.good("withdraw", "show", number)
    assert [line["what"] for line in shown["history"]] == [
        "WITHDRAWAL_ASKED -> REQUESTED",
        "WITHDRAWAL_MOVED REQUESTED -> CANCELLED",
    ]
    late = cli.run("withdraw", "resolve", number, "--as", "done", "--why", "x", "--json")
    assert (late.code, late.error["code"]) == (1, "ALREADY_ENDED")
    text = cli.run("withdraw", "show", number)
    assert text.code == 0
    assert "12.5" in text.out
    assert cli.good("audit")["ok"] is True


def test_without_a_worker_the_wait_runs_out_and_says_so(cli: Cli) -> None:
    done = start(cli, "--wait", "--timeout", "200ms")
    assert (done.code, done.value["waited"], done.value["state"]) == (2, "timed_out", "REQUESTED")
    assert "REQUESTED" in done.err, "progress"


def test_real_money_leaves_only_after_a_typed_yes(cli: Cli) -> None:
    cli.good("account", "open", "live", "--venue", "polymarket")
    deposit = ("--asset", "collateral", "--cause", "deposit", "--key", "d", "--why", "x")
    cli.good("balances", "book", *deposit, "--amount", "50", "--account", "live")
    asked = (*START, "--amount", "5", "--key", "w1", "--account", "live", "--json")
    before = cli.counts()
    for typed in ("", "no\n", "y\n"):
        done = cli.process(*asked, typed=typed)
        assert (done.code, done.error["code"]) == (2, "BAD_REQUEST"), done
        assert TO in done.err
    assert cli.counts() == before
    assert cli.process(*asked, typed="yes\n").code == 0
    assert cli.run(*asked, "--yes").value["replay"] is True


def test_without_a_worker_it_is_told_that_none_runs(cli: Cli) -> None:
    done = cli.run(*START, "--amount", "12.5", "--key", "w1")
    assert done.code == 0
    assert "no worker is running: it stays REQUESTED" in done.out
    assert start(cli).value["workers_running"] == 0
    (row,) = cli.good("withdraw")
    number = str(row["withdrawal_id"])
    assert row["unattended"] is False, "it has just been asked for"
    cli.fetch("UPDATE ledger.withdrawal SET next_at = next_at - interval '1 minute' RETURNING 1")
    assert "no worker takes it up" in cli.run("withdraw", "show", number).out
    (row,) = cli.good("status")["withdrawals"]
    assert (row["state"], row["unattended"], row["needs_person"]) == ("REQUESTED", True, False)
    shown = cli.run("status").out
    assert "withdrawals" in shown
    assert "a worker that can carry it on" in shown


def test_a_running_worker_is_not_said_to_carry_on_what_it_may_not_be_able_to(cli: Cli) -> None:
    cli.fetch(
        "INSERT INTO ledger.worker (incarnation, name, version, started_at, seen_at, alive_until) "
        "SELECT gen_random_uuid(), 'w', '1', now, now, now + interval '1 hour' FROM ledger.clock() AS now "
        "RETURNING 1"
    )
    done = cli.run(*START, "--amount", "12.5", "--key", "w1")
    assert "1 worker running; whether one takes it up is seen in a moment" in done.out
    assert "has what a transfer needs" in done.out


@pytest.mark.parametrize("option", ["--drain-within", "--alarm-after"])
@pytest.mark.parametrize("given", ["0s", "999ms", "25h"])
def test_a_patience_out_of_bounds_is_refused_with_the_bounds_of_its_own_option(
    cli: Cli, option: str, given: str
) -> None:
    done = start(cli, option, given)
    assert (done.code, done.error["code"]) == (2, "BAD_VALIDITY")
    assert done.error["next"] == f"give {option} from 1s to 24h"
    assert cli.good("withdraw", "list", "--all") == []


def test_an_empty_reason_cancels_and_resolves_nothing(cli: Cli) -> None:
    number = str(start(cli).value["withdrawal_id"])
    for words in (("cancel", number), ("resolve", number, "--as", "failed")):
        done = cli.run("withdraw", *words, "--why", "  ", "--json")
        assert (done.code, done.error["wrong"]) == (2, "--why is empty"), words
    assert cli.good("withdraw", "show", number)["state"] == "REQUESTED"


def test_a_key_of_withdrawals_books_no_movement(cli: Cli) -> None:
    deposit = ("--asset", "collateral", "--cause", "deposit", "--amount", "1", "--why", "x")
    done = cli.run("balances", "book", *deposit, "--key", "withdrawal:1:debit", "--json")
    assert (done.code, done.error["code"]) == (2, "BAD_KEY")
    assert "nothing was booked" in done.error["not_done"]


async def test_a_worker_drains_the_account_moves_the_money_and_lets_it_trade_again(
    rig: Rig, tmp_path: Path
) -> None:
    cli = Cli(rig.database, tmp_path)
    await rig.started()
    resting = [await rig.reserve(f"m{n}") for n in (1, 2)]
    for order in resting:
        await rig.until_state(order, "LIVE")
    done = await asyncio.to_thread(start, cli, "--wait", "--timeout", "60s", amount="900")
    assert (done.code, done.value["state"], done.value["waited"]) == (0, "DONE", "known"), done
    for order in resting:
        assert (await rig.order(order))["state"] == "CANCELLED"
    (sent,) = cli.fetch("SELECT * FROM paper.transfer")
    assert (sent["amount_micros"], sent["destination"], sent["state"]) == (900_000_000, TO, "DONE")
    (balance,) = cli.good("balances")
    assert (balance["available_micros"], balance["locked_micros"]) == (100_000_000, 0)
    await rig.until_state(await rig.reserve("m3"), "LIVE")
    assert cli.good("audit")["ok"] is True


async def test_a_worker_killed_in_the_middle_of_the_send_leaves_one_transfer(
    rig: Rig, tmp_path: Path
) -> None:
    cli = Cli(rig.database, tmp_path)
    number = start(cli, amount="900").value["withdrawal_id"]
    await rig.start(stop_at="withdraw.send.after").died()
    (row,) = cli.good("withdraw")
    assert row["state"] == "SENDING"
    # The claim outlives the longest request; a test need not.
    await rig.owner.execute("UPDATE ledger.withdrawal SET claimed_until = clock_timestamp()")
    await rig.started()
    query = "SELECT state = 'DONE' FROM ledger.withdrawal WHERE withdrawal_id = $1"
    await until(lambda: rig.owner.fetchval(query, number), "the withdrawal is done")
    (sent,) = cli.fetch("SELECT times_received FROM paper.transfer")
    assert sent["times_received"] == 1
    assert cli.good("audit")["ok"] is True
