"""The workers of the demo: at least one alive, one after another killed, the others stopped in peace."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from app.clock import Clock, Rng
from workers.demo.course import Course, until
from workers.demo.processes import Child, Processes

POINTS: Final = ("prepare.after", "open.after", "send.before", "send.after", "record.after")
"""Where a worker dies: after the signed bytes were stored, after an attempt was opened, before and
after the venue heard of it, after its answer was recorded."""

START_WITHIN_S: Final = 15.0
STOP_WITHIN_S: Final = 10.0


class Workforce:
    """``started`` says how many workers the ledger has seen start; ``env`` is their settings; one that
    is to die has ``dies_within_s`` for it.
    """

    def __init__(
        self,
        processes: Processes,
        env: Mapping[str, str],
        started: Callable[[], Awaitable[int]],
        clock: Clock,
        rng: Rng,
        course: Course,
        dies_within_s: float,
    ) -> None:
        self._dies_within_s = dies_within_s
        self._processes = processes
        self._env = env
        self._started = started
        self._clock = clock
        self._rng = rng
        self._course = course
        self._workers: list[Child] = []
        self._count = 0

    async def ensure(self) -> None:
        """See that one is alive. One that ended by itself was not asked to."""
        for child in [one for one in self._workers if not one.alive]:
            await self._bury(child, child.process.returncode, wanted=None)
        if not self._workers:
            await self._start()

    async def start_mortal(self, point: str, *, alone: bool) -> Child:
        """One that will die at ``point``: ``alone`` in the place of those there are, or beside them."""
        mortal = await self._start(f"{point}:{1 + self._rng.bits(16) % 2}")
        await until(self._clock, self._all_started, START_WITHIN_S, while_true=lambda: mortal.alive)
        if alone:
            for child in [one for one in self._workers if one is not mortal]:
                await self._stop(child)
        return mortal

    async def let_die(self, mortal: Child, point: str) -> None:
        """Wait until it died by itself; what did not reach its point is killed wherever it is."""
        code = await mortal.end(self._dies_within_s)
        if code is None:
            mortal.signal(signal.SIGKILL)
            code = await mortal.process.wait()
            point = "anywhere"
        await self._bury(mortal, code, wanted=-signal.SIGKILL)
        self._course.worker_kills.append(point)
        await self.ensure()

    async def stop_all(self) -> None:
        """By SIGTERM, as an operator would."""
        for child in list(self._workers):
            await self._stop(child)

    async def _start(self, stop_at: str = "") -> Child:
        self._count += 1
        more = {"LEDGER_TEST_STOP_AT": stop_at} if stop_at else {}
        name = f"worker-{self._count}"
        child = await self._processes.start(name, "workers.cli", "start", env={**self._env, **more})
        self._workers.append(child)
        return child

    async def _all_started(self) -> bool:
        return await self._started() >= self._count

    async def _stop(self, child: Child) -> None:
        child.signal(signal.SIGTERM)
        code = await child.end(STOP_WITHIN_S)
        if code is None:
            child.signal(signal.SIGKILL)
            code = await child.process.wait()
        await self._bury(child, code, wanted=0)
        self._course.graceful_stops += 1

    async def _bury(self, child: Child, code: int | None, *, wanted: int | None) -> None:
        self._workers.remove(child)
        await self._processes.forget(child)
        if code != wanted:
            self._course.unexpected.append(f"{child.name} ended with exit code {code}")
