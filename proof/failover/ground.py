"""What is traded on the cluster: schema, logins, an account, markets; and the venue beside it with its own store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from app.clock import Ports
from app.db.access import LOGIN_ROLES
from app.db.connect import open_connection, open_pool
from app.db.credentials import set_role_password
from app.db.embedded import Server
from app.db.migrate import upgrade
from app.ledger.calls import LedgerCalls
from app.markets.model import rows_of
from proof.failover.cluster import DATABASE, Cluster
from proof.failover.load import Level
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


@dataclass(frozen=True, slots=True)
class Addresses:
    """Stands where the demo has its embedded server: the logins' addresses, here of the cluster."""

    cluster: Cluster
    passwords: dict[str, str]

    def url(self, role: str | None = None) -> str:
        if role is None:
            return self.cluster.admin_url()
        return self.cluster.through_haproxy(role, self.passwords[role])

    def of_all_hosts(self, role: str) -> str:
        return self.cluster.of_all_hosts(role, self.passwords[role])


def cast_of(ports: Ports) -> Cast:
    """Markets of the sample, open until long after the campaign."""
    chosen = choose_markets(None, ports.clock)
    ends_ms = ports.clock.now_ms() + OPEN_MS
    markets = tuple(
        DemoMarket(replace(one.record, window_end_ms=ends_ms), WIDE)
        for one in chosen.markets[:MARKETS]
    )
    return replace(chosen, markets=markets)


async def furnish(cluster: Cluster, ports: Ports, seed: int) -> tuple[Stage, Addresses]:
    """Schema, logins, account, markets and limits on the cluster's primary."""
    roles = [PREFIX.role(role) for role in LOGIN_ROLES]
    addresses = Addresses(cluster, {role: f"{ports.rng.bits(128):032x}" for role in roles})
    admin = await open_connection(cluster.admin_url("postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await admin.close()
    await asyncio.get_running_loop().run_in_executor(
        None, lambda: upgrade(addresses.url(), prefix=PREFIX)
    )
    owner = await open_connection(addresses.url())
    try:
        for role in roles:
            await set_role_password(owner, role, addresses.passwords[role])
    finally:
        await owner.close()
    # The demo's stage asks its server for addresses and for nothing else.
    stage = Stage(cast("Server", addresses), cast_of(ports), seed, "polymarket")
    await _fill(stage)
    return stage, addresses


async def _fill(stage: Stage) -> None:
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
