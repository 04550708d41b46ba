"""Accounts: opening one, who may use it, what it owns."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code
from workers.cli.booking import book
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.output import Row, decimal, emit, field, micros, note, say, table
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state
from workers.cli.values import NOTHING

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

OPENING_KEY: Final = "opening"
"""Of the movement that books the opening collateral: opening twice books it once."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class Venue(StrEnum):
    """Where an account trades. Never changes."""

    PAPER = "paper"
    POLYMARKET = "polymarket"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Open, list, grant, revoke."
    )
    group.command("open")(open_account)
    group.command("list")(list_accounts)
    group.command("grant")(grant)
    group.command("revoke")(revoke)
    app.add_typer(group, name="account")
    owned = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    owned.callback()(balances)
    owned.command("book")(book)
    app.add_typer(owned, name="balances", help="What accounts own; book what no order explains.")


def open_account(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, _.-")],
    venue: Annotated[Venue, typer.Option("--venue")] = Venue.PAPER,
    collateral: Annotated[
        str | None, typer.Option("--collateral", help="On paper. Default: LEDGER_PAPER_COLLATERAL.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Open an account; on paper with collateral. Safe to repeat."""
    from app.money import parse_micros

    if not _NAME.fullmatch(name):
        raise BadInput(
            Code.BAD_REQUEST,
            f"{name[:80]!r} is no name for an account",
            not_done=NOTHING,
            next_step="use 1 to 63 lower-case letters, digits and _ . - (not first)",
        )
    if venue is not Venue.PAPER and collateral is not None:
        raise BadInput(
            Code.BAD_REQUEST,
            "--collateral is for paper accounts; at a venue it is what the wallet holds",
            not_done=NOTHING,
            next_step="leave --collateral away, or open it with --venue paper",
        )
    settings = state().settings
    amount = 0
    if venue is Venue.PAPER:
        given, what = collateral, "--collateral"
        if given is None:
            given, what = settings.paper_collateral, "LEDGER_PAPER_COLLATERAL"
        amount = parse_micros(given, what=what)
    if amount < 0:
        raise BadInput(
            Code.BAD_NUMBER,
            "--collateral is below zero",
            not_done=NOTHING,
            next_step="give 0 or more",
        )

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        account_id = await calls.value(
            *("open_account", name, venue.value, None, None, 0, settings.quarantine_ms)
        )
        booked = amount > 0 and await calls.value(
            *("book_movement", name, "collateral", amount, "opening", OPENING_KEY, "")
        )
        return {
            "status": "opened",
            "account": name,
            "account_id": account_id,
            "venue": venue.value,
            "collateral_micros": amount if booked else 0,
        }

    done = with_ledger("risk", work)
    booked = decimal(done["collateral_micros"])
    what = f"{booked} collateral booked" if booked != "0" else "no collateral booked"
    if amount > 0 and booked == "0":
        what += "; it was open already, with the collateral of its opening"
    emit(done, lambda: say(f"account {name} on {venue.value}: {what}"))


def list_accounts(as_json: Json = False) -> None:
    """List accounts and the logins they were granted to."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "accounts")

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_ACCOUNTS, rows, empty="no accounts; see ledger-worker account open"))


_ACCOUNTS = [
    ("account", field("account")),
    ("venue", field("venue")),
    ("maker", field("maker")),
    ("signer", field("signer")),
    ("quarantine ms", field("quarantine_ms")),
    ("granted to", field("granted_to")),
    ("opened", field("created_at")),
]


def grant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The login of a bot.")],
    as_json: Json = False,
) -> None:
    """Let a login reserve and ask for cancels for an account. The login must exist."""
    trader = state().settings.role_prefix + "trader"
    if not role or len(role.encode()) > 63:
        raise BadInput(
            Code.BAD_REQUEST,
            f"{role[:80]!r} is no name of a role",
            not_done="nothing was granted",
            next_step="give the database login of a bot, 1 to 63 bytes",
        )

    async def work(calls: LedgerCalls) -> bool:
        await calls.value("grant_account", name, role)
        (found,) = await read(calls, "is_trader", role, trader)
        return bool(found["is_trader"])

    try:
        is_trader = with_ledger("risk", work)
    except BadInput as error:
        if error.code == Code.UNKNOWN_ROLE:
            error.wrong = f"there is no role {role!r} in this database"
            error.next_step = (
                f"make it first: CREATE ROLE {_quoted(role)} LOGIN PASSWORD '...' IN ROLE {trader}"
            )
        raise
    done = {"status": "granted", "account": name, "role": role, "is_trader": is_trader}
    emit(done, lambda: say(f"{role} may trade for {name}"))
    if not is_trader:
        note(f"{role} has not the rights of a trader yet: GRANT {trader} TO {_quoted(role)}")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The login of a bot.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Take an account away from a login. What it asked for before stands: see orders --open."""

    async def work(calls: LedgerCalls) -> bool:
        taken: bool = await calls.value("revoke_account", name, role, why, operator_name(operator))
        return taken

    taken = with_ledger("risk", work)
    done = {"status": "revoked" if taken else "not granted", "account": name, "role": role}
    what = f"{role} may no longer trade for {name}" if taken else f"{role} had no grant for {name}"
    emit(done, lambda: say(what))
    if taken:
        note(
            f"Its orders stand: ledger-worker orders --open --account {name}, ledger-worker cancel."
        )


def _quoted(role: str) -> str:
    return role if re.fullmatch("[a-z_][a-z0-9_]*", role) else '"' + role.replace('"', '""') + '"'


def balances(
    context: typer.Context,
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """What accounts own. Only confirmed tokens are available."""
    if context.invoked_subcommand is not None:
        return

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, account, None)
        return await read(calls, "balances", account)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_BALANCES, rows, empty="no balances"))


def _asset(row: Row) -> str:
    if row["asset"] == "collateral":
        return "collateral"
    return f"{row['slug'] or row['market']} {row['outcome']}" if row["market"] else row["asset"]


_BALANCES = [
    ("account", field("account")),
    ("asset", _asset),
    ("available", micros("available_micros")),
    ("locked", micros("locked_micros")),
]
