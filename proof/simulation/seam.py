"""Where the ledger's database is plugged in: the real SQL on a real Postgres, or a faster model of it.

Between two calls no transaction is open, so one call is one atomic step, whoever makes it. Everything that the worker,
the gateway and the reconciler ask of the database goes through this; pools, sessions, lost connections and crashes
between a commit and its answer are made above the seam, alike for both.

How values travel, in both directions, is how they travel over the driver:

- a JSON argument is JSON text (``json.dumps`` of a list or dict), an array is a list of ``str``/``int``/None, a
  ``uuid`` is `uuid.UUID` or its text, bool, int, str and None are themselves; bytes are bytes;
- a JSON answer (json or jsonb) is JSON **text**; a timestamptz is an aware `datetime`; numeric is `Decimal`; text[]
  and bigint[] are lists; void is None.

What the database refuses is raised as it is by the driver: `asyncpg.PostgresError` with its SQLSTATE, made by
`refusal` below; the ledger's own refusals bear ``LG0xx`` and the text ``CODE: words``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import asyncpg

START_US = 1_767_268_800_000_000
"""The moment at which every schedule begins: 2026-01-01T12:00:00Z in microseconds since 1970."""


class Store(Protocol):
    """One ledger. Not safe for threads; synchronous: a call has happened when it returns."""

    def begin(self, at_us: int) -> None:
        """An empty ledger as after ``alembic upgrade head`` (its default limits, no account, no market), every sequence
        at its start: two schedules of one seed see the same ids. The clock stands at ``at_us``.
        """
        ...

    def set_clock(self, at_us: int) -> None:
        """What ``ledger.clock()`` answers from now on. It may also go back: machines' clocks do."""
        ...

    def call(self, function: str, arguments: Sequence[Any]) -> Any:
        """``SELECT ledger.<function>(<arguments>)``, in a transaction of its own, committed when this returns.

        A function that returns a set answers its first row's value; `query` is for those.
        """
        ...

    def query(self, statement: str, arguments: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Any other statement, exactly as the code writes it (``$1`` style), as rows by column.

        A model knows it by its text.
        """
        ...

    def audit(self, views: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
        """Rows of ``audit.<view>`` as the auditor is given them, for all accounts."""
        ...

    def settled(self) -> bool:
        """Nothing is on its way: no order in RESERVED, PREPARED, SENDING, HELD_BACK, UNKNOWN or DELAYED, no cancel due,
        no reservation settling, no fill provisional, no venue event waiting to be applied, no attempt open, no
        withdrawal under way.
        """
        ...

    def ended(self) -> frozenset[str]:
        """Venue ids of the orders that the ledger holds for ended: their holds are given back by now."""
        ...

    def keep(self) -> None:
        """What was written since `begin` is where every later `begin` begins."""
        ...

    def volatile(self) -> frozenset[str]:
        """Names of the functions that may write: a call of one is a commit."""
        ...

    def close(self) -> None: ...


def refusal(sqlstate: str, message: str, hint: str = "") -> asyncpg.PostgresError:
    """The driver's exception for an error of the server."""
    fields = {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": message}
    if hint:
        fields["H"] = hint
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(fields)
    return error
