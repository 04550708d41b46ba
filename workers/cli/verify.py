"""``reconcile`` against the venue, ``audit`` against our own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli.errors import COULD_NOT, DONE, REFUSED
from workers.cli.output import emit, note, pairs, progress, say
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

_EXIT: Final = {"clean": DONE, "drift": REFUSED, "incomplete": COULD_NOT}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("reconcile")(reconcile)
    app.command("audit")(audit)


def reconcile(
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the ledger with the venue once, for cron; drift is recorded.

    Exit code 0 clean, 1 drift found, 2 could not complete.
    """
    from workers.reconcile_once import run_once

    with progress("comparing with the venue"):
        report = run_once(state().settings, account)
    emit(report.to_json(), lambda: _show_report(report.to_json()))
    raise typer.Exit(_EXIT[report.result])


def _show_report(report: dict[str, Any]) -> None:
    say(str(report["result"]))
    for one in report["accounts"]:
        say()
        pairs(one.items())
