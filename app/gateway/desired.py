"""The set of orders wanted for a market against the set that stands: what to keep, cancel and
post.

Pure: no clock, no database. What stands counts with what remains of it, so that a partly filled
order keeps its place in the queue. Nothing is replaced in place: an order of another price or size
is cancelled and the new one posted beside it. Two live orders are two holds; a post that only fits
once the cancel is proven is refused now and posted by the next tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from app.errors import BadInput, Code
from app.ledger.answers import OrderView
from app.ledger.intents import Intent, OrderClass, OrderType, Side, micros_of
from app.money import MICROS, format_micros

STEP: Final = 10_000
"""Sizes go in hundredths of a share; fills need not."""

Level: TypeAlias = tuple[str, str, str, int, str, bool]
"""Class, outcome, side, price, order type, post-only: orders alike in all of it are one amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredOrder:
    """One resting order that is wanted. ``outcome`` is ``"0"``, ``"1"``, a token id, or a label.

    ``price_micros`` is collateral per share, ``size_micros`` shares that are to stand, both in
    1e-6. The expiry of a GTD order is given to a new one; one that stands is kept whatever its own.
    """

    outcome: str
    side: Side
    price_micros: int
    size_micros: int
    order_type: OrderType = "GTC"
    post_only: bool = False
    expires_at_s: int = 0
    order_class: OrderClass = "entry"

    @classmethod
    def of(cls, *, outcome: str, side: Side, price: str, size: str, **options: Any) -> DesiredOrder:
        """From decimal text, ``price="0.45", size="10"``; ``options`` are the other fields.

        Raises `BadInput` with ``BAD_NUMBER``.
        """
        return cls(
            outcome=outcome,
            side=side,
            price_micros=micros_of(price, "price"),
            size_micros=micros_of(size, "size"),
            **options,
        )

    def intent(self, market: str, revision: str, *, origin: str, strategy: str) -> Intent:
        """The intent that posts it. Its key follows from the revision and the level alone, not from
        the size: what lacks depends on what was filled meanwhile, and a revision that is applied
        again, after a crash or in doubt, must not buy that a second time.
        """
        words = (
            revision,
            self.order_class,
            self.outcome.casefold(),
            self.side,
            self.price_micros,
            self.order_type,
            "post-only" if self.post_only else "",
        )
        return Intent(
            market=market,
            outcome=self.outcome,
            side=self.side,
            price_micros=self.price_micros,
            size_micros=self.size_micros,
            key=":".join(map(str, words)).rstrip(":"),
            order_type=self.order_type,
            post_only=self.post_only,
            expires_at_s=self.expires_at_s,
            order_class=self.order_class,
            origin=origin,
            strategy=strategy,
            set_id=1,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: first the cancels, then the posts, in the order in which they were wanted."""

    keep: tuple[OrderView, ...]
    cancel: tuple[OrderView, ...]
    post: tuple[DesiredOrder, ...]


def diff(
    desired: Sequence[DesiredOrder],
    standing: Iterable[OrderView],
    *,
    tick_micros: int,
    min_size_micros: int = 0,
    classes: Sequence[str] = ("entry",),
) -> Plan:
    """Compare. Of each level the oldest orders are kept as far as they fit; what lacks is posted.

    Orders of other ``classes`` are left alone, and so are those already being cancelled. A lack
    smaller than ``min_size_micros`` is not posted, nor what an odd fill left of a hundredth of a share,
    the step of sizes. Raises `BadInput` for a wanted order that
    cannot rest (``OFF_TICK``, ``BAD_PRICE``, ``BAD_SIZE``, ``UNKNOWN_OUTCOME``, ``BAD_REQUEST``);
    the set is refused as a whole.
    """
    _check(desired, tick_micros, classes)
    live = sorted(
        (view for view in standing if view.order_class in classes and not view.cancel_asked),
        key=lambda view: view.order_id,
    )
    names = _names(live)
    wanted: dict[Level, int] = {}
    first: dict[Level, DesiredOrder] = {}
    for order in desired:
        level = _level_of(order, names)
        wanted[level] = wanted.get(level, 0) + order.size_micros
        first.setdefault(level, order)
    keep: list[OrderView] = []
    cancel: list[OrderView] = []
    begun: set[Level] = set()
    for view in live:
        level = _level_standing(view)
        if view.remaining_micros <= wanted.get(level, -1):
            wanted[level] -= view.remaining_micros
            begun.add(level)
            keep.append(view)
        else:
            cancel.append(view)
    lacks = {
        level: lack - lack % STEP if level in begun else lack for level, lack in wanted.items()
    }
    post = (
        replace(first[level], size_micros=lack)
        for level, lack in lacks.items()
        if lack > 0 and lack >= min_size_micros
    )
    return Plan(tuple(keep), tuple(cancel), tuple(post))


def is_level_of(order: DesiredOrder, view: OrderView) -> bool:
    """Whether an order was made for the level at which this one is wanted."""
    return _level_of(order, _names([view])) == _level_standing(view)


def _level_of(order: DesiredOrder, names: dict[str, str]) -> Level:
    outcome = order.outcome.casefold()
    return (
        order.order_class,
        names.get(outcome, outcome),
        order.side,
        order.price_micros,
        order.order_type,
        order.post_only,
    )


def _level_standing(view: OrderView) -> Level:
    return (
        view.order_class,
        str(view.outcome),
        view.side,
        view.price_micros,
        view.order_type,
        view.post_only,
    )


def _names(live: Sequence[OrderView]) -> dict[str, str]:
    """Every name under which an outcome that has a standing order may be wanted, to its number."""
    names: dict[str, str] = {}
    for view in live:
        names[view.token_id] = str(view.outcome)
        names[view.outcome_label.casefold()] = str(view.outcome)
    # a market may call its outcomes "1" and "0": the ledger takes a number for the number
    return names | {"0": "0", "1": "1"}


def _check(desired: Sequence[DesiredOrder], tick_micros: int, classes: Sequence[str]) -> None:
    if tick_micros <= 0:
        raise _wrong(Code.BAD_REQUEST, f"a tick of {tick_micros} micros is none")
    for order in desired:
        if order.order_class not in classes:
            raise _wrong(Code.BAD_REQUEST, f"class {order.order_class} is not among those compared")
        if order.side not in ("BUY", "SELL"):
            raise _wrong(Code.BAD_REQUEST, f"side must be BUY or SELL, not {order.side!r}")
        if order.order_type not in ("GTC", "GTD"):
            raise _wrong(Code.BAD_REQUEST, f"a {order.order_type} order never stands")
        if order.price_micros % tick_micros:
            raise _wrong(
                Code.OFF_TICK, f"price {format_micros(order.price_micros)} is off the tick"
            )
        if not 0 < order.price_micros < MICROS:
            raise _wrong(Code.BAD_PRICE, f"price {format_micros(order.price_micros)} is no price")
        if order.size_micros <= 0:
            raise _wrong(Code.BAD_SIZE, f"size {format_micros(order.size_micros)} is not positive")


def _wrong(code: Code, wrong: str) -> BadInput:
    return BadInput(
        code,
        wrong,
        not_done="nothing was cancelled and nothing was posted",
        next_step="correct the set and give it again",
    )
