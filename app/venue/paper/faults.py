"""Misbehaviour on order: tests and the demo write it into ``paper.fault``, every process's venue
obeys it.

| kind | calls | what happens | |---|---|---| | ``delay`` | all but events | only the waits
``before_ms`` (request under way) and ``after_ms`` (answer under way) | | ``drop_answer`` | place,
cancel | carried out and committed; the sender sees a timeout (or ``http_status``) | |
``lost_request`` | place, cancel | never arrives; the sender sees a timeout | | ``http`` | place,
cancel | answered with ``http_status`` and ``text``, not carried out | | ``appear_late`` | place |
the sender sees a timeout; the order arrives ``late_ms`` later | | ``cancel_miss`` | cancel |
answered "can't be found", the order stays live | | ``null`` | order, open_orders, trades | the read
is clean and finds nothing | | ``unread`` | order, open_orders, trades | the read fails | |
``silent`` | events | one delivery of the stream is lost |

``skip`` lets that many matching calls pass first (a call of several orders counts each), ``times``
is how often it strikes. Waits apply to every kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.venue.paper.statements import SQL, Pool


@dataclass(frozen=True, slots=True)
class Fault:
    """One strike."""

    kind: str
    before_ms: int = 0
    after_ms: int = 0
    late_ms: int = 0
    http_status: int = 0
    retry_after_ms: int = 1000
    text: str = ""

    @property
    def raw(self) -> str:
        return json.dumps({"error": self.text, "http_status": self.http_status})


class Faults:
    """Reads and writes ``paper.fault``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def inject(
        self,
        op: str,
        kind: str,
        *,
        account: str | None = None,
        venue_order_id: str | None = None,
        skip: int = 0,
        times: int = 1,
        fault: Fault | None = None,
    ) -> int:
        """Order a misbehaviour; ``fault`` gives waits, status and text (its own kind is not used).
        Returns its id.
        """
        f = fault or Fault(kind)
        async with self._pool.acquire() as conn:
            row = await conn.fetchrow(
                SQL["insert_fault"],
                op,
                kind,
                account,
                venue_order_id,
                skip,
                times,
                f.before_ms,
                f.after_ms,
                f.late_ms,
                f.http_status,
                f.retry_after_ms,
                f.text,
            )
        return int(row["id"])

    async def clear(self) -> None:
        async with self._pool.acquire() as conn:
            await conn.execute(SQL["clear_faults"])

    async def take(self, op: str, account: str, ids: Sequence[str]) -> list[Fault | None]:
        """The strikes for a call about ``ids`` ("" where a call is about none), counted down for
        good.
        """
        wanted = list(ids)
        async with self._pool.acquire() as conn:
            if not await conn.fetch(SQL["peek_faults"], op, account, wanted):
                return [None] * len(wanted)
            async with conn.transaction(isolation="read_committed"):
                rows = await conn.fetch(SQL["lock_faults"], op, account, wanted)
                left = {row["id"]: [row["skip"], row["times"]] for row in rows}
                struck = [_strike(rows, left, one) for one in wanted]
                counts = list(left.values())
                await conn.execute(
                    SQL["save_faults"], list(left), [c[0] for c in counts], [c[1] for c in counts]
                )
        return struck


def _strike(rows: Sequence[Any], left: dict[int, list[int]], one: str) -> Fault | None:
    """The first fault that strikes wins; all that match before it count the call as passed."""
    for row in rows:
        count = left[row["id"]]
        if row["venue_order_id"] not in (None, one) or count[1] == 0:
            continue
        if count[0]:
            count[0] -= 1
            continue
        count[1] -= 1
        return Fault(
            row["kind"],
            row["before_ms"],
            row["after_ms"],
            row["late_ms"],
            row["http_status"],
            row["retry_after_ms"],
            row["text"],
        )
    return None
