"""What the outside world does to a book between our own calls, and how much of it a resting order
gets.

`FillModel` is the place of the realistic model of W15 (fill probability by time in market, a cut
for adverse selection, recorded snapshots): ``flow`` is where a recorded history would speak,
``grant`` where time in market and adverse selection would take their part. `SimpleCrossing` is the
plain one: what crosses, fills.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from app.money import MICROS
from app.venue.interface import Side
from app.venue.matching.draw import draw
from app.venue.matching.types import Book, Order


@dataclass(frozen=True, slots=True)
class Taker:
    """An aggressive order of the background: takes up to ``size_micros`` at ``limit_micros`` or
    better, never rests.
    """

    side: Side
    limit_micros: int
    size_micros: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One tick of the tape: where the levels stand now, who takes, and how many draws it used."""

    shift_micros: int
    takers: tuple[Taker, ...]
    draws: int


class FillModel(Protocol):
    """Pure, like all of the core: chance is ``draw(book.seed, book.draws + i, …)``."""

    def flow(self, book: Book, now_ms: int) -> Flow:
        """What happens at this tick of the tape."""
        ...

    def grant(self, book: Book, order: Order, offered_micros: int, now_ms: int) -> int:
        """How much of ``offered_micros`` (0 to all) the resting ``order`` gets from the
        background.
        """
        ...


MAX_SHIFT_TICKS: Final = 8


class SimpleCrossing:
    """The mid wanders by a tick at a time around where it began; half of the ticks see an order of
    1 to 60 shares.
    """

    def flow(self, book: Book, now_ms: int) -> Flow:
        def roll(i: int, below: int) -> int:
            return draw(book.seed, book.draws + i, below)

        tick = book.tick_micros
        # Pulled home: the further away, the likelier the way back, so a long run cannot walk off
        # the price range.
        away = max(-MAX_SHIFT_TICKS, min(MAX_SHIFT_TICKS, book.shift_micros // tick))
        pick = roll(0, 4 * MAX_SHIFT_TICKS)
        up, down = MAX_SHIFT_TICKS - away, MAX_SHIFT_TICKS + away
        move = 1 if pick < up else -1 if pick >= 4 * MAX_SHIFT_TICKS - down else 0
        shift = book.shift_micros + move * tick
        if roll(1, 2) == 0:
            return Flow(shift, (), 2)
        side = Side.BUY if roll(2, 2) == 0 else Side.SELL
        size = (1 + roll(3, 60)) * MICROS
        return Flow(shift, (Taker(side, _limit(book, shift, side), size),), 4)

    def grant(self, book: Book, order: Order, offered_micros: int, now_ms: int) -> int:
        return offered_micros


def _limit(book: Book, shift_micros: int, side: Side) -> int:
    """One tick through the best level on the other side; without one, the edge of the range."""
    if side is Side.BUY:
        asks = [lv.base_price_micros for lv in book.levels if lv.side is Side.SELL]
        return min(asks, default=MICROS) + shift_micros + book.tick_micros
    bids = [lv.base_price_micros for lv in book.levels if lv.side is Side.BUY]
    return max(bids, default=0) + shift_micros - book.tick_micros
