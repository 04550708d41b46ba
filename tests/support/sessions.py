"""Sessions of the tests' own that stay open from one question to the next, usable with and without an event loop.

A test that waits for a row asks many times a second; a connection, a thread and a loop for each question would cost
more than all the answers.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")

_CLOSE_S = 10.0


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="sessions of tests", daemon=True
        )
        self._thread.start()
        self.open: set[asyncpg.Connection] = set()
        atexit.register(self._end)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def _end(self) -> None:
        for conn in list(self.open):
            self._loop.call_soon_threadsafe(conn.terminate)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._loop.is_running():
            self._loop.close()


@cache
def _loop_of(_pid: int) -> _Loop:
    return _Loop()


def _loop() -> _Loop:
    """Of this process: a child that was forked has neither the thread nor the right to the connections."""
    return _loop_of(os.getpid())


class Session:
    """One connection to an address, opened at the first question, and anew if the server ended it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._conn: asyncpg.Connection | None = None
        self._turn: asyncio.Lock | None = None
        self._pid = os.getpid()

    def execute(self, *statements: str) -> None:
        """Each statement in a transaction of its own."""

        async def work(conn: asyncpg.Connection) -> None:
            for statement in statements:
                await conn.execute(statement)

        self._ask(work)

    def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return self._ask(lambda conn: conn.fetch(query, *arguments))

    def close(self) -> None:
        """End it, within seconds whatever the server does. The next question would open it again."""
        self._of_this_process()
        if self._conn is not None:
            _loop().run(self._close)

    def _of_this_process(self) -> None:
        if self._pid != os.getpid():
            self._conn, self._turn, self._pid = None, None, os.getpid()

    def _ask(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        self._of_this_process()

        async def answered() -> T:
            self._turn = self._turn or asyncio.Lock()
            async with self._turn:
                return await work(await self._connection())

        return _loop().run(answered)

    async def _connection(self) -> asyncpg.Connection:
        if self._conn is None or self._conn.is_closed():
            _loop().open.discard(self._conn)
            # a test may change the schema between two questions: no statement is kept
            self._conn = await asyncpg.connect(self._url, statement_cache_size=0)
            _loop().open.add(self._conn)
        return self._conn

    async def _close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is None:
            return
        _loop().open.discard(conn)
        try:
            await conn.close(timeout=_CLOSE_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            conn.terminate()
