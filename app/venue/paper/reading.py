"""Looking into the paper venue from outside, past every account's border: for the demo's count and
for tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from app.money import MICROS
from app.venue.interface import Side
from app.venue.paper.statements import SQL, Pool


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """One order the engine has processed, as the venue remembers it."""

    venue_order_id: str
    account: str
    token_id: str
    condition_id: str
    side: Side
    price_micros: int
    size_micros: int
    matched_micros: int
    order_type: str
    status: str
    """Raw. INVALID: refused or killed by the engine; it never stood in the book and never filled.
    """
    salt: str
    timestamp_ms: int
    times_received: int
    """Identical copies received, the first included. More than one is harmless: one id is one
    order.
    """
    received_at_ms: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """Outside liquidity at one price."""

    side: Side
    price_micros: int
    size_micros: int


class PaperBook:
    """Reads only."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all_orders(self) -> list[PaperOrder]:
        """Every order the venue has processed, of all accounts, in the order they came."""
        async with self._pool.acquire() as conn:
            rows = await conn.fetch(SQL["read_all_orders"])
        return [
            PaperOrder(
                row["venue_order_id"],
                row["account"],
                row["token_id"],
                row["condition_id"] or "",
                Side(row["side"]),
                row["price_micros"],
                row["size_micros"],
                row["matched_micros"],
                row["order_type"],
                row["status"],
                row["salt"],
                row["timestamp_ms"],
                row["times_received"],
                row["received_at_ms"],
                bytes(row["body"]),
            )
            for row in rows
        ]

    async def quotes(self, token_id: str) -> list[Quote]:
        """The outside liquidity of a token as it stands, best bid and best ask first; empty without
        a book.
        """
        async with self._pool.acquire() as conn:
            shift = await conn.fetchrow(SQL["read_shift"], token_id)
            rows = await conn.fetch(SQL["load_levels"], [token_id])
        quotes = [
            Quote(
                Side(row["side"]),
                row["base_price_micros"] + shift["shift_micros"],
                row["size_micros"],
            )
            for row in rows
            if row["size_micros"]
        ]
        quotes = [quote for quote in quotes if 0 < quote.price_micros < 1_000_000]
        return sorted(
            quotes, key=lambda q: (q.side, (-1 if q.side is Side.BUY else 1) * q.price_micros)
        )

    async def depth(self, token_ids: Sequence[str]) -> dict[str, tuple[dict[int, int], ...]]:
        """Price to size of the bids and of the asks of each token that has a book, orders of accounts
        included: what a book shows. One snapshot.
        """
        async with self._pool.acquire() as conn, conn.transaction(isolation="repeatable_read"):
            shifts = await conn.fetch(SQL["read_shifts"], token_ids)
            levels = await conn.fetch(SQL["load_levels"], token_ids)
            orders = await conn.fetch(SQL["load_orders"], token_ids)
        shift = {row["token_id"]: row["shift_micros"] for row in shifts}
        found: dict[str, tuple[dict[int, int], ...]] = {token: ({}, {}) for token in shift}
        shown = [
            (row, row["base_price_micros"] + shift[row["token_id"]], row["size_micros"])
            for row in levels
            if row["token_id"] in shift
        ] + [
            (row, row["price_micros"], row["size_micros"] - row["matched_micros"])
            for row in orders
            if row["token_id"] in shift
        ]
        for row, price, size in shown:
            if size and 0 < price < MICROS:
                side = found[row["token_id"]][row["side"] != Side.BUY]
                side[price] = side.get(price, 0) + size
        return found


def by_salt(order: PaperOrder) -> Hashable:
    """The default mark of "the same intent": a salt that was derived from it."""
    return (order.account, order.salt)


def doubled(
    orders: Iterable[PaperOrder], mark: Callable[[PaperOrder], Hashable] = by_salt
) -> list[list[PaperOrder]]:
    """Orders that the book holds more than once for one mark, under different ids: true duplicates.

    The venue knows no intents. A sender that signs twice makes a second id; what gives it away is
    what the sender carried over from the intent, so the mark is the caller's to choose. Orders the
    engine refused count as none.
    """
    groups: defaultdict[Hashable, list[PaperOrder]] = defaultdict(list)
    for order in orders:
        if order.status != "INVALID":
            groups[mark(order)].append(order)
    return [group for group in groups.values() if len(group) > 1]
