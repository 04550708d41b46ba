"""``ledger-worker start``: builds the worker from its settings, runs its tasks, ends it gracefully.

SIGTERM or SIGINT: no new work, what is in flight is recorded, leases are given back; what had not started
yet is left off. A second signal, or SIGKILL at any moment, is as safe: what a worker was doing is in the
database.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import app
from app.clock import Ports
from app.config import Settings
from app.db.access import role_url
from app.db.connect import check_version, open_pool
from app.db.revisions import check_schema
from app.errors import DatabaseProblem
from app.ledger.calls import LedgerCalls
from app.ledger.wake import OUTBOX_CHANNEL
from app.observe import logs
from workers.worker import delayed, loop, points
from workers.worker.cancels import Cancels
from workers.worker.context import Context, Shared
from workers.worker.delayed import Delayed
from workers.worker.horizon import LOOK_EVERY_MS, Horizon
from workers.worker.hosts import keys_of, open_host
from workers.worker.look_ups import LookUps
from workers.worker.placements import Placements
from workers.worker.sending import Sender
from workers.worker.serving import LOOK_FOR_ACCOUNTS_MS, Serving
from workers.worker.sweeps import Beat, Sweeps, Watchdog
from workers.worker.wake import listen
from workers.worker.withdrawals import IDLE_MS as WITHDRAWALS_MS
from workers.worker.withdrawals import Withdrawals

SWEEP_MS = 500
WATCH_MS = 250
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

RECORD_S = 5.0
"""How long a stop waits, beyond a request, for a database that does not take the outcome of a send. What is
not recorded by then stays SENDING until its lease lapses: as safe, only later.
"""


class Told:
    """Hears the signal to stop from the first moment on, also while there is no loop yet. The second one ends
    the process as if nobody listened.
    """

    def __init__(self) -> None:
        self._by: signal.Signals | None = None
        self._stopping: asyncio.Event | None = None
        self._before = {
            number: signal.signal(number, lambda heard, _frame: self._hear(heard))
            for number in SIGNALS
        }

    def forget(self) -> None:
        """Leave the process as it was found: it may go on with something else."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def tell(self, stopping: asyncio.Event) -> None:
        """From now on within the running loop: sets ``stopping``, at once if a signal has come already."""
        self._stopping = stopping
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._hear, number)
        self._pass_on()

    def _hear(self, number: int) -> None:
        if self._by is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._by = signal.Signals(number)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._by is not None and self._stopping is not None:
            logs.get_logger("worker").info("STOPPING", signal=self._by.name)
            self._stopping.set()


def run(settings: Settings) -> int:
    """Run until a signal. Returns the exit code: 0 after a graceful stop."""
    told = Told()
    try:
        ports = Ports.system()
        run_id = str(ports.rng.uuid())
        logs.configure(ports.clock, level=settings.log_level, style=settings.log_format, run=run_id)
        asyncio.run(_run(settings, ports, role_url(settings, "worker"), told))
    finally:
        told.forget()
    return 0


async def _run(settings: Settings, ports: Ports, url: str, told: Told) -> None:
    shared = Shared()
    asyncio.get_running_loop().set_exception_handler(_left_over)
    told.tell(shared.stopping)
    async with AsyncExitStack() as stack:
        opened = open_context(
            settings, ports, url, reached=points.from_environment(), shared=shared
        )
        context = await _unless_told(ports, shared, stack.enter_async_context(opened))
        if context is not None:
            if (refresh := keys_of(context.host)) is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, refresh)
            await serve(context, url)


def _left_over(_loop: asyncio.AbstractEventLoop, said: dict[str, Any]) -> None:
    """A task that nobody waited for any more has failed: a driver's, behind a connection that was cut. By class
    only: nobody knows what such an error quotes.
    """
    error = said.get("exception")
    logs.get_logger("worker").warning(
        "LEFT_OVER_FAILED", what=str(said.get("message"))[:100], problem=type(error).__name__
    )


