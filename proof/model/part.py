"""The campaign's part: the model is held against the real SQL, then plays schedules in numbers.

First some schedules are played with both behind them, every answer and every view compared. Then each process plays on
the model alone. A violation found there is played again on the real SQL, and says whether that has it, too.
"""

from __future__ import annotations

import itertools
import multiprocessing
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from proof.model.both import Both, Differs
from proof.model.store import ModelStore
from proof.model.values import NotModelled
from proof.parts import Request, Share, Violation
from proof.simulation import schedule
from proof.simulation.actors import be_silent
from proof.simulation.loop import settled_memory
from proof.simulation.postgres import PostgresStore
from proof.simulation.scenarios import SCENARIOS, SMALL
from proof.simulation.schedule import Outcome
from proof.simulation.server import databases
from proof.simulation.stage import furnish

NAME: Final = "model"

REFUSED: Final = frozenset({"withdraw"})
"""Scenarios that ask for what is not modelled."""

COVERED: Final = tuple(name for name in SCENARIOS if name not in REFUSED)

TURNS: Final = (*COVERED, *(tuple(SMALL) * 6))
"""Which scenario a seed plays: mostly the cheap ones, for numbers."""

FIRST: Final = 1_000_000_000
"""Seeds of this part lie above those of `simulation`: the two play other schedules."""

STRIDE: Final = 10_000_000
"""Seeds of one process lie below those of the next."""

COMPARED_SHORT: Final = 30
COMPARED_S: Final = 20.0
COMPARED_SHARE: Final = 0.1
"""Of the time, in the long form; in the short one so many schedules and no longer than so many seconds."""

MOST_VIOLATIONS: Final = 20


@dataclass(slots=True)
class Sum:
    """What one process did."""

    figures: Counter[str] = field(default_factory=Counter)
    scenarios: set[str] = field(default_factory=set)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    digests: set[bytes] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)

    def add(self, outcome: Outcome, unknown: str = "") -> None:
        """``unknown``: what was asked and is not modelled. Such a run proves nothing and counts for nothing."""
        if unknown:
            self.figures["model_refused"] += 1
            self._violation(outcome, f"not modelled: {unknown[:200]}")
            return
        self.figures["model_runs"] += 1
        self.figures["model_schedules"] += outcome.counts
        self.figures["simulated_ms"] += outcome.simulated_ms
        self.figures["crashes"] += outcome.figures["crashes"]
        self.figures["faults"] += outcome.figures["faults"]
        self.scenarios.add(outcome.scenario)
        self.struck.update(outcome.struck)
        if outcome.counts:
            self.digests.add(outcome.digest)
        for what in outcome.violations:
            self._violation(outcome, what)

    def _violation(self, outcome: Outcome, what: str) -> None:
        if len(self.violations) < MOST_VIOLATIONS:
            only = shlex.quote(f"{outcome.scenario}/")
            again = f"make prove PART={NAME} SEED={outcome.seed} ONLY={only}"
            self.violations.append(Violation(outcome.seed, f"{outcome.scenario}: {what}", again))

    def join(self, other: Sum) -> None:
        self.figures.update(other.figures)
        self.scenarios |= other.scenarios
        self.struck.update(other.struck)
        self.digests |= other.digests
        self.violations += other.violations


def run(request: Request) -> Share:
    """See `proof.parts`. ``only`` is a scenario, or ``scenario/`` as a violation's command names a run."""
    began = time.monotonic()
    scenario = (request.only or "").partition("/")[0]
    if scenario and scenario not in (*COVERED, *SMALL):
        raise NotModelled(f"the scenario {scenario}: make prove PART=simulation plays it")
    with _real() as real:
        if request.only is not None and "/" in request.only:
            total = _replay(request, real, scenario)
        else:
            total = _compare(request, real, scenario)
            total.join(_campaign(request, began, scenario))
            _on_real(total, real)
    hashes = request.workdir / "schedules.hashes"
    hashes.write_bytes(b"".join(sorted(total.digests)))
    return Share(
        part=NAME,
        seconds=time.monotonic() - began,
        figures=dict(total.figures),
        sets={"scenarios": sorted(total.scenarios)},
        hashes=hashes,
        table=[
            {"key": f"{fault} x {state}", "fault": fault, "state": state, "times": times}
            for (fault, state), times in sorted(total.struck.items())
        ],
        violations=total.violations[:MOST_VIOLATIONS],
    )


