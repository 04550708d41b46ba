"""Runs the live test: asks before each step that cannot be taken back, and always cancels and verifies.

The order is placed and cancelled through the ledger, by a worker, like any other. What the ledger would never do
(post bytes again that the venue has already taken) goes over the HTTP port, with the ledger's stored bytes and
only by consent. Whatever happens on the way, an interrupt included, the last step is `CLEAN_UP`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from app.clock import Ports
from app.errors import LedgerError
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.wallet import Ask
from app.venue.polymarket.wire import Endpoint, Exchange
from workers.doctor import live_reading as reading
from workers.doctor.live_plan import (
    NOT_ASKED,
    QUESTIONS,
    Answer,
    LiveOrder,
    NotAsked,
    Planned,
    Step,
    plan,
)
from workers.doctor.live_reading import Lags, Sight

POLL_MS: Final = 200
SHOWN_WITHIN_MS: Final = 60_000
"""The slowest appearance known is 40 s (docs/venue.md 2.6)."""
ENDED_WITHIN_MS: Final = 60_000
CLEAN_WITHIN_MS: Final = 300_000
"""Longer than the quarantine of an order whose fate is open."""
TWICE_APART_MS: Final = 2_000
APPEARS_WITHIN_MS: Final = 45_000
"""So long nothing may be seen of an order that a repeated post may have brought back."""
MOST_MISSES: Final = 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to send, as the ledger keeps it."""

    outcome: str
    code: str
    owner: str
    answer: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The order as the ledger has it now."""

    state: str
    ended: bool
    venue_order_id: str = ""
    body: bytes = b""
    """The stored bytes with an empty owner; empty before it is signed."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def accepted(self) -> Attempt | None:
        """The attempt that the venue answered with the order's id, or with another one."""
        found = [
            one for one in self.attempts if one.outcome == "accepted" or one.code == "ID_MISMATCH"
        ]
        return found[-1] if found else None


class Desk(Protocol):
    """The ledger and a worker, for one order under one key of its own."""

    async def place(self, order: LiveOrder, *, cancel_first: bool) -> int:
        """Reserve it. Raises `Refused` if the ledger will not, `DatabaseProblem` if nobody knows."""
        ...

    async def find(self) -> int | None:
        """The order of this run's key, or None: nothing was reserved. Raises `DatabaseProblem`."""
        ...

    async def stored(self, order_id: int) -> Stored:
        """Raises `DatabaseProblem`."""
        ...

    async def cancel(self, order_id: int) -> str:
        """Ask for a protective cancel; the order's state. Raises `LedgerError`."""
        ...

    def early_cancel(self) -> str | None:
        """What the DELETE before the order was answered; None if none was sent."""
        ...


Consent = Callable[[Planned], Awaitable[bool]]
"""Asks a person."""


