"""A clock that tests set: ``ledger.clock()`` of a test's own database, so that no test ever waits.

It reads a sequence, since a sequence, like the real clock and unlike a table, is seen at once by
every session, whatever snapshot its statement has.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

START: Final = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)

_INSTALL: Final = """
CREATE SCHEMA IF NOT EXISTS test_clock;
CREATE SEQUENCE IF NOT EXISTS test_clock.micros MINVALUE 0;
GRANT USAGE ON SCHEMA test_clock TO PUBLIC;
GRANT SELECT ON test_clock.micros TO PUBLIC;
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE
AS $$ SELECT to_timestamp(0) + last_value * interval '1 microsecond' FROM test_clock.micros $$;
"""


class SettableClock:
    """The database's clock in a test's hand. It stands still until it is moved."""

    def __init__(self, owner: asyncpg.Connection, now: datetime) -> None:
        self._owner = owner
        self.now = now

    @classmethod
    async def install(cls, owner: asyncpg.Connection, start: datetime = START) -> SettableClock:
        """Replace ``ledger.clock()``; ``owner`` is a connection of the schema's owner."""
        await owner.execute(_INSTALL)
        clock = cls(owner, start)
        await clock.set(start)
        return clock

    async def set(self, now: datetime) -> None:
        """Any moment, also an earlier one: machines' clocks do step back."""
        await self._owner.execute(
            "SELECT setval('test_clock.micros', $1)", (now - _EPOCH) // _MICRO
        )
        self.now = now

    async def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        await self.set(self.now + timedelta(milliseconds=milliseconds))
