"""Ctrl-C: what was asked for stands, and whoever interrupted is told so, in JSON too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cli import DEADLINE_S, MARKET, Cli, Outcome, cli_fixture, command  # noqa: F401
from tests.support.database import TestDatabase

pytestmark = pytest.mark.acceptance

PLACE = (
    *("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.45"),
    *("--size", "10", "--key", "k"),
)
WAITING = ("--wait", "--timeout", "10m")
IN_ITS_WAIT = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'ledger command' AND query LIKE '%{}%'"
)


@contextmanager
def running(cli: Cli, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*command(), *arguments],
        cwd=cli.folder,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def interrupted(process: subprocess.Popen[str], how: signal.Signals = signal.SIGINT) -> Outcome:
    process.send_signal(how)
    out, err = process.communicate(timeout=DEADLINE_S)
    return Outcome(process.returncode, out, err)


def test_a_wait_that_is_interrupted_says_that_the_order_stands(cli: Cli) -> None:
    with running(cli, *PLACE, *WAITING, "--json") as process:
        cli.until(IN_ITS_WAIT.format("get_orders"))
        done = interrupted(process)
    (order,) = cli.good("orders", "--open")
    number = order["order_id"]
    assert (done.code, done.err) == (130, "")
    assert (done.value["order_id"], done.value["waited"]) == (number, "interrupted")
    assert "nothing was cancelled" in done.value["not_done"]
    assert f"ledger-worker order show {number}" in done.value["next"]
    assert f"ledger-worker cancel {number}" in done.value["next"]


def test_a_person_who_interrupts_a_wait_is_told_the_same(cli: Cli) -> None:
    with running(cli, *PLACE, *WAITING) as process:
        cli.until(IN_ITS_WAIT.format("get_orders"))
        done = interrupted(process)
    assert done.code == 130
    assert done.out == "order 1: 10 shares reserved\n"
    assert "order 1 stands" in done.err
    assert "nothing was cancelled" in done.err
    assert "ledger-worker order show 1" in done.err


def test_a_replacement_whose_wait_is_interrupted_stands_too(cli: Cli) -> None:
    number = cli.place("old").value["order_id"]
    arguments = ("replace", str(number), "--price", "0.46", "--size", "12", "--key", "new")
    made = " AND EXISTS (SELECT FROM ledger.orders WHERE key = 'new')"
    with running(cli, *arguments, *WAITING, "--json") as process:
        cli.until(IN_ITS_WAIT.format("get_orders") + made)
        done = interrupted(process)
    assert (done.code, done.value["waited"]) == (130, "interrupted")
    assert done.value["old_order_id"] == number
    assert f"ledger-worker order show {done.value['new_order_id']}" in done.value["next"]
    assert len(cli.good("orders", "--open")) == 1


@pytest.mark.parametrize("arguments", [PLACE, ("halt", "global", "--why", "x"), ("orders",)])
async def test_an_interrupt_before_the_answer_says_that_the_outcome_is_not_known(
    cli: Cli, database: TestDatabase, arguments: tuple[str, ...]
) -> None:
    conn = await database.connect()
    await conn.execute("BEGIN; LOCK TABLE ledger.orders, ledger.halt IN ACCESS EXCLUSIVE MODE")
    with running(cli, *arguments, "--json") as process:
        cli.until(IN_ITS_WAIT.format("") + " AND wait_event_type = 'Lock'")
        done = interrupted(process)
    assert (done.code, done.err) == (130, ""), done
    assert done.error["code"] == "INTERRUPTED"
    assert "not known" in done.error["not_done"]
    assert done.error["next"]


def test_an_interrupt_ends_a_command_whose_server_is_paused(
    cli: Cli, database: TestDatabase
) -> None:
    if database.server.embedded is None:
        pytest.skip("only processes of this machine can be paused")
    with running(cli, *PLACE, *WAITING, "--json") as process:
        (backend,) = cli.until(IN_ITS_WAIT.format("get_orders"))
        os.kill(backend["pid"], signal.SIGSTOP)
        try:
            done = interrupted(process)
        finally:
            os.kill(backend["pid"], signal.SIGCONT)
    assert (done.code, done.value["waited"]) == (130, "interrupted")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_stop_ends_in_order_with_zero(
    cli: Cli, how: signal.Signals
) -> None:
    with running(cli, "start", "--json") as process:
        cli.until("SELECT FROM ledger.worker WHERE ready")
        done = interrupted(process, how)
    assert done.code == 0
    events = [json.loads(line)["event"] for line in (done.out + done.err).splitlines()]
    # what a cut connection's driver leaves behind may be told after it
    assert [event for event in events if event != "LEFT_OVER_FAILED"][-1] == "STOPPED"
    (worker,) = cli.fetch("SELECT stopped_at IS NOT NULL AS stopped FROM ledger.worker")
    assert worker["stopped"]
