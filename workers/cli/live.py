"""``doctor --live``: the live test, shown to a person who consents to each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.errors import BadInput, Code
from workers.cli.asking import Person
from workers.cli.connect import explaining_missing_roles
from workers.cli.errors import DONE, REFUSED
from workers.cli.output import emit, note, say
from workers.cli.state import state

if TYPE_CHECKING:
    from workers.doctor.live_plan import Planned


def live_test(market: str | None, *, cancel_first: bool) -> int:
    """Run it; the exit code: 0 only if nothing is left at the venue and nothing contradicts our rules."""
    from app.clock import Ports
    from app.db.access import role_url
    from app.observe import logs
    from workers.doctor import run
    from workers.doctor.live_plan import Unsuitable

    settings = state().settings
    if settings.venue != "polymarket":
        raise BadInput(
            Code.BAD_SETTING,
            f"the live test needs the venue polymarket, and LEDGER_VENUE is {settings.venue}",
            not_done="nothing was placed",
            next_step="set LEDGER_VENUE=polymarket; docs/going-live.md says what comes before",
        )
    logs.configure(Ports.system().clock, level="warning", style=settings.log_format)
    person = Person()

    async def consent(step: Planned) -> bool:
        return await person.agrees_meanwhile(f"{step.step.value}: {step.says}")

    report = explaining_missing_roles(
        lambda: run.live_test(
            settings,
            role_url(settings, "worker"),
            market=market,
            cancel_first=cancel_first,
            consent=consent,
            tell=note,
        )
    )
    if isinstance(report, Unsuitable):
        value: dict[str, Any] = {"ok": False, "unsuitable": report.why, "next": report.next_step}
        emit(value, lambda: say(f"no order suits: {report.why}; {report.next_step}"))
        return REFUSED
    value = report.to_json()
    emit(value, lambda: _show(value))
    return DONE if value["ok"] else REFUSED


def _show(report: dict[str, Any]) -> None:
    for step, how in report["steps"].items():
        say(f"{step}: {how}")
    for one in report["answers"]:
        question = report["questions"][str(one["question"])]
        say()
        say(f"{one['question']}. {question} ({one['about']})")
        say(f"   seen: {one['seen']}")
        say(f"   means: {one['means']}")
    say()
    say(report["last_words"])
