"""Carries withdrawals on, one step at a time: claim, decide, do, give the claim back.

Each step is a commit of the ledger, guarded by the claim; a kill anywhere leaves a claim that lapses,
and whoever claims next reads where the withdrawal stands. Only a send is more than a commit: its
attempt is opened first, its bytes are the stored ones, and what is not recorded of it is unknown.

A pass waits for the steps it began, but not for long: what waits for an answer of the outside holds up no
other withdrawal.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

from app.errors import BadInput, Code, DatabaseProblem, LedgerError
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
"""A claim outlives the longest look-up by this: what is seen under it is noted under it."""

PASS_S: Final = 1.0
"""How long a pass waits for its steps. One that takes longer goes on beside the next passes."""


class Withdrawals:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._under_way: set[asyncio.Task[None]] = set()

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
        began = [
            context.ports.tasks.spawn(
                _Carrier(context, one, treasuries[one["account"]]).step(), name="withdrawal"
            )
            for one in claimed
        ]
        self._under_way.update(began)
        await self._wait_for(began, PASS_S)
        return bool(claimed)

    async def drain(self, within_s: float) -> None:
        """Wait for the steps under way, at most ``within_s``. None is cut: a claim that is left lapses."""
        await self._wait_for(list(self._under_way), within_s)

    async def _wait_for(self, tasks: list[asyncio.Task[None]], within_s: float) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        ended = [task for task in self._under_way if task.done()]
        self._under_way.difference_update(ended)
        for task in ended:
            task.result()  # what nobody foresaw ends the worker: a fresh start is better tested


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
        """Whatever comes next. Whatever the database says to it, the worker lives on."""
        try:
            if self._context.shared.stopping.is_set():
                await self._give_back(0)
                return
            await self._do(decide(self._saga))
        except DatabaseProblem as problem:
            self._log.warning("WITHDRAWAL_NOT_CARRIED_ON", code=problem.code, problem=problem.wrong)
            await self._soon_again()
        except LedgerError as error:
            self._log.error("WITHDRAWAL_STEP_FAILED", code=error.code, problem=error.wrong)
            await self._failed(error)

    async def _soon_again(self) -> None:
        """Give the claim back. A database that is still away leaves it to lapse."""
        try:
            await self._give_back(self._context.jitter_ms(WAIT_MS))
        except DatabaseProblem as problem:
            self._log.debug("WITHDRAWAL_CLAIM_LEFT", code=problem.code)

    async def _failed(self, error: LedgerError) -> None:
        """What the ledger will not take now it will not take later: a person looks, and it is tried seldom."""
        try:
            if not self._saga.needs_person:
                await self._call_a_person(f"STEP_FAILED: {error.code}: {error.wrong}")
            else:
                await self._give_back(self._context.jitter_ms(PERSON_MS))
        except LedgerError as second:
            self._log.debug("WITHDRAWAL_CLAIM_LEFT", code=second.code)

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
        context, treasury = self._context, self._treasury
        if await self._of_another_treasury():
            return
        started_ns = context.ports.clock.monotonic_ns()
        opened = await self._commit("open", "open_transfer", treasury.request_ms, treasury.valid_ms)
        if opened["status"] == "refused":
            if opened["code"] == Code.NOT_PROVEN:
                await self._call_a_person("MAY_HAVE_LEFT")
            return
        sent = await self._deliver(started_ns, opened["send_within_ms"])
        context.reached("withdraw.record.before")
        answer = await self._record(opened["attempt"], sent)
        context.reached("withdraw.record.after")
        self._log.info(
            "TRANSFER_ANSWERED",
            attempt=opened["attempt"],
            outcome=_as_record(sent)[0],
            state=answer.get("state"),
            latency_ms=context.elapsed_ms(started_ns),
        )

    async def _record(self, attempt: int, sent: Sent) -> dict[str, Any]:
        """An answer is never dropped: it is repeated until the database takes it. If the claim lapses meanwhile,
        the transfer is unknown by then, and this answer is kept as evidence.
        """
        context, tries = self._context, 0
        outcome, code, raw, reference = _as_record(sent)
        while True:
            try:
                answer: dict[str, Any] = await context.calls.value(
                    "record_transfer",
                    self._row["withdrawal_id"],
                    context.incarnation,
                    attempt,
                    outcome,
                    storable(code),
                    storable(raw),
                    None if reference is None else storable(reference),
                )
                return answer
            except DatabaseProblem as problem:
                tries += 1
                self._log.error("TRANSFER_RECORD_DELAYED", attempt=attempt, code=problem.code)
                pause_ms = context.backoff_ms(tries, first_ms=50, most_ms=2_000)
                await context.ports.clock.sleep(pause_ms / 1000)

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
        if await self._of_another_treasury():
            return
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
            "note",
            "note_transfer",
            finding,
            proof,
            storable(detail),
            None if reference is None else storable(reference),
        )
        if answer["status"] == "ok" and answer["state"] == row["state"]:
            await self._do(decide(self._saga, seen))

    async def _of_another_treasury(self) -> bool:
        """What one treasury has sent no other can know: that it sees nothing is no proof of anything."""
        stored = self._row["treasury"]
        if stored == self._treasury.name:
            return False
        if self._saga.needs_person:
            await self._put_off()
        else:
            await self._call_a_person(f"TREASURY_CHANGED: {stored}")
        return True

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
        await self._give_back(self._context.jitter_ms(ms))

    async def _give_back(self, ms: int) -> None:
        """The claim, for somebody to take it up again in ``ms``."""
        await self._context.calls.value(
            "put_off_withdrawal",
            self._row["withdrawal_id"],
            self._context.incarnation,
            self._row["claim_no"],
            ms,
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
