"""When a service outside may be asked, and how often: a circuit breaker and a retry policy, as values.

For every external call except placements and cancels: whether an order is sent is decided in the ledger,
and a cancel is held back by nothing of ours. Pure: time comes in as a number, so that a test can hold
every sequence of events against the rules. `app.external` puts a clock and a timeout around it.

A circuit is *closed* (calls pass), *open* (none passes until a time, which doubles with each opening in a
row) or *half open* (a few probes pass; enough good ones close it, one bad one opens it again).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

MOST_DOUBLINGS = 32


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Ended(StrEnum):
    """How a call that was let through ended."""

    WORKED = "worked"
    """The service answered, if only to refuse: it is there."""
    FAILED = "failed"
    """No answer, or one that says it cannot serve."""
    ABANDONED = "abandoned"
    """We gave it up ourselves: proves nothing, and gives its place back."""


@dataclass(frozen=True, slots=True)
class Trip:
    """When a circuit opens, for how long, and what closes it."""

    failures: int = 5
    """So many in a row open it."""
    first_ms: int = 1_000
    most_ms: int = 60_000
    probes: int = 1
    """So many may be under way at once while half open."""
    successes: int = 1
    """So many good probes close it."""

    def __post_init__(self) -> None:
        if min(self.failures, self.first_ms, self.probes, self.successes) < 1:
            raise ValueError("a circuit needs positive numbers")
        if self.most_ms < self.first_ms:
            raise ValueError("a circuit's longest pause is shorter than its first")

    def open_ms(self, openings: int) -> int:
        """How long the ``openings``-th opening in a row lasts."""
        return int(min(self.most_ms, self.first_ms << min(openings - 1, MOST_DOUBLINGS)))


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one circuit. Made new by every event, never changed."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row, while closed."""
    openings: int = 0
    """In a row, without a closing in between."""
    until_ms: int = 0
    """While open: when probes may pass."""
    probing: int = 0
    successes: int = 0
    era: int = 0
    """Counts changes of state. A call that began in another era says nothing about this one."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The call may be made; its end is told with this ``era``."""

    era: int


@dataclass(frozen=True, slots=True)
class Held:
    """The call must not be made; ask again after ``wait_ms``."""

    wait_ms: int


def enter(circuit: Circuit, trip: Trip, now_ms: int) -> tuple[Circuit, Pass | Held]:
    """Ask to make a call."""
    if circuit.state is State.OPEN:
        if now_ms < circuit.until_ms:
            return circuit, Held(circuit.until_ms - now_ms)
        circuit = _changed(circuit, State.HALF_OPEN)
    if circuit.state is State.HALF_OPEN:
        if circuit.probing >= trip.probes:
            return circuit, Held(trip.first_ms)
        circuit = replace(circuit, probing=circuit.probing + 1)
    return circuit, Pass(circuit.era)


def leave(
    circuit: Circuit, trip: Trip, now_ms: int, era: int, ended: Ended, *, wait_ms: int = 0
) -> Circuit:
    """Tell how a call ended that `enter` let through as ``era``.

    ``wait_ms``: the service itself said when to come again. That opens the circuit at once, for at
    least so long: going on asking is what makes a limit a ban.
    """
    if era != circuit.era:
        return circuit
    if circuit.state is State.HALF_OPEN:
        circuit = replace(circuit, probing=circuit.probing - 1)
    match ended:
        case Ended.WORKED:
            return _worked(circuit, trip)
        case Ended.FAILED:
            return _failed(circuit, trip, now_ms, wait_ms)
        case Ended.ABANDONED:
            return circuit


def _worked(circuit: Circuit, trip: Trip) -> Circuit:
    if circuit.state is State.CLOSED:
        return replace(circuit, failures=0)
    successes = circuit.successes + 1
    if successes < trip.successes:
        return replace(circuit, successes=successes)
    return replace(_changed(circuit, State.CLOSED), openings=0)


def _failed(circuit: Circuit, trip: Trip, now_ms: int, wait_ms: int) -> Circuit:
    failures = circuit.failures + 1
    if circuit.state is State.CLOSED and failures < trip.failures and wait_ms <= 0:
        return replace(circuit, failures=failures)
    openings = circuit.openings + 1
    until_ms = now_ms + max(trip.open_ms(openings), wait_ms)
    return replace(_changed(circuit, State.OPEN), openings=openings, until_ms=until_ms)


def _changed(circuit: Circuit, state: State) -> Circuit:
    return Circuit(state, openings=circuit.openings, era=circuit.era + 1)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call that failed is made again at once, for reads that are safe to repeat."""

    tries: int = 3
    first_ms: int = 200
    most_ms: int = 2_000

    def pause_ms(self, tried: int, uniform: Callable[[float, float], float]) -> int | None:
        """How long to wait after ``tried`` tries, or None: that was the last one.

        Half of the doubling pause is chance: callers that failed together must not come back together.
        """
        if tried >= self.tries:
            return None
        whole = min(self.most_ms, self.first_ms << min(tried - 1, MOST_DOUBLINGS))
        return whole // 2 + int(uniform(0, whole / 2))


ONCE = Retry(tries=1)
"""No retry: for calls that may change something."""
