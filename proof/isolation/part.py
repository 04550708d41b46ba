"""The part ``isolation`` of the campaign: histories recorded and checked until the time is used up.

Then each weakened database in turn, until the checker has found it: a checker that finds nothing there proves nothing
elsewhere, and is a violation itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.clock import SystemClock
from proof.isolation.checks import anomalies
from proof.isolation.sessions import Recorder
from proof.isolation.weakened import WEAKENED
from proof.parts import Request, Share, Violation
from tests.support.database import empty_database, migrated_template
from tests.support.servers import TestServer, find_server, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "isolation"
PLANTED_SHARE = 0.2
MOST_PLANTED = 60
"""Histories of a weakened database before it counts as not found."""

Weaken = Callable[[asyncpg.Connection], Awaitable[None]]


def run(request: Request) -> Share:
    """See `proof.parts.Part`."""
    clock = SystemClock()
    begun = clock.monotonic_ns()

    def used() -> float:
        return (clock.monotonic_ns() - begun) / 1e9

    figures: Counter[str] = Counter()
    violations: list[Violation] = []
    found: list[str] = []
    table: list[dict[str, Any]] = []
    with find_server() as server, migrated_template(server) as template:
        budget = request.seconds * (1 - PLANTED_SHARE)
        with _recorder(server, template) as recorder:
            seed = request.seed
            while seed == request.seed or used() < budget:
                violations += _one(recorder, seed, figures)
                seed += 1
                if (seed - request.seed) % 100 == 0:
                    request.report(f"isolation: {figures['histories']} histories")
        for name, (weaken, expected) in WEAKENED.items():
            tries, seen = _planted(server, template, weaken, expected, request.seed)
            table.append({"key": name, "weakened": name, "histories": tries, "found as": seen})
            if seen:
                found.append(name)
            else:
                what = f"the weakened database {name!r} went unnoticed in {tries} histories"
                violations.append(Violation(request.seed, what, _replay(request.seed)))
    return Share(
        NAME,
        used(),
        figures=dict(figures),
        sets={"weakened_found": found},
        table=table,
        violations=violations,
    )


def _one(recorder: Recorder, seed: int, figures: Counter[str]) -> list[Violation]:
    history = recorder.record(seed)
    told = anomalies(history)
    figures["histories"] += 1
    figures["operations"] += len(history.operations)
    figures["overlapping"] += sum(
        any(
            two.begin < one.end and one.begin < two.end
            for two in history.operations
            if two is not one
        )
        for one in history.operations
    )
    # what could not be decided is no anomaly, and no proof either
    figures["undecided"] += sum(one.startswith("undecided") for one in told)
    broken = [one for one in told if not one.startswith("undecided")]
    figures["anomalies"] += len(broken)
    return [Violation(seed, one, _replay(seed)) for one in broken]


def _replay(seed: int) -> str:
    return f"make prove PART={NAME} SEED={seed}"


@contextmanager
def _recorder(
    server: TestServer, template: str, weaken: Weaken | None = None
) -> Iterator[Recorder]:
    with empty_database(server, template) as database:
        if weaken is not None:
            in_thread(lambda: asyncio.run(_weakened(database.url, weaken)))
        with Recorder(database.url) as recorder:
            yield recorder


async def _weakened(url: str, weaken: Weaken) -> None:
    conn = await asyncpg.connect(url)
    try:
        await weaken(conn)
    finally:
        await conn.close()


def _planted(
    server: TestServer, template: str, weaken: Weaken, expected: tuple[str, ...], seed: int
) -> tuple[int, str]:
    """After how many histories it was found, and as what."""
    with _recorder(server, template, weaken) as recorder:
        for n in range(MOST_PLANTED):
            kinds = {one.split(":")[0] for one in anomalies(recorder.record(seed + n))}
            if kinds & set(expected):
                return n + 1, ", ".join(sorted(kinds))
    return MOST_PLANTED, ""
