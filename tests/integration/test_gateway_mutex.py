"""One evaluation per market at a time, whoever holds it and however it ends."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from app.errors import BadInput, Code, DatabaseProblem, Refused
from app.gateway import Evaluation, Gateway, Locked
from app.ledger import Admission, Refusal
from tests.support.trading import (
    HandClock,
    World,
    buy,
    eventually,
    hand_ports,
    world_fixture,  # noqa: F401 - the fixture
)

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import asyncio, sys
from app.gateway import Gateway
from app.ledger import Ledger

async def main(url):
    async with Ledger.open(url) as ledger:
        async with Gateway(ledger, ttl_ms=300).evaluation("m1"):
            print("held", flush=True)
            await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def quiet(ledger: Any, **options: Any) -> Gateway:
    return Gateway(ledger, log=CapturingLogger(), **options)


async def pair(world: World, **options: Any) -> tuple[Gateway, Gateway]:
    """Two processes' gateways."""
    return quiet(await world.ledger(), **options), quiet(await world.ledger(), **options)


class Tick:
    """An evaluation that a test holds open."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, evaluation: Evaluation) -> None:
        self.runs += 1
        self.running.set()
        await self.go_on.wait()

    def start(self, gateway: Gateway, market: str = "m1") -> asyncio.Task[int]:
        return asyncio.get_running_loop().create_task(gateway.run_tick(market, self))


async def never(evaluation: Evaluation) -> None:
    raise AssertionError("two evaluations of one market")


async def test_a_tick_that_finds_the_market_locked_by_a_task_is_dropped(world: World) -> None:
    gateway = quiet(await world.ledger())
    async with gateway.evaluation("m1"):
        assert await gateway.run_tick("m1", never) == 0
    assert await gateway.run_tick("m1", done()) == 1


async def test_a_tick_that_finds_the_market_locked_by_a_process_is_dropped(world: World) -> None:
    one, other = await pair(world)
    async with one.evaluation("m1"):
        assert await other.run_tick("m1", never) == 0
        with pytest.raises(Locked) as caught:
            async with other.evaluation("m1"):
                pass
        assert caught.value.code is Code.LOCKED
    assert await other.run_tick("m1", done()) == 1


def done() -> Tick:
    """An evaluation that ends at once."""
    tick = Tick()
    tick.go_on.set()
    return tick


async def test_of_many_ticks_at_once_one_runs_in_all_processes_together(world: World) -> None:
    tick = Tick()
    gateways = [quiet(await world.ledger(pool_size=2)) for _ in range(4)]
    ticks = [tick.start(gateways[n % 4]) for n in range(32)]
    await tick.running.wait()
    await eventually(lambda: count_done(ticks, 31))
    tick.go_on.set()
    assert sorted(await asyncio.gather(*ticks)) == [0] * 31 + [1]


async def count_done(ticks: list[asyncio.Task[int]], wanted: int) -> bool:
    await asyncio.sleep(0)
    return sum(tick.done() for tick in ticks) == wanted


@pytest.mark.parametrize("same_process", [True, False])
async def test_however_many_ask_to_be_remembered_one_run_is_made_after_unlock(
    world: World, same_process: bool
) -> None:
    holder, other = await pair(world)
    tick = Tick()
    running = tick.start(holder)
    await tick.running.wait()
    asker = holder if same_process else other
    for _ in range(5):
        assert await asker.run_tick("m1", never, remember=True) == 0
    tick.go_on.set()
    assert await running == 2
    assert tick.runs == 2


async def test_a_tick_that_is_not_remembered_makes_no_second_run(world: World) -> None:
    holder, other = await pair(world)
    tick = Tick()
    running = tick.start(holder)
    await tick.running.wait()
    assert await other.run_tick("m1", never) == 0
    tick.go_on.set()
    assert await running == 1


async def test_different_markets_never_wait_for_each_other(world: World) -> None:
    one, other = await pair(world)
    async with (
        one.evaluation("m1") as first,
        one.evaluation("m2") as second,
    ):
        await first.place_order_with_guards(buy("k1"))
        await second.place_order_with_guards(buy("k2", market="m2"))
        await world.markets("m3")
        assert await other.run_tick("m3", done()) == 1


async def test_an_order_from_outside_the_evaluation_is_refused_as_locked(world: World) -> None:
    one, other = await pair(world)
    async with one.evaluation("m1") as evaluation:
        for gateway in (one, other):
            with pytest.raises(Refused) as caught:
                await gateway.place_order_with_guards(buy("k"))
            assert caught.value.code is Code.LOCKED
        placed = await evaluation.place_order_with_guards(buy("k"))
    assert (await placed.view()).state == "RESERVED"


async def test_an_exception_inside_frees_the_market_at_once(world: World) -> None:
    one, other = await pair(world)
    with pytest.raises(ZeroDivisionError):
        async with one.evaluation("m1"):
            raise ZeroDivisionError
    assert await other.run_tick("m1", done()) == 1


async def test_a_cancelled_evaluation_frees_the_market(world: World) -> None:
    one, other = await pair(world)
    tick = Tick()
    running = tick.start(one)
    await tick.running.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await other.run_tick("m1", done()) == 1


async def test_a_task_cancelled_while_it_asks_does_not_keep_the_market(world: World) -> None:
    await world.touch("m1")
    one, other = await pair(world)
    slow = await world.hold("m1")
    asking = Tick().start(one)
    await world.blocked()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await slow.execute("ROLLBACK")
    await eventually(lambda: other.run_tick("m1", done()))


async def test_a_holder_that_dies_frees_the_market_within_its_lease(world: World) -> None:
    """The process is killed; nothing of it runs any more."""
    gateway = quiet(await world.ledger())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, world.database.url_for("trader")), stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    assert await gateway.run_tick("m1", never) == 0
    process.kill()
    await process.wait()
    assert await eventually(lambda: gateway.run_tick("m1", done())) == 1


async def test_a_dead_holders_lease_ends_on_the_databases_clock(world: World) -> None:
    clock = await world.stop_clock()
    process_clock = HandClock()
    dead = quiet(await world.ledger(ports=hand_ports(process_clock)), ttl_ms=10_000)
    await dead.mutexes.take("m1", remember=False)
    gateway = quiet(await world.ledger())
    await clock.advance(9_999)
    assert await gateway.run_tick("m1", never) == 0
    await clock.advance(1)
    assert await gateway.run_tick("m1", done()) == 1


async def test_a_holder_that_lost_the_market_cannot_reserve_cancel_or_replace(
    world: World,
) -> None:
    """It was stopped in the middle of its decision; by its own clock no time has passed."""
    clock = await world.stop_clock()
    await world.open_limiter()
    sleeper = quiet(await world.ledger(ports=hand_ports(HandClock())), ttl_ms=10_000)
    async with sleeper.evaluation("m1") as evaluation:
        placed = await evaluation.place_order_with_guards(buy("k1"))
        await clock.advance(10_000)
        before = await world.rows()
        for act in (
            evaluation.place_order_with_guards(buy("k2")),
            evaluation.cancel_order(placed.order_id),
            evaluation.replace_order(placed.order_id, buy("k3")),
        ):
            assert not evaluation.lost
            with pytest.raises(Refused) as caught:
                await act
            assert caught.value.code is Code.MUTEX_LOST
        assert await world.rows() == before


async def test_a_holder_whose_market_was_taken_over_cannot_reserve(world: World) -> None:
    clock = await world.stop_clock()
    sleeper = quiet(await world.ledger(ports=hand_ports(HandClock())), ttl_ms=10_000)
    other = quiet(await world.ledger())
    async with sleeper.evaluation("m1") as evaluation:
        await clock.advance(10_000)
        async with other.evaluation("m1") as second:
            assert second.term == evaluation.term + 1
            with pytest.raises(Refused) as caught:
                await evaluation.place_order_with_guards(buy("k"))
            assert caught.value.code is Code.MUTEX_LOST
    assert (await world.rows())["orders"] == 0


async def test_a_holder_renews_in_time_and_knows_when_it_lost(world: World) -> None:
    clock = await world.stop_clock()
    process_clock = HandClock()
    holder = quiet(await world.ledger(ports=hand_ports(process_clock)), ttl_ms=9_000)
    other = quiet(await world.ledger())
    async with holder.evaluation("m1") as evaluation:
        until = await mutex_until(world)
        await clock.advance(3_000)
        process_clock.move(3_000)
        await eventually(lambda: moved(world, until))
        await clock.advance(8_000)
        assert await other.run_tick("m1", never) == 0
        assert not evaluation.lost
        await clock.advance(1_000)
        process_clock.move(3_000)
        await eventually(lambda: is_lost(evaluation))
        with pytest.raises(Refused) as caught:
            await evaluation.place_order_with_guards(buy("k"))
        assert caught.value.code is Code.MUTEX_LOST
    assert (await world.rows())["orders"] == 0


async def mutex_until(world: World) -> Any:
    return (await world.life.exposure())["mutex_until"]


async def moved(world: World, until: Any) -> bool:
    return bool(await mutex_until(world) > until)


async def is_lost(evaluation: Evaluation) -> bool:
    await asyncio.sleep(0)
    return evaluation.lost


async def test_a_holder_that_cannot_renew_counts_its_lease_by_its_own_clock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_clock = HandClock()
    ledger = await world.ledger(ports=hand_ports(process_clock))
    gateway = quiet(ledger, ttl_ms=9_000)
    value = ledger.calls.value

    async def cut_off(function: str, *arguments: Any) -> Any:
        if function == "renew_mutex":
            raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "gone")
        return await value(function, *arguments)

    monkeypatch.setattr(ledger.calls, "value", cut_off)
    async with gateway.evaluation("m1") as evaluation:
        process_clock.move(8_999)
        assert not evaluation.lost
        process_clock.move(1)
        assert evaluation.lost


async def test_a_protective_cancel_leaves_at_once_while_the_market_is_locked(
    world: World,
) -> None:
    one, other = await pair(world)
    async with one.evaluation("m1") as evaluation:
        placed = await evaluation.place_order_with_guards(buy("k"))
        cancelled = await other.cancel_order(placed.order_id, "enough")
        assert cancelled.state == "NOT_PLACED"
        assert not evaluation.lost


async def test_a_cancel_inside_an_evaluation_carries_its_term(world: World) -> None:
    gateway = quiet(await world.ledger())
    async with gateway.evaluation("m1") as evaluation:
        placed = await evaluation.place_order_with_guards(buy("k"))
        assert (await evaluation.cancel_order(placed.order_id)).state == "NOT_PLACED"
    with pytest.raises(Refused) as caught:
        await evaluation.cancel_order(placed.order_id)
    assert caught.value.code is Code.MUTEX_LOST


async def test_an_evaluation_places_orders_in_its_own_market_only(world: World) -> None:
    gateway = quiet(await world.ledger())
    async with gateway.evaluation("m1") as evaluation:
        for foreign in (buy("k", market="m2"), buy("k", account="other")):
            with pytest.raises(BadInput):
                await evaluation.place_order_with_guards(foreign)
    assert (await world.rows())["orders"] == 0


async def test_an_unknown_market_or_account_is_no_lock(world: World) -> None:
    gateway = quiet(await world.ledger())
    with pytest.raises(Refused) as caught:
        async with gateway.evaluation("nowhere"):
            pass
    assert caught.value.code is Code.UNKNOWN_MARKET
    assert await gateway.run_tick("m1", done()) == 1


async def test_a_term_made_up_by_a_caller_reserves_nothing(world: World) -> None:
    ledger = await world.ledger()
    answers = [await ledger.try_reserve(buy("k", mutex_term=term)) for term in (-1, 0, 1, 10**15)]
    assert [one.code for one in answers if isinstance(one, Refusal)] == [Code.MUTEX_LOST] * 4
    assert isinstance(await ledger.try_reserve(buy("k")), Admission)


async def test_the_locks_life_is_logged_and_bursts_of_lines_are_not(world: World) -> None:
    log = CapturingLogger()
    gateway = Gateway(await world.ledger(), log=log)
    for _ in range(3):
        async with gateway.evaluation("m1"):
            for _ in range(10):
                await gateway.run_tick("m1", never)
    events = [(call.args[0], call.kwargs.get("reason")) for call in log.calls]
    assert events == [
        ("MARKET_LOCK_ACQUIRED", None),
        ("MARKET_LOCK_SKIPPED", "LOCKED"),
        ("MARKET_LOCK_RELEASED", None),
    ]
    assert all(call.kwargs["market"] == "m1" for call in log.calls)
