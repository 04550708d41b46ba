"""Many sessions over few accounts and markets, doing at random what bots, workers, the venue and people do.

What the venue does to an order is kept here, in memory and by itself: sizes filled, trades and how they settle. So a
trade never exceeds what its order asked for, and whatever breaks a limit is the ledger's doing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from tests.support.life import SHARE, call, incarnation, venue_id

ACCOUNTS: Final = ("main", "second", "third")
MARKETS: Final = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "free": None}
CAPS: Final = (
    ("limits", "max_outcome_micros", (60, 200, 500)),
    ("limits", "max_market_micros", (100, 300, 800)),
    ("limits", "max_market_cost_micros", (20, 60, 150)),
    ("limits", "max_order_micros", (20, 50)),
    ("limits", "max_open_orders", (8, 20)),
    ("account", "max_cost_micros", (60, 150, 400)),
    ("account", "max_open_orders", (20, 50)),
    ("group", "max_cost_micros", (60, 150, 400)),
    ("global", "max_cost_micros", (150, 300, 900)),
    ("global", "max_shares_micros", (600, 1_500, 3_000)),
)
"""Limits and the values they take, in shares, collateral or orders."""


@dataclass
class VenueOrder:
    """One order as the venue has it."""

    account: str
    side: str
    size: int
    price: int
    live: bool = True
    filled: int = 0
    trades: dict[str, int] = field(default_factory=dict)
    """Provisional ones: id to size."""


@dataclass
class Storm:
    """The state that all sessions share."""

    orders: dict[int, VenueOrder] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    operations: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    trades: int = 0


class Session:
    """One connection and the one generator its choices come from."""

    def __init__(self, conn: asyncpg.Connection, storm: Storm, number: int, seed: int) -> None:
        self.conn, self.storm = conn, storm
        self.worker = incarnation(number + 1)
        self.rng = random.Random(f"{seed} {number}")
        self.number = number
        self.keys = 0

    async def call(self, function: str, *arguments: Any) -> Any:
        self.storm.operations += 1
        return await call(self.conn, function, *arguments)

    def request(self) -> dict[str, Any]:
        self.keys += 1
        side = "SELL" if self.rng.random() < 0.2 else "BUY"
        return {
            "account": self.rng.choice(ACCOUNTS),
            "market": self.rng.choice(tuple(MARKETS)),
            "outcome": str(self.rng.randrange(2)),
            "side": side,
            "price_micros": self.rng.randrange(10, 50) * 10_000,
            "size_micros": self.rng.randrange(5, 30) * SHARE,
            "clamp": self.rng.random() < 0.3,
            "key": f"{self.number} {self.keys}",
            "valid_for_ms": 3_600_000,
            "class": self.rng.choice(("entry", "entry", "hedge", "unwind", "emergency")),
        }

    async def reserve(self) -> None:
        count = self.rng.choice((1, 1, 1, 4))
        for answer in await self.call("reserve_pending", [self.request() for _ in range(count)]):
            code = answer.get("code", "admitted")
            self.storm.refused[code] = self.storm.refused.get(code, 0) + 1

    async def send(self) -> None:
        """The worker's way: claim, sign, open, and one of the answers there are."""
        work = await self.call("claim_placements", self.worker, ACCOUNTS, 60_000, 8)
        for item in work:
            order_id = item["order_id"]
            mine = {
                "order_id": order_id,
                "incarnation": str(self.worker),
                "claim_no": item["claim_no"],
            }
            if item["state"] == "RESERVED":
                signed = mine | {"venue_order_id": venue_id(order_id), "body": "", "fields": {}}
                await self.call("prepare", [signed])
            (opened,) = await self.call("open_attempt", [mine | {"owner": "o"}])
            if opened["status"] == "ok":
                await self.answered(order_id, opened["attempt"], item)

    async def answered(self, order_id: int, attempt: int, item: dict[str, Any]) -> None:
        row = await self.conn.fetchrow(
            "SELECT a.name, o.side, o.size_micros, o.price_micros FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) WHERE o.order_id = $1",
            order_id,
        )
        how = self.rng.choice(("acknowledge",) * 7 + ("reject", "hold_back", "mark_unknown"))
        if how in {"acknowledge", "mark_unknown"}:
            self.storm.orders[order_id] = VenueOrder(row[0], row[1], row[2], row[3])
        done = {"order_id": order_id, "attempt": attempt, "incarnation": str(self.worker)}
        await self.call(how, [done | {"code": "x", "raw": "", "reason_class": "ours"}])

    def pick(self, wanted: Callable[[VenueOrder], bool]) -> int | None:
        free = [n for n, o in self.storm.orders.items() if n not in self.storm.busy and wanted(o)]
        return self.rng.choice(free) if free else None

    async def fill(self) -> None:
        order_id = self.pick(lambda o: o.live and o.filled < o.size)
        if order_id is None:
            return
        order = self.storm.orders[order_id]
        size = min(order.size - order.filled, self.rng.randrange(1, 15) * SHARE)
        self.storm.trades += 1
        name = f"t{self.storm.trades}"
        order.filled += size
        order.trades[name] = size
        order.live = order.filled < order.size
        await self.tell(order_id, name, size, "MATCHED")

    async def settle(self) -> None:
        order_id = self.pick(lambda o: bool(o.trades))
        if order_id is None:
            return
        order = self.storm.orders[order_id]
        name = self.rng.choice(tuple(order.trades))
        size = order.trades.pop(name)
        await self.tell(order_id, name, size, self.rng.choice(("CONFIRMED",) * 5 + ("FAILED",)))

    async def tell(self, order_id: int, name: str, size: int, status: str) -> None:
        order = self.storm.orders[order_id]
        self.storm.busy.add(order_id)
        try:
            item = {
                "account": order.account, "trade_id": name, "venue_order_id": venue_id(order_id),
                "size_micros": size, "price_micros": order.price, "fee_micros": 0, "status": status,
                "raw_status": status, "is_maker": True, "matched_at_ms": 1_770_000_000_000,
            }  # fmt: skip
            await self.call("record_fills", [item])
        finally:
            self.storm.busy.discard(order_id)

    async def cancel(self) -> None:
        order_id = self.pick(lambda o: o.live)
        if order_id is None:
            return
        self.storm.busy.add(order_id)
        try:
            await self.call("request_cancel", [{"order_id": order_id, "reason": "storm"}])
            order = self.storm.orders[order_id]
            if self.rng.random() < 0.7:
                order.live = False
                seen = {
                    "account": order.account, "venue_order_id": venue_id(order_id), "status": "CANCELLED",
                    "raw_status": "CANCELED", "size_matched_micros": order.filled, "source": "read", "took_ms": 0,
                }  # fmt: skip
                await self.call("observe_orders", [seen])
        finally:
            self.storm.busy.discard(order_id)

    async def withdraw(self) -> None:
        ids = await self.conn.fetch(
            "SELECT order_id FROM ledger.orders WHERE state IN ('RESERVED', 'PREPARED', 'HELD_BACK') LIMIT 5"
        )
        if ids:
            order_id = self.rng.choice(ids)["order_id"]
            await self.call("release_pending", [{"order_id": order_id}])

    async def money(self) -> None:
        name = f"m {self.number} {self.keys} {self.rng.random()}"
        account = self.rng.choice(ACCOUNTS)
        await self.call("book_movement", account, "collateral", 5 * SHARE, "deposit", name, "")

    async def housekeeping(self) -> None:
        await self.call(self.rng.choice(("sweep_lapsed", "sweep_groups", "sweep_expired")))
        await self.conn.execute(
            "SELECT setval('test_clock.micros', last_value + $1) FROM test_clock.micros",
            self.rng.choice((100, 2_000, 20_000)) * 1_000,
        )

    async def run(self, operations: int) -> None:
        steps: Sequence[Callable[[], Awaitable[None]]] = (
            [self.reserve] * 4 + [self.send] * 4 + [self.fill] * 5 + [self.settle] * 5
            + [self.cancel] * 3 + [self.withdraw, self.money, self.housekeeping]
        )  # fmt: skip
        while self.storm.operations < operations:
            try:
                await self.rng.choice(steps)()
            except asyncpg.SerializationError:
                continue  # an order's id was stored after the locks were taken: the caller repeats
            await asyncio.sleep(0)
