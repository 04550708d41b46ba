"""``reconcile`` against the venue, ``audit`` against our own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli import connect
from workers.cli.connect import explaining_missing_roles, with_ledger
from workers.cli.errors import COULD_NOT, DONE, REFUSED
from workers.cli.output import emit, note, pairs, progress, say
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.audit import AuditReport
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
    from app.clock import Ports
    from app.observe import logs
    from workers.reconcile_once import run_once

    settings = state().settings
    # to standard error, and from a cron job only what somebody should read
    logs.configure(Ports.system().clock, level="warning", style=settings.log_format)
    with progress("comparing with the venue"):
        report = explaining_missing_roles(lambda: run_once(settings, account))
    emit(report.to_json(), lambda: _show_report(report.to_json()))
    raise typer.Exit(_EXIT[report.result])


def _show_report(report: dict[str, Any]) -> None:
    say(str(report["result"]))
    for one in report["accounts"]:
        say()
        pairs(one.items())


def audit(as_json: Json = False) -> None:
    """Recompute every invariant from the rows. Exit code 0 clean, 1 red: a row differs.

    It may run beside the workers. Notices need a look and break no invariant.
    """
    from app.ledger.audit import audit as recompute

    with progress("recomputing") as tell:

        async def work(calls: LedgerCalls) -> AuditReport:
            return await recompute(calls, lambda n, of: tell(f"recomputing {n} of {of}", 0))

        report = with_ledger("auditor", work, patience_s=connect.LONG_PATIENCE_S)
    emit(report.to_json(), lambda: _show_audit(report))
    raise typer.Exit(DONE if report.ok else REFUSED)


def _show_audit(report: AuditReport) -> None:
    for check in report.checks:
        if not check.ok:
            say(f"red: {check.name}: {check.meaning}")
            for row in check.rows:
                say(f"  {row}")
    for notice in report.notices:
        for row in notice.rows:
            note(f"notice: {notice.name}: {row}")
    red = sum(not check.ok for check in report.checks)
    say(
        f"{len(report.checks)} checks, {red} red"
        if red
        else f"{len(report.checks)} checks, all clean"
    )
