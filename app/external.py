"""Every call to a service outside, except placements and cancels, goes through one of these.

A timeout, bounded retries and a circuit per service, so that one that hangs neither holds its caller
nor is hammered when it comes back. What became of the call is a value: a caller that may go on
without the answer must not have to catch for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app import circuit as machine
from app.circuit import Circuit, Ended, Held, Retry, State, Trip
from app.clock import Ports

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Got(Generic[T]):
    """The service answered."""

    value: T
    tries: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not, in so many tries; ``why`` is the last one's reason and holds no secret."""

    why: str
    tries: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer says about the service. ``ok``: it serves, whatever it answered."""

    ok: bool
    why: str = ""
    wait_ms: int = 0
    """The service asked to be left alone for so long."""


SERVES = Verdict(True)


def always_serves(_answer: object) -> Verdict:
    """For calls whose failures are exceptions."""
    return SERVES


class External:
    """One service outside: its circuit and its policies. Safe for the tasks of one event loop."""

    def __init__(
        self,
        name: str,
        ports: Ports,
        *,
        timeout_ms: int = 10_000,
        trip: Trip | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.name = name
        self._ports = ports
        self._timeout_ms = timeout_ms
        self._trip = trip or Trip()
        self._retry = retry or Retry()
        self._circuit = Circuit()

    @property
    def state(self) -> State:
        """For status pages and metrics."""
        return self._circuit.state

    async def call(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        judge: Callable[[T], Verdict] = always_serves,
        expect: tuple[type[Exception], ...] = (OSError,),
        retry: Retry | None = None,
        timeout_ms: int | None = None,
    ) -> Got[T] | Failed | Held:
        """Await ``work()`` until it serves, under the circuit; `Held` if the circuit lets nothing through.

        ``expect`` are the exceptions with which the service fails; any other passes through. An
        answer that `judge` calls bad is a failure too, and is what the last try is described by.
        """
        retry = retry or self._retry
        limit_ms = timeout_ms or self._timeout_ms
        tried, why = 0, ""
        while True:
            entered = self._enter()
            if isinstance(entered, Held):
                return Failed(why, tried) if tried else entered
            tried += 1
            answer = await self._once(work, judge, expect, entered.era, limit_ms)
            if isinstance(answer, Got):
                return Got(answer.value, tried)
            why = answer
            pause_ms = retry.pause_ms(tried, self._ports.rng.uniform)
            if pause_ms is None or self._circuit.state is State.OPEN:
                return Failed(why, tried)
            await self._ports.clock.sleep(pause_ms / 1000)

    async def _once(
        self,
        work: Callable[[], Awaitable[T]],
        judge: Callable[[T], Verdict],
        expect: tuple[type[Exception], ...],
        era: int,
        limit_ms: int,
    ) -> Got[T] | str:
        """One try: the answer, or why there is none."""
        ended, wait_ms = Ended.ABANDONED, 0
        try:
            async with asyncio.timeout(limit_ms / 1000):
                value = await work()
            verdict = judge(value)
            ended = Ended.WORKED if verdict.ok else Ended.FAILED
            wait_ms = verdict.wait_ms
            return Got(value, 1) if verdict.ok else verdict.why
        except TimeoutError:
            ended = Ended.FAILED
            return f"no answer within {limit_ms} ms"
        except expect as error:
            ended = Ended.FAILED
            return f"{type(error).__name__}: {error}"[:300]
        finally:
            self._leave(era, ended, wait_ms)

    def _enter(self) -> machine.Pass | Held:
        self._circuit, answer = machine.enter(self._circuit, self._trip, self._now_ms())
        return answer

    def _leave(self, era: int, ended: Ended, wait_ms: int) -> None:
        self._circuit = machine.leave(
            self._circuit, self._trip, self._now_ms(), era, ended, wait_ms=wait_ms
        )

    def _now_ms(self) -> int:
        return self._ports.clock.monotonic_ns() // 1_000_000
