"""What each operation may answer if they came one after another: from the documentation, not from the code.

The state is a value: equal states are one state to the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proof.isolation.operations import Beginning, Operation, Terms

MICROS = 1_000_000
ALIVE = ("RESERVED", "LIVE")

Trades = frozenset[tuple[str, int, int, str]]
"""Id, size, price, settlement."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order's course: its state, what a read said was matched, and its trades."""

    state: str
    seen: int = 0
    trades: Trades = frozenset()

    @property
    def traded(self) -> int:
        return sum(size for _, size, _, _ in self.trades)

    @property
    def matched(self) -> int:
        return max(self.seen, self.traded)

    def settled(self, settlement: str) -> int:
        return sum(size for _, size, _, how in self.trades if how == settlement)


@dataclass(frozen=True, slots=True)
class State:
    """An account: its orders by number, and which key is whose."""

    orders: frozenset[tuple[int, Terms, Order]]
    keys: frozenset[tuple[str, int, Terms]] = frozenset()
    suspended: frozenset[str] = frozenset()

    def order(self, order_id: int) -> tuple[Terms, Order] | None:
        return next(((t, o) for n, t, o in self.orders if n == order_id), None)

    def put(self, order_id: int, terms: Terms, order: Order) -> State:
        rest = frozenset(one for one in self.orders if one[0] != order_id)
        return replace(self, orders=rest | {(order_id, terms, order)})


Controls = Mapping[tuple[str, str], int | None]
"""Limits and halts as an operation may have found them: by name and scope."""


