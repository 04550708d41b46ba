"""The campaign's part: crash points first, each taken both ways; then schedules by chance until the time is up."""

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

from proof.parts import Request, Share, Violation
from proof.simulation import points, schedule
from proof.simulation.actors import be_silent
from proof.simulation.loop import settled_memory
from proof.simulation.points import Points
from proof.simulation.postgres import PostgresStore
from proof.simulation.scenarios import SCENARIOS
from proof.simulation.schedule import Outcome
from proof.simulation.server import Address, databases
from proof.simulation.stage import furnish

NAME: Final = "simulation"

STRIDE: Final = 10_000_000
"""Seeds of one process lie below those of the next."""

POINTS_SHARE: Final = 0.5
"""How much of the time the crash points may take, in the short form; in the long one they take what they need."""

AUDIT_EVERY: Final = 25
"""Every so many schedules the ledger's own audit is asked, too: it costs as much as the schedule."""

MOST_VIOLATIONS: Final = 20


@dataclass(slots=True)
class Sum:
    """What one process did."""

    figures: Counter[str] = field(default_factory=Counter)
    existing: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    scenarios: set[str] = field(default_factory=set)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    digests: set[bytes] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        figures = self.figures
        figures["schedules"] += outcome.counts
        figures["runs"] += 1
        figures["simulated_ms"] += outcome.simulated_ms
        figures["steps"] += outcome.steps
        figures.update(outcome.figures)
        self.scenarios.add(outcome.scenario)
        self.struck.update(outcome.struck)
        if outcome.counts:
            self.digests.add(outcome.digest)
        for what in outcome.violations:
            if len(self.violations) < MOST_VIOLATIONS:
                self.violations.append(
                    Violation(outcome.seed, f"{outcome.scenario}: {what}", replay(outcome))
                )

    def join(self, other: Sum) -> None:
        self.figures.update(other.figures)
        self.existing |= other.existing
        self.taken |= other.taken
        self.scenarios |= other.scenarios
        self.struck.update(other.struck)
        self.digests |= other.digests
        self.violations += other.violations


def replay(outcome: Outcome) -> str:
    """The command that plays this very run again and shows its steps."""
    only = f"{outcome.scenario}/{points.spelled(outcome.strikes) if outcome.directed else ''}"
    return f"make prove PART={NAME} SEED={outcome.seed} ONLY={shlex.quote(only)}"


def run(request: Request) -> Share:
    """See `proof.parts`. ``only`` is a scenario, or ``scenario/...`` as a violation's command names a run."""
    began = time.monotonic()
    with databases(1 if _is_replay(request) else max(1, request.processes)) as addresses:
        if _is_replay(request):
            total = _replay(request, addresses[0])
        else:
            total = _campaign(request, addresses)
    hashes = request.workdir / "schedules.hashes"
    hashes.write_bytes(b"".join(sorted(total.digests)))
    return Share(
        part=NAME,
        seconds=time.monotonic() - began,
        figures=dict(total.figures),
        sets={
            "crash_points_existing": sorted(total.existing),
            "crash_points_taken": sorted(total.taken),
            "scenarios": sorted(total.scenarios),
        },
        hashes=hashes,
        table=[
            {"key": f"{fault} x {state}", "fault": fault, "state": state, "times": times}
            for (fault, state), times in sorted(total.struck.items())
        ],
        violations=total.violations[:MOST_VIOLATIONS],
    )


# --- many processes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One process's part of the work."""

    number: int
    of: int
    address: Address
    seed: int
    seconds: float
    short: bool
    only: str | None


def _campaign(request: Request, addresses: list[Address]) -> Sum:
    jobs = [
        Job(n, len(addresses), one, request.seed, request.seconds, request.short, request.only)
        for n, one in enumerate(addresses)
    ]
    total = Sum()
    if len(jobs) == 1:
        total.join(work(jobs[0]))
        return total
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        for done in pool.imap_unordered(work, jobs):
            request.report(
                f"a process is done: {done.figures['runs']:,} runs, {len(done.digests):,} distinct, "
                f"{len(done.taken):,} crash points taken"
            )
            total.join(done)
    return total


def work(job: Job) -> Sum:
    """The work of one process, in it."""
    total, ends = Sum(), time.monotonic() + job.seconds
    with _store(job.address) as store:
        if not job.short or job.only is None or job.only in SCENARIOS:
            _take_points(store, job, total, ends)
        for n in itertools.count():
            if time.monotonic() >= ends:
                return total
            seed = job.seed + job.number * STRIDE + n
            name = job.only or list(SCENARIOS)[seed % len(SCENARIOS)]
            total.add(schedule.run(store, seed, name, checks=n % AUDIT_EVERY == 0))
    raise AssertionError("counted to the end")


def _take_points(store: PostgresStore, job: Job, total: Sum, ends: float) -> None:
    share = POINTS_SHARE if job.short else 1.0
    until = time.monotonic() + share * (ends - time.monotonic())
    names = [job.only] if job.only else list(SCENARIOS)
    mine = names[job.number :: job.of]
    for left, name in zip(range(len(mine), 0, -1), mine, strict=True):
        now = time.monotonic()
        fair = now + (until - now) / left
        found = Points(name)
        for outcome in points.take(store, found, job.seed, lambda: time.monotonic() < fair):  # noqa: B023
            total.add(outcome)
        existing, taken = found.names()
        total.existing.update(existing)
        total.taken.update(taken)


# --- one run again --------------------------------------------------------------------------------


def _is_replay(request: Request) -> bool:
    return request.only is not None and "/" in request.only


def _replay(request: Request, address: Address) -> Sum:
    """One run as its command names it, its steps told one by one."""
    assert request.only is not None
    scenario, _, rest = request.only.partition("/")
    strikes = points.read(rest) if rest else None
    total = Sum()
    with _store(address) as store:
        outcome = schedule.run(
            store, request.seed, scenario, strikes=strikes, keep=True, checks=True
        )
    for line in outcome.lines:
        request.report(line.rstrip())
    total.add(outcome)
    return total


@contextmanager
def _store(address: Address) -> Iterator[PostgresStore]:
    be_silent()
    store = PostgresStore(address.folder, address.port, address.database, address.user)
    try:
        furnish(store)
        with settled_memory():
            yield store
    finally:
        store.close()
