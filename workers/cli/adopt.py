"""``adopt``: what is at the venue and not in the ledger, shown to a person, and taken in once they say yes.

``adopt resolve`` is for what no read will ever settle: a person says what an order was, and why.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code
from app.venue.interface import Unread
from workers.cli.asking import Person
from workers.cli.connect import PATIENCE_S, check_filters, read, with_ledger
from workers.cli.errors import COULD_NOT, DONE, REFUSED
from workers.cli.output import (
    Row,
    age,
    counted,
    decimal,
    emit,
    field,
    note,
    progress,
    say,
    table,
)
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.config import Settings
    from app.ledger.calls import LedgerCalls
    from workers.adopting import Adopted, Holding

FOREIGN_KIND: Final = "foreign order"


class ForeignFate(StrEnum):
    """What became of an order that no intent explains."""

    NOT_OURS = "not_ours"
    CANCELLED = "cancelled"
    FILLED = "filled"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(adopt)
    group.command("resolve")(resolve)
    app.add_typer(
        group, name="adopt", help="Foreign orders and opening holdings; resolve one by hand."
    )


def resolve(
    order: Annotated[str, typer.Argument(metavar="ID", help="Its id at the venue, from adopt.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    fate: Annotated[
        ForeignFate, typer.Option("--as", help="What it was, or what became of it.")
    ] = ForeignFate.NOT_OURS,
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Say what a foreign order was, where no read settles it. Nothing is sent to the venue.

    The account stays halted until it is resumed.
    """
    name = account or state().settings.account

    async def work(calls: LedgerCalls) -> bool:
        await check_filters(calls, name, None)
        done: bool = await calls.value(
            "resolve_foreign", name, order, fate.value, why, operator_name(operator)
        )
        return done

    if not with_ledger("risk", work):
        raise BadInput(
            Code.UNKNOWN_ORDER,
            f"no foreign order {order[:80]} stands in {name}",
            not_done="nothing was resolved",
            next_step=f"ledger-worker adopt --account {name} lists those that stand, with their ids",
        )
    done = {
        "status": "resolved",
        "account": name,
        "venue_order_id": order.lower(),
        "as": fate.value,
    }
    emit(done, lambda: say(f"{order}: resolved as {fate.value}"))
    note(f"{name} stays halted until ledger-worker resume; what the order traded is")
    note("booked by hand: ledger-worker balances book.")


