"""The ports to everything that is not decided by our own rows: time, chance and tasks.

They are passed in from the first commit so that a deterministic simulator can own them. Nothing else
in the project may call ``time``, ``random``, ``asyncio.sleep`` or ``asyncio.create_task``;
``tests/unit/test_ports_lint.py`` enforces it.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines. Limits use the database's clock instead."""

    def now_ms(self) -> int:
        """Unix time in milliseconds. May step; never compare it to a deadline."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed point. Never steps back; keeps counting while the process is stopped."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way for at least ``seconds``."""
        ...


class Rng(Protocol):
    """Chance. ``bits`` must be unpredictable where it makes identities (salts, incarnation ids)."""

    def bits(self, k: int) -> int: ...

    def uniform(self, low: float, high: float) -> float:
        """For jitter of waiting times, never for money."""
        ...

    def uuid(self) -> uuid.UUID: ...


class Tasks(Protocol):
    """Starts concurrent work. The simulator's version decides what runs next."""

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]: ...


class SystemClock:
    """The machine's clocks. CLOCK_BOOTTIME where it exists, so that a suspended laptop does not stretch ``send_by``."""

    _source = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(self._source)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRng:
    """The operating system's generator."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def bits(self, k: int) -> int:
        return self._random.getrandbits(k)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)


class SeededRng(SystemRng):
    """The same sequence for the same seed: for tests, the demo and the paper venue."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # type: ignore[assignment]


class AsyncioTasks:
    """Tasks of the running event loop. Keeps a reference until each ends (the loop itself holds only weak ones)."""

    def __init__(self) -> None:
        self._live: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        return task


@dataclass(frozen=True, slots=True)
class Ports:
    """What a component is handed instead of reaching for the world itself."""

    clock: Clock
    rng: Rng
    tasks: Tasks

    @classmethod
    def system(cls) -> Ports:
        return cls(SystemClock(), SystemRng(), AsyncioTasks())
