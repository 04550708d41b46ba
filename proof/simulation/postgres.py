"""The store of the simulator on the real SQL: one session, one transaction per schedule, taken back at its end.

A commit in the simulated system is a released savepoint here. Nobody else sees the rows, constraints are checked at
once, and what a schedule wrote is gone with one ROLLBACK; the sequences are set back by hand, since they stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proof.simulation.seam import START_US
from proof.simulation.wire import Session

_CLOCK: Final = """
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS
$$ SELECT to_timestamp(0) + current_setting('simulator.now_us')::bigint * interval '1 microsecond' $$;
CREATE OR REPLACE FUNCTION ledger.end_lock_holders(p_longer_than_ms integer DEFAULT 500) RETURNS integer
LANGUAGE sql AS $$ SELECT 0 $$;
CREATE OR REPLACE FUNCTION ledger.end_idle_transactions(p_longer_than_ms integer DEFAULT 60000) RETURNS integer
LANGUAGE sql AS $$ SELECT 0 $$;
"""

_SEQUENCES: Final = """
SELECT format('%I.%I', schemaname, sequencename) AS name, coalesce(last_value, start_value) AS value,
       last_value IS NOT NULL AS called
FROM pg_sequences WHERE schemaname IN ('ledger', 'audit', 'paper')
"""

_BEGIN: Final = """
BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off
"""
"""Rows that a statement leaves in any order come in that of an index: one seed is one run."""

_SET: Final = "SELECT set_config('simulator.now_us', $1, false)"

_SETTLED: Final = """
SELECT NOT EXISTS (SELECT FROM ledger.orders WHERE state IN
    ('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'DELAYED'))
  AND NOT EXISTS (SELECT FROM ledger.cancel_request WHERE status = 'due')
  AND NOT EXISTS (SELECT FROM ledger.reservation WHERE phase = 'settling')
  AND NOT EXISTS (SELECT FROM ledger.fill WHERE settlement = 'provisional')
  AND NOT EXISTS (SELECT FROM ledger.venue_event WHERE applied_at IS NULL AND problem IS NULL)
  AND NOT EXISTS (SELECT FROM ledger.attempt WHERE outcome = 'open')
  AND NOT EXISTS (SELECT FROM ledger.withdrawal WHERE state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED')) AS settled
"""

_ENDED: Final = """
SELECT venue_order_id FROM audit.orders WHERE ended AND venue_order_id IS NOT NULL
"""

_PLACES: Final = tuple(", ".join(f"${n}" for n in range(1, count + 1)) for count in range(20))

VACUUM_EVERY: Final = 40
"""Schedules; what was taken back leaves dead rows behind, and scans grow by them."""


class PostgresStore:
    """A `Store`. ``folder`` and ``port`` are of a throw-away server that asks nobody for a password."""

    def __init__(self, folder: str, port: int, database: str, user: str) -> None:
        self._session = Session(folder, port, database, user)
        self._session.run("SET jit = off; SET timezone = 'UTC'; SET simulator.now_us = '0'")
        self._session.run(_CLOCK)
        self._reset = self._sequences_reset()
        self._schedules = 0
        self._open = False
        self._at_us = self._set_us = 0
        self._statements: dict[tuple[str, int], str] = {}
        self._volatile: frozenset[str] = frozenset()
        self.calls: Counter[str] = Counter()

    def keep(self) -> None:
        """What was written since `begin` is where every schedule begins from now on."""
        self._session.run("COMMIT")
        self._open = False
        self._reset = self._sequences_reset()

    def _sequences_reset(self) -> str:
        rows = self._session.fetch(_SEQUENCES)
        return "; ".join(
            f"SELECT setval('{row['name']}', {row['value']}, {str(row['called']).lower()})"
            for row in rows
        )

    def begin(self, at_us: int = START_US) -> None:
        """See `Store.begin`."""
        if self._open:
            self._session.run("ROLLBACK")
        self._schedules += 1
        if self._schedules % VACUUM_EVERY == 0:
            self._session.run("VACUUM")
        if self._reset:
            self._session.run(self._reset)
        self._session.run(_BEGIN)
        self._open = True
        self._set_us = 0
        self.set_clock(at_us)

    def set_clock(self, at_us: int) -> None:
        """See `Store.set_clock`."""
        self._at_us = at_us

    def _clock(self) -> tuple[str, Sequence[Any]] | None:
        """What sets the server's clock, if it must be: it travels with the next statement."""
        if self._at_us == self._set_us:
            return None
        self._set_us = self._at_us
        return _SET, (str(self._at_us),)

    def call(self, function: str, arguments: Sequence[Any]) -> Any:
        """See `Store.call`."""
        known = (function, len(arguments))
        statement = self._statements.get(known)
        if statement is None:
            statement = f"SELECT ledger.{function}({_PLACES[len(arguments)]}) AS answer"
            self._statements[known] = statement
        self.calls[function] += 1
        rows = self._session.fetch_within(statement, arguments, self._clock())
        return rows[0]["answer"] if rows else None

    def query(self, statement: str, arguments: Sequence[Any]) -> list[Mapping[str, Any]]:
        """See `Store.query`."""
        self.calls[statement[:60]] += 1
        return list(self._session.fetch_within(statement, arguments, self._clock()))

    def audit(self, views: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
        """See `Store.audit`."""
        if (clock := self._clock()) is not None:
            self._session.fetch(*clock)
        return {view: list(self._session.fetch(f"SELECT * FROM audit.{view}")) for view in views}  # noqa: S608

    def settled(self) -> bool:
        """See `Store.settled`."""
        return bool(self._session.fetch(_SETTLED)[0]["settled"])

    def ended(self) -> frozenset[str]:
        """See `Store.ended`."""
        rows = self._session.fetch(_ENDED)
        return frozenset(row["venue_order_id"] for row in rows)

    def volatile(self) -> frozenset[str]:
        """Functions of the ledger that may write: their calls are commits."""
        if self._volatile:
            return self._volatile
        rows = self._session.fetch(
            "SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname = 'ledger' AND p.provolatile = 'v'"
        )
        self._volatile = frozenset(row["proname"] for row in rows)
        return self._volatile

    def close(self) -> None:
        """See `Store.close`."""
        self._session.close()
