"""Looking at orders, and deciding the fate of one where no evidence can be had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.errors import refusal
from workers.cli.output import (
    age,
    decimal,
    emit,
    field,
    micros,
    pairs,
    say,
    table,
    text,
)
from workers.cli.people import Operator, operator_name
from workers.cli.references import order_numbers
from workers.cli.state import Json

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


class OrderState(StrEnum):
    """As in docs/state-machine.md."""

    RESERVED = "RESERVED"
    PREPARED = "PREPARED"
    SENDING = "SENDING"
    HELD_BACK = "HELD_BACK"
    UNKNOWN = "UNKNOWN"
    DELAYED = "DELAYED"
    LIVE = "LIVE"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    NOT_PLACED = "NOT_PLACED"


class Fate(StrEnum):
    """What an operator may decide."""

    NOT_PLACED = "not_placed"
    CANCELLED = "cancelled"
    LIVE = "live"


Ref = Annotated[str, typer.Argument(metavar="ORDER", help="Number or venue id.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("orders")(orders)
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="One order.")
    group.command("show")(show)
    group.command("resolve")(resolve)
    app.add_typer(group, name="order")


def orders(
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Condition id or slug.")] = None,
    states: Annotated[
        list[OrderState] | None,
        typer.Option("--state", case_sensitive=False, help="May be repeated."),
    ] = None,
    standing: Annotated[
        bool, typer.Option("--open", help="Only those that have not ended.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    as_json: Json = False,
) -> None:
    """List orders, newest first."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, account, market)
        wanted = [one.value for one in states] if states else None
        return await read(calls, "orders", account, market, wanted, standing, limit)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_COLUMNS, rows, empty="no orders"))


_COLUMNS = [
    ("order", field("order_id")),
    ("account", field("account")),
    ("market", lambda row: row["slug"] or row["market"]),
    ("outcome", field("outcome")),
    ("side", field("side")),
    ("price", micros("price_micros")),
    ("size", micros("size_micros")),
    ("matched", micros("matched_micros")),
    ("type", field("order_type")),
    ("state", field("state")),
    ("since", lambda row: age(row["state_age_s"])),
    ("cause", lambda row: row["cause"] or ("cancel asked" if row["cancel_asked"] else "")),
    ("key", field("key")),
]


def show(order: Ref, as_json: Json = False) -> None:
    """Show one order: its terms, attempts, fills, evidence and journal."""

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        (number,) = await order_numbers(calls, [order])
        found = await read(calls, "order", number)
        if not found:
            raise _unknown(number)
        journal = await read(calls, "order_journal", number)
        return {
            **found[0],
            "attempts": await read(calls, "order_attempts", number),
            "fills": await read(calls, "order_fills", number),
            "evidence": await read(calls, "order_evidence", number),
            "journal": [{**row, "detail": json.loads(row["detail"])} for row in journal],
        }

    shown = with_ledger("worker", work)
    emit(shown, lambda: _show_order(shown))


def resolve(
    order: Ref,
    fate: Annotated[Fate, typer.Option("--as", help="What became of it at the venue.")],
    why: Annotated[str, typer.Option("--why", help="The evidence you saw, for the record.")],
    final_size: Annotated[
        str | None, typer.Option("--final-size", help="With cancelled: shares matched in all.")
    ] = None,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Decide the fate of an order that no evidence settles. It is recorded who did and why."""
    from app.money import parse_micros

    size = None if final_size is None else parse_micros(final_size, what="--final-size")

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        (number,) = await order_numbers(calls, [order])
        answer: dict[str, Any] = await calls.value(
            "resolve_order", number, fate.value, size, why, operator_name(operator)
        )
        return answer

    answer = with_ledger("risk", work)
    answer.pop("item")
    if answer["status"] == "refused":
        raise refusal(answer, "nothing was changed")
    emit(answer, lambda: say(f"order {answer['order_id']}: {answer['state']}"))


def _unknown(number: int) -> BadInput:
    return BadInput(
        Code.UNKNOWN_ORDER,
        f"there is no order {number}",
        not_done="nothing was read",
        next_step="ledger-worker orders shows the numbers",
    )


def _show_order(order: Mapping[str, Any]) -> None:
    terms = f"{order['side']} {decimal(order['size_micros'])} at {decimal(order['price_micros'])}"
    post_only = ", post-only" if order["post_only"] else ""
    pairs(
        [
            ("order", order["order_id"]),
            ("account", order["account"]),
            ("market", order["slug"] or order["market"]),
            ("terms", f"{terms} of {order['outcome']}, {order['order_type']}{post_only}"),
            (
                "state",
                f"{order['state']} since {text(order['state_at'])}: {order['state_meaning']}",
            ),
            ("cause", order["cause"]),
            ("matched", decimal(order["matched_micros"])),
            ("confirmed", decimal(order["confirmed_micros"])),
            ("holds", f"{decimal(order['held_micros'])} ({order['reservation']})"),
            ("cancel", _cancel_words(order)),
            ("replaced by", order["replaced_by"] or order["replacement_code"]),
            ("valid until", order["valid_until"]),
            ("venue id", order["venue_order_id"]),
            ("key", order["key"]),
        ]
    )
    for title, rows, columns in (
        ("attempts", order["attempts"], _ATTEMPTS),
        ("fills", order["fills"], _FILLS),
        ("evidence", order["evidence"], _EVIDENCE),
        ("journal", order["journal"], _JOURNAL),
    ):
        say()
        say(title)
        table(columns, rows, empty="none")


def _cancel_words(order: Mapping[str, Any]) -> str:
    if order["cancel_asked_at"] is None:
        return ""
    asked = f"asked {text(order['cancel_asked_at'])}: {order['cancel_reason']}"
    return f"{asked}; {order['cancel_tries']} tries" if order["cancel_status"] else asked


_ATTEMPTS = [
    ("no", field("attempt")),
    ("outcome", field("outcome")),
    ("code", field("code")),
    ("opened", field("opened_at")),
    ("ended", field("ended_at")),
]
_FILLS = [
    ("trade", field("trade_id")),
    ("size", micros("size_micros")),
    ("price", micros("price_micros")),
    ("fee", micros("fee_micros")),
    ("settlement", field("settlement")),
    ("maker", field("is_maker")),
    ("matched", field("matched_at")),
]
_EVIDENCE = [("kind", field("kind")), ("at", field("at")), ("detail", field("detail"))]
_JOURNAL = [
    ("no", field("seq")),
    ("at", field("at")),
    ("event", field("event")),
    ("from", field("from_state")),
    ("to", field("to_state")),
    ("actor", field("actor")),
    ("detail", lambda row: json.dumps(row["detail"]) if row["detail"] else ""),
]
