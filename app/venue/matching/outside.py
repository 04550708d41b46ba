"""What the outside world does to a book on order: it takes, it offers, it has another book now.

The tape (`flow`) is chance; these are for scripts, which need a certain fill at a certain moment.
Pure, like all of the core.
"""

from __future__ import annotations

from dataclasses import replace

from app.money import MICROS
from app.venue.interface import Side
from app.venue.matching.crossing import Incoming, Work
from app.venue.matching.flow import Taker
from app.venue.matching.types import BACKGROUND, Book, Level, Outcome, Rules


def take(book: Book, taker: Taker, now_ms: int, rules: Rules) -> Outcome:
    """An aggressive order of the outside world: takes what it finds, never rests."""
    work = Work(book, rules, now_ms)
    work.cross(Incoming("", BACKGROUND, taker.side, taker.limit_micros, taker.size_micros))
    return Outcome(work.done(), tuple(work.events))


def offer(book: Book, offered: Taker, now_ms: int, rules: Rules) -> Outcome:
    """A limit order of the outside world: takes what it crosses, the rest joins its level."""
    work = Work(book, rules, now_ms)
    _offer(work, offered)
    return Outcome(work.done(), tuple(work.events))


def replace_levels(book: Book, levels: tuple[Level, ...], now_ms: int, rules: Rules) -> Outcome:
    """The outside world's whole book is another one: the old is gone, what crosses fills."""
    work = Work(replace(book, levels=(), shift_micros=0), rules, now_ms)
    for level in sorted(levels, key=lambda one: (one.side, one.base_price_micros)):
        _offer(work, Taker(level.side, level.base_price_micros, level.size_micros))
    return Outcome(work.done(), tuple(work.events))


def _offer(work: Work, offered: Taker) -> None:
    side, price = offered.side, offered.limit_micros
    incoming = Incoming("", BACKGROUND, side, price, offered.size_micros)
    left = offered.size_micros - work.cross(incoming)
    base = price - work.shift
    if not left or not 0 < price < MICROS:
        return
    for i, level in enumerate(work.levels):
        if (level.side, level.base_price_micros) == (side, base):
            size = level.size_micros + left
            grown = max(level.base_size_micros, size)
            work.levels[i] = replace(level, size_micros=size, base_size_micros=grown)
            return
    work.levels.append(Level(side, base, left, left, seq=work.next_seq()))


def resting(book: Book, side: Side) -> dict[int, int]:
    """Price to total size on one side, orders and outside levels together: what a book shows."""
    totals: dict[int, int] = {}
    for order in book.orders:
        if order.side is side:
            price = order.price_micros
            totals[price] = totals.get(price, 0) + order.remaining_micros
    for level in book.levels:
        price = level.base_price_micros + book.shift_micros
        if level.side is side and level.size_micros and 0 < price < MICROS:
            totals[price] = totals.get(price, 0) + level.size_micros
    return totals
