"""Pools and sessions as the code knows them, over a `Store`: each call a step, an effect, a step."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, Final

import asyncpg

from proof.simulation.loop import ACTOR
from proof.simulation.world import AFTER, BEFORE, World

_CALL: Final = re.compile(r"SELECT ledger\.(\w+)\([^)]*\) AS answer\Z")
_NOTIFY: Final = "SELECT pg_notify($1, '')"
_PASSED: Final = frozenset({"calls.py", "durable.py", "database.py", "client.py"})
"""Files that only carry a call: the place is whoever asked for it."""

SILENT: Final = frozenset(
    [
        "beat",
        "renew_claims",
        "take_lease",
        "take_pulse",
        "beat_pulse",
        "spend",
        "record_exchanges",
        "prune_exchanges",
        "make_partitions",
        "end_lock_holders",
        "end_idle_transactions",
        "get_orders",
        "find_by_key",
        "standing_orders",
        "move_cursor",
        "drop_claims",
        "untold_orders",
        "waiting_events",
    ]
)
"""Steps that only keep something alive or only look: they are no part of what makes two schedules differ, nor are those
that find nothing to do.
"""

_ENDS: Final = ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED")
"""An answer that says so may have ended an order: what it held is free."""

LOOKING: Final = ("sweep_", "claim_", "end_lapsed_modes")


class Pool:
    """As `asyncpg.Pool`, for what the code uses of it."""

    def __init__(self, world: World) -> None:
        self._world = world

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Session]:
        yield Session(self._world)

    async def close(self) -> None:
        """Nothing is held."""

    def terminate(self) -> None:
        """Nothing is held."""


class Session:
    """As `asyncpg.Connection`. A transaction can't be opened: every call is one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._closed = False

    def is_in_transaction(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return self._closed

    def add_log_listener(self, _listener: Callable[..., object]) -> None:
        """The simulated server warns of nothing."""

    def remove_log_listener(self, _listener: Callable[..., object]) -> None:
        """See `add_log_listener`."""

    async def fetch(
        self, statement: str, *arguments: Any, timeout: float | None = None
    ) -> list[Any]:
        """Rows, or what the driver would raise."""
        if match := _CALL.match(statement):
            return [{"answer": await self._call(match[1], arguments)}]
        if statement == _NOTIFY:
            await self._pause()
            self._world.notify()
            return []
        return await self._query(statement, arguments)

    async def fetchval(self, statement: str, *arguments: Any, timeout: float | None = None) -> Any:
        if statement == "SELECT 1":
            return 1
        rows = await self.fetch(statement, *arguments)
        return next(iter(rows[0].values())) if rows else None

    async def add_listener(self, _channel: str, callback: Callable[..., object]) -> None:
        """Wake-ups reach the process some milliseconds later, if it lives."""
        loop, chance = self._world.loop, self._world.chance
        context = copy_context()

        def woken() -> None:
            loop.call_later(chance.random() * 0.005, callback, context=context)

        self._world.listeners[self] = woken

    def terminate(self) -> None:
        self._closed = True
        self._world.listeners.pop(self, None)

    # --- one call -----------------------------------------------------------------------------------

    async def _pause(self) -> None:
        await self._world.loop.nap(self._world.chance.random() * 0.002)

    async def _call(self, function: str, arguments: tuple[Any, ...]) -> Any:
        world = self._world
        durable = function in world.durable
        place = f"{function} in {_site()}" if durable else ""
        await self._pause()
        if durable and await world.meet(place, BEFORE) == "lose":
            raise _lost()
        world.set_database_clock()
        world.committed[ACTOR.get().name] = (world.turn, world.now_us)
        try:
            answer = world.store.call(function, arguments)
        except asyncpg.PostgresError as error:
            _note(world, function, error.sqlstate or "error")
            raise
        if function == "claim_cancels":
            world.able(ACTOR.get())
        elif function == "beat_pulse":
            world.heard = True
        if function not in SILENT:
            outcome = _outcome(answer)
            if any(word in outcome for word in _ENDS):
                world.look_at_ends(function)
            if outcome or not function.startswith(LOOKING):
                _note(world, function, outcome)
        if durable and await world.meet(place, AFTER) == "lose":
            raise _lost()
        if function not in SILENT:
            await self._pause()
        return answer

    async def _query(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        await self._pause()
        self._world.set_database_clock()
        return list(self._world.store.query(statement, arguments))


def _note(world: World, function: str, outcome: str) -> None:
    world.trace.note(ACTOR.get().name, function, outcome)


def _lost() -> Exception:
    error: Exception = asyncpg.ConnectionDoesNotExistError(
        "connection was closed in the middle of operation"
    )
    return error


def _site() -> str:
    """The module and function that asked: frames above those that only carry the call."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if ("/app/" in path or "/workers/" in path) and path.rpartition("/")[2] not in _PASSED:
            return f"{path.rpartition('/')[2][:-3]}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "a bot"


def _outcome(answer: Any) -> str:
    """What an answer says, without ids and times: statuses and codes, or how many of what there were."""
    if answer is None or answer == 0 or answer in ("[]", "{}", ""):
        return ""
    if isinstance(answer, str) and answer[0] in "[{":
        return _told(json.loads(answer))
    return "true" if answer is True else "" if answer is False else "some"


def _told(value: Any) -> str:
    if isinstance(value, list):
        told = [_told(one) for one in value[:20]]
        return ",".join(told)
    if not isinstance(value, dict):
        return "one"
    words = [str(value[name]) for name in ("status", "code", "state", "result") if value.get(name)]
    if words:
        return "/".join(words)
    counts = [
        name
        for name, one in sorted(value.items())
        if one and not name.endswith(("_us", "_ms", "_at"))
    ]
    return "+".join(counts) if counts else ""
