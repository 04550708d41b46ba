"""Carries withdrawals on, one step at a time: claim, decide, do, give the claim back.

Each step is a commit of the ledger, guarded by the claim; a kill anywhere leaves a claim that lapses,
and whoever claims next reads where the withdrawal stands. Only a send is more than a commit: its
attempt is opened first, its bytes are the stored ones, and what is not recorded of it is unknown.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import storable
from app.withdrawal.decide import Next, Saga, State, Step, decide
from app.withdrawal.treasury import (
    Absent,
    Accepted,
    Done,
    Failed,
    NotSent,
    Pending,
    Refused,
    Seen,
    Sent,
    Transfer,
    Treasury,
    Unread,
    Unsure,
    Wish,
)
from workers.worker.context import Context
from workers.worker.hosts import treasury_of

IDLE_MS: Final = 500
WAIT_MS: Final = 500
LOOK_EVERY_MS: Final = 2_000
PERSON_MS: Final = 15_000
"""Between two looks at what waits for a person."""

LEASE_OVER_REQUEST_MS: Final = 15_000
"""A claim outlives the longest request by this: what is sent under it is recorded under it."""


class Withdrawals:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("withdrawals")

    async def one_pass(self) -> bool:
        """One step of each withdrawal that is due; whether there was any."""
        context = self._context
        treasuries = {
            account: treasury
            for account in sorted(context.shared.known)
            if (treasury := treasury_of(context.host, account)) is not None
        }
        if not treasuries:
            return False
        lease_ms = LEASE_OVER_REQUEST_MS + max(one.request_ms for one in treasuries.values())
        claimed: list[dict[str, Any]] = await context.calls.value(
            "claim_withdrawals", context.incarnation, tuple(treasuries), lease_ms
        )
        if claimed:
            context.reached("withdraw.claim.after")
        await asyncio.gather(
            *(_Carrier(context, one, treasuries[one["account"]]).step() for one in claimed)
        )
        return bool(claimed)


class _Carrier:
    """One claimed withdrawal, for one step."""

    def __init__(self, context: Context, row: dict[str, Any], treasury: Treasury) -> None:
        self._context = context
        self._row = row
        self._treasury = treasury
        self._log = context.named("withdrawals").bind(
            account=row["account"], withdrawal=row["withdrawal_id"]
        )
        self._wish = Wish(
            row["account"], row["withdrawal_id"], row["destination"], row["amount_micros"]
        )
        self._saga = Saga(
            State(row["state"]),
            row["needs_person"],
            row["alarm_due"],
            row["amount_micros"],
            row["open"],
            row["locked"],
            row["available"],
            bool(row["repeatable"]),
            row["attempts"],
            row["since_attempt_ms"],
        )

    async def step(self) -> None:
        """Whatever comes next. A database that is away leaves the claim to lapse."""
        try:
            await self._do(decide(self._saga))
        except DatabaseProblem as problem:
            self._log.warning("WITHDRAWAL_NOT_CARRIED_ON", code=problem.code, problem=problem.wrong)

    async def _do(self, following: Next) -> None:
        match following.step:
            case Step.STOP:
                await self._commit("stop", "stop_for_withdrawal")
            case Step.DRAIN:
                await self._drain()
            case Step.DEBIT:
                await self._debit()
            case Step.SEND:
                await self._send()
            case Step.LOOK:
                await self._look()
            case Step.LAPSE:
                await self._commit("lapse", "lapse_transfer")
            case Step.COMPENSATE:
                await self._commit("compensate", "compensate_withdrawal")
            case Step.ESCALATE:
                await self._call_a_person(following.why)
            case Step.WAIT:
                await self._put_off()

    # --- steps ----------------------------------------------------------------------------------

    async def _commit(self, point: str, function: str, *arguments: Any) -> dict[str, Any]:
        """A step of the ledger under our claim. A refusal is told, and leaves everything as it was."""
        context, row = self._context, self._row
        context.reached(f"withdraw.{point}.before")
        answer: dict[str, Any] = await context.calls.value(
            function, row["withdrawal_id"], context.incarnation, row["claim_no"], *arguments
        )
        context.reached(f"withdraw.{point}.after")
        if answer["status"] == "refused":
            self._log.warning(
                "WITHDRAWAL_STEP_REFUSED", step=point, code=answer["code"], detail=answer["detail"]
            )
        elif answer["state"] != row["state"]:
            self._log.info("WITHDRAWAL_MOVED", step=point, state=answer["state"])
        return answer

    async def _drain(self) -> None:
        answer = await self._commit("drain", "drain_for_withdrawal")
        if answer["status"] == "ok" and answer["state"] == self._row["state"]:
            await self._put_off()

    async def _debit(self) -> None:
        context, treasury = self._context, self._treasury
        context.reached("withdraw.prepare.before")
        try:
            transfer = await treasury.prepare(self._wish)
        except BadInput as error:
            await self._call_a_person(f"CANNOT_BE_PREPARED: {error.wrong}")
            return
        context.reached("withdraw.prepare.after")
        stored = {
            "treasury": treasury.name,
            "repeatable": treasury.repeatable,
            "hash": transfer.hash,
            "body": base64.b64encode(transfer.body).decode(),
        }
        await self._commit("debit", "debit_withdrawal", stored)

    async def _send(self) -> None:
        context, row, treasury = self._context, self._row, self._treasury
        if row["treasury"] != treasury.name:
            await self._call_a_person(f"TREASURY_CHANGED: {row['treasury']}")
            return
        started_ns = context.ports.clock.monotonic_ns()
        opened = await self._commit("open", "open_transfer", treasury.request_ms, treasury.valid_ms)
        if opened["status"] == "refused":
            if opened["code"] == Code.NOT_PROVEN:
                await self._call_a_person("MAY_HAVE_LEFT")
            return
        sent = await self._deliver(started_ns, opened["send_within_ms"])
        outcome, code, raw, reference = _as_record(sent)
        context.reached("withdraw.record.before")
        answer = await context.calls.value(
            "record_transfer",
            row["withdrawal_id"],
            context.incarnation,
            opened["attempt"],
            outcome,
            storable(code),
            storable(raw),
            reference,
        )
        context.reached("withdraw.record.after")
        self._log.info(
            "TRANSFER_ANSWERED",
            attempt=opened["attempt"],
            outcome=outcome,
            state=answer.get("state"),
            latency_ms=context.elapsed_ms(started_ns),
        )

    async def _deliver(self, started_ns: int, within_ms: int) -> Sent:
        context, treasury = self._context, self._treasury
        context.reached("withdraw.send.before")
        if context.elapsed_ms(started_ns) >= within_ms:
            return NotSent("the time to send had passed")
        try:
            async with asyncio.timeout(treasury.request_ms / 1000):
                sent = await treasury.send(self._wish, self._transfer())
        except TimeoutError:
            sent = Unsure("no answer in time")
        context.reached("withdraw.send.after")
        return sent

    async def _look(self) -> None:
        context, treasury, row = self._context, self._treasury, self._row
        context.reached("withdraw.look.before")
        seen: Seen
        try:
            async with asyncio.timeout(treasury.request_ms / 1000):
                seen = await treasury.look_up(self._wish, self._transfer(), row["reference"])
        except TimeoutError:
            seen = Unread("no answer in time")
        context.reached("withdraw.look.after")
        finding, proof, detail, reference = _as_finding(seen)
        answer = await self._commit(
            "note", "note_transfer", finding, proof, storable(detail), reference
        )
        if answer["status"] == "ok" and answer["state"] == row["state"]:
            await self._do(decide(self._saga, seen))

    async def _call_a_person(self, why: str) -> None:
        answer = await self._commit("escalate", "escalate_withdrawal", storable(why))
        if answer["status"] == "ok":
            self._log.error("WITHDRAWAL_NEEDS_PERSON", state=answer["state"], why=why)

    async def _put_off(self) -> None:
        ms = WAIT_MS
        if self._saga.needs_person:
            ms = PERSON_MS
        elif self._saga.state is State.UNKNOWN:
            ms = LOOK_EVERY_MS
        await self._context.calls.value(
            "put_off_withdrawal",
            self._row["withdrawal_id"],
            self._context.incarnation,
            self._row["claim_no"],
            self._context.jitter_ms(ms),
        )

    def _transfer(self) -> Transfer:
        return Transfer(self._row["hash"], base64.b64decode(self._row["body"]))


def _as_record(sent: Sent) -> tuple[str, str, str, str | None]:
    """Outcome, code, raw answer, reference."""
    match sent:
        case Done():
            return "done", "", sent.raw, sent.reference
        case Accepted():
            return "accepted", "ACCEPTED", sent.raw, sent.reference
        case Refused():
            return "refused", sent.code, sent.raw, None
        case NotSent():
            return "not_sent", sent.reason, "", None
        case Unsure():
            return "unsure", sent.reason, sent.raw, None


def _as_finding(seen: Seen) -> tuple[str, bool, str, str | None]:
    """Finding, whether it is proof, detail, reference."""
    match seen:
        case Done():
            return "done", True, seen.raw, seen.reference
        case Failed():
            return "failed", seen.proof, seen.raw, None
        case Pending():
            return "pending", False, seen.raw, seen.reference
        case Absent():
            return "absent", seen.proof, seen.raw, None
        case Unread():
            return "unread", False, seen.reason, None
