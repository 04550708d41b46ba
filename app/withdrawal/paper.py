"""The paper treasury: its own truth in its own commits, and every misbehaviour a transfer can meet.

Transfers are known by the hash of their bytes, so that a second copy moves nothing. Faults are
ordered in its own table: ``drop_answer`` (carried out, and no answer), ``lost`` (never arrived, and no
answer), ``fail`` (taken, then failed), ``refuse``, ``late`` (carried out after ``late_ms``), ``unread``
(a look-up without an answer).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Final, Protocol

from app.clock import Clock
from app.db.failures import translated
from app.errors import DatabaseProblem
from app.withdrawal.treasury import (
    Absent,
    Accepted,
    Done,
    Failed,
    Pending,
    Refused,
    Seen,
    Sent,
    Transfer,
    Unread,
    Unsure,
    Wish,
)

SQL: Final = {
    path.name.removesuffix(".sql"): path.read_text(encoding="utf-8")
    for path in files("app.withdrawal").joinpath("sql").iterdir()
    if path.name.endswith(".sql")
}


class Pool(Protocol):
    """The part of an asyncpg pool that is used here. Never the ledger's own transaction."""

    def acquire(self) -> AbstractAsyncContextManager[Any]: ...


class PaperTreasury:
    """A `Treasury` over the schema ``paper``."""

    name = "paper"
    repeatable = True
    request_ms = 5_000
    valid_ms = 60_000

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def prepare(self, wish: Wish) -> Transfer:
        """The wish itself as canonical JSON."""
        body = json.dumps(
            {
                "account": wish.account,
                "withdrawal": wish.withdrawal_id,
                "to": wish.destination,
                "amount_micros": wish.amount_micros,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        return Transfer("0x" + hashlib.sha256(body).hexdigest(), body)

    async def order_fault(
        self, account: str, kind: str, *, late_ms: int = 0, times: int = 1
    ) -> None:
        """Misbehave at the next sends (``unread``: at the next look-ups)."""
        await self._run("order_fault", account, kind, late_ms, times)

    async def send(self, wish: Wish, transfer: Transfer) -> Sent:
        now_ms = self._clock.now_ms()
        try:
            fault = await self._run("take_fault", wish.account, False)
            kind, late_ms = (fault["kind"], fault["late_ms"]) if fault else ("", 0)
            if kind == "lost":
                return Unsure("no answer")
            if kind == "refuse":
                return Refused("REFUSED_BY_PAPER")
            asked = json.loads(transfer.body)
            state = "FAILED" if kind == "fail" else "PENDING" if kind == "late" else "DONE"
            row = await self._run(
                "receive",
                transfer.hash,
                asked["account"],
                asked["to"],
                asked["amount_micros"],
                state,
                now_ms + late_ms,
                now_ms,
            )
        except DatabaseProblem as problem:
            return Unsure(problem.wrong)
        if kind == "drop_answer":
            return Unsure("no answer")
        return Done(transfer.hash) if row["state"] == "DONE" else Accepted(transfer.hash)

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Seen:
        """The whole truth, so that absence is proof once nothing can arrive any more."""
        try:
            if await self._run("take_fault", wish.account, True):
                return Unread("no answer")
            row = await self._run("look", transfer.hash, self._clock.now_ms())
        except DatabaseProblem as problem:
            return Unread(problem.wrong)
        if row is None:
            return Absent("no such transfer", proof=True)
        if row["state"] == "DONE":
            return Done(transfer.hash, row["state"])
        return Failed(row["state"]) if row["state"] == "FAILED" else Pending(transfer.hash)

    async def _run(self, name: str, *arguments: Any) -> Any:
        with translated():
            async with self._pool.acquire() as connection:
                return await connection.fetchrow(SQL[name], *arguments)
