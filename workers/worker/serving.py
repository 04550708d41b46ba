"""Which accounts a worker serves, and the comparison each must pass before anything is placed for it."""

from __future__ import annotations

import asyncio
from typing import Final

from app.errors import DatabaseProblem
from workers.reconcile import Reconciler
from workers.worker.context import Context
from workers.worker.in_flight import look_at_in_flight
from workers.worker.loop import pause
from workers.worker.stream import Stream
from workers.worker.sweeps import Sweeps

LOOK_FOR_ACCOUNTS_MS: Final = 2_000
LOOK_FOR_EPISODES_MS: Final = 1_000


class Serving:
    """Finds accounts of our venue that we hold a key for, and serves each: start comparison, stream, reconciliation."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("accounts")
        self._tasks: list[asyncio.Task[None]] = []
        self._refused: set[str] = set()
        self._telling = asyncio.Lock()

    async def one_pass(self) -> bool:
        """Take up accounts that appeared since the last pass."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()
        context = self._context
        wanted = [name.strip() for name in context.settings.accounts.split(",") if name.strip()]
        rows = await context.calls.rows(
            "SELECT name FROM ledger.account WHERE venue = $1 AND (name = ANY ($2) OR $3) ORDER BY name",
            context.venue.name,
            wanted,
            not wanted,
        )
        for row in rows:
            if row["name"] not in context.shared.known and row["name"] not in self._refused:
                await self._take_up(row["name"])
        return False

    async def _take_up(self, account: str) -> None:
        context = self._context
        key = context.host.key(account)
        if key is None:
            return
        if not await context.calls.value("sign_as", account, key.maker, key.signer_address):
            self._refused.add(account)
            self._log.error(
                "WRONG_KEY",
                account=account,
                problem="this key signs for other addresses than the account's",
            )
            return
        context.shared.known.add(account)
        stream = Stream(context, account)
        self._tasks += [
            context.ports.tasks.spawn(self._make_ready(account, stream), name=f"start-{account}"),
            context.ports.tasks.spawn(stream.run(), name=f"stream-{account}"),
        ]

    async def _make_ready(self, account: str, stream: Stream) -> None:
        """Not ready until a comparison with the venue came out complete; then again every few minutes."""
        context = self._context
        reconciler = Reconciler(context, account)
        tries = 0
        while not context.shared.stopping.is_set():
            try:
                await Sweeps(context).one_pass()
                context.reached("start.sweep.after")
                why = await self._compare_first(account, stream, reconciler)
                if not why:
                    break
                self._log.warning("NOT_READY", account=account, problem=why)
                await context.calls.value("worker_ready", context.incarnation, f"{account}: {why}")
            except DatabaseProblem as problem:
                self._log.warning(
                    "NOT_READY", account=account, code=problem.code, problem=problem.wrong
                )
            tries += 1
            await pause(context, context.backoff_ms(tries, most_ms=5_000))
        else:
            return
        context.reached("start.ready.before")
        context.shared.ready.add(account)
        self._log.info("ACCOUNT_READY", account=account)
        await self._say_ready()
        await self._periodically(account, reconciler)

    async def _compare_first(self, account: str, stream: Stream, reconciler: Reconciler) -> str:
        """Everything that a start reads, in order. Returns what keeps the account from being ready, or nothing."""
        context = self._context
        why = await context.host.preflight(account)
        context.reached("start.preflight.after")
        if why:
            return why
        await stream.apply_waiting()
        context.reached("start.events.after")
        report = await reconciler.run("start", second_look=False)
        context.reached("start.compare.after")
        if report.result == "incomplete":
            return report.reason
        return await look_at_in_flight(context, account)

    async def _say_ready(self) -> None:
        """One at a time: said side by side, "waits for two" could be written after "waits for none"."""
        context, tries = self._context, 0
        async with self._telling:
            while not context.shared.stopping.is_set():
                waiting = context.shared.known - context.shared.ready
                why = f"comparing: {', '.join(sorted(waiting))}" if waiting else None
                try:
                    await context.calls.value("worker_ready", context.incarnation, why)
                    return
                except DatabaseProblem as problem:
                    tries += 1
                    self._log.warning(
                        "DATABASE_PROBLEM", code=problem.code, problem=problem.wrong, failures=tries
                    )
                await pause(context, context.backoff_ms(tries, most_ms=5_000))

    async def _periodically(self, account: str, reconciler: Reconciler) -> None:
        """Every few minutes, and soon after an episode of the venue."""
        context = self._context
        every_ms = context.settings.reconcile_every_s * 1000
        while not context.shared.stopping.is_set():
            started_ns, due_ms = context.ports.clock.monotonic_ns(), context.jitter_ms(every_ms)
            while context.elapsed_ms(started_ns) < due_ms and not self._wanted_soon(account):
                await pause(context, min(due_ms, LOOK_FOR_EPISODES_MS))
                if context.shared.stopping.is_set():
                    return
            await self._compare(account, reconciler, every_ms)

    def _wanted_soon(self, account: str) -> bool:
        return account in self._context.shared.compare_soon

    async def _compare(self, account: str, reconciler: Reconciler, every_ms: int) -> None:
        context = self._context
        try:
            # One worker is enough; the lease outlives the run and lapses before the next is due. After an
            # episode each worker that saw its end compares: a second comparison does no harm.
            if self._wanted_soon(account):
                await self._compare_soon(account, reconciler)
            elif (
                await context.calls.value(
                    "take_lease", f"reconcile:{account}", context.incarnation, every_ms // 2
                )
                is not None
            ):
                await reconciler.run("periodic", second_look=True)
        except DatabaseProblem as problem:
            self._log.warning(
                "RECONCILE_PAUSED", account=account, code=problem.code, problem=problem.wrong
            )
            await pause(context, context.jitter_ms(LOOK_FOR_EPISODES_MS))

    async def _compare_soon(self, account: str, reconciler: Reconciler) -> None:
        """What is asked for while it runs is another one: it may have read already."""
        context, done = self._context, False
        context.shared.compare_soon.discard(account)
        try:
            done = (await reconciler.run("episode", second_look=True)).result != "incomplete"
        finally:
            if not done:
                context.shared.compare_soon.add(account)
        if not done:
            await pause(context, context.jitter_ms(LOOK_FOR_EPISODES_MS))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
