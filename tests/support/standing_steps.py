"""Steps of operators and of time: halts, sweeps, lanes, waiting (see `tests.support.steps`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg

from tests.support.life import Life
from tests.support.model import UNSENT, Model, Order
from tests.support.steps import Step, cancel_one, expect


@dataclass(frozen=True)
class Halt(Step):
    scope: str

    def named(self) -> tuple[str, str | None]:
        names = {"global": ("global", None), "account": ("account", "main")}
        return names.get(self.scope, ("market", self.scope))

    async def perform(self, life: Life) -> Any:
        return await life.call("set_halt", *self.named(), "test", "tester")

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        model.halts.add((self.scope, "test"))


@dataclass(frozen=True)
class Resume(Halt):
    async def perform(self, life: Life) -> Any:
        scope, name = self.named()
        version = await life.conn.fetchval(
            "SELECT max(halt_id) FROM ledger.halt WHERE cleared_at IS NULL AND scope = $1 "
            "AND scope_id = ledger._scope_id($1, $2)",
            scope,
            name,
        )
        try:
            return await life.call("clear_halt", scope, name, version or 1)
        except asyncpg.PostgresError as problem:
            if "STALE_VERSION" not in str(problem):
                raise
            return 0

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        standing = {halt for halt in model.halts if halt[0] == self.scope}
        # a newer halt that came in between is not resumed, and nothing else is then
        expect(raced or bool(answer) == bool(standing), self, answer, standing)
        if answer:
            model.halts -= standing


@dataclass(frozen=True)
class Sweep(Step):
    name: str

    async def perform(self, life: Life) -> Any:
        found = await life.call(f"sweep_{self.name}")
        return len(found["lost"]) + len(found["taken_back"]) if isinstance(found, dict) else found

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        sweep = {"lapsed": self._lapsed, "expired": self._expired, "cancels": self._cancels}
        wanted = sum([sweep[self.name](model, order) for order in list(model.orders.values())])
        expect(answer == wanted, self, answer, wanted)

    @staticmethod
    def _lapsed(model: Model, order: Order) -> bool:
        if order.place != "claimed" or (order.claimed_until or 0) > model.now:
            return False
        for attempt in order.attempts:
            attempt[1] = "lapsed" if attempt[1] == "open" else attempt[1]
        if order.state == "SENDING":
            order.fate_open = True
            model.move(order, "UNKNOWN")
        else:
            order.place, order.claimed_by, order.claimed_until = "ready", None, None
        return True

    @staticmethod
    def _expired(model: Model, order: Order) -> bool:
        if order.state not in UNSENT or order.valid_until > model.now:
            return False
        model.withdraw(order)
        return True

    @staticmethod
    def _cancels(model: Model, order: Order) -> bool:
        if order.ended or order.cancel_asked or not model.stopped(order.market):
            return False
        cancel_one(model, order)
        return True


@dataclass(frozen=True)
class ReleaseLane(Step):
    market: str

    async def perform(self, life: Life) -> Any:
        return await life.call("release_lane", life.account, self.market, "test", "tester")

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        blocked = [
            o for o in model.orders.values()
            if o.market == self.market and not o.released
            and (o.place == "blocked" or (o.state == "SENDING" and o.fate_open))
        ]  # fmt: skip
        for order in blocked:
            order.released = True
            order.place = "claimed" if order.state == "SENDING" else "released"
        expect(answer == len(blocked), self, answer, len(blocked))


@dataclass(frozen=True)
class Wait(Step):
    milliseconds: int
    alone: ClassVar[bool] = True

    async def perform(self, life: Life) -> Any:
        await life.clock.advance(self.milliseconds)

    def check(self, model: Model, answer: Any, raced: bool) -> None:
        model.now += self.milliseconds
