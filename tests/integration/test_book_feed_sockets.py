"""The feed over real sockets: the adapter of the venue and a server on this machine."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.server import ServerConnection, serve

from app.clock import Ports
from app.markets.books.desk import Followed
from app.markets.books.feed import BookFeed
from app.markets.books.notices import Rules
from app.venue.polymarket.sockets import SocketLost, connector
from tests.support.books import MARKET, UP, VenueBook


async def test_books_follow_a_real_socket_and_survive_its_loss() -> None:
    there = VenueBook(bids={450_000: 5_000_000}, asks={470_000: 5_000_000})
    opened: list[ServerConnection] = []

    async def handle(socket: ServerConnection) -> None:
        opened.append(socket)
        async for text in socket:
            if text == "PING":
                await socket.send("PONG")
            elif "subscribe" in str(text) or "assets_ids" in str(text):
                await socket.send(json.dumps([there.book()]))

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        feed = BookFeed(
            f"ws://127.0.0.1:{port}/ws/market",
            connector(),
            Ports.system(),
            lost=(SocketLost,),
            rules=Rules(first_pause_s=0.01),
        )
        feed.follow([Followed(UP, MARKET)])
        updates = feed.updates()
        running = asyncio.ensure_future(feed.run())
        try:
            async with asyncio.timeout(20):
                await updates.take()
                assert feed.unfit(UP, max_age_ms=60_000) is None
                there.now_ms += 1
                await opened[0].send(json.dumps(there.change(("BUY", 460_000, 1_000_000))))
                await updates.take()
                book = feed.book(UP)
                assert book is not None
                assert (book.best_bid, book.proven_ms) == (460_000, there.now_ms)
                await opened[0].close()
                await updates.take()
                while feed.unfit(UP, max_age_ms=60_000) is not None:
                    await updates.take()
            assert feed.counters.disconnections == 1
            assert len(opened) == 2
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
