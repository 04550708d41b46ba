"""Workers and writers that die and are started again at once, for as long as the campaign lasts.

A *seat* is a place that is always taken; a *life* is one process on it. Some lives end by themselves at a named point
of the code; the others are struck from outside. Every end by SIGKILL is written down, any other end is a finding.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.clock import Clock, Rng
from proof.kills.breeding import COMMANDS
from proof.live import load
from tests.support.forking import Child, Starter
from workers.worker import points

WORKER_POINTS: Final = points.POINTS
WRITER_POINTS: Final = load.POINTS
STARTED: Final = '"event": "STARTED"'
READY: Final = '"event": "ACCOUNT_READY"'
RETRY_MS: Final = 300
"""Until a seat whose life ended by itself is taken again: a start without database would else go round and round."""

MORTAL_MS: Final = 8_000
"""A life that did not reach its point in so long at work is killed where it is."""

SELDOM: Final = ("ask.recorded", "answer.received", "answer.recorded", "cancel.asked")
"""Points that a writer passes all the time: it dies there after some times only, or nobody else would get to work."""

KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Kill:
    """Processes that died of SIGKILL at once. ``kind`` says whose, and at which point where it was a named one."""

    kind: str
    at_ms: int
    count: int = 1
    undone_ms: int = 0
    """When what was struck stood again, of what does not by itself."""


@dataclass(slots=True, eq=False)
class Life:
    """One process on a seat."""

    child: Child
    log: Path
    began_ms: int
    point: str = ""
    killed: bool = False
    commands: int = -1
    """Our end of a writer's standard input."""
    up_ms: int = 0
    """Since when it is past its start."""
    ready_ms: int = 0
    """Since when it can do its work: a worker has compared ledger and venue before."""

    def said(self, word: str) -> int:
        """How many lines of its log hold that word."""
        if not self.log.exists():
            return 0
        return sum(word in line for line in self.log.read_text("utf-8", "replace").splitlines())

    def tell(self, word: str) -> None:
        os.write(self.commands, f"{word}\n".encode())


@dataclass(slots=True)
class Seat:
    """Where one life follows another."""

    name: str
    role: str
    """``worker`` or ``writer``."""
    env: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    mortal: bool = True
    """Whether its lives may end at points."""
    always: str = ""
    """The point at which all of them end, and after how many times."""
    life: Life | None = None
    lives: int = 0
    empty_until_ms: int = 0

    @property
    def up(self) -> bool:
        """Past its start."""
        return self.life is not None and self.life.up_ms > 0

    @property
    def ready(self) -> bool:
        """At work."""
        return self.life is not None and self.life.ready_ms > 0

    def look(self, now_ms: int) -> None:
        """Whether it is, by what it said."""
        if self.life is None or self.life.ready_ms:
            return
        up, ready = (STARTED, READY) if self.role == "worker" else ("ready", "ready")
        if self.life.said(up):
            self.life.up_ms = self.life.up_ms or now_ms
        if self.life.said(ready):
            self.life.ready_ms = now_ms


@dataclass(slots=True)
class Toll:
    """Who died so far, and at which points."""

    kills: list[Kill] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    given_up: int = 0
    """Starts that ended by themselves, as they say, while the database was away."""