def adopt(
    context: typer.Context,
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Show orders that no intent explains, and holdings that were there before; then take them in.

    Foreign orders are cancelled at the venue and resolved once a read shows their end; opening holdings
    are booked. Nothing is written before somebody types yes. Exit code 1 if something is left.
    """
    if context.invoked_subcommand is not None:
        return
    settings = state().settings
    name = account or settings.account

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, name, None)
        return await read(calls, "unexplained", name)

    rows = with_ledger("worker", work)
    for row in rows:
        row["detail"] = json.loads(row["detail"])
    orders = [row for row in rows if row["kind"] == FOREIGN_KIND]
    others = [row for row in rows if row["kind"] != FOREIGN_KIND]
    holdings: Sequence[Holding] = []
    unread = ""
    if orders or settings.venue != "paper":
        with progress("looking at the venue"):
            seen = asyncio.run(_holdings(settings, name))
        if isinstance(seen, Unread):
            unread = seen.reason
        else:
            holdings = seen.value
    value: dict[str, Any] = {
        "account": name,
        "foreign_orders": orders,
        "unexplained": others,
        "holdings": [_shown(one) for one in holdings],
        "unread": unread,
        "adopted": None,
    }
    raise typer.Exit(_go_on(settings, value, holdings, yes=yes, operator=operator_name(operator)))


def _go_on(
    settings: Settings,
    value: dict[str, Any],
    holdings: Sequence[Holding],
    *,
    yes: bool,
    operator: str,
) -> int:
    name, orders = value["account"], value["foreign_orders"]
    openings = [one for one in holdings if not one.why_not]
    if not state().as_json:
        _show(value)
    if value["unread"]:
        emit(value, lambda: say(f"the venue could not be read: {value['unread']}"))
        note("Nothing was written. See ledger-worker doctor, then repeat.")
        return COULD_NOT
    if not orders and not openings:
        left = bool(holdings or value["unexplained"])
        emit(value, lambda: say("nothing can be adopted" if left else "nothing to adopt"))
        return REFUSED if left else DONE
    question = (
        f"Cancel {counted(len(orders), 'order')} at the venue and book "
        f"{counted(len(openings), 'opening holding')} for {name}?"
    )
    if not yes and not Person().agrees(question):
        emit(value, lambda: say("nothing was cancelled or booked"))
        note("Nothing was adopted. Repeat it and type yes, or give --yes.")
        return REFUSED
    ids = [one["venue_order_id"] for one in orders]
    with progress("ending the orders and booking"):
        done = asyncio.run(_carry_out(settings, name, ids, openings, operator))
    value["adopted"] = {
        "ok": done.ok,
        "orders": [asdict(one) for one in done.orders],
        "booked": [_shown(one) for one in done.booked],
        "left": done.left,
    }
    emit(value, lambda: _show_done(done))
    if any(not one.resolved_as for one in done.orders):
        note(
            "What no read will ever show is for you to say: ledger-worker adopt resolve ID --why W."
        )
    if done.orders:
        note("The account stays halted until ledger-worker resume; what the orders traded is")
        note("booked by hand: ledger-worker balances book.")
    return DONE if done.ok else REFUSED


async def _holdings(settings: Settings, account: str) -> Any:
    from app.clock import Ports
    from app.db.access import role_url
    from app.observe import logs
    from workers.adopting import adopting

    ports = Ports.system()
    logs.configure(ports.clock, level="error", style=settings.log_format)
    async with adopting(settings, ports, role_url(settings, "worker"), account) as adoption:
        return await adoption.holdings()


async def _carry_out(
    settings: Settings, account: str, ids: Sequence[str], shown: Sequence[Holding], operator: str
) -> Adopted:
    from app.clock import Ports
    from app.db.access import role_url
    from app.db.connect import open_pool
    from workers.adopting import adopting
    from workers.cli.patience import patient_calls

    pool = await open_pool(role_url(settings, "risk"), role_hint="command", min_size=1, max_size=1)
    try:
        risk = patient_calls(pool, PATIENCE_S)
        url = role_url(settings, "worker")
        async with adopting(settings, Ports.system(), url, account) as adoption:
            return await adoption.carry_out(risk, ids, shown, operator)
    finally:
        pool.terminate()


def _shown(one: Holding) -> dict[str, Any]:
    return asdict(one) | {"amount_micros": one.amount_micros}


def _show(value: dict[str, Any]) -> None:
    for title, columns in _SECTIONS.items():
        if value[title]:
            say(title.replace("_", " "))
            table(columns, value[title], empty="")
            say()


def _show_done(done: Adopted) -> None:
    for order in done.orders:
        say(f"{order.venue_order_id}: {order.resolved_as or 'NOT resolved'} ({order.why})")
    for one in done.booked:
        say(f"{decimal(one.amount_micros)} {one.outcome or one.asset}: booked as opening")
    for why in done.left:
        say(f"not booked: {why}")


def _asset(row: Row) -> str:
    return f"{row['market']} {row['outcome']}" if row["market"] else str(row["asset"])


_SECTIONS: Final = {
    "foreign_orders": [
        ("venue id", field("venue_order_id")),
        ("age", lambda row: age(row["age_s"])),
        ("last seen", field("last_seen_at")),
        ("detail", lambda row: json.dumps(row["detail"])),
    ],
    "unexplained": [
        ("kind", field("kind")),
        ("order", field("order_id")),
        ("venue id", field("venue_order_id")),
        ("age", lambda row: age(row["age_s"])),
    ],
    "holdings": [
        ("asset", _asset),
        ("ours", lambda row: decimal(row["ours_micros"])),
        ("the venue's", lambda row: decimal(row["theirs_micros"])),
        ("to book", lambda row: "" if row["why_not"] else decimal(row["amount_micros"])),
        ("why not", field("why_not")),
    ],
}
