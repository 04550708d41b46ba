"""Looks after orders that the venue holds back before it matches them: whoever waits for their end must get it,
also where the stream says nothing.

A delayed order has been accepted, so nothing is sent again and nothing is concluded from its absence: while it is
held back, a look-up by id may not show it. What it traded may stand in the trades alone.
"""

from __future__ import annotations

from typing import Any, Final

from app.venue.interface import Found
from workers.worker.context import Context
from workers.worker.look_ups import TRADES_MARGIN_MS
from workers.worker.reading import book_trades, read_orders

EVERY_MS: Final = 1_000
FIRST_MS: Final = 3_000
"""The venue holds orders back for a few seconds (docs/venue.md 3.3), and the stream is told first."""

MOST_MS: Final = 30_000
AT_ONCE: Final = 15


class Delayed:
    """Each by itself, sooner while it is young. Workers that look at the same time book the same facts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._next: dict[int, tuple[int, int]] = {}
        """By order id how often it was looked up, and when it is due again (monotonic nanoseconds)."""
        self._log = context.named("delayed")

    async def one_pass(self) -> bool:
        """Look up what is due."""
        context = self._context
        if not context.shared.known:
            return False
        now_ns = context.ports.clock.monotonic_ns()
        rows = await context.calls.rows(
            "SELECT a.name AS account, o.order_id, o.venue_order_id, "
            "floor(extract(epoch FROM o.created_at) * 1000)::bigint AS created_ms "
            "FROM ledger.orders o JOIN ledger.account a USING (account_id) "
            "WHERE a.name = ANY ($1) AND o.state = 'DELAYED' ORDER BY o.order_id",
            sorted(context.shared.known),
        )
        self._next = {
            row["order_id"]: self._next.get(row["order_id"], (0, now_ns + FIRST_MS * 1_000_000))
            for row in rows
        }
        due = sorted(
            (row for row in rows if self._next[row["order_id"]][1] <= now_ns),
            key=lambda row: self._next[row["order_id"]][1],
        )[:AT_ONCE]
        for account in sorted({row["account"] for row in due}):
            await self._look(account, [row for row in due if row["account"] == account])
        return False

    async def _look(self, account: str, rows: list[dict[str, Any]]) -> None:
        context = self._context
        for row in rows:
            tries = self._next[row["order_id"]][0] + 1
            wait_ms = context.backoff_ms(tries - 1, first_ms=FIRST_MS, most_ms=MOST_MS)
            until_ns = context.ports.clock.monotonic_ns() + wait_ms * 1_000_000
            self._next[row["order_id"]] = (tries, until_ns)
        read = await read_orders(context, account, [row["venue_order_id"] for row in rows])
        unseen = [row for row in rows if row["venue_order_id"] in read.absent]
        self._log.info(
            "DELAYED_READ",
            account=account,
            orders=[row["order_id"] for row in rows],
            absent=len(unseen),
        )
        if not unseen:
            return
        since_ms = min(row["created_ms"] for row in unseen) - TRADES_MARGIN_MS
        trades = await context.venue.trades(account, since_ms)
        if isinstance(trades, Found):
            ids = {row["venue_order_id"] for row in unseen}
            ours = [one for one in trades.value if one.venue_order_id in ids]
            if ours:
                await book_trades(context, account, ours)
