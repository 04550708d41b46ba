"""Which tokens a wallet holds as far as the Data API knows: what our own rows cannot say.

The list is a cache behind the chain, so it only tells what to ask a balance for. A token that is missing
from it proves nothing, and neither does a size of zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from app.venue.interface import Found, Unread
from app.venue.polymarket.answers import PositionRow, read_positions_page
from app.venue.polymarket.wallet import Ask
from app.venue.polymarket.wire import Endpoint

MOST_PAGES: Final = 100
_TOKEN: Final = re.compile(r"[0-9]{1,78}")


async def listed_tokens(ask: Ask, wallet: str) -> Found[Sequence[str]] | Unread:
    """The tokens with a size in the list, sorted, or why the list is not known to its end."""
    rows = await read_positions(ask, wallet)
    if isinstance(rows, Unread):
        return rows
    shown = sorted({row.token_id for row in rows.value if row.size_micros})
    strange = next((one for one in shown if not _TOKEN.fullmatch(one)), None)
    return Unread(f"no token id: {strange!r:.60}") if strange is not None else Found(shown)


async def read_positions(ask: Ask, wallet: str) -> Found[Sequence[PositionRow]] | Unread:
    """All rows that are listed for a wallet, page by page."""
    rows: list[PositionRow] = []
    query, seen = {"user": wallet}, set[str]()
    for number in range(1, MOST_PAGES + 1):
        page = read_positions_page(await ask(Endpoint.GET_POSITIONS, query=query))
        if isinstance(page, Unread):
            return Unread(f"page {number}: {page.reason}")
        rows += page.rows
        if page.next_cursor is None:
            return Found(rows)
        if page.next_cursor in seen:
            return Unread(f"page {number} leads back to a page before")
        seen.add(page.next_cursor)
        query = query | {"cursor": page.next_cursor}
    return Unread(f"more than {MOST_PAGES} pages")
