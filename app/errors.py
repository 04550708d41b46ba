"""Errors that help: what was wrong, what was not done, what to do next, and a code that stays the same.

A *refusal* (a cap, a halt, a limiter) is an answer and not an exception inside the system: it travels as
a value with a `Code`. It becomes an exception only where a caller asked for one order and wants to
be told loudly.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Stable codes of refusals and errors. Values never change; new ones may be added.

    The comment behind each group says where the code is decided.
    """

    # bad input: decided at the border or first thing in the SQL function; nothing was written
    BAD_REQUEST = "BAD_REQUEST"
    BAD_NUMBER = "BAD_NUMBER"
    BAD_PRICE = "BAD_PRICE"
    OFF_TICK = "OFF_TICK"
    BAD_SIZE = "BAD_SIZE"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    BAD_KEY = "BAD_KEY"
    BAD_VALIDITY = "BAD_VALIDITY"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_MARKET = "UNKNOWN_MARKET"
    UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    UNKNOWN_ROLE = "UNKNOWN_ROLE"
    NOT_TRADABLE = "NOT_TRADABLE"
    TAKER_BUY_UNBOUNDED = "TAKER_BUY_UNBOUNDED"
    NOT_GRANTED = "NOT_GRANTED"
    OVER_ALLOCATED = "OVER_ALLOCATED"

    # refusals of an intent: decided in ledger.reserve_pending under the market's lock
    KEY_REUSED = "KEY_REUSED"
    HALTED = "HALTED"
    SUSPENDED = "SUSPENDED"
    CAP_OUTCOME = "CAP_OUTCOME"
    CAP_MARKET = "CAP_MARKET"
    BURST_GAP = "BURST_GAP"
    BURST_MINUTE = "BURST_MINUTE"
    INSUFFICIENT_COLLATERAL = "INSUFFICIENT_COLLATERAL"
    INSUFFICIENT_TOKENS = "INSUFFICIENT_TOKENS"
    LOCKED = "LOCKED"
    MUTEX_LOST = "MUTEX_LOST"
    BUSY = "BUSY"
    DEFERRED = "DEFERRED"

    # refusals by risk: decided in the same call, under the same locks (docs/risk.md)
    ORDER_SIZE = "ORDER_SIZE"
    ORDER_COST = "ORDER_COST"
    OPEN_ORDERS = "OPEN_ORDERS"
    IMBALANCE = "IMBALANCE"
    COOLDOWN = "COOLDOWN"
    CHANGES_MINUTE = "CHANGES_MINUTE"
    COLLAR = "COLLAR"
    SLIPPAGE = "SLIPPAGE"
    NO_BOOK = "NO_BOOK"
    WOULD_CROSS = "WOULD_CROSS"
    SELF_MATCH = "SELF_MATCH"
    DUPLICATE = "DUPLICATE"
    TOO_EARLY = "TOO_EARLY"
    TOO_LATE = "TOO_LATE"
    WEEKEND = "WEEKEND"
    BREAKER = "BREAKER"
    DRAWDOWN = "DRAWDOWN"
    CAP_MARKET_COST = "CAP_MARKET_COST"
    CAP_ACCOUNT = "CAP_ACCOUNT"
    CAP_GROUP = "CAP_GROUP"
    CAP_GLOBAL = "CAP_GLOBAL"
    CAP_LIVE = "CAP_LIVE"

    # refusals of the send path: decided in ledger.open_attempt and its neighbours
    EXPIRED = "EXPIRED"
    CANCEL_ASKED = "CANCEL_ASKED"
    STALE_ATTEMPT = "STALE_ATTEMPT"
    ILLEGAL_TRANSITION = "ILLEGAL_TRANSITION"
    NOT_PROVEN = "NOT_PROVEN"
    ALREADY_ENDED = "ALREADY_ENDED"
    ID_MISMATCH = "ID_MISMATCH"
    VENUE_MODE = "VENUE_MODE"

    # the surroundings
    ISOLATION = "ISOLATION"
    DATABASE_UNREACHABLE = "DATABASE_UNREACHABLE"
    DATABASE_BUSY = "DATABASE_BUSY"
    DATABASE_DAMAGED = "DATABASE_DAMAGED"
    DATABASE_NOT_OURS = "DATABASE_NOT_OURS"
    DATABASE_PRIVILEGE = "DATABASE_PRIVILEGE"
    SCHEMA_MISSING = "SCHEMA_MISSING"
    SCHEMA_OLD = "SCHEMA_OLD"
    SCHEMA_NEW = "SCHEMA_NEW"
    MIGRATION_FAILED = "MIGRATION_FAILED"
    DOWNGRADE_REFUSED = "DOWNGRADE_REFUSED"
    NOT_DURABLE = "NOT_DURABLE"
    BAD_FILE = "BAD_FILE"
    BAD_SETTING = "BAD_SETTING"
    LIVE_NOT_ALLOWED = "LIVE_NOT_ALLOWED"
    SIGNING_FAILED = "SIGNING_FAILED"
    STALE_VERSION = "STALE_VERSION"


class LedgerError(Exception):
    """Base of all errors a user meets."""

    def __init__(self, code: Code, wrong: str, *, not_done: str = "", next_step: str = "") -> None:
        super().__init__(wrong)
        self.code = code
        self.wrong = wrong
        self.not_done = not_done
        self.next_step = next_step

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.wrong}"]
        if self.not_done:
            parts.append(f"Not done: {self.not_done}")
        if self.next_step:
            parts.append(f"Next: {self.next_step}")
        return " | ".join(parts)


class BadInput(LedgerError):
    """Input that cannot be understood or is outside what trades. Nothing was written."""


class Refused(LedgerError):
    """A well-formed request that the ledger refused. Nothing was reserved and nothing was sent."""


class DatabaseProblem(LedgerError):
    """The database cannot be reached, is not ours, is damaged, or its schema does not fit this release."""
