"""``ledger-worker demo``: sets the stage, plays, reconciles, audits, judges, shows.

Everything lives in a throw-away database and a temporary folder, and is gone afterwards, also after
Ctrl-C. The settings of the user are not read and their database is not touched.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, SeededRng
from app.db.connect import open_pool
from app.ledger.audit import AuditReport
from app.ledger.calls import LedgerCalls
from app.observe import logs
from workers.demo.collecting import collect
from workers.demo.conductor import Conductor, Tell
from workers.demo.course import Course
from workers.demo.facts import Facts
from workers.demo.on_paper import OnPaper
from workers.demo.processes import Processes
from workers.demo.script import INTENTS, write
from workers.demo.simulated import Simulated
from workers.demo.stage import MAIN, Cast, Stage, choose_markets, set_up
from workers.demo.table import progress, show
from workers.demo.venues import DemoVenue, statement
from workers.demo.verdict import Verdict, judge

OK: Final = 0
FAILED: Final = 1
RECONCILE_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    markets_file: Path | None = None
    seed: int = 1
    venue: str = "paper"
    intents: int = INTENTS


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it."""

    course: Course
    facts: Facts
    report: AuditReport
    shown: Mapping[str, Any]
    comparisons: tuple[dict[str, Any], ...]
    """What each reconciliation said, oldest first."""


def run(wanted: Wanted, as_json: bool) -> int:
    """Play the demo once and show the result. Returns the exit code: 0 only if nothing was lost,
    doubled or over a cap, and audit and reconcile came out clean. Raises `LedgerError` where it could
    not run, and `KeyboardInterrupt` at SIGINT and SIGTERM, both with nothing left behind.
    """
    ports = Ports.system()
    logs.configure(ports.clock, level="error", style="json", stream=sys.stderr)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(wanted, as_json, ports)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(wanted: Wanted, as_json: bool, ports: Ports) -> int:
    started_ns = ports.clock.monotonic_ns()
    tell = progress(ports.clock)
    cast = choose_markets(wanted.markets_file, ports.clock)
    _tell_cast(cast, tell)
    tell("making a throw-away database")
    with (
        set_up(cast, wanted.seed, wanted.venue) as stage,
        tempfile.TemporaryDirectory(prefix="ledger-demo-") as name,
    ):
        played = asyncio.run(_play(stage, wanted, Path(name), ports, tell))
    verdict = judge(played.facts)
    seconds = (ports.clock.monotonic_ns() - started_ns) // 1_000_000_000
    more = {**played.shown, "seconds": seconds, "seed": wanted.seed}
    if wanted.venue != "paper":
        more |= {"venue": wanted.venue, "compared": [one["result"] for one in played.comparisons]}
    if as_json:
        _write(_as_json(verdict, played.course, cast, more, played.report))
    else:
        show(verdict, played.course, cast, more)
    for check, row in played.report.differences[:20]:
        tell(f"audit {check}: {row}")
    if not verdict.ok:
        for comparison in played.comparisons:
            for difference in comparison.get("accounts", []) or [comparison]:
                tell(f"reconcile {json.dumps(difference)[:600]}")
        tell(_again(wanted))
    return OK if verdict.ok else FAILED


def _again(wanted: Wanted) -> str:
    """The command that chooses the same intents, kills and faults."""
    words = [f"--venue {wanted.venue}"] if wanted.venue != "paper" else []
    words += [f"--markets {wanted.markets_file}"] if wanted.markets_file else []
    words += [f"--intents {wanted.intents}"] if wanted.intents != INTENTS else []
    return " ".join(["repeat it: ledger-worker demo", *words, f"--seed {wanted.seed}"])


def _tell_cast(cast: Cast, tell: Tell) -> None:
    tell(f"{len(cast.markets)} markets of {cast.source}, their windows shifted to now")
    if cast.made_tradable:
        reasons = ", ".join(f"{name} ({count})" for name, count in cast.made_tradable.items())
        tell(f"made tradable for the demo, on its own database only: {reasons}")


async def _play(stage: Stage, wanted: Wanted, folder: Path, ports: Ports, tell: Tell) -> Played:
    processes = Processes(folder)
    rng = SeededRng(stage.seed)
    try:
        venue: DemoVenue
        if stage.venue == "paper":
            venue = await OnPaper.open(stage, ports, rng)
        else:
            tell("starting the simulated venue")
            venue = await Simulated.open(stage, processes, folder, rng)
        try:
            script = write(await venue.grounds(), rng, wanted.intents)
            conductor = Conductor(stage, script, venue, ports, processes, folder, rng, tell)
            course = await conductor.play()
            tell("reconciling")
            comparisons = [
                await _reconcile(stage, venue, processes) for _ in range(venue.reconciliations)
            ]
            tell("auditing")
            result = str(comparisons[-1].get("result", "incomplete"))
            facts, report, shown = await collect(stage, venue, script, course, folder, result)
            if facts.unexpected or course.unsettled or result != "clean":
                await _tell_troubles(stage, processes, tell)
            return Played(course, facts, report, shown, tuple(comparisons))
        finally:
            await venue.aclose()
    finally:
        await processes.end_all()


async def _reconcile(stage: Stage, venue: DemoVenue, processes: Processes) -> dict[str, Any]:
    """As cron would: by the command, in a process of its own. What it printed."""
    child = await processes.start(
        "reconcile",
        "workers.cli",
        "reconcile",
        "--json",
        *(() if stage.venue == "paper" else ("--account", MAIN)),
        env=await venue.worker_env(),
        talks=True,
    )
    assert child.process.stdout is not None
    try:
        text = await asyncio.wait_for(child.process.stdout.read(), RECONCILE_WITHIN_S)
        await child.process.wait()
    except TimeoutError:
        return {"result": "incomplete", "error": "it did not end in time"}
    await processes.forget(child)
    try:
        told: dict[str, Any] = json.loads(text)
    except ValueError:
        told = {"error": text.decode(errors="replace")[-500:]}
    return {"result": "incomplete"} | told


async def _tell_troubles(stage: Stage, processes: Processes, tell: Tell) -> None:
    """For the one who has to find out: what stands in the way, and the last words of each process."""
    pool = await open_pool(stage.owner_url, role_hint="demo", max_size=1)
    try:
        for row in (await LedgerCalls(pool).rows(statement("troubles")))[:40]:
            tell(f"{row['what']}: {row['detail'][:300]}")
    finally:
        pool.terminate()
    for line in processes.tails():
        tell(line)


def _as_json(
    verdict: Verdict, course: Course, cast: Cast, more: Mapping[str, Any], report: AuditReport
) -> dict[str, Any]:
    return verdict.to_json() | {
        "kills": len(course.worker_kills),
        "killed_at": course.worker_kills,
        "writer_kills": course.writer_kills,
        "graceful_stops": course.graceful_stops,
        "markets": len(cast.markets),
        "markets_from": cast.source,
        "markets_made_tradable": dict(cast.made_tradable),
        "audit_differences": len(report.differences),
        **more,
    }


def _write(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
