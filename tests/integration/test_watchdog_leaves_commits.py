"""The watchdog of locks leaves a commit alone that waits for its standby, on a server whose standby never comes.

Ended, its row would be visible and released on a primary that may be about to lose it, and its caller would be told of
nothing but a lost connection.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json

import asyncpg

from app.db.durable import call_durable
from app.ledger import Intent
from tests.support.standby import _stage, waits_for
from workers.demo.stage import MAIN, Stage

__all__ = ["_stage"]

LONG_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND xact_start < clock_timestamp() - interval '1 second'"""

QUEUED_FOR_LONG = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND xact_start < clock_timestamp() - interval '600 milliseconds'"""


async def test_a_trader_whose_commit_waits_for_its_standby_is_not_ended(stage: Stage) -> None:
    market = stage.cast.markets[0]
    intent = Intent(
        market=market.condition_id,
        outcome="0",
        side="BUY",
        price_micros=market.tick_micros * 10,
        size_micros=market.min_size_micros,
        key="patient",
        account=MAIN,
    )
    operator = await asyncpg.connect(stage.owner_url)
    worker = await asyncpg.connect(stage.url("worker"))
    trader = await asyncpg.connect(stage.url("trader"))
    try:
        await waits_for(operator, "absent")
        await worker.execute("SET synchronous_commit = local")
        request = json.dumps([intent.as_request(MAIN)])
        call = asyncio.get_running_loop().create_task(
            call_durable(trader, "SELECT ledger.reserve_pending($1) AS answer", request)
        )
        async with asyncio.timeout(20):
            while await operator.fetchval(LONG_WAITING) is None:
                assert not call.done()
        # Somebody has waited for its row for longer than a trader may sit on one.
        behind = await asyncpg.connect(stage.url("trader"))
        follower = dataclasses.replace(intent, key="behind").as_request(MAIN)
        following = asyncio.get_running_loop().create_task(
            call_durable(
                behind, "SELECT ledger.reserve_pending($1) AS answer", json.dumps([follower])
            )
        )
        async with asyncio.timeout(20):
            while not await operator.fetchval(QUEUED_FOR_LONG):
                assert not following.done()
        ended = await worker.fetchval("SELECT ledger.end_lock_holders(500)")
        assert ended == 0
        await waits_for(operator, "")
        for [row] in await asyncio.gather(call, following):
            assert json.loads(row["answer"])[0]["status"] == "admitted"
        behind.terminate()
    finally:
        await waits_for(operator, "")
        for connection in (trader, worker, operator):
            connection.terminate()


async def test_who_stood_in_the_queue_for_long_and_then_gets_its_turn_is_not_ended(
    stage: Stage,
) -> None:
    """Most of its transaction's time was waiting: at work it is judged by the hard bound alone."""
    markets = stage.cast.markets[:6]  # nobody waits for another's market, only for the account
    worker = await asyncpg.connect(stage.url("worker"))
    holder = await asyncpg.connect(stage.owner_url)
    # Not the holder: within its transaction the server shows the sessions as they were at the first look.
    watcher = await asyncpg.connect(stage.owner_url)
    traders = [await asyncpg.connect(stage.url("trader")) for _ in markets]
    try:
        in_the_way = holder.transaction()
        await in_the_way.start()
        await holder.execute("SELECT 1 FROM ledger.account_state FOR UPDATE")
        intents = [
            Intent(
                market=market.condition_id,
                outcome="0",
                side="BUY",
                price_micros=market.tick_micros * 10,
                size_micros=market.min_size_micros,
                key=f"queued {n}",
                account=MAIN,
            )
            for n, market in enumerate(markets)
        ]
        calls = [
            asyncio.ensure_future(
                trader.fetchval(
                    "SELECT ledger.reserve_pending($1)", json.dumps([intent.as_request(MAIN)])
                )
            )
            for trader, intent in zip(traders, intents, strict=True)
        ]
        async with asyncio.timeout(20):
            while await watcher.fetchval(QUEUED_FOR_LONG) < len(traders):
                assert not any(call.done() for call in calls)
        await in_the_way.commit()
        while not all(call.done() for call in calls):
            assert await worker.fetchval("SELECT ledger.end_lock_holders(500)") == 0
        assert len([json.loads(call.result()) for call in calls]) == len(traders)
    finally:
        for connection in (*traders, worker, holder, watcher):
            connection.terminate()
