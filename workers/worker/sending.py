"""The send path: sign, store the bytes, open an attempt, send, record. The heart of the worker.

Each step is a commit of its own, so that a death between any two leaves a row that says what may have
happened. Nothing here decides whether an order may be sent: ``ledger.open_attempt`` does, under the
order's lock, and bytes leave only until two seconds after a clock reading taken before that commit, and
no later than what was left of the intent when this process claimed it.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from app.ledger.calls import Item, storable
from app.venue.interface import (
    Accepted,
    NotPlaced,
    OrderType,
    PlaceOutcome,
    PlaceRequest,
    Rejected,
    Seen,
    Side,
    Unknown,
)
from app.venue.polymarket.answers import ReasonClass, reason_class
from app.venue.polymarket.order import SignedOrder, build_order
from workers.worker.background import Background
from workers.worker.context import AccountKey, Context

SEND_WITHIN_NS: Final = 2_000_000_000
"""After this the attempt is dropped: a process that was paused must not write bytes later. The ledger
answers with less where the intent's validity ends sooner.
"""

BACKSTOP_MS: Final = 250
DOUBT_EVERY_MS: Final = 30_000
"""Refusals for want of balance bring about one comparison in so long."""

"""Beyond the request timeout; the quarantine has the two seconds of ``send_by`` to spare for it."""

Work = dict[str, Any]
"""A claimed order as ``ledger._work`` shows it."""


def timed(claimed: list[Work], asked_ns: int) -> list[Work]:
    """Claimed orders with the moment until which they are wanted by our own monotonic clock; ``asked_ns``
    was read before the claim. From then on the database's clock can only shorten that: it may step back.
    """
    for work in claimed:
        work["wanted_until_ns"] = asked_ns + work["valid_for_ms"] * 1_000_000
    return claimed


class Sender:
    """Takes claimed orders of one account through an attempt."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("sender")
        self._under_way: set[asyncio.Task[None]] = set()
        self._left = Background(context)
        self._doubted_ns: dict[str, int] = {}

    async def send(self, account: str, claimed: Sequence[Work]) -> None:
        """At most 15 claimed orders. Returns when their outcomes are recorded.

        Whoever waits for that may be cancelled, the send is not: bytes may have left, and the answer to
        them is wanted. `drain` waits for it.
        """
        sending = self._context.ports.tasks.spawn(self._held(account, claimed), name="sending")
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            if not sending.done():
                self._left.start(self._see_through(sending, claimed), name="send without caller")
            raise

    async def drain(self, within_s: float) -> None:
        """Wait for the sends under way, whoever began them, at most ``within_s``. None is cut: what is still
        open then is left to its lease, which somebody judges when it lapses.
        """
        if self._under_way:
            _, unfinished = await asyncio.wait(set(self._under_way), timeout=within_s)
            if unfinished:
                self._log.warning("SENDS_LEFT", sends=len(unfinished))
        self._left.check()

    async def _see_through(self, sending: asyncio.Task[None], claimed: Sequence[Work]) -> None:
        try:
            await sending
        except DatabaseProblem as problem:
            # Before the attempt was opened: nothing was sent, and the claim lapses by itself.
            self._log.warning(
                "SEND_GIVEN_UP",
                orders=[work["order_id"] for work in claimed],
                code=problem.code,
                problem=problem.wrong,
            )

    async def _held(self, account: str, claimed: Sequence[Work]) -> None:
        held = {work["order_id"] for work in claimed}
        self._context.shared.holding |= held
        try:
            await self._send(account, claimed)
        finally:
            self._context.shared.holding -= held

    async def _send(self, account: str, claimed: Sequence[Work]) -> None:
        key = self._context.host.key(account)
        assert key is not None, "only accounts with a key are claimed"
        ready = [work for work in claimed if work["state"] != "RESERVED"]
        ready += await self._prepare(
            account, key, [work for work in claimed if work["state"] == "RESERVED"]
        )
        if not ready:
            return
        started_ns = self._context.ports.clock.monotonic_ns()
        opened = await self._open(key, ready, started_ns)
        if opened:
            await self._attempt(account, key, opened, started_ns)

    # --- before anything is sent ------------------------------------------------------------------

    async def _prepare(self, account: str, key: AccountKey, works: Sequence[Work]) -> list[Work]:
        items: list[Item] = []
        signed_works: list[Work] = []
        for work in works:
            self._context.host.note_market(work["token_id"], neg_risk=work["neg_risk"])
            try:
                signed = _sign(key, work)
            except BadInput as error:
                await self._withdraw(account, work, error)
                continue
            except LedgerError as error:
                self._log.error(
                    "SIGNING_FAILED",
                    order=work["order_id"],
                    account=account,
                    code=error.code,
                    problem=error.wrong,
                )
                await self._context.calls.value(
                    "fail_placement",
                    work["order_id"],
                    self._context.incarnation,
                    work["claim_no"],
                    str(error),
                )
                continue
            work["venue_order_id"] = signed.venue_order_id
            work["body"] = base64.b64encode(signed.body_template).decode()
            signed_works.append(work)
            items.append(
                self._fenced(work)
                | {
                    "venue_order_id": signed.venue_order_id,
                    "body": work["body"],
                    "fields": _fields(key, signed),
                }
            )
        if not items:
            return []
        self._context.reached("prepare.before")
        answers = await self._context.calls.items("prepare", items)
        self._context.reached("prepare.after")
        return self._kept(signed_works, answers, "PREPARE_REFUSED")

    async def _withdraw(self, account: str, work: Work, error: BadInput) -> None:
        """What cannot be written as an order of the venue never can be: a retry, and a dead letter at
        the lane's head in the end, would only hold up the orders behind it until they expire.
        """
        self._log.error(
            "INTENT_NOT_SIGNABLE",
            order=work["order_id"],
            account=account,
            code=error.code,
            problem=error.wrong,
        )
        await self._context.calls.items(
            "release_pending",
            [{"order_id": work["order_id"], "cause": f"NOT_SIGNABLE: {error.code}"}],
        )

    async def _open(self, key: AccountKey, works: Sequence[Work], started_ns: int) -> list[Work]:
        timeout_ms = self._context.settings.request_timeout_ms
        items = [
            self._fenced(work) | {"owner": key.owner, "request_timeout_ms": timeout_ms}
            for work in works
        ]
        self._context.reached("open.before")
        answers = await self._context.calls.items("open_attempt", items)
        self._context.reached("open.after")
        for work, answer in zip(works, answers, strict=True):
            work["attempt"] = answer.get("attempt")
            allowed_ns = answer.get("send_within_ms", 0) * 1_000_000
            work["send_until_ns"] = min(
                started_ns + min(SEND_WITHIN_NS, allowed_ns), work["wanted_until_ns"]
            )
        return self._kept(works, answers, "NOT_SENT")

    def _kept(self, works: Sequence[Work], answers: Sequence[Item], event: str) -> list[Work]:
        kept = []
        for work, answer in zip(works, answers, strict=True):
            if answer["status"] == "ok":
                kept.append(work)
            else:
                self._log.info(
                    event, order=work["order_id"], code=answer["code"], detail=answer["detail"]
                )
        return kept

    def _fenced(self, work: Work) -> Item:
        return {
            "order_id": work["order_id"],
            "incarnation": str(self._context.incarnation),
            "claim_no": work["claim_no"],
        }

    # --- the attempt --------------------------------------------------------------------------------

    async def _attempt(
        self, account: str, key: AccountKey, works: Sequence[Work], started_ns: int
    ) -> None:
        self._context.reached("send.before")
        now_ns = self._context.ports.clock.monotonic_ns()
        late = [work for work in works if now_ns > work["send_until_ns"]]
        timely = [work for work in works if now_ns <= work["send_until_ns"]]
        if late:
            self._log.warning(
                "ATTEMPT_DROPPED", orders=[work["order_id"] for work in late], account=account
            )
        requests = [
            PlaceRequest(
                work["venue_order_id"],
                base64.b64decode(work["body"]),
                key.owner,
                work["send_until_ns"],
            )
            for work in timely
        ]
        answered = await self._placed(account, requests) if requests else []
        works = [*timely, *late]
        outcomes = [*answered, *(NotPlaced("SEND_BY_PASSED", 0, "") for _ in late)]
        self._context.reached("send.after")
        latency_ms = self._context.elapsed_ms(started_ns)
        if any(_is_of_balance(outcome) for outcome in outcomes):
            self._doubt_balance(account)
        by_call: dict[str, list[Item]] = defaultdict(list)
        for work, outcome in zip(works, outcomes, strict=True):
            call, item = self._as_record(work, outcome)
            by_call[call].append(item)
            self._log.info(
                "ORDER_ANSWERED",
                account=account,
                order=work["order_id"],
                attempt=work["attempt"],
                outcome=call,
                code=item["code"],
                latency_ms=latency_ms,
            )
        self._context.reached("record.before")
        for call, items in by_call.items():
            await self._record(call, items)
        self._context.reached("record.after")
        await self._give_up([work for work in late if now_ns > work["wanted_until_ns"]])

    async def _give_up(self, works: Sequence[Work]) -> None:
        """What ran out by our own clock while the database's still gave it time is not tried again: what
        was never sent ends, of the rest only look-ups and a cancel remain.
        """
        if works:
            reason = "its time ran out by the clock of the sender"
            items = [
                {"order_id": work["order_id"], "reason": reason, "protective": True}
                for work in works
            ]
            await self._context.calls.items("request_cancel", items)

    async def _placed(self, account: str, requests: list[PlaceRequest]) -> Sequence[PlaceOutcome]:
        """The quarantine counts from the request timeout on, so nothing may be under way for longer."""
        # A little more than the transport's own bound, which knows how far the request got and writes it down.
        timeout_s = (self._context.settings.request_timeout_ms + BACKSTOP_MS) / 1000
        try:
            async with asyncio.timeout(timeout_s):
                return await self._context.venue.place(account, requests)
        except TimeoutError:
            return [Unknown("timeout", "")] * len(requests)

    def _doubt_balance(self, account: str) -> None:
        """Compare what is owned soon, and not after each of many refusals: our rows said there was enough."""
        now_ns = self._context.ports.clock.monotonic_ns()
        last_ns = self._doubted_ns.get(account)
        if last_ns is None or now_ns - last_ns >= DOUBT_EVERY_MS * 1_000_000:
            self._doubted_ns[account] = now_ns
            self._context.shared.compare_soon.add(account)

    def _as_record(self, work: Work, outcome: PlaceOutcome) -> tuple[str, Item]:
        item: Item = {
            "order_id": work["order_id"],
            "attempt": work["attempt"],
            "incarnation": str(self._context.incarnation),
            "raw": storable(outcome.raw),
        }
        match outcome:
            case Accepted(venue_order_id=answered) if answered.lower() != work["venue_order_id"]:
                return "mark_unknown", item | {"code": Code.ID_MISMATCH.value}
            case Accepted(status="delayed"):
                return "acknowledge_delayed", item | {"code": storable(outcome.status)}
            case Accepted():
                return "acknowledge", item | {"code": storable(outcome.status)}
            case Rejected():
                reason = outcome.reason_class.value
                return "reject", item | {"code": storable(outcome.code), "reason_class": reason}
            case NotPlaced():
                wait = max(outcome.retry_after_ms, self._context.backoff_ms(work["attempt"]))
                return "hold_back", item | {"code": storable(outcome.code), "retry_after_ms": wait}
            case Seen():
                return "mark_seen", item | {"code": "DUPLICATED"}
            case Unknown():
                return "mark_unknown", item | {"code": storable(outcome.reason)}

    async def _record(self, call: str, items: list[Item]) -> None:
        """A result is never delayed and never dropped: it is repeated until the database takes it.

        If the lease lapses meanwhile, the order is UNKNOWN by then and this answer is kept as evidence.
        """
        tries = 0
        answers: list[Item] | None = None
        while answers is None:
            try:
                answers = await self._context.calls.items(call, items)
            except BadInput as error:
                if len(items) == 1:
                    # Not for want of trying: the lease lapses, and the order is looked up.
                    self._log.error(
                        "RECORD_REFUSED", order=items[0]["order_id"], call=call, code=error.code
                    )
                    return
                for item in items:
                    await self._record(call, [item | {"raw": ""}])
                return
            except DatabaseProblem as problem:
                tries += 1
                self._log.error(
                    "RECORD_DELAYED",
                    call=call,
                    orders=[item["order_id"] for item in items],
                    code=problem.code,
                )
                await self._context.ports.clock.sleep(
                    self._context.backoff_ms(tries, first_ms=50, most_ms=2_000) / 1000
                )
        for item, answer in zip(items, answers, strict=True):
            if answer["status"] != "ok":
                self._log.warning(
                    "RECORD_REFUSED",
                    order=item["order_id"],
                    call=call,
                    code=answer["code"],
                    detail=answer["detail"],
                )


