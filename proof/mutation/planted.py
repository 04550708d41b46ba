"""Three bugs, planted one at a time in the code that the simulation plays: it must find each within CI's share.

All scenarios are played in turn. Of each first a run in which nobody is struck, with the venue's faults of its seed;
then that run again with the process killed, and stopped until its leases are over, before and after it calls what was
changed: the function is all that the hunt is told of a bug. What shows one is played once more on the unchanged code
and must be clean there: so it is the bug that was found, and nothing else.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from app.roles import RolePrefix
from proof.mutation.coverage import callers_of, touched
from proof.mutation.mutants import DoesNotApply, Edit, Mutant, source
from proof.mutation.patching import put_in_place, sql_of, take_back
from proof.mutation.targets import HERE
from proof.simulation import schedule
from proof.simulation.actors import LEASE_MS, be_silent
from proof.simulation.loop import settled_memory
from proof.simulation.postgres import PostgresStore
from proof.simulation.scenarios import SCENARIOS
from proof.simulation.schedule import Outcome
from proof.simulation.server import Address, databases
from proof.simulation.stage import furnish
from proof.simulation.wire import Session
from proof.simulation.world import AFTER, BEFORE, Strike

FILE: Final = HERE / "planted.toml"
NAME: Final = "planted"
LEAST: Final = 80
PATIENCE: Final = 4
"""So many schedules are played in any case, unless that takes so many times the time that was given."""

STANDSTILL_MS: Final = LEASE_MS + 2_000
"""Of a process that is stopped, and of one that is killed until it starts again: a colleague has taken over by then."""


@dataclass(frozen=True, slots=True)
class Bug:
    """``changes`` lie in different files; together they are the bug."""

    name: str
    why: str
    changes: tuple[Mutant, ...]


@dataclass(frozen=True, slots=True)
class Hunt:
    """How one bug fared. ``what`` is the first violation, empty where none was seen."""

    name: str
    runs: int
    seconds: float
    seed: int = 0
    scenario: str = ""
    what: str = ""


@cache
def bugs() -> tuple[Bug, ...]:
    """Those of ``planted.toml``. Raises `DoesNotApply`."""
    entries = tomllib.loads(FILE.read_text("utf-8"))["planted"]
    return tuple(_bug(entry) for entry in entries)


def _bug(entry: dict[str, Any]) -> Bug:
    name = f"{NAME}: {entry['name']}"
    return Bug(
        entry["name"], entry["why"], tuple(_change(name, entry, one) for one in entry["change"])
    )


def _change(name: str, entry: dict[str, Any], change: dict[str, Any]) -> Mutant:
    text, edits = source(change["file"]), []
    for old, new in zip(change["old"], change["new"], strict=True):
        if text.count(old) != 1:
            raise DoesNotApply(
                f"{name}: its text is {text.count(old)} times in {change['file']}: {old!r}"
            )
        edits.append(Edit(text.index(old), old, new))
    return Mutant(name, change["file"], tuple(edits), entry["why"], named=True)


def hunt_all(
    seed: int, seconds: float, processes: int, report: Callable[[str], None]
) -> list[Hunt]:
    """Each bug is hunted for so many seconds, longer where the machine is slow; several processes hunt at once."""
    wanted = bugs()
    done = []
    with (
        databases(len(wanted)) as addresses,
        multiprocessing.get_context("spawn").Pool(max(1, min(processes, len(wanted)))) as pool,
    ):
        jobs = [(n, address, seed, seconds) for n, address in enumerate(addresses)]
        for found in pool.imap_unordered(_hunt_job, jobs, chunksize=1):
            report(_told(found))
            done.append(found)
    return done


def _told(found: Hunt) -> str:
    how = f"{found.seconds:.1f} s, {found.runs:,} schedules"
    if not found.what:
        return f"{NAME}: {found.name}: NOT FOUND in {how}"
    return f"{NAME}: {found.name}: found in {how}, seed {found.seed}: {found.what}"


def _hunt_job(job: tuple[int, Address, int, float]) -> Hunt:
    number, address, seed, seconds = job
    be_silent()
    session = Session(address.folder, address.port, address.database, address.user)
    store = PostgresStore(address.folder, address.port, address.database, address.user)
    try:
        furnish(store)
        with settled_memory():
            return hunt(store, session.run, bugs()[number], seed, seconds)
    finally:
        store.close()
        session.close()


def hunt(
    store: PostgresStore, run_sql: Callable[[str], object], bug: Bug, seed: int, seconds: float
) -> Hunt:
    """The first schedule that shows the bug. ``run_sql`` is another session of the store's database."""
    began, runs = time.monotonic(), 0
    _plant(store, run_sql, bug)
    for first, scenario in _turns(seed):
        for outcome in _around(store, bug, first, scenario):
            runs += 1
            if outcome.violations:
                _take_back(store, run_sql, bug)
                if not _again(store, outcome).violations:
                    took = time.monotonic() - began
                    return Hunt(bug.name, runs, took, first, scenario, outcome.violations[0])
                _plant(store, run_sql, bug)
            took = time.monotonic() - began
            if took >= seconds and (runs >= LEAST or took >= PATIENCE * seconds):
                _take_back(store, run_sql, bug)
                return Hunt(bug.name, runs, took)
    raise AssertionError("counted to the end")


