"""What the exchange remembers of each order and trade, and what it tells others when one changes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from app.venue.interface import OrderType
from app.venue.matching import Order, OrderStatus, Trade


@dataclass(slots=True)
class OrderRecord:
    """One order for good: the core forgets what has ended, an auditor must not."""

    order: Order
    owner: str
    """The API key that posted it."""
    maker: str
    condition_id: str
    outcome: str
    body: str
    expiration_s: int
    created_ms: int
    status: str = ""
    """The venue's raw text."""
    due_ms: int = 0
    """While DELAYED: when matching is tried."""
    trades: list[str] = field(default_factory=list)
    history: list[tuple[int, str, int]] = field(default_factory=list)
    """Each change: when, the raw text from then on, and how much is matched. For auditors alone."""

    @property
    def live(self) -> bool:
        return self.status in ("LIVE", "DELAYED")


@dataclass(slots=True)
class TradeRecord:
    """One trade with its settlement. ``mint``: the taker bought (or sold) the other token."""

    trade: Trade
    condition_id: str
    mint: bool
    updated_ms: int

    @property
    def transaction_hash(self) -> str:
        """Empty until the trade is mined; another one after a retry."""
        if self.trade.status not in ("MINED", "CONFIRMED"):
            return ""
        return "0x" + hashlib.sha256(f"tx|{self.trade.trade_id}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class UserFrame:
    """For the user channel of one account."""

    account: str
    condition_id: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BookTouched:
    """A book may look different now. The market channel compares for itself."""

    token_id: str


@dataclass(frozen=True, slots=True)
class MarketFrame:
    """For the market channel. ``custom``: only for those who asked for the custom features."""

    condition_id: str
    token_id: str
    """Empty: for subscribers of any token of the market, or of all where it is new."""
    payload: dict[str, Any]
    custom: bool = False


Happening = UserFrame | BookTouched | MarketFrame


def raw_status(order: Order) -> str:
    """The venue reports the filled part of a FAK as MATCHED although the rest was cancelled."""
    partly = order.status is OrderStatus.CANCELED and order.matched_micros > 0
    if partly and order.order_type in (OrderType.FAK, OrderType.FOK):
        return "MATCHED"
    return order.status.value
