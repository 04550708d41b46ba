"""The words of the matching core: books, orders, trades, what happened, what is answered.

Everything is frozen and made of integers and text, so that a state can be stored, compared and
replayed. Prices, sizes and fees are in micros (1e-6), times in Unix milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.venue.interface import OrderType, Side, TradeStatus

BACKGROUND: Final = ""
"""Account of the outside liquidity: book levels and the tape. Never an account of ours."""


class OrderStatus(StrEnum):
    """Raw venue statuses (docs/venue.md 5.1).

    INVALID: the engine saw the order and refused or killed it.
    """

    LIVE = "LIVE"
    MATCHED = "MATCHED"
    CANCELED = "CANCELED"
    EXPIRED = "CANCELED_EXPIRED_ORDER"
    INVALID = "INVALID"


class Fate(StrEnum):
    """What settlement will make of a trade; drawn when it is matched, shown only as it happens."""

    CONFIRM = "CONFIRM"
    RETRY = "RETRY"
    FAIL = "FAIL"


class OrderEventType(StrEnum):
    """docs/venue.md 6.2."""

    PLACEMENT = "PLACEMENT"
    UPDATE = "UPDATE"
    CANCELLATION = "CANCELLATION"


@dataclass(frozen=True, slots=True)
class Order:
    """One order of one account. ``seq`` is its place in the queue, given by the book at arrival."""

    order_id: str
    account: str
    token_id: str
    side: Side
    price_micros: int
    size_micros: int
    order_type: OrderType = OrderType.GTC
    post_only: bool = False
    expiration_ms: int = 0
    """As stated in the order, 0 for none. The venue stops the order a margin earlier (`Rules`)."""
    matched_micros: int = 0
    status: OrderStatus = OrderStatus.LIVE
    seq: int = 0
    received_at_ms: int = 0
    spend_micros: int = 0
    """A market BUY spends this much collateral, its maker amount: at better prices than its own it
    gets more than ``size_micros``. 0: the size is what bounds it. Only for FOK and FAK.
    """

    @property
    def remaining_micros(self) -> int:
        return self.size_micros - self.matched_micros


@dataclass(frozen=True, slots=True)
class Level:
    """Outside liquidity.

    Its price is ``base_price_micros`` plus the book's shift; the tape refills it to its base size.
    """

    side: Side
    base_price_micros: int
    base_size_micros: int
    size_micros: int
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One order's share of a trade.

    Parts of `BACKGROUND` are kept so that both sides always add up.
    """

    order_id: str
    account: str
    side: Side
    size_micros: int
    is_maker: bool
    fee_micros: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """One taker against one price: several makers may share its id (docs/venue.md 6.3), so (trade,
    order) is the key.
    """

    trade_id: str
    token_id: str
    price_micros: int
    parts: tuple[Part, ...]
    matched_at_ms: int
    fate: Fate
    status: TradeStatus = TradeStatus.MATCHED
    due_ms: int = 0
    """When settlement takes its next step. Meaningless once CONFIRMED or FAILED."""

    @property
    def settled(self) -> bool:
        return self.status in (TradeStatus.CONFIRMED, TradeStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Rules:
    """How this venue behaves, apart from each market's own numbers."""

    size_step_micros: int = 10_000
    """Resting orders have sizes of two decimals (docs/venue.md 3.5)."""
    gtd_margin_ms: int = 60_000
    """A GTD order is stopped this long before its stated expiration (docs/venue.md 3.4)."""
    gtd_lead_ms: int = 60_000
    """The stated expiration must be further ahead than this.

    The newest documentation asks for 180 s.
    """
    mine_after_ms: int = 2_000
    confirm_after_ms: int = 2_000
    fail_ppm: int = 0
    """Of a million trades, how many end FAILED (MATCHED, RETRYING, FAILED)."""
    retry_ppm: int = 0
    """Of a million trades, how many are tried twice (MATCHED, RETRYING, MINED, CONFIRMED)."""
    tape_every_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class Book:
    """Everything the core knows of one token.

    Matching with the complementary token would join two of these in a state of the market and let
    `Work.makers` offer the other book's same-side orders at one minus their price.
    """

    token_id: str
    condition_id: str
    tick_micros: int
    min_size_micros: int
    seed: int
    fee_rate_ppm: int = 0
    levels: tuple[Level, ...] = ()
    shift_micros: int = 0
    orders: tuple[Order, ...] = ()
    """Live orders of accounts only."""
    trades: tuple[Trade, ...] = ()
    """Trades on their way to settlement only."""
    seq: int = 0
    draws: int = 0
    at_ms: int = 0
    """The latest time this book has seen.

    Callers' clocks may disagree; the book's never goes back.
    """
    tape_at_ms: int = 0
    open: bool = True


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order has a new state; ``order`` is all of it."""

    type: OrderEventType
    order: Order


@dataclass(frozen=True, slots=True)
class TradeChanged:
    """A trade was matched or took a step of its settlement."""

    trade: Trade


Event = OrderChanged | TradeChanged


class AnswerKind(StrEnum):
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    DUPLICATED = "DUPLICATED"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told.

    ``burns_id``: the engine has processed this id, for good: the same bytes are Duplicated from
    now on, whatever became of the order. Early refusals leave it False (docs/venue.md 2.5).
    """

    kind: AnswerKind
    status: str = ""
    code: str = ""
    text: str = ""
    burns_id: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new state, what happened on the way, and the answer (None for a step of time)."""

    book: Book
    events: tuple[Event, ...] = ()
    answer: Answer | None = None
