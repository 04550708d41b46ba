"""``alembic`` as a person types it: whatever fails is one error with a code and a next step, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.db.migrate import downgrade, upgrade
from app.errors import Code, DatabaseProblem, LedgerError, Refused
from app.roles import RolePrefix
from tests.support.cli import DEADLINE_S, ROOT, Cli, Outcome
from tests.support.database import TestDatabase
from tests.support.life import Life

pytestmark = pytest.mark.acceptance

SECRET = "s3cr3t-word"
NOWHERE = f"postgresql://someone:{SECRET}@127.0.0.1:1/ledger"


def start_alembic(cli: Cli, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=cli.environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def alembic(cli: Cli, *arguments: str, **env: str) -> Outcome:
    """In a process of its own, in the project's folder."""
    with start_alembic(cli, *arguments, **env) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    return Outcome(process.returncode, out, err)


def told(done: Outcome, code: str, exit_code: int = 2) -> str:
    """What was said, having checked that it is the one error that helps."""
    assert (done.code, done.out) == (exit_code, ""), done
    assert "Traceback" not in done.err
    assert SECRET not in done.err
    wrong, not_done, next_step = done.err.splitlines()
    assert wrong.startswith(f"{code}: ")
    assert not_done.startswith("  not done: ")
    assert next_step.startswith("  next: ")
    return done.err


@pytest.fixture(name="cli")
def _cli(database: TestDatabase, tmp_path: Path) -> Cli:
    return Cli(database, tmp_path)


@pytest.mark.parametrize("arguments", [("upgrade", "head"), ("downgrade", "base"), ("current",)])
def test_a_database_that_cannot_be_reached_is_named_without_a_traceback(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    said = told(alembic(cli, *arguments, LEDGER_DATABASE_URL=NOWHERE), "DATABASE_UNREACHABLE")
    assert "127.0.0.1:1" in said


def test_a_database_that_is_not_there_names_what_to_make(cli: Cli) -> None:
    url = cli.database.url.replace(cli.database.name, "ledger_test_absent")
    said = told(alembic(cli, "upgrade", "head", LEDGER_DATABASE_URL=url), "DATABASE_UNREACHABLE")
    assert "create that database" in said


@pytest.mark.parametrize("scheme", ["mysql", "sqlite", "postgresql+psycopg"])
def test_an_address_of_another_kind_names_the_setting(cli: Cli, scheme: str) -> None:
    url = f"{scheme}://someone:{SECRET}@db.example/ledger"
    said = told(alembic(cli, "upgrade", "head", LEDGER_DATABASE_URL=url), "BAD_SETTING")
    assert "LEDGER_DATABASE_URL" in said


def test_a_setting_that_is_wrong_is_named(cli: Cli) -> None:
    said = told(alembic(cli, "upgrade", "head", LEDGER_SIGNATURE_TYPE="9"), "BAD_SETTING")
    assert "LEDGER_SIGNATURE_TYPE" in said


@pytest.mark.parametrize(
    "arguments", [("upgrade", "head"), ("downgrade", "base"), ("current",), ("stamp", "head")]
)
def test_a_revision_in_the_database_that_this_release_does_not_know_is_newer(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    cli.fetch("UPDATE public.ledger_alembic_version SET version_num = '9999'")
    said = told(alembic(cli, *arguments), "SCHEMA_NEW")
    assert "9999" in said
    (row,) = cli.fetch("SELECT version_num FROM public.ledger_alembic_version")
    assert row["version_num"] == "9999"
    with pytest.raises(DatabaseProblem) as caught:
        upgrade(cli.database.url)
    assert caught.value.code is Code.SCHEMA_NEW


@pytest.mark.parametrize(
    "arguments", [("upgrade", "no-such-revision"), ("upgrade", "+7"), ("downgrade", "-7")]
)
def test_a_revision_that_does_not_exist_is_bad_input(cli: Cli, arguments: tuple[str, ...]) -> None:
    told(alembic(cli, *arguments), "BAD_REQUEST")


async def test_a_downgrade_under_orders_that_may_live_is_refused_and_keeps_everything(
    database: TestDatabase, tmp_path: Path
) -> None:
    life = await Life.begin(database)
    order_id = await life.live()
    said = told(alembic(Cli(database, tmp_path), "downgrade", "base"), "DOWNGRADE_REFUSED", 1)
    assert "ledger-worker orders" in said
    assert await life.state(order_id) == "LIVE"
    with pytest.raises(Refused) as caught:
        downgrade(database.url, prefix=RolePrefix(database.server.role_prefix))
    assert caught.value.code is Code.DOWNGRADE_REFUSED


def test_a_login_that_may_not_make_a_schema_is_told_which_may(
    blank_database: TestDatabase, tmp_path: Path
) -> None:
    blank = Cli(blank_database, tmp_path)
    url = blank_database.url_for("worker")
    said = told(alembic(blank, "upgrade", "head", LEDGER_DATABASE_URL=url), "DATABASE_PRIVILEGE")
    assert "owns the database" in said
    assert blank.schemas() == []


def test_a_statement_that_the_database_refuses_leaves_the_schema_as_it_was(
    blank_database: TestDatabase, tmp_path: Path
) -> None:
    blank = Cli(blank_database, tmp_path)
    blank.fetch("CREATE SCHEMA audit")
    said = told(alembic(blank, "upgrade", "head"), "MIGRATION_FAILED")
    assert "audit" in said
    assert blank.schemas() == []


def test_two_upgrades_at_once_make_one_schema(blank_database: TestDatabase, tmp_path: Path) -> None:
    blank = Cli(blank_database, tmp_path)
    both = [start_alembic(blank, "upgrade", "head") for _ in range(2)]
    said = [one.communicate(timeout=DEADLINE_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(blank.schemas()) == 2


def test_the_traceback_is_shown_to_whoever_asks_for_it(cli: Cli) -> None:
    done = alembic(cli, "-x", "debug", "upgrade", "head", LEDGER_DATABASE_URL=NOWHERE)
    assert done.code != 0
    assert "Traceback" in done.err
    assert SECRET not in done.err


def test_a_program_gets_the_same_errors_as_exceptions() -> None:
    with pytest.raises(LedgerError) as caught:
        upgrade(NOWHERE)
    assert caught.value.code is Code.DATABASE_UNREACHABLE
    assert SECRET not in str(caught.value)