def _sign(key: AccountKey, work: Work) -> SignedOrder:
    return build_order(
        key.signer,
        token_id=work["token_id"],
        side=Side(work["side"]),
        price_micros=work["price_micros"],
        size_micros=work["size_micros"],
        tick_micros=work["tick_micros"],
        neg_risk=work["neg_risk"],
        order_type=OrderType(work["order_type"]),
        salt=work["salt"],
        timestamp_ms=work["signed_at_ms"],
        maker=key.maker,
        signer_address=key.signer_address,
        signature_type=key.signature_type,
        expiration_s=work["expires_at_s"],
        post_only=work["post_only"],
    )


def _is_of_balance(outcome: PlaceOutcome) -> bool:
    return isinstance(outcome, Rejected) and reason_class(outcome.code) is ReasonClass.BALANCE


def _fields(key: AccountKey, signed: SignedOrder) -> dict[str, Any]:
    """What is kept beside the bytes; numbers beyond 2^53 as text, since JSON readers round them."""
    fields = {name: str(value) for name, value in dataclasses.asdict(signed.fields).items()}
    return fields | {
        "exchange": signed.exchange,
        "domain_version": signed.domain_version,
        "chain_id": signed.chain_id,
        "signature": signed.signature,
        "expiration_s": signed.expiration_s,
        "order_type": signed.order_type.value,
        "post_only": signed.post_only,
        "defer_exec": signed.defer_exec,
        "signer_address": key.signer_address,
    }
