"""The paper venue as the send path sees it: the `Venue` interface over the desk, and misbehaviour
on order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from app.clock import Ports
from app.errors import BadInput, Code
from app.venue.interface import (
    Absent,
    CancelOutcome,
    CancelUnknown,
    Found,
    Holdings,
    PlaceOutcome,
    PlaceRequest,
    Side,
    StreamOpened,
    TradeStatus,
    Unknown,
    Unread,
    VenueEvent,
    VenueOrder,
    VenueTrade,
)
from app.venue.matching import FillModel, Level, Rules
from app.venue.paper.answers import cancel_fault, cancel_outcome, place_fault, place_outcome
from app.venue.paper.body import HashBody, Received, read_body
from app.venue.paper.desk import Desk, FindMarket, PaperMarket
from app.venue.paper.faults import Fault, Faults
from app.venue.paper.frames import order_status, read_frame
from app.venue.paper.statements import SQL, Connection, Pool, outage_of

MAX_BATCH = 15
"""docs/venue.md 3.3."""

T = TypeVar("T")


class PaperVenue:
    """A deterministic venue in the schema ``paper``, shared by any number of processes.

    ``pool`` must be the venue's own (an asyncpg pool): its commits are never those of the ledger.
    ``hash_body`` gives the order id from the bytes; the id in a request is not trusted.
    ``find_market`` is asked for tokens that nobody registered. A database that does not answer is
    an outage of the venue, so it makes placements `Unknown`.
    """

    name = "paper"

    def __init__(
        self,
        pool: Pool,
        ports: Ports,
        *,
        seed: int,
        hash_body: HashBody,
        rules: Rules | None = None,
        model: FillModel | None = None,
        find_market: FindMarket | None = None,
        poll_ms: int = 100,
    ) -> None:
        self._pool = pool
        self._clock = ports.clock
        self._hash_body = hash_body
        self._poll_ms = poll_ms
        self._desk = Desk(pool, ports, seed, rules or Rules(), model, find_market)
        self.faults = Faults(pool)

    # --- sending -------------------------------------------------------------------------------

    async def place(self, account: str, orders: Sequence[PlaceRequest]) -> Sequence[PlaceOutcome]:
        """See `Venue.place`. All of a batch that reaches the engine does so in one commit."""
        if not 1 <= len(orders) <= MAX_BATCH:
            wrong = f"{len(orders)} orders in one request, 1 to {MAX_BATCH} are allowed"
            raise BadInput(Code.BAD_REQUEST, wrong, not_done="nothing was sent")
        received = [read_body(account, one.body, self._hash_body) for one in orders]
        try:
            return await self._place(account, received)
        except Exception as error:
            if (reason := outage_of(error)) is None:
                raise
            return [Unknown(reason, "")] * len(orders)

    async def _place(self, account: str, received: Sequence[Received]) -> list[PlaceOutcome]:
        struck = await self.faults.take("place", account, [one.order_id for one in received])
        await self._wait(struck, "before_ms")
        for one, fault in zip(received, struck, strict=True):
            if fault is not None and fault.kind == "appear_late":
                await self._desk.arrive_later(account, one, fault.late_ms)
        through = [i for i, fault in enumerate(struck) if _carried_out(fault)]
        answers = await self._desk.place([received[i] for i in through]) if through else []
        outcomes: list[PlaceOutcome | None] = [None] * len(received)
        for i, answer in zip(through, answers, strict=True):
            outcomes[i] = place_outcome(received[i].order_id, answer)
        await self._wait(struck, "after_ms")
        return [
            outcome if outcome is not None and _answered(fault) else place_fault(fault or _LOST)
            for outcome, fault in zip(outcomes, struck, strict=True)
        ]

    async def cancel(self, account: str, venue_order_ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See `Venue.cancel`. All of a request is one commit."""
        ids = list(venue_order_ids)
        try:
            return await self._cancel(account, ids)
        except Exception as error:
            if (reason := outage_of(error)) is None:
                raise
            return [CancelUnknown(reason, "")] * len(ids)

    async def cancel_market(
        self, account: str, condition_id: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """By id: on paper a wider request would reach no order that this one does not."""
        return await self.cancel(account, venue_order_ids)

    async def cancel_all(
        self, account: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """By id, as `cancel_market`."""
        return await self.cancel(account, venue_order_ids)

    async def _cancel(self, account: str, ids: list[str]) -> list[CancelOutcome]:
        struck = await self.faults.take("cancel", account, ids)
        await self._wait(struck, "before_ms")
        through = [one for one, fault in zip(ids, struck, strict=True) if _carried_out(fault)]
        answers = iter(await self._desk.cancel(account, through) if through else [])
        outcomes: list[CancelOutcome] = []
        for one, fault in zip(ids, struck, strict=True):
            answer = next(answers) if _carried_out(fault) else None
            if answer is not None and _answered(fault):
                outcomes.append(cancel_outcome(one, answer))
            else:
                outcomes.append(cancel_fault(one, fault or _LOST))
        await self._wait(struck, "after_ms")
        return outcomes

    # --- reading -------------------------------------------------------------------------------

    async def order(
        self, account: str, venue_order_id: str, *, owner: str = ""
    ) -> Found[VenueOrder] | Absent | Unread:
        """See `Venue.order`."""

        async def look(conn: Connection) -> Found[VenueOrder] | Absent:
            row = await conn.fetchrow(SQL["read_order"], account, venue_order_id)
            return Absent("null") if row is None else Found(_venue_order(row))

        return await self._read("order", account, venue_order_id, look, Absent("null"))

    async def open_orders(self, account: str) -> Found[Sequence[VenueOrder]] | Unread:
        """See `Venue.open_orders`."""

        async def look(conn: Connection) -> Found[Sequence[VenueOrder]]:
            rows = await conn.fetch(SQL["read_open_orders"], account)
            return Found([_venue_order(row) for row in rows])

        return await self._read("open_orders", account, "", look, Found(()))

    async def trades(
        self, account: str, since_ms: int, *, owner: str = ""
    ) -> Found[Sequence[VenueTrade]] | Unread:
        """See `Venue.trades`."""

        async def look(conn: Connection) -> Found[Sequence[VenueTrade]]:
            rows = await conn.fetch(SQL["read_trades"], account, since_ms)
            return Found([_venue_trade(row) for row in rows])

        return await self._read("trades", account, "", look, Found(()))

    async def _read(
        self,
        op: str,
        account: str,
        one: str,
        look: Callable[[Connection], Awaitable[T]],
        nothing: T,
    ) -> T | Unread:
        try:
            struck = await self.faults.take(op, account, [one])
            await self._wait(struck, "before_ms")
            kind = struck[0].kind if struck[0] is not None else "delay"
            answer: T | Unread = Unread("timeout") if kind == "unread" else nothing
            if kind == "delay":
                async with self._pool.acquire() as conn:
                    answer = await look(conn)
            await self._wait(struck, "after_ms")
        except Exception as error:
            if (reason := outage_of(error)) is None:
                raise
            return Unread(reason)
        return answer

    async def holdings(
        self, account: str, token_ids: Sequence[str]
    ) -> Found[Holdings] | Unread | None:
        """None: paper money is what the ledger says it is."""
        return None

    async def look_anew(self, account: str, assets: Sequence[str]) -> None:
        """Nothing: there is no chain."""

    async def events(
        self, account: str, *, after: int = 0
    ) -> AsyncIterator[StreamOpened | VenueEvent]:
        """The user stream behind the event numbered ``after`` (0: from the beginning), without end.

        ``event_id`` is ``paper-<number>``; numbers are unique in the venue and grow within an
        account, with gaps. An outage makes the stream silent, never an exception.
        """
        cursor = after
        yield StreamOpened(replays=True)
        while True:
            rows = await self._events_after(account, cursor)
            silent = rows and (await self._strikes("events", account)) is not None
            for row in rows:
                cursor = row["seq"]
                if not silent:
                    yield read_frame(cursor, row["payload"])
            if not rows:
                await self._clock.sleep(self._poll_ms / 1000)

    async def read_event(self, account: str, event_id: str, raw: str) -> VenueEvent:
        """See `Venue.read_event`."""
        return read_frame(int(event_id.removeprefix("paper-")), raw)

    async def _events_after(self, account: str, cursor: int) -> Sequence[Any]:
        try:
            async with self._pool.acquire() as conn:
                rows: Sequence[Any] = await conn.fetch(SQL["read_events"], account, cursor)
        except Exception as error:
            if outage_of(error) is None:
                raise
            return ()
        return rows

    async def _strikes(self, op: str, account: str) -> Fault | None:
        try:
            return (await self.faults.take(op, account, [""]))[0]
        except Exception as error:
            if outage_of(error) is None:
                raise
            return None

    # --- the venue's own life ------------------------------------------------------------------

    async def step(self) -> int:
        """Let time pass: late requests arrive, orders expire, trades settle, the tape moves books.

        Returns how many books and requests moved. Any number of workers may call it at any rate:
        what another one is stepping is skipped, what is not due is not touched.
        """
        try:
            return await self._desk.deliver(self._hash_body) + await self._desk.step()
        except Exception as error:
            if outage_of(error) is None:
                raise
            return 0

    async def register_market(
        self,
        condition_id: str,
        token_ids: Sequence[str],
        tick_micros: int,
        min_size_micros: int,
        *,
        fee_rate_ppm: int = 0,
    ) -> None:
        """Open the books of a market, made up from the seed; again: take over its new terms."""
        tokens = tuple(token_ids)
        market = PaperMarket(condition_id, tokens, tick_micros, min_size_micros, fee_rate_ppm)
        await self._desk.register(market)

    async def open_books(self, token_ids: Sequence[str]) -> None:
        """Make the books of tokens that nobody has registered, as their first order would."""
        try:
            await self._desk.open_books(token_ids)
        except Exception as error:
            if outage_of(error) is None:
                raise

    async def load_books(self, books: Mapping[str, tuple[Level, ...]]) -> list[str]:
        """Replace the outside liquidity of registered tokens (see `matching.parse_books`).

        Returns the tokens that have no book; theirs is not taken.
        """
        return await self._desk.load_books(books)

    async def _wait(self, struck: Sequence[Fault | None], which: str) -> None:
        ms = max((getattr(fault, which) for fault in struck if fault is not None), default=0)
        if ms:
            await self._clock.sleep(ms / 1000)


_LOST = Fault("lost_request")


def _carried_out(fault: Fault | None) -> bool:
    return fault is None or fault.kind in ("delay", "drop_answer")


def _answered(fault: Fault | None) -> bool:
    return fault is None or fault.kind == "delay"


def _venue_order(row: Any) -> VenueOrder:
    return VenueOrder(
        row["venue_order_id"],
        row["token_id"],
        Side(row["side"]),
        row["price_micros"],
        row["size_micros"],
        row["matched_micros"],
        order_status(row["status"]),
        row["status"],
    )


def _venue_trade(row: Any) -> VenueTrade:
    return VenueTrade(
        row["trade_id"],
        row["venue_order_id"],
        row["token_id"],
        row["size_micros"],
        row["price_micros"],
        TradeStatus(row["status"]),
        row["status"],
        row["is_maker"],
        row["matched_at_ms"],
        row["fee_micros"],
    )
