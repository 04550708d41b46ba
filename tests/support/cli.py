"""Runs ``ledger-worker``: as a process of its own, or in this one where only the answer matters."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase, empty_database
from tests.support.servers import TestServer, in_thread
from tests.support.waiting import wait_until
from workers.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
MARKET = "btc-updown-15m-2056370400"
"""Of the shipped sample: tick 0.01, minimum 5, outcomes Up and Down."""

DEADLINE_S = 60


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON value on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = self.value["error"]
        return error


@dataclass
class Cli:
    """The command line on one test database."""

    database: TestDatabase
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process that sees this database and no settings of whoever runs the tests."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
        return kept | {"PYTHONPATH": str(ROOT)} | self._ledger() | more

    def _ledger(self) -> dict[str, str]:
        return {
            "LEDGER_DATABASE_URL": self.database.url,
            "LEDGER_ROLE_PREFIX": self.database.server.role_prefix,
            **self.settings,
        }

    def run(self, *arguments: str, role: str | None = None) -> Outcome:
        """In this process."""
        env = self._ledger() | (
            {"LEDGER_DATABASE_URL": self.database.url_for(role)} if role else {}
        )
        with pytest.MonkeyPatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("LEDGER_"):
                    patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            return in_thread(lambda: captured(arguments))

    def process(self, *arguments: str, typed: str = "", **env: str) -> Outcome:
        """In a process of its own, as a user starts it, with what the user types."""
        done = subprocess.run(
            [*command(), *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            input=typed,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def good(self, *arguments: str, role: str | None = None) -> Any:
        """The JSON answer of a command that must succeed."""
        done = self.run(*arguments, "--json", role=role)
        assert done.code == 0, done
        return done.value

    def place(self, key: str, *more: str, **terms: str) -> Outcome:
        """An order of 10 at 0.45, other terms by name."""
        asked = {"market": MARKET, "outcome": "Up", "side": "BUY", "price": "0.45", "size": "10"}
        pairs = [part for k, v in (asked | terms).items() for part in (f"--{k}", v)]
        return self.run("place", *pairs, "--key", key, *more, "--json")

    def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Rows, as the owner."""
        return [dict(row) for row in self.database.session.fetch(query, *arguments)]

    def counts(self) -> dict[str, int]:
        """Rows of every table: what must be equal where nothing was written."""
        tables = self.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS t FROM pg_tables "
            "WHERE schemaname IN ('ledger', 'paper') ORDER BY 1"
        )
        parts = [f"SELECT '{row['t']}' AS t, count(*) AS n FROM {row['t']}" for row in tables]
        return {row["t"]: row["n"] for row in self.fetch(" UNION ALL ".join(parts))}

    def schemas(self) -> list[dict[str, Any]]:
        """The schemas of a ledger that are there."""
        return self.fetch("SELECT nspname FROM pg_namespace WHERE nspname IN ('ledger', 'paper')")

    def until(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query once there are any."""
        return wait_until(lambda: self.fetch(query), f"there are rows: {query}")


def command() -> list[str]:
    """The installed console script, or the module where the project is not installed."""
    script = Path(sys.executable).with_name("ledger-worker")
    return [str(script)] if script.exists() else [sys.executable, "-m", "workers.cli"]


def captured(arguments: tuple[str, ...]) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    return Outcome(code, out.getvalue(), err.getvalue())


def make(cli: Cli) -> Cli:
    """The sample's markets, an account, and limits that let a test place what it likes."""
    cli.good("markets", "import", "--sample")
    cli.good("account", "open", "main", "--collateral", "500")
    unlimited = ("--per-minute", "none", "--gap-ms", "none")
    cli.good("limits", "set", *unlimited, "--why", "tests place quickly")
    return cli


@pytest.fixture(name="cli")
def cli_fixture(database: TestDatabase, tmp_path: Path) -> Cli:
    """A database with markets and an account of the test's own."""
    return make(Cli(database, tmp_path))


@pytest.fixture(scope="module", name="shared_cli")
def shared_cli_fixture(
    database_server: TestServer, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cli]:
    """One database for a module's tests, for those that must not write to it anyway."""
    with empty_database(database_server, template_database) as database:
        cli = make(Cli(database, tmp_path_factory.mktemp("cli")))
        assert cli.place("standing").code == 0
        yield cli
