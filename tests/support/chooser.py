"""Which step comes next in a random run against the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from tests.support import standing_steps, steps
from tests.support.life import SHARE
from tests.support.model import Model, Order, Request
from tests.support.steps import Step

MARKETS: Final = ("m1", "m2")
NUMBERS: Final = 24
T = TypeVar("T")

ANSWERS: Final = (
    "acknowledge", "acknowledge", "acknowledge_delayed", "reject", "hold_back", "mark_seen",
    "mark_unknown", "mark_unknown",
)  # fmt: skip


class Chooser:
    """Makes steps that mostly make sense in the model's present state, and some that do not.

    It lives on numbers drawn before: which of two sessions comes first may differ from run to run,
    and what is drawn must not depend on it.
    """

    def __init__(self, numbers: list[int], model: Model) -> None:
        self.numbers, self.model = iter(numbers), model

    def below(self, n: int) -> int:
        return next(self.numbers, 0) % n

    def of(self, several: Sequence[T]) -> T:
        return several[self.below(len(several))]

    def order(self, suitable: Callable[[Order], bool]) -> Order | None:
        orders = list(self.model.orders.values())
        if self.below(10):
            orders = [o for o in orders if suitable(o)] or orders
        return self.of(orders) if orders else None

    def request(self, **given: Any) -> Request:
        return Request(
            **{  # type: ignore[arg-type]
                "market": self.of(("m1", "m1", "m2")),
                "outcome": self.of((0, 0, 1)),
                "side": self.of(("BUY", "BUY", "SELL")),
                "price": self.of((400_000, 550_000)),
                "size": (4 + self.below(13)) * SHARE,
                "clamp": self.of((False, True)),
                "hedge": self.of((False, False, True)),
                "valid_ms": self.of((30_000, 30_000, 1_000, 600_000)),
            }
            | given
        )

    def key(self) -> str:
        return f"key {self.below(40)}"

    def reserve(self) -> Step:
        first = (self.request(), self.key())
        if self.below(3):
            return steps.Reserve((first,))
        return steps.Reserve((first, (self.request(market=first[0].market), self.key())))

    def claim(self) -> Step:
        return steps.Claim(self.of((1, 2)), bool(self.below(2)))

    def send(self) -> Step | None:
        """The next thing the worker that claimed an order would do."""
        order = self.order(lambda o: o.claimed_by is not None)
        if order is None:
            return None
        if order.state == "SENDING" or (order.attempts and not self.below(4)):
            return self.complete(order)
        worker = order.claimed_by if self.below(6) else self.of((1, 2))
        kind: type[steps.OnClaim] = steps.Prepare if order.state == "RESERVED" else steps.Open
        if self.below(8) == 7:
            kind = self.of((steps.Prepare, steps.Open, steps.Drop))
        return kind(order.order_id, worker or 1, order.claim_no)

    def complete(self, order: Order) -> Step:
        attempt = len(order.attempts) or 1
        if attempt > 1 and self.below(5) == 4:
            attempt -= 1
        known = int(str(order.attempts[attempt - 1][0])) if order.attempts else 1
        worker = known if self.below(8) else self.of((1, 2))
        return steps.Complete(order.order_id, self.of(ANSWERS), worker, attempt)

    def fill(self) -> Step | None:
        order = self.order(lambda o: bool(o.attempts))
        if order is None or not order.signed:
            return None
        status = self.of(("MATCHED", "MATCHED", "CONFIRMED", "FAILED"))
        return steps.Fill(order.order_id, self.of((0, 0, 0, 1, 1, 2)), status)

    def observe(self) -> Step | None:
        order = self.order(lambda o: bool(o.attempts))
        if order is None or not order.signed:
            return None
        status = self.of(("LIVE", "LIVE", "CANCELLED", "EXPIRED", "MATCHED"))
        source = self.of(("read", "stream"))
        return steps.Observe(order.order_id, status, self.of((0, 0, 3, 5, 10)), source)

    def on_order(self) -> Step | None:
        order = self.order(lambda o: not o.ended)
        if order is None:
            return None
        kind = self.below(6)
        if kind < 2:
            return steps.Cancel(order.order_id)
        if kind == 2:
            answer = self.of(("accepted", "refused", "not_sent", "unknown"))
            return steps.AnswerCancel(order.order_id, answer)
        if kind == 3:
            return steps.Release(order.order_id)
        request = self.request(
            market=order.market,
            outcome=order.request.outcome,
            side=order.side,
            replaces=order.order_id,
        )
        return steps.Replace(order.order_id, request, self.key())

    def prove(self) -> Step | None:
        order = self.order(lambda o: o.state == "UNKNOWN")
        if order is None:
            return None
        kind = self.of(("order_absent", "trades_absent", "delete", "prove", "prove"))
        if kind == "delete":
            return steps.AnswerCancel(order.order_id, "refused")
        if kind == "prove":
            return steps.Prove(order.order_id)
        return steps.Evidence(order.order_id, kind)

    def world(self) -> Step:
        kind = self.below(8)
        if kind < 4:
            return standing_steps.Sweep(self.of(("lapsed", "lapsed", "expired", "cancels")))
        if kind == 4:
            return steps.ClaimCancels()
        if kind == 5:
            return standing_steps.ReleaseLane(self.of(MARKETS))
        scope = self.of(("global", "account", *MARKETS))
        return standing_steps.Halt(scope) if kind == 6 else standing_steps.Resume(scope)

    def step(self) -> Step:
        makers: list[Callable[[], Step | None]] = (
            [self.reserve] * 3 + [self.claim] * 3 + [self.send] * 6 + [self.fill] * 3
            + [self.observe] * 3 + [self.on_order] * 2 + [self.prove] * 2 + [self.world] * 2
        )  # fmt: skip
        return self.of(makers)() or self.reserve()
