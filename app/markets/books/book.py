"""One token's book as a value: a frame in, the next book and what is wrong with it out.

Pure. What a frame claims (a hash, the best prices) is about the end of its millisecond, in which
several frames may fall; so a claim that does not hold at once is judged when a later millisecond
begins, or by `settle`. A book that was caught wrong stays *suspect* until a whole book replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from app.markets.books.frames import (
    BestBidAsk,
    BookFrame,
    Frame,
    LastTrade,
    LevelChange,
    MarketResolved,
    NewMarket,
    PriceChange,
    TickSizeChange,
)
from app.markets.books.hashing import Summary, Terms, trade_texts
from app.money import MICROS, format_micros

_MOST_TRADES: Final = 8
"""Prices kept as guesses for the last trade of the market; twice as many texts."""


class ProblemKind(StrEnum):
    """Values never change; new ones may be added."""

    NO_SNAPSHOT = "NO_SNAPSHOT"
    HASH_MISMATCH = "HASH_MISMATCH"
    BEST_MISMATCH = "BEST_MISMATCH"
    CROSSED = "CROSSED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    HASH_UNCHECKABLE = "HASH_UNCHECKABLE"


@dataclass(frozen=True, slots=True)
class Problem:
    """What was found wrong. Every kind but HASH_UNCHECKABLE (the frame claims a hash that this
    project cannot reproduce, which says nothing of the depth) wants the book to be asked for anew.
    """

    kind: ProblemKind
    token_id: str
    timestamp_ms: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the newest frames say the book is at the end of their millisecond."""

    timestamp_ms: int
    hash: str | None
    best_bid: int | None
    best_ask: int | None
    held: bool
    """The hash was reproduced."""


@dataclass(frozen=True, slots=True)
class Book:
    """Price to size, in micros, sizes above zero. Made empty, before its first whole book.

    ``timestamp_ms`` is the venue's time of what was last applied, ``seen_ns`` the monotonic time at
    which anything about this token was last received. ``checkable``: a hash was reproduced since
    the last whole book, so that one that cannot be is a gap and not a difference of recipe.
    """

    token_id: str
    market: str = ""
    bids: Mapping[int, int] = field(default_factory=dict)
    asks: Mapping[int, int] = field(default_factory=dict)
    tick_micros: int | None = None
    timestamp_ms: int = 0
    snapshot_ms: int | None = None
    seen_ns: int = 0
    terms: Terms = field(default_factory=Terms)
    trades: tuple[str, ...] = ()
    claim: Claim | None = None
    checkable: bool = False
    proven_ms: int | None = None
    suspect: str = ""
    """Why the depth is not to be believed; empty for a book that is."""
    resolved: bool = False

    @property
    def best_bid(self) -> int | None:
        return max(self.bids, default=None)

    @property
    def best_ask(self) -> int | None:
        return min(self.asks, default=None)

    @property
    def crossed(self) -> bool:
        """A bid at or above an ask: two halves of different moments."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid >= ask


@dataclass(frozen=True, slots=True)
class Applied:
    """``proved_change``: the hash of a change (not of a whole book) was reproduced."""

    book: Book
    problems: tuple[Problem, ...] = ()
    proved_change: bool = False


def empty(
    token_id: str,
    *,
    market: str = "",
    tick_micros: int | None = None,
    min_size_micros: int | None = None,
    neg_risk: bool | None = None,
) -> Book:
    """A book before its first frame, with what the market's record already says for the hash."""
    terms = Terms(
        min_size=None if min_size_micros is None else format_micros(min_size_micros),
        tick=None if tick_micros is None else format_micros(tick_micros),
        neg_risk=neg_risk,
    )
    return Book(token_id, market=market, tick_micros=tick_micros, terms=terms)


def apply(book: Book, frame: Frame, *, seen_ns: int, check_changes: bool = True) -> Applied:
    """The book after a frame. Frames about other tokens leave it as it is.

    ``check_changes=False`` takes no hash from price changes, for a venue that no longer puts the
    book's hash there.
    """
    if isinstance(frame, BookFrame):
        return (
            _take_whole(book, frame, seen_ns) if frame.token_id == book.token_id else Applied(book)
        )
    if isinstance(frame, PriceChange):
        mine = [one for one in frame.changes if one.token_id == book.token_id]
        return _change(book, frame, mine, seen_ns, check_changes) if mine else Applied(book)
    if isinstance(frame, MarketResolved):
        concerned = book.token_id in frame.token_ids or frame.market == book.market
        return Applied(replace(book, resolved=True) if concerned else book)
    if isinstance(frame, LastTrade):
        return Applied(_note_trade(book, frame, seen_ns))
    if isinstance(frame, NewMarket) or frame.token_id != book.token_id:
        return Applied(book)
    if isinstance(frame, TickSizeChange):
        terms = replace(book.terms, tick=format_micros(frame.new_micros))
        return Applied(replace(book, tick_micros=frame.new_micros, terms=terms, seen_ns=seen_ns))
    return _note_best(book, frame, seen_ns)


