"""A worker's context without database and venue: both answer what a test has written, and keep what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import structlog

from app.clock import AsyncioTasks, Ports, SeededRng
from app.venue.interface import (
    CancelAccepted,
    Found,
    PlaceRequest,
    Side,
    Unknown,
    VenueOrder,
    VenueOrderStatus,
)
from app.venue.polymarket.signing import SignatureType, Signer
from workers.worker.context import AccountKey, Context, Shared

START_NS = 1_000_000_000_000
TIMEOUT_MS = 10_000


class HandClock:
    """Moves by hand; nobody waits in it."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def advance(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Calls:
    """The ledger: ``answers`` by function, a value or what makes one of the arguments; else all is well."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def items(self, function: str, items: Any) -> list[dict[str, Any]]:
        given = list(items)
        self.asked.append((function, given))
        answer = self._answer(function, given)
        if answer is None:
            return [{"item": n, "status": "ok", "state": "LIVE"} for n, _ in enumerate(given)]
        return [dict(one) for one in answer]

    async def value(self, function: str, *arguments: Any) -> Any:
        self.asked.append((function, arguments))
        return self._answer(function, arguments)

    async def rows(self, _query: str, *arguments: Any) -> list[dict[str, Any]]:
        self.asked.append(("rows", arguments))
        return list(self._answer("rows", arguments) or [])

    def _answer(self, function: str, given: Any) -> Any:
        found = self.answers.get(function)
        return found(given) if callable(found) else found

    def given(self, function: str) -> list[Any]:
        """What it was asked with, each time."""
        return [arguments for name, arguments in self.asked if name == function]

    def items_given(self, function: str) -> list[dict[str, Any]]:
        return [item for items in self.given(function) for item in items]


def order_at_venue(venue_order_id: str) -> VenueOrder:
    return VenueOrder(
        venue_order_id, "1", Side.BUY, 400_000, 10_000_000, 0, VenueOrderStatus.LIVE, "LIVE"
    )


@dataclass
class Venue:
    """``placed``, ``cancelled``, ``shown``, ``traded``: what makes an answer of a request."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    placed: Callable[[PlaceRequest], Any] = lambda _request: Unknown("nothing written", "")
    cancelled: Callable[[str], Any] = lambda _id: CancelAccepted("")
    shown: Callable[[str, str], Any] = lambda one, _owner: Found(order_at_venue(one))
    traded: Callable[[str], Any] = lambda _owner: Found(())
    before: Callable[[], Any] | None = None
    """Awaited before each answer."""

    async def _wait(self) -> None:
        if self.before is not None:
            await self.before()

    async def place(self, account: str, requests: Sequence[PlaceRequest]) -> list[Any]:
        self.calls.append(("place", account, list(requests)))
        await self._wait()
        return [self.placed(one) for one in requests]

    async def cancel(self, account: str, ids: list[str]) -> list[Any]:
        self.calls.append(("cancel", account, ids))
        await self._wait()
        return [self.cancelled(one) for one in ids]

    async def cancel_all(self, account: str, ids: list[str]) -> list[Any]:
        self.calls.append(("cancel_all", account, ids))
        return [self.cancelled(one) for one in ids]

    async def cancel_market(self, account: str, condition_id: str, ids: list[str]) -> list[Any]:
        self.calls.append(("cancel_market", account, condition_id, ids))
        return [self.cancelled(one) for one in ids]

    async def order(self, account: str, venue_order_id: str, owner: str = "") -> Any:
        self.calls.append(("order", account, venue_order_id, owner))
        await self._wait()
        return self.shown(venue_order_id, owner)

    async def trades(self, account: str, since_ms: int, owner: str = "") -> Any:
        self.calls.append(("trades", account, since_ms, owner))
        return self.traded(owner)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The requests of that name, without it."""
        return [call[1:] for call in self.calls if call[0] == name]


@dataclass
class Desk:
    """The context, and what a test does to it."""

    calls: Calls = field(default_factory=Calls)
    venue: Venue = field(default_factory=Venue)
    clock: HandClock = field(default_factory=HandClock)
    reached: list[str] = field(default_factory=list)
    at: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What happens when a point is reached."""
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        signer = Signer.ephemeral(SeededRng(7).bits)
        key = AccountKey(signer, signer.address, signer.address, SignatureType.EOA, "key")
        host = SimpleNamespace(
            venue=self.venue, key=lambda _account: key, note_market=lambda *_, **__: None
        )
        settings = SimpleNamespace(request_timeout_ms=TIMEOUT_MS, claim_lease_ms=30_000)
        rng = SeededRng(7)
        self.context = Context(
            calls=cast(Any, self.calls),
            watch=cast(Any, self.calls),
            host=cast(Any, host),
            ports=Ports(self.clock, rng, AsyncioTasks()),
            settings=cast(Any, settings),
            incarnation=rng.uuid(),
            log=structlog.get_logger(),
            reached=self._reach,
            shared=Shared(ready={"main", "other"}, known={"main", "other"}),
        )

    def _reach(self, point: str) -> None:
        self.reached.append(point)
        if (deed := self.at.get(point)) is not None:
            deed()
