"""A venue's side of a book: frames as the market channel sends them, with the hash the venue makes.

The hash is written here once more, from the documented recipe and with the JSON library, so that a
slip in the product's own writer is found.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from app.markets.books.book import Applied, Book, Problem, apply, empty
from app.markets.books.frames import Frame, read_frames
from app.money import format_micros

MARKET = "0x" + "ab" * 32
UP = "7" * 70
DOWN = "8" * 70


@dataclass
class VenueBook:
    """One token's book at the venue."""

    token_id: str = UP
    market: str = MARKET
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    tick: str = "0.01"
    min_size: str = "5"
    neg_risk: bool = False
    last_trade: str = "0.500"
    now_ms: int = 1_790_000_000_000

    def hash(self) -> str:
        summary = {
            "market": self.market,
            "asset_id": self.token_id,
            "timestamp": str(self.now_ms),
            "hash": "",
            "bids": self._levels(self.bids, reverse=False),
            "asks": self._levels(self.asks, reverse=True),
            "min_order_size": self.min_size,
            "tick_size": self.tick,
            "neg_risk": self.neg_risk,
            "last_trade_price": self.last_trade,
        }
        text = json.dumps(summary, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def set(self, side: str, price: int, size: int) -> None:
        levels = self.bids if side == "BUY" else self.asks
        levels.pop(price, None)
        if size:
            levels[price] = size

    def book(self, **changes: object) -> dict[str, Any]:
        """As of the first subscription; a change to ``...`` takes a field away."""
        frame: dict[str, object] = {
            "event_type": "book",
            "market": self.market,
            "asset_id": self.token_id,
            "timestamp": str(self.now_ms),
            "hash": self.hash(),
            "bids": self._levels(self.bids, reverse=False),
            "asks": self._levels(self.asks, reverse=True),
            "tick_size": self.tick,
            "last_trade_price": self.last_trade,
        } | changes
        return {name: value for name, value in frame.items() if value is not ...}

    def change(self, *moves: tuple[str, int, int], **changes: object) -> dict[str, Any]:
        """Make the moves, then tell of them."""
        for move in moves:
            self.set(*move)
        return self.told(*moves, **changes)

    def told(self, *moves: tuple[str, int, int], **changes: object) -> dict[str, Any]:
        """The frame that tells of moves, with the hash and the best prices of now."""
        best = {
            "best_bid": format_micros(max(self.bids, default=0)),
            "best_ask": format_micros(min(self.asks, default=1_000_000)),
        }
        shared = {"asset_id": self.token_id, "hash": self.hash(), **best}
        return {
            "event_type": "price_change",
            "market": self.market,
            "timestamp": str(self.now_ms),
            "price_changes": [
                {"side": side, "price": format_micros(price), "size": format_micros(size)}
                | shared
                | changes
                for side, price, size in moves
            ],
        }

    def trade(self, price: str, **changes: object) -> dict[str, Any]:
        return {
            "event_type": "last_trade_price",
            "market": self.market,
            "asset_id": self.token_id,
            "price": price,
            "size": "10",
            "side": "BUY",
            "fee_rate_bps": "0",
            "timestamp": str(self.now_ms),
        } | changes

    @staticmethod
    def _levels(levels: dict[int, int], *, reverse: bool) -> list[dict[str, str]]:
        return [
            {"price": format_micros(price), "size": format_micros(levels[price])}
            for price in sorted(levels, reverse=reverse)
        ]


@dataclass
class Reader:
    """Our side: one book, fed frame by frame."""

    book: Book = field(default_factory=lambda: empty(UP))
    problems: list[Problem] = field(default_factory=list)
    seen_ns: int = 0
    check_changes: bool = True

    def take(self, *raw: object) -> Applied:
        """Apply what one message holds; nothing in it may be unreadable."""
        applied = Applied(self.book)
        for frame in frames(*raw):
            self.seen_ns += 1_000_000
            applied = apply(
                self.book, frame, seen_ns=self.seen_ns, check_changes=self.check_changes
            )
            self.book = applied.book
            self.problems += applied.problems
        return applied

    def kinds(self) -> list[str]:
        return [problem.kind.value for problem in self.problems]


def frames(*raw: object) -> tuple[Frame, ...]:
    found, unparsed = read_frames(json.dumps(list(raw)))
    assert unparsed == ()
    return found
