"""Concurrent reservations of one process share SQL calls. The other side of the call is a script
here; what the database makes of batches is in `test_reserve_batches`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.clock import Ports, SystemClock
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import Item
from app.ledger.shared_commits import MOST_PER_CALL, TRIES, Request, SharedCommits

Behaviour = Callable[[list[str]], BaseException | None]


class QuickClock(SystemClock):
    """Pauses are noted and take no time."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


class Database:
    """Answers calls when it is told to, or at once."""

    def __init__(self, *, at_once: bool = True, calls: int = 2) -> None:
        self.calls: list[list[str]] = []
        self.known: set[str] = set()
        self.busy: set[str] = set()
        self.fails: Behaviour = lambda keys: None
        self.clock = QuickClock()
        ports = Ports.system()
        self.commits = SharedCommits(
            self.send, Ports(self.clock, ports.rng, ports.tasks), calls=calls
        )
        self._at_once = at_once
        self._waiting: list[asyncio.Event] = []

    async def send(self, requests: Sequence[Request]) -> list[Item]:
        keys = [str(request["key"]) for request in requests]
        self.calls.append(keys)
        if not self._at_once:
            released = asyncio.Event()
            self._waiting.append(released)
            await released.wait()
        error = self.fails(keys)
        if error is not None:
            raise error
        alone = len({request["market"] for request in requests}) == 1
        return [self._answer(place, one, alone) for place, one in enumerate(requests)]

    async def answer_next(self) -> None:
        """Let the oldest call that is under way return."""
        self._waiting.pop(0).set()
        await turns()

    def _answer(self, place: int, request: Request, alone: bool) -> Item:
        if request["market"] in self.busy and not alone:
            return {"item": place, "status": "refused", "code": "BUSY", "detail": ""}
        replay = request["key"] in self.known
        self.known.add(request["key"])
        return {"item": place, "status": "admitted", "replay": replay, "key": request["key"]}

    def ask(self, *keys: str, market: str | None = None) -> asyncio.Task[list[Item]]:
        requests = [wanted(key, market) for key in keys]
        return asyncio.get_running_loop().create_task(self.commits.ask(requests))


def wanted(key: str, market: str | None = None) -> Request:
    return {"account": "main", "market": market or f"m-{key}", "key": key}


async def turns() -> None:
    """Let everything that can run now run."""
    for _ in range(20):
        await asyncio.sleep(0)


def keys_of(answers: Sequence[Sequence[Item]]) -> list[list[Any]]:
    return [[item.get("key") for item in answer] for answer in answers]


async def test_a_lone_caller_goes_at_once() -> None:
    database = Database()
    answer = await database.ask("a")
    assert answer[0]["key"] == "a"
    assert database.calls == [["a"]]


async def test_who_arrives_during_the_calls_under_way_travels_together() -> None:
    database = Database(at_once=False, calls=2)
    asked = [database.ask(key) for key in "abcde"]
    await turns()
    assert database.calls == [["a"], ["b"]]
    await database.answer_next()
    assert database.calls == [["a"], ["b"], ["c", "d", "e"]]
    await database.answer_next()
    await database.answer_next()
    assert keys_of(await asyncio.gather(*asked)) == [["a"], ["b"], ["c"], ["d"], ["e"]]


async def test_no_call_carries_more_than_64() -> None:
    database = Database(at_once=False, calls=1)
    asked = [database.ask(f"{n}") for n in range(100)]
    await turns()
    while not all(one.done() for one in asked):
        await database.answer_next()
    assert [len(call) for call in database.calls] == [1, MOST_PER_CALL, 35]


async def test_a_market_of_this_process_is_in_one_call_at_a_time_and_its_callers_keep_their_order() -> (
    None
):
    database = Database(at_once=False, calls=3)
    asked = [database.ask(key, market="hot") for key in "abc"]
    asked.append(database.ask("d", market="cold"))
    await turns()
    assert database.calls == [["a"], ["d"]]
    await database.answer_next()
    assert database.calls == [["a"], ["d"], ["b", "c"]]
    await database.answer_next()
    await database.answer_next()
    assert keys_of(await asyncio.gather(*asked)) == [["a"], ["b"], ["c"], ["d"]]


async def test_a_set_is_never_parted() -> None:
    database = Database(at_once=False, calls=1)
    first = database.ask("first")
    many = [database.ask(f"{n}") for n in range(MOST_PER_CALL - 1)]
    pair = database.ask("x", "y", market="m")
    await turns()
    for _ in range(3):
        await database.answer_next()
    await asyncio.gather(first, *many)
    assert database.calls[-1] == ["x", "y"]
    assert keys_of([await pair]) == [["x", "y"]]