class Spec:
    """The rules for one account."""

    def __init__(self, beginning: Beginning) -> None:
        self.beginning = beginning
        live = ((n, terms, Order("LIVE")) for n, terms in beginning.live.items())
        self.start = State(frozenset(live))

    # ---- what follows from a state

    def effective(self, state: State, market: str, outcome: int) -> int:
        """Shares that count against caps: position, provisional buys, and all that buys may still bring."""
        shares = self.beginning.tokens.get((market, outcome), 0)
        for _, terms, order in state.orders:
            if (terms.market, terms.outcome) != (market, outcome):
                continue
            if terms.side == "BUY":
                reach = terms.size if order.state in ALIVE else order.matched
                shares += reach - order.settled("FAILED")
            else:
                shares -= order.settled("CONFIRMED")
        return shares

    def sellable(self, state: State, market: str, outcome: int) -> int:
        """Final tokens that nobody offers yet."""
        shares = self.beginning.tokens.get((market, outcome), 0)
        for _, terms, order in state.orders:
            if (terms.market, terms.outcome) != (market, outcome):
                continue
            if terms.side == "BUY":
                shares += order.settled("CONFIRMED")
            else:
                reach = terms.size if order.state in ALIVE else order.matched
                shares -= reach - order.settled("FAILED")
        return shares

    def available(self, state: State) -> int:
        """Collateral that is not held and not spent; a sale brings it when it is final."""
        free = self.beginning.collateral
        for _, terms, order in state.orders:
            if terms.side == "SELL":
                free += sum(p * s // MICROS for _, s, p, how in order.trades if how == "CONFIRMED")
                continue
            reach = terms.size if order.state in ALIVE else order.matched
            free -= (reach - order.traded) * terms.price // MICROS
            free -= sum(p * s // MICROS for _, s, p, how in order.trades if how != "FAILED")
        return free

    def open(self, state: State, market: str) -> int:
        return sum(o.state in ALIVE and t.market == market for _, t, o in state.orders)

    def markets(self) -> list[str]:
        return sorted({market for market, _ in self.beginning.tokens})

    def refusals(self, state: State, terms: Terms, controls: Controls) -> set[str]:
        """Every reason there is to refuse; none: it must be admitted."""
        market, account = terms.market, terms.account
        found = set()
        if controls.get(("halt", market)) or controls.get(("halt", account)):
            found.add("HALTED")
        if market in state.suspended:
            found.add("SUSPENDED")
        if over(self.open(state, market) + 1, controls.get(("max_open_orders", market))):
            found.add("OPEN_ORDERS")
        if terms.side == "SELL":
            if terms.size > self.sellable(state, market, terms.outcome):
                found.add("INSUFFICIENT_TOKENS")
            return found
        shares = [self.effective(state, market, outcome) for outcome in (0, 1)]
        everything = sum(self.effective(state, m, o) for m in self.markets() for o in (0, 1))
        outcome_cap = controls.get(("max_outcome_micros", market))
        if over(shares[terms.outcome] + terms.size, outcome_cap):
            found.add("CAP_OUTCOME")
        if over(sum(shares) + terms.size, controls.get(("max_market_micros", market))):
            found.add("CAP_MARKET")
        if over(everything + terms.size, controls.get(("max_shares_micros", account))):
            found.add("CAP_ACCOUNT")
        if terms.price * terms.size // MICROS > self.available(state):
            found.add("INSUFFICIENT_COLLATERAL")
        return found

    # ---- steps

    def next(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        """The states in which the operation may leave this one, given what it answered; none: not here."""
        yield from getattr(self, "_" + one.kind)(state, one, possible)

    def _reserve(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        wanted, key, answer = one.arguments["terms"], one.arguments["key"], one.answer
        bound = next(((n, t) for k, n, t in state.keys if k == key), None)
        if bound is not None:
            if answer["status"] == "refused":
                if bound[1] != wanted and answer["code"] == "KEY_REUSED":
                    yield state
            elif answer.get("replay") and bound == (answer["order_id"], wanted):
                yield state
            return
        if answer["status"] == "refused":
            if any(answer["code"] in self.refusals(state, wanted, now) for now in possible):
                yield state
            return
        fits = any(not self.refusals(state, wanted, now) for now in possible)
        if fits and not answer.get("replay"):
            number = answer["order_id"]
            made = state.put(number, wanted, Order("RESERVED"))
            yield replace(made, keys=state.keys | {(key, number, wanted)})

    def _cancel(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        """What was never sent ends at once; of the others it is noted."""
        found = state.order(one.arguments["order"])
        if found is None:
            return
        terms, order = found
        if order.state == "RESERVED":
            order = replace(order, state="NOT_PLACED")
        if one.answer["status"] == "ok" and one.answer["state"] == order.state:
            yield state.put(one.arguments["order"], terms, order)

    def _fill(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        """A trade is counted once; a later word about it moves its settlement on, never back."""
        found = state.order(one.arguments["order"])
        if found is None or one.answer["status"] != "ok":
            return
        terms, order = found
        trade, size, price = (one.arguments[name] for name in ("trade", "size", "price"))
        settlement = one.arguments["status"]
        known = next((t for t in order.trades if t[0] == trade), None)
        again = known is not None and known[3] == settlement
        if again != bool(one.answer.get("replay")) and (known is None or again):
            return
        if known is None or (known[3] == "MATCHED" and settlement != "MATCHED"):
            rest = order.trades - {known} if known is not None else order.trades
            order = replace(order, trades=rest | {(trade, size, price, settlement)})
        if order.matched >= terms.size and order.state != "FILLED":
            order = replace(order, state="FILLED")
        if one.answer["state"] == order.state:
            after = state.put(one.arguments["order"], terms, order)
            yield from self._after_a_fact(after, terms, possible)

    def _end(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        """A read proves it cancelled, with its final size."""
        found = state.order(one.arguments["order"])
        if found is None or one.answer["status"] != "ok":
            return
        terms, order = found
        order = replace(order, seen=max(order.seen, one.arguments["matched"]))
        if order.state in ALIVE:
            order = replace(order, state="CANCELLED")
        if one.answer["state"] == order.state:
            after = state.put(one.arguments["order"], terms, order)
            yield from self._after_a_fact(after, terms, possible)

    def _after_a_fact(
        self, state: State, terms: Terms, possible: list[Controls]
    ) -> Iterator[State]:
        """A fact that finds more than a cap allows may suspend the market; it is booked all the same."""
        yield state
        shares = [self.effective(state, terms.market, outcome) for outcome in (0, 1)]
        for now in possible:
            outcome_cap = now.get(("max_outcome_micros", terms.market))
            market_cap = now.get(("max_market_micros", terms.market))
            if over(max(shares), outcome_cap) or over(sum(shares), market_cap):
                yield replace(state, suspended=state.suspended | {terms.market})
                return

    def _totals(self, state: State, one: Operation, possible: list[Controls]) -> Iterator[State]:
        """A read in one snapshot shows one moment."""
        if one.answer == self.totals(state):
            yield state

    def totals(self, state: State) -> dict[str, Any]:
        shown: dict[str, Any] = {"available": self.available(state)}
        for market in self.markets():
            shown[f"{market} open"] = self.open(state, market)
            for outcome in (0, 1):
                shown[f"{market} {outcome} effective"] = self.effective(state, market, outcome)
                shown[f"{market} {outcome} sellable"] = self.sellable(state, market, outcome)
        return shown


def over(amount: int, cap: int | None) -> bool:
    return cap is not None and amount > cap
