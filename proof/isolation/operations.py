"""What a history consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHARE = 1_000_000


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one session, with the nanoseconds of one monotonic clock before it was sent and after its answer.

    It took effect at some moment between the two. ``kind``: reserve, cancel, fill, end, totals; or halt, resume, limit,
    which are controls: they have ``scope`` and ``value`` instead of an order.
    """

    session: int
    kind: str
    account: str
    arguments: Mapping[str, Any]
    begin: int
    end: int
    answer: Any

    def said(self) -> str:
        wanted = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"[{self.begin}..{self.end}] session {self.session} {self.kind}({wanted}) -> {self.answer}"


CONTROLS = ("halt", "resume", "limit")


@dataclass(frozen=True, slots=True)
class Terms:
    """An order as it was admitted."""

    account: str
    market: str
    outcome: int
    side: str
    price: int
    size: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """How an account's part of a history starts: what it owns, its live orders, and the limits in force."""

    account: str
    collateral: int
    tokens: Mapping[tuple[str, int], int]
    live: Mapping[int, Terms]
    limits: Mapping[tuple[str, str], int]
    """By name of the limit and market (or account, for those of totals)."""


@dataclass(slots=True)
class History:
    """Everything that one seed did."""

    seed: int
    beginnings: dict[str, Beginning] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def of(self, account: str) -> list[Operation]:
        """What is the account's, and halts of its markets, whoever asked for them."""
        mine = {account, *(market for market, _ in self.beginnings[account].tokens)}
        return [
            one
            for one in self.operations
            if one.account == account
            or (one.kind in ("halt", "resume") and one.arguments["scope"] in mine)
        ]
