"""docs/commands.md lists every command there is, and its examples run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import typer

from tests.support.cli import ROOT, Cli
from tests.support.database import TestDatabase
from workers.cli.main import app

PAGE = ROOT / "docs" / "commands.md"
LONG_RUNNING = ("start", "demo", "db", "--wait")
"""Examples that need a worker, or a server of the user's own."""

EXAMPLE = re.compile(r"\$ ledger-worker (?P<line>.*?)(?:\s+# exit (?P<code>\d))?")


def examples() -> Iterator[tuple[list[str], int]]:
    """The arguments of each example and the exit code it promises."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            match = EXAMPLE.fullmatch(line)
            if match:
                yield shlex.split(match["line"]), int(match["code"] or 0)


def commands() -> set[str]:
    """Every command, as it is typed."""
    found: set[str] = set()

    def walk(group: typer.main.TyperGroup, prefix: str) -> None:  # type: ignore[name-defined]
        for name, command in group.commands.items():
            path = f"{prefix}{name}"
            nested = hasattr(command, "commands")
            if not nested or command.invoke_without_command:
                found.add(path)
            if nested:
                walk(command, f"{path} ")

    walk(typer.main.get_command(app), "")
    return found


def test_the_table_names_every_command_and_no_other() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    named = [code for row in rows for code in re.findall(r"`([^`]+)`", row.split("|")[1])]
    known = commands()
    found = {max((c for c in known if f"{text} ".startswith(f"{c} ")), key=len) for text in named}
    assert found == known


def test_the_examples_run_in_order_with_the_exit_codes_they_promise(
    database: TestDatabase, tmp_path: Path
) -> None:
    cli = Cli(database, tmp_path)
    ran = 0
    for arguments, code in examples():
        if arguments[0] in LONG_RUNNING or "--wait" in arguments:
            continue
        done = cli.run(*arguments)
        assert done.code == code, (arguments, done)
        ran += 1
    assert ran > 15
