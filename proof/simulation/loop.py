"""An event loop without time and sockets: which process runs next is drawn from the seed, timers jump the clock.

Each simulated process is an `Actor` with a queue of its own, in which things stay in order as they do in a real loop;
between actors nothing is ordered. Everything a task does until its next wait is one step. A killed actor's steps are
never run again, which is all that a SIGKILL leaves of a process; a paused one's run when it wakes.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import random
import sys
import warnings
from asyncio import futures
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Final

RUNS_ON: Final = 700_000
"""Of a million: how often the actor that ran goes on, if it can."""


MOST_TASKS: Final = 4_000

COLLECT_EVERY: Final = 16
"""Schedules between two collections of what they left in circles."""

WAKE: Final = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
"""What `asyncio.sleep` does when its time is there: it only makes its task ready, which is no step of a process."""


class Actor:
    """One process, or the venue, or the world around them. ``incarnation`` counts its starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.alive = True
        self.asleep_until_ns = 0
        self.wall_offset_ms = 0
        self.steps = 0
        self.queued = False
        self.kept: list[Any] = []
        """What a killed process held: kept to the end, so that nothing of it is tidied up meanwhile."""

    def __repr__(self) -> str:
        return f"<{self.name}{'' if self.alive else ' dead'}>"


WORLD: Final = Actor("world")
ACTOR: ContextVar[Actor] = ContextVar("actor", default=WORLD)


class Stuck(Exception):
    """Nothing can run and nothing is due, or far more ran than any schedule needs."""


