"""``ledger-worker start``: builds the worker from its settings, runs its tasks, ends it gracefully.

SIGTERM or SIGINT: no new work, what is in flight is recorded, leases are given back. A second signal, or
SIGKILL at any moment, is as safe: what a worker was doing is in the database.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import app
from app.clock import Ports
from app.config import Settings
from app.db.access import role_url
from app.db.connect import check_version, open_pool
from app.db.migrate import check_schema
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import LedgerCalls
from app.ledger.wake import OUTBOX_CHANNEL
from app.money import parse_micros
from app.observe import logs
from workers.worker import loop, points
from workers.worker.cancels import Cancels
from workers.worker.context import Context
from workers.worker.look_ups import LookUps
from workers.worker.paper_host import PaperHost
from workers.worker.placements import Placements
from workers.worker.sending import Sender
from workers.worker.serving import LOOK_FOR_ACCOUNTS_MS, Serving
from workers.worker.sweeps import Beat, Sweeps, Watchdog
from workers.worker.wake import listen

SWEEP_MS = 500
WATCH_MS = 250
PACE_MS = 200


def run(settings: Settings) -> int:
    """Run until a signal. Returns the exit code: 0 after a graceful stop."""
    ports = Ports.system()
    run_id = str(ports.rng.uuid())
    logs.configure(ports.clock, level=settings.log_level, style=settings.log_format, run=run_id)
    asyncio.run(_run(settings, ports, role_url(settings, "worker")))
    return 0


async def _run(settings: Settings, ports: Ports, url: str) -> None:
    async with open_context(settings, ports, url, reached=points.from_environment()) as context:
        running = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(name, _stop, context, name)
        await serve(context, url)


def _stop(context: Context, name: signal.Signals) -> None:
    if context.shared.stopping.is_set():
        signal.signal(name, signal.SIG_DFL)
        signal.raise_signal(name)
    context.named("worker").info("STOPPING", signal=name.name)
    context.shared.stopping.set()


@asynccontextmanager
async def open_context(
    settings: Settings, ports: Ports, url: str, *, reached: points.Reached = points.nothing
) -> AsyncIterator[Context]:
    """Connections, venue and incarnation of one worker. Raises if schema or venue do not fit."""
    pool = await open_pool(url, role_hint="worker", min_size=1, max_size=10)
    venue_pool = await open_pool(url, role_hint="paper venue", min_size=1, max_size=6)
    watch_pool = await open_pool(url, role_hint="watchdog", min_size=1, max_size=1)
    try:
        async with pool.acquire() as connection:
            await check_version(connection)
            await check_schema(connection)
        calls = LedgerCalls(pool)
        host = _host(settings, venue_pool, calls, ports)
        incarnation = ports.rng.uuid()
        log = logs.get_logger("worker").bind(incarnation=str(incarnation)[:8])
        yield Context(
            calls, LedgerCalls(watch_pool), host, ports, settings, incarnation, log, reached
        )
    finally:
        for each in (pool, venue_pool, watch_pool):
            each.terminate()


def _host(settings: Settings, pool: Any, calls: LedgerCalls, ports: Ports) -> PaperHost:
    if settings.venue != "paper":
        raise BadInput(
            Code.BAD_SETTING,
            "this release trades on the paper venue only; the Polymarket adapter is not in it",
            not_done="the worker was not started",
            next_step="set LEDGER_VENUE=paper",
        )
    return PaperHost(pool, calls, ports, settings)


async def serve(context: Context, url: str) -> None:
    """Run every task until the worker is told to stop, then stop in order."""
    settings, ports, calls = context.settings, context.ports, context.calls
    await calls.value("worker_started", context.incarnation, "ledger-worker", app.__version__)
    await calls.value(
        "open_paper_account",
        settings.account,
        parse_micros(settings.paper_collateral, what="LEDGER_PAPER_COLLATERAL"),
        settings.quarantine_ms,
    )
    context.log.info("STARTED", version=app.__version__, venue=context.venue.name)
    sender = Sender(context)
    placements, serving = Placements(context, sender), Serving(context)
    cancels = Cancels(context)
    placing = ports.tasks.spawn(
        loop.run(context, "placements", placements.one_pass, idle_ms=settings.poll_ms, wakes=True),
        name="placements",
    )
    others = [
        ports.tasks.spawn(loop.run(context, name, one_pass, idle_ms=idle_ms), name=name)
        for name, one_pass, idle_ms in (
            ("accounts", serving.one_pass, LOOK_FOR_ACCOUNTS_MS),
            ("cancels", cancels.one_pass, settings.poll_ms),
            ("look_ups", LookUps(context, sender).one_pass, settings.poll_ms),
            ("sweeps", Sweeps(context).one_pass, SWEEP_MS),
            ("watchdog", Watchdog(context).one_pass, WATCH_MS),
            ("beat", Beat(context).one_pass, context.lease_ms // 5),
            ("pace", context.host.pace, PACE_MS),
        )
    ]
    others.append(ports.tasks.spawn(listen(context, url, OUTBOX_CHANNEL), name="wake"))
    stopping = ports.tasks.spawn(context.shared.stopping.wait(), name="stopping")
    try:
        done, _ = await asyncio.wait(
            [placing, *others, stopping], return_when=asyncio.FIRST_COMPLETED
        )
        for task in done - {stopping}:
            task.result()  # a task that ends before the stop has failed: fail loudly, start fresh
    finally:
        context.shared.stopping.set()
        await _stop_in_order(context, (placements, cancels), serving, [placing, *others, stopping])


async def _stop_in_order(
    context: Context,
    in_flight: tuple[Placements, Cancels],
    serving: Serving,
    tasks: list[asyncio.Task[Any]],
) -> None:
    beating = context.ports.tasks.spawn(_beat_on(context), name="beat while stopping")
    try:
        await asyncio.wait(tasks, timeout=context.settings.request_timeout_ms / 1000)
        for each in in_flight:
            await each.drain()
        await serving.stop()
        if context.settings.cancel_on_stop:
            await _cancel_everything(context)
        await context.calls.value("drop_leases", context.incarnation)
        await context.calls.value("worker_stopped", context.incarnation)
        context.log.info("STOPPED")
    except DatabaseProblem as problem:
        context.log.warning("STOPPED_WITHOUT_DATABASE", code=problem.code, problem=problem.wrong)
    finally:
        for task in (beating, *tasks):
            task.cancel()
        await asyncio.gather(beating, *tasks, return_exceptions=True)


async def _beat_on(context: Context) -> None:
    """Keep the claims of what is still in flight: lapsed, its answer would come too late to count."""
    beat = Beat(context)
    while True:
        with suppress(DatabaseProblem):
            await beat.one_pass()
        await context.ports.clock.sleep(context.lease_ms / 5_000)


async def _cancel_everything(context: Context) -> None:
    """Ask for every cancel and send the first round; whoever runs next (or a later start) sends the rest."""
    for account in sorted(context.shared.known):
        while await context.calls.value("request_cancel_all", account, None, "graceful stop"):
            pass
    cancels = Cancels(context)
    await cancels.one_pass()
    await cancels.drain()
