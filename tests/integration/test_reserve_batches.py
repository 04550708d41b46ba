"""What the database makes of batches, halts and isolation levels that meet each other."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from app.errors import BadInput, Code
from app.ledger import Admission, Refusal
from tests.support.trading import (
    ACCOUNT,
    World,
    buy,
    eventually,
    singly,
    world_fixture,  # noqa: F401 - the fixture
)


async def test_two_batches_over_the_same_markets_in_opposite_order_do_not_deadlock(
    world: World,
) -> None:
    await world.open_limiter()
    await world.open_caps()
    names = [f"x{n}" for n in range(8)]
    await world.markets(*names)
    sessions = [await world.database.connect("trader") for _ in range(4)]

    async def loop(conn: asyncpg.Connection, number: int) -> list[str]:
        told = []
        for turn in range(15):
            order = names if (turn + number) % 2 else names[::-1]
            wanted = [buy(f"{number}:{turn}:{name}", 5, market=name) for name in order]
            told += [one.get("code", one["status"]) for one in await singly(conn, *wanted)]
        return told

    told = await asyncio.gather(*(loop(conn, number) for number, conn in enumerate(sessions)))
    answers = [one for part in told for one in part]
    assert set(answers) <= {"admitted", "BUSY"}
    assert (await world.rows())["orders"] == answers.count("admitted")


async def test_two_batches_of_new_markets_in_opposite_order_do_not_deadlock(world: World) -> None:
    """Their exposure rows are made by the batches themselves."""
    await world.open_limiter()
    await world.open_caps()
    one, two = await world.database.connect("trader"), await world.database.connect("trader")
    for turn in range(10):
        names = [f"y{turn}-{n}" for n in range(4)]
        await world.markets(*names)
        forth = [buy(f"a{name}", 5, market=name) for name in names]
        back = [buy(f"b{name}", 5, market=name) for name in reversed(names)]
        told = await asyncio.gather(singly(one, *forth), singly(two, *back))
        assert {answer.get("code", "admitted") for part in told for answer in part} <= {
            "admitted",
            "BUSY",
        }


async def test_a_batch_over_a_busy_market_answers_the_others_at_once(world: World) -> None:
    await world.touch("m1", "m2")
    conn = await world.database.connect("trader")
    slow = await world.hold("m1")
    busy, free = await singly(conn, buy("k1"), buy("k2", market="m2"))
    assert (busy["status"], busy["code"]) == ("refused", "BUSY")
    assert free["status"] == "admitted"
    await slow.execute("ROLLBACK")
    (again,) = await singly(conn, buy("k1"))
    assert again["status"] == "admitted"


async def test_the_client_asks_for_a_busy_market_singly_and_nobody_else_waits(
    world: World,
) -> None:
    await world.open_limiter()
    await world.touch("m1", "m2")
    ledger = await world.ledger()
    slow = await world.hold("m1")
    waiting, quick = (
        asyncio.gather(ledger.try_reserve_many([buy("k1"), buy("k2", market="m2")])),
        ledger.reserve_pending(buy("k3", market="m2")),
    )
    assert isinstance(await quick, Admission)
    await world.blocked()
    await ledger.reserve_pending(buy("k4", market="m2"))
    assert not waiting.done()
    await slow.execute("ROLLBACK")
    ((first, second),) = await waiting
    assert isinstance(first, Admission)
    assert isinstance(second, Admission)


async def test_a_halt_that_races_a_reservation_stops_it_or_is_found_by_the_sweep(
    world: World,
) -> None:
    """The reservation waits for its market while the halt is committed: it must see it then."""
    await world.touch("m1")
    ledger = await world.ledger()
    slow = await world.hold("m1")
    asked = asyncio.get_running_loop().create_task(ledger.try_reserve(buy("k1")))
    await world.blocked()
    await (await world.ledger()).halt("market", "m1", "a test")
    await slow.execute("ROLLBACK")
    answer = await asked
    assert isinstance(answer, Refusal)
    assert answer.code is Code.HALTED
    assert (await world.rows())["orders"] == 0


async def test_an_order_reserved_just_before_a_halt_is_never_sent(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k1"))
    await ledger.halt("account", ACCOUNT, "a test")
    await world.life.claim()
    await world.life.prepare(admitted.order_id)
    answer = await world.life.open_attempt(admitted.order_id)
    assert (answer["status"], answer["code"]) == ("refused", "HALTED")
    view = await ledger.order(admitted.order_id)
    assert (view.state, view.cause, view.held_micros) == ("NOT_PLACED", "HALTED", 0)


async def test_the_sweep_cancels_what_was_reserved_while_the_halt_came(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k1"))
    await ledger.halt("global", "", "a test")
    await eventually(lambda: world.life.call("sweep_cancels"))
    assert (await ledger.order(admitted.order_id)).state == "NOT_PLACED"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_caller_in_another_isolation_level_is_refused(world: World, level: str) -> None:
    """A snapshot taken before a halt was admitted under it."""
    conn = await world.database.connect("trader")
    before = await world.rows()
    async with conn.transaction():
        await conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        requests = json.dumps([buy("k1").as_request(ACCOUNT)])
        with pytest.raises(asyncpg.PostgresError, match=f"ISOLATION.*{level}") as caught:
            async with conn.transaction():
                await conn.fetchval("SELECT ledger.reserve_pending($1)", requests)
    assert caught.value.sqlstate == "LG001"
    assert await world.rows() == before


async def test_a_client_whose_sessions_default_to_another_level_is_told_so(world: World) -> None:
    trader = world.database.server.role_prefix + "trader"
    await world.owner.execute(
        f"ALTER ROLE {trader} IN DATABASE {world.database.name}"
        " SET default_transaction_isolation = 'repeatable read'"
    )
    ledger = await world.ledger()
    answer = await ledger.try_reserve(buy("k1"))
    assert isinstance(answer, Refusal)
    assert answer.code is Code.ISOLATION
    with pytest.raises(BadInput) as caught:
        await ledger.cancel_all()
    assert caught.value.code is Code.ISOLATION


async def test_a_session_ended_in_the_middle_of_its_call_is_asked_again_with_the_same_key(
    world: World,
) -> None:
    await world.touch("m1")
    ledger = await world.ledger()
    slow = await world.hold("m1")
    asked = asyncio.get_running_loop().create_task(ledger.reserve_pending(buy("k1")))
    await world.blocked()
    ended = await world.owner.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    assert ended == 1
    await slow.execute("ROLLBACK")
    admitted = await asked
    rows = await world.rows()
    assert (rows["orders"], rows["idempotency_key"]) == (1, 1)
    assert (await ledger.order(admitted.order_id)).key == "k1"


async def test_a_poisonous_request_in_a_shared_call_fails_alone(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger(pool_size=2)
    poison = buy("k0").as_request(ACCOUNT) | {"key": "a\0b"}
    first = asyncio.gather(ledger.reserve_pending(buy("first", 5, market="m2")))
    poisoned = asyncio.gather(ledger.commits.ask([poison]), return_exceptions=True)
    good = [ledger.reserve_pending(buy(f"k{n}", 5)) for n in range(1, 4)]
    assert len({one.order_id for one in await asyncio.gather(*good)}) == 3
    ((error,), _) = await asyncio.gather(poisoned, first)
    assert isinstance(error, BadInput)
    assert (await world.rows())["orders"] == 4
