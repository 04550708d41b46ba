"""What the parts trade that run the real thing: markets that stay open, one account, limits that refuse nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.clock import Ports
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from app.markets.model import rows_of
from proof.live.load import Level
from workers.demo.script import Ground
from workers.demo.stage import (
    MAIN,
    PREFIX,
    QUARANTINE_MS,
    Cast,
    DemoMarket,
    Limits,
    Stage,
    choose_markets,
)

MARKETS: Final = 12
OPEN_MS: Final = 12 * 3_600_000
"""Longer than any campaign: what a closing market does is tried elsewhere."""

WIDE: Final = Limits(10**13, 2 * 10**13, 600, 0)
"""Nothing of this campaign is to be stopped by a limit: a refusal would look like a service that is there."""

MOST_COST: Final = 10**15
PATIENT_MS: Final = 600_000
"""A venue on the same busy machine may answer slowly; that breaker is tried elsewhere."""


def cast_of(ports: Ports) -> Cast:
    """Markets of the sample, open until long after the campaign."""
    chosen = choose_markets(None, ports.clock)
    ends_ms = ports.clock.now_ms() + OPEN_MS
    markets = tuple(
        DemoMarket(replace(one.record, window_end_ms=ends_ms), WIDE)
        for one in chosen.markets[:MARKETS]
    )
    return replace(chosen, markets=markets)


async def fill(stage: Stage) -> None:
    """Markets, the account with its collateral, and the limits: on a ledger that has schema and logins."""
    pool = await open_pool(stage.owner_url, role_hint="proof", max_size=2)
    calls = LedgerCalls(pool)
    collateral = int(stage.collateral) * 1_000_000
    try:
        await calls.value("import_markets", rows_of([one.record for one in stage.cast.markets]))
        await calls.value("open_account", MAIN, stage.venue, None, None, 0, QUARANTINE_MS)
        await calls.value(
            "book_movement", MAIN, "collateral", collateral, "opening", "opening", "for the proof"
        )
        await calls.value("grant_account", MAIN, PREFIX.role("trader"))
        why = "nothing is to be refused"
        for name, value in (
            ("slow_ms", PATIENT_MS),
            ("stop_ms", PATIENT_MS),
            ("max_outcome_micros", WIDE.outcome_micros),
            ("max_market_micros", WIDE.market_micros),
            ("burst_per_minute", WIDE.per_minute),
            ("burst_gap_ms", WIDE.gap_ms),
        ):
            await calls.value("set_limit", None, None, name, str(value), why)
        await calls.value("set_total_limit", "live", "", "max_cost_micros", str(MOST_COST), why)
    finally:
        pool.terminate()


def levels_of(grounds: Sequence[Ground]) -> tuple[Level, ...]:
    """What the writers trade, from the venue's books as they stood at the beginning. Of each market one outcome: bids
    on both may be matched with each other, and that would be trading with oneself.
    """
    levels = []
    for place, ground in enumerate(grounds):
        outcome = place // 2 % 2
        levels.append(
            Level(
                ground.market.condition_id,
                outcome,
                ground.bids[outcome],
                ground.asks[outcome],
                ground.market.tick_micros,
                ground.market.min_size_micros,
            )
        )
    return tuple(levels)
