"""``halt`` and ``resume``: a halt stands until a person who has read it ends it.

A halt of an account or a market that is not there is refused (UNKNOWN_ACCOUNT, UNKNOWN_MARKET): what
does not exist cannot trade, so that nothing is lost, while a misspelt name that were accepted would
look like safety and leave the right one trading. A group is no row of its own: its first market may
come with the next import, and it must be possible to halt it before. So that halt stands, and it is
said that it covers nothing yet.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code, DatabaseProblem
from workers.cli.connect import read, with_ledger
from workers.cli.output import emit, note, say
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json
from workers.cli.values import parse_scope

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

Scope = Annotated[
    str, typer.Argument(metavar="SCOPE", help="global, account:ID, group:ID or market:ID.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("halt")(halt)
    app.command("resume")(resume)


def halt(
    scope: Scope,
    why: Annotated[str, typer.Option("--why", help="The reason, shown to whoever resumes.")],
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Stop placements in a scope and cancel what stands there. Effective for the next decision."""
    kind, name = parse_scope(scope)

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        version: int = await calls.value("set_halt", kind, name, why, operator_name(operator))
        done: dict[str, Any] = {"status": "halted", "scope": scope, "version": version}
        if kind == "group":
            # the halt stands already: that its reach cannot be read must not look like a failure
            with suppress(DatabaseProblem):
                (reach,) = await read(calls, "halt_reach", version)
                done["group_markets"] = reach["group_markets"]
        return done

    done = with_ledger("risk", work)
    said = f"halted {scope}, version {done['version']}; a running worker cancels what stands"
    emit(done, lambda: say(said))
    if done.get("group_markets") == 0:
        note(
            f"{name} is not a group yet: no market of that name is known. The halt stands for later"
        )
        note("  next: ledger-worker markets list --json shows the groups (group_key)")


def resume(
    scope: Scope,
    version: Annotated[
        int, typer.Option("--version", min=1, help="The newest version that you have read.")
    ],
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")] = "",
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """End the halts of a scope up to a version. Refused (exit 1) if a newer one stands."""
    kind, name = parse_scope(scope)

    async def work(calls: LedgerCalls) -> int:
        ended: int = await calls.value(
            "clear_halt", kind, name, version, why, operator_name(operator)
        )
        return ended

    ended = with_ledger("risk", work)
    if ended == 0:
        raise BadInput(
            Code.BAD_REQUEST,
            f"no halt stands on {scope}",
            not_done="nothing was resumed",
            next_step="ledger-worker status lists the halts that stand",
        )
    emit(
        {"status": "resumed", "scope": scope, "version": version, "ended": ended},
        lambda: say(f"resumed {scope}: {ended} {'halt' if ended == 1 else 'halts'} ended"),
    )
