"""Books by REST while the market stream is silent, gapped or gone.

A snapshot is a look at one moment, and the stream stays the truth: its book comes first whenever it is fit, and a
snapshot never becomes a part of it. So nothing here can make a stream's book look better than it is. A snapshot
counts only if it is proved: its hash comes out, it is of the token and market asked for, and nothing newer is
known. What is read otherwise is unread, and an old snapshot ages away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from app.clock import Ports
from app.errors import BadInput
from app.markets.books.book import Book, apply, distrust
from app.markets.books.depth import Unfit, unfit
from app.markets.books.feed import BookFeed
from app.markets.books.frames import BookFrame, read_frame
from app.markets.books.notices import Notice, NoticeKind, Tell, ignore
from app.markets.fetching import Absent, Reader, Unread

CLOB_BOOK: Final = "GET /book"
Snapshot: TypeAlias = Book | Absent | Unread
"""A proved book; the venue's clear word that there is none; or nothing may be concluded."""


@dataclass(frozen=True, slots=True)
class FallbackRules:
    """The defaults are for the venue; tests shorten them."""

    stream_age_ms: int = 20_000
    """A stream's book that heard nothing for so long is taken for silent. Shorter than the age at which the ledger
    takes no book for good any more (`book_age_ms`), or a quiet market would be refused."""
    after_s: float = 3.0
    """The stream may mend itself for so long: a reconnection takes about a second."""
    every_s: float = 2.0
    """Between two snapshots of a token."""
    most_age_ms: int = 5_000
    """Nothing tells what happened since a snapshot: older it is stale, whatever age the reader bears."""
    per_pass: int = 25


@dataclass(slots=True)
class FallbackCounters:
    """Since it was made."""

    taken: int = 0
    absent: int = 0
    unread: int = 0


@dataclass(slots=True)
class _Need:
    since_ns: int
    read_ns: int | None = None
    failing: bool = False


class Fallback:
    """Snapshots beside a feed. ``feed`` is asked each time, since a feed that broke is made anew."""

    def __init__(
        self,
        feed: Callable[[], BookFeed],
        reader: Reader,
        ports: Ports,
        *,
        rules: FallbackRules | None = None,
        tell: Tell = ignore,
    ) -> None:
        self._feed = feed
        self._reader = reader
        self._clock = ports.clock
        self._rules = rules or FallbackRules()
        self._tell = tell
        self._books: dict[str, Book] = {}
        self._needs: dict[str, _Need] = {}
        self.counters = FallbackCounters()

    def book(self, token_id: str, *, max_age_ms: int) -> Book | Unfit:
        """The stream's book if it is fit, else a snapshot that is, else why there is none."""
        feed = self._feed()
        wrong, found = feed.unfit(token_id, max_age_ms=max_age_ms), feed.book(token_id)
        if found is not None and wrong is None:
            return found
        snapshot = self._books.get(token_id)
        if snapshot is None or found is None or wrong is Unfit.RESOLVED:
            return wrong or Unfit.NO_SNAPSHOT
        most_ms = min(max_age_ms, self._rules.most_age_ms)
        return unfit(snapshot, now_ns=self._clock.monotonic_ns(), max_age_ms=most_ms) or snapshot

    async def one_pass(self) -> bool:
        """Read the books that the stream has left for too long, those not read for longest first."""
        for token_id in self._due()[: self._rules.per_pass]:
            need = self._needs[token_id]
            need.read_ns = self._clock.monotonic_ns()
            self._take(token_id, need, await self._read(token_id))
        return False

    # --- which --------------------------------------------------------------------------------

    def _due(self) -> list[str]:
        feed, now_ns = self._feed(), self._clock.monotonic_ns()
        wanting = {token for token in feed.tokens if self._is_silent(feed, token)}
        for token in self._needs.keys() - wanting:
            del self._needs[token]
            self._books.pop(token, None)
        for token in wanting - self._needs.keys():
            self._needs[token] = _Need(now_ns)
        due = [token for token in sorted(wanting) if self._is_due(self._needs[token], now_ns)]
        return sorted(due, key=lambda token: self._needs[token].read_ns or 0)

    def _is_silent(self, feed: BookFeed, token_id: str) -> bool:
        wrong = feed.unfit(token_id, max_age_ms=self._rules.stream_age_ms)
        return wrong not in (None, Unfit.RESOLVED)

    def _is_due(self, need: _Need, now_ns: int) -> bool:
        if now_ns - need.since_ns < self._rules.after_s * 1e9:
            return False
        return need.read_ns is None or now_ns - need.read_ns >= self._rules.every_s * 1e9

    # --- reading ------------------------------------------------------------------------------

    async def _read(self, token_id: str) -> Snapshot:
        known = self._feed().book(token_id)
        if known is None:
            return Unread("the token is not followed any more")
        read = await self._reader.json(CLOB_BOOK, {"token_id": token_id})
        if isinstance(read, Absent | Unread):
            return read
        newest_ms = max(known.timestamp_ms, self._newest_ms(token_id))
        return prove(known, read.value, newest_ms=newest_ms, seen_ns=self._clock.monotonic_ns())

    def _newest_ms(self, token_id: str) -> int:
        before = self._books.get(token_id)
        return 0 if before is None else before.timestamp_ms

    def _take(self, token_id: str, need: _Need, snapshot: Snapshot) -> None:
        if isinstance(snapshot, Book):
            if token_id not in self._books:
                self._say(NoticeKind.FALLBACK, snapshot.token_id, snapshot.market, "")
            self._books[token_id] = snapshot
            self.counters.taken += 1
            need.failing = False
            return
        if isinstance(snapshot, Absent):
            # The venue has no such book: what was read before is over.
            self._books.pop(token_id, None)
            self.counters.absent += 1
        else:
            self.counters.unread += 1
        if not need.failing:
            self._say(NoticeKind.FALLBACK_UNREAD, token_id, "", snapshot.why)
        need.failing = True

    def _say(self, kind: NoticeKind, token_id: str, market: str, detail: str) -> None:
        self._tell(Notice(kind, token_id=token_id, market=market, detail=detail[:300]))


def prove(known: Book, value: object, *, newest_ms: int, seen_ns: int) -> Book | Unread:
    """The book of an answer to ``GET /book``, if it is proved to be one. ``known`` gives token, market and terms."""
    try:
        frame = read_frame({**value, "event_type": "book"} if isinstance(value, dict) else value)
    except (ValueError, BadInput, RecursionError) as error:
        return Unread(f"no book: {error}"[:300])
    if not isinstance(frame, BookFrame) or frame.token_id != known.token_id:
        return Unread("another token's book was answered")
    if known.market and frame.market != known.market:
        return Unread("a book of another market was answered")
    if frame.timestamp_ms < newest_ms:
        return Unread(f"the book is of {frame.timestamp_ms}, and one of {newest_ms} is known")
    # Distrusted first, so that it replaces what is known instead of being held against it.
    applied = apply(distrust(known, "FALLBACK"), frame, seen_ns=seen_ns)
    if applied.problems:
        return Unread("; ".join(f"{one.kind}: {one.detail}" for one in applied.problems))
    if applied.book.proven_ms != frame.timestamp_ms:
        return Unread("the book comes without a hash")
    return applied.book
