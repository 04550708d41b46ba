"""A bound on how long a command waits for the database: a person or a cron job must get an answer.

When the patience runs out the command hangs up: it drops its connection and sends no request to
cancel. A cancel would need the server's answer too, and it would end a commit's wait for its standby
as a success that a failover may lose (see `app.db.durable`). What was asked for may therefore still be
done; it is said that this is not known, and with the same key it can be asked again. A worker's own
commits on the way to the venue do not come through here and are never bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from app.ledger.calls import LedgerCalls

if TYPE_CHECKING:
    from app.db.connect import Pool

T = TypeVar("T")

_LEAVING_S: Final = 1.0
"""For the driver to notice that its connection is gone."""


class _PatientCalls(LedgerCalls):
    def __init__(self, pool: Pool, patience_s: float) -> None:
        super().__init__(pool)
        self._patience_s = patience_s
        self._tasks = Ports.system().tasks

    async def value(self, function: str, *arguments: Any) -> Any:
        call = super().value(function, *arguments)
        return await self._within(call, "whether it was done is not known")

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        return await self._within(super().rows(query, *arguments), "nothing was changed by it")

    async def _within(self, call: Coroutine[Any, Any, T], not_done: str) -> T:
        work: asyncio.Task[T] = self._tasks.spawn(call, name="statement")
        work.add_done_callback(_heard)
        done, _ = await asyncio.wait({work}, timeout=self._patience_s)
        if done:
            return work.result()
        self.pool.terminate()
        work.cancel()
        await asyncio.wait({work}, timeout=_LEAVING_S)
        raise no_answer(self._patience_s, not_done)


def _heard(work: asyncio.Task[Any]) -> None:
    """Nobody is left to take the error of a statement that was hung up on."""
    if not work.cancelled():
        work.exception()


def patient_calls(pool: Pool, patience_s: float) -> LedgerCalls:
    """Calls of which none waits longer than ``patience_s``; then DATABASE_BUSY, and the pool is of
    no more use.
    """
    return _PatientCalls(pool, patience_s)


def no_answer(waited_s: float, not_done: str) -> DatabaseProblem:
    """The database took a question and gave no answer."""
    return DatabaseProblem(
        Code.DATABASE_BUSY,
        f"the database gave no answer within {waited_s:.0f} s: it is paused or overloaded, or "
        "another session holds a lock",
        not_done=not_done,
        next_step="see that the server runs and which session waits (pg_stat_activity), then repeat; "
        "with the same key what was done is answered as a replay",
    )
