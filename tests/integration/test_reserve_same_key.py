"""One key is one order, however many ask for it at once and from wherever."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from app.errors import Code
from app.ledger import Admission, Refusal
from tests.support.trading import (
    World,
    buy,
    singly,
    world_fixture,  # noqa: F401 - the fixture
)

ROOT = Path(__file__).resolve().parents[2]
CALLERS = 32

CALLER = """
import asyncio, json, sys
from app.ledger import Intent, Ledger

async def main(url):
    async with Ledger.open(url) as ledger:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        intent = Intent.of(market="m1", outcome="Up", side="BUY", price="0.45", size="10", key="k")
        answers = await asyncio.gather(*(ledger.reserve_pending(intent) for _ in range(8)))
        print(json.dumps([[one.order_id, one.replay] for one in answers]), flush=True)

asyncio.run(main(sys.argv[1]))
"""


def assert_one_order(answers: list[tuple[int, bool]]) -> None:
    assert len(answers) == CALLERS
    assert len({order_id for order_id, _ in answers}) == 1
    assert [replay for _, replay in answers].count(True) == CALLERS - 1


async def assert_written_once(world: World) -> None:
    rows = await world.rows()
    assert (rows["orders"], rows["outbox"], rows["idempotency_key"]) == (1, 1, 1)
    assert (await world.life.exposure())["pending_buy"] == [10_000_000, 0]


async def test_32_sessions_with_one_key_get_one_order_and_31_replays(world: World) -> None:
    sessions = [await world.database.connect("trader") for _ in range(CALLERS)]
    answers = await asyncio.gather(*(singly(conn, buy("k")) for conn in sessions))
    assert_one_order([(one["order_id"], one["replay"]) for (one,) in answers])
    await assert_written_once(world)


async def test_32_callers_with_one_key_in_shared_commits_get_one_order_and_31_replays(
    world: World,
) -> None:
    ledger = await world.ledger()
    answers = await asyncio.gather(*(ledger.reserve_pending(buy("k")) for _ in range(CALLERS)))
    assert_one_order([(one.order_id, one.replay) for one in answers])
    assert sum(ledger.commits.sizes.values()) < CALLERS
    await assert_written_once(world)


async def test_32_callers_with_one_key_in_four_processes_get_one_order_and_31_replays(
    world: World,
) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER, world.database.url_for("trader")),
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    async with asyncio.timeout(60):
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        told = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    answers = [tuple(one) for out, _ in told for one in json.loads(out)]
    assert_one_order(answers)
    await assert_written_once(world)


async def test_a_key_twice_in_one_batch_is_one_order(world: World) -> None:
    conn = await world.database.connect("trader")
    first, second = await singly(conn, buy("k"), buy("k"))
    assert (first["replay"], second["replay"]) == (False, True)
    assert first["order_id"] == second["order_id"]
    await assert_written_once(world)


async def test_a_key_that_races_in_two_batches_is_one_order(world: World) -> None:
    """The second batch waits for the first one's commit and then sees its key."""
    await world.open_limiter()
    await world.touch("m1")
    slow, other = await world.database.connect("trader"), await world.database.connect("trader")
    await slow.execute("BEGIN")
    (first, _) = await singly(slow, buy("k"), buy("k2", 5))
    racing = asyncio.get_running_loop().create_task(singly(other, buy("k"), buy("k3", 5)))
    await world.blocked()
    await slow.execute("COMMIT")
    second, third = await racing
    assert (first["replay"], second["replay"], third["replay"]) == (False, True, False)
    assert first["order_id"] == second["order_id"]


async def test_a_key_whose_first_batch_is_rolled_back_is_free(world: World) -> None:
    await world.touch("m1")
    slow, other = await world.database.connect("trader"), await world.database.connect("trader")
    await slow.execute("BEGIN")
    await singly(slow, buy("k"))
    racing = asyncio.get_running_loop().create_task(singly(other, buy("k")))
    await world.blocked()
    await slow.execute("ROLLBACK")
    ((answer,),) = (await racing,)
    assert (answer["status"], answer["replay"]) == ("admitted", False)
    await assert_written_once(world)


async def test_a_replay_returns_the_first_answer_also_under_a_halt(world: World) -> None:
    ledger = await world.ledger()
    first = await ledger.reserve_pending(buy("k"))
    await ledger.halt("global", "", "a test")
    assert await ledger.reserve_pending(buy("k")) == Admission(
        first.order_id, first.price_micros, first.size_micros, replay=True, clamped=False
    )


async def test_a_key_survives_the_client_that_used_it(world: World) -> None:
    first = await (await world.ledger()).reserve_pending(buy("k"))
    again = await (await world.ledger()).reserve_pending(buy("k"))
    assert (again.order_id, again.replay) == (first.order_id, True)


async def test_a_key_is_refused_for_another_request(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    await ledger.reserve_pending(buy("k"))
    before = await world.rows()
    others: list[dict[str, Any]] = [
        {"shares": 11},
        {"price_micros": 460_000},
        {"outcome": "Down"},
        {"market": "m2"},
        {"post_only": True},
        {"clamp": True},
        {"order_class": "hedge"},
        {"valid_for_ms": 1_000},
    ]
    for other in others:
        answer = await ledger.try_reserve(buy("k", **other))
        assert isinstance(answer, Refusal), other
        assert answer.code is Code.KEY_REUSED
    assert await world.rows() == before


async def test_a_refusal_leaves_the_key_free(world: World) -> None:
    ledger = await world.ledger()
    refused = await ledger.try_reserve(buy("k", 500))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.CAP_OUTCOME
    assert (await ledger.reserve_pending(buy("k", 10))).replay is False
