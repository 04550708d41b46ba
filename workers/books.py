"""``ledger-worker markets book``: the order book of one token, proved, and what a size would cost there."""

from __future__ import annotations

from typing import Any

from app.clock import Ports
from app.config import Settings
from app.markets.books.book import Book, empty
from app.markets.books.depth import levels, mid_micros, spread_micros, walk
from app.markets.books.fallback import CLOB_BOOK, Snapshot, prove
from app.markets.books.frames import Side
from app.markets.fetching import Absent, Reader, Unread
from app.venue.polymarket.transport import Timeouts, Transport
from workers.markets_sync import venue_reader


async def read_book(settings: Settings, ports: Ports, known: Book) -> Snapshot:
    """The book over a connection of its own. ``known`` says of which token, and what its hash is made with."""
    transport = Transport(
        settings.polymarket_clob_url,
        ports,
        timeouts=Timeouts(total=settings.request_timeout_ms),
        ca_file=settings.polymarket_ca_file,
    )
    try:
        reader = venue_reader(transport.request, transport.request, ports)
        return await snapshot(reader, ports, known)
    finally:
        await transport.aclose()


async def snapshot(reader: Reader, ports: Ports, known: Book) -> Snapshot:
    """A proved book, that there is none, or why nothing may be concluded."""
    read = await reader.json(CLOB_BOOK, {"token_id": known.token_id})
    if isinstance(read, Absent | Unread):
        return read
    return prove(known, read.value, newest_ms=0, seen_ns=ports.clock.monotonic_ns())


def market_of(row: dict[str, Any], token_id: str) -> Book:
    """A book before its first look, from a row of the ledger's markets."""
    return empty(
        token_id,
        market=row["market"],
        tick_micros=row["tick_micros"],
        min_size_micros=row["min_size_micros"],
        neg_risk=row["neg_risk"],
    )


def summary(book: Book, depth: int, sizes: dict[Side, int], limit: int | None) -> dict[str, Any]:
    """For ``--json`` and for the table a person reads. Prices and sizes in micros."""
    return {
        "token_id": book.token_id,
        "market": book.market,
        "at_ms": book.timestamp_ms,
        "best_bid_micros": book.best_bid,
        "best_ask_micros": book.best_ask,
        "mid_micros": mid_micros(book),
        "spread_micros": spread_micros(book),
        "crossed": book.crossed,
        "levels": [
            {"side": name, "price_micros": price, "size_micros": size}
            for name, side in (("ask", "BUY"), ("bid", "SELL"))
            for price, size in levels(book, "BUY" if side == "BUY" else "SELL")[:depth]
        ],
        "effective": [_effective(book, side, size, limit) for side, size in sizes.items()],
    }


def _effective(book: Book, side: Side, size: int, limit: int | None) -> dict[str, Any]:
    taken = walk(book, side, size, limit=limit)
    return {
        "side": side,
        "wanted_micros": taken.wanted,
        "filled_micros": taken.filled,
        "enough": taken.enough,
        "average_price_micros": taken.average_price,
        "worst_price_micros": taken.worst,
        "collateral_micros": taken.collateral_micros,
        "levels": taken.levels,
    }
