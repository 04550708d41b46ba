"""What the venue paid an account for resting orders, day by day: liquidity rewards and maker rebates.

``GET /rewards/user`` and ``GET /rebates/current`` as the venue's API reference documents them. Three-valued like
every read: a day is read whole, both lists to their ends, or not at all. Only days that are over are final, and
even those are corrected by the venue, so whoever asks looks at the last ones again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.money import MICROS
from app.venue.interface import Found, Unread
from app.venue.polymarket.answers import Page, Unreadable, read_rewards_page
from app.venue.polymarket.answers.border import Fields, document
from app.venue.polymarket.paging import read_all_rows
from app.venue.polymarket.wire import Endpoint, Exchange

Ask = Callable[[Endpoint, Mapping[str, str]], Awaitable[Exchange]]
"""A signed request of the account by its query."""

_CONDITION: Final = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_MOST_DIGITS: Final = 12
"""Of whole units: more was never paid."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What one kind of payment came to for one market and day."""

    kind: str
    """``liquidity`` or ``rebate``."""
    day: str
    condition_id: str
    asset: str
    """Address of the token it is paid in; the amount is in its millionths."""
    amount_micros: int
    told: tuple[str, ...]
    """The amounts as the venue wrote them: it counts in more digits than it pays."""

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.day}:{self.condition_id}:{self.asset}"

    def to_json(self) -> dict[str, Any]:
        """As `ledger.record_rewards` takes it."""
        detail = {"kind": self.kind, "asset": self.asset, "told": list(self.told)}
        return {
            "reward_key": self.key,
            "condition_id": self.condition_id,
            "earned_on": self.day,
            "amount_micros": self.amount_micros,
            "detail": detail,
        }


@dataclass(frozen=True, slots=True)
class _Row:
    condition_id: str
    asset: str
    told: str


async def read_rewards(
    ask: Ask, day: str, *, maker: str, signature_type: int
) -> Found[list[Reward]] | Unread:
    """Everything paid for ``day`` (``YYYY-MM-DD``, UTC)."""

    async def page(cursor: str) -> Page[_Row] | Unread:
        query = {"date": day, "signature_type": str(signature_type), "next_cursor": cursor}
        exchange = await ask(Endpoint.GET_REWARDS, query)
        return read_rewards_page(exchange, lambda value: _row(value, day, "earnings"))

    earned = await read_all_rows(page)
    if isinstance(earned, Unread):
        return Unread(f"rewards of {day}: {earned.reason}")
    exchange = await ask(Endpoint.GET_REBATES, {"date": day, "maker_address": maker})
    try:
        rebates = [_row(one, day, "rebated_fees_usdc", maker) for one in _list(document(exchange))]
    except Unreadable as error:
        return Unread(f"rebates of {day}: {error}")
    return Found([*_summed("liquidity", day, earned.value), *_summed("rebate", day, rebates)])


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Unreadable("no list was answered")
    return value


def _row(value: object, day: str, amount: str, maker: str | None = None) -> _Row:
    """One row; of another day or another maker it is an answer to another question."""
    row = Fields(value, "reward")
    if row.text("date")[:10] != day:
        raise Unreadable(f"a row of {row.text('date')[:40]} was answered")
    if maker is not None and row.text("maker_address").lower() != maker.lower():
        raise Unreadable("a row of another maker was answered")
    condition, asset = row.text("condition_id").lower(), row.text("asset_address").lower()
    if not _CONDITION.fullmatch(condition) or not _ADDRESS.fullmatch(asset):
        raise Unreadable("a row names no market or no asset")
    told = row.decimal(amount)
    if told.startswith("-") or len(told.partition(".")[0]) > _MOST_DIGITS:
        raise Unreadable(f"{amount} is no amount: {told[:40]}")
    return _Row(condition, asset, told)


def _summed(kind: str, day: str, rows: Iterable[_Row]) -> list[Reward]:
    """One reward for each market and asset. Cut to millionths: the venue pays no part of one."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.condition_id, row.asset), []).append(row.told)
    return [
        Reward(kind, day, condition, asset, sum(map(_cut, told)), tuple(told))
        for (condition, asset), told in sorted(found.items())
    ]


def _cut(told: str) -> int:
    whole, _, fraction = told.partition(".")
    return int(whole) * MICROS + int(fraction[:6].ljust(6, "0"))
