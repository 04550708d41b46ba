"""Watches the markets for a worker: their metadata every few minutes, their books while we have orders there.

Neither is on the send path. A refresher that cannot read changes nothing, and a feed that breaks is told,
counted and started anew: orders are placed and cancelled all the while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.errors import DatabaseProblem, LedgerError
from app.markets.books.book import Book
from app.markets.books.depth import Unfit
from app.markets.books.desk import Followed
from app.markets.books.fallback import Fallback
from app.markets.books.feed import BookFeed
from app.markets.books.notices import Notice, NoticeKind
from app.venue.polymarket.sockets import SocketLost, connector
from app.venue.polymarket.transport import Timeouts, Transport
from workers.markets_sync import venue_reader
from workers.statements import statement
from workers.worker.book_notes import NOTE_EVERY_MS, BookNotes, Noted, best_first
from workers.worker.context import Context, ExtraPass
from workers.worker.loop import pause
from workers.worker.refresher import EVERY_MS, TICKS_EVERY_MS, Refresher

FALLBACK_EVERY_MS: Final = 500
FOLLOW_EVERY_MS: Final = 2_000
"""How soon the book of a market is followed in which an order begins to stand."""

NOTED_AGE_MS: Final = 60_000
"""An older book is not worth telling: no limit is judged by it (`book_age_ms`)."""

_TOLD: Final = frozenset(
    {
        NoticeKind.DISCONNECTED,
        NoticeKind.SILENT,
        NoticeKind.CHANGE_HASHES_UNUSABLE,
        NoticeKind.FALLBACK,
        NoticeKind.FALLBACK_UNREAD,
    }
)
"""Worth a line each. The rest is counted by the feed, and said at the debug level."""


class MarketWatch:
    """The refresher and the book feed of one worker, and the connections they read through."""

    def __init__(self, context: Context, account: str) -> None:
        self._context = context
        self._account = account
        self._log = context.named("markets")
        settings, ports = context.settings, context.ports
        timeouts = Timeouts(total=settings.request_timeout_ms)
        ca_file = settings.polymarket_ca_file
        self._transports = [
            Transport(url, ports, timeouts=timeouts, ca_file=ca_file)
            for url in (settings.polymarket_gamma_url, settings.polymarket_clob_url)
        ]
        gamma, clob = (one.request for one in self._transports)
        self._refresher = Refresher(context, venue_reader(gamma, clob, ports))
        self._followed: set[str] = set()
        self._notes = BookNotes(context)
        self._failures = 0
        self.feed = self._new_feed()
        self._fallback = Fallback(
            lambda: self.feed, venue_reader(gamma, clob, ports, tries=1), ports, tell=self._hear
        )

    def passes(self) -> Sequence[ExtraPass]:
        """Loops beside the worker's own."""
        return (
            ("refresher", self._told(self._refresher.one_pass), EVERY_MS),
            ("ticks", self._told(self._refresher.tick_pass), TICKS_EVERY_MS),
            ("followed", self.follow_pass, FOLLOW_EVERY_MS),
            ("snapshots", self._fallback.one_pass, FALLBACK_EVERY_MS),
            ("book notes", self.note_pass, NOTE_EVERY_MS),
        )

    def book(self, token_id: str, *, max_age_ms: int) -> Book | Unfit:
        """A book that may be believed, by the stream or by a read, or why there is none."""
        return self._fallback.book(token_id, max_age_ms=max_age_ms)

    async def note_pass(self) -> bool:
        """Give the ledger the followed books that may be believed: its limits on prices judge by them."""
        books = (self.book(token, max_age_ms=NOTED_AGE_MS) for token in sorted(self._followed))
        await self._notes.note(
            Noted(
                book.token_id,
                best_first(book.bids, falling=True),
                best_first(book.asks, falling=False),
                book.seen_ns,
            )
            for book in books
            if isinstance(book, Book)
        )
        return False

    def _told(self, one_pass: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        """A market that the ledger will not take must not end a worker that has orders in others."""

        async def guarded() -> bool:
            try:
                return await one_pass()
            except DatabaseProblem:
                raise
            except LedgerError as error:
                self._log.error("MARKETS_NOT_STORED", code=error.code, problem=error.wrong)
                return False

        return guarded

    async def follow_pass(self) -> bool:
        """Follow what matters now, and let go of the rest."""
        rows = await self._context.calls.rows(statement("followed_markets"), [self._account])
        wanted = {
            row["token_id"]: Followed(
                row["token_id"],
                row["condition_id"],
                row["tick_micros"],
                row["min_size_micros"],
                row["neg_risk"],
            )
            for row in rows
        }
        if gone := self._followed - wanted.keys():
            self.feed.unfollow(gone)
        if fresh := [one for token, one in wanted.items() if token not in self._followed]:
            self.feed.follow(fresh)
        self._followed = set(wanted)
        self._notes.keep(self._followed)
        return False

    async def follow_books(self) -> None:
        """Run the feed until the worker stops. What ends it otherwise is told, and it starts anew."""
        context = self._context
        stopping = context.ports.tasks.spawn(context.shared.stopping.wait(), name="books stop")
        try:
            while not context.shared.stopping.is_set():
                feeding = context.ports.tasks.spawn(self.feed.run(), name="books")
                await asyncio.wait((feeding, stopping), return_when=asyncio.FIRST_COMPLETED)
                feeding.cancel()
                ended = (await asyncio.gather(feeding, return_exceptions=True))[0]
                if context.shared.stopping.is_set():
                    return
                self._failures += 1
                self._log.error("BOOK_FEED_FAILED", problem=repr(ended), failures=self._failures)
                # Everything is followed anew: nothing of a feed that broke is believed.
                self.feed, self._followed = self._new_feed(), set()
                await pause(context, context.backoff_ms(self._failures))
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    def _new_feed(self) -> BookFeed:
        settings = self._context.settings
        return BookFeed(
            settings.polymarket_market_ws_url,
            connector(ca_file=settings.polymarket_ca_file),
            self._context.ports,
            lost=(SocketLost,),
            tell=self._hear,
        )

    def _hear(self, notice: Notice) -> None:
        if notice.kind is NoticeKind.TICK_CHANGED:
            self._refresher.tick_changed(notice.market, notice.count)
        about = {"what": notice.kind, "token": notice.token_id, "market": notice.market}
        about |= {"detail": notice.detail[:200]}
        if notice.kind in _TOLD:
            self._log.warning("BOOK_FEED", **about, count=notice.count)
        else:
            self._log.debug("BOOK_FEED", **about, count=notice.count)

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports:
            await transport.aclose()
