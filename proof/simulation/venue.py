"""The venue's process: the simulated exchange's own service, its store in memory, everything it did with its turn."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.venue.interface import Side
from app.venue.matching import BACKGROUND
from app.venue.simulator.channels import UserChannel
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.journal import Command
from app.venue.simulator.messages import Request
from app.venue.simulator.service import Service
from proof.auditor.interface import Received, VenueBook, VenueFill, VenueOrder
from proof.simulation.loop import Actor
from proof.simulation.world import World

SentAt: TypeAlias = tuple[int, int, str]
"""When its bytes left: turn and time; and whose they were."""

_PLACING: Final = ("/order", "/orders")
_STATES = {"LIVE": "live", "DELAYED": "live", "MATCHED": "matched", "EXPIRED": "expired"}
_ENDED = frozenset({"MATCHED", "CANCELED", "CANCELLED", "EXPIRED", "INVALID"})


class MemoryJournal:
    """The venue in these runs never dies: nothing need be kept."""

    def __init__(self) -> None:
        self.appended = self.durable = 0

    def read(self) -> list[Command]:
        return []

    def append(self, _command: Command) -> None:
        self.appended += 1
        self.durable += 1

    def write(self) -> None:
        """Nothing waits."""

    async def flushed(self) -> None:
        """Nothing waits."""


class WatchedService(Service):
    """Tells after each command, so that what happened has its turn."""

    def __init__(self, journal: Any, ports: Any, watch: Callable[[], None]) -> None:
        super().__init__(journal, ports)
        self._watch = watch

    def submit(self, command: Command, *, late_ms: int = 0) -> Any:
        try:
            return super().submit(command, late_ms=late_ms)
        finally:
            self._watch()


@dataclass(slots=True)
class _Seen:
    turn: int
    at_us: int
    ended_turn: int | None = None
    ended_us: int | None = None


@dataclass(slots=True)
class _Met:
    turn: int
    at_us: int
    status: str
    final_turn: int | None = None


@dataclass(slots=True)
class _Notes:
    orders: dict[str, _Seen] = field(default_factory=dict)
    trades: dict[str, _Met] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)


class SimVenue:
    """The exchange as an actor. ``account_of`` names a signer's account for the auditor."""

    def __init__(self, world: World, settings: dict[str, Any]) -> None:
        self.world = world
        self.actor = Actor("venue")
        self._notes = _Notes()
        self._due_ms: int | None = None
        self._sent: dict[str, SentAt] = {}
        self._arrived: dict[str, dict[str, int]] = {}
        self.states: Callable[[Request], Collection[str]] = lambda _request: ()
        """In which states the ledger has the orders of a request."""
        self.account = "main"
        self.foreign: set[str] = set()
        self.fault_states: Counter[tuple[str, str]] = Counter()
        self.service = WatchedService(MemoryJournal(), world.ports(self.actor, 99), self._watch)
        self.service.start(settings)

    # --- deeds of the world ---------------------------------------------------------------------------

    def do(self, deed: str, **arguments: Any) -> Any:
        """A deed of the control endpoint, at once; the streams hear of it."""
        done = self.service.submit({"t": "control", "do": deed, "args": arguments})
        self._tell()
        return done

    def _tell(self) -> None:
        self.world.loop.spawn(self.actor, self.service.settled(), "venue tells")

    def let_time_pass(self) -> None:
        """What the venue does by itself happens when it is due."""
        if self.service.catch_up():
            self._tell()
        self._wait_for_due()

    def _wait_for_due(self) -> None:
        due = self.service.venue.due_ms()
        if due is not None and due != self._due_ms:
            self._due_ms = due
            wait = max(0, due - self.service.now_ms()) + 1
            self.world.later(wait, self.let_time_pass)

    # --- requests ------------------------------------------------------------------------------------

    async def handle(self, request: Request, sent: SentAt) -> Delivery:
        """One request, in the venue's own process. What its store takes is there at once, so nothing comes between."""
        self.world.turn += 1
        arrived, struck = len(self._notes.received), self.struck()
        placed = _orders_in(request) if request.path in _PLACING else ()
        for _, salt, _ in placed:
            self._sent[salt] = sent
        delivery = await self.service.handle(request)
        self._wait_for_due()
        came = {one.salt for one in self._notes.received[arrived:]}
        for order_id, salt, body in placed:
            if salt not in came:
                self._note(
                    "place",
                    sent,
                    venue_order_id=order_id,
                    salt=salt,
                    digest=_digest(body),
                    lost=True,
                )
        if request.method == "DELETE":
            status = delivery.response.status if delivery.response is not None else 0
            self._receive_cancel(request, status, sent)
        self._note_struck(struck, request)
        return delivery

    def _note_struck(self, before: Mapping[int, tuple[str, int]], request: Request) -> None:
        """In which states the orders stood that a fault befell."""
        names = [
            name for number, (name, times) in self.struck().items() if times > before[number][1]
        ]
        if names and request.method != "GET":
            for state in self.states(request):
                self.fault_states.update((name, state) for name in names)

    def channel(self, send: Callable[[str], None], drop: Callable[[], None]) -> UserChannel:
        return UserChannel(self.service.venue, self.service.hub, send, drop)

    def alive(self) -> frozenset[str]:
        """Orders that could be filled at this moment."""
        orders = self.service.venue.exchange.orders
        return frozenset(one for one, record in orders.items() if record.live)

    def struck(self) -> dict[int, tuple[str, int]]:
        """How often each ordered fault has struck, by its number."""
        rules = self.service.venue.faults.rules.values()
        return {rule.number: (rule.name, rule.struck) for rule in rules}

    # --- the book -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        notes, exchange = self._notes, self.service.venue.exchange
        self.world.turn += 1
        turn, at_us = self.world.turn, self.world.now_us
        self._receive_orders()
        for order_id, record in exchange.orders.items():
            seen = notes.orders.get(order_id)
            if seen is None:
                seen = notes.orders[order_id] = _Seen(turn, at_us)
            if seen.ended_turn is None and not record.live:
                seen.ended_turn, seen.ended_us = turn, at_us
        for trade_id, one in exchange.trades.items():
            status = one.trade.status.value
            met = notes.trades.get(trade_id)
            if met is None:
                met = notes.trades[trade_id] = _Met(turn, at_us, status)
            met.status = status
            if met.final_turn is None and status in ("CONFIRMED", "FAILED"):
                met.final_turn = turn

    def _receive_orders(self) -> None:
        """What arrived since the last look, also long after its request."""
        venue = self.service.venue
        for order_id, counts in venue.arrivals.items():
            was = self._arrived.get(order_id, {})
            for nth in range(was.get("received", 0), counts["received"]):
                accepted = counts["accepted"] - was.get("accepted", 0)
                bodies = sorted(venue.bodies[order_id])
                self._receive_order(order_id, bodies, taken=accepted > nth - was.get("received", 0))
            self._arrived[order_id] = dict(counts)

    def _receive_order(self, order_id: str, bodies: list[str], *, taken: bool) -> None:
        record = self.service.venue.exchange.orders.get(order_id)
        body = bodies[-1] if bodies else ""
        salt = _salt(body)
        for one in bodies:
            self._note(
                "place",
                self._sent.get(salt, (self.world.turn, self.world.now_us, "")),
                venue_order_id=order_id,
                market=record.condition_id if record else None,
                digest=_digest(one),
                salt=salt,
                size_micros=record.order.size_micros if record else None,
                price_micros=record.order.price_micros if record else None,
                taken=taken,
                refusal="" if taken else "refused",
            )

    def _note(self, kind: str, sent: SentAt, **what: Any) -> None:
        turn, at_us, sender = sent
        self._notes.received.append(
            Received(
                self.world.turn,
                self.world.now_us,
                self.account,
                kind,
                sent_turn=turn,
                sent_us=at_us,
                sender=sender,
                **what,
            )
        )

    def _receive_cancel(self, request: Request, status: int, sent: SentAt) -> None:
        kinds = {"/cancel-all": "cancel_all", "/cancel-market-orders": "cancel_market"}
        kind = kinds.get(request.path, "cancel")
        asked = json.loads(request.body) if request.body else {}
        end = {"taken": status == 200, "refusal": "" if status == 200 else str(status)}
        if kind != "cancel":
            market = asked.get("market") if isinstance(asked, dict) else None
            self._note(kind, sent, market=market, **end)
            return
        for one in asked if isinstance(asked, list) else [asked.get("orderID")]:
            self._note(kind, sent, venue_order_id=one, **end)

    def book(self) -> VenueBook:
        """What the auditor is shown."""
        exchange = self.service.venue.exchange
        fills: dict[str, list[VenueFill]] = {}
        for trade_id, record in exchange.trades.items():
            met = self._notes.trades[trade_id]
            for part in record.trade.parts:
                if part.account != BACKGROUND:
                    fills.setdefault(part.order_id, []).append(
                        VenueFill(
                            trade_id,
                            record.trade.price_micros,
                            part.size_micros,
                            part.fee_micros,
                            record.trade.status.value,
                            met.turn,
                            met.at_us,
                            met.final_turn,
                        )
                    )
        orders = [
            self._order(order_id, tuple(fills.get(order_id, ())))
            for order_id, record in exchange.orders.items()
            if record.status != "INVALID"
        ]
        balances = {
            (self.account, asset.lower()): micros
            for (_, asset), micros in exchange.backing.balances.chain.items()
        }
        return VenueBook(orders, list(self._notes.received), balances)

    def _order(self, order_id: str, fills: tuple[VenueFill, ...]) -> VenueOrder:
        record = self.service.venue.exchange.orders[order_id]
        seen, order = self._notes.orders[order_id], record.order
        return VenueOrder(
            order_id,
            _salt(record.body),
            _digest(record.body),
            self.account,
            record.condition_id,
            order.token_id,
            Side(order.side).value,
            order.price_micros,
            order.size_micros,
            order.matched_micros,
            _STATES.get(record.status, "cancelled"),
            seen.turn,
            seen.at_us,
            seen.ended_turn,
            seen.ended_us,
            fills,
            foreign=order_id in self.foreign,
        )


def _orders_in(request: Request) -> list[tuple[str | None, str, str]]:
    """Of each order in a placement: nothing of its id (that is a hash), its salt, its text."""
    if request.method != "POST":
        return []
    asked = json.loads(request.body)
    found: list[tuple[str | None, str, str]] = []
    for one in asked if isinstance(asked, list) else [asked]:
        text = json.dumps(one)
        found.append((None, _salt(text), text))
    return found


def _digest(body: str) -> str:
    """Names the signed bytes: everything but the API key that carried them."""
    try:
        asked = json.loads(body)
    except ValueError:
        asked = body
    if isinstance(asked, dict):
        asked.pop("owner", None)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _salt(body: str) -> str:
    try:
        return str(json.loads(body)["order"]["salt"])
    except (ValueError, KeyError, TypeError):
        return ""
