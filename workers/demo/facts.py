"""What the judgement knows, as values: what writers were told, the venue's book, the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.venue.paper import PaperOrder
from workers.demo.exposure import Cap, VenueMoment
from workers.demo.records import Answer, Ask


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order as the ledger has it. ``at_venue``: the state says that the venue has or had it."""

    order_id: int
    account: str
    key: str
    state: str
    cause: str
    venue_order_id: str
    salt: str
    token_id: str
    side: str
    size_micros: int
    matched_micros: int
    state_at_ms: int
    ended: bool
    at_venue: bool


@dataclass(frozen=True, slots=True)
class Trade:
    """One order's part of a trade, as the venue or as the ledger has it."""

    trade_id: str
    venue_order_id: str
    size_micros: int
    price_micros: int
    status: str
    """confirmed, failed; anything else is not final."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the judgement knows."""

    keys: tuple[str, ...]
    asks: tuple[Ask, ...]
    answers: tuple[Answer, ...]
    orders: tuple[OrderRow, ...]
    fills: tuple[Trade, ...]
    book: tuple[PaperOrder, ...]
    trades: tuple[Trade, ...]
    moments: tuple[VenueMoment, ...]
    caps: Mapping[tuple[str, str], Cap]
    tokens: Mapping[str, tuple[str, str]]
    """Token to (condition id, outcome)."""
    audit_ok: bool
    reconciled: str
    arrivals: Mapping[str, str] = field(default_factory=dict)
    """Every order id of which the venue ever got a copy, taken or not, where it counts them."""
    unsettled: Mapping[str, int] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """``kind``: doubled, lost, over a cap, audit, reconcile, unsettled, or unexpected."""

    kind: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"
