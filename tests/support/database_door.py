"""A door in front of the database that a test shuts: connections stay, nothing passes, nobody is told.

That is what a paused server or a lost route looks like from a worker: no error, and no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from app.db.url import parse


@dataclass
class Door:
    """``url`` leads through it."""

    url: str
    passable: asyncio.Event = field(default_factory=asyncio.Event)
    refusing: bool = False
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def shut(self) -> None:
        """Nothing passes, and nobody is told."""
        self.passable.clear()

    def cut(self) -> None:
        """Every connection ends, and new ones are closed at once."""
        self.refusing = True
        for task in list(self.running):
            task.cancel()

    def open(self) -> None:
        """As at first. What waited passes now."""
        self.refusing = False
        self.passable.set()

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction of one connection, until either side ends it."""
        try:
            with suppress(OSError):
                while piece := await source.read(65_536):
                    await self.passable.wait()
                    sink.write(piece)
                    await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def database_door(url: str) -> AsyncIterator[Door]:
    """Open at first; at the end everything that came through it is cut."""
    target = parse(url)
    (name, port), *_ = target.hosts

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if door.refusing:
            writer.close()
            return
        if name.startswith("/"):
            inner = await asyncio.open_unix_connection(f"{name}/.s.PGSQL.{port}")
        else:
            inner = await asyncio.open_connection(name, port)
        for source, sink in ((reader, inner[1]), (inner[0], writer)):
            task = asyncio.ensure_future(door.carry(source, sink))
            door.running.add(task)
            task.add_done_callback(door.running.discard)

    server = await asyncio.start_server(enter, "127.0.0.1", 0)
    hosts = (("127.0.0.1", int(server.sockets[0].getsockname()[1])),)
    door = Door(replace(target, hosts=hosts).dsn())
    door.open()
    try:
        yield door
    finally:
        server.close()
        door.cut()
        await asyncio.gather(*door.running, return_exceptions=True)
