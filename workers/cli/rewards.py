"""``rewards``: what the venue paid for resting orders, and to whose strategy it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.output import Column, decimal, emit, field, micros, say, table
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

Account = Annotated[str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(rewards)
    group.command("allocate")(allocate)
    app.add_typer(group, name="rewards", help="What was paid for resting orders; count it.")


def rewards(context: typer.Context, account: Account = None, as_json: Json = False) -> None:
    """List rewards and rebates as the last comparison found them, newest first."""
    if context.invoked_subcommand is not None:
        return
    name = account or state().settings.account

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, name, None)
        return await read(calls, "rewards", name)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_COLUMNS, rows, empty="no rewards are known"))


_COLUMNS: Final[list[Column]] = [
    ("day", field("earned_on")),
    ("market", lambda row: row["slug"] or row["market"]),
    ("paid", micros("amount_micros")),
    ("allocated", micros("allocated_micros")),
    ("", lambda row: "MORE THAN PAID" if row["over_allocated"] else ""),
    ("key", field("reward_key")),
]


def allocate(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of the reward.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Whose orders earned it.")],
    amount: Annotated[str, typer.Option("--amount", help="How much of it, such as 0.25.")],
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Count a part of a reward for a strategy; said again, the new part. Never more than was paid."""
    from app.money import parse_micros

    name, part = account or state().settings.account, parse_micros(amount, what="--amount")
    if part <= 0:
        raise BadInput(
            Code.BAD_NUMBER,
            "--amount is not above zero",
            not_done="nothing was allocated",
            next_step="give the part that counts for the strategy",
        )

    async def work(calls: LedgerCalls) -> bool:
        await check_filters(calls, name, None)
        done: bool = await calls.value("allocate_reward", name, key, strategy, part)
        return done

    new = with_ledger("risk", work)
    done: dict[str, Any] = {
        "status": "allocated" if new else "unchanged",
        "account": name,
        "reward_key": key,
    }
    done |= {"strategy": strategy, "amount_micros": part}
    emit(done, lambda: say(f"{decimal(part)} of {key} counts for {strategy}"))
