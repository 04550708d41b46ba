"""What stands in the way: blocked lanes, messages given up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code, LedgerError
from workers.cli.connect import read, with_ledger
from workers.cli.output import age, emit, field, pairs, say, table
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

LetterId = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=2**62)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    lane_group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    lane_group.callback()(lanes)
    lane_group.command("release")(release)
    app.add_typer(lane_group, name="lanes", help="Lanes whose head blocks placements.")
    letters = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    letters.callback()(dead_letters)
    letters.command("list")(list_letters)
    letters.command("show")(show_letter)
    letters.command("retry")(retry)
    app.add_typer(letters, name="dead-letters", help="Messages given up: list, show, retry.")


def lanes(context: typer.Context, as_json: Json = False) -> None:
    """List lanes whose head is unknown or dead; placements behind it wait."""
    if context.invoked_subcommand is not None:
        return

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "lanes")

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(LANES, rows, empty="no lane is blocked"))


LANES = [
    ("account", field("account")),
    ("market", lambda row: row["slug"] or row["market"]),
    ("head", field("order_id")),
    ("status", field("status")),
    ("state", field("state")),
    ("age", lambda row: age(row["age_s"])),
    ("waiting", field("waiting")),
]


def release(
    market: Annotated[str, typer.Option("--market", help="Condition id or slug.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Let placements pass a blocked head. The head keeps its hold and is looked up as before."""
    name = account or state().settings.account

    async def work(calls: LedgerCalls) -> int:
        count: int = await calls.value("release_lane", name, market, why, operator_name(operator))
        return count

    count = with_ledger("risk", work)
    emit(
        {"status": "released", "account": name, "market": market, "released": count},
        lambda: say(f"{count} blocking orders released" if count else "the lane was not blocked"),
    )


def dead_letters(context: typer.Context, as_json: Json = False) -> None:
    """List messages given up after repeated failures."""
    if context.invoked_subcommand is None:
        _list_letters(everything=False)


def list_letters(
    everything: Annotated[bool, typer.Option("--all", help="Also those retried.")] = False,
    as_json: Json = False,
) -> None:
    """List messages given up after repeated failures."""
    _list_letters(everything=everything)


def _list_letters(*, everything: bool) -> None:
    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "dead_letters", None, everything)

    rows = with_ledger("worker", work)
    for row in rows:
        row.pop("raw")
    emit(rows, lambda: table(_LETTERS, rows, empty="no dead letters"))


_LETTERS = [
    ("no", field("dead_letter_id")),
    ("account", field("account")),
    ("source", field("source")),
    ("subject", field("subject")),
    ("failures", field("failures")),
    ("at", field("at")),
    ("retried", field("retried_at")),
    ("problem", field("problem")),
]


def show_letter(number: LetterId, as_json: Json = False) -> None:
    """Show one dead letter with the message it holds."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "dead_letters", number, True)

    rows = with_ledger("worker", work)
    if not rows:
        raise _no_letter(number, "nothing was read")
    emit(rows[0], lambda: pairs((name, rows[0][name]) for name in rows[0]))


def retry(number: LetterId, as_json: Json = False) -> None:
    """Try a message again. It is recorded who asked."""

    async def work(calls: LedgerCalls) -> str | None:
        subject: str | None = await calls.value("retry_dead_letter", number)
        return subject

    subject = with_ledger("risk", work)
    if subject is None:
        raise _no_letter(number, "nothing is retried")
    emit(
        {"status": "retried", "dead_letter_id": number, "subject": subject},
        lambda: say(f"{subject} will be tried again"),
    )


def _no_letter(number: int, not_done: str) -> LedgerError:
    return BadInput(
        Code.BAD_REQUEST,
        f"there is no dead letter {number} that waits",
        not_done=not_done,
        next_step="ledger-worker dead-letters list --all shows all of them",
    )


FOREIGN = [
    ("account", field("account")),
    ("venue id", field("venue_order_id")),
    ("age", lambda row: age(row["age_s"])),
    ("last seen", field("last_seen_at")),
    ("detail", lambda row: json.dumps(row["detail"])),
]
