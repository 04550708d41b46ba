"""Follows the venue's user stream: every frame is stored before it is applied.

One worker follows an account's stream at a time (a lease); what it stored and did not apply is applied
by whoever comes next. Applying twice changes nothing.

A stream that replays nothing is believed only after a comparison with REST behind each connection, and
only as long as it tells of the orders that were accepted meanwhile: a socket that answers every ping may
have stopped carrying data hours ago. Until then nothing is placed for the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from app.ledger.calls import Item, refused, storable
from app.venue.interface import (
    OrderEvent,
    StreamLost,
    StreamOpened,
    TradeEvent,
    UnreadEvent,
    VenueEvent,
    VenueOrderStatus,
)
from workers.reconcile import Reconciler
from workers.worker.context import Context
from workers.worker.loop import pause
from workers.worker.pulse import Pulse
from workers.worker.reading import book_trades, observe, read_orders

_ALIVE: Final = (VenueOrderStatus.LIVE, VenueOrderStatus.DELAYED)
MOST_AT_ONCE: Final = 200
LEASE_MS: Final = 4_000
RETRY_OLDER_MS: Final = 5_000
"""A frame younger than this is just being applied by the task that stored it."""

GRACE_MS: Final = 10_000
"""How long placements go on after the stream was last known good."""

TOLD_WITHIN_MS: Final = 15_000
"""An accepted order of which the stream has not told by then shows that it carries no data."""


class Stream:
    """The stream of one account."""

    def __init__(self, context: Context, account: str) -> None:
        self._context = context
        self._account = account
        self._lease = f"stream:{account}"
        self._pulse = Pulse(context, account, "stream")
        self._failures = 0
        self._term = 0
        self._opened_ns: int | None = None
        self._caught_up = False
        self._replays = False
        self._log = context.named("stream").bind(account=account)

    async def run(self) -> None:
        """Follow whenever the lease is ours; until the worker stops."""
        context = self._context
        while not context.shared.stopping.is_set():
            try:
                if not await self._hold_lease():
                    await pause(context, LEASE_MS // 3)
                    continue
                await self._follow()
            except StreamLost as lost:
                await self._failed("STREAM_LOST", problem=str(lost))
            except DatabaseProblem as problem:
                await self._failed("STREAM_PAUSED", code=problem.code, problem=problem.wrong)

    async def _failed(self, event: str, **fields: object) -> None:
        self._failures += 1
        self._log.warning(event, failures=self._failures, **fields)
        await pause(self._context, self._context.backoff_ms(self._failures, most_ms=3_000))

    async def _hold_lease(self) -> bool:
        term = await self._context.calls.value(
            "take_lease", self._lease, self._context.incarnation, LEASE_MS
        )
        if term is not None and term != self._term:
            await self._pulse.take(term)
            self._term = term
        return term is not None

    async def _follow(self) -> None:
        context = self._context
        await self.apply_waiting()
        after = await context.calls.value("move_cursor", self._account, "stream", 0)
        queue: asyncio.Queue[VenueEvent] = asyncio.Queue(maxsize=4 * MOST_AT_ONCE)

        async def read() -> None:
            async for event in context.venue.events(self._account, after=after):
                if isinstance(event, StreamOpened):
                    self._begin(event)
                else:
                    await queue.put(event)

        self._opened_ns, self._caught_up = None, False
        reader = context.ports.tasks.spawn(read(), name="stream-read")
        keeper = context.ports.tasks.spawn(self._keep_lease(), name="stream-lease")
        taker = context.ports.tasks.spawn(self._take(queue), name="stream-take")
        behind = context.ports.tasks.spawn(self._catch_up(), name="stream-catch-up")
        stop = context.ports.tasks.spawn(context.shared.stopping.wait(), name="stream-stop")
        tasks = (reader, keeper, taker, behind, stop)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_lease(self) -> None:
        """Ends when the lease is somebody else's. Meanwhile, dead letters that are to be tried again."""
        while await self._hold_lease():
            await self._say_alive()
            await self.apply_waiting(RETRY_OLDER_MS)
            await self._context.ports.clock.sleep(LEASE_MS / 3000)

    # --- whether it may be believed ---------------------------------------------------------------

    def _begin(self, opened: StreamOpened) -> None:
        self._log.info("STREAM_OPENED", replays=opened.replays)
        self._opened_ns = self._context.ports.clock.monotonic_ns()
        self._replays = self._caught_up = opened.replays

    async def _catch_up(self) -> None:
        """Compare behind each connection until that is complete; then stay, so that only an end ends the rest."""
        context, tries = self._context, 0
        while True:
            if self._opened_ns is not None and not self._caught_up:
                report = await Reconciler(context, self._account).run("reconnect", second_look=True)
                self._caught_up = report.result != "incomplete"
                tries = 0 if self._caught_up else tries + 1
                if tries:
                    self._log.warning("CATCH_UP_INCOMPLETE", reason=report.reason, tries=tries)
            await context.ports.clock.sleep(context.backoff_ms(tries, most_ms=5_000) / 1000)

    async def _say_alive(self) -> None:
        """Tell the ledger that the stream is good, or end it if it shows that it carries no data."""
        if self._opened_ns is None or not self._caught_up or self._replays:
            return
        asked_ns = self._context.ports.clock.monotonic_ns()
        open_ms = self._context.elapsed_ms(self._opened_ns)
        untold = await self._context.calls.value(
            "untold_orders", self._account, open_ms, TOLD_WITHIN_MS
        )
        if untold:
            raise StreamLost(f"{untold} accepted orders were never told of: it carries no data")
        await self._pulse.tell(asked_ns)

    async def _take(self, queue: asyncio.Queue[VenueEvent]) -> None:
        context = self._context
        while True:
            events = [await queue.get()]
            while len(events) < MOST_AT_ONCE and not queue.empty():
                events.append(queue.get_nowait())
            context.reached("event.store.before")
            await context.calls.value(
                "store_events",
                self._account,
                [{"event_id": event.event_id, "raw": storable(event.raw)} for event in events],
            )
            context.reached("event.store.after")
            await self.apply(events)
            position = max(event.position for event in events)
            if position:
                await context.calls.value("move_cursor", self._account, "stream", position)
            self._failures = 0

    async def apply(self, events: Sequence[VenueEvent]) -> int:
        """Book the events; one that cannot be booked is kept, named in a dead letter, and holds up none.

        Returns how many need not be looked at again.
        """
        waiting: set[str] = set()
        problems = {
            event.event_id: f"unreadable: {event.reason}"
            for event in events
            if isinstance(event, UnreadEvent)
        }
        told = [event for event in events if not isinstance(event, UnreadEvent)]
        try:
            problems |= await self._book(told, waiting)
        except BadInput:
            for event in told:
                problems |= await self._book_one(event, waiting)
        fine = [one.event_id for one in events if one.event_id not in problems.keys() | waiting]
        if fine:
            await self._mark(fine)
        for event_id, problem in problems.items():
            self._log.error("EVENT_NOT_APPLIED", event_id=event_id, problem=problem)
            await self._mark([event_id], problem)
        self._context.reached("event.apply.after")
        return len(fine) + len(problems)

    async def _book_one(self, event: VenueEvent, waiting: set[str]) -> dict[str, str]:
        try:
            return await self._book([event], waiting)
        except BadInput as error:
            return {event.event_id: str(error)}

    async def apply_waiting(self, older_ms: int = 0) -> None:
        """What was stored and not applied before a death, and what an operator asked to try again."""
        while True:
            stored = await self._context.calls.value(
                "waiting_events", self._account, MOST_AT_ONCE, older_ms
            )
            events = [event for one in stored if (event := await self._read(one)) is not None]
            applied = await self.apply(events) if events else 0
            # A full page may have more behind it; one of which nothing could be read is left for later.
            if len(stored) < MOST_AT_ONCE or applied == 0:
                return

    async def _read(self, stored: dict[str, Any]) -> VenueEvent | None:
        try:
            return await self._context.venue.read_event(
                self._account, stored["event_id"], stored["raw"]
            )
        except (ValueError, KeyError, TypeError, LedgerError) as error:
            self._log.error(
                "EVENT_UNREADABLE", event_id=stored["event_id"], problem=str(error)[:200]
            )
            await self._mark([stored["event_id"]], f"unreadable: {error}")
            return None

    async def _book(self, events: Sequence[VenueEvent], waiting: set[str]) -> dict[str, str]:
        """Event ids to what kept them from being booked; adds to ``waiting`` those to be tried again."""
        orders = [event for event in events if isinstance(event, OrderEvent)]
        trades = [event for event in events if isinstance(event, TradeEvent)]
        problems: dict[str, str] = {}
        if orders:
            seen = [event.order for event in orders]
            answers = await observe(self._context, self._account, seen, source="stream")
            problems |= _refusals(orders, answers)
            foreign = any(one.get("code") == Code.UNKNOWN_ORDER for one in answers)
            if foreign and self._context.settings.foreign_orders == "cancel":
                # A comparison ends it, and not only the next regular one.
                self._context.shared.compare_soon.add(self._account)
            # Over, says the stream; only a read by id proves the final size.
            over = [order.venue_order_id for order in seen if order.status not in _ALIVE]
            read = await read_orders(self._context, self._account, list(dict.fromkeys(over)))
            # Not read: the event stays unapplied and is taken up again.
            waiting |= {one.event_id for one in orders if one.order.venue_order_id in read.unread}
        if trades:
            booked = await book_trades(self._context, self._account, [one.trade for one in trades])
            problems |= _refusals(trades, booked)
        return problems

    async def _mark(self, event_ids: Sequence[str], problem: str | None = None) -> None:
        await self._context.calls.value("mark_events", self._account, tuple(event_ids), problem)


def _refusals(events: Sequence[VenueEvent], answers: Sequence[Item]) -> dict[str, str]:
    """What could not be booked. An order that no intent explains is booked as such: the account is halted."""
    return {
        event.event_id: f"{answer['code']}: {answer['detail']}"
        for event, answer in zip(events, answers, strict=True)
        if refused(answer) and answer["code"] != Code.UNKNOWN_ORDER
    }
