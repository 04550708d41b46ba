"""What may be done to the ledger, each as a step that can be performed on the database and checked
against the model: the answer must be one the model allows, and the model then moves with it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.support.life import Life, incarnation, venue_id
from tests.support.model import (
    ENDED,
    MINIMUM,
    STEP,
    UNSENT,
    Model,
    Order,
    Replacement,
    Request,
    Trade,
)

LABELS = ("Up", "Down")
RANK = {"MINED": 1, "RETRYING": 1, "FAILED": 2, "CONFIRMED": 3}
"""Of the statuses of a trade: what a later one says of the fee counts."""


class Mismatch(Exception):
    """The model allows no such answer."""


def told(answer: dict[str, Any]) -> str:
    """The code of a refusal, else the state."""
    return str(answer.get("code") or answer.get("state") or answer["status"])


def expect(condition: bool, step: object, answer: object, wanted: object) -> None:
    if not condition:
        raise Mismatch(f"{step} was answered {answer}; the model expects {wanted}")


def cancel_one(model: Model, order: Order) -> None:
    if order.state in UNSENT:
        order.cancel_asked = True
        model.withdraw(order)
    elif not order.ended:
        model.queue_cancel(order)


class Step:
    """Frozen, so that a failing run can be read."""

    alone: ClassVar[bool] = False

    async def perform(self, life: Life) -> Any:
        raise NotImplementedError

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        """``raced``: beside another session, so rows it held may have been skipped."""
        raise NotImplementedError


def as_item(life: Life, request: Request, key: str) -> dict[str, Any]:
    return {
        "account": life.account,
        "market": request.market,
        "outcome": LABELS[request.outcome],
        "side": request.side,
        "price_micros": request.price,
        "size_micros": request.size,
        "clamp": request.clamp,
        "class": "hedge" if request.hedge else "entry",
        "valid_for_ms": request.valid_ms,
        "key": key,
    }


@dataclass(frozen=True)
class Reserve(Step):
    wanted: tuple[tuple[Request, str], ...]

    async def perform(self, life: Life) -> Any:
        items = [as_item(life, request, key) for request, key in self.wanted]
        return await life.call("reserve_pending", items)

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        for (request, key), found in zip(self.wanted, answer, strict=True):
            bound = model.keys.get(key)
            if bound is not None:
                same = bound[0] == request
                if raced and request.size < MINIMUM and found.get("code") == "BELOW_MINIMUM":
                    continue  # what no lock can change is answered before one is taken
                size = model.orders[bound[1][1]].size if same else 0  # type: ignore[index]
                wanted = {"status": "admitted", "replay": True, "order_id": bound[1][1],
                          "size_micros": size} if same else {"code": "KEY_REUSED"}  # fmt: skip
                expect(found.items() >= wanted.items(), self, found, wanted)
                continue
            reasons, size = model.judged(request, request.size)
            reasons |= model.limited(request)
            if reasons:
                expect(found.get("code") in reasons, self, found, reasons)
                continue
            if raced and found.get("code") == "HALTED":
                continue  # each item reads the halts: one may have come, or gone, between two of them
            order = model.admit(request, key, size)
            model.count(request)
            model.keys[key] = (request, ("order", order.order_id))
            wanted = {"status": "admitted", "replay": False, "order_id": order.order_id,
                      "size_micros": size, "clamped": size < request.size}  # fmt: skip
            expect(found.items() >= wanted.items(), self, found, wanted)


@dataclass(frozen=True)
class Claim(Step):
    worker: int
    look_ups: bool

    async def perform(self, life: Life) -> Any:
        function = "claim_look_ups" if self.look_ups else "claim_placements"
        me = incarnation(self.worker)
        work = await life.call(function, me, (life.account,), 10_000, 100)
        return [(item["order_id"], item["claim_no"]) for item in work]

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        free = model.look_ups() if self.look_ups else model.placeable()
        wanted = [(order.order_id, order.claim_no + 1) for order in free]
        allowed = set(answer) <= set(wanted) if raced else answer == wanted
        expect(allowed, self, answer, wanted)
        for order_id, _ in answer:
            model.claim(model.orders[order_id], self.worker)


@dataclass(frozen=True)
class OnOrder(Step):
    order_id: int


@dataclass(frozen=True)
class OnClaim(OnOrder):
    worker: int
    claim_no: int

    def item(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "incarnation": str(incarnation(self.worker)),
            "claim_no": self.claim_no,
        }


@dataclass(frozen=True)
class Prepare(OnClaim):
    async def perform(self, life: Life) -> Any:
        body = base64.b64encode(b"bytes").decode()
        return told(
            await life.item(
                "prepare",
                **self.item(),
                venue_order_id=venue_id(self.order_id),
                body=body,
                fields={},
            )
        )

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        if not model.claim_holds(order, self.worker, self.claim_no):
            wanted = "STALE_ATTEMPT"
        elif order.state != "RESERVED":
            wanted = "ILLEGAL_TRANSITION"
        else:
            wanted = "PREPARED"
            order.signed = True
            model.move(order, "PREPARED")
        expect(answer == wanted, self, answer, wanted)


@dataclass(frozen=True)
class Open(OnClaim):
    async def perform(self, life: Life) -> Any:
        more = {"owner": "owner", "request_timeout_ms": 10_000}
        return told(await life.item("open_attempt", **self.item(), **more))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        if not model.claim_holds(order, self.worker, self.claim_no):
            wanted = {"STALE_ATTEMPT"}
        elif order.state not in ("PREPARED", "HELD_BACK", "UNKNOWN"):
            wanted = {"ILLEGAL_TRANSITION"}
        elif wanted := model.unwanted(order):
            model.queue_cancel(order) if order.state == "UNKNOWN" else model.withdraw(order)
        else:
            wanted = {"SENDING"}
            model.open_attempt(order, self.worker)
        expect(answer in wanted, self, answer, wanted)


@dataclass(frozen=True)
class Drop(OnClaim):
    async def perform(self, life: Life) -> Any:
        return await life.call("drop_claims", [self.item()])

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        mine = (order.claimed_by, order.claim_no) == (self.worker, self.claim_no)
        dropped = mine and order.state != "SENDING"
        if dropped:
            order.claimed_by = order.claimed_until = None
            order.place = "ready" if order.place == "claimed" else order.place
            order.not_before = max(order.not_before, model.now)
        expect(answer == int(dropped), self, answer, int(dropped))


@dataclass(frozen=True)
class Complete(OnOrder):
    how: str
    worker: int
    attempt: int

    async def perform(self, life: Life) -> Any:
        me = str(incarnation(self.worker))
        return told(await life.complete(self.how, self.order_id, self.attempt, incarnation=me))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        known = (
            order.attempts[self.attempt - 1] if 0 < self.attempt <= len(order.attempts) else None
        )
        heard = self.how in ("acknowledge", "acknowledge_delayed", "mark_seen")
        if known != [self.worker, "open"]:
            if known is not None and known[0] == self.worker and heard:
                order.seen = True
                if order.state in ("REJECTED", "NOT_PLACED"):
                    before = model.availables(order.market)
                    model.see(order)
                    model.after_fact(order, before)
            expect(answer == "STALE_ATTEMPT", self, answer, "STALE_ATTEMPT")
            return
        assert known is not None
        known[1] = self.how
        if order.state == "SENDING":
            self._answered(model, order, heard)
        expect(answer == order.state, self, answer, order.state)

    def _answered(self, model: Model, order: Order, heard: bool) -> None:
        open_fate = order.fate_open or order.seen
        order.seen = order.seen or heard
        if self.how == "acknowledge":
            model.move(order, "LIVE")
        elif self.how == "acknowledge_delayed":
            model.move(order, "DELAYED")
        elif self.how == "reject" and not open_fate:
            model.move(order, "REJECTED")
        elif self.how == "hold_back" and not open_fate:
            model.move(order, "HELD_BACK")
            order.place, order.claimed_by, order.claimed_until = "ready", None, None
            order.not_before = model.now + 1_000
            if order.cancel_asked:
                model.withdraw(order)
        else:
            order.fate_open = True
            model.move(order, "UNKNOWN")


@dataclass(frozen=True)
class Fill(OnOrder):
    trade: int
    status: str

    def size(self, order: Order) -> int:
        return (order.size // 2, order.size - order.size // 2, 3)[self.trade]

    def fee(self) -> int:
        """Each status says another one, the first none."""
        return 100 * self.trade * RANK.get(self.status, 0)

    async def perform(self, life: Life) -> Any:
        order = await life.row("orders", self.order_id)
        size = order["size_micros"]
        answer = await life.fill(
            self.order_id,
            (size // 2, size - size // 2, 3)[self.trade],
            self.status,
            trade_id=f"t{self.trade}",
            price_micros=order["price_micros"] - self.trade * 10_000,
            fee_micros=self.fee(),
        )
        return told(answer)

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        before, name = model.availables(order.market), f"t{self.trade}"
        trade = order.trades.get(name)
        new = trade is None
        if trade is None:
            price = order.request.price - self.trade * 10_000
            trade = order.trades[name] = Trade(self.size(order), price, 0)
        news = self._settle(model, order, trade)
        if new or news:
            order.seen = True
            model.move(order, "FILLED") if order.matched >= order.size else model.see(order)
            model.after_fact(order, before)
        expect(answer == order.state, self, answer, order.state)

    def _settle(self, model: Model, order: Order, trade: Trade) -> bool:
        was = trade.settlement
        odd = (was, self.status) in (("failed", "CONFIRMED"), ("confirmed", "FAILED"))
        if odd and not trade.contradicted:
            trade.contradicted = True
            model.halts.add((order.market, "CONFIRMED_AFTER_FAILED"))
        if self.status == "CONFIRMED":
            trade.settlement = "confirmed"
        elif self.status == "FAILED" and was == "provisional":
            trade.settlement = "failed"
        fee, rank = trade.fee, RANK.get(self.status, 0)
        if self.fee() and rank >= trade.fee_rank:
            trade.fee, trade.fee_rank = self.fee(), rank
        return trade.settlement != was or trade.fee != fee


@dataclass(frozen=True)
class Observe(OnOrder):
    status: str
    tenths: int
    source: str

    async def perform(self, life: Life) -> Any:
        size = (await life.row("orders", self.order_id))["size_micros"]
        matched = size * self.tenths // 10
        return told(await life.observe(self.order_id, self.status, matched, self.source, took_ms=0))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        before = model.availables(order.market)
        was = (order.state, order.read, order.seen)
        order.read = max(order.read, order.size * self.tenths // 10)
        order.seen = True
        self._concluded(model, order, grown=order.read > was[1], fresh=not was[2])
        if (order.state, order.read, order.seen) != was:
            model.after_fact(order, before)
        expect(answer == order.state, self, answer, order.state)

    def _concluded(self, model: Model, order: Order, *, grown: bool, fresh: bool) -> None:
        """What the observation proves. Only a read by id ends an order."""
        left = order.size - order.matched
        over = self.status in ("CANCELLED", "EXPIRED")
        if order.state == "REJECTED" and over and not order.matched:
            return
        if left <= 0 or (self.source == "read" and self.status == "MATCHED" and left < STEP):
            model.move(order, "FILLED")
        elif self.source == "read" and (over or self.status == "MATCHED"):
            if order.state not in ("FILLED", "CANCELLED", "EXPIRED"):
                model.move(order, "EXPIRED" if self.status == "EXPIRED" else "CANCELLED")
        elif (
            self.source == "read"
            and self.status == "LIVE"
            and order.state in ("CANCELLED", "EXPIRED")
        ):
            if model.now > order.state_at:
                model.move(order, "LIVE")
        elif self.source == "stream" and over and not grown:
            return
        elif order.state != "DELAYED" or grown or fresh or self.status == "LIVE":
            model.see(order)


@dataclass(frozen=True)
class Cancel(OnOrder):
    async def perform(self, life: Life) -> Any:
        return told(await life.cancel(self.order_id))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        cancel_one(model, order)
        expect(answer == order.state, self, answer, order.state)


@dataclass(frozen=True)
class ClaimCancels(Step):
    async def perform(self, life: Life) -> Any:
        return await life.claim_cancels()

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        due = [
            o for o in model.orders.values() if o.cancel_at is not None and o.cancel_at <= model.now
        ]
        wanted = [order.order_id for order in due]
        allowed = set(answer) <= set(wanted) if raced else answer == wanted
        expect(allowed, self, answer, wanted)
        for order_id in answer:
            model.orders[order_id].cancel_at = model.now + 3_000


@dataclass(frozen=True)
class AnswerCancel(OnOrder):
    answer: str

    async def perform(self, life: Life) -> Any:
        return told(await life.cancel_answered(self.order_id, self.answer))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        if order.cancel_at is not None:
            order.cancel_at = model.now + (500 if self.answer == "not_sent" else 1_000)
        if self.answer in ("accepted", "refused"):
            order.evidence.append(("delete_answered", model.now))
        if self.answer == "accepted":
            order.seen = True  # it can list only what it knows
        expect(answer == order.state, self, answer, order.state)


@dataclass(frozen=True)
class Evidence(OnOrder):
    kind: str

    async def perform(self, life: Life) -> Any:
        return told(await life.evidence(self.order_id, self.kind))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        order.evidence.append((self.kind, model.now))
        expect(answer == order.state, self, answer, order.state)


@dataclass(frozen=True)
class Prove(OnOrder):
    async def perform(self, life: Life) -> Any:
        return told(await life.prove_absent(self.order_id))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        proven = model.absent(order)
        if proven:
            model.move(order, "NOT_PLACED")
        wanted = "NOT_PLACED" if proven else "NOT_PROVEN"
        expect(answer == wanted, self, answer, wanted)


@dataclass(frozen=True)
class Release(OnOrder):
    async def perform(self, life: Life) -> Any:
        return told(await life.item("release_pending", order_id=self.order_id))

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order = model.orders[self.order_id]
        if order.state in UNSENT:
            model.withdraw(order)
        wanted = order.state if order.state in ENDED else "NOT_PROVEN"
        expect(answer == wanted, self, answer, wanted)


@dataclass(frozen=True)
class Replace(OnOrder):
    request: Request
    key: str

    async def perform(self, life: Life) -> Any:
        item = as_item(life, self.request, self.key)
        return await life.call("replace_order", self.order_id, item)

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        order, bound = model.orders[self.order_id], model.keys.get(self.key)
        if bound is not None:
            same = bound[0] == self.request
            wanted = (
                {"replay": True, "replacement_id": bound[1][1]} if same else {"code": "KEY_REUSED"}
            )
            expect(answer.items() >= wanted.items(), self, answer, wanted)
            return
        reasons = model.stopped(order.market) | model.limited(self.request)
        if order.ended:
            reasons.add("ALREADY_ENDED")
        if self.request.size < MINIMUM:
            reasons.add("BELOW_MINIMUM")
        if any(r.old is order and r.state == "waiting" for r in model.replacements):
            reasons.add("BUSY")
        if reasons:
            expect(answer.get("code") in reasons, self, answer, reasons)
            return
        number = model.take_id()
        model.count(self.request)
        model.keys[self.key] = (self.request, ("replacement", number))
        model.replacements.append(Replacement(order, self.request, self.key, order.matched))
        cancel_one(model, order)
        wanted = {"status": "asked", "replay": False, "replacement_id": number}
        expect(answer.items() >= wanted.items(), self, answer, wanted)
