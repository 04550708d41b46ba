"""The eight writers of the demo: started, told what to do, heard, killed, started again."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, Rng
from workers.demo.course import Course, until
from workers.demo.processes import Child, Processes
from workers.demo.script import WRITERS, Script

START_WITHIN_S: Final = 30.0
ROUND_WITHIN_S: Final = 20.0
END_WITHIN_S: Final = 30.0


@dataclass(slots=True)
class Seat:
    """A writer's place: who sits there, and what was heard from it."""

    number: int
    child: Child
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = -1
    """The last round it finished."""
    answered: int = 0
    listener: asyncio.Task[Any] | None = None


class Writers:
    """All of them. ``url`` is the database as their login sees it."""

    def __init__(
        self,
        url: str,
        script: Script,
        processes: Processes,
        folder: Path,
        ports: Ports,
        rng: Rng,
        course: Course,
    ) -> None:
        self._url = url
        self._script = script
        self._processes = processes
        self._folder = folder
        self._ports = ports
        self._rng = rng
        self._course = course
        self._seats: list[Seat] = []

    async def start(self) -> None:
        """Start all and wait until each can ask."""
        for number in range(WRITERS):
            steps = [[asdict(step) for step in one[number]] for one in self._script.rounds]
            self._file(number, "plan").write_text(json.dumps(steps), "utf-8")
            self._seats.append(Seat(number, await self._process(number)))
            self._listen(self._seats[-1])
        for seat in self._seats:
            await asyncio.wait_for(seat.ready.wait(), START_WITHIN_S)

    def go(self, number: int) -> None:
        """Let all do the steps of a round."""
        for seat in self._seats:
            seat.child.tell(f"go {number}")

    async def finish(self, number: int) -> None:
        """Wait until all have done them."""
        await self._wait(
            lambda: all(seat.done >= number for seat in self._seats),
            f"round {number + 1} of the writers",
        )

    async def kill_two(self, number: int) -> None:
        """In the middle of a round; they come back with the same keys and do the round once more."""
        first = self._rng.bits(16) % WRITERS
        for place in (first, (first + 3) % WRITERS):
            await self._kill(self._seats[place], number)

    async def end(self) -> None:
        """Let them ask what became of their replacements, and end."""
        for seat in self._seats:
            seat.child.tell("end")
        for seat in self._seats:
            code = await seat.child.end(END_WITHIN_S)
            if code != 0:
                self._course.unexpected.append(f"{seat.child.name} ended with exit code {code}")
            if code is not None:
                await self._processes.forget(seat.child)

    async def _kill(self, seat: Seat, number: int) -> None:
        at = seat.answered + 1 + self._rng.bits(16) % 3
        await self._wait(
            lambda: seat.answered >= at or seat.done >= number, "a writer's first answers"
        )
        seat.child.signal(signal.SIGKILL)
        await seat.child.process.wait()
        self._course.writer_kills += 1
        await self._processes.forget(seat.child)
        assert seat.listener is not None
        await seat.listener
        seat.done = min(seat.done, number - 1)
        seat.ready.clear()
        seat.child = await self._process(seat.number)
        self._listen(seat)
        await asyncio.wait_for(seat.ready.wait(), START_WITHIN_S)
        seat.child.tell(f"go {number}")

    async def _process(self, number: int) -> Child:
        return await self._processes.start(
            f"writer-{number}",
            "workers.demo.writers",
            str(self._file(number, "plan")),
            str(self._file(number, "record")),
            str(self._rng.bits(32)),
            env={"LEDGER_DATABASE_URL": self._url},
            talks=True,
        )

    def _file(self, number: int, kind: str) -> Path:
        return self._folder / f"writer-{number}.{kind}.json"

    def _listen(self, seat: Seat) -> None:
        seat.listener = self._ports.tasks.spawn(_hear(seat, seat.child), name="demo-hear")

    async def _wait(self, condition: Any, what: str) -> None:
        if not await until(self._ports.clock, condition, ROUND_WITHIN_S):
            self._course.unexpected.append(f"not within {ROUND_WITHIN_S:.0f} s: {what}")


async def _hear(seat: Seat, child: Child) -> None:
    assert child.process.stdout is not None
    while line := (await child.process.stdout.readline()).decode().split():
        if line[0] == "ready":
            seat.ready.set()
        elif line[0] == "answered":
            seat.answered += 1
        elif line[0] == "done":
            seat.done = int(line[1])