async def test_a_busy_market_is_asked_for_singly_and_the_others_are_answered_first() -> None:
    database = Database(at_once=False, calls=1)
    database.busy = {"busy"}
    first = database.ask("first")
    slow, quick = database.ask("slow", market="busy"), database.ask("quick")
    await turns()
    await database.answer_next()
    await database.answer_next()
    assert database.calls == [["first"], ["slow", "quick"], ["slow"]]
    assert (await quick)[0]["status"] == "admitted"
    assert not slow.done()
    await database.answer_next()
    assert (await slow)[0]["status"] == "admitted"
    await first


async def test_who_follows_into_a_busy_market_waits_for_it_and_nobody_else_does() -> None:
    database = Database(at_once=False, calls=1)
    database.busy = {"busy"}
    first = database.ask("first")
    asked = [database.ask("slow", market="busy"), database.ask("quick")]
    await turns()
    await database.answer_next()
    await database.answer_next()
    late, other = database.ask("late", market="busy"), database.ask("other")
    await turns()
    assert database.calls[-2:] == [["slow"], ["other"]]
    await database.answer_next()
    await database.answer_next()
    await other
    await database.answer_next()
    assert database.calls[-1] == ["late"]
    await asyncio.gather(first, *asked, late)


async def test_one_poisonous_request_fails_alone() -> None:
    database = Database(at_once=False, calls=1)
    database.fails = lambda keys: BadInput(Code.BAD_REQUEST, "no") if "bad" in keys else None
    asked = [database.ask(key) for key in ("first", "good", "bad", "fine")]
    await turns()
    while not all(one.done() for one in asked):
        await database.answer_next()
    assert [one.exception() is None for one in asked] == [True, True, False, True]
    assert database.calls == [["first"], ["good", "bad", "fine"], ["good"], ["bad"], ["fine"]]


async def test_a_programming_error_reaches_the_caller_and_nobody_waits_for_ever() -> None:
    database = Database()
    database.fails = lambda keys: ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await database.ask("a")
    database.fails = lambda keys: None
    assert (await database.ask("b"))[0]["status"] == "admitted"


def lost() -> DatabaseProblem:
    return DatabaseProblem(Code.NOT_DURABLE, "the session was lost during the commit")


async def test_after_a_lost_connection_the_same_keys_are_asked_again() -> None:
    database = Database()
    committed: list[str] = []

    def fail_once(keys: list[str]) -> BaseException | None:
        if committed:
            return None
        committed.extend(keys)
        database.known.update(keys)  # it was committed, only the answer was lost
        return lost()

    database.fails = fail_once
    answer = await database.ask("a")
    assert answer[0]["replay"] is True
    assert database.calls == [["a"], ["a"]]
    assert len(database.clock.pauses) == 1


async def test_a_database_that_stays_away_is_asked_a_bounded_number_of_times() -> None:
    database = Database()
    database.fails = lambda keys: DatabaseProblem(Code.DATABASE_UNREACHABLE, "gone")
    with pytest.raises(DatabaseProblem) as caught:
        await database.ask("a", "b")
    assert caught.value.code is Code.DATABASE_UNREACHABLE
    assert database.calls == [["a", "b"]] * TRIES


async def test_an_error_that_the_server_puts_down_to_the_request_is_not_repeated() -> None:
    class TooDeep(Exception):
        sqlstate = "54001"

    def refuse(keys: list[str]) -> BaseException | None:
        error = DatabaseProblem(Code.DATABASE_UNREACHABLE, "stack depth limit exceeded")
        error.__cause__ = TooDeep()
        return error if "deep" in keys else None

    database = Database()
    database.fails = refuse
    with pytest.raises(DatabaseProblem):
        await database.ask("deep")
    assert database.calls == [["deep"]]


async def test_a_caller_cancelled_in_the_queue_asked_for_nothing() -> None:
    database = Database(at_once=False, calls=1)
    first, gone, third = database.ask("first"), database.ask("gone"), database.ask("third")
    await turns()
    gone.cancel()
    await turns()
    await database.answer_next()
    await database.answer_next()
    assert database.calls == [["first"], ["third"]]
    await asyncio.gather(first, third)


async def test_a_caller_cancelled_during_its_call_takes_nobody_with_it() -> None:
    database = Database(at_once=False, calls=1)
    first, gone, third = database.ask("first"), database.ask("gone"), database.ask("third")
    await turns()
    await database.answer_next()
    gone.cancel()
    await database.answer_next()
    assert (await third)[0]["status"] == "admitted"
    assert database.known == {"first", "gone", "third"}
    await first


async def test_draining_waits_for_every_answer() -> None:
    database = Database(at_once=False, calls=1)
    asked = [database.ask(key) for key in "abc"]
    await turns()
    draining = asyncio.get_running_loop().create_task(database.commits.drain())
    await database.answer_next()
    assert not draining.done()
    await database.answer_next()
    await draining
    assert all(one.done() for one in asked)