def _turns(seed: int) -> Iterator[tuple[int, str]]:
    for n in itertools.count(seed):
        for scenario in SCENARIOS:
            yield n, scenario


def _around(store: PostgresStore, bug: Bug, seed: int, scenario: str) -> Iterator[Outcome]:
    """A run that nobody disturbs, and those with one strike around a call of what was changed."""
    calm = schedule.run(store, seed, scenario, strikes=())
    yield calm
    called = entrances(bug)
    for place, (actor, nth) in calm.places.items():
        function, _, _ = place.partition(":")[2].partition(" in ")
        if function in called:
            for deed, when in itertools.product(("kill", "pause"), (AFTER, BEFORE)):
                strike = Strike(actor, deed, when, nth, place.partition(":")[2], STANDSTILL_MS)
                yield schedule.run(store, seed, scenario, strikes=(strike,))


def _again(store: PostgresStore, outcome: Outcome) -> Outcome:
    return schedule.run(store, outcome.seed, outcome.scenario, strikes=outcome.strikes)


@cache
def entrances(bug: Bug) -> frozenset[str]:
    """The functions of the ledger that others call, through which one comes to what was changed."""
    todo, seen = [name for one in bug.changes if one.is_sql for name in touched(one)], set[str]()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += callers_of(name)
    return frozenset(
        name.removeprefix("ledger.") for name in seen if not name.startswith("ledger._")
    )


def _plant(store: PostgresStore, run_sql: Callable[[str], object], bug: Bug) -> None:
    for change in bug.changes:
        if change.is_sql:
            _put_sql(store, run_sql, sql_of(change, RolePrefix()))
        else:
            put_in_place(change)


def _take_back(store: PostgresStore, run_sql: Callable[[str], object], bug: Bug) -> None:
    for change in bug.changes:
        if change.is_sql:
            _put_sql(store, run_sql, sql_of(change, RolePrefix(), back=True))
        else:
            take_back(change)


def _put_sql(store: PostgresStore, run_sql: Callable[[str], object], sql: str) -> None:
    store.begin()  # what the last schedule left goes; another session sees no open transaction's functions
    store.keep()
    run_sql(sql)
    store.begin()
    store.keep()


def alive(hunts: Sequence[Hunt]) -> list[str]:
    """Bugs that were not found: each of the three must be, by every run."""
    found = {one.name for one in hunts if one.what}
    return [one.name for one in bugs() if one.name not in found]
