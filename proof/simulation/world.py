"""One schedule's world: its clock, its chance, its actors, what may befall them, and the record of what they did.

An *effect* is what outlives a process: a commit of the database, a byte that reached the venue, an answer that came
back. Before and after each the world may strike: kill the process, stop it for a while, or lose the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Final

from app.clock import AsyncioTasks, Ports, SeededRng
from proof.auditor.interface import Outage
from proof.simulation.loop import ACTOR, Actor, Loop
from proof.simulation.seam import START_US, Store

BEFORE: Final = "before"
AFTER: Final = "after"


@dataclass(frozen=True, slots=True)
class Strike:
    """What befalls a process, and where: at the ``nth`` effect of ``actor`` (of the place named, if one is)."""

    actor: str
    deed: str
    """kill, pause or lose (the answer of a commit; before: nothing was committed either)."""
    when: str = BEFORE
    nth: int = 1
    place: str = ""
    for_ms: int = 0
    """Of a pause; of a kill: until it is started again."""


class SimClock:
    """A process's clocks: a wall that may be off and step, and a monotonic one that goes as time does."""

    def __init__(self, world: World, actor: Actor) -> None:
        self.world = world
        self._actor = actor

    def now_ms(self) -> int:
        return self.world.now_us // 1000 + self._actor.wall_offset_ms

    def monotonic_ns(self) -> int:
        return self.world.loop.now_ns

    async def sleep(self, seconds: float) -> None:
        """At least so long, as every sleep is: a busy machine wakes nobody in time."""
        if seconds > 0:
            await self.world.loop.nap(self.world.stretched(seconds))
        else:
            await asyncio.sleep(0)


@dataclass(slots=True)
class Trace:
    """Who did what with what outcome, without times and ids; its digest names the schedule."""

    keep: bool = False
    lines: list[str] = field(default_factory=list)
    steps: int = 0
    _hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))

    def note(self, actor: str, step: str, outcome: str) -> None:
        line = f"{actor}\t{step}\t{outcome}\n"
        self.steps += 1
        self._hash.update(line.encode())
        if self.keep:
            self.lines.append(line)

    def digest(self) -> bytes:
        digest: bytes = self._hash.digest()
        return digest


class World:
    """Everything of one schedule."""

    def __init__(self, seed: int, store: Store, *, keep: bool = False) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.loop = Loop(self.chance)  # type: ignore[abstract]
        self.store = store
        self.trace = Trace(keep)
        self.database_offset_us = 0
        self.turn = 0
        self.strikes: list[Strike] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.places: dict[str, tuple[str, int]] = {}
        """Every place of an effect that was met, in order: by whom first, and at which of its times there."""
        self.taken: list[tuple[str, str]] = []
        self.figures: Counter[str] = Counter()
        self.look_at_ends: Callable[[str], None] = lambda _function: None
        """Told of each commit that may have ended an order."""
        self.killed: Callable[[Actor, Strike], None] = lambda _actor, _strike: None
        self.durable: frozenset[str] = frozenset()
        """Functions whose call is a commit."""
        self.committed: dict[str, tuple[int, int]] = {}
        """By process when its last call was carried out: it may have stood still between asking and that."""
        self.outages: list[Outage] = []
        self._able: set[Actor] = set()
        """Workers that were seen to look for cancels, and neither died nor stood still since."""
        self._out_since: tuple[int, int] | None = (0, START_US)
        self.listeners: dict[Any, Callable[..., object]] = {}
        self.heard = False
        """A worker has said of the stream that it is good: from then on orders may leave."""
        self.calm = False
        """Faults are off: the run is being brought to its end."""
        self._started_ns = self.loop.now_ns
        self._context = copy_context()
        self._context.run(ACTOR.set, Actor("world"))

    # --- time ---------------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        return START_US + (self.loop.now_ns - self._started_ns) // 1000

    @property
    def elapsed_ms(self) -> int:
        return (self.loop.now_ns - self._started_ns) // 1_000_000

    def stretched(self, seconds: float) -> float:
        """A sleep as it turns out."""
        return seconds * (1 + self.chance.random() * 0.2) if seconds > 0 else 0

    def later(self, after_ms: float, work: Callable[[], object]) -> None:
        """The world's own doing, whoever's step asks for it."""
        self.loop.call_later(after_ms / 1000, work, context=self._context)

    def ports(self, actor: Actor, salt: int) -> Ports:
        return Ports(SimClock(self, actor), SeededRng(self.seed * 1_000_003 + salt), AsyncioTasks())

    # --- the database's clock -------------------------------------------------------------------------

    def set_database_clock(self) -> None:
        self.store.set_clock(self.now_us + self.database_offset_us)

    # --- effects ------------------------------------------------------------------------------------

    async def meet(self, place: str, when: str) -> str:
        """Called around each effect. Returns the deed if it is the caller's to carry out (``lose``); of a kill
        nobody returns.
        """
        actor = ACTOR.get()
        if when == BEFORE:
            self.turn += 1
            self.counts[actor.name, place] += 1
            self.counts[actor.name, ""] += 1
            met = (actor.name, self.counts[actor.name, place])
            self.places.setdefault(f"{_kind(actor)}:{place}", met)
        for strike in self.strikes:
            if (
                strike.when == when
                and strike.actor == actor.name
                and strike.place in ("", place)
                and self.counts[actor.name, strike.place] == strike.nth
            ):
                self.strikes.remove(strike)
                return await self._strike(actor, strike, place)
        return ""

    async def _strike(self, actor: Actor, strike: Strike, place: str) -> str:
        self.trace.note(actor.name, f"{strike.when} {place}", strike.deed)
        if strike.deed == "kill":
            self.taken.append((f"{_kind(actor)}:{place}", strike.when))
            self.kill(actor, strike)
            await self.never()
        if strike.deed == "pause":
            self.figures["pauses"] += 1
            self.unable(actor)
            actor.asleep_until_ns = self.loop.now_ns + strike.for_ms * 1_000_000
            await asyncio.sleep(0)
        return strike.deed

    def kill(self, actor: Actor, strike: Strike) -> None:
        """The process is gone. Whoever watches over it may start another."""
        self.figures["crashes"] += 1
        self.unable(actor)
        self.loop.kill(actor)
        self.killed(actor, strike)

    def able(self, actor: Actor) -> None:
        """A worker looks for cancels: if nobody could before, that is over."""
        if not self._able and self._out_since is not None:
            turn, at_us = self._out_since
            self.outages.append(Outage(turn, at_us, self.turn, self.now_us))
            self._out_since = None
        self._able.add(actor)

    def unable(self, actor: Actor) -> None:
        """It is gone, or stands still."""
        self._able.discard(actor)
        if not self._able and self._out_since is None:
            self._out_since = (self.turn, self.now_us)

    def all_outages(self) -> list[Outage]:
        """The one that lasts still, too."""
        if self._out_since is None:
            return list(self.outages)
        turn, at_us = self._out_since
        return [*self.outages, Outage(turn, at_us, self.turn, self.now_us)]

    async def never(self) -> None:
        """Wait for ever: what is left of a killed process."""
        await self.loop.create_future()

    def notify(self) -> None:
        """A notification goes out to everybody who listens, some time later."""
        for listener in list(self.listeners.values()):
            listener()


def _kind(actor: Actor) -> str:
    """Worker 1 and worker 2 run the same code."""
    return actor.name.rstrip("0123456789")
