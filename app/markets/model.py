"""What the ledger keeps about a market, and why it may not trade it.

A record is the border between the venue's loose JSON and the integers inside. Whatever trading
needs is either here, exact, or the market carries a reason for not being tradable: a guess about
a tick, a fee or an exchange contract costs money, a market left alone costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.money import MICROS

TICKS_MICROS: Final = frozenset({100_000, 10_000, 5_000, 2_500, 1_000, 100})
"""Ticks the venue's signer knows: 0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001 (docs/venue.md 3.5)."""

MAX_FEE_RATE_MICROS: Final = MICROS
"""A rate above 1 breaks the argument in `highest_fee_micros`; those seen are 0 to 0.07."""

MAX_FEE_EXPONENT: Final = 8
"""All exponents seen are 1; the bound keeps the powers small."""


class Reason(StrEnum):
    """Why a market is not tradable. Values never change; new ones may be added.

    A field of a wrong type gives ``BAD_FIELD:<name>`` instead (see `bad_field`).
    """

    NOT_BINARY = "NOT_BINARY"
    NO_TOKENS = "NO_TOKENS"
    OUTCOME_CONFLICT = "OUTCOME_CONFLICT"  # another market, or the order book, says otherwise
    PROTOCOL_MISMATCH = "PROTOCOL_MISMATCH"  # token ids outside the id space of the stated version
    NO_TICK = "NO_TICK"
    BAD_TICK = "BAD_TICK"
    NO_MIN_SIZE = "NO_MIN_SIZE"
    BAD_MIN_SIZE = "BAD_MIN_SIZE"
    NO_FEES = "NO_FEES"
    BAD_FEES = "BAD_FEES"
    NO_END_DATE = "NO_END_DATE"
    CLOSED = "CLOSED"
    CLOSED_UNKNOWN = "CLOSED_UNKNOWN"
    EVENT_CLOSED = "EVENT_CLOSED"
    RESOLVED = "RESOLVED"
    ARCHIVED = "ARCHIVED"
    NOT_ACTIVE = "NOT_ACTIVE"
    NOT_ACCEPTING = "NOT_ACCEPTING"
    NO_ORDERBOOK = "NO_ORDERBOOK"
    NEG_RISK_UNKNOWN = "NEG_RISK_UNKNOWN"
    NEG_RISK_CONFLICT = "NEG_RISK_CONFLICT"
    AUGMENTED_UNKNOWN = "AUGMENTED_UNKNOWN"
    PLACEHOLDER_OUTCOME = "PLACEHOLDER_OUTCOME"
    NO_CLOB_MARKET = "NO_CLOB_MARKET"  # the order book's own API knows no such market
    CLOB_UNREAD = "CLOB_UNREAD"  # it could not be asked: the terms rest on a cache alone
    CLOB_MISMATCH = "CLOB_MISMATCH"  # it answered with another market than the one asked for


def bad_field(name: str) -> str:
    """The reason for a field that is present and cannot be read."""
    return f"BAD_FIELD:{name}"


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """One side of a binary market. ``token_id`` is a uint256 as decimal text."""

    index: int
    label: str
    token_id: str


