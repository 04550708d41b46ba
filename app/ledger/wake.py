"""Wakes workers when there is work, from the side and at most every few milliseconds.

A NOTIFY inside the reserving transaction takes a lock of the whole database at its commit and cut
the rate of reservations to less than half. So it is sent afterwards, on another connection, once
for all that was admitted meanwhile, and nobody relies on it: a worker's poll is the truth.
"""

from __future__ import annotations

from asyncio import Task, wait
from collections.abc import Awaitable, Callable
from typing import Any, Final

from app.clock import Ports
from app.errors import LedgerError

OUTBOX_CHANNEL: Final = "ledger_outbox"
"""The channel workers listen on. The payload is empty: it says "look", not what."""

GAP_S: Final = 0.005
"""Not more than one wake-up in this time, per process."""


class WakeUps:
    """Coalesces rings into few notifications. Best effort: ``failures`` counts what did not go
    out.
    """

    def __init__(self, notify: Callable[[str], Awaitable[object]], ports: Ports) -> None:
        self.sent = 0
        self.failures = 0
        self._notify = notify
        self._ports = ports
        self._rung = 0
        self._told = 0
        self._ringing: Task[Any] | None = None

    def ring(self) -> None:
        """Something is ready in the outbox. Returns at once."""
        self._rung += 1
        if self._ringing is None or self._ringing.done():
            self._ringing = self._ports.tasks.spawn(self._ring(), name="ledger wake-up")

    async def close(self) -> None:
        """Send what is still untold, without waiting for the gap."""
        if self._ringing is not None and not self._ringing.done():
            self._ringing.cancel()
            await wait({self._ringing})
        if self._told != self._rung:
            await self._tell()

    async def _ring(self) -> None:
        while self._told != self._rung:
            await self._tell()
            await self._ports.clock.sleep(GAP_S)

    async def _tell(self) -> None:
        rung = self._rung
        try:
            await self._notify(OUTBOX_CHANNEL)
            self.sent += 1
        except LedgerError:
            self.failures += 1
        self._told = rung
