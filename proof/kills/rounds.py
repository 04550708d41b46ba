"""One round: the crowd dies for a while, the server with it, something lasting befalls the field; then all is judged.

Service is measured from outside, twice: by reservations that were admitted, and by orders that reached the venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.clock import Rng
from proof.kills.blows import BLOWS, pausing
from proof.kills.crowd import Kill
from proof.kills.field import Field
from proof.live.auditing import broken_invariants
from proof.live.judging import Judgement, judged
from proof.live.measuring import longest_gap
from workers.demo.course import until

BETWEEN_S: Final = (0.15, 0.6)
WORKER_PERCENT, HEIR_PERCENT, WRITER_PERCENT = 10, 45, 30
"""Of all turns. Who has the work keeps it: one that is to die at a point gets there when the others die. So a worker is
struck more often while such an heir is at work.
"""

SERVER_APART_MS: Final = 8_000
"""From the server's return to its next death: there has to be a service to interrupt."""

ENOUGH: Final = 2
"""So many workers are at work before one of them, or the server, is struck: on a slow machine nobody would
else ever place an order.
"""

NOTICED_S: Final = 0.2
"""Until a postmaster has noticed that one of its own died; a moment before it still takes sessions."""

SERVED_S: Final = 60.0
AFTER_MS: Final = 1_000
"""The service is looked at from the blow until so long after its end."""

LASTS_S: Final = 3.0
ALL: Final = "postgres, all of it"
POSTMASTER: Final = "postgres, the postmaster"
SESSION: Final = "postgres, a session"
HOUSEHOLD: Final = "postgres, of its household"
SERVER: Final = (ALL, SESSION, POSTMASTER, HOUSEHOLD)


@dataclass(frozen=True, slots=True)
class Gap:
    """For how long nobody was served around one blow."""

    kind: str
    fault: bool
    """Something that lasted, and not a kill."""
    admitted_ms: int
    placed_ms: int


@dataclass(frozen=True, slots=True)
class Round:
    """What happened in one round."""

    number: int
    fault: str
    kills: tuple[Kill, ...]
    gaps: tuple[Gap, ...]
    lasted_ms: int
    judged_ms: int
    unserved: bool

    def __str__(self) -> str:
        most = max((gap.admitted_ms for gap in self.gaps), default=0)
        return (
            f"{self.number}: {len(self.kills)} kills in {self.lasted_ms / 1000:.0f} s, "
            f"beside {self.fault or 'nothing'}; "
            f"longest without admission {most / 1000:.1f} s; judged in {self.judged_ms / 1000:.0f} s"
        )


class Conductor:
    """Strikes until the round is over."""

    def __init__(self, field: Field, rng: Rng, end_ns: int) -> None:
        self._field = field
        self._clock = field.ports.clock
        self._rng = rng
        self._end_ns = end_ns
        self._server = list(SERVER)
        self._next_server_ms = self._clock.now_ms() + SERVER_APART_MS // 2
        self.server = asyncio.Lock()
        """Held by what is done to it: one cause at a time, or the time without service says nothing."""

    async def conduct(self) -> None:
        while self._clock.monotonic_ns() < self._end_ns:
            await self._strike()
            await self._clock.sleep(self._rng.uniform(*BETWEEN_S))

    async def _strike(self) -> None:
        roll = self._rng.bits(32) % 100
        ready = [seat.life for seat in self._field.crowd.ready("worker")]
        staffed = len(ready) >= ENOUGH
        heir = any(life is not None and life.point for life in ready)
        due = self._clock.now_ms() >= self._next_server_ms
        if staffed and due and not self.server.locked():
            kind = self._server[self._rng.bits(32) % len(self._server)]
            self._server.remove(kind)
            self._server = self._server or list(SERVER)
            async with self.server:
                await self._strike_server(kind)
            self._next_server_ms = self._clock.now_ms() + SERVER_APART_MS
        elif staffed and roll < (HEIR_PERCENT if heir else WORKER_PERCENT):
            self._field.crowd.strike("worker")
        elif roll > 100 - WRITER_PERCENT:
            self._field.crowd.strike("writer")

    async def _strike_server(self, kind: str) -> None:
        postgres, at_ms = self._field.postgres, self._clock.now_ms()
        self._field.trouble()
        blows: dict[str, Callable[[], int]] = {
            ALL: postgres.kill_all,
            POSTMASTER: postgres.kill_postmaster,
            SESSION: lambda: postgres.kill_backend(self._rng),
            HOUSEHOLD: lambda: postgres.kill_household(self._rng),
        }
        count = blows[kind]()
        await self._clock.sleep(NOTICED_S)
        await postgres.start()
        self._field.trouble()
        if count:
            self._field.crowd.toll.kills.append(Kill(kind, at_ms, count, self._clock.now_ms()))


async def play(
    number: int, fault: str, field: Field, rng: Rng, seconds: float
) -> tuple[Round, Judgement]:
    """One whole round, and what the judgement found."""
    clock = field.ports.clock
    began_ms, before = clock.now_ms(), len(field.crowd.toll.kills)
    faults: list[Kill] = []
    field.go()
    conductor = Conductor(field, rng, clock.monotonic_ns() + int(seconds * 1e9))
    striking = field.ports.tasks.spawn(conductor.conduct(), name="strike")
    try:
        if fault:
            await clock.sleep(seconds * rng.uniform(0.2, 0.4))
            async with conductor.server:
                at_ms = clock.now_ms()
                lasting = pausing(field, min(LASTS_S, seconds / 4))
                field.crowd.toll.kills += await BLOWS[fault](field, lasting)
                faults.append(Kill(fault, at_ms, 0, clock.now_ms()))
        await striking
    finally:
        striking.cancel()
        await asyncio.gather(striking, return_exceptions=True)
    ended_ms = clock.now_ms()
    served = await until(clock, lambda: _served_since(field, ended_ms), SERVED_S)
    struck = [one for one in field.crowd.toll.kills[before:] if one.at_ms < ended_ms]
    asked_until_ms = clock.now_ms()
    field.cancelled_all_ms.append(asked_until_ms)
    judgement = await judged(field, field.ports)
    broken = await broken_invariants(field.stage, field.folder, field.cancelled_all_ms)
    told = tuple(f"auditor: {sentence}" for sentence in broken)
    judgement = replace(judgement, problems=(*judgement.problems, *told))
    return (
        Round(
            number,
            fault,
            tuple(field.crowd.toll.kills[before:]),
            tuple(gaps_of(field, judgement, [*struck, *faults], faults, asked_until_ms)),
            ended_ms - began_ms,
            clock.now_ms() - ended_ms,
            not served,
        ),
        judgement,
    )


def _served_since(field: Field, at_ms: int) -> bool:
    return any(told.admitted_ms and told.admitted_ms[-1] > at_ms for told in field.told)


def gaps_of(
    field: Field,
    judgement: Judgement,
    struck: Sequence[Kill],
    faults: Sequence[Kill],
    until_ms: int,
) -> list[Gap]:
    """The time without service around each blow."""
    admitted = sorted(at for told in field.told for at in told.admitted_ms)
    placed = sorted(judgement.placed_ms)
    found = []
    for one in struck:
        end = min(max(one.at_ms, one.undone_ms) + AFTER_MS, until_ms)
        found.append(
            Gap(
                one.kind,
                one in faults,
                longest_gap(admitted, one.at_ms, end),
                longest_gap(placed, one.at_ms, end),
            )
        )
    return found
