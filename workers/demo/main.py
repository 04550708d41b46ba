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
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, SeededRng
from app.db.connect import open_pool
from app.ledger.audit import AuditReport
from app.observe import logs
from app.venue.paper import PaperBook, PaperVenue
from workers.demo.collecting import collect
from workers.demo.conductor import Conductor, Tell
from workers.demo.course import Course
from workers.demo.processes import Processes
from workers.demo.script import Ground, Script, write
from workers.demo.stage import Cast, DemoMarket, Stage, choose_markets, set_up
from workers.demo.table import progress, show
from workers.demo.verdict import Verdict, judge
from workers.reconcile_once import run_once
from workers.worker.context import Context
from workers.worker.main import open_context
from workers.worker.paper_host import PaperHost

OK: Final = 0
FAILED: Final = 1


def run(markets_file: Path | None, seed: int, as_json: bool) -> int:
    """Play the demo once and show the result. Returns the exit code: 0 only if nothing was lost,
    doubled or over a cap, and audit and reconcile came out clean. Raises `LedgerError` where it could
    not run, and `KeyboardInterrupt` at SIGINT and SIGTERM, both with nothing left behind.
    """
    ports = Ports.system()
    logs.configure(ports.clock, level="error", style="json", stream=sys.stderr)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(markets_file, seed, as_json, ports)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(markets_file: Path | None, seed: int, as_json: bool, ports: Ports) -> int:
    started_ns = ports.clock.monotonic_ns()
    tell = progress(ports.clock)
    cast = choose_markets(markets_file, ports.clock)
    _tell_cast(cast, tell)
    tell("making a throw-away database")
    with set_up(cast, seed) as stage, tempfile.TemporaryDirectory(prefix="ledger-demo-") as name:
        folder = Path(name)
        script, course = asyncio.run(_play(stage, folder, ports, tell))
        tell("reconciling")
        reconciled = run_once(stage.settings, None)
        tell("auditing")
        facts, report, shown = asyncio.run(
            collect(stage, script, course, folder, reconciled.result)
        )
        verdict = judge(facts)
    seconds = (ports.clock.monotonic_ns() - started_ns) // 1_000_000_000
    more = {**shown, "seconds": seconds, "seed": seed}
    if as_json:
        _write(_as_json(verdict, course, cast, more, report))
    else:
        show(verdict, course, cast, more)
    for check, row in report.differences[:20]:
        tell(f"audit {check}: {row}")
    if not verdict.ok:
        for difference in reconciled.to_json()["accounts"]:
            tell(f"reconcile {json.dumps(difference)[:600]}")
    return OK if verdict.ok else FAILED


def _tell_cast(cast: Cast, tell: Tell) -> None:
    tell(f"{len(cast.markets)} markets of {cast.source}, their windows shifted to now")
    if cast.made_tradable:
        reasons = ", ".join(f"{name} ({count})" for name, count in cast.made_tradable.items())
        tell(f"made tradable for the demo, on its own database only: {reasons}")


async def _play(stage: Stage, folder: Path, ports: Ports, tell: Tell) -> tuple[Script, Course]:
    processes = Processes(folder)
    rng = SeededRng(stage.seed)
    try:
        async with open_context(stage.settings, ports, stage.url("worker")) as context:
            script = write(await _grounds(stage, context), rng)
            conductor = Conductor(stage, script, context, processes, folder, rng, tell)
            course = await conductor.play()
            if course.unexpected:
                for line in processes.tails():
                    tell(line)
            return script, course
    finally:
        await processes.end_all()


async def _grounds(stage: Stage, context: Context) -> list[Ground]:
    """Open the markets' books at the venue and read their best prices."""
    host = context.host
    assert isinstance(host, PaperHost), "the demo's settings name the paper venue"
    pool = await open_pool(stage.owner_url, role_hint="demo", max_size=1)
    try:
        book = PaperBook(pool)
        return [await _ground(market, host.venue, book) for market in stage.cast.markets]
    finally:
        pool.terminate()


async def _ground(market: DemoMarket, venue: PaperVenue, book: PaperBook) -> Ground:
    await venue.register_market(
        market.condition_id,
        market.tokens,
        market.tick_micros,
        market.min_size_micros,
        fee_rate_ppm=market.record.fee_rate_micros or 0,
    )
    bids, asks = [], []
    for token in market.tokens:
        quotes = await book.quotes(token)
        bids.append(max((one.price_micros for one in quotes if one.side == "BUY"), default=400_000))
        asks.append(
            min((one.price_micros for one in quotes if one.side == "SELL"), default=600_000)
        )
    return Ground(market, (bids[0], bids[1]), (asks[0], asks[1]))


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