async def _unless_told(ports: Ports, shared: Shared, work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` returns, or None: the worker was told to stop, and the work was cancelled if it was not done."""
    working = ports.tasks.spawn(work, name="starting")
    stopping = ports.tasks.spawn(shared.stopping.wait(), name="stopping")
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
    if shared.stopping.is_set() and (working.cancelled() or working.exception() is None):
        return None
    return working.result()


@asynccontextmanager
async def open_context(
    settings: Settings,
    ports: Ports,
    url: str,
    *,
    reached: points.Reached = points.nothing,
    shared: Shared | None = None,
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
        incarnation = ports.rng.uuid()
        log = logs.get_logger("worker").bind(incarnation=str(incarnation)[:8])
        host = open_host(settings, venue_pool, calls, ports, log, str(incarnation))
        try:
            yield Context(
                calls,
                LedgerCalls(watch_pool),
                host,
                ports,
                settings,
                incarnation,
                log,
                reached,
                shared or Shared(),
            )
        finally:
            await host.aclose()
    finally:
        for each in (pool, venue_pool, watch_pool):
            each.terminate()


async def serve(context: Context, url: str) -> None:
    """Run every task until the worker is told to stop, then stop in order."""
    settings, ports = context.settings, context.ports
    if not await _unless_told(ports, context.shared, _announce(context)):
        await _announce_nothing(context)
        return
    context.log.info("STARTED", version=app.__version__, venue=context.venue.name)
    sender = Sender(context)
    placements, serving = Placements(context, sender), Serving(context)
    cancels, withdrawals = Cancels(context), Withdrawals(context)
    shared, idle_ms = context.shared, settings.poll_ms
    cancelling = ports.tasks.spawn(
        loop.run(context, "cancels", cancels.one_pass, idle_ms=idle_ms, wakes=shared.cancel_work),
        name="cancels",
    )
    placing = ports.tasks.spawn(
        loop.run(context, "placements", placements.one_pass, idle_ms=idle_ms, wakes=shared.work),
        name="placements",
    )
    others = [
        ports.tasks.spawn(loop.run(context, name, one_pass, idle_ms=every_ms), name=name)
        for name, one_pass, every_ms in (
            ("accounts", serving.one_pass, LOOK_FOR_ACCOUNTS_MS),
            ("look_ups", LookUps(context, sender).one_pass, settings.poll_ms),
            ("delayed", Delayed(context).one_pass, delayed.EVERY_MS),
            ("sweeps", Sweeps(context).one_pass, SWEEP_MS),
            ("watchdog", Watchdog(context).one_pass, WATCH_MS),
            ("withdrawals", withdrawals.one_pass, WITHDRAWALS_MS),
            ("horizon", Horizon(context).one_pass, LOOK_EVERY_MS),
            ("beat", Beat(context).one_pass, context.lease_ms // 5),
            *context.host.passes(context),
        )
    ]
    others += [ports.tasks.spawn(run, name=name) for name, run in context.host.runs(context)]
    others.append(ports.tasks.spawn(listen(context, url, OUTBOX_CHANNEL), name="wake"))
    stopping = ports.tasks.spawn(context.shared.stopping.wait(), name="stopping")
    try:
        done, _ = await asyncio.wait(
            [cancelling, placing, *others, stopping], return_when=asyncio.FIRST_COMPLETED
        )
        for task in done - {stopping}:
            task.result()  # a task that ends before the stop has failed: fail loudly, start fresh
    finally:
        context.shared.stopping.set()
        in_flight = (sender, placements, cancels, withdrawals)
        await _stop_in_order(context, in_flight, serving, [cancelling, placing, *others, stopping])


async def _announce(context: Context) -> bool:
    """The row from which on this worker beats, and whatever the venue needs. Nothing is begun before."""
    await context.calls.value(
        "worker_started", context.incarnation, "ledger-worker", app.__version__, context.lease_ms
    )
    await context.host.prepare(to_trade=True)
    return True


async def _announce_nothing(context: Context) -> None:
    """Told to stop before anything was begun. The row may be there; a database that hangs is not waited for."""
    with suppress(DatabaseProblem, TimeoutError):
        async with asyncio.timeout(RECORD_S):
            await context.calls.value("worker_stopped", context.incarnation)
    context.log.info("STOPPED")


async def _stop_in_order(
    context: Context,
    in_flight: tuple[Sender, Placements, Cancels, Withdrawals],
    serving: Serving,
    tasks: list[asyncio.Task[Any]],
) -> None:
    beating = context.ports.tasks.spawn(_beat_on(context), name="beat while stopping")
    request_s = context.settings.request_timeout_ms / 1000
    try:
        await asyncio.wait(tasks, timeout=request_s)
        await asyncio.gather(*(each.drain(request_s + RECORD_S) for each in in_flight))
        await serving.stop()
        if context.settings.cancel_on_stop:
            await _cancel_everything(context)
        await context.calls.value("drop_leases", context.incarnation)
        left = await context.calls.value(
            "worker_stopped", context.incarnation, tuple(sorted(context.shared.known))
        )
        context.log.info("STOPPED", left=left)
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
    await cancels.drain(context.settings.request_timeout_ms / 1000 + RECORD_S)