class Crowd:
    """All seats. ``troubled`` says whether a start may find no database now."""

    def __init__(
        self,
        breeder: Starter,
        folder: Path,
        clock: Clock,
        rng: Rng,
        troubled: Callable[[], bool],
    ) -> None:
        self._breeder = breeder
        self._folder = folder
        self._clock = clock
        self._rng = rng
        self._troubled = troubled
        self.seats: list[Seat] = []
        self.toll = Toll()
        self.staffed = True
        """Whether an empty seat is to be taken."""
        self.mortal = False
        """Whether lives may end at points."""
        self.going = False

    def of(self, role: str) -> list[Seat]:
        return [seat for seat in self.seats if seat.role == role]

    # --- from one life to the next --------------------------------------------------------------------

    def tend(self) -> None:
        """Bury who died, start who is missing, end who waits for a point that does not come."""
        now_ms = self._clock.now_ms()
        for seat in self.seats:
            life = seat.life
            if life is not None:
                seat.look(now_ms)
                code = life.child.poll()
                if code is None:
                    if life.point and life.ready_ms and now_ms - life.ready_ms > MORTAL_MS:
                        self.kill(seat)
                    continue
                self._bury(seat, life, code, now_ms)
            if self.staffed and now_ms >= seat.empty_until_ms:
                self._start(seat, now_ms)

    def kill(self, seat: Seat, kind: str = "") -> bool:
        """SIGKILL now. Whether there was somebody who had not been struck yet."""
        life = seat.life
        if life is None or life.killed or life.child.poll() is not None:
            return False
        life.killed = True
        life.child.kill()
        self.toll.kills.append(Kill(kind or seat.role, self._clock.now_ms()))
        return True

    def ready(self, role: str) -> list[Seat]:
        """Those of that role that are at work."""
        return [seat for seat in self.of(role) if seat.ready]

    def strike(self, role: str) -> bool:
        """Somebody of that role who is to meet no point; who is to has his time for it."""
        free = [seat for seat in self.of(role) if seat.life is not None and not seat.life.point]
        return bool(free) and self.kill(free[self._rng.bits(32) % len(free)])

    def _bury(self, seat: Seat, life: Life, code: int, now_ms: int) -> None:
        up = seat.up
        seat.life = None
        if life.commands >= 0:
            os.close(life.commands)
        if life.killed and code == -signal.SIGKILL:
            return
        if code == -signal.SIGKILL and life.point:
            self.toll.kills.append(Kill(f"{seat.role} at {life.point}", now_ms))
            return
        seat.empty_until_ms = now_ms + RETRY_MS
        if code == 0 and not self.staffed:
            return
        if not up and self._troubled():
            self.toll.given_up += 1
            return
        last = life.log.read_text("utf-8", "replace").splitlines()[-1:] if life.log.exists() else []
        self.toll.unexpected.append(
            f"{seat.name} (life {seat.lives}) ended with exit code {code}: {''.join(last)[:300]}"
        )

    def _start(self, seat: Seat, now_ms: int) -> None:
        seat.lives += 1
        point = seat.always.partition(":")[0] or self._point(seat)
        env = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(seat.env)
        if point:
            variable = "LEDGER_TEST_STOP_AT" if seat.role == "worker" else "PROOF_STOP_AT"
            most = 30 if point in SELDOM else 1 if point.startswith(("start.", "resume.")) else 3
            env[variable] = seat.always or f"{point}:{1 + self._rng.bits(32) % most}"
        log = self._folder / f"{seat.name}.{seat.lives}.log"
        commands = -1
        if seat.role == "writer":
            pipe = self._folder / f"{seat.name}.{seat.lives}.pipe"
            os.mkfifo(pipe, 0o600)
            commands = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
            env[COMMANDS] = str(pipe)
        what = "command" if seat.role == "worker" else "writer"
        child = self._breeder.start(what, seat.arguments, env=env, cwd=self._folder, log=log)
        seat.life = Life(child, log, now_ms, point, commands=commands)
        if commands >= 0 and self.going:
            seat.life.tell("go")

    def _point(self, seat: Seat) -> str:
        """One of those that were tried least; none where nobody else is there to go on."""
        others = any(other.ready for other in self.of(seat.role) if other is not seat)
        if not (self.mortal and seat.mortal and others) or self._rng.bits(32) % 4 == 0:
            return ""
        names = WORKER_POINTS if seat.role == "worker" else WRITER_POINTS
        least = min(self.toll.tried[name] for name in names)
        among = [name for name in names if self.toll.tried[name] == least]
        chosen = among[self._rng.bits(32) % len(among)]
        self.toll.tried[chosen] += 1
        return chosen

    # --- all of them ----------------------------------------------------------------------------------

    def go(self) -> None:
        """Writers ask from now on, and lives end at points."""
        self.going = self.mortal = True
        for seat in self.of("writer"):
            if seat.life is not None:
                seat.life.tell("go")
        for seat in self.of("worker"):
            if seat.mortal:  # for one who is to die at a point
                self.kill(seat)

    def calm(self) -> None:
        """Nobody dies at a point any more; who might is killed now and followed by one who does not."""
        self.going = self.mortal = False
        for seat in self.seats:
            seat.always = ""
            if seat.life is not None and seat.life.point:
                self.kill(seat)

    def end(self) -> None:
        """Whoever is left, without a word."""
        self.staffed = False
        for seat in self.seats:
            if seat.life is not None:
                seat.life.child.kill()
                if seat.life.commands >= 0:
                    os.close(seat.life.commands)
                seat.life = None
