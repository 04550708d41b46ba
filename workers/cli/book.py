"""``markets book``: what stands at the venue for one outcome, and at which price a size could be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code
from app.money import parse_micros
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.errors import COULD_NOT
from workers.cli.output import decimal, emit, field, micros, note, progress, say, table
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls
    from app.markets.books.frames import Side


def book(
    market: Annotated[str, typer.Option("--market", help="Condition id or slug.")],
    outcome: Annotated[str, typer.Option("--outcome", help="Label, index or token id.")],
    size: Annotated[
        str | None, typer.Option("--size", help="Shares: what would so many cost, and bring?")
    ] = None,
    limit: Annotated[
        str | None, typer.Option("--price", help="With --size: at no worse a price than this.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=1_000, help="Levels shown.")] = 5,
    as_json: Json = False,
) -> None:
    """Read one order book from the venue, and the effective price of a size in it, without fees.

    Reads only, and needs no key. A book whose hash does not come out is not shown: exit code 2.
    """
    from app.clock import Ports
    from app.markets.books.book import Book
    from workers.books import market_of, read_book, summary

    settings, ports = state().settings, Ports.system()
    sizes = _sizes(size)
    worst = None if limit is None else parse_micros(limit, what="--price")

    async def work(calls: LedgerCalls) -> Any:
        await check_filters(calls, None, market)
        [row] = await read(calls, "markets", market, False, None, 1)
        return await read_book(settings, ports, market_of(row, _token(row, outcome)))

    with progress(f"reading the book from {settings.polymarket_clob_url}"):
        found = with_ledger("worker", work)
    if not isinstance(found, Book):
        done = {"ok": False, "why": found.why}
        emit(done, lambda: note(f"no book that could be believed: {found.why}"))
        raise typer.Exit(COULD_NOT)
    shown = {"ok": True} | summary(found, depth, sizes, worst)
    emit(shown, lambda: _show(shown))


def _sizes(size: str | None) -> dict[Side, int]:
    if size is None:
        return {}
    wanted = parse_micros(size, what="--size")
    if wanted <= 0:
        raise BadInput(
            Code.BAD_REQUEST,
            "--size is not above zero",
            not_done="nothing was read",
            next_step="name a number of shares, such as 10",
        )
    return {"BUY": wanted, "SELL": wanted}


def _token(row: dict[str, Any], outcome: str) -> str:
    """By token id, index or label, as `place` takes it."""
    tokens, labels = row["token_ids"], row["outcomes"]
    if outcome in tokens:
        return outcome
    matching = [token for token, label in zip(tokens, labels, strict=True) if label == outcome]
    if not matching and outcome.isascii() and outcome.isdigit() and int(outcome) < len(tokens):
        matching = [tokens[int(outcome)]]
    if len(matching) != 1:
        raise BadInput(
            Code.UNKNOWN_OUTCOME,
            f"{outcome[:60]!r} names no outcome of this market",
            not_done="nothing was read",
            next_step=f"one of: {', '.join(labels)}",
        )
    return str(matching[0])


def _show(done: dict[str, Any]) -> None:
    bid, offer = decimal(done["best_bid_micros"]), decimal(done["best_ask_micros"])
    say(f"bid {bid}, ask {offer}, middle {decimal(done['mid_micros'])}")
    table(_LEVELS, done["levels"], empty="the book is empty")
    if done["effective"]:
        say()
        table(_EFFECTIVE, done["effective"], empty="")


_LEVELS = [
    ("side", field("side")),
    ("price", micros("price_micros")),
    ("size", micros("size_micros")),
]
_EFFECTIVE = [
    ("to", field("side")),
    ("wanted", micros("wanted_micros")),
    ("there is", micros("filled_micros")),
    ("effective price", micros("average_price_micros")),
    ("worst", micros("worst_price_micros")),
    ("collateral", micros("collateral_micros")),
]
