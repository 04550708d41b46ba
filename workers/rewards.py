"""Rewards in the periodic comparison: read from the venue day by day, stored, and held against their allocations.

They say what was paid for resting orders and to whose strategy it counts. The money itself is on the wallet, where
the comparison of holdings sees it. So nothing here holds up trading: a start does not read them, and what cannot
be read makes a comparison incomplete and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.reconcile.compare import Difference
from app.venue.interface import Unread
from app.venue.polymarket.rewards import read_rewards
from app.venue.polymarket.venue import PolymarketVenue
from app.venue.polymarket.wire import Endpoint, Exchange
from workers.statements import statement
from workers.worker.context import Context

CURSOR: Final = "rewards"
AGAIN_DAYS: Final = 2
"""The last days that are over are read each time: the venue corrects them."""

MOST_DAYS: Final = 14
"""Of one comparison: a ledger that was away for long catches up in several."""

_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RewardsSeen:
    """``unread``: which day could not be had, and why; the days before it are stored."""

    differences: tuple[Difference, ...] = ()
    unread: str = ""


async def look_at_rewards(context: Context, account: str) -> RewardsSeen:
    """Read what is new or may have changed, store it, and say what is over-allocated."""
    unread = ""
    if isinstance(context.venue, PolymarketVenue) and context.settings.rewards:
        unread = await _read(context, context.venue, account)
    rows = await context.calls.rows(statement("over_allocated"), account)
    differences = tuple(
        Difference(
            "reward_over_allocated",
            row["reward_key"],
            str(row["allocated_micros"]),
            str(row["amount_micros"]),
        )
        for row in rows
    )
    return RewardsSeen(differences, unread)


async def _read(context: Context, venue: PolymarketVenue, account: str) -> str:
    key = context.host.key(account)
    if key is None:
        return "rewards: this process has no key for the account"

    async def ask(endpoint: Endpoint, query: Mapping[str, str]) -> Exchange:
        return await venue.ask(account, endpoint, query=query)

    first, last = await _days(context, account)
    for number in range(first, min(last, first + MOST_DAYS - 1) + 1):
        day = (_EPOCH + timedelta(days=number)).date().isoformat()
        seen = await read_rewards(ask, day, maker=key.maker, signature_type=int(key.signature_type))
        if isinstance(seen, Unread):
            return seen.reason
        if seen.value:
            stored = await context.calls.value(
                "record_rewards", account, [one.to_json() for one in seen.value]
            )
            if stored:
                context.named("rewards").info(
                    "REWARDS_STORED", account=account, day=day, new=stored
                )
        await context.calls.value("move_cursor", account, CURSOR, number)
    return ""


async def _days(context: Context, account: str) -> tuple[int, int]:
    """The first and the last day to read, as days since 1970; none where the first is behind the last.

    What a wallet earned before its account was opened here belongs to no strategy of ours.
    """
    [row] = await context.calls.rows(statement("rewards_from"), account)
    yesterday = context.ports.clock.now_ms() // _DAY_MS - 1
    again = min(row["read_to"] + 1, yesterday - AGAIN_DAYS + 1)
    return max(row["opened"], again), yesterday
