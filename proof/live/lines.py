"""TCP lines that can be cut: a process of its own, told on standard input what to cut and to heal.

A line that is cut says nothing any more, in either direction, and takes no byte: neither side is told. New connections
are taken by the kernel and stay as silent. Once healed, what hung is closed and whoever wants connects anew.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

CHUNK: Final = 1 << 16


@dataclass(slots=True, eq=False)
class Line:
    """One listening port that leads to another. ``group``: lines that are cut together."""

    group: str
    listen: tuple[str, int]
    target: tuple[str, int] | str
    """A port, or the path of a Unix socket."""
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    carrying: set[asyncio.Task[Any]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def serve(self) -> None:
        self.whole.set()
        self._server = await asyncio.start_server(self._connected, *self.listen, limit=CHUNK)

    async def close(self) -> None:
        """No line any more, and nobody on it."""
        if self._server is not None:
            self._server.close()
        for task in self.carrying:
            task.cancel()
        await asyncio.gather(*self.carrying, return_exceptions=True)

    def cut(self) -> None:
        self.whole.clear()

    def heal(self) -> None:
        """What was silent is closed first: its bytes are gone."""
        if not self.whole.is_set():
            for writer in list(self.open):
                writer.transport.abort()
            self.whole.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.carrying.add(task)
        self.open.add(writer)
        try:
            await self.whole.wait()
            if not writer.transport.is_closing():
                await self._carry(reader, writer)
        finally:
            self.carrying.discard(task)
            self.open.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            onward_reader, onward = await self._onward()
            self.open.add(onward)
            try:
                async with asyncio.timeout(None):
                    await _first_to_end(
                        self._pump(reader, onward), self._pump(onward_reader, writer)
                    )
            finally:
                self.open.discard(onward)
                onward.transport.abort()

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target, limit=CHUNK)
        return await asyncio.open_connection(*self.target, limit=CHUNK)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if not self.whole.is_set():
                    await self.whole.wait()
                    return
                writer.write(data)
                await writer.drain()


async def _first_to_end(*work: Any) -> None:
    # One task per direction; the end of one is the end of the connection.
    tasks = [asyncio.get_running_loop().create_task(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(lines: list[Line]) -> None:
    """Serve all lines; obey ``cut GROUP`` and ``heal GROUP`` until standard input ends."""
    for line in lines:
        await line.serve()
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say("ready")
    while words := (await commands.readline()).decode().split():
        verb, group = words
        for line in lines:
            if line.group == group:
                line.cut() if verb == "cut" else line.heal()
        say(f"{verb} {group}")


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _place(target: list[Any] | str) -> tuple[str, int] | str:
    return target if isinstance(target, str) else (target[0], target[1])


def main() -> int:
    """``python -m proof.live.lines '[[GROUP, [HOST, PORT], [HOST, PORT] or PATH], …]'``."""
    wanted = json.loads(sys.argv[1])
    asyncio.run(
        run([Line(group, tuple(listen), _place(target)) for group, listen, target in wanted])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
