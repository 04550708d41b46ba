"""The books of a feed, and what a message does to them. No waiting and no network in here."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from app.clock import Clock
from app.markets.books.book import Applied, Book, ProblemKind, apply, distrust, empty, settle
from app.markets.books.frames import (
    BookFrame,
    Frame,
    LastTrade,
    MarketResolved,
    NewMarket,
    PriceChange,
    TickSizeChange,
    Unparsed,
    read_frames,
)
from app.markets.books.notices import Counters, Notice, NoticeKind, Rules, Tell
from app.markets.model import MarketRecord

Saw: TypeAlias = Callable[[str, tuple[Frame, ...]], None]
"""Each message as it came, with its frames: for a recorder. Called at once and must not wait."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A token to follow, with what is known of its market: it is part of the book's hash."""

    token_id: str
    market: str
    tick_micros: int | None = None
    min_size_micros: int | None = None
    neg_risk: bool | None = None


def followed(record: MarketRecord) -> tuple[Followed, ...]:
    """Both tokens of a market."""
    return tuple(
        Followed(
            outcome.token_id,
            record.condition_id,
            record.tick_micros,
            record.min_size_micros,
            record.neg_risk,
        )
        for outcome in record.outcomes
    )


class Updates:
    """Tokens whose book changed since they were last taken: a slow reader gets each once."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._some = asyncio.Event()

    def note(self, token_id: str) -> None:
        self._changed.add(token_id)
        self._some.set()

    async def take(self) -> frozenset[str]:
        """Waits until there is one."""
        await self._some.wait()
        self._some.clear()
        taken, self._changed = frozenset(self._changed), set()
        return taken


class Desk:
    """Books by token, shared by all connections of a feed."""

    def __init__(self, clock: Clock, rules: Rules, tell: Tell, saw: Saw | None) -> None:
        self.books: dict[str, Book] = {}
        self.counters = Counters()
        self.unreadable: deque[Unparsed] = deque(maxlen=rules.keep_unreadable)
        self.whole_ns: dict[str, int] = {}
        """When a whole book was last received, by token."""
        self.check_changes = True
        self._clock = clock
        self._rules = rules
        self._tell = tell
        self._saw = saw
        self._of_market: defaultdict[str, set[str]] = defaultdict(set)
        self._subscribers: list[Updates] = []
        self._unproved = 0

    def open(self, one: Followed) -> None:
        """Start an empty book; one that is there stays."""
        if one.token_id not in self.books:
            self.books[one.token_id] = empty(
                one.token_id,
                market=one.market,
                tick_micros=one.tick_micros,
                min_size_micros=one.min_size_micros,
                neg_risk=one.neg_risk,
            )
        self._of_market[one.market].add(one.token_id)

    def close(self, token_id: str) -> None:
        self.books.pop(token_id, None)
        self.whole_ns.pop(token_id, None)
        for tokens in self._of_market.values():
            tokens.discard(token_id)

    def updates(self) -> Updates:
        subscriber = Updates()
        self._subscribers.append(subscriber)
        return subscriber

    def tell(self, notice: Notice) -> None:
        self._tell(notice)

    def take(self, connection: int, text: str) -> None:
        """Apply one message. What cannot be read is kept, counted and told; it stops nothing."""
        self.counters.messages += 1
        frames, unparsed = read_frames(text)
        if self._saw is not None:
            self._saw(text, frames)
        for one in unparsed:
            self.counters.unreadable += 1
            self.unreadable.append(one)
            self.tell(Notice(NoticeKind.UNREADABLE, connection, detail=one.why))
        for frame in frames:
            self.counters.frames += 1
            self._apply(connection, frame)

    def settle(self, connection: int, token_id: str) -> None:
        """Judge a claim that nothing newer has come for."""
        self._put(connection, token_id, settle(self.books[token_id]))

    def lost(self, token_ids: Iterable[str]) -> None:
        """The connection of these is gone: what they missed is not known."""
        for token_id in token_ids:
            if token_id in self.books:
                self.books[token_id] = distrust(self.books[token_id], "DISCONNECTED")
                self._note(token_id)

    def _apply(self, connection: int, frame: Frame) -> None:
        tokens = self._concerned(frame)
        if not tokens and not isinstance(frame, NewMarket):
            self.counters.strangers += 1
        for token_id in tokens:
            if isinstance(frame, BookFrame):
                self.whole_ns[token_id] = self._clock.monotonic_ns()
                self._of_market[frame.market].add(token_id)
            applied = apply(
                self.books[token_id],
                frame,
                seen_ns=self._clock.monotonic_ns(),
                check_changes=self.check_changes,
            )
            self._put(connection, token_id, applied)
        self._announce(connection, frame)

    def _concerned(self, frame: Frame) -> list[str]:
        """Tokens we follow that the frame says something of, in a fixed order."""
        if isinstance(frame, PriceChange):
            named = {one.token_id for one in frame.changes}
        elif isinstance(frame, MarketResolved):
            named = {*frame.token_ids, *self._of_market.get(frame.market, ())}
        elif isinstance(frame, LastTrade):
            named = {frame.token_id, *self._of_market.get(frame.market, ())}
        elif isinstance(frame, NewMarket):
            named = set()
        else:
            named = {frame.token_id}
        return sorted(named & self.books.keys())

    def _put(self, connection: int, token_id: str, applied: Applied) -> None:
        before = self.books[token_id]
        self.books[token_id] = applied.book
        for problem in applied.problems:
            self.counters.problems += 1
            self.tell(
                Notice(
                    NoticeKind.PROBLEM,
                    connection,
                    token_id,
                    applied.book.market,
                    f"{problem.kind}: {problem.detail}",
                )
            )
            self._weigh(connection, problem.kind)
        if applied.proved_change:
            self.counters.proved += 1
            self._unproved = 0
        if applied.book is not before:
            self._note(token_id)

    def _weigh(self, connection: int, kind: ProblemKind) -> None:
        """A recipe that changed must not look like a thousand gaps."""
        if kind is not ProblemKind.HASH_MISMATCH:
            return
        self._unproved += 1
        if self.check_changes and self._unproved >= self._rules.distrust_after:
            self.check_changes = False
            self.tell(Notice(NoticeKind.CHANGE_HASHES_UNUSABLE, connection, count=self._unproved))

    def _announce(self, connection: int, frame: Frame) -> None:
        if isinstance(frame, TickSizeChange):
            self.tell(
                Notice(
                    NoticeKind.TICK_CHANGED,
                    connection,
                    frame.token_id,
                    frame.market,
                    f"at {frame.timestamp_ms}",
                    frame.new_micros,
                )
            )
        elif isinstance(frame, MarketResolved):
            detail = frame.winning_outcome or ""
            winner = frame.winning_token_id or ""
            self.tell(Notice(NoticeKind.RESOLVED, connection, winner, frame.market, detail))
        elif isinstance(frame, NewMarket):
            self.tell(
                Notice(
                    NoticeKind.NEW_MARKET,
                    connection,
                    market=frame.condition_id,
                    detail=frame.slug or "",
                )
            )

    def _note(self, token_id: str) -> None:
        for subscriber in self._subscribers:
            subscriber.note(token_id)
