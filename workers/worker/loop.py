"""The common loop of a worker's tasks: do one pass, wait, survive the database being away.

An error of the surroundings is waited out. An error nobody foresaw ends the process: everything that
matters is in the database, and a fresh start is better tested than a half-broken one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.errors import DatabaseProblem
from workers.worker.context import Context

Pass = Callable[[], Awaitable[bool]]
"""One pass; true if there may be more to do at once."""


async def run(
    context: Context, name: str, one_pass: Pass, *, idle_ms: int, wakes: asyncio.Event | None = None
) -> None:
    """Repeat ``one_pass`` until the worker stops. ``wakes``: what shortens the idle time; of this loop alone."""
    log = context.named(name)
    failures = 0
    while not context.shared.stopping.is_set():
        try:
            more = await one_pass()
            failures = 0
        except DatabaseProblem as problem:
            failures += 1
            log.warning(
                "DATABASE_PROBLEM", code=problem.code, problem=problem.wrong, failures=failures
            )
            # The cancel path is never held back for long by a database that is just coming back.
            await pause(context, context.backoff_ms(failures, first_ms=100, most_ms=1_000))
            continue
        if not more:
            await pause(context, idle_ms, wakes=wakes)


async def pause(context: Context, ms: int, *, wakes: asyncio.Event | None = None) -> None:
    """Wait ``ms``, or less if the worker stops or ``wakes`` is set, which is taken back then."""
    shared = context.shared
    waits = [
        context.ports.tasks.spawn(context.ports.clock.sleep(ms / 1000), name="pause"),
        context.ports.tasks.spawn(shared.stopping.wait(), name="pause-stop"),
    ]
    if wakes is not None:
        waits.append(context.ports.tasks.spawn(wakes.wait(), name="pause-wake"))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if wakes is not None:
        wakes.clear()
