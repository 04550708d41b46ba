"""A process's clock that a test moves, and that lets everything run that a moment wakes.

Unlike time itself it stands still while tasks work, so a test sees each consequence before the next
cause, and never waits.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock

_TURNS = 40
"""Turns of the loop in which whatever can run has run; the longest chain here takes a dozen."""


class SteppingClock(SystemClock):
    """Sleepers wake in the order of their time, each before the next one's time comes."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []
        self._order = count()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def now_ms(self) -> int:
        return self.now_ns // 1_000_000

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        due_ns = self.now_ns + int(seconds * 1e9)
        heapq.heappush(self._sleepers, (due_ns, next(self._order), woken))
        await woken.wait()

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        until_ns = self.now_ns + int(seconds * 1e9)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_ns:
            due_ns, _, woken = heapq.heappop(self._sleepers)
            self.now_ns = max(self.now_ns, due_ns)
            woken.set()
            await self.settle()
        self.now_ns = until_ns


class HastyClock(SteppingClock):
    """Nobody waits: a sleep moves the clock on and is over. ``slept`` says for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += int(seconds * 1e9)
        await asyncio.sleep(0)


def ports_on(clock: SystemClock, seed: int = 1) -> Ports:
    return Ports(clock, SeededRng(seed), AsyncioTasks())
