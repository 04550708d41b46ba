"""``markets sync`` over real HTTP to a server on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from app.clock import Ports
from app.config import Settings
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from app.markets.sync import Wanted
from app.venue.polymarket.wire import Exchange
from tests.support.database import TestDatabase
from tests.support.gamma import FakeVenue, condition
from workers.markets_sync import sync_from_venue


@asynccontextmanager
async def served(venue: FakeVenue, asked: list[str]) -> AsyncIterator[str]:
    """The venue in memory behind HTTP: the address of both services."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            target = line.decode().split(" ")[1]
            while (await reader.readline()).strip():
                pass
            asked.append(target)
            answer = await _answer(venue, target)
            head = f"HTTP/1.1 {answer.status} X\r\ncontent-length: {len(answer.body)}\r\n\r\n"
            writer.write(head.encode() + answer.body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _answer(venue: FakeVenue, target: str) -> Exchange:
    parts = urlsplit(target)
    if parts.path.startswith("/clob-markets/"):
        name = parts.path.rsplit("/", 1)[1]
        return await venue("GET /clob-markets/{condition}", {"condition": name})
    query: dict[str, str | tuple[str, ...]] = {
        name: tuple(values) if name == "condition_ids" else values[0]
        for name, values in parse_qs(parts.query).items()
    }
    return await venue(f"GET {parts.path}", query)


async def test_markets_are_read_over_http_and_stored(database: TestDatabase) -> None:
    venue = FakeVenue.of("a", "b", "c")
    asked: list[str] = []
    pool = await open_pool(database.url_for("worker"), role_hint="test", min_size=1, max_size=1)
    try:
        async with served(venue, asked) as address:
            settings = Settings(polymarket_gamma_url=address, polymarket_clob_url=address)
            ids = tuple(condition(slug) for slug in "abc")
            calls = LedgerCalls(pool)
            wanted = Wanted(condition_ids=ids)
            done = await sync_from_venue(calls, settings, Ports.system(), wanted)
        assert (done["ok"], done["created"], done["tradable"]) == (True, 3, 3), json.dumps(done)
        listings = [target for target in asked if target.startswith("/markets/keyset?")]
        assert [target.count("condition_ids=") for target in listings] == [3, 3]
        assert listings[1].endswith("after_cursor=2")
        assert sorted(set(asked) - set(listings)) == sorted(f"/clob-markets/{one}" for one in ids)
    finally:
        pool.terminate()
