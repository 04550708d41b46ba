"""No command waits for ever for a database that is paused or holds a lock: it says so and names the next step."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db import embedded
from app.db.embedded.processes import live_postmaster
from app.db.migrate import upgrade
from tests.support.cli import MARKET, Cli, Outcome, captured, cli_fixture, make  # noqa: F401
from tests.support.servers import in_thread
from workers import reconcile_once
from workers.cli import connect as commands

pytestmark = pytest.mark.acceptance

SHORT_S = 0.3
PLACE = (
    *("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.45"),
    *("--size", "10", "--key", "k"),
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATIENCE_S", SHORT_S)
    monkeypatch.setattr(commands, "LONG_PATIENCE_S", SHORT_S)
    monkeypatch.setattr(reconcile_once, "LONGEST_S", SHORT_S)
    monkeypatch.setattr("app.db.connect.CONNECT_S", 1.0)
    monkeypatch.setattr("app.db.embedded.starting.MUTE_S", 0.0)
    monkeypatch.setattr("app.db.embedded.probe.ANSWER_S", 0.5)


def busy(done: Outcome) -> dict[str, str]:
    assert (done.code, done.error["code"]) == (2, "DATABASE_BUSY"), done
    assert done.error["not_done"]
    assert done.error["next"]
    assert done.err == ""
    return done.error


@contextmanager
def held(cli: Cli, table: str) -> Iterator[None]:
    """Somebody's forgotten transaction on a table."""
    ready, enough = asyncio.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def hold() -> None:
        conn = await asyncpg.connect(cli.database.url)
        await conn.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        ready.set()
        await enough.wait()
        conn.terminate()

    holding = loop.create_task(hold())
    loop.run_until_complete(ready.wait())
    try:
        yield
    finally:
        enough.set()
        loop.run_until_complete(holding)
        loop.close()


@pytest.mark.parametrize(
    ("table", "arguments", "not_done"),
    [
        ("ledger.orders", ("orders",), "nothing was changed"),
        ("ledger.orders", ("status",), "nothing was changed"),
        ("ledger.orders", ("audit",), "nothing was changed"),
        ("ledger.market", ("markets", "list"), "nothing was changed"),
        ("public.ledger_alembic_version", ("limits",), "nothing was changed"),
        ("ledger.halt", ("halt", "global", "--why", "x"), "is not known"),
        ("ledger.limits", ("limits", "set", "--gap-ms", "5", "--why", "x"), "is not known"),
        ("ledger.market", ("markets", "import", "--sample"), "is not known"),
        ("ledger.orders", PLACE, "is not known"),
        ("ledger.orders", ("cancel", "--all"), "is not known"),
        ("ledger.orders", ("reconcile",), "is not known"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:20],
)
def test_a_statement_that_is_never_answered_ends_the_command_with_a_next_step(
    cli: Cli, table: str, arguments: tuple[str, ...], not_done: str
) -> None:
    with held(cli, table):
        error = busy(cli.run(*arguments, "--json"))
    assert not_done in error["not_done"]


def test_an_order_whose_answer_was_not_awaited_is_found_again_by_its_key(cli: Cli) -> None:
    with held(cli, "ledger.orders"):
        assert "same key" in busy(cli.run(*PLACE, "--json"))["next"]
    # hanging up cancels nothing at the server: what was asked for is still done, once
    cli.until("SELECT FROM ledger.orders WHERE key = 'k'")
    again = cli.good(*PLACE)
    assert again["replay"] is True


async def _stop_own_backend(calls: Any) -> None:
    """Stands in for the check of the schema: from here on the command's server process is paused."""
    STOPPED.append(await calls.pool.fetchval("SELECT pg_backend_pid()"))
    os.kill(STOPPED[-1], signal.SIGSTOP)


STOPPED: list[int] = []


@pytest.fixture(name="paused_after_connecting")
async def _paused_after_connecting(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    if cli.database.server.embedded is None:
        pytest.skip("only processes of this machine can be paused")
    monkeypatch.setattr(commands, "check_fits", _stop_own_backend)
    yield
    while STOPPED:
        os.kill(STOPPED.pop(), signal.SIGCONT)


@pytest.mark.parametrize("arguments", [("orders",), ("halt", "global", "--why", "x"), PLACE])
@pytest.mark.usefixtures("paused_after_connecting")
def test_a_server_that_is_paused_in_the_middle_ends_the_command(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    busy(cli.run(*arguments, "--json"))


@pytest.fixture(scope="module", name="paused")
def _paused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """A whole server that accepts connections, since the system does that, and answers none."""
    with embedded.throwaway(fsync=False) as server:
        upgrade(server.url())
        pid = live_postmaster(server.config.data)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield server
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("arguments", [("status",), ("reconcile",), ("start",), ("audit",)])
@pytest.mark.parametrize("setting", ["LEDGER_DATABASE_URL", "LEDGER_DATA_DIR"])
def test_a_server_that_answers_no_connection_ends_the_command(
    paused: embedded.Server,
    arguments: tuple[str, ...],
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = paused.url() if setting == "LEDGER_DATABASE_URL" else str(paused.config.home)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(setting, value)
    done = captured((*arguments, "--json"))
    error = json.loads(done.out.splitlines()[-1])["error"]
    assert (done.code, error["code"]) == (2, "DATABASE_BUSY"), done
    assert error["next"]


def test_the_state_of_a_server_that_answers_nothing_is_told_apart(
    paused: embedded.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_DATA_DIR", str(paused.config.home))
    done = in_thread(lambda: captured(("db", "status", "--json")))
    assert (done.code, done.value["state"]) == (2, "not answering")
    assert done.value["pid"] == live_postmaster(paused.config.data)
