"""Caps and burst limits: what is set, who changed it, and changing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code
from workers.cli.connect import read, with_ledger
from workers.cli.output import Column, Row, decimal, emit, field, micros, table
from workers.cli.state import Json
from workers.cli.values import NOTHING, parse_count

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

UNSET: Final = "none"
_CAP: Final = "Shares, or none to unset it here."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(limits)
    group.command("set")(set_limits)
    group.command("changes")(changes)
    app.add_typer(group, name="limits", help="Caps and burst limits: list, set, changes.")


def limits(context: typer.Context, as_json: Json = False) -> None:
    """List what is set. The most specific value wins: account and market, market, account, all."""
    if context.invoked_subcommand is not None:
        return

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "limits")

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_COLUMNS, rows, empty="no limits are set"))


_COLUMNS = [
    ("account", lambda row: row["account"] or "(all)"),
    ("market", lambda row: row["slug"] or row["market"] or "(all)"),
    ("max outcome", micros("max_outcome_micros")),
    ("max market", micros("max_market_micros")),
    ("per minute", field("burst_per_minute")),
    ("gap ms", field("burst_gap_ms")),
    ("counts sells", field("burst_counts_sells")),
]


def set_limits(
    why: Annotated[str, typer.Option("--why", help="The reason, for the change log.")],
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Default: all.")] = None,
    max_outcome: Annotated[str | None, typer.Option("--max-outcome", help=_CAP)] = None,
    max_market: Annotated[str | None, typer.Option("--max-market", help=_CAP)] = None,
    per_minute: Annotated[
        str | None, typer.Option("--per-minute", help="Orders, 0 to 600, or none.")
    ] = None,
    gap_ms: Annotated[
        str | None, typer.Option("--gap-ms", help="Milliseconds between orders, or none.")
    ] = None,
    count_sells: Annotated[bool | None, typer.Option("--count-sells/--no-count-sells")] = None,
    as_json: Json = False,
) -> None:
    """Change limits, each with a row in the change log. Effective for the next decision."""
    wanted: dict[str, str | None] = {}
    # all values are read before the first is set: half a change would be worse than none
    if max_outcome is not None:
        wanted["max_outcome_micros"] = _cap(max_outcome, "--max-outcome")
    if max_market is not None:
        wanted["max_market_micros"] = _cap(max_market, "--max-market")
    if per_minute is not None:
        wanted["burst_per_minute"] = _count(per_minute, "--per-minute", 600)
    if gap_ms is not None:
        wanted["burst_gap_ms"] = _count(gap_ms, "--gap-ms", 600_000)
    if count_sells is not None:
        wanted["burst_counts_sells"] = "true" if count_sells else "false"
    if not wanted:
        raise BadInput(
            Code.BAD_REQUEST,
            "no limit was named",
            not_done=NOTHING,
            next_step="see ledger-worker limits set --help",
        )

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        done = []
        for name, value in wanted.items():
            before = await calls.value("set_limit", account, market, name, value, why)
            done.append({"name": name, "before": before, "after": value})
        return done

    done = with_ledger("risk", work)
    value = {"status": "set", "account": account, "market": market, "changes": done}
    emit(value, lambda: table(_CHANGED, done, empty=""))


def _value(name: str) -> Callable[[Row], object]:
    """Caps are kept in micros and shown as shares."""

    def show(row: Row) -> object:
        given = row[name]
        in_micros = row["name"].endswith("_micros") and given is not None
        return decimal(int(given)) if in_micros else given or UNSET

    return show


_CHANGED: list[Column] = [
    ("limit", lambda row: row["name"].removesuffix("_micros")),
    ("before", _value("before")),
    ("after", _value("after")),
]


def changes(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """Who changed which limit, newest first."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        return await read(calls, "limit_changes", limit)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_CHANGES, rows, empty="no limit was ever changed"))


_CHANGES = [
    ("at", field("changed_at")),
    ("by", field("changed_by")),
    ("account", lambda row: row["account"] or "(all)"),
    ("market", lambda row: row["slug"] or row["market"] or "(all)"),
    *_CHANGED,
    ("why", field("why")),
]


def _cap(given: str, what: str) -> str | None:
    from app.money import parse_micros

    if given == UNSET:
        return None
    cap = parse_micros(given, what=what)
    if cap < 0:
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} is below zero: {given[:40]!r}",
            not_done=NOTHING,
            next_step=f"give shares from 0 on, or {UNSET} to unset it here",
        )
    return str(cap)


def _count(given: str, what: str, most: int) -> str | None:
    return None if given == UNSET else str(parse_count(given, what=what, least=0, most=most))
