"""Reservations that arrive together travel together: one SQL call, one commit, an answer per item.

Everybody needs the account's row, so single calls queue behind each other's commits; batches that
lock first and commit once keep the rate (``docs/decisions/``). A lone caller pays nothing for it:
nobody waits for company, a call only takes along what queued up while the calls before it were
under way.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from app.ledger.calls import Item

Request: TypeAlias = dict[str, Any]
Lane: TypeAlias = tuple[str, str]
"""Account and market, as the caller wrote them: a name of one or the other kind, which is good
enough to keep two calls from waiting for each other.
"""

Send: TypeAlias = Callable[[Sequence[Request]], Awaitable[list[Item]]]

MOST_PER_CALL: Final = 64
"""More gain nothing measurable and hold the account's row longer."""

TRIES: Final = 4
"""How often a call whose outcome is not known is made, the first time included."""

FIRST_PAUSE_S: Final = 0.05

_OUTCOME_UNKNOWN: Final = (Code.NOT_DURABLE, Code.DATABASE_UNREACHABLE)

_PASSING: Final = ("08", "25", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that say something about the server's moment and nothing about the request.
"""


@dataclass(slots=True, eq=False)
class _Asked:
    """What one caller asked in one go: a single intent, or a set that must not be parted."""

    requests: Sequence[Request]
    future: asyncio.Future[list[Item]]
    lanes: set[Lane] = field(init=False)
    """The markets it keeps others of this process from asking for meanwhile."""

    def __post_init__(self) -> None:
        self.lanes = {_lane(request) for request in self.requests}


class SharedCommits:
    """Collects requests into calls: at most ``calls`` shared ones at a time, and ``patient`` ones
    for a single market that another transaction keeps busy.

    ``send`` makes one call and answers every request in order; whatever it answers is durable, a
    replay too. Who asks for a market that is in a call of this process already stays in the queue
    until that call returns: in the database it could only wait for the same lock.
    """

    def __init__(self, send: Send, ports: Ports, *, calls: int = 2, patient: int = 1) -> None:
        self.sizes: Counter[int] = Counter()
        """How many calls of how many requests were made, for measurements."""
        self._send = send
        self._ports = ports
        self._free = calls
        self._patience = asyncio.Semaphore(patient)
        self._queue: deque[_Asked] = deque()
        self._under_way: Counter[Lane] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, requests: Sequence[Request]) -> list[Item]:
        """The answers to ``requests``, in order, from one call that other callers may share.

        A caller cancelled while it is queued asked for nothing. Once its call began, only the
        answer is lost to it: its key finds the reservation again.
        """
        asked = _Asked(requests, asyncio.get_running_loop().create_future())
        self._queue.append(asked)
        self._start_calls()
        return await asked.future

    async def drain(self) -> None:
        """Wait until everything asked for so far has been answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    # -------------------------------------------------------------------- who travels together

    def _start_calls(self) -> None:
        while self._free and (batch := self._next_batch()):
            self._free -= 1
            for asked in batch:
                self._under_way.update(asked.lanes)
            self._spawn(self._shared_call(batch))

    def _next_batch(self) -> list[_Asked]:
        batch: list[_Asked] = []
        stay: list[_Asked] = []
        kept_back: set[Lane] = set()
        room = MOST_PER_CALL
        while self._queue and room > 0:
            asked = self._queue.popleft()
            if asked.future.cancelled():
                continue
            lanes = asked.lanes
            # A market's callers go in the order they came: who stays keeps back who follows.
            busy = any(self._under_way[lane] or lane in kept_back for lane in lanes)
            if busy or (batch and len(asked.requests) > room):
                stay.append(asked)
                kept_back |= lanes
            else:
                batch.append(asked)
                room -= len(asked.requests)
        self._queue.extendleft(reversed(stay))
        return batch

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._ports.tasks.spawn(work, name="ledger shared commit")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---------------------------------------------------------------------------- the calls

    async def _shared_call(self, batch: list[_Asked]) -> None:
        try:
            for asked, answer in zip(batch, await self._answers(batch), strict=True):
                if isinstance(answer, list) and any(map(_is_busy, answer)):
                    self._spawn(self._patient_calls(asked, answer))
                else:
                    self._finish(asked, answer)
        finally:
            self._free += 1
            self._start_calls()

    async def _patient_calls(self, asked: _Asked, answers: list[Item]) -> None:
        """Ask for busy markets one at a time; such a call waits for its market's lock."""
        busy = [place for place, answer in enumerate(answers) if _is_busy(answer)]
        self._let_go(asked, asked.lanes - {_lane(asked.requests[place]) for place in busy})
        for lane in sorted(asked.lanes):
            places = [place for place in busy if _lane(asked.requests[place]) == lane]
            part = _Asked([asked.requests[place] for place in places], asked.future)
            async with self._patience:
                (answer,) = await self._answers([part])
            if isinstance(answer, BaseException):
                self._finish(asked, answer)
                return
            for place, item in zip(places, answer, strict=True):
                answers[place] = item | {"item": place}
            self._let_go(asked, {lane})
        self._finish(asked, answers)

    def _finish(self, asked: _Asked, answer: list[Item] | BaseException) -> None:
        if not asked.future.done():
            if isinstance(answer, BaseException):
                asked.future.set_exception(answer)
            else:
                asked.future.set_result(answer)
        self._let_go(asked, asked.lanes)

    def _let_go(self, asked: _Asked, lanes: set[Lane]) -> None:
        self._under_way -= Counter(lanes)
        asked.lanes = asked.lanes - lanes
        self._start_calls()

    async def _answers(self, batch: list[_Asked]) -> list[list[Item] | BaseException]:
        try:
            items = iter(await self._durably([r for asked in batch for r in asked.requests]))
            return [[next(items) for _ in asked.requests] for asked in batch]
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, and each is told
            if len(batch) == 1 or _outcome_unknown(error):
                return [error] * len(batch)
        # One request that cannot even be read must not fail those that only travelled with it.
        answers: list[list[Item] | BaseException] = []
        for asked in batch:
            answers += await self._answers([asked])
        return answers

    async def _durably(self, requests: list[Request]) -> list[Item]:
        """One call; asked again with the same keys while it is not known what became of it."""
        for attempt in range(1, TRIES + 1):
            try:
                self.sizes[len(requests)] += 1
                return await self._send(requests)
            except DatabaseProblem as error:
                if attempt == TRIES or not _outcome_unknown(error):
                    raise
            pause_s = FIRST_PAUSE_S * 2**attempt
            await self._ports.clock.sleep(self._ports.rng.uniform(pause_s / 2, pause_s))
        raise AssertionError("the last attempt returns or raises")


def _lane(request: Request) -> Lane:
    return str(request.get("account")), str(request.get("market"))


def _is_busy(item: Item) -> bool:
    return bool(item["status"] == "refused" and item["code"] == Code.BUSY)


def _outcome_unknown(error: BaseException) -> bool:
    """Whether to ask again helps: the connection was lost or the server was unwell, as opposed to
    an error that the request itself causes.
    """
    if not isinstance(error, DatabaseProblem) or error.code not in _OUTCOME_UNKNOWN:
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return error.code is Code.NOT_DURABLE or state is None or state.startswith(_PASSING)