class Loop(asyncio.AbstractEventLoop):
    """What asyncio needs of a loop, and no more: the rest raises `NotImplementedError` by itself."""

    def __init__(self, chance: random.Random, start_ns: int = 1_000_000_000) -> None:
        self.now_ns = start_ns
        self.chance = chance
        self.steps = 0
        self.closed = False
        self.failures: list[dict[str, Any]] = []
        self._queued: list[Actor] = []
        self._last: Actor | None = None
        self._timers: list[tuple[int, int, asyncio.TimerHandle | asyncio.Future[None]]] = []
        self._order = count()
        self._agens: list[Any] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._world = copy_context()
        self._world.run(ACTOR.set, Actor("world"))

    # --- what asyncio asks for ----------------------------------------------------------------------

    def time(self) -> float:
        return self.now_ns / 1e9

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.closed

    def is_closed(self) -> bool:
        return self.closed

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._at_ns(self.now_ns + int(delay * 1e9), callback, args, context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._at_ns(int(when * 1e9), callback, args, context)

    def _at_ns(
        self, when_ns: int, callback: Callable[..., object], args: Any, context: Context | None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when_ns / 1e9, callback, args, self, context)
        heapq.heappush(self._timers, (when_ns, next(self._order), handle))
        return handle

    def nap(self, seconds: float) -> asyncio.Future[None]:
        """Done when its time has come: `asyncio.sleep` without a handle, for what sleeps most."""
        over: asyncio.Future[None] = asyncio.Future(loop=self)
        heapq.heappush(self._timers, (self.now_ns + int(seconds * 1e9), next(self._order), over))
        return over

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        # A killed process leaves its tasks as they stand; that is no mistake to be told of.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        # Held, or what a killed process was doing might be tidied up in the middle of the run.
        self._tasks.append(task)
        if len(self._tasks) > MOST_TASKS:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task that nobody waited for has failed."""
        if not self.closed:
            self.failures.append(context)

    # --- running ------------------------------------------------------------------------------------

    def _enqueue(self, handle: asyncio.Handle) -> None:
        if self.closed:
            return
        actor = handle._context.get(ACTOR, WORLD)  # type: ignore[attr-defined]
        if not actor.alive:
            actor.kept.append(handle)
            return
        actor.ready.append(handle)
        if not actor.queued:
            actor.queued = True
            self._queued.append(actor)

    def spawn(self, actor: Actor, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task of an actor."""
        context = copy_context()
        context.run(ACTOR.set, actor)
        return self.create_task(work, name=name, context=context)

    def run(self, until: Callable[[], bool], most_steps: int) -> None:
        """Step until ``until``. Raises `Stuck`."""
        before = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        # Held to the end: no generator of a killed process is tidied up while others still run.
        sys.set_asyncgen_hooks(firstiter=self._agens.append, finalizer=lambda _one: None)
        end = self.steps + most_steps
        try:
            while not until():
                if self.steps >= end:
                    raise Stuck(f"{most_steps} steps were not enough")
                self._step()
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*before)

    def _step(self) -> None:
        timers = self._timers
        if timers and timers[0][0] <= self.now_ns:
            self._take_due()
        queued, last = self._queued, self._last
        if len(queued) == 1 and queued[0].asleep_until_ns <= self.now_ns:
            actor = queued[0]
        elif last is not None and last.ready and last.asleep_until_ns <= self.now_ns and self._on():
            actor = last
        else:
            actor = self._choose()
        handle = actor.ready.popleft()
        if not actor.ready:
            actor.queued = False
            self._queued.remove(actor)
        if handle._cancelled:
            return
        self.steps += 1
        actor.steps += 1
        self._last = actor
        handle._run()

    def _on(self) -> bool:
        """Whether the actor that ran goes on."""
        return self.chance.random() * 1_000_000 < RUNS_ON

    def _choose(self) -> Actor:
        """Who runs next, time having passed if nobody could run before."""
        while True:
            now_ns = self.now_ns
            awake = [one for one in self._queued if one.asleep_until_ns <= now_ns]
            if awake:
                return awake[0 if len(awake) == 1 else int(self.chance.random() * len(awake))]
            self._pass_time()
            self._take_due()

    def _take_due(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now_ns:
            due = heapq.heappop(timers)[2]
            if isinstance(due, asyncio.Future):
                if not due.done():
                    due.set_result(None)
                continue
            due._scheduled = False  # type: ignore[attr-defined]
            if due._cancelled:
                continue
            if due._callback is WAKE:  # type: ignore[attr-defined]
                WAKE(*due._args)
            else:
                self._enqueue(due)

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        next_ns = timers[0][0] if timers else None
        for one in self._queued:
            if next_ns is None or one.asleep_until_ns < next_ns:
                next_ns = one.asleep_until_ns
        if next_ns is None:
            raise Stuck("nothing can run, and nothing is due")
        self.now_ns = max(self.now_ns, next_ns)

    # --- ends ---------------------------------------------------------------------------------------

    def kill(self, actor: Actor) -> None:
        """SIGKILL: nothing of it runs again, and nothing is said."""
        actor.alive = False
        actor.kept.extend(actor.ready)
        actor.ready.clear()
        if actor.queued:
            actor.queued = False
            self._queued.remove(actor)

    def close(self) -> None:
        """Drop everything that was under way. What the dropped would still say about that is not heard."""
        self.closed = True
        for actor in self._queued:
            actor.ready.clear()
        self._queued.clear()
        self._timers.clear()
        with unheard():
            self._agens.clear()
            self._tasks.clear()


@contextmanager
def unheard() -> Iterator[None]:
    """Coroutines that are dropped in the middle complain of it; nobody listens."""
    heard = sys.unraisablehook
    sys.unraisablehook = lambda _complaint: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = heard


@contextmanager
def settled_memory() -> Iterator[None]:
    """What is there by now stays: collections need not look at it again, and they come when they are called for."""
    _tidy()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        _tidy()
        gc.unfreeze()
        gc.enable()


def _tidy() -> None:
    """What is dropped in the middle leaves the errors of its end behind, in circles of their own."""
    with unheard():
        for _ in range(3):
            gc.collect()


_left = count(1)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No tidying up while a schedule runs; behind it all of it, or behind every so many where memory was settled."""
    settled = not gc.isenabled()
    gc.disable()
    try:
        with unheard():
            yield
            if not settled or next(_left) % COLLECT_EVERY == 0:
                gc.collect()
            if not settled:
                gc.collect()
    finally:
        if not settled:
            gc.enable()
