"""``balances book``: a person books what no order explains, with a cause and a key that counts once."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code, Refused
from workers.cli.connect import read, with_ledger
from workers.cli.output import decimal, emit, say
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

COLLATERAL: Final = "collateral"


class Cause(StrEnum):
    """Why something is owned or not owned any more. What orders move is booked by their fills."""

    OPENING = "opening"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    CORRECTION = "correction"
    RESOLUTION = "resolution"
    REDEMPTION = "redemption"
    SPLIT = "split"
    MERGE = "merge"
    CONVERSION = "conversion"
    TRANSFER_IN = "transfer_in"
    TRANSFER_OUT = "transfer_out"


COMES: Final = frozenset({Cause.OPENING, Cause.DEPOSIT, Cause.TRANSFER_IN})
GOES: Final = frozenset({Cause.WITHDRAWAL, Cause.TRANSFER_OUT})
VALUED: Final = frozenset({Cause.RESOLUTION, Cause.REDEMPTION, Cause.CONVERSION})
"""Of tokens: their value is known to whoever books it, and nothing in the rows tells it."""


def book(
    asset: Annotated[str, typer.Option("--asset", help="collateral, or a token id.")],
    amount: Annotated[
        str, typer.Option("--amount", help="A plain decimal; below zero for what is gone.")
    ],
    cause: Annotated[Cause, typer.Option("--cause")],
    key: Annotated[str, typer.Option("--key", help="Booked once, however often it is repeated.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    worth: Annotated[
        str | None,
        typer.Option(
            "--value",
            help="Of tokens: what they were worth in collateral. Needed for resolution, redemption "
            "and conversion; else what is known is taken.",
        ),
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Book a movement of a balance that no order explains. Safe to repeat with the same key."""
    from app.money import parse_micros

    micros = parse_micros(amount, what="--amount")
    _check(cause, micros, key, why)
    value = None if worth is None else parse_micros(worth, what="--value")
    _check_value(asset, cause, value)
    name = account or state().settings.account
    note = f"{operator_name(operator)}: {why}"

    async def work(calls: LedgerCalls) -> bool:
        booked: bool = await calls.value(
            "book_movement", name, asset, micros, cause.value, key, note, value
        )
        if not booked:
            (entry,) = await read(calls, "movement", name, f"movement:{key}")
            _check_same(entry, asset, micros, cause, value)
        return booked

    booked = with_ledger("risk", work)
    done: dict[str, Any] = {
        "status": "booked" if booked else "replay",
        "account": name,
        "asset": asset,
        "amount_micros": micros,
        "cause": cause.value,
        "key": key,
        "value_micros": value,
    }
    told = "booked" if booked else "it was booked before"
    emit(done, lambda: say(f"{decimal(micros)} {asset} for {cause.value}: {told}"))


def _check(cause: Cause, micros: int, key: str, why: str) -> None:
    wrong = ""
    if micros == 0:
        wrong = "--amount is zero"
    elif cause in COMES and micros < 0:
        wrong = f"{cause.value} is what comes in, and --amount is below zero"
    elif cause in GOES and micros > 0:
        wrong = f"{cause.value} is what goes out, and --amount is above zero"
    elif not 1 <= len(key.encode()) <= 200:
        wrong = "--key is not 1 to 200 bytes"
    elif not why.strip():
        wrong = "--why is empty"
    if wrong:
        raise BadInput(
            Code.BAD_REQUEST,
            wrong,
            not_done="nothing was booked",
            next_step="correct it; ledger-worker balances book --help shows what it takes",
        )


def _check_value(asset: str, cause: Cause, value: int | None) -> None:
    wrong = ""
    if asset == COLLATERAL and value is not None:
        wrong = "--value is for tokens; collateral is worth what it is"
    elif asset != COLLATERAL and cause in VALUED and value is None:
        wrong = f"--value is missing: what were the tokens of a {cause.value} worth?"
    elif value is not None and value < 0:
        wrong = "--value is below zero"
    if wrong:
        raise BadInput(
            Code.BAD_REQUEST,
            wrong,
            not_done="nothing was booked",
            next_step="say with --value what all of these tokens together brought or cost, 0 if nothing",
        )


def _check_same(
    entry: dict[str, Any], asset: str, micros: int, cause: Cause, value: int | None
) -> None:
    found = (entry["asset"], entry["amount_micros"], entry["cause"])
    other = value is not None and value != entry["value_micros"]
    if found != (asset, micros, cause.value) or other:
        raise Refused(
            Code.KEY_REUSED,
            f"the key belongs to {decimal(found[1])} {found[0]} for {found[2]}",
            not_done="nothing was booked",
            next_step="use a new key for another movement",
        )
