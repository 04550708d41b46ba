"""Random limits, sessions, fills, cancels and failures: nothing is ever over a cap, below zero, or counted wrongly.

5,000 operations by default; ``LEDGER_TEST_OPERATIONS=200000`` for the long run, ``LEDGER_TEST_SEED`` for another storm.
"""

from __future__ import annotations

import asyncio
import os
import random

import asyncpg
import pytest

from tests.support.cost_replay import replayed
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, token
from tests.support.storm import ACCOUNTS, CAPS, MARKETS, Session, Storm

SESSIONS = 6
OPERATIONS = int(os.environ.get("LEDGER_TEST_OPERATIONS", "5000"))
SEED = int(os.environ.get("LEDGER_TEST_SEED", "1"))
PHASES = 5

OVER = """
WITH e AS (SELECT x.*, format('%s/%s', x.account_id, x.market_id) AS lane FROM ledger.exposure x)
SELECT 'outcome' AS what, format('%s/%s', e.lane, i) AS whose,
    e.confirmed[i] + e.provisional_buy[i] + e.awaiting_buy[i] + e.open_buy[i] + e.pending_buy[i] AS used,
    $1::bigint AS cap
FROM e CROSS JOIN generate_series(1, 2) i
UNION ALL SELECT 'market', e.lane, e.shares, $2 FROM e
UNION ALL SELECT 'market cost', e.lane, e.at_risk, $3 FROM e
UNION ALL SELECT 'open orders', e.lane, e.open_orders, $4 FROM e
UNION ALL SELECT 'account cost', s.account_id::text, s.at_risk, $5 FROM ledger.account_state s
UNION ALL SELECT 'account open orders', s.account_id::text, s.open_orders, $6 FROM ledger.account_state s
UNION ALL SELECT 'group cost', g.group_key, sum(g.at_risk)::bigint, $7 FROM ledger.group_state g GROUP BY 2
UNION ALL SELECT 'global cost', '', sum(s.at_risk)::bigint, $8 FROM ledger.account_state s
UNION ALL SELECT 'global shares', '', sum(s.shares)::bigint, $9 FROM ledger.account_state s
UNION ALL SELECT 'negative', format('%s/%s', b.account_id, b.asset), -least(b.available, b.locked), 0
FROM ledger.balance b
"""


@pytest.fixture(name="stormy")
async def _stormy(life: Life) -> Life:
    """Accounts that can pay, markets of two groups; no burst limits, no breakers."""
    for name in ("breaker_rejects", "breaker_cancels", "slow_ms", "stop_ms"):
        await life.limit(name, None)
    for name in ACCOUNTS[1:]:
        await life.open_account(name)
    for name, group in MARKETS.items():
        await life.add_market(name, group_key=group)
        for account in ACCOUNTS:
            for outcome in (0, 1):
                asset = token(name, outcome)
                key = f"{name} {outcome}"
                await life.call(
                    "book_movement", account, asset, 10 * SHARE, "opening", key, "", SHARE
                )
    return life


async def set_limits(life: Life, rng: random.Random) -> dict[str, int]:
    """Other limits, each large enough for what is there already; a cap that was lowered ends nothing."""
    chosen = {}
    for table, name, values in CAPS:
        value = rng.choice(values) * (1 if name == "max_open_orders" else SHARE)
        chosen[f"{table} {name}"] = value
        if table == "limits":
            await life.limit(name, value)
        else:
            await life.call("set_total_limit", table, "", name, str(value), "storm")
    return chosen


async def use(conn: asyncpg.Connection, caps: dict[str, int]) -> list[asyncpg.Record]:
    """What is in use against which cap, in one snapshot."""
    order = ("limits max_outcome_micros", "limits max_market_micros", "limits max_market_cost_micros",
             "limits max_open_orders", "account max_cost_micros", "account max_open_orders",
             "group max_cost_micros", "global max_cost_micros", "global max_shares_micros")  # fmt: skip
    return list(await conn.fetch(OVER, *(caps[name] for name in order)))


@pytest.mark.timeout(180 * max(1, OPERATIONS // 5000))
async def test_a_storm_leaves_no_cap_exceeded_and_no_counter_wrong(
    stormy: Life, module_database: TestDatabase
) -> None:
    rng, storm = random.Random(SEED), Storm()
    sessions = [Session(await module_database.connect(), storm, n, SEED) for n in range(SESSIONS)]
    watcher = await module_database.connect()
    looked = 0
    for phase in range(PHASES):
        caps = await set_limits(stormy, rng)
        # a cap that came below what was there allows no more, and ends nothing
        there = {(row["what"], row["whose"]): row["used"] for row in await use(watcher, caps)}
        running = asyncio.gather(
            *(session.run(OPERATIONS * (phase + 1) // PHASES) for session in sessions)
        )
        while not running.done():
            for row in await use(watcher, caps):
                bound = max(row["cap"], there.get((row["what"], row["whose"]), 0))
                assert row["used"] <= bound, (f"seed {SEED}", row)
            looked += 1
            await asyncio.wait((running,), timeout=0.02)
        await running
        await sound(watcher)
    print(
        f"{storm.operations} operations, {storm.trades} trades, {looked} looks, answers {storm.refused}"
    )
    met = storm.refused.keys() - {"admitted", "BUSY"}
    assert storm.refused["admitted"] > OPERATIONS // 50
    assert len(met) >= 6, f"the storm met few limits: {met}"


async def sound(conn: asyncpg.Connection) -> None:
    rows = await conn.fetch(
        "SELECT * FROM audit.checks() WHERE NOT is_notice AND name NOT IN ('signed_bytes')"
    )
    assert rows == [], f"seed {SEED}"
    # What positions cost, worked out anew: the audit above sums what the ledger noted with each row.
    counted = {
        (row["account_id"], row["market_id"], n): (
            row["bought"][n] - row["sold"][n],
            row["basis"][n],
        )
        for row in await conn.fetch("SELECT * FROM ledger.exposure")
        for n in (0, 1)
    }
    for leg, held in (await replayed(conn)).items():
        shares, basis = counted[leg]
        assert shares == held.shares, f"seed {SEED}: {leg}"
        assert held.cost <= basis <= held.cost + held.roundings, f"seed {SEED}: {leg}"
