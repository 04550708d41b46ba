"""The console script as a user meets it: processes, streams, exit codes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from app import __version__
from tests.support.cli import MARKET, Cli, cli_fixture, command  # noqa: F401
from tests.support.database import TestDatabase

pytestmark = pytest.mark.acceptance

PLACE = ("place", "--market", MARKET, "--outcome", "Up", "--side", "BUY", "--price", "0.45")


def test_an_order_is_placed_replayed_shown_and_cancelled(cli: Cli) -> None:
    placed = cli.process("--json", *PLACE, "--size", "10", "--key", "k")
    assert placed.code == 0, placed
    number = placed.value["order_id"]
    assert not placed.value["replay"]
    again = cli.process(*PLACE, "--size", "10", "--key", "k")
    assert again.code == 0
    assert f"order {number}: 10 shares reserved (replay" in again.out
    listed = cli.process("orders")
    assert listed.code == 0
    assert "0.45" in listed.out
    assert "RESERVED" in listed.out
    assert cli.process("cancel", str(number)).out.startswith(f"order {number}: NOT_PLACED")
    assert cli.process("audit").code == 0


def test_the_switch_for_json_stands_before_or_behind_the_command(cli: Cli) -> None:
    assert cli.process("--json", "limits").value == cli.process("limits", "--json").value


def test_an_error_for_people_goes_to_standard_error_with_the_next_step(cli: Cli) -> None:
    done = cli.process(*PLACE, "--size", "0", "--key", "k")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("BAD_SIZE: ")
    assert "  not done: nothing was reserved" in done.err
    assert "  next: " in done.err


def test_an_error_for_programs_is_the_only_thing_on_standard_output(cli: Cli) -> None:
    done = cli.process("--json", *PLACE, "--size", "1000", "--key", "k")
    assert (done.code, done.err) == (1, "")
    assert done.error["code"] == "CAP_OUTCOME"
    assert set(done.error) == {"code", "wrong", "not_done", "next"}


def test_a_command_line_that_cannot_be_read_is_an_error_like_any_other(cli: Cli) -> None:
    for arguments in (("nonsense",), ("place", "--size"), ("halt",), ("orders", "--limit", "x")):
        said = cli.process(*arguments, "--json")
        assert (said.code, said.error["code"]) == (2, "BAD_REQUEST")
        plain = cli.process(*arguments)
        assert (plain.code, plain.out) == (2, "")
        assert "--help" in plain.err


def test_without_a_command_the_help_is_shown_and_nothing_was_done(cli: Cli) -> None:
    done = cli.process()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err
    assert cli.process("--help").code == 0


def test_the_version_needs_no_database(cli: Cli) -> None:
    done = cli.process("version", "--json", LEDGER_DATABASE_URL="nonsense")
    assert done.value == {"version": __version__}
    assert cli.process("--version").out == f"ledger-worker {__version__}\n"


def test_a_database_that_does_not_answer_is_named_without_its_password(cli: Cli) -> None:
    address = "postgresql://someone:s3cr3t-word@127.0.0.1:1/ledger"
    done = cli.process("status", "--json", LEDGER_DATABASE_URL=address)
    assert (done.code, done.error["code"]) == (2, "DATABASE_UNREACHABLE")
    assert "127.0.0.1" in done.error["wrong"]
    assert "s3cr3t" not in done.out + done.err


def test_a_setting_that_is_wrong_is_named_without_its_value(cli: Cli) -> None:
    done = cli.process("status", "--json", LEDGER_SIGNATURE_TYPE="s3cr3t-word")
    assert (done.code, done.error["code"]) == (2, "BAD_SETTING")
    assert "LEDGER_SIGNATURE_TYPE" in done.error["wrong"]
    assert "s3cr3t" not in done.out + done.err


def test_a_database_without_schema_is_told_apart_and_left_empty(
    blank_database: TestDatabase, tmp_path: Path
) -> None:
    blank = Cli(blank_database, tmp_path)
    for arguments in (("status",), ("audit",), ("halt", "global", "--why", "x")):
        done = blank.run(*arguments, "--json")
        assert (done.code, done.error["code"]) == (2, "SCHEMA_MISSING")
        assert "alembic upgrade head" in done.error["next"]
    assert blank.schemas() == []


def test_a_reader_that_leaves_early_is_no_error(cli: Cli) -> None:
    with subprocess.Popen(
        [*command(), "markets", "list", "--json"],
        cwd=cli.folder,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
