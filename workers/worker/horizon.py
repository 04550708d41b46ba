"""Watches how far back the oldest snapshot of the database reaches, and ends transactions that do nothing.

One that stays open keeps every row alive that died since. The queues of the ledger live by their dead rows
being removed: with a snapshot pinned they grow slower by the minute, and nothing else shows why (lesson 37).
"""

from __future__ import annotations

from typing import Any, Final

from workers.worker.context import Context

LOOK_EVERY_MS: Final = 5_000
IDLE_MS: Final = 60_000
"""A session of the ledger's roles may sit in a transaction for so long: as their own time-out says, which a
login that is only a member of a role does not have.
"""

ALARM_MS: Final = 60_000
ALARM_TRANSACTIONS: Final = 5_000_000
"""For what has no age of its own: a replication slot whose standby is gone."""

SAY_EVERY_S: Final = 60.0


class Horizon:
    """On the watchdog's connection: nothing that it is about may hold it up."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("horizon")
        self._said_ns: int | None = None

    async def one_pass(self) -> bool:
        watch = self._context.watch
        if ended := await watch.value("end_idle_transactions", IDLE_MS):
            self._log.error("IDLE_TRANSACTIONS_ENDED", count=ended)
        for row in await watch.rows("SELECT * FROM ledger.horizon()"):
            if is_old(row) and self._time_to_say():
                self._log.error("SNAPSHOT_HELD", **row)
        return False

    def _time_to_say(self) -> bool:
        now_ns = self._context.ports.clock.monotonic_ns()
        if self._said_ns is not None and now_ns - self._said_ns < SAY_EVERY_S * 1e9:
            return False
        self._said_ns = now_ns
        return True


def is_old(row: dict[str, Any]) -> bool:
    """Whether the oldest snapshot is one to do something about."""
    if row["age_ms"] is None:
        return bool(row["transactions"] > ALARM_TRANSACTIONS)
    return bool(row["age_ms"] > ALARM_MS)
