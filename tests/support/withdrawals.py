"""Drives withdrawals by the SQL functions alone, as a worker and a person would."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from tests.support.life import SHARE, Life

ADDRESS: Final = "0x" + "a" * 40
TRANSFER: Final = {
    "treasury": "paper",
    "repeatable": True,
    "hash": "0x" + "1" * 64,
    "body": base64.b64encode(b"the bytes").decode(),
}
REQUEST_MS: Final = 1_000
VALID_MS: Final = 60_000


async def totals(life: Life) -> dict[str, int]:
    """Per asset, everything that stands anywhere: the account and the other side of each entry."""
    rows = await life.conn.fetch(
        "SELECT asset, sum(amount)::bigint AS total FROM ("
        "SELECT asset, available + locked AS amount FROM ledger.balance "
        "UNION ALL SELECT asset, amount FROM ledger.contra_balance) q GROUP BY asset"
    )
    return {row["asset"]: row["total"] for row in rows}


@dataclass
class Saga:
    """One account's withdrawal, claimed by the worker of a `Life`."""

    life: Life
    id: int = 0
    claim_no: int = 0
    drain_ms: int = 60_000
    alarm_ms: int = 600_000
    lease_ms: int = 10_000

    async def start(self, **changes: Any) -> Any:
        terms = {
            "account": self.life.account,
            "amount": 100 * SHARE,
            "to": ADDRESS,
            "key": "w1",
            "why": "test",
            "as": "operator",
            "drain_ms": self.drain_ms,
            "alarm_ms": self.alarm_ms,
        } | changes
        answer = await self.life.call("start_withdrawal", *terms.values())
        self.id = answer.get("withdrawal_id", self.id)
        return answer

    async def claims(self) -> list[Any]:
        accounts = (self.life.account,)
        found: list[Any] = await self.life.call(
            "claim_withdrawals", self.life.worker, accounts, self.lease_ms
        )
        if found:
            self.id, self.claim_no = found[0]["withdrawal_id"], found[0]["claim_no"]
        return found

    async def claim(self) -> Any:
        """The claim of the one withdrawal there is, taken back from ourselves where it still stands."""
        await self.life.call("put_off_withdrawal", self.id, self.life.worker, self.claim_no, 0)
        [claimed] = await self.claims()
        return claimed

    async def under_claim(self, function: str, *arguments: Any) -> Any:
        return await self.life.call(function, self.id, self.life.worker, self.claim_no, *arguments)

    async def step(self, function: str, *arguments: Any) -> Any:
        await self.claim()
        return await self.under_claim(function, *arguments)

    async def debit(self, **changes: Any) -> Any:
        return await self.step("debit_withdrawal", TRANSFER | changes)

    async def open(self, *, claimed: bool = False) -> int:
        if not claimed:
            await self.claim()
        answer = await self.under_claim("open_transfer", REQUEST_MS, VALID_MS)
        assert answer["status"] == "ok", answer
        return int(answer["attempt"])

    async def record(self, attempt: int, outcome: str) -> Any:
        return await self.life.call(
            "record_transfer", self.id, self.life.worker, attempt, outcome, outcome, "", None
        )

    async def note(self, finding: str, proof: bool) -> Any:
        return await self.step("note_transfer", finding, proof, "", None)

    async def cancel(self, why: str = "test") -> Any:
        return await self.life.call("cancel_withdrawal", self.id, why, "operator")

    async def resolve(self, as_: str, why: str = "test") -> Any:
        return await self.life.call("resolve_withdrawal", self.id, as_, why, "operator")

    async def after_deadline(self) -> None:
        await self.life.clock.advance(2_000 + REQUEST_MS + VALID_MS + 1)

    async def after_lease(self) -> None:
        """Of whoever claimed it, also for a send."""
        await self.life.clock.advance(max(self.lease_ms, REQUEST_MS + 15_000) + 1)

    async def to(self, state: str, **changes: Any) -> None:
        """Start one, and carry it to a state by nothing but successes."""
        answer = await self.start(**changes)
        assert answer["status"] == "ok", answer
        for reached, step in (
            ("REQUESTED", "stop_for_withdrawal"),
            ("STOPPING", "drain_for_withdrawal"),
            ("DRAINING", "drain_for_withdrawal"),
            ("UNLOCKED", ""),
        ):
            if state == reached:
                return
            answer = await (self.step(step) if step else self.debit())
            assert answer["status"] == "ok", answer
        assert await self.state() == state

    async def state(self) -> str:
        return str(
            await self.life.conn.fetchval(
                "SELECT state FROM ledger.withdrawal WHERE withdrawal_id = $1", self.id
            )
        )

    async def entries(self) -> list[int]:
        """What was booked for withdrawals, oldest first."""
        rows = await self.life.conn.fetch(
            "SELECT available_delta FROM ledger.balance_entry WHERE cause = 'withdrawal' "
            "ORDER BY account_id, entry_seq"
        )
        return [row["available_delta"] for row in rows]
