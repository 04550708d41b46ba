"""``breakers``: what is paused after failures in a row, and closing it by a person's word.

A breaker never stops a cancel, and ends by itself: after its time one order goes as a probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.output import Column, Row, age, counted, emit, field, say, table
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(breakers)
    group.command("reset")(reset)
    app.add_typer(group, name="breakers", help="Pauses after failures in a row: list, reset.")


def breakers(
    context: typer.Context,
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those at rest too.")] = False,
    as_json: Json = False,
) -> None:
    """List breakers that are open, wait for a probe, slow orders down, or have counted a failure."""
    if context.invoked_subcommand is not None:
        return

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, account, None)
        return await read(calls, "breakers", account, everything)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(BREAKERS, rows, empty="no breaker has counted a failure"))


def reset(
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    market: Annotated[
        str | None,
        typer.Option(
            "--market", help="Its breakers and the account's; default: all of the account."
        ),
    ] = None,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Close breakers of an account, or of one of its markets. Safe to repeat."""
    name = account or state().settings.account
    reason = why if not why.strip() else f"{operator_name(operator)}: {why}"

    async def work(calls: LedgerCalls) -> int:
        count: int = await calls.value("reset_breaker", name, market, reason.strip())
        return count

    count = with_ledger("risk", work)
    done = {"status": "reset", "account": name, "market": market, "count": count}
    said = f"{counted(count, 'breaker')} closed" if count else "no breaker had counted a failure"
    emit(done, lambda: say(said))


def _where(row: Row) -> object:
    return row["slug"] or row["market"] or "(the account)"


def _ends(row: Row) -> str:
    if row["state"] == "half open":
        probe = row["probe_order_id"]
        return f"order {probe} is its probe" if probe else "the next order is its probe"
    return f"in {age(max(row['ends_in_s'], 0))}" if row["state"] in ("open", "slowed") else ""


BREAKERS: Final[list[Column]] = [
    ("account", field("account")),
    ("market", _where),
    ("kind", field("kind")),
    ("state", field("state")),
    ("in a row", field("count")),
    ("ends", _ends),
    ("why", field("why")),
]
