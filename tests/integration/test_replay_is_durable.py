"""The answer to a key that is known already is as durable as the first one, on a server whose standby never comes.

Asked again by another session (a bot that was started anew, a caller that gave up and asks once more), a ledger that
only reads tells of a reservation whose commit still waits for its standby: a failover loses what it called admitted.
"""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from app.db.durable import call_durable
from app.errors import Code, DatabaseProblem
from app.ledger import Admission, Intent, Ledger
from tests.support.standby import _stage, waits_for
from workers.demo.stage import MAIN, Stage

__all__ = ["_stage"]

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1"


async def waiting(operator: asyncpg.Connection, call: asyncio.Task[object]) -> int:
    """The session that waits for the standby; fails if the call was answered instead."""
    async with asyncio.timeout(20):
        while (pid := await operator.fetchval(WAITING)) is None:
            assert not call.done(), f"answered without its standby: {call.result()}"
    return int(pid)


async def test_a_replay_waits_for_the_standby_that_the_first_answer_never_reached(
    stage: Stage,
) -> None:
    market = stage.cast.markets[0]
    intent = Intent(
        market=market.condition_id,
        outcome="0",
        side="BUY",
        price_micros=market.tick_micros * 10,
        size_micros=market.min_size_micros,
        key="told twice",
        account=MAIN,
    )
    operator = await asyncpg.connect(stage.owner_url)
    first = await asyncpg.connect(stage.url("trader"))
    loop = asyncio.get_running_loop()
    try:
        async with Ledger.open(stage.url("trader"), account=MAIN, pool_size=3) as again:
            await waits_for(operator, "absent")
            request = request_of(intent)
            call = loop.create_task(
                call_durable(first, "SELECT ledger.reserve_pending($1)", request)
            )
            pid = await waiting(operator, call)
            await operator.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(DatabaseProblem) as caught:
                await call
            assert caught.value.code is Code.NOT_DURABLE

            replay = loop.create_task(again.try_reserve(intent))
            await waiting(operator, replay)

            await waits_for(operator, "")
            answer = await replay
            assert isinstance(answer, Admission)
            assert answer.replay
    finally:
        await waits_for(operator, "")
        first.terminate()
        await operator.close()


def request_of(intent: Intent) -> str:
    return json.dumps([intent.as_request(MAIN)])