def settle(book: Book, *, before_ms: int | None = None) -> Applied:
    """Judge the standing claim, now that nothing more of its millisecond will come.

    ``before_ms``: only a claim about an earlier millisecond than this.
    """
    claim = book.claim
    if claim is None or (before_ms is not None and claim.timestamp_ms >= before_ms):
        return Applied(book)
    after = replace(book, claim=None)
    if book.suspect:
        return Applied(after)
    if claim.hash is not None and not claim.held:
        explained = _summary(book, claim.timestamp_ms).explain(
            claim.hash, book.terms, book.trades, thorough=book.checkable
        )
        if explained is not None:
            proven = _proven(after, explained, claim.timestamp_ms)
            return _check_crossed(Applied(proven, proved_change=True), claim)
        if book.checkable:
            return _found(after, ProblemKind.HASH_MISMATCH, claim.timestamp_ms, claim.hash)
    if not (claim.held or _best_agrees(book, claim)):
        detail = f"best {book.best_bid}/{book.best_ask}, told {claim.best_bid}/{claim.best_ask}"
        return _found(after, ProblemKind.BEST_MISMATCH, claim.timestamp_ms, detail)
    return _check_crossed(Applied(after), claim)


def distrust(book: Book, why: str) -> Book:
    """The same depth, no longer to be believed: the connection was lost, say."""
    return replace(book, suspect=book.suspect or why, claim=None)


# ------------------------------------------------------------------------------------- the frames


def _take_whole(book: Book, frame: BookFrame, seen_ns: int) -> Applied:
    """A whole book ends every doubt about the one before; its own hash shows whether ours can be
    computed at all.
    """
    if book.snapshot_ms is not None and frame.timestamp_ms < book.timestamp_ms and not book.suspect:
        # an older book that was overtaken on its way
        return Applied(replace(book, seen_ns=seen_ns))
    told = Terms(frame.min_size, frame.tick, frame.neg_risk, frame.last_trade)
    tick = format_micros(book.tick_micros) if frame.tick is None and book.tick_micros else None
    fresh = replace(
        book,
        market=frame.market,
        bids=frame.bids,
        asks=frame.asks,
        tick_micros=_micros_of(frame.tick) or book.tick_micros,
        timestamp_ms=frame.timestamp_ms,
        snapshot_ms=frame.timestamp_ms,
        seen_ns=seen_ns,
        terms=told.over(Terms(tick=tick)).over(book.terms),
        claim=None,
        checkable=False,
        suspect="",
    )
    problems: tuple[Problem, ...] = ()
    if frame.hash is not None:
        summary = _summary(fresh, frame.timestamp_ms)
        explained = summary.explain(frame.hash, fresh.terms, fresh.trades, thorough=True)
        if explained is None and frame.tick is None:
            # a change of the tick may have been lost on the way
            tickless = replace(fresh.terms, tick=None)
            explained = summary.explain(frame.hash, tickless, fresh.trades, thorough=True)
        if explained is not None:
            fresh = _proven(fresh, explained, frame.timestamp_ms)
            fresh = replace(fresh, tick_micros=_micros_of(explained.tick))
        else:
            kind = ProblemKind.HASH_UNCHECKABLE
            problems = (Problem(kind, book.token_id, frame.timestamp_ms, frame.hash),)
    if fresh.crossed:
        found = _found(fresh, ProblemKind.CROSSED, frame.timestamp_ms, _bests(fresh))
        return Applied(found.book, problems + found.problems)
    return Applied(fresh, problems)


