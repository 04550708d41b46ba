"""Follows the order books of many tokens over as many connections as it takes.

It ends by being cancelled. What it cannot do it does not hide: a book that is missing, suspect or
old says so (`unfit`), and everything that happens on the way is a `Notice` and a count.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from app.clock import Ports
from app.markets.books.book import Book
from app.markets.books.connection import Connection
from app.markets.books.depth import Unfit, unfit
from app.markets.books.desk import Desk, Followed, Saw, Updates
from app.markets.books.frames import Unparsed
from app.markets.books.notices import Connect, Counters, Rules, Tell, ignore


class BookFeed:
    """``lost`` are the exceptions by which a socket says that it is gone, or could not be opened."""

    def __init__(
        self,
        url: str,
        connect: Connect,
        ports: Ports,
        *,
        lost: tuple[type[Exception], ...] = (OSError,),
        rules: Rules | None = None,
        tell: Tell = ignore,
        saw: Saw | None = None,
    ) -> None:
        self._url = url
        self._connect = connect
        self._ports = ports
        self._lost = lost
        self._rules = rules or Rules()
        self._desk = Desk(ports.clock, self._rules, tell, saw)
        self._connections: list[Connection] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._made = 0
        self._wishes = asyncio.Event()

    # --- what is followed ---------------------------------------------------------------------

    def follow(self, tokens: Iterable[Followed]) -> None:
        """Add tokens, both of a market to the same connection. Takes effect while it runs too."""
        fresh: defaultdict[str, list[Followed]] = defaultdict(list)
        for one in tokens:
            if one.token_id not in self._desk.books:
                self._desk.open(one)
                fresh[one.market].append(one)
        for market, members in fresh.items():
            room = self._connection_for(market, len(members))
            room.tokens |= {one.token_id for one in members}
        self._wishes.set()

    def unfollow(self, token_ids: Iterable[str]) -> None:
        """Forget tokens and their books; a connection without any is closed."""
        gone = set(token_ids)
        for connection in self._connections:
            connection.drop(gone)
        for token_id in gone:
            self._desk.close(token_id)
        self._wishes.set()

    def _connection_for(self, market: str, count: int) -> Connection:
        """One that has a token of the market, else one with room, else a new one."""
        for connection in self._connections:
            if any(self._desk.books[token].market == market for token in connection.tokens):
                return connection
        for connection in self._connections:
            if len(connection.tokens) + count <= self._rules.tokens_per_connection:
                return connection
        self._made += 1
        new = Connection(
            self._made,
            self._url,
            self._connect,
            self._ports,
            self._desk,
            self._rules,
            self._lost,
        )
        self._connections.append(new)
        return new

    # --- what is known ------------------------------------------------------------------------

    @property
    def tokens(self) -> frozenset[str]:
        """What is followed."""
        return frozenset(self._desk.books)

    def book(self, token_id: str) -> Book | None:
        """The book as it stands, fit or not; None for a token that is not followed."""
        return self._desk.books.get(token_id)

    def unfit(self, token_id: str, *, max_age_ms: int) -> Unfit | None:
        """Why nothing may be concluded from the token's book, or None."""
        book = self._desk.books.get(token_id)
        if book is None:
            return Unfit.NO_SNAPSHOT
        return unfit(book, now_ns=self._ports.clock.monotonic_ns(), max_age_ms=max_age_ms)

    def updates(self) -> Updates:
        """A subscription to which books changed. Each reader takes its own."""
        return self._desk.updates()

    @property
    def counters(self) -> Counters:
        return self._desk.counters

    @property
    def unreadable(self) -> tuple[Unparsed, ...]:
        """The last messages that could not be read, as they came."""
        return tuple(self._desk.unreadable)

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. An error that nobody foresaw ends it and is raised."""
        try:
            while True:
                await self._start_and_end()
                waking = self._ports.tasks.spawn(self._wishes.wait(), name="books wishes")
                try:
                    done, _ = await asyncio.wait(
                        [*self._tasks.values(), waking], return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    waking.cancel()
                for task in done - {waking}:
                    task.result()
        finally:
            await self._end(list(self._tasks))

    async def _start_and_end(self) -> None:
        self._wishes.clear()
        empty = [one for one in self._connections if not one.tokens]
        self._connections = [one for one in self._connections if one.tokens]
        await self._end([one.number for one in empty if one.number in self._tasks])
        for connection in self._connections:
            if connection.number not in self._tasks:
                self._tasks[connection.number] = self._ports.tasks.spawn(
                    connection.run(), name=f"books {connection.number}"
                )

    async def _end(self, numbers: Iterable[int]) -> None:
        ending = [self._tasks.pop(number) for number in numbers]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