@dataclass(slots=True)
class Report:
    """What was done and found."""

    order: LiveOrder
    steps: dict[str, str] = field(default_factory=dict)
    """Step to ``done``, ``declined``, ``not reached`` or what went wrong."""
    answers: list[Answer] = field(default_factory=list)
    order_id: int | None = None
    venue_order_id: str = ""
    verified: bool = False
    """Nothing of the order is live at the venue, by two clean looks."""
    last_words: str = ""

    def not_asked(self) -> list[NotAsked]:
        """What one order cannot tell, and what was declined or not reached."""
        missed = [
            NotAsked(question, step.step.value, f"the step was {self.steps[step.step.value]}")
            for step in plan(self.order, cancel_first=True)
            if self.steps.get(step.step.value, "done") != "done"
            for question in step.questions
        ]
        return [*NOT_ASKED, *missed]

    def alarms(self) -> list[Answer]:
        """Answers that contradict what the ledger's rules rest on."""
        return [one for one in self.answers if one.means.startswith(reading.ALARM)]

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and for keeping."""
        return {
            "ok": self.verified and not self.alarms(),
            "order": asdict(self.order),
            "order_id": self.order_id,
            "venue_order_id": self.venue_order_id,
            "steps": self.steps,
            "answers": [asdict(one) for one in self.answers],
            "not_asked": [asdict(one) for one in self.not_asked()],
            "questions": {str(number): text for number, text in QUESTIONS.items()},
            "verified": self.verified,
            "last_words": self.last_words,
        }


class LiveTest:
    """One run. Use it once."""

    def __init__(
        self,
        desk: Desk,
        ask: Ask,
        ports: Ports,
        consent: Consent,
        *,
        signature_type: int,
        tell: Callable[[str], None],
    ) -> None:
        self._desk = desk
        self._ask = ask
        self._ports = ports
        self._consent = consent
        self._signature_type = signature_type
        self._tell = tell
        self._reserving = False
        self._by_hand = False
        """The ledger's cancel is not enough: it has the order ended, and the venue may not."""
        self._clean_for_ms = TWICE_APART_MS

    async def run(self, order: LiveOrder, *, cancel_first: bool = True) -> Report:
        """Go through the plan. Raises nothing of the ledger or the venue: the report says what happened."""
        report = Report(order)
        steps = plan(order, cancel_first=cancel_first)
        report.steps = {one.step.value: "not reached" for one in steps}
        try:
            for one in steps[:-1]:
                obstacle = await self._obstacle(one.step, report)
                if obstacle:
                    report.steps[one.step.value] = obstacle
                    continue
                self._tell(f"{one.step.value}: {one.says}")
                if one.irreversible and not await self._consent(one):
                    report.steps[one.step.value] = "declined"
                    if one.step is Step.PLACE:
                        break
                    continue
                went_wrong = await self._do(one.step, report, cancel_first)
                report.steps[one.step.value] = went_wrong or "done"
                if went_wrong and one.step is Step.PLACE:
                    break
        finally:
            # Also after an interrupt: the first one cancels this task once, and this still runs.
            await self._clean_up(report)
        return report

    async def _obstacle(self, step: Step, report: Report) -> str:
        """Why a step makes no sense any more: looked at before anybody is asked for consent."""
        if step not in (Step.REPOST_LIVE, Step.REPOST_CANCELLED):
            return ""
        try:
            stored = await self._desk.stored(report.order_id or 0)
        except LedgerError as error:
            return f"{error.code.value}: {error.wrong}"
        if step is Step.REPOST_LIVE and stored.ended:
            return f"not posted: the order is {stored.state} already"
        if step is Step.REPOST_CANCELLED and stored.state != "CANCELLED":
            return f"not posted: the order is {stored.state}, not CANCELLED"
        if stored.accepted is None or not stored.body:
            return "not posted: the venue never accepted the order"
        return ""

    async def _do(self, step: Step, report: Report, cancel_first: bool) -> str:
        """Empty, or what went wrong."""
        try:
            match step:
                case Step.STRANGER:
                    return await self._stranger(report)
                case Step.PLACE:
                    return await self._place(report, cancel_first)
                case Step.REPOST_LIVE:
                    return await self._repost(report, living=True)
                case Step.CANCEL:
                    return await self._cancel(report)
                case Step.REPOST_CANCELLED:
                    return await self._repost(report, living=False)
                case Step.CLEAN_UP:
                    return ""
        except LedgerError as error:
            return f"{error.code.value}: {error.wrong}"

    # --- the steps ----------------------------------------------------------------------------------

    async def _stranger(self, report: Report) -> str:
        nobody = f"0x{self._ports.rng.bits(256):064x}"
        report.answers += reading.stranger(*await self._sights(nobody, report.order))
        return ""

    async def _place(self, report: Report, cancel_first: bool) -> str:
        self._reserving = True
        report.order_id = await self._desk.place(report.order, cancel_first=cancel_first)
        lags = Lags()
        shown, accepted_at, stored = await self._watch(report, lags)
        early = self._desk.early_cancel()
        if early is not None:
            report.answers.append(reading.early_cancel(early, stored.state, stored.ended))
        accepted = stored.accepted
        if accepted is None:
            last = stored.attempts[-1] if stored.attempts else None
            said = f": {last.code} {last.answer[:200]}" if last is not None else ""
            return f"not accepted, it is {stored.state}{said}"
        report.answers.append(
            reading.identity(
                report.order,
                stored.venue_order_id,
                self._signature_type,
                accepted.code,
                accepted.answer,
            )
        )
        report.answers.append(reading.scale_of_answer(accepted.answer))
        if accepted_at is not None and not stored.ended:
            report.answers += reading.lag(lags, SHOWN_WITHIN_MS)
        if shown is not None:
            report.answers.append(reading.scale_of_read(shown, report.order))
        return f"it ended at once as {stored.state}" if stored.ended else ""

    async def _watch(
        self, report: Report, lags: Lags
    ) -> tuple[Exchange | None, int | None, Stored]:
        """Look until both reads show the order, or it ended: the read that showed it, when it was accepted."""
        shown: Exchange | None = None
        accepted_at: int | None = None
        until_ms = self._now_ms() + SHOWN_WITHIN_MS
        while True:
            stored = await self._desk.stored(report.order_id or 0)
            if stored.venue_order_id and not report.venue_order_id:
                report.venue_order_id = stored.venue_order_id
            if accepted_at is None and stored.accepted is not None:
                accepted_at = self._now_ms()
                until_ms = accepted_at + SHOWN_WITHIN_MS
            if accepted_at is not None:
                exchange = await self._read_one(stored.venue_order_id)
                listed = await self._read_list(stored.venue_order_id)
                size = report.order.size_micros
                by_id = reading.sight_by_id(exchange, stored.venue_order_id, size)
                by_list = reading.sight_by_list(listed, stored.venue_order_id, size)
                if by_id.known:
                    shown = exchange
                self._note(lags, by_id, by_list, self._now_ms() - accepted_at)
            done = lags.by_id_ms is not None and lags.by_list_ms is not None
            if done or stored.ended or self._now_ms() >= until_ms:
                return shown, accepted_at, stored
            await self._pause()

    @staticmethod
    def _note(lags: Lags, by_id: Sight, by_list: Sight, after_ms: int) -> None:
        if lags.by_id_ms is None and by_id.known:
            lags.by_id_ms = after_ms
        if lags.by_list_ms is None and by_list.known:
            lags.by_list_ms = after_ms
        for name, sight in (("by id", by_id), ("by list", by_list)):
            text = f"{name}: {sight.text}"
            if not sight.known and text not in lags.first_misses:
                lags.first_misses = [*lags.first_misses, text][:MOST_MISSES]

    async def _repost(self, report: Report, *, living: bool) -> str:
        stored = await self._desk.stored(report.order_id or 0)
        accepted = stored.accepted
        if accepted is None:
            return "not posted: the venue never accepted the order"
        # Until its answer says otherwise.
        self._by_hand = self._by_hand or not living
        exchange = await self._ask(
            Endpoint.POST_ORDER, body=with_owner(stored.body, accepted.owner), signed=True
        )
        answer, revived = reading.repost(exchange, stored.venue_order_id, living=living)
        report.answers.append(answer)
        if revived:
            # At once, before anything is read: it may be live again.
            self._by_hand, self._clean_for_ms = True, APPEARS_WITHIN_MS
            await self._delete(stored.venue_order_id)
        if (told := reading.budget(exchange)) is not None:
            report.answers.append(told)
        return ""

    async def _cancel(self, report: Report) -> str:
        await self._desk.cancel(report.order_id or 0)
        until_ms = self._now_ms() + ENDED_WITHIN_MS
        while not (stored := await self._desk.stored(report.order_id or 0)).ended:
            if self._now_ms() >= until_ms:
                return f"it is {stored.state} still, {ENDED_WITHIN_MS} ms after the cancel"
            await self._pause()
        by_id, by_list = await self._sights(stored.venue_order_id, report.order)
        report.answers.append(reading.after_cancel("by id, after the cancel", by_id))
        report.answers.append(reading.after_cancel("by list with id, after the cancel", by_list))
        return ""

    # --- the end ------------------------------------------------------------------------------------

    async def _clean_up(self, report: Report) -> None:
        """Cancel through the ledger, by hand where that is not enough, and read until nothing is live."""
        if not self._reserving:
            report.verified, report.last_words = True, "nothing was placed"
            report.steps[Step.CLEAN_UP.value] = "done"
            return
        self._tell(f"{Step.CLEAN_UP.value}: making sure that nothing is left")
        until_ms = self._now_ms() + CLEAN_WITHIN_MS
        by_hand_from_ms = self._now_ms() + ENDED_WITHIN_MS // 2
        clean_since: int | None = None
        problem = ""
        while True:
            try:
                stored = await self._end_in_ledger(report)
                problem = ""
            except LedgerError as error:
                stored, problem = None, f"{error.code.value}: {error.wrong}"
            if report.order_id is None and stored is None and not problem:
                report.verified, report.last_words = True, "nothing was reserved"
                break
            now_ms = self._now_ms()
            if report.venue_order_id and (self._by_hand or problem or now_ms >= by_hand_from_ms):
                await self._delete(report.venue_order_id)
            clean = await self._is_clean(report, stored)
            clean_since = (clean_since or now_ms) if clean else None
            if clean_since is not None and now_ms - clean_since >= self._clean_for_ms:
                report.verified = True
                report.last_words = f"the order is {stored.state if stored else 'gone'}"
                break
            if now_ms >= until_ms:
                report.last_words = self._warning(report, stored, problem)
                break
            await self._pause(TWICE_APART_MS)
        report.steps[Step.CLEAN_UP.value] = "done" if report.verified else "NOT VERIFIED"

    async def _end_in_ledger(self, report: Report) -> Stored | None:
        if report.order_id is None:
            report.order_id = await self._desk.find()
        if report.order_id is None:
            return None
        stored = await self._desk.stored(report.order_id)
        report.venue_order_id = report.venue_order_id or stored.venue_order_id
        if not stored.ended:
            await self._desk.cancel(report.order_id)
        return stored

    async def _is_clean(self, report: Report, stored: Stored | None) -> bool:
        """The ledger has it ended, and what can be read of the venue shows nothing alive."""
        if stored is None or not stored.ended:
            return False
        if not report.venue_order_id:
            return True
        sights = await self._sights(report.venue_order_id, report.order)
        readable = any(sight.known is not None for sight in sights)
        return readable and not any(sight.living for sight in sights)

    def _warning(self, report: Report, stored: Stored | None, problem: str) -> str:
        state = stored.state if stored is not None else f"not readable ({problem})"
        return (
            f"NOT VERIFIED: order {report.order_id} ({report.venue_order_id or 'never signed'}) is {state} "
            "and may be live at the venue. Run ledger-worker cancel, look at the venue's page, and keep a "
            f"worker running; the venue ends it by itself at Unix second {report.order.expires_at_s}"
        )

    # --- the HTTP port ------------------------------------------------------------------------------

    async def _sights(self, venue_order_id: str, order: LiveOrder) -> tuple[Sight, Sight]:
        size = order.size_micros
        read, listed = (
            await self._read_one(venue_order_id),
            await self._read_list(venue_order_id),
        )
        return (
            reading.sight_by_id(read, venue_order_id, size),
            reading.sight_by_list(listed, venue_order_id, size),
        )

    async def _read_one(self, venue_order_id: str) -> Exchange:
        path = Endpoint.GET_ORDER.path.replace("{id}", venue_order_id)
        return await self._ask(Endpoint.GET_ORDER, path=path, signed=True)

    async def _read_list(self, venue_order_id: str) -> Exchange:
        return await self._ask(Endpoint.GET_ORDERS, query={"id": venue_order_id}, signed=True)

    async def _delete(self, venue_order_id: str) -> Exchange:
        body = json.dumps({"orderID": venue_order_id}, separators=(",", ":")).encode()
        return await self._ask(Endpoint.DELETE_ORDER, body=body, signed=True)

    async def _pause(self, ms: int = POLL_MS) -> None:
        await self._ports.clock.sleep(ms / 1000)

    def _now_ms(self) -> int:
        return self._ports.clock.monotonic_ns() // 1_000_000
