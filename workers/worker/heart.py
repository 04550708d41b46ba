"""Keeps the venue's dead-man switch from firing: one beat after another, in a chain that survives its keeper.

Once it has been started, the venue cancels everything when no valid beat came for ten seconds (docs/venue.md
9.1). So one worker beats (a lease of three seconds), the id that the next beat must name is in the database
for whoever takes over, and beating goes on for a minute when the database is away: its outage must not cancel
the orders. What is sent meanwhile is judged by the age of the last accepted beat, at each send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.errors import Code, DatabaseProblem
from workers.worker.context import Context
from workers.worker.loop import pause
from workers.worker.pulse import Pulse

LEASE_MS: Final = 3_000
BEAT_EVERY_MS: Final = 1_000
"""The venue asks for one each 5 s; a send needs one no older than `GRACE_MS`."""

GRACE_MS: Final = 7_000
ALONE_FOR_NS: Final = 60_000_000_000
"""How long beating goes on without a database that could say whose turn it is."""

ANSWERS_WITHIN_S: Final = 1.0
"""How long a beat waits for the database. A server that stands still refuses nothing, and statements have no
time-out of the driver: whoever waited for its answer would miss the venue's ten seconds.
"""


@dataclass(frozen=True, slots=True)
class Beaten:
    """What the venue made of a beat. ``next_id``: what the next one must name, where the venue said so."""

    accepted: bool
    next_id: str | None
    problem: str = ""


class Heartbeats(Protocol):
    async def beat(self, account: str, chain_id: str) -> Beaten:
        """Send one. Answers for whatever happens."""
        ...


class Heart:
    """The heartbeat of one account."""

    def __init__(self, context: Context, account: str, venue: Heartbeats) -> None:
        self._context = context
        self._account = account
        self._venue = venue
        self._pulse = Pulse(context, account, "heartbeat")
        self._term: int | None = None
        self._chain = ""
        self._told_ns = 0
        self._missed = 0
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._log = context.named("heartbeat").bind(account=account)

    async def run(self) -> None:
        """Beat whenever the lease is ours; until the worker stops."""
        try:
            while not self._context.shared.stopping.is_set():
                await self.one_pass()
                await pause(self._context, BEAT_EVERY_MS)
        finally:
            for task in self._asked.values():
                task.cancel()

    async def one_pass(self) -> None:
        """Take or keep the lease, and beat if it is ours, or if nobody can say whose it is."""
        clock = self._context.ports.clock
        try:
            await self._answered("lease", self._keep_lease)
            self._told_ns = clock.monotonic_ns()
        except DatabaseProblem as problem:
            alone_ns = clock.monotonic_ns() - self._told_ns
            self._log.warning("BEATING_ALONE", code=problem.code, alone_ms=alone_ns // 1_000_000)
            if self._term is None or alone_ns > ALONE_FOR_NS:
                return
        if self._term is not None:
            await self._beat()

    async def _answered(self, what: str, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ask the database and wait a moment. What it has not answered by then is left to go on by itself, since
        a statement on its way cannot be called back, and is not asked again before it has ended.
        """
        task = self._asked.get(what)
        if task is None:
            task = self._context.ports.tasks.spawn(ask(), name=f"heartbeat {what}")
            self._asked[what] = task
        await asyncio.wait({task}, timeout=ANSWERS_WITHIN_S)
        if not task.done():
            raise DatabaseProblem(
                Code.DATABASE_UNREACHABLE,
                f"no answer within {ANSWERS_WITHIN_S:.0f} s",
                not_done="the heartbeat does not wait for it",
            )
        del self._asked[what]
        task.result()

    async def _keep_lease(self) -> None:
        context = self._context
        term: int | None = await context.calls.value(
            "take_lease", f"heartbeat:{self._account}", context.incarnation, LEASE_MS
        )
        if term is not None and term != self._term:
            self._chain = await self._pulse.take(term)
            self._log.info("HEARTBEAT_TAKEN", term=term, takes_up=bool(self._chain))
        self._term = term

    async def _beat(self) -> None:
        clock = self._context.ports.clock
        sent_ns = clock.monotonic_ns()
        beaten = await self._venue.beat(self._account, self._chain)
        if not beaten.accepted and beaten.next_id is not None and beaten.next_id != self._chain:
            # Another id is due: a beat of ours was taken without our hearing of it, or another keeper beat.
            self._chain = beaten.next_id
            sent_ns = clock.monotonic_ns()
            beaten = await self._venue.beat(self._account, self._chain)
        if beaten.next_id is not None:
            self._chain = beaten.next_id
        if beaten.accepted:
            self._missed = 0
        else:
            self._missed += 1
            self._log.warning("HEARTBEAT_MISSED", missed=self._missed, problem=beaten.problem)
        await self._tell(beaten, sent_ns)

    async def _tell(self, beaten: Beaten, sent_ns: int) -> None:
        chain_id = self._chain

        async def tell() -> None:
            problem = None if beaten.accepted else beaten.problem or "refused"
            if not await self._pulse.tell(sent_ns, chain_id=chain_id, problem=problem):
                self._term = None

        try:
            await self._answered("beat", tell)
        except DatabaseProblem as problem:
            self._log.warning("BEAT_NOT_TOLD", code=problem.code)
