"""The working copy in which one operation on a book is carried out: who stands against a taker,
and the trades.

`Work` is mutable and lives for one call of the engine; what goes in and comes out is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from app.money import MICROS, cost_micros
from app.venue.interface import Side
from app.venue.matching.draw import draw, make_trade_id
from app.venue.matching.types import (
    BACKGROUND,
    Book,
    Event,
    Fate,
    Level,
    Order,
    OrderChanged,
    OrderEventType,
    OrderStatus,
    Part,
    Rules,
    Trade,
    TradeChanged,
)

Grant = Callable[[Order, int], int]


@dataclass(frozen=True, slots=True)
class Maker:
    """Something that rests: an account's order, or a background level by its index."""

    price_micros: int
    seq: int
    size_micros: int
    order: Order | None
    level: int = -1


@dataclass(frozen=True, slots=True)
class Incoming:
    """What takes: identity, side, worst price, size."""

    order_id: str
    account: str
    side: Side
    limit_micros: int
    size_micros: int
    spend_micros: int = 0
    """Above 0: bounded by what it spends instead of by its size (`Order.spend_micros`)."""


@dataclass(slots=True)
class _Appetite:
    """What a taker still wants."""

    size_micros: int
    purse_micros: int | None

    def at(self, price_micros: int) -> int:
        if self.purse_micros is None:
            return self.size_micros
        return self.purse_micros * MICROS // price_micros

    def took(self, size_micros: int, price_micros: int) -> None:
        self.size_micros -= size_micros
        if self.purse_micros is not None:
            self.purse_micros -= cost_micros(price_micros, size_micros)


def taker_fee_micros(rate_ppm: int, price_micros: int, size_micros: int, exponent: int = 1) -> int:
    """shares × rate × (p × (1 − p)) ^ exponent, takers only, floored to five decimals
    (docs/venue.md 10).
    """
    weight: int = (price_micros * (MICROS - price_micros)) ** exponent
    unit: int = MICROS ** (2 * exponent + 1)
    raw = size_micros * rate_ppm * weight // unit
    return raw // 10 * 10


class Work:
    """One operation under way."""

    def __init__(self, book: Book, rules: Rules, now_ms: int) -> None:
        self.rules = rules
        self.now_ms = max(now_ms, book.at_ms)
        self._book = book
        self.orders = {order.order_id: order for order in book.orders}
        self.levels = list(book.levels)
        self.trades = list(book.trades)
        self.shift = book.shift_micros
        self.seq = book.seq
        self.draws = book.draws
        self.events: list[Event] = []

    def done(self, *, tape_at_ms: int | None = None) -> Book:
        """The state after the operation."""
        return replace(
            self._book,
            levels=tuple(self.levels),
            orders=tuple(self.orders.values()),
            trades=tuple(trade for trade in self.trades if not trade.settled),
            shift_micros=self.shift,
            seq=self.seq,
            draws=self.draws,
            at_ms=self.now_ms,
            tape_at_ms=self._book.tape_at_ms if tape_at_ms is None else tape_at_ms,
        )

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def roll(self, below: int) -> int:
        self.draws += 1
        return draw(self._book.seed, self.draws - 1, below)

    def level_price(self, level: Level) -> int:
        return level.base_price_micros + self.shift

    def makers(self, side: Side, limit_micros: int, *, levels: bool = True) -> list[Maker]:
        """What rests against a taker of ``side`` at ``limit_micros`` or better: best price first,
        then first come.

        Matching against the complementary token belongs here.
        """
        sign = 1 if side is Side.BUY else -1
        found = [
            Maker(order.price_micros, order.seq, order.remaining_micros, order)
            for order in self.orders.values()
            if order.side is not side and sign * order.price_micros <= sign * limit_micros
        ]
        for i, level in enumerate(self.levels if levels else ()):
            price = self.level_price(level)
            inside = level.size_micros > 0 and 0 < price < MICROS
            if inside and level.side is not side and sign * price <= sign * limit_micros:
                found.append(Maker(price, level.seq, level.size_micros, None, i))
        found.sort(key=lambda maker: (sign * maker.price_micros, maker.seq))
        return found

    def cross(self, taker: Incoming, grant: Grant | None = None, *, levels: bool = True) -> int:
        """Match ``taker`` as far as it goes; returns the size matched.

        ``grant`` bounds what orders get from it.
        """
        want = _Appetite(taker.size_micros, taker.spend_micros or None)
        matched = 0
        resting = self.makers(taker.side, taker.limit_micros, levels=levels)
        for price, makers in groupby(resting, key=lambda maker: maker.price_micros):
            parts: list[Part] = []
            for maker in makers:
                size = min(want.at(price), maker.size_micros)
                if grant is not None and maker.order is not None:
                    size = max(0, min(size, grant(maker.order, size)))
                if size:
                    parts.append(self._take(maker, size))
                    want.took(size, price)
                    matched += size
            if parts:
                self._trade(taker, price, parts)
            if not want.at(price):
                break
        return matched

    def _take(self, maker: Maker, size: int) -> Part:
        if maker.order is None:
            level = self.levels[maker.level]
            self.levels[maker.level] = replace(level, size_micros=level.size_micros - size)
            return Part("", BACKGROUND, level.side, size, is_maker=True)
        matched = maker.order.matched_micros + size
        order = replace(maker.order, matched_micros=matched)
        if not order.remaining_micros:
            order = replace(order, status=OrderStatus.MATCHED)
            del self.orders[order.order_id]
        else:
            self.orders[order.order_id] = order
        self.events.append(OrderChanged(OrderEventType.UPDATE, order))
        return Part(order.order_id, order.account, order.side, size, is_maker=True)

    def _trade(self, taker: Incoming, price: int, makers: list[Part]) -> None:
        size = sum(part.size_micros for part in makers)
        ours = taker.account != BACKGROUND
        if not ours and all(part.account == BACKGROUND for part in makers):
            return  # the outside world trading with itself is nobody's fill
        fee = taker_fee_micros(self._book.fee_rate_ppm, price, size) if ours else 0
        part = Part(taker.order_id, taker.account, taker.side, size, is_maker=False, fee_micros=fee)
        trade = Trade(
            make_trade_id(self._book.seed, self._book.token_id, self.next_seq()),
            self._book.token_id,
            price,
            (part, *makers),
            self.now_ms,
            self._fate(),
            due_ms=self.now_ms + self.rules.mine_after_ms,
        )
        self.trades.append(trade)
        self.events.append(TradeChanged(trade))

    def _fate(self) -> Fate:
        pick = self.roll(1_000_000)
        if pick < self.rules.fail_ppm:
            return Fate.FAIL
        return Fate.RETRY if pick < self.rules.fail_ppm + self.rules.retry_ppm else Fate.CONFIRM
