"""``halt`` and ``resume``: a halt stands until a person who has read it ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import BadInput, Code
from workers.cli.connect import with_ledger
from workers.cli.output import emit, say
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

    async def work(calls: LedgerCalls) -> int:
        version: int = await calls.value("set_halt", kind, name, why, operator_name(operator))
        return version

    version = with_ledger("risk", work)
    emit(
        {"status": "halted", "scope": scope, "version": version},
        lambda: say(f"halted {scope}, version {version}; a running worker cancels what stands"),
    )


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