@dataclass(frozen=True, slots=True)
class MarketRecord:
    """One market as read. Money is in micros, instants are Unix milliseconds (UTC).

    ``outcomes`` has two members (index 0 and 1), or none where tokens or labels cannot be used.
    ``fee_rate_micros`` is the rate of ``shares x rate x (p(1-p))^exponent`` in millionths; None
    means that the fee is not known, which is never the same as zero. ``neg_risk`` is None when
    not known. ``window_start_ms`` is the start of an up/down window or of a match; None when
    there is none before the end. ``window_end_ms`` is the stated end, the time to be closed by,
    which is not the time of resolution. ``game_start_ms``: the venue cancels resting orders of
    sports markets then (docs/venue.md 3.4). ``group_key`` says which markets move together:
    ``tournament:<name>`` or else ``event:<id>``. ``raw_digest`` is the SHA-256 of the market
    object in canonical JSON, to see whether anything changed.
    """

    condition_id: str
    question_id: str | None
    slug: str | None
    question: str | None
    outcomes: tuple[OutcomeRecord, ...]
    tick_micros: int | None
    min_size_micros: int | None
    fees_enabled: bool | None
    fee_rate_micros: int | None
    fee_exponent: int | None
    fee_taker_only: bool
    neg_risk: bool | None
    neg_risk_augmented: bool
    protocol_version: str
    event_id: str | None
    event_slug: str | None
    event_title: str | None
    category: str | None
    tags: tuple[str, ...]
    group_key: str | None
    window_start_ms: int | None
    window_end_ms: int | None
    game_start_ms: int | None
    accepting_orders: bool
    active: bool
    closed: bool
    seconds_delay: int
    untradable_reasons: tuple[str, ...]
    raw_digest: str

    @property
    def tradable(self) -> bool:
        """Whether orders may be reserved on it. False exactly when there are reasons."""
        return not self.untradable_reasons

    def refused_for(self, reasons: Sequence[str]) -> MarketRecord:
        """The same market with these reasons added, each once."""
        return replace(
            self, untradable_reasons=tuple(dict.fromkeys((*self.untradable_reasons, *reasons)))
        )

    def to_row(self) -> dict[str, object]:
        """The record as one element of the array that the import function of the database takes.

        Keys (JSON types; ``?`` may be null, and none of those marked ``!`` is null when
        ``tradable``):

        - ``condition_id`` text, ``0x`` and 64 lower-case hex digits
        - ``question_id?``, ``slug?``, ``question?`` text
        - ``outcomes`` array of ``{"index": 0|1, "label": text, "token_id": text}``; two or none
        - ``tick_micros?!``, ``min_size_micros?!`` integer, micros
        - ``fees_enabled?`` boolean, ``fee_rate_micros?!`` integer (millionths),
          ``fee_exponent?!`` integer,
          ``fee_taker_only`` boolean
        - ``neg_risk?!`` boolean, ``neg_risk_augmented`` boolean, ``protocol_version`` ``"v1"`` or
          ``"v2"``
        - ``event_id?``, ``event_slug?``, ``event_title?``, ``category?``, ``group_key?`` text
        - ``tags`` array of text
        - ``window_start_ms?``, ``window_end_ms?!``, ``game_start_ms?`` integer, Unix milliseconds;
          start is before end where both are present
        - ``accepting_orders``, ``active``, ``closed`` boolean (not known reads as the closed side)
        - ``seconds_delay`` integer, seconds a marketable order is held by the venue
        - ``tradable`` boolean, ``untradable_reasons`` array of text, empty exactly when tradable
        - ``raw_digest`` text, 64 hex digits
        """
        return {
            "condition_id": self.condition_id,
            "question_id": self.question_id,
            "slug": self.slug,
            "question": self.question,
            "outcomes": [
                {"index": o.index, "label": o.label, "token_id": o.token_id} for o in self.outcomes
            ],
            "tick_micros": self.tick_micros,
            "min_size_micros": self.min_size_micros,
            "fees_enabled": self.fees_enabled,
            "fee_rate_micros": self.fee_rate_micros,
            "fee_exponent": self.fee_exponent,
            "fee_taker_only": self.fee_taker_only,
            "neg_risk": self.neg_risk,
            "neg_risk_augmented": self.neg_risk_augmented,
            "protocol_version": self.protocol_version,
            "event_id": self.event_id,
            "event_slug": self.event_slug,
            "event_title": self.event_title,
            "category": self.category,
            "tags": list(self.tags),
            "group_key": self.group_key,
            "window_start_ms": self.window_start_ms,
            "window_end_ms": self.window_end_ms,
            "game_start_ms": self.game_start_ms,
            "accepting_orders": self.accepting_orders,
            "active": self.active,
            "closed": self.closed,
            "seconds_delay": self.seconds_delay,
            "tradable": self.tradable,
            "untradable_reasons": list(self.untradable_reasons),
            "raw_digest": self.raw_digest,
        }


def rows_of(markets: Sequence[MarketRecord]) -> list[dict[str, object]]:
    """The records as rows, sorted by condition id: two imports at once lock in the same order."""
    return [m.to_row() for m in sorted(markets, key=lambda m: m.condition_id)]


def highest_fee_micros(*, price: int, shares: int, rate_micros: int, exponent: int) -> int:
    """The fee a BUY of ``shares`` at limit ``price`` must hold, rounded up to a whole micro.

    fee = shares x rate x (p(1-p))^exponent (docs/venue.md 10). At a better price q the fee alone
    may be higher, since p(1-p) peaks at one half, but q + fee(q) never decreases in q for a rate
    of at most 1. So price x size plus this fee covers the order wherever it fills, and only the
    two *together* do. Builder fees come on top and are not in here.
    """
    variance = price * (MICROS - price)
    numerator: int = shares * rate_micros * variance**exponent
    denominator: int = MICROS * (MICROS * MICROS) ** exponent
    return -(-numerator // denominator)