# --- with both ----------------------------------------------------------------------------------------


@contextmanager
def _real() -> Iterator[PostgresStore]:
    be_silent()
    with databases(1) as [address]:
        store = PostgresStore(address.folder, address.port, address.database, address.user)
        try:
            yield store
        finally:
            store.close()


def _compare(request: Request, real: PostgresStore, scenario: str) -> Sum:
    """Schedules with both behind them. What differs is a violation of the model's, and ends the comparison."""
    total, both = Sum(), Both(real, ModelStore())
    budget = min(COMPARED_S, request.seconds / 4)
    if not request.short:
        budget = request.seconds * COMPARED_SHARE
    ends = time.monotonic() + budget
    furnish(both)
    names = [scenario] if scenario else [*COVERED, *SMALL]
    for n in itertools.count():
        if time.monotonic() >= ends or (request.short and n >= COMPARED_SHORT):
            break
        seed = FIRST - STRIDE + request.seed + n
        outcome, differs = compared(both, seed, names[seed % len(names)])
        total.figures["differential_schedules"] += 1
        if differs:
            total._violation(outcome, f"model and real SQL differ: {differs}")
            break
        for what in outcome.violations:
            total._violation(outcome, f"{what} (on both)")
    total.figures["answers_compared"] = both.compared
    request.report(
        f"model and real SQL: {total.figures['differential_schedules']} schedules, "
        f"{both.compared:,} answers and views compared"
    )
    return total


def compared(both: Both, seed: int, scenario: str) -> tuple[Outcome, str]:
    """One schedule with both behind it, and what differed first."""
    try:
        outcome = schedule.run(both, seed, scenario)
    except Differs as differs:
        return Outcome(seed, scenario), str(differs)
    return outcome, both.differs


def _on_real(total: Sum, real: PostgresStore) -> None:
    """Play again on the real SQL what the model showed."""
    seen: dict[tuple[int, str], list[str]] = {}
    told = []
    for one in total.violations[:MOST_VIOLATIONS]:
        scenario, _, what = one.what.partition(": ")
        if what.startswith(("not modelled", "model and real")) or what.endswith("(on both)"):
            told.append(one)
            continue
        if (one.seed, scenario) not in seen:
            seen[one.seed, scenario] = schedule.run(real, one.seed, scenario).violations
        where = "on the real SQL, too" if what in seen[one.seed, scenario] else "on the model only"
        told.append(Violation(one.seed, f"{one.what} ({where})", one.replay))
    total.violations = told


def _replay(request: Request, real: PostgresStore, scenario: str) -> Sum:
    """One run as its command names it, on the model; what it breaks, on the real SQL as well."""
    total, model = Sum(), ModelStore()
    furnish(model)
    outcome = schedule.run(model, request.seed, scenario, keep=True)
    for line in outcome.lines:
        request.report(line.rstrip())
    total.add(outcome, model.unknown)
    furnish(real)
    _on_real(total, real)
    return total


# --- on the model -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One process's part of the work."""

    number: int
    seed: int
    until: float
    """On the monotonic clock, which all processes of a machine share."""
    scenario: str


def _campaign(request: Request, began: float, scenario: str) -> Sum:
    # The servers' start and the comparison take from the budget, but not all of it.
    until = max(began + request.seconds, time.monotonic() + request.seconds / 4)
    count = max(1, request.processes)
    jobs = [Job(n, request.seed, until, scenario) for n in range(count)]
    total = Sum()
    if count == 1:
        total.join(work(jobs[0]))
        return total
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        for done in pool.imap_unordered(work, jobs):
            runs, distinct = done.figures["model_runs"], len(done.digests)
            request.report(f"a process is done: {runs:,} runs, {distinct:,} distinct")
            total.join(done)
    return total


def work(job: Job) -> Sum:
    """The work of one process, in it."""
    be_silent()
    total, store = Sum(), ModelStore()
    furnish(store)
    names = (job.scenario,) if job.scenario else TURNS
    schedule.run(store, 0, names[0])
    with settled_memory():
        for n in itertools.count():
            seed = FIRST + job.seed + job.number * STRIDE + n
            total.add(schedule.run(store, seed, names[seed % len(names)]), store.unknown)
            if time.monotonic() >= job.until:
                break
    return total
