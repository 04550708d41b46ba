"""A paper venue to test with: its schema in a blank database, a clock that stands still, short
words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock
from app.money import MICROS, cost_micros
from app.venue.interface import (
    CancelOutcome,
    Found,
    PlaceOutcome,
    PlaceRequest,
    Side,
    StreamOpened,
    VenueEvent,
    VenueOrder,
    VenueTrade,
)
from app.venue.matching import Level
from app.venue.paper import PaperBook, PaperVenue
from tests.support.database import TestDatabase

CENT = 10_000
TOKEN, OTHER = "1001", "1002"


def fake_hash(body: bytes) -> str:
    """An identity over the signed part alone, as the true one is."""
    return "0x" + hashlib.sha256(json.dumps(json.loads(body)["order"]).encode()).hexdigest()


def request(
    salt: int,
    cents: int = 40,
    shares: int = 10,
    side: str = "BUY",
    token: str = TOKEN,
    **body: Any,
) -> PlaceRequest:
    collateral, size = cost_micros(cents * CENT, shares * MICROS), shares * MICROS
    maker, taker = (collateral, size) if side == "BUY" else (size, collateral)
    order = {
        "salt": salt,
        "maker": "0x01",
        "signer": "0x01",
        "tokenId": token,
        "makerAmount": str(maker),
        "takerAmount": str(taker),
        "side": side,
        "expiration": body.pop("expiration", "0"),
        "signatureType": 0,
        "timestamp": "1700000000000",
        "metadata": "0x00",
        "builder": "0x00",
        "signature": "0x00",
    }
    template = {"order": order, "owner": "", "orderType": "GTC", "deferExec": False}
    raw = json.dumps({**template, "postOnly": False, **body}).encode()
    return PlaceRequest(fake_hash(raw), raw)


class TestClock(SystemClock):
    """Wall time stands still until a test moves it; waits are noted and take no time."""

    __test__ = False

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000
        self.waits: list[int] = []
        self.waited = asyncio.Event()

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds * 1000))
        self.waited.set()
        await asyncio.sleep(0)


@dataclass
class World:
    """One schema, and as many venues on it as a test wants: each stands for a process."""

    url: str
    clock: TestClock = field(default_factory=TestClock)
    pools: list[asyncpg.Pool] = field(default_factory=list)

    async def pool(self, size: int = 4, **settings: str) -> asyncpg.Pool:
        made = await asyncpg.create_pool(
            self.url, min_size=1, max_size=size, server_settings=settings
        )
        self.pools.append(made)
        return made

    async def venue(self, pool: asyncpg.Pool | None = None, **options: Any) -> PaperVenue:
        ports = Ports(self.clock, SeededRng(1), AsyncioTasks())
        options = {"seed": 1, "hash_body": fake_hash, "poll_ms": 50, **options}
        return PaperVenue(pool or await self.pool(), ports, **options)

    async def book(self) -> PaperBook:
        return PaperBook(await self.pool(1))


@pytest.fixture(name="world")
async def world_fixture(blank_database: TestDatabase) -> AsyncIterator[World]:
    conn = await blank_database.connect()
    schema = files("app.venue.paper").joinpath("sql/schema.sql").read_text()
    await conn.execute("CREATE SCHEMA paper;" + schema)
    world = World(blank_database.url)
    yield world
    for pool in world.pools:
        pool.terminate()


@pytest.fixture(name="venue")
async def venue_fixture(world: World) -> PaperVenue:
    """A market of two tokens. On TOKEN: 20 shares bid at 0.45 and 20 asked at 0.55."""
    venue = await world.venue()
    await venue.register_market("0xc", [TOKEN, OTHER], CENT, 5 * MICROS)
    await venue.load_books({TOKEN: (level(Side.BUY, 45, 20), level(Side.SELL, 55, 20))})
    return venue


def level(side: Side, cents: int, shares: int) -> Level:
    return Level(side, cents * CENT, shares * MICROS, shares * MICROS)


async def one(venue: PaperVenue, what: PlaceRequest, account: str = "a") -> PlaceOutcome:
    (outcome,) = await venue.place(account, [what])
    return outcome


async def look(venue: PaperVenue, what: PlaceRequest, account: str = "a") -> VenueOrder:
    found = await venue.order(account, what.venue_order_id)
    assert isinstance(found, Found)
    return found.value


async def trades(venue: PaperVenue, account: str = "a", since_ms: int = 0) -> list[VenueTrade]:
    found = await venue.trades(account, since_ms)
    assert isinstance(found, Found)
    return list(found.value)


async def drop(venue: PaperVenue, what: PlaceRequest) -> CancelOutcome:
    (outcome,) = await venue.cancel("a", [what.venue_order_id])
    return outcome


async def read_events(
    venue: PaperVenue, count: int, account: str = "a", after: int = 0
) -> list[VenueEvent]:
    got: list[VenueEvent] = []
    async with asyncio.timeout(10):
        async for event in venue.events(account, after=after):
            if isinstance(event, StreamOpened):
                continue
            got.append(event)
            if len(got) == count:
                break
    return got


async def until(check: Callable[[], Awaitable[Any]]) -> None:
    """Ask the database until it says so; each question gives way to the others."""
    async with asyncio.timeout(10):
        while not await check():
            pass
