"""What a start must have looked at before it is ready: each order whose bytes may be on their way or at the venue.

A comparison sees those that the venue lists. One that is not listed may have arrived all the same, filled at
once, or be about to appear. It is asked for by its id, and only a clean answer counts. What becomes of it is
then the resolver's matter, which goes on for as long as that takes; until then its lane places nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from app.venue.interface import Found, Unread
from workers.worker.context import Context
from workers.worker.reading import observe

AT_ONCE: Final = 8


async def look_at_in_flight(context: Context, account: str) -> str:
    """Look each up once and book what is found. Returns what could not be read, or nothing."""
    rows = await context.calls.rows(
        "SELECT o.venue_order_id FROM ledger.orders o JOIN ledger.account a USING (account_id) "
        "WHERE a.name = $1 AND o.state IN ('SENDING', 'UNKNOWN') ORDER BY o.order_id",
        account,
    )
    ids: list[str] = [row["venue_order_id"] for row in rows]
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        problems = await asyncio.gather(*(_look(context, account, one) for one in some))
        if problem := next(filter(None, problems), ""):
            return problem
    return ""


async def _look(context: Context, account: str, venue_order_id: str) -> str:
    started_ns = context.ports.clock.monotonic_ns()
    answer = await context.venue.order(account, venue_order_id)
    if isinstance(answer, Unread):
        return f"order {venue_order_id}: {answer.reason}"
    if isinstance(answer, Found):
        await observe(context, account, [answer.value], source="read", since_ns=started_ns)
    return ""
