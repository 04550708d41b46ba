"""A small model of the ledger, written from the requirements, to hold the SQL functions against.

It keeps orders with what is known of them and *derives* every number (exposure, holds, balances)
from that, where the database keeps counters. Where several reasons refuse a request the model names
them all: which one is told is no matter here. Times are milliseconds since the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.support.life import (
    LEASE_MS,
    QUARANTINE_MS,
    REQUEST_TIMEOUT_MS,
    SEND_BY_MS,
    SHARE,
)

MICRO: Final = 1_000_000
STEP: Final = 10_000  # sizes go in hundredths of a share
MINIMUM: Final = 5 * SHARE
OUTCOME_CAP: Final = 40 * SHARE
MARKET_CAP: Final = 60 * SHARE
PER_MINUTE: Final = 8
COLLATERAL: Final = 40 * SHARE
TOKENS: Final = 12 * SHARE
FEE_RATE: Final = {"m1": 20_000, "m2": 0}
SUSPENSION_MS: Final = 15 * 60_000

ENDED: Final = ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED")
UNSENT: Final = ("RESERVED", "PREPARED", "HELD_BACK")
AT_VENUE: Final = ("LIVE", "DELAYED")


def up(numerator: int, denominator: int = MICRO) -> int:
    return -(-numerator // denominator)


@dataclass(frozen=True)
class Request:
    """What somebody wants; equal requests are the same request."""

    market: str
    outcome: int
    side: str
    price: int
    size: int
    clamp: bool
    hedge: bool
    valid_ms: int
    replaces: int = 0


@dataclass
class Trade:
    size: int
    price: int
    fee: int
    settlement: str = "provisional"
    fee_rank: int = 0  # of the status that said it
    contradicted: bool = False

    def cash(self, side: str) -> int:
        """What it moves in collateral, fee included."""
        if side == "BUY":
            return -(up(self.price * self.size) + self.fee)
        return self.price * self.size // MICRO - self.fee


@dataclass
class Order:
    order_id: int
    request: Request
    key: str
    size: int
    valid_until: int
    state: str = "RESERVED"
    state_at: int = 0
    read: int = 0  # largest matched size seen
    trades: dict[str, Trade] = field(default_factory=dict)
    attempts: list[list[object]] = field(default_factory=list)  # [worker, outcome]
    fate_open: bool = False
    seen: bool = False
    signed: bool = False
    deadline: int | None = None
    cancel_asked: bool = False
    cancel_at: int | None = None  # when a cancel is due, while one is
    place: str = "ready"  # in its lane
    released: bool = False  # from it, by an operator
    not_before: int = 0
    claimed_by: int | None = None
    claimed_until: int | None = None
    claim_no: int = 0
    evidence: list[tuple[str, int]] = field(default_factory=list)

    @property
    def market(self) -> str:
        return self.request.market

    @property
    def side(self) -> str:
        return self.request.side

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def traded(self) -> int:
        return sum(t.size for t in self.trades.values())

    def settled(self, settlement: str) -> int:
        return sum(t.size for t in self.trades.values() if t.settlement == settlement)

    @property
    def matched(self) -> int:
        return max(self.read, self.traded)

    @property
    def shares(self) -> int:
        return 0 if self.ended else max(self.size - self.matched, 0)

    @property
    def awaiting(self) -> int:
        return self.matched - self.traded

    @property
    def held(self) -> int:
        waiting = self.shares + self.awaiting
        if self.side == "SELL":
            return waiting + self.settled("provisional")
        return cost(self.market, self.request.price, waiting)

    @property
    def phase(self) -> str:
        if not self.ended:
            return "open" if self.state in AT_VENUE else "pending"
        return "settling" if self.awaiting or self.held else "released"


def cost(market: str, price: int, shares: int) -> int:
    """Collateral for a BUY with the highest fee it could pay: fees peak at a price of one half."""
    p = min(price, MICRO // 2)
    return up(price * shares) + up(shares * FEE_RATE[market] * p * (MICRO - p), MICRO**3)


@dataclass
class Replacement:
    old: Order
    request: Request
    key: str
    filled: int
    state: str = "waiting"


@dataclass
class Model:
    """One account with two markets, served by two starts of a worker."""

    now: int = 0
    next_id: int = 1
    orders: dict[int, Order] = field(default_factory=dict)
    keys: dict[str, tuple[Request, tuple[object, ...]]] = field(default_factory=dict)
    replacements: list[Replacement] = field(default_factory=list)
    admitted: dict[str, list[int]] = field(default_factory=lambda: {"m1": [], "m2": []})
    halts: set[tuple[str, str]] = field(default_factory=set)  # scope, why
    suspended: dict[str, int] = field(default_factory=dict)
    breaches: int = 0

    # ---- numbers, all derived

    def of(self, market: str, outcome: int, side: str) -> Iterable[Order]:
        for order in self.orders.values():
            if (order.market, order.request.outcome, order.side) == (market, outcome, side):
                yield order

    def counters(self, market: str, outcome: int) -> dict[str, int]:
        found = {}
        for side in ("BUY", "SELL"):
            orders = list(self.of(market, outcome, side))
            name = side.lower()
            found[f"pending_{name}"] = sum(o.shares for o in orders if o.phase == "pending")
            found[f"open_{name}"] = sum(o.shares for o in orders if o.phase == "open")
            found[f"awaiting_{name}"] = sum(o.awaiting for o in orders)
            found[f"provisional_{name}"] = sum(o.settled("provisional") for o in orders)
        found["confirmed"] = self.tokens(market, outcome)
        return found

    def tokens(self, market: str, outcome: int) -> int:
        bought = sum(o.settled("confirmed") for o in self.of(market, outcome, "BUY"))
        sold = sum(o.settled("confirmed") for o in self.of(market, outcome, "SELL"))
        return (TOKENS if (market, outcome) == ("m1", 0) else 0) + bought - sold

    def effective(self, market: str, outcome: int) -> int:
        c = self.counters(market, outcome)
        names = ("confirmed", "provisional_buy", "awaiting_buy", "open_buy", "pending_buy")
        return sum(c[name] for name in names)

    def available(self, market: str | None = None, outcome: int = 0) -> int:
        """Of the collateral, or of a token."""
        if market is not None:
            held = sum(o.held for o in self.of(market, outcome, "SELL"))
            return self.tokens(market, outcome) - held
        cash = COLLATERAL
        for order in self.orders.values():
            for trade in order.trades.values():
                settled = ("confirmed",) if order.side == "SELL" else ("confirmed", "provisional")
                cash += trade.cash(order.side) if trade.settlement in settled else 0
        return cash - self.locked()

    def locked(self) -> int:
        return sum(o.held for o in self.orders.values() if o.side == "BUY")

    # ---- what refuses

    def stopped(self, market: str) -> set[str]:
        scopes = {scope for scope, _ in self.halts}
        found = {"HALTED"} if scopes & {"global", "account", market} else set()
        return found | ({"SUSPENDED"} if self.suspended.get(market, -1) > self.now else set())

    def limited(self, request: Request) -> set[str]:
        recent = [at for at in self.admitted[request.market] if at > self.now - 60_000]
        full = request.side == "BUY" and len(recent) >= PER_MINUTE
        return {"BURST_MINUTE"} if full else set()

    def judged(self, request: Request, size: int) -> tuple[set[str], int]:
        """Why not, and the size that is left."""
        reasons = self.stopped(request.market)
        if size < MINIMUM:
            reasons.add("BELOW_MINIMUM")
        if request.side == "SELL":
            if size > self.available(request.market, request.outcome):
                reasons.add("INSUFFICIENT_TOKENS")
            return reasons, size
        both = [self.effective(request.market, outcome) for outcome in (0, 1)]
        room = min(OUTCOME_CAP - both[request.outcome], MARKET_CAP - sum(both))
        if room < size:
            if request.clamp and room // STEP * STEP >= MINIMUM:
                size = room // STEP * STEP
            else:
                reasons |= {"CAP_OUTCOME", "CAP_MARKET"}
        if cost(request.market, request.price, size) > self.available():
            reasons.add("INSUFFICIENT_COLLATERAL")
        return reasons, size

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def admit(self, request: Request, key: str, size: int) -> Order:
        order = Order(self.take_id(), request, key, size, self.now + request.valid_ms)
        order.state_at = order.not_before = self.now
        self.orders[order.order_id] = order
        return order

    def count(self, request: Request) -> None:
        if request.side == "BUY":
            self.admitted[request.market].append(self.now)

    # ---- how an order moves

    def move(self, order: Order, state: str) -> None:
        """To a state, with what follows for its lane, its cancel and whoever replaces it."""
        if state == order.state:
            return
        was_ended = order.ended
        order.state, order.state_at = state, self.now
        if state == "UNKNOWN":
            order.place = "released" if order.released else "blocked"
            order.claimed_by = order.claimed_until = None
        elif state in AT_VENUE or order.ended:
            order.place, order.claimed_by, order.claimed_until = "done", None, None
            order.fate_open = False
        if order.ended:
            order.cancel_at = None
            if not was_ended:
                self.finish_replacement(order)
        elif was_ended:
            self.queue_cancel(order)

    def queue_cancel(self, order: Order) -> None:
        order.cancel_asked = True
        order.cancel_at = min(order.cancel_at or self.now, self.now)

    def withdraw(self, order: Order) -> None:
        self.move(order, "NOT_PLACED")

    def see(self, order: Order) -> None:
        """Alive, but what was filled or what a read has ended stays so."""
        if order.state not in ("FILLED", "CANCELLED", "EXPIRED"):
            self.move(order, "LIVE")

    def after_fact(self, order: Order, before: dict[str, int]) -> None:
        """A fact is booked whatever it breaks; what it breaks stops trading."""
        market = order.market
        both = [self.effective(market, outcome) for outcome in (0, 1)]
        broken = (
            max(both) > OUTCOME_CAP
            or sum(both) > MARKET_CAP
            or min(self.tokens(market, outcome) for outcome in (0, 1)) < 0
            or order.matched > order.size
        )
        if broken and self.suspended.get(market, -1) <= self.now:
            self.suspended[market] = self.now + SUSPENSION_MS
            self.breaches += 1
        for asset, amount in self.availables(market).items():
            if amount < 0 and amount < before[asset]:
                self.halts.add(("account", "NEGATIVE_BALANCE"))

    def availables(self, market: str) -> dict[str, int]:
        tokens = {f"token {i}": self.available(market, i) for i in (0, 1)}
        return tokens | {"collateral": self.available()}

    def finish_replacement(self, old: Order) -> None:
        for waiting in self.replacements:
            if waiting.old is old and waiting.state == "waiting":
                size = (waiting.request.size - (old.matched - waiting.filled)) // STEP * STEP
                reasons, size = self.judged(waiting.request, size)
                refused = bool(reasons) or old.state == "FILLED"
                waiting.state = "refused" if refused else "done"
                if not refused:
                    self.admit(waiting.request, waiting.key, size)

    # ---- the worker's rights

    def claim_holds(self, order: Order, worker: int, claim_no: int) -> bool:
        return (
            order.place in ("claimed", "blocked", "released")
            and (order.claimed_by, order.claim_no) == (worker, claim_no)
            and order.claimed_until is not None
            and order.claimed_until > self.now
        )

    def unwanted(self, order: Order) -> set[str]:
        reasons = self.stopped(order.market)
        if order.cancel_asked:
            reasons.add("CANCEL_ASKED")
        if order.valid_until <= self.now:
            reasons.add("EXPIRED")
        return reasons

    def placeable(self) -> list[Order]:
        """The ready heads of lanes, hedges behind a blocked head, and what was released."""
        found = []
        for market in ("m1", "m2"):
            waiting = [
                o for o in self.orders.values()
                if o.market == market and o.place in ("ready", "claimed", "blocked", "dead")
            ]  # fmt: skip
            lane = [o for o in waiting if not o.released]
            ready = [o for o in lane if o.place == "ready" and o.not_before <= self.now]
            found += [
                o for o in waiting if o.released and o.place == "ready" and o.not_before <= self.now
            ]
            if lane and lane[0].place == "blocked":
                found += [o for o in ready if o.request.hedge]
            elif lane and lane[0] in ready:
                found.append(lane[0])
        return sorted(found, key=lambda o: o.order_id)

    def look_ups(self) -> list[Order]:
        return [
            o for o in self.orders.values()
            if o.place in ("blocked", "released") and o.not_before <= self.now
            and (o.claimed_until is None or o.claimed_until <= self.now)
        ]  # fmt: skip

    def claim(self, order: Order, worker: int) -> None:
        order.claim_no += 1
        order.claimed_by, order.claimed_until = worker, self.now + LEASE_MS
        if order.place == "ready":
            order.place = "claimed"
        else:
            order.not_before = self.now + 1_000

    def absent(self, order: Order) -> bool:
        """Every proof there is, begun when the last copy could not appear any more."""
        if order.state != "UNKNOWN" or order.seen or order.deadline is None:
            return False
        safe = order.deadline + QUARANTINE_MS
        kinds = {kind for kind, at in order.evidence if at > safe}
        deleted = any(
            kind == "delete_answered" and at > order.deadline for kind, at in order.evidence
        )
        return self.now > safe and {"order_absent", "trades_absent"} <= kinds and deleted

    def open_attempt(self, order: Order, worker: int) -> None:
        order.attempts.append([worker, "open"])
        order.deadline = max(order.deadline or 0, self.now + SEND_BY_MS + REQUEST_TIMEOUT_MS)
        order.place = "claimed"
        self.move(order, "SENDING")
