"""What a book says about a price: the middle, what a size would cost, and whether it may be asked.

Integers only. A cost is exact (price times size, no division) until it becomes a price per share,
which is rounded against whoever asks: up for a BUY, down for a SELL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.markets.books.book import Book
from app.markets.books.frames import Side
from app.money import MICROS


class Unfit(StrEnum):
    """Why nothing may be concluded from a book. Values never change; new ones may be added."""

    NO_SNAPSHOT = "NO_SNAPSHOT"
    SUSPECT = "SUSPECT"
    STALE = "STALE"
    CROSSED = "CROSSED"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class Walk:
    """A size taken from the levels of a book, best first.

    ``cost`` is in micros times micros (a millionth of a millionth), exact. Where the depth, or the
    limit, does not suffice, ``filled`` is what there is, and ``enough`` is False.
    """

    side: Side
    wanted: int
    filled: int
    cost: int
    worst: int | None
    """Price of the last level touched."""
    levels: int

    @property
    def enough(self) -> bool:
        return self.filled == self.wanted

    @property
    def collateral_micros(self) -> int:
        """What is paid (rounded up) or got (rounded down), without fees."""
        return -(-self.cost // MICROS) if self.side == "BUY" else self.cost // MICROS

    @property
    def average_price(self) -> int | None:
        """Micros per share over what was filled; None where nothing was."""
        if not self.filled:
            return None
        return -(-self.cost // self.filled) if self.side == "BUY" else self.cost // self.filled


def unfit(book: Book, *, now_ns: int, max_age_ms: int) -> Unfit | None:
    """Why the book is not to be used, or None. Age is that of the data, not of the connection."""
    if book.snapshot_ms is None:
        return Unfit.NO_SNAPSHOT
    if book.resolved:
        return Unfit.RESOLVED
    if book.suspect:
        return Unfit.SUSPECT
    if age_ms(book, now_ns=now_ns) > max_age_ms:
        return Unfit.STALE
    return Unfit.CROSSED if book.crossed else None


def age_ms(book: Book, *, now_ns: int) -> int:
    """Milliseconds since anything about this token was received."""
    return (now_ns - book.seen_ns) // 1_000_000


def mid_micros(book: Book) -> int | None:
    """The middle of the best prices; None where a side is empty. Exact: both are multiples of
    0.0001.
    """
    bid, ask = book.best_bid, book.best_ask
    return None if bid is None or ask is None else (bid + ask) // 2


def spread_micros(book: Book) -> int | None:
    """Best ask less best bid; below one for a crossed book."""
    bid, ask = book.best_bid, book.best_ask
    return None if bid is None or ask is None else ask - bid


def levels(book: Book, side: Side) -> list[tuple[int, int]]:
    """(price, size) as somebody who trades on ``side`` meets them: a BUY takes asks, cheapest first."""
    if side == "BUY":
        return sorted(book.asks.items())
    return sorted(book.bids.items(), reverse=True)


def walk(book: Book, side: Side, size: int, *, limit: int | None = None) -> Walk:
    """Take ``size`` (micro-shares) from the book, at no worse a price than ``limit``."""
    left, cost, worst, touched = size, 0, None, 0
    for price, there in levels(book, side):
        beyond = limit is not None and (price > limit if side == "BUY" else price < limit)
        if left <= 0 or beyond:
            break
        taken = min(left, there)
        left -= taken
        cost += taken * price
        worst = price
        touched += 1
    return Walk(side, size, size - left, cost, worst, touched)
