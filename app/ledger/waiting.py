"""Lets many callers await what becomes of their orders with one query at a time between them.

The database is asked for all awaited ids at once, soon at first and then at growing intervals, and
only while somebody waits. Nothing is missed by a lost notification, since none is relied upon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from app.clock import Ports
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.answers import OrderView, ReplacementView

Until: TypeAlias = Literal["ended", "settled"]
"""``ended``: a final state. ``settled``: final, all fills booked, nothing held any more."""

Read: TypeAlias = Callable[[Sequence[int]], Awaitable[Sequence[OrderView]]]

FIRST_INTERVAL_S: Final = 0.005
LONGEST_INTERVAL_S: Final = 0.25
GROWTH: Final = 1.4
MOST_IDS_PER_READ: Final = 500


@dataclass(slots=True, eq=False)
class _Waiter:
    order_id: int
    until: Until
    future: asyncio.Future[OrderView]

    def is_over(self, view: OrderView) -> bool:
        return view.settled if self.until == "settled" else view.ended


class Waiting:
    """One poller for all who wait on a ledger. A read that fails for a passing reason is made
    again.
    """

    def __init__(self, read: Read, ports: Ports) -> None:
        self.failures = 0
        """Reads that the database did not answer."""
        self._read = read
        self._ports = ports
        self._waiters: set[_Waiter] = set()
        self._interval_s = FIRST_INTERVAL_S
        self._poller: asyncio.Task[Any] | None = None

    async def wait(self, order_id: int, until: Until, timeout_s: float | None) -> OrderView:
        """The first view that is over. Raises `TimeoutError`, and `BadInput` for an order nobody
        knows.
        """
        waiter = _Waiter(order_id, until, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._interval_s = FIRST_INTERVAL_S
        if self._poller is None or self._poller.done():
            self._poller = self._ports.tasks.spawn(self._poll(), name="ledger waiting")
        alarm = None
        if timeout_s is not None:
            alarm = self._ports.tasks.spawn(self._time_out(waiter, timeout_s), name="ledger alarm")
        try:
            return await waiter.future
        finally:
            self._waiters.discard(waiter)
            if alarm is not None:
                alarm.cancel()

    async def close(self) -> None:
        """End the poller. Whoever still waits is told that the ledger was closed."""
        for waiter in list(self._waiters):
            _fail(
                waiter,
                DatabaseProblem(
                    Code.DATABASE_UNREACHABLE,
                    "the ledger was closed while an order was awaited",
                    not_done="the order itself goes on",
                    next_step="open the ledger again and await the order by its id or key",
                ),
            )
        self._waiters.clear()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait({self._poller})

    async def _poll(self) -> None:
        while self._waiters:
            ids = sorted({waiter.order_id for waiter in self._waiters})
            for start in range(0, len(ids), MOST_IDS_PER_READ):
                await self._look(ids[start : start + MOST_IDS_PER_READ])
            if self._waiters:
                await self._ports.clock.sleep(self._interval_s)
                self._interval_s = min(self._interval_s * GROWTH, LONGEST_INTERVAL_S)

    async def _look(self, ids: Sequence[int]) -> None:
        asked = set(ids)
        concerned = [waiter for waiter in self._waiters if waiter.order_id in asked]
        try:
            views = {view.order_id: view for view in await self._read(ids)}
        except DatabaseProblem as error:
            self.failures += 1
            if error.code is not Code.DATABASE_UNREACHABLE and error.code is not Code.NOT_DURABLE:
                for waiter in concerned:
                    _fail(waiter, error)
            return
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait, and each is told
            for waiter in concerned:
                _fail(waiter, error)
            return
        for waiter in concerned:
            view = views.get(waiter.order_id)
            if view is None:
                _fail(waiter, _unknown(waiter.order_id))
            elif waiter.is_over(view) and not waiter.future.done():
                waiter.future.set_result(view)
                self._interval_s = FIRST_INTERVAL_S
        self._waiters = {waiter for waiter in self._waiters if not waiter.future.done()}

    async def _time_out(self, waiter: _Waiter, timeout_s: float) -> None:
        await self._ports.clock.sleep(timeout_s)
        _fail(
            waiter,
            TimeoutError(f"order {waiter.order_id} is not {waiter.until} after {timeout_s} s"),
        )


async def replacement_ended(
    look: Callable[[str], Awaitable[object]], key: str, timeout_s: float | None, ports: Ports
) -> ReplacementView:
    """Look at what ``key`` became until its replacement ended; see `Ledger.replaced`."""
    began_ns = ports.clock.monotonic_ns()
    interval_s = FIRST_INTERVAL_S
    while True:
        found = await look(key)
        if not isinstance(found, ReplacementView):
            raise BadInput(Code.BAD_KEY, f"the key {key[:200]!r} asked for no replacement")
        if found.state != "waiting":
            return found
        waited_s = (ports.clock.monotonic_ns() - began_ns) / 1e9
        if timeout_s is not None and waited_s >= timeout_s:
            raise TimeoutError(f"replacement {found.replacement_id} waits after {timeout_s} s")
        await ports.clock.sleep(interval_s)
        interval_s = min(interval_s * GROWTH, LONGEST_INTERVAL_S)


def _fail(waiter: _Waiter, error: BaseException) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(error)


def _unknown(order_id: int) -> BadInput:
    return BadInput(
        Code.UNKNOWN_ORDER,
        f"there is no order {order_id} that this login may see",
        next_step="look it up by its key, or see that the account is granted to this login",
    )
