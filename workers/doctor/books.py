"""Checks of books over REST: is there one, does it make sense, how old is its last change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.clock import Clock
from app.money import format_micros
from app.venue.interface import Found, Unread
from app.venue.polymarket.answers.border import NOT_TOLD, Fields, Unreadable, document
from app.venue.polymarket.wallet import Ask
from app.venue.polymarket.wire import Endpoint, Exchange
from workers.doctor.findings import Finding, fail, ok, skipped, warn

STALE_MS: Final = 600_000
"""A book that did not change for so long is quiet, or not carried on: only a comparison would tell."""


@dataclass(frozen=True, slots=True)
class Top:
    """The best of a book. None: that side is empty."""

    bid_micros: int | None
    ask_micros: int | None
    changed_at_ms: int
    """By the venue's clock; `NOT_TOLD` if it does not say."""

    @property
    def crossed(self) -> bool:
        bid, offer = self.bid_micros, self.ask_micros
        return bid is not None and offer is not None and bid >= offer


def read_top(exchange: Exchange) -> Found[Top] | Unread:
    """``GET /book``. The order of its levels differs between versions, so the best is looked for."""
    try:
        book = Fields(document(exchange), "book")
        bids = [Fields(row, "bid").price_micros("price") for row in book.rows("bids")]
        asks = [Fields(row, "ask").price_micros("price") for row in book.rows("asks")]
        top = Top(max(bids, default=None), min(asks, default=None), book.instant_ms("timestamp"))
    except Unreadable as error:
        return Unread(str(error))
    return Found(top)


async def read_book(ask: Ask, token_id: str) -> Found[Top] | Unread:
    return read_top(await ask(Endpoint.GET_BOOK, query={"token_id": token_id}))


async def check_books(ask: Ask, clock: Clock, tokens: Sequence[str]) -> Finding:
    """The books of a few tokens that may be traded."""
    if not tokens:
        return skipped("books", "no market is tradable")
    problems: list[str] = []
    ages: list[int] = []
    crossed = False
    for token in tokens:
        name = f"{token[:8]}…"
        found = await read_book(ask, token)
        if isinstance(found, Unread):
            problems.append(f"{name} {found.reason}"[:160])
            continue
        top = found.value
        if top.crossed:
            crossed = True
            bid, offer = format_micros(top.bid_micros or 0), format_micros(top.ask_micros or 0)
            problems.append(f"{name} is crossed: {bid} bid, {offer} offered")
        if top.changed_at_ms == NOT_TOLD:
            problems.append(f"{name} does not say when it changed")
            continue
        ages.append(clock.now_ms() - top.changed_at_ms)
        if ages[-1] > STALE_MS:
            problems.append(f"{name} did not change for {ages[-1] // 1000} s")
    if problems:
        step = "compare with the site; a market that is over, or an old import, has no book"
        judge = fail if crossed else warn
        return judge("books", "; ".join(problems), step)
    oldest = max(ages, default=0) // 1000
    return ok("books", f"{len(tokens)} looked at, the quietest changed {max(oldest, 0)} s ago")
