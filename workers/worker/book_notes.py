"""Tells the ledger the books that its limits on prices judge by: collar, slippage, post-only, marks of equity.

Beside the send path and never part of it: one call at a time, each token at most each 250 ms and only when its
levels changed, or each second where somebody has seen that they did not. A book that is not told grows old, and
then the ledger refuses by NO_BOOK instead of judging by what was.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from app.errors import DatabaseProblem, LedgerError
from workers.worker.context import Context

NOTE_EVERY_MS: Final = 250
UNCHANGED_EVERY_MS: Final = 1_000
PER_CALL: Final = 200
"""Books in one call; the rest goes in the next."""
LEVELS: Final = 20
"""The ledger keeps no more of a side."""

Levels: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """A book as it is told: (price, size) in micros, best price first, and when it was so (monotonic)."""

    token_id: str
    bids: Levels
    asks: Levels
    seen_ns: int


def best_first(side: Mapping[int, int], *, falling: bool) -> Levels:
    """The best levels of a side."""
    best = heapq.nlargest if falling else heapq.nsmallest
    return tuple((price, side[price]) for price in best(LEVELS, side))


class BookNotes:
    """What was told, and when."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("books")
        self._told: dict[str, tuple[Noted, int]] = {}

    def keep(self, token_ids: Collection[str]) -> None:
        """Only these matter now; what was told of others is forgotten."""
        self._told = {token: told for token, told in self._told.items() if token in token_ids}

    async def note(self, books: Iterable[Noted]) -> None:
        """Tell what is news."""
        now_ns = self._context.ports.clock.monotonic_ns()
        news = [
            book
            for book in books
            if (before := self._told.get(book.token_id)) is None or _is_news(book, *before, now_ns)
        ]
        for start in range(0, len(news), PER_CALL):
            await self._tell(news[start : start + PER_CALL])

    async def _tell(self, books: list[Noted]) -> None:
        items = [
            {
                "token_id": book.token_id,
                "bids": book.bids,
                "asks": book.asks,
                "age_ms": max(self._context.elapsed_ms(book.seen_ns), 0),
            }
            for book in books
        ]
        try:
            await self._context.calls.value("note_books", items)
        except DatabaseProblem:
            raise
        except LedgerError as error:
            self._log.error("BOOKS_NOT_STORED", code=error.code, problem=error.wrong)
            return
        now_ns = self._context.ports.clock.monotonic_ns()
        self._told |= {book.token_id: (book, now_ns) for book in books}


def _is_news(book: Noted, before: Noted, told_ns: int, now_ns: int) -> bool:
    if (book.bids, book.asks) != (before.bids, before.asks):
        return True
    # The same levels, seen again later: they are younger than what was told.
    return book.seen_ns > before.seen_ns and now_ns - told_ns >= UNCHANGED_EVERY_MS * 1_000_000
