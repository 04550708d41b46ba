"""``withdraw``: asked for once per key, shown, cancelled, resolved; with a worker it moves the money."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

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
