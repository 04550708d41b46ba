"""The circuit breaker: rules that hold for every sequence of events, and the shell around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.circuit import ONCE, Circuit, Ended, Held, Pass, Retry, State, Trip, enter, leave
from app.clock import AsyncioTasks, Ports, SeededRng
from app.external import External, Failed, Got, Verdict

trips = st.builds(
    Trip,
    failures=st.integers(1, 6),
    first_ms=st.integers(1, 2_000),
    most_ms=st.integers(2_000, 120_000),
    probes=st.integers(1, 3),
    successes=st.integers(1, 3),
)


class Breaker(RuleBasedStateMachine):
    """A circuit beside a second, naive account of what it has been told."""

    def __init__(self) -> None:
        super().__init__()
        self.trip = Trip(failures=3, first_ms=100, most_ms=1_500, probes=2, successes=2)
        self.circuit = Circuit()
        self.now_ms = 0
        self.under_way: list[int] = []
        self.opened_at: int | None = None
        self.openings = 0

    @rule(ms=st.integers(0, 700))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def somebody_asks(self) -> None:
        before = self.circuit
        self.circuit, answer = enter(before, self.trip, self.now_ms)
        if isinstance(answer, Pass):
            assert self.circuit.state is not State.OPEN
            self.under_way.append(answer.era)
        else:
            assert answer.wait_ms > 0
            assert before.state is not State.CLOSED

    @precondition(lambda self: self.under_way)
    @rule(
        which=st.integers(0, 50), ended=st.sampled_from(Ended), wait_ms=st.sampled_from((0, 0, 9))
    )
    def a_call_ends(self, which: int, ended: Ended, wait_ms: int) -> None:
        era = self.under_way.pop(which % len(self.under_way))
        before = self.circuit
        wait_ms = wait_ms if ended is Ended.FAILED else 0
        self.circuit = leave(before, self.trip, self.now_ms, era, ended, wait_ms=wait_ms)
        if era != before.era:
            assert self.circuit == before
        if self.circuit.state is State.OPEN and before.state is not State.OPEN:
            self.openings += 1
            assert ended is Ended.FAILED
            pause_ms = self.circuit.until_ms - self.now_ms
            assert pause_ms == min(1_500, 100 * 2 ** (self.openings - 1))
        if self.circuit.state is State.CLOSED and before.state is not State.CLOSED:
            self.openings = 0
            assert ended is Ended.WORKED

    @invariant()
    def probes_are_bounded_and_counted(self) -> None:
        if self.circuit.state is State.HALF_OPEN:
            mine = [era for era in self.under_way if era == self.circuit.era]
            assert self.circuit.probing == len(mine) <= self.trip.probes

    @invariant()
    def it_never_stays_shut(self) -> None:
        """Whatever happened: once nothing is under way and time has passed, a call gets through."""
        if not [era for era in self.under_way if era == self.circuit.era]:
            _, answer = enter(self.circuit, self.trip, self.now_ms + self.trip.most_ms)
            assert isinstance(answer, Pass)

    @invariant()
    def a_closed_one_has_few_failures(self) -> None:
        if self.circuit.state is State.CLOSED:
            assert self.circuit.failures < self.trip.failures


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def drive(trip: Trip, ended: list[Ended]) -> Circuit:
    """One call after another, as fast as the circuit lets them through."""
    circuit, now_ms = Circuit(), 0
    for one in ended:
        circuit, answer = enter(circuit, trip, now_ms)
        while isinstance(answer, Held):
            now_ms += answer.wait_ms
            circuit, answer = enter(circuit, trip, now_ms)
        circuit = leave(circuit, trip, now_ms, answer.era, one)
    return circuit


@given(trips, st.integers(1, 40))
def test_so_many_failures_in_a_row_open_it_and_one_less_does_not(trip: Trip, more: int) -> None:
    assert drive(trip, [Ended.FAILED] * (trip.failures - 1)).state is State.CLOSED
    assert drive(trip, [Ended.FAILED] * (trip.failures + more - 1)).state is State.OPEN


@given(trips)
def test_a_success_in_between_starts_the_count_anew(trip: Trip) -> None:
    row = [Ended.FAILED] * (trip.failures - 1)
    assert drive(trip, [*row, Ended.WORKED, *row]).state is State.CLOSED


@given(trips)
def test_enough_good_probes_close_it_and_the_next_pause_is_short_again(trip: Trip) -> None:
    down = [Ended.FAILED] * (trip.failures + 3)
    closed = drive(trip, [*down, *[Ended.WORKED] * trip.successes])
    assert (closed.state, closed.openings, closed.failures) == (State.CLOSED, 0, 0)
    again = drive(trip, [*down, *[Ended.WORKED] * trip.successes, *down[: trip.failures]])
    assert (again.state, again.openings) == (State.OPEN, 1)


def test_a_slow_failure_of_before_does_not_close_or_open_what_came_after() -> None:
    trip = Trip(failures=1, first_ms=10, most_ms=10)
    circuit, slow = enter(Circuit(), trip, 0)
    circuit, quick = enter(circuit, trip, 0)
    assert isinstance(slow, Pass)
    assert isinstance(quick, Pass)
    circuit = leave(circuit, trip, 0, quick.era, Ended.FAILED)
    circuit, probe = enter(circuit, trip, 10)
    assert isinstance(probe, Pass)
    assert leave(circuit, trip, 11, slow.era, Ended.WORKED) == circuit
    assert leave(circuit, trip, 11, slow.era, Ended.FAILED) == circuit
    assert leave(circuit, trip, 11, probe.era, Ended.WORKED).state is State.CLOSED


def test_an_abandoned_probe_gives_its_place_back() -> None:
    trip = Trip(failures=1, first_ms=10, most_ms=10)
    circuit = leave(Circuit(), trip, 0, 0, Ended.FAILED)
    circuit, probe = enter(circuit, trip, 10)
    assert isinstance(probe, Pass)
    circuit, held = enter(circuit, trip, 10)
    assert isinstance(held, Held)
    circuit = leave(circuit, trip, 10, probe.era, Ended.ABANDONED)
    circuit, another = enter(circuit, trip, 10)
    assert isinstance(another, Pass)


def test_a_service_that_says_when_to_come_again_is_left_alone_so_long() -> None:
    circuit = leave(Circuit(), Trip(), 1_000, 0, Ended.FAILED, wait_ms=30_000)
    assert (circuit.state, circuit.until_ms) == (State.OPEN, 31_000)


@given(trips, st.integers(1, 200))
def test_the_pause_is_bounded_however_often_it_opened(trip: Trip, openings: int) -> None:
    assert trip.first_ms <= trip.open_ms(openings) <= trip.most_ms
    assert trip.open_ms(openings + 1) >= trip.open_ms(openings)


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"probes": 0}, {"successes": 0}, {"first_ms": 9, "most_ms": 8}]
)
def test_a_policy_that_could_never_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="circuit"):
        Trip(**wrong)


@given(st.integers(1, 8), st.integers(1, 1_000), st.integers(1, 5_000), st.integers(0, 2**32))
def test_retries_are_bounded_in_number_and_length(
    tries: int, first: int, most: int, seed: int
) -> None:
    retry = Retry(tries, first, most)
    rng = SeededRng(seed)
    pauses = [retry.pause_ms(tried, rng.uniform) for tried in range(1, tries + 3)]
    assert [pause is None for pause in pauses] == [False] * (tries - 1) + [True] * 3
    assert all(0 <= pause <= max(first, most) for pause in pauses if pause is not None)


# --- the shell -----------------------------------------------------------------------------------


@dataclass
class HandClock:
    """Time moves only when somebody sleeps."""

    ns: int = 0
    slept: list[float] = field(default_factory=list)

    def now_ms(self) -> int:
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += int(seconds * 1e9)
        await asyncio.sleep(0)


def external(trip: Trip | None = None, retry: Retry | None = None) -> tuple[External, HandClock]:
    clock = HandClock()
    ports = Ports(clock, SeededRng(1), AsyncioTasks())
    return External("test", ports, trip=trip, retry=retry, timeout_ms=50), clock


def answers(*given: object) -> tuple[Callable[[], Awaitable[object]], list[int]]:
    """Work that answers (or raises) one thing after another, the last one for ever."""
    left, calls = list(given), [0]

    async def work() -> object:
        calls[0] += 1
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return one

    return work, calls


async def test_a_failed_call_is_made_again_and_its_answer_returned() -> None:
    service, clock = external()
    work, calls = answers(ConnectionResetError("reset"), OSError("no route"), "fine")
    assert await service.call(work) == Got("fine", 3)
    assert calls == [3]
    assert len(clock.slept) == 2


async def test_after_the_last_try_the_reason_is_told() -> None:
    service, _ = external()
    work, calls = answers(ConnectionResetError("reset"))
    assert await service.call(work) == Failed("ConnectionResetError: reset", 3)
    assert calls == [3]


async def test_a_call_that_hangs_is_given_up_in_time() -> None:
    service, _ = external(retry=ONCE)
    assert await service.call(asyncio.Event().wait) == Failed("no answer within 50 ms", 1)


async def test_an_open_circuit_answers_without_asking() -> None:
    service, clock = external(Trip(failures=2, first_ms=1_000), ONCE)
    work, calls = answers(OSError("away"))
    for _ in range(2):
        assert isinstance(await service.call(work), Failed)
    assert service.state == "open"
    assert await service.call(work) == Held(1_000)
    assert calls == [2]
    clock.ns += 1_000_000_000
    good, _ = answers("back")
    assert await service.call(good) == Got("back", 1)
    assert service.state == "closed"


async def test_an_answer_that_is_no_service_counts_as_a_failure() -> None:
    service, _ = external(Trip(failures=9), Retry(tries=2))
    work, calls = answers(503)

    def judge(status: object) -> Verdict:
        return Verdict(status != 503, f"HTTP {status}")

    assert await service.call(work, judge=judge) == Failed("HTTP 503", 2)
    assert calls == [2]


async def test_being_told_to_wait_ends_the_retries() -> None:
    service, clock = external()
    work, calls = answers(429)

    def judge(status: object) -> Verdict:
        return Verdict(False, "HTTP 429", wait_ms=30_000)

    assert await service.call(work, judge=judge) == Failed("HTTP 429", 1)
    assert await service.call(work, judge=judge) == Held(30_000)
    assert calls == [1]
    assert clock.slept == []


async def test_an_error_nobody_expected_passes_through_and_holds_no_place() -> None:
    service, clock = external(Trip(failures=1, first_ms=1), ONCE)
    away, _ = answers(OSError("away"))
    await service.call(away)
    clock.ns += 1_000_000
    bug, _ = answers(KeyError("a bug"))
    with pytest.raises(KeyError):
        await service.call(bug)
    fine, _ = answers("fine")
    assert await service.call(fine) == Got("fine", 1)


async def test_a_cancelled_probe_holds_no_place() -> None:
    service, clock = external(Trip(failures=1, first_ms=1), ONCE)
    away, _ = answers(OSError("away"))
    await service.call(away)
    clock.ns += 1_000_000
    started, never = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        started.set()
        await never.wait()

    task = asyncio.ensure_future(service.call(hangs, timeout_ms=60_000))
    await started.wait()
    fine, _ = answers("fine")
    assert isinstance(await service.call(fine), Held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await service.call(fine) == Got("fine", 1)
