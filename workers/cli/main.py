"""``ledger-worker``: joins the commands, and turns whatever they raise into words and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app.errors import LedgerError
from workers.cli import (
    accounts,
    adopt,
    breakers,
    database,
    doctor,
    keys,
    limits,
    markets,
    mending,
    orders,
    placing,
    rewards,
    risk,
    running,
    simulator,
    status,
    usage,
    verify,
    withdrawing,
)
from workers.cli.errors import (
    CLICK_ERROR,
    DONE,
    INTERRUPTED,
    show_error,
    show_interrupted,
    show_unexpected,
    show_usage,
)
from workers.cli.state import Debug, Json, State, begin, state
from workers.cli.values import check_text

app = typer.Typer(
    name="ledger-worker",
    help="A durable ledger of orders, and the worker that places each of them once.\n\n"
    "Exit codes: 0 done; 1 refused, drift found or audit red; 2 could not, bad input or misuse;"
    " 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        running.version()
        raise typer.Exit(DONE)


@app.callback()
def root(
    as_json: Json = False,
    debug: Debug = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version)
    ] = False,
) -> None:
    """Switches that stand before the command."""


for _part in (running, placing, orders, status, risk, limits, mending, adopt, rewards):
    _part.register(app)
for _part in (usage, breakers):
    _part.register(app)
for _part in (markets, accounts, verify, doctor, keys, database, simulator, withdrawing):
    _part.register(app)


def run(arguments: Sequence[str]) -> int:
    """One invocation; returns its exit code. Safe to call repeatedly in one process."""
    # also read here, since a command line that cannot be parsed has no parsed switches
    begin(State(as_json="--json" in arguments, debug="--debug" in arguments))
    try:
        check_text(arguments)
        code = app(args=list(arguments), prog_name="ledger-worker", standalone_mode=False)
    except LedgerError as error:
        return show_error(error)
    except CLICK_ERROR as error:
        return show_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return show_interrupted()
    except Exception as error:  # noqa: BLE001 - the last place where anything can be said about it
        return show_unexpected(error)
    if code == INTERRUPTED and not state().interrupt_told:  # Typer makes an exit of Ctrl-C
        return show_interrupted()
    return code if isinstance(code, int) else DONE


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
