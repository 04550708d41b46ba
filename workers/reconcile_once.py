"""``ledger-worker reconcile``: one run for every account of the venue, for cron."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from app.clock import Ports
from app.config import Settings
from app.db.access import role_url
from app.errors import BadInput, Code, DatabaseProblem
from workers.reconcile import Reconciler, ReconcileReport, Result
from workers.worker.context import Context
from workers.worker.main import open_context
from workers.worker.stream import Stream

LONGEST_S = 600.0
"""Of a whole run. A cron job that waited for ever on a paused database would alarm nobody."""


@dataclass(frozen=True, slots=True)
class OnceReport:
    """All accounts of one call. ``result`` is the worst of theirs."""

    accounts: tuple[ReconcileReport, ...]

    @property
    def result(self) -> Result:
        results = {report.result for report in self.accounts}
        return (
            "incomplete" if "incomplete" in results else "drift" if "drift" in results else "clean"
        )

    def to_json(self) -> dict[str, Any]:
        return {"result": self.result, "accounts": [report.to_json() for report in self.accounts]}


def run_once(settings: Settings, account: str | None) -> OnceReport:
    """Compare ``account``, or every account of the configured venue."""
    return asyncio.run(_run_once(settings, role_url(settings, "worker"), account))


async def _run_once(settings: Settings, url: str, account: str | None) -> OnceReport:
    async with open_context(settings, Ports.system(), url) as context:
        work = context.ports.tasks.spawn(_all(context, account), name="reconcile once")
        done, _ = await asyncio.wait({work}, timeout=LONGEST_S)
        if not done:
            raise DatabaseProblem(
                Code.DATABASE_BUSY,
                f"the comparison did not end within {LONGEST_S:.0f} s",
                not_done="whether its last step was recorded is not known",
                next_step="see that database and venue answer, then repeat",
            )
        report: OnceReport = work.result()
        return report


async def _all(context: Context, account: str | None) -> OnceReport:
    await context.host.prepare(to_trade=False)
    names = await _accounts(context, account)
    return OnceReport(tuple([await _one(context, name) for name in names]))


async def _one(context: Context, account: str) -> ReconcileReport:
    await Stream(context, account).apply_waiting()
    return await Reconciler(context, account).run("once", second_look=True)


async def _accounts(context: Context, account: str | None) -> list[str]:
    rows = await context.calls.rows(
        "SELECT name FROM ledger.account WHERE venue = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name",
        context.venue.name,
        account,
    )
    if not rows and account is not None:
        raise BadInput(
            Code.UNKNOWN_ACCOUNT,
            f"there is no {context.venue.name} account named {account[:60]!r}",
            not_done="nothing was compared",
            next_step="ledger-worker account list shows the names",
        )
    return [row["name"] for row in rows]
