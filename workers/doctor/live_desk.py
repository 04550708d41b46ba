"""The live test's way through the ledger: a worker of its own in this process, and one order under one key.

The worker is the real one, with every task and every guard. Only its venue is watched: just before the test's
order is sent, a cancel for its id may be, which asks whether the venue remembers cancels that come first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from app.clock import Ports
from app.config import Settings
from app.errors import BadInput, Code, Refused
from app.gateway import Gateway
from app.ledger import Intent, Ledger
from app.ledger.answers import OrderView
from app.venue.interface import PlaceOutcome, PlaceRequest, Unread, Venue
from app.venue.polymarket.wallet import Ask
from workers.doctor.books import read_book
from workers.doctor.database import Reader, statement
from workers.doctor.live import Attempt, Stored
from workers.doctor.live_plan import LiveOrder, Terms, Unsuitable, choose
from workers.worker import main
from workers.worker.context import Context, Host

READY_WITHIN_S: Final = 120.0
EARLY_CANCEL_S: Final = 1.0
"""The order is sent then, answered or not: an attempt has two seconds."""

VALID_FOR_MS: Final = 60_000


class CancelFirst:
    """A `Venue` that can be told to cancel the next order's id before it sends the order."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._armed = False
        self.answer: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def arm(self) -> None:
        """The next placement is preceded by a cancel."""
        self._armed = True

    async def place(self, account: str, orders: Sequence[PlaceRequest]) -> Sequence[PlaceOutcome]:
        """As the venue's, with the cancel before it."""
        if self._armed:
            self._armed = False
            self.answer = await self._cancel(account, [one.venue_order_id for one in orders])
        return await self._venue.place(account, orders)

    async def _cancel(self, account: str, ids: Sequence[str]) -> str:
        try:
            async with asyncio.timeout(EARLY_CANCEL_S):
                (outcome, *_) = await self._venue.cancel(account, ids)
        except TimeoutError:
            return f"no answer within {EARLY_CANCEL_S} s"
        return f"{type(outcome).__name__}: {outcome.raw.strip()[:300]}"


class _Watched:
    """A `Host` with another venue in front."""

    def __init__(self, host: Host, venue: CancelFirst) -> None:
        self._host = host
        self.venue = venue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


class LedgerDesk:
    """A `Desk` over the ledger. ``key`` is this run's own, so that asking twice reserves once."""

    def __init__(self, ledger: Ledger, key: str, watched: CancelFirst) -> None:
        self._ledger = ledger
        self._gateway = Gateway(ledger)
        self._key = key
        self._watched = watched

    async def place(self, order: LiveOrder, *, cancel_first: bool) -> int:
        if cancel_first:
            self._watched.arm()
        intent = Intent(
            market=order.market,
            outcome=order.token_id,
            side="BUY",
            price_micros=order.price_micros,
            size_micros=order.size_micros,
            key=self._key,
            order_type="GTD",
            post_only=True,
            expires_at_s=order.expires_at_s,
            origin="other",
            strategy="doctor",
            valid_for_ms=VALID_FOR_MS,
        )
        handle = await self._gateway.place_order_with_guards(intent)
        return handle.order_id

    async def find(self) -> int | None:
        found = await self._ledger.find_by_key(self._key)
        return found.order_id if isinstance(found, OrderView) else None

    async def stored(self, order_id: int) -> Stored:
        rows = await self._ledger.calls.rows(statement("stored"), order_id)
        if not rows:
            raise BadInput(Code.UNKNOWN_ORDER, f"there is no order {order_id}")
        row = rows[0]
        attempts = tuple(Attempt(**one) for one in json.loads(row["attempts"]))
        body = bytes(row["body"])
        return Stored(row["state"], row["ended"], row["venue_order_id"], body, attempts)

    async def cancel(self, order_id: int) -> str:
        return (await self._gateway.cancel_order(order_id, "the live test ends it")).state

    def early_cancel(self) -> str | None:
        return self._watched.answer


@asynccontextmanager
async def working(
    settings: Settings, ports: Ports, url: str
) -> AsyncIterator[tuple[Context, LedgerDesk]]:
    """A worker that is ready for the account, and a desk on it. Stops it in order.

    Raises `Refused` with ``BUSY`` if another worker is alive: it would send the order, and this test would
    not see how.
    """
    account = settings.account
    async with main.open_context(settings, ports, url) as opened:
        others = await opened.calls.rows(statement("others"))
        if others:
            raise Refused(
                Code.BUSY,
                f"{len(others)} worker(s) are alive",
                not_done="nothing was placed",
                next_step="stop them: the live test runs a worker of its own and must be alone",
            )
        watched = CancelFirst(opened.venue)
        host = cast(Host, _Watched(opened.host, watched))
        context = dataclasses.replace(opened, host=host)
        serving = ports.tasks.spawn(main.serve(context, url), name="live test worker")
        try:
            await _ready(context, account, serving)
            key = f"doctor-live-{ports.rng.uuid()}"
            yield (
                context,
                LedgerDesk(Ledger(context.calls, account=account, ports=ports), key, watched),
            )
        finally:
            context.shared.stopping.set()
            await serving


async def _ready(context: Context, account: str, serving: asyncio.Task[None]) -> None:
    clock = context.ports.clock
    until_ns = clock.monotonic_ns() + int(READY_WITHIN_S * 1e9)
    while account not in context.shared.ready:
        if serving.done():
            serving.result()
        if clock.monotonic_ns() > until_ns:
            raise Refused(
                Code.BUSY,
                f"the worker was not ready for {account} within {READY_WITHIN_S:.0f} s",
                not_done="nothing was placed",
                next_step="ledger-worker doctor and the worker's log say why",
            )
        await clock.sleep(0.1)


async def find_order(
    reader: Reader, ask: Ask, market: str | None, now_s: int
) -> LiveOrder | Unsuitable:
    """The order for the market named, or for the first that suits. Asks for its book."""
    rows = await reader.rows(statement("terms"), market)
    if not rows:
        named = f"{market} is unknown, over, or ends" if market else "every market is over or ends"
        return Unsuitable(f"{named} within half an hour", "ledger-worker markets sync")
    why: list[str] = []
    for row in rows:
        terms = Terms(
            row["condition_id"],
            row["label"],
            row["token_id"],
            row["tick_micros"],
            row["min_size_micros"],
            row["neg_risk"],
        )
        found = await read_book(ask, terms.token_id)
        if isinstance(found, Unread):
            why.append(f"{terms.outcome}: {found.reason}"[:160])
            continue
        order = choose(terms, found.value, now_s)
        if isinstance(order, LiveOrder):
            return order
        why.append(f"{terms.outcome}: {order.why}")
    return Unsuitable("; ".join(dict.fromkeys(why)))