def _change(
    book: Book, frame: PriceChange, mine: list[LevelChange], seen_ns: int, check_hash: bool
) -> Applied:
    if book.snapshot_ms is None:
        fresh = replace(book, market=frame.market, seen_ns=seen_ns)
        if book.suspect:
            return Applied(fresh)
        return _found(fresh, ProblemKind.NO_SNAPSHOT, frame.timestamp_ms, "a change before a book")
    if frame.timestamp_ms < book.snapshot_ms:
        # already in the whole book
        return Applied(replace(book, seen_ns=seen_ns))
    if frame.timestamp_ms < book.timestamp_ms:
        late = f"{frame.timestamp_ms} after {book.timestamp_ms}"
        seen = replace(book, seen_ns=seen_ns)
        if book.suspect:
            return Applied(seen)
        return _found(seen, ProblemKind.OUT_OF_ORDER, frame.timestamp_ms, late)
    judged = settle(book, before_ms=frame.timestamp_ms)
    changed = _with_changes(judged.book, frame, mine, seen_ns, check_hash)
    claim = changed.claim
    proved = judged.proved_change
    if claim is not None and claim.hash is not None and not changed.suspect:
        summary = _summary(changed, claim.timestamp_ms)
        explained = summary.explain(claim.hash, changed.terms, changed.trades)
        if explained is not None:
            changed = replace(
                _proven(changed, explained, claim.timestamp_ms), claim=replace(claim, held=True)
            )
            proved = True
    return Applied(changed, judged.problems, proved)


def _with_changes(
    book: Book, frame: PriceChange, mine: list[LevelChange], seen_ns: int, check_hash: bool
) -> Book:
    bids, asks = dict(book.bids), dict(book.asks)
    for one in mine:
        levels = bids if one.side == "BUY" else asks
        if one.size:
            levels[one.price] = one.size
        else:
            levels.pop(one.price, None)
    last = mine[-1]
    told = last.hash if check_hash else None
    return replace(
        book,
        market=frame.market,
        bids=bids,
        asks=asks,
        timestamp_ms=frame.timestamp_ms,
        seen_ns=seen_ns,
        claim=Claim(frame.timestamp_ms, told, last.best_bid, last.best_ask, held=False),
    )


def _note_trade(book: Book, frame: LastTrade, seen_ns: int) -> Book:
    """A trade of either token of the market may be in the next hash of both."""
    if frame.market != book.market and frame.token_id != book.token_id:
        return book
    trades = tuple(dict.fromkeys((*trade_texts(frame.price), *book.trades)))[: 2 * _MOST_TRADES]
    seen = seen_ns if frame.token_id == book.token_id else book.seen_ns
    return replace(book, trades=trades, seen_ns=seen)


def _note_best(book: Book, frame: BestBidAsk, seen_ns: int) -> Applied:
    """A check of the depth where the hash is none."""
    seen = replace(book, seen_ns=seen_ns)
    if book.snapshot_ms is None or book.checkable or frame.timestamp_ms < book.timestamp_ms:
        return Applied(seen)
    judged = settle(seen, before_ms=frame.timestamp_ms)
    claim = Claim(frame.timestamp_ms, None, frame.best_bid, frame.best_ask, held=False)
    return Applied(replace(judged.book, claim=claim), judged.problems, judged.proved_change)


# ------------------------------------------------------------------------------------- the checks


def _summary(book: Book, timestamp_ms: int) -> Summary:
    return Summary(book.market, book.token_id, timestamp_ms, book.bids, book.asks)


def _proven(book: Book, terms: Terms, timestamp_ms: int) -> Book:
    return replace(book, terms=terms, checkable=True, proven_ms=timestamp_ms)


def _best_agrees(book: Book, claim: Claim) -> bool:
    ours = (book.best_bid or 0, MICROS if book.best_ask is None else book.best_ask)
    told = (claim.best_bid, claim.best_ask)
    return all(says is None or says == is_ for says, is_ in zip(told, ours, strict=True))


def _check_crossed(judged: Applied, claim: Claim) -> Applied:
    if not judged.book.crossed:
        return judged
    found = _found(judged.book, ProblemKind.CROSSED, claim.timestamp_ms, _bests(judged.book))
    return replace(found, proved_change=judged.proved_change)


def _found(book: Book, kind: ProblemKind, timestamp_ms: int, detail: str) -> Applied:
    return Applied(
        replace(book, suspect=kind.value), (Problem(kind, book.token_id, timestamp_ms, detail),)
    )


def _bests(book: Book) -> str:
    return f"{book.best_bid}/{book.best_ask}"


def _micros_of(tick: str | None) -> int | None:
    if tick is None:
        return None
    whole, _, decimals = tick.partition(".")
    return int(whole or 0) * MICROS + int(decimals.ljust(6, "0")[:6])
