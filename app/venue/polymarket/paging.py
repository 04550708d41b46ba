"""Reads lists that are paged over a moving set, and says when one cannot be believed.

The venue pages by offset over what is open at that moment (docs/venue.md 5.1): an order that ends between
two pages moves another one over the edge, where no page shows it. So a list of several pages counts only
when two whole readings in a row hold the same ids; anything else is unread. A list on one page is one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from app.venue.interface import Found, Unread
from app.venue.polymarket.answers import FIRST_CURSOR, Page

T = TypeVar("T")

MOST_PAGES: Final = 400
READINGS: Final = 4


FetchPage = Callable[[str], Awaitable[Page[T] | Unread]]


async def read_all(
    fetch: FetchPage[T], identity: Callable[[T], str]
) -> Found[Sequence[T]] | Unread:
    """All items of a list, or why they cannot be known."""
    before: set[str] | None = None
    for _ in range(READINGS):
        reading = await _read_once(fetch)
        if isinstance(reading, Unread):
            return reading
        rows, pages = reading
        # The later page is the later look: a row that moved keeps its newest shape.
        items = {identity(row): row for row in rows}
        if pages == 1 or items.keys() == before:
            return Found(list(items.values()))
        before = set(items)
    return _moved()


async def read_all_rows(fetch: FetchPage[T]) -> Found[Sequence[T]] | Unread:
    """All rows of a list whose rows have no identity: equal ones are several, and are counted."""
    before: Counter[T] | None = None
    for _ in range(READINGS):
        reading = await _read_once(fetch)
        if isinstance(reading, Unread):
            return reading
        rows, pages = reading
        counted = Counter(rows)
        if pages == 1 or counted == before:
            return Found(rows)
        before = counted
    return _moved()


def _moved() -> Unread:
    return Unread(f"the list moved while it was read, {READINGS} times in a row")


async def _read_once(fetch: FetchPage[T]) -> tuple[list[T], int] | Unread:
    rows: list[T] = []
    cursor, seen = FIRST_CURSOR, set[str]()
    for page_no in range(1, MOST_PAGES + 1):
        page = await fetch(cursor)
        if isinstance(page, Unread):
            return Unread(f"page {page_no}: {page.reason}")
        rows += page.rows
        seen.add(cursor)
        if page.next_cursor is None:
            return rows, page_no
        if page.next_cursor in seen:
            return Unread(f"page {page_no} leads back to {page.next_cursor!r}")
        cursor = page.next_cursor
    return Unread(f"more than {MOST_PAGES} pages")
