"""``risk``: what is used of every cap in force, and what makes the ledger careful just now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli.breakers import BREAKERS
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.output import Column, Row, age, decimal, emit, field, micros, say, table
from workers.cli.state import Json

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("risk")(risk)


def risk(
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Markets and books shown.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """What is used of each cap: per account, group, all together, live, and in the fullest markets;
    breakers, loans, losses and the age of books.
    """

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        await check_filters(calls, account, None)
        return {
            "totals": await read(calls, "risk_totals", account),
            "markets": await read(calls, "risk_markets", account, limit),
            "breakers": await read(calls, "breakers", account, False),
            "accounts": await read(calls, "risk_accounts", account),
            "loans": await read(calls, "risk_loans", account),
            "books": await read(calls, "risk_books", account, limit),
        }

    found = with_ledger("worker", work)
    emit(found, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    for title, columns in _SECTIONS.items():
        rows = found[title]
        if rows or title in _ALWAYS:
            say(title)
            table(columns, rows, empty="  none")
            say()
    say("ledger-worker limits shows what is set, ledger-worker limits changes who set it.")


def _amount(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    return decimal(value) if row["name"].endswith("_micros") else str(value)


def _of(row: Row) -> str:
    words = {"live": "all live accounts", "global": "all accounts"}
    return words.get(row["scope"]) or f"{row['scope']} {row['subject']}"


def _used(row: Row) -> str:
    used = _amount(row, "used")
    if row["cap"] is None:
        return f"{used}, no limit"
    share = f" ({row['used_ppm'] // 10_000} %)" if row["cap"] else ""
    return f"{used} of {_amount(row, 'cap')}{share}"


def _limit(row: Row) -> str:
    return str(row["name"]).removesuffix("_micros").removeprefix("max_").replace("_", " ")


def _market(row: Row) -> object:
    return row["slug"] or row["market"]


def _book_age(row: Row) -> str:
    if row["age_ms"] is None:
        return "none"
    return age(row["age_ms"] // 1_000) + (" (too old)" if row["too_old"] else "")


_ALWAYS: Final = ("totals", "markets", "breakers")
_SECTIONS: Final[dict[str, list[Column]]] = {
    "totals": [
        ("of", _of),
        ("limit", _limit),
        ("used", _used),
        ("lent", lambda row: _amount(row, "lent")),
    ],
    "markets": [
        ("account", field("account")),
        ("market", _market),
        ("limit", _limit),
        ("used", _used),
    ],
    "breakers": BREAKERS,
    "accounts": [
        ("account", field("account")),
        ("equity", micros("equity_micros")),
        ("lost today", micros("daily_loss_micros")),
        ("lost in 24 h", micros("rolling_loss_micros")),
        ("size factor", lambda row: f"{row['size_factor_ppm'] // 10_000} %"),
        ("marked", field("marked_at")),
    ],
    "loans": [
        ("of", _of),
        ("account", field("account")),
        ("lent", micros("lent_cost_micros")),
        ("used", micros("used_cost_micros")),
        ("lent shares", micros("lent_shares_micros")),
        ("used shares", micros("used_shares_micros")),
    ],
    "books": [
        ("market", _market),
        ("outcome", field("outcome")),
        ("bid", micros("best_bid_micros")),
        ("ask", micros("best_ask_micros")),
        ("age", _book_age),
    ],
}
