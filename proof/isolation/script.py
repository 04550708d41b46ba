"""What the sessions of a history do: drawn from the seed, and from what is known when it is their turn.

What the venue did to the live orders is kept here, so that no trade exceeds its order, and each is reported more than
once and by several sessions, as streams and polls do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from proof.isolation.chance import Chance
from proof.isolation.operations import SHARE, Beginning, Terms

KINDS = (
    *("reserve",) * 12,
    *("cancel",) * 3,
    *("fill",) * 5,
    *("end",),
    *("totals",) * 3,
)
"""As often as each is drawn."""


@dataclass(slots=True)
class AtVenue:
    """A live order as the venue has it."""

    terms: Terms
    left: int
    ended: bool = False
    trades: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def matched(self) -> int:
        return self.terms.size - self.left


@dataclass(frozen=True, slots=True)
class Step:
    """One operation to be carried out."""

    kind: str
    account: str
    arguments: dict[str, Any]


class Script:
    """Shared by the sessions of one history; each has its own generator."""

    def __init__(self, seed: int, beginnings: dict[str, Beginning]) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._beginnings = beginnings
        self._venue: dict[int, AtVenue] = {}
        self._pending: dict[str, list[int]] = {account: [] for account in beginnings}
        self._keys: list[tuple[str, str, Terms]] = []
        self._trades = 0
        self._generators: dict[int, Chance] = {}
        for beginning in beginnings.values():
            for order_id, terms in beginning.live.items():
                self._venue[order_id] = AtVenue(terms, terms.size)

    def admitted(self, account: str, order_id: int) -> None:
        """A session heard of it; from now on others may cancel it."""
        with self._lock:
            self._pending[account].append(order_id)

    def next(self, session: int) -> Step:
        """The session's next operation. Session 0 also changes limits and halts."""
        with self._lock:
            rng = self._generators.setdefault(session, Chance(f"{self.seed} {session}"))
            account = rng.choice(sorted(self._beginnings))
            if session == 0 and rng.happens(500_000):
                return self._control(rng, account)
            kind = rng.choice(KINDS)
            step = getattr(self, "_" + kind)(rng, account)
            return step if step is not None else self._reserve(rng, account)

    def under(self, session: int, halt: Step) -> list[Step]:
        """What the session that halted does before it ends the halt: asks for what must be refused."""
        with self._lock:
            rng = self._generators[session]
            steps = [self._reserve(rng, halt.account) for _ in range(2)]
            return [*steps, self._totals(rng, halt.account)]

    def _market(self, rng: Chance, account: str) -> str:
        return rng.choice(sorted({market for market, _ in self._beginnings[account].tokens}))

    def _reserve(self, rng: Chance, account: str) -> Step:
        mine = [one for one in self._keys if one[0] == account]
        if mine and rng.happens(150_000):
            _, key, terms = rng.choice(mine)
            if rng.happens(250_000):
                terms = replace(terms, size=terms.size + SHARE)
            return Step("reserve", account, {"terms": terms, "key": key})
        side = "SELL" if rng.happens(200_000) else "BUY"
        price = 600_000 if side == "SELL" else rng.choice((200_000, 300_000, 400_000))
        size = rng.randrange(5, 13) * SHARE
        market = self._market(rng, account)
        terms = Terms(account, market, rng.randrange(2), side, price, size)
        key = f"{self.seed} {len(self._keys)}"
        self._keys.append((account, key, terms))
        return Step("reserve", account, {"terms": terms, "key": key})

    def _cancel(self, rng: Chance, account: str) -> Step | None:
        orders = self._pending[account]
        return Step("cancel", account, {"order": rng.choice(orders)}) if orders else None

    def _live(self, account: str) -> list[tuple[int, AtVenue]]:
        return [(n, one) for n, one in self._venue.items() if one.terms.account == account]

    def _fill(self, rng: Chance, account: str) -> Step | None:
        order_id, order = rng.choice(self._live(account))
        if order.trades and rng.happens(500_000):
            trade, size, price = rng.choice(order.trades)
            status = rng.choice(("MATCHED", "CONFIRMED"))
            return self._told(account, order_id, trade, size, price, status)
        if order.ended or order.left < SHARE:
            return None
        size = rng.randrange(1, order.left // SHARE + 1) * SHARE
        order.left -= size
        self._trades += 1
        trade = f"{self.seed} t{self._trades}"
        order.trades.append((trade, size, order.terms.price))
        return self._told(account, order_id, trade, size, order.terms.price, "MATCHED")

    def _told(
        self, account: str, order_id: int, trade: str, size: int, price: int, status: str
    ) -> Step:
        given = {"order": order_id, "trade": trade, "size": size, "price": price}
        return Step("fill", account, given | {"status": status})

    def _end(self, rng: Chance, account: str) -> Step | None:
        order_id, order = rng.choice(self._live(account))
        if order.left == 0:
            return None
        order.ended = True
        return Step("end", account, {"order": order_id, "matched": order.matched})

    def _totals(self, rng: Chance, account: str) -> Step:
        return self.totals(account)

    def totals(self, account: str) -> Step:
        return Step("totals", account, {})

    def _control(self, rng: Chance, account: str) -> Step:
        market = self._market(rng, account)
        kind = rng.choice(("halt", "limit", "limit"))
        if kind == "halt":
            scope = rng.choice((market, account))
            return Step("halt", account, {"name": "halt", "scope": scope, "value": 1})
        name = rng.choice(("max_outcome_micros", "max_market_micros", "max_shares_micros"))
        scope = account if name == "max_shares_micros" else market
        value = rng.choice((10, 25, 40, 80)) * SHARE
        return Step("limit", account, {"name": name, "scope": scope, "value": value})
