"""A ledger to trade in through the client: an account with money, markets, and short words.

The lives of single orders are driven by `tests.support.life`, by SQL alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg
import pytest

from app.clock import AsyncioTasks, Ports, SystemClock, SystemRng
from app.ledger import Intent, Ledger
from tests.support.clock import SettableClock
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, market_row

ACCOUNT = "main"
WRITTEN = (
    "orders",
    "reservation",
    "outbox",
    "idempotency_key",
    "journal",
    "balance_entry",
    "cancel_request",
    "replacement",
)
"""Tables that an admitted intent or an accepted wish writes to."""


@dataclass
class World:
    """One migrated database with account ``main``, 10,000 of collateral, markets m1 and m2."""

    __test__: ClassVar[bool] = False

    database: TestDatabase
    owner: asyncpg.Connection
    life: Life
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def ledger(self, role: str = "trader", **options: Any) -> Ledger:
        """One more client, as another process would open it."""
        opened = Ledger.open(self.database.url_for(role), **options)
        return await self._stack.enter_async_context(opened)

    async def markets(self, *names: str, **options: Any) -> None:
        for name in names:
            await self.life.add_market(name, **options)

    async def limit(self, name: str, value: int | None, market: str | None = None) -> None:
        text = None if value is None else str(value)
        await self.life.call("set_limit", None, market, name, text, "a test")

    async def open_limiter(self) -> None:
        """No limit to how many orders come how fast."""
        await self.limit("burst_per_minute", None)
        await self.limit("burst_gap_ms", 0)

    async def open_caps(self) -> None:
        await self.limit("max_outcome_micros", None)
        await self.limit("max_market_micros", None)

    async def stop_clock(self) -> SettableClock:
        """From now on the database's time moves by hand."""
        return await SettableClock.install(self.owner)

    async def rows(self) -> dict[str, int]:
        """How many rows each table has that trading writes to."""
        return {
            table: await self.owner.fetchval(f"SELECT count(*) FROM ledger.{table}")
            for table in WRITTEN
        }

    async def mark_live(self, *order_ids: int) -> None:
        """Take orders along the send path until the venue is known to have them."""
        for order_id in order_ids:
            while order_id not in self.life.claims:
                assert await self.life.claim()
            await self.life.prepare(order_id)
            await self.life.open_attempt(order_id)
            await self.life.complete("acknowledge", order_id)

    async def hold(self, market: str) -> asyncpg.Connection:
        """A session in a transaction that holds the market's row, as a slow colleague would."""
        other = await self.database.connect()
        await other.execute("BEGIN")
        held = await other.fetchval(
            "SELECT count(*) FROM (SELECT FROM ledger.exposure e JOIN ledger.market m USING (market_id)"
            " WHERE m.slug = $1 FOR UPDATE OF e) q",
            market,
        )
        assert held == 1, f"{market} has no exposure row yet"
        return other

    async def touch(self, *markets: str) -> None:
        """Make the markets' exposure rows."""
        for market in markets:
            answer = await self.life.call(
                "take_mutex", ACCOUNT, market, "00000000-0000-0000-0000-00000000000a", 60_000
            )
            await self.life.call("release_mutex", ACCOUNT, market, answer["term"])

    async def blocked(self, count: int = 1) -> None:
        """Wait until that many sessions really wait for a lock."""
        await eventually(
            lambda: self.owner.fetchval(
                "SELECT count(*) >= $1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'",
                count,
            )
        )

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture(name="world")
async def world_fixture(database: TestDatabase) -> AsyncIterator[World]:
    """The trader is granted the account; limits are the defaults."""
    owner = await database.connect()
    # the clock is the machine's until a test stops it
    world = World(database, owner, Life(owner, None))  # type: ignore[arg-type]
    await world.life.open_account(ACCOUNT)
    trader = database.server.role_prefix + "trader"
    await owner.fetchval("SELECT ledger.grant_account($1, $2)", ACCOUNT, trader)
    await world.markets("m1", "m2")
    yield world
    await world.close()


def buy(key: str, shares: int = 10, market: str = "m1", **options: Any) -> Intent:
    """BUY Up at 0.45."""
    wanted: dict[str, Any] = {"outcome": "Up", "price_micros": 450_000, **options}
    return Intent(market=market, side="BUY", size_micros=shares * SHARE, key=key, **wanted)


async def singly(conn: asyncpg.Connection, *intents: Intent) -> list[dict[str, Any]]:
    """Ask on one session of one's own, in one call."""
    requests = json.dumps([intent.as_request(ACCOUNT) for intent in intents])
    answer = await conn.fetchval("SELECT ledger.reserve_pending($1)", requests)
    return list(json.loads(answer))


async def eventually(check: Callable[[], Awaitable[Any]], within_s: float = 10) -> Any:
    """The first true answer; each question gives way to the others."""
    async with asyncio.timeout(within_s):
        while not (answer := await check()):
            pass
        return answer


class HandClock(SystemClock):
    """A process's clock in a test's hand: who sleeps wakes when it is moved far enough."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self._sleepers: list[tuple[int, asyncio.Event]] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now_ns + int(seconds * 1e9), woken))
        await woken.wait()

    def move(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * 1_000_000
        for due, woken in self._sleepers:
            if due <= self.now_ns:
                woken.set()
        self._sleepers = [one for one in self._sleepers if not one[1].is_set()]


def hand_ports(clock: HandClock) -> Ports:
    return Ports(clock, SystemRng(), AsyncioTasks())


__all__ = ["ACCOUNT", "SHARE", "HandClock", "World", "buy", "eventually", "market_row", "singly"]
