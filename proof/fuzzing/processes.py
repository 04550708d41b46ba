"""Several processes that fuzz, and one that watches them: a target that kills or freezes a process is found too.

Each child takes turns through its targets. Before each input it writes the input's number into shared memory, so that
whoever watches knows what a dead or silent child was doing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from app.clock import Clock, SystemClock
from proof.fuzzing import targets
from proof.fuzzing.engine import Tally, drive
from proof.fuzzing.model import Check, Surroundings, Target

SILENT_S: Final = 300.0
"""Without a word from a child it is taken for frozen: no target may take as long for a turn and to be opened."""

_TURN_S: Final = 1.0
_LEAST_NS: Final = 50_000_000
_DATABASE_PART: Final = 0.45
"""Of the first child's time, where there are targets that need a database."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one child does."""

    names: tuple[str, ...]
    first: int
    step: int
    offset: int
    ends_ns: int
    workdir: Path


@dataclass(slots=True)
class _Child:
    order: Order
    process: BaseProcess
    pipe: Connection
    at: Any
    """The number of the input that is under way."""
    now: str = ""
    heard_ns: int = 0
    ended: bool = False


@dataclass(slots=True)
class Crew:
    """Runs orders in processes of their own and gathers what they tell."""

    clock: Clock = field(default_factory=SystemClock)
    silent_s: float = SILENT_S
    method: str = "spawn"
    """How a child begins."""
    tally: dict[str, Tally] = field(default_factory=dict)

    def run(self, orders: Sequence[Order]) -> dict[str, Tally]:
        """Until all have ended, of themselves or not."""
        context: Any = multiprocessing.get_context(self.method)
        children = [self._start(context, order) for order in orders if order.names]
        while open_ones := [one for one in children if not one.ended]:
            told = wait([one.pipe for one in open_ones], timeout=1)
            for child in open_ones:
                if child.pipe in told:
                    self._hear(child)
                elif self.clock.monotonic_ns() - child.heard_ns > self.silent_s * 1e9:
                    self._lost(child, "froze its process")
                if child.ended and (rest := _after(child)):
                    children.append(self._start(context, rest))
        return self.tally

    def _start(self, context: Any, order: Order) -> _Child:
        ours, theirs = context.Pipe(duplex=False)
        at = context.Value("q", 0, lock=False)
        process = context.Process(target=child_main, args=(order, theirs, at))
        process.start()
        theirs.close()
        return _Child(order, process, ours, at, heard_ns=self.clock.monotonic_ns())

    def _hear(self, child: _Child) -> None:
        try:
            word, name, told = child.pipe.recv()
        except EOFError:
            child.process.join()
            if child.process.exitcode != 0:
                self._lost(child, f"ended its process ({child.process.exitcode})")
            else:
                child.now = ""
            child.ended = True
            return
        child.heard_ns = self.clock.monotonic_ns()
        if word == "begin":
            child.now = name
        else:
            self.tally.setdefault(name, Tally()).add(told)
            child.now = ""

    def _lost(self, child: _Child, how: str) -> None:
        child.process.kill()
        child.process.join()
        name = child.now or "(no target)"
        seed = int(child.at.value)
        kind = "hang" if "froze" in how else "crash"
        self.tally.setdefault(name, Tally()).broke(name, kind, seed, how, f"{name}: {how}")
        child.ended = True


def _after(child: _Child) -> Order | None:
    """What is left for a new child after one that was lost: everything but the target that it was lost in."""
    names = tuple(name for name in child.order.names if name != child.now)
    if not child.now or len(names) == len(child.order.names):
        return None
    order = child.order
    return Order(names, order.first, order.step, order.offset, order.ends_ns, order.workdir)


# --- in a child -----------------------------------------------------------------------------------


def child_main(order: Order, pipe: Connection, at: Any) -> None:
    """Turns through the targets until the time is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    with ExitStack() as stack:
        turns = Turns(order, pipe, at, stack)
        turns.run()
    pipe.close()


class Turns:
    """Each target in its turn, in proportion to its weight, each going on with the number it had come to."""

    def __init__(self, order: Order, pipe: Connection, at: Any, stack: ExitStack) -> None:
        self._order = order
        self._pipe = pipe
        self._at = at
        self._stack = stack
        self._clock = SystemClock()
        self._checks: dict[str, Check] = {}
        self._numbers: dict[str, Iterator[int]] = {}
        self._spent_s: dict[str, float] = {}
        self._turn_s = _TURN_S

    def run(self) -> None:
        chosen = [targets.ALL[name] for name in self._order.names]
        ends_ns = self._order.ends_ns
        left_s = (ends_ns - self._clock.monotonic_ns()) / 1e9
        # Short enough that each target has its turn several times over.
        self._turn_s = min(_TURN_S, max(0.05, left_s / (4 * len(chosen))))
        while self._clock.monotonic_ns() < ends_ns:
            self._turn(self._next(chosen), ends_ns)
        for target in chosen:
            if target.name not in self._spent_s:
                # Nobody is left out, however late it has become.
                self._turn(target, self._clock.monotonic_ns() + _LEAST_NS)

    def _next(self, chosen: list[Target]) -> Target:
        """Whose part of the time is spent least."""
        base = sum(one.weight for one in chosen if one.needs_database)
        rest = sum(one.weight for one in chosen if not one.needs_database)

        def due(one: Target) -> float:
            if not base or not rest:
                part = one.weight
            elif one.needs_database:
                part = one.weight / base * _DATABASE_PART
            else:
                part = one.weight / rest * (1 - _DATABASE_PART)
            return self._spent_s.get(one.name, 0.0) / part

        return min(chosen, key=due)

    def _turn(self, target: Target, ends_ns: int) -> None:
        name = target.name
        self._pipe.send(("begin", name, None))
        if name not in self._checks:
            opened = target.opened(Surroundings(self._order.workdir))
            self._checks[name] = self._stack.enter_context(opened)
            self._numbers[name] = itertools.count(
                self._order.first + self._order.offset, self._order.step
            )
        started_ns = self._clock.monotonic_ns()
        until_ns = max(min(ends_ns, started_ns + int(self._turn_s * 1e9)), started_ns + _LEAST_NS)

        def going(number: int) -> bool:
            self._at.value = number
            return self._clock.monotonic_ns() < until_ns

        tally = drive(target, self._checks[name], self._numbers[name], going)
        self._spent_s[name] = (
            self._spent_s.get(name, 0.0) + (self._clock.monotonic_ns() - started_ns) / 1e9
        )
        self._pipe.send(("done", name, tally))
