"""Limits: what is set, who changed it, and changing it. Of markets and orders, and on totals (``--scope``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.connect import read, with_ledger
from workers.cli.limit_names import LIMITS, TOTALS, UNSET, shown
from workers.cli.limit_setting import set_limits
from workers.cli.output import Column, Row, emit, field, say, table
from workers.cli.state import Json

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(limits)
    group.command("set")(set_limits)
    group.command("changes")(changes)
    app.add_typer(group, name="limits", help="Limits and caps: list, set, changes.")


def limits(context: typer.Context, as_json: Json = False) -> None:
    """List what is set. The most specific value wins: account and market, market, account, all."""
    if context.invoked_subcommand is not None:
        return

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return [*await read(calls, "limits"), *await read(calls, "total_limits")]

    rows = with_ledger("worker", work)
    emit(rows, lambda: _show(rows))


def _show(rows: list[dict[str, Any]]) -> None:
    """A line for each value: two dozen columns would fit no terminal."""
    lines = [
        {"row": row, "limit": one.option, "value": shown(one.column, row[one.column])}
        for row in rows
        for one in (LIMITS if row["scope"] == "market" else TOTALS)
        if row[one.column] is not None
    ]
    table([("of", lambda line: _of(line["row"])), *_VALUES], lines, empty="no limits are set")
    say()
    say("What is not named here is not limited. ledger-worker risk shows what is used of each.")


_VALUES: list[Column] = [("limit", field("limit")), ("value", field("value"))]


def _of(row: Row) -> str:
    """Whose limit it is, for people."""
    scope, market = row["scope"], row["slug"] or row["market"]
    if scope == "account":
        return f"total of account {row['account']}" if row["account"] else "total of each account"
    if scope == "group":
        return f"total of group {row['group']}" if row["group"] else "total of each group"
    if scope != "market":
        return "total of all live accounts" if scope == "live" else "total of all accounts"
    if row["account"] and market:
        return f"account {row['account']} in {market}"
    if market:
        return f"market {market}"
    return f"each market of account {row['account']}" if row["account"] else "each market"


def changes(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """Who changed which limit, newest first."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "limit_changes", limit)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_CHANGES, rows, empty="no limit was ever changed"))


def _value(name: str) -> Callable[[Row], object]:
    return lambda row: UNSET if row[name] is None else shown(row["name"], row[name])


_CHANGES: list[Column] = [
    ("at", field("changed_at")),
    ("by", field("changed_by")),
    ("of", _of),
    ("limit", lambda row: row["name"].removesuffix("_micros")),
    ("before", _value("before")),
    ("after", _value("after")),
    ("why", field("why")),
]
