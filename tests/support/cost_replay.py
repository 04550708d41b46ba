"""What positions cost, worked out from the entries in the order they were booked and from nothing the ledger counts.

For ledgers whose trades have no fees: an entry of a BUY that takes collateral is its booking, one that gives it back
its failure; an entry of a SELL is its confirmation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import asyncpg

Leg: TypeAlias = tuple[int, int, int]
"""Account, market, outcome."""

_BOOKED = """
SELECT b.account_id, b.entry_seq, f.market_id, f.outcome, f.side, f.size_micros AS size,
    b.available_delta + b.locked_delta AS cash
FROM ledger.balance_entry b
JOIN ledger.fill f ON f.account_id = b.account_id AND f.trade_id = b.trade_id AND f.order_id = b.order_id
WHERE b.asset = 'collateral' AND b.available_delta + b.locked_delta <> 0
UNION ALL
SELECT b.account_id, b.entry_seq, c.market_id, c.outcome, CASE WHEN b.available_delta > 0 THEN 'IN' ELSE 'OUT' END,
    abs(b.available_delta), b.value_micros
FROM ledger.balance_entry b JOIN ledger.outcome c ON c.token_id = b.asset WHERE b.order_id IS NULL
ORDER BY account_id, entry_seq
"""


@dataclass
class Held:
    """Shares of a leg and what they cost, exactly: the ledger may be off by a micro per sale or failure, upwards."""

    shares: int = 0
    cost: Fraction = Fraction(0)
    roundings: int = 0
    sold: bool = False

    def comes(self, size: int, cost: int) -> None:
        self.shares += size
        self.cost += cost

    def goes(self, size: int) -> None:
        self.sold = True
        self.cost -= self.cost * size / self.shares if size < self.shares else self.cost
        self.shares -= size
        self.roundings += 1

    def fails(self, size: int, cost: int) -> None:
        """What was sold since took a part of its cost along: no more goes than is there of it."""
        left = self.cost * (self.shares - size) / self.shares if self.sold else Fraction(0)
        self.cost = min(self.cost, max(self.cost - cost, left))
        self.shares -= size
        self.roundings += 1


async def replayed(conn: asyncpg.Connection) -> dict[Leg, Held]:
    """Each leg of every account after everything that is booked."""
    legs: dict[Leg, Held] = defaultdict(Held)
    for row in await conn.fetch(_BOOKED):
        leg = legs[row["account_id"], row["market_id"], row["outcome"]]
        match row["side"], row["cash"] > 0:
            case "BUY", False:
                leg.comes(row["size"], -row["cash"])
            case "BUY", True:
                leg.fails(row["size"], row["cash"])
            case "IN", _:
                leg.comes(row["size"], row["cash"])
            case _:
                leg.goes(row["size"])
    return legs
