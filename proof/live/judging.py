"""The judgement between blows: everything at rest, then writers' records, venue's book and ledger are compared.

What is lost or doubled is decided as in the demo, from the venue's own book and from what writers were told; the audit,
the comparison with the venue and the numbers of the journal come on top.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from app.clock import Ports
from app.db.connect import open_pool
from app.errors import DatabaseProblem
from app.ledger.calls import LedgerCalls
from proof.live.measuring import Told, missing
from workers.demo.collecting import collect
from workers.demo.course import Course, until
from workers.demo.records import Answer, read_record
from workers.demo.script import Script
from workers.demo.simulated import Simulated
from workers.demo.stage import MAIN, Stage
from workers.demo.venues import statement
from workers.demo.verdict import Verdict, judge

SENT_S: Final = 20.0
SETTLES_S: Final = 120.0
UNANSWERED: Final = ("failed", "asked")
_SQL: Final = Path(__file__).resolve().parent / "sql"


class Traffic(Protocol):
    """What is judged: writers, workers and a venue that run."""

    @property
    def stage(self) -> Stage: ...

    @property
    def course(self) -> Course: ...

    @property
    def folder(self) -> Path:
        """Where the writers' records lie."""
        ...

    @property
    def venue(self) -> Simulated: ...

    @property
    def told(self) -> Sequence[Told]:
        """What every writer was told, up to now."""
        ...

    async def pause(self) -> None:
        """Nobody asks any more, and each question has its answer."""
        ...

    async def ensure_workers(self) -> None: ...

    async def stop_workers(self) -> None: ...

    async def reconcile(self) -> str:
        """``clean``, or what the command said."""
        ...

    async def audit(self) -> str:
        """``True``, or what the command said."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found, in words, and the counts behind it."""

    verdict: Verdict
    problems: tuple[str, ...]
    unknown: int
    """Orders whose fate was unknown at some time."""
    placed_ms: tuple[int, ...] = ()
    """When each order reached the venue, by its own book."""


async def lost_so_far(traffic: Traffic) -> list[str]:
    """Promises that the new primary does not know: asked while traffic goes on."""
    promised: dict[int, str] = {}
    for told in traffic.told:
        promised |= told.orders
    found: dict[int, str] = {}

    async def read(calls: LedgerCalls) -> None:
        rows = await calls.rows(_statement("known_orders"), list(promised))
        found.update({int(row["order_id"]): str(row["key"]) for row in rows})

    await with_calls(traffic, read)
    return missing(promised, found)


async def judged(traffic: Traffic, ports: Ports) -> Judgement:
    """Bring everything to rest and compare. Workers are stopped for it; the caller starts them again."""
    course = traffic.course
    await traffic.pause()
    await traffic.ensure_workers()
    # What waits in a lane is to reach the venue, and not to be taken back unsent.
    await until(ports.clock, lambda: _all_sent(traffic), SENT_S)
    await with_calls(traffic, _cancel_everything)
    await until(ports.clock, lambda: _settled(traffic), SETTLES_S)
    await traffic.stop_workers()
    await _settled(traffic)
    reconciled, audited = await asyncio.gather(traffic.reconcile(), traffic.audit())
    if reconciled != "clean":
        # What faults hid from the stream, the first comparison may be the one to find; the second must be clean.
        reconciled = await traffic.reconcile()
    script = Script(keys=sorted(_keys(traffic.folder)))
    facts, report, shown = await collect(
        traffic.stage, traffic.venue, script, course, traffic.folder, reconciled
    )
    verdict = judge(facts)
    problems = [str(one) for one in verdict.problems]
    problems += [f"audit: {name}: {row}" for name, row in report.differences[:20]]
    if audited != "True":
        problems.append(f"audit: the command says {audited}")
    problems += unanswered(facts.answers)
    problems += await _gaps(traffic)
    if course.unsettled:
        problems += await _troubles(traffic)
    course.unexpected.clear()
    course.unsettled = {}
    placed_ms = tuple(one.received_at_ms for one in facts.book)
    return Judgement(verdict, tuple(problems), int(shown["unknown"]), placed_ms)


def unanswered(answers: tuple[Answer, ...]) -> list[str]:
    """Keys whose last word is a failure, once nobody asks any more."""
    last: dict[tuple[str, str], str] = {}
    for answer in answers:
        last[(answer.key, answer.via)] = answer.status
    return [
        f"unexpected: {key}: no answer came, only failures"
        for (key, _), status in last.items()
        if status in UNANSWERED
    ]


def gaps(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows of ``journal_gaps.sql`` say."""
    return [
        f"journal: account {row['account_id']} has {row['rows']} rows with {row['numbers']} numbers "
        f"from {row['first']} to {row['last']}"
        for row in rows
    ]


async def with_calls(traffic: Traffic, work: Callable[[LedgerCalls], Any]) -> None:
    """On fresh connections to whoever is the primary now."""
    pool = await open_pool(traffic.stage.owner_url, role_hint="proof", max_size=1)
    try:
        await work(LedgerCalls(pool))
    finally:
        pool.terminate()


async def _cancel_everything(calls: LedgerCalls) -> None:
    while await calls.value("request_cancel_all", MAIN, None, "the judgement"):
        pass


async def _all_sent(traffic: Traffic) -> bool:
    waiting: list[int] = []

    async def look(calls: LedgerCalls) -> None:
        [row] = await calls.rows(statement("unsettled"))
        waiting.append(row["orders on their way"])

    await with_calls(traffic, look)
    return waiting == [0]


async def _settled(traffic: Traffic) -> bool:
    found: dict[str, int] = {}

    async def look(calls: LedgerCalls) -> None:
        [row] = await calls.rows(statement("unsettled"))
        of_venue: Mapping[str, int] = dict(await traffic.venue.unsettled(calls))
        found.update({name: count for name, count in (dict(row) | dict(of_venue)).items() if count})

    try:
        await with_calls(traffic, look)
    except DatabaseProblem as problem:
        found["database"] = 1
        found[problem.wrong[:100]] = 1
    traffic.course.unsettled = found
    return not found


async def _gaps(traffic: Traffic) -> list[str]:
    rows: list[dict[str, Any]] = []

    async def read(calls: LedgerCalls) -> None:
        rows.extend(await calls.rows(_statement("journal_gaps")))

    await with_calls(traffic, read)
    return gaps(rows)


async def _troubles(traffic: Traffic) -> list[str]:
    rows: list[dict[str, Any]] = []

    async def read(calls: LedgerCalls) -> None:
        rows.extend((await calls.rows(statement("troubles")))[:20])

    await with_calls(traffic, read)
    return [f"stands in the way: {row['what']}: {row['detail'][:200]}" for row in rows]


def _keys(folder: Path) -> set[str]:
    keys: set[str] = set()
    for path in folder.glob("writer-*.record.json"):
        asks, _ = read_record(path)
        keys |= {ask.key for ask in asks}
    return keys


def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text("utf-8")
