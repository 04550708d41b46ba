"""Rewards in the comparison: stored day by day, corrected, never more allocated than was paid without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, call
from tests.support.polymarket_rig import SIGNER, PolymarketRig, polymarket_rig
from workers.reconcile import Reconciler, ReconcileReport


def day(ago: int) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


@pytest.fixture(name="pm")
async def pm_fixture(database: TestDatabase, tmp_path: Path) -> AsyncIterator[PolymarketRig]:
    async with polymarket_rig(database, tmp_path) as rig:
        await rig.owner.execute("UPDATE ledger.account SET created_at = now() - interval '4 days'")
        yield rig


def pay(pm: PolymarketRig, ago: int, amount: str, **more: Any) -> None:
    pm.simulator.do(
        "reward",
        **{
            "address": SIGNER.address,
            "day": day(ago),
            "condition_id": pm.market.condition_id,
            "amount": amount,
        }
        | more,
    )


async def compare(pm: PolymarketRig, kind: Any = "once") -> ReconcileReport:
    async with pm.inside() as context:
        await context.host.prepare(to_trade=False)
        return await Reconciler(context, "main").run(kind, second_look=False)


async def rewards(pm: PolymarketRig) -> list[tuple[str, str, int]]:
    rows = await pm.owner.fetch(
        "SELECT split_part(reward_key, ':', 1) AS kind, earned_on::text, amount_micros "
        "FROM ledger.reward ORDER BY 2, 1"
    )
    return [tuple(row) for row in rows]


async def test_what_was_paid_since_the_account_was_opened_is_stored_once(
    pm: PolymarketRig,
) -> None:
    pay(pm, 6, "9")  # before it was opened here
    pay(pm, 3, "0.5")
    pay(pm, 1, "0.237519")
    pay(pm, 1, "1.25", kind="rebate")
    pay(pm, 0, "7")  # a day that is not over
    report = await compare(pm)
    assert (report.result, report.reason) == ("clean", "")
    wanted = [
        ("liquidity", day(3), 500_000),
        ("liquidity", day(1), 237_519),
        ("rebate", day(1), 1_250_000),
    ]
    assert await rewards(pm) == wanted
    recorded = await pm.owner.fetchval("SELECT max(recorded_at) FROM ledger.reward")
    assert (await compare(pm)).result == "clean"
    assert await rewards(pm) == wanted
    assert await pm.owner.fetchval("SELECT max(recorded_at) FROM ledger.reward") == recorded


async def test_a_correction_of_the_venue_is_followed_and_an_over_allocation_is_drift(
    pm: PolymarketRig,
) -> None:
    pay(pm, 1, "2")
    assert (await compare(pm)).result == "clean"
    [key] = [row["reward_key"] for row in await pm.owner.fetch("SELECT * FROM ledger.reward")]
    assert await call(pm.owner, "allocate_reward", "main", key, "maker", 2 * SHARE)
    pay(pm, 1, "1.5")
    report = await compare(pm)
    assert report.result == "drift"
    [one] = report.differences
    assert (one.kind, one.subject) == ("reward_over_allocated", key)
    assert (one.ours, one.theirs) == ("2000000", "1500000")
    [row] = await pm.owner.fetch("SELECT * FROM audit.drift WHERE kind = 'reward_over_allocated'")
    assert row["action"].startswith("nothing: a person")
    [row] = await pm.owner.fetch("SELECT * FROM audit.rewards")
    assert (row["over_allocated"], row["amount_micros"]) == (True, 1_500_000)
    # Nothing halts for it, and a person says the part again.
    assert await pm.owner.fetchval("SELECT count(*) FROM ledger.halt") == 0
    assert await call(pm.owner, "allocate_reward", "main", key, "maker", SHARE)
    assert (await compare(pm)).result == "clean"


async def test_a_day_that_cannot_be_read_makes_the_comparison_incomplete_and_is_read_later(
    pm: PolymarketRig,
) -> None:
    pay(pm, 1, "2")
    for endpoint in ("GET /rewards/user", "GET /rebates/current"):
        number = pm.simulator.fault("http_error", endpoint=endpoint, times=0)
        report = await compare(pm)
        assert (report.result, report.differences) == ("incomplete", ())
        assert report.reason.startswith(("rewards of", "rebates of"))
        assert await rewards(pm) == []
        pm.simulator.do("no_fault", number=number)
    assert (await compare(pm)).result == "clean"
    assert [row[2] for row in await rewards(pm)] == [2 * SHARE]


async def test_a_start_reads_no_rewards_and_so_waits_for_none(pm: PolymarketRig) -> None:
    pay(pm, 1, "2")
    pm.simulator.fault("http_error", endpoint="GET /rewards/user", times=0)
    assert (await compare(pm, "start")).result == "clean"
    assert await rewards(pm) == []


async def test_with_the_setting_off_nothing_is_asked(pm: PolymarketRig) -> None:
    pay(pm, 1, "2")
    async with pm.inside(rewards=False) as context:
        await context.host.prepare(to_trade=False)
        report = await Reconciler(context, "main").run("once", second_look=False)
    assert report.result == "clean"
    assert await rewards(pm) == []


async def test_parts_of_a_reward_never_exceed_it_and_may_be_said_again(life: Life) -> None:
    item = {"reward_key": "r", "earned_on": "2026-03-01", "amount_micros": 10 * SHARE}
    assert await life.call("record_rewards", "main", [item]) == 1
    assert await life.call("record_rewards", "main", [item]) == 0
    assert await life.call("allocate_reward", "main", "r", "a", 6 * SHARE) is True
    assert await life.call("allocate_reward", "main", "r", "a", 6 * SHARE) is False
    with pytest.raises(asyncpg.PostgresError, match="OVER_ALLOCATED"):
        await life.call("allocate_reward", "main", "r", "b", 5 * SHARE)
    assert await life.call("allocate_reward", "main", "r", "a", 5 * SHARE) is True
    assert await life.call("allocate_reward", "main", "r", "b", 5 * SHARE) is True
    assert await life.call("record_rewards", "main", [item | {"amount_micros": 9 * SHARE}]) == 1
    [row] = await life.conn.fetch("SELECT * FROM audit.rewards")
    assert (row["allocated_micros"], row["over_allocated"]) == (10 * SHARE, True)
