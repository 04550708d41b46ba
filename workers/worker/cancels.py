"""The cancel path: its own queue, its own requests, never behind a placement.

No request waits for another: each account's requests, and the reads that follow, run by themselves.
"Cancel accepted" is not "cancelled": each answer is followed by a read of the order, and only that read
ends it. Until it ends, the ledger keeps the cancel due and this task sends it again, the way that the ledger says.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from app.errors import DatabaseProblem
from app.ledger.calls import Item, storable
from app.venue.interface import (
    CancelAccepted,
    CancelNotListed,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    CancelUnknown,
)
from workers.worker.background import Background
from workers.worker.context import Context
from workers.worker.reading import read_orders

BATCH: Final = 100
"""Within the smallest tier's cancel burst of 120 (docs/venue.md 9.4)."""

READS_AT_ONCE: Final = 8
"""Of an account. Look-ups share one pool of connections with the comparison, so that a venue which does not answer
them must not fill it with those of cancels.
"""

_ANSWERED: Final = frozenset({"accepted", "refused", "not_listed"})

BY_ID: Final = "by id"
EVERYTHING: Final = "everything"


class Cancels:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._background = Background(context)
        self._reading: set[tuple[str, str]] = set()
        """Account and venue's id of what is being looked up: the next DELETE of it does not wait, nor look twice."""
        self._at_once: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(READS_AT_ONCE)
        )
        self._log = context.named("canceller")

    async def one_pass(self) -> bool:
        """Send what is due, and wait for none of it; whether there was anything."""
        self._background.check()
        context = self._context
        if not context.shared.known:
            return False
        claimed: list[dict[str, Any]] = await context.calls.value(
            "claim_cancels", context.incarnation, tuple(sorted(context.shared.known)), BATCH
        )
        context.reached("cancel.claim.after")
        by_account: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for request in claimed:
            by_account[request["account"]].append(request)
        for account, requests in by_account.items():
            for way, some in _ways(requests).items():
                self._background.start(self._try(account, way, some), name="cancel")
        return bool(claimed)

    async def drain(self, within_s: float) -> None:
        """Wait for the requests under way, at most ``within_s``: what is not answered stays due."""
        await self._background.drain(within_s)

    async def _try(self, account: str, way: str, requests: list[dict[str, Any]]) -> None:
        try:
            await self._cancel(account, way, requests)
        except DatabaseProblem as problem:
            # The cancels stay due in the ledger, and are sent again in a moment.
            self._log.warning(
                "CANCEL_NOT_RECORDED",
                account=account,
                orders=[request["order_id"] for request in requests],
                code=problem.code,
            )

    async def _cancel(self, account: str, way: str, requests: list[dict[str, Any]]) -> None:
        context = self._context
        started_ns = context.ports.clock.monotonic_ns()
        context.reached("cancel.send.before")
        outcomes = await self._send(
            account, way, [request["venue_order_id"] for request in requests]
        )
        context.reached("cancel.send.after")
        took_ms = context.elapsed_ms(started_ns)
        items = [
            self._as_record(request, outcome, took_ms) | {"wide": way != BY_ID}
            for request, outcome in zip(requests, outcomes, strict=True)
        ]
        await context.calls.items("record_cancel_answers", items)
        context.reached("cancel.record.after")
        for request, item in zip(requests, items, strict=True):
            self._log.info(
                "CANCEL_ANSWERED",
                account=account,
                order=request["order_id"],
                answer=item["answer"],
                tries=request["tries"],
                latency_ms=took_ms,
            )
        await self._look(
            account,
            {
                request["venue_order_id"]: (request["order_id"], item["answer"] in _ANSWERED)
                for request, item in zip(requests, items, strict=True)
            },
        )

    async def _look(self, account: str, orders: dict[str, tuple[int, bool]]) -> None:
        """Read each, some at a time; ``orders``: by the venue's id ours, and whether its DELETE was answered."""
        ours = [one for one in orders if (account, one) not in self._reading]
        lanes = [ours[n::READS_AT_ONCE] for n in range(min(READS_AT_ONCE, len(ours)))]
        self._reading.update((account, one) for one in ours)
        try:
            ended = await asyncio.gather(
                *(self._read(account, {one: orders[one] for one in lane}) for lane in lanes),
                return_exceptions=True,
            )
        finally:
            self._reading.difference_update((account, one) for one in ours)
        for problem in ended:
            if problem is not None:
                raise problem

    async def _read(self, account: str, orders: dict[str, tuple[int, bool]]) -> None:
        """What the look-ups behind a DELETE showed, booked and counted."""
        calls = self._context.calls
        async with self._at_once[account]:
            read = await read_orders(self._context, account, list(orders))
        if unseen := [order for one, (order, _) in orders.items() if one in read.absent]:
            # Also where the DELETE had no answer: a wider one would end other orders, and not this one.
            await calls.value("cancels_unseen", tuple(unseen))
        seen = orders.keys() - {*read.absent, *read.unread}
        if futile := [
            order for one, (order, answered) in orders.items() if answered and one in seen
        ]:
            await calls.value("cancels_futile", tuple(futile))

    async def _send(self, account: str, way: str, ids: list[str]) -> Sequence[CancelOutcome]:
        venue = self._context.venue
        if way == BY_ID:
            return await venue.cancel(account, ids)
        self._log.error("CANCEL_ESCALATED", account=account, to=way, count=len(ids))
        if way == EVERYTHING:
            return await venue.cancel_all(account, ids)
        return await venue.cancel_market(account, way, ids)

    def _as_record(self, request: dict[str, Any], outcome: CancelOutcome, took_ms: int) -> Item:
        item: Item = {
            "order_id": request["order_id"],
            "incarnation": str(self._context.incarnation),
            "raw": storable(outcome.raw),
            "took_ms": took_ms,
        }
        match outcome:
            case CancelAccepted():
                return item | {"answer": "accepted"}
            case CancelRefused():
                return item | {"answer": "refused"}
            case CancelNotSent():
                put_off = {"retry_after_ms": outcome.retry_after_ms, "refused": outcome.refused}
                return item | {"answer": "not_sent"} | put_off
            case CancelNotListed():
                return item | {"answer": "not_listed"}
            case CancelUnknown():
                return item | {"answer": "unknown"}


def _ways(requests: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """How each is sent: by id, with its market (then the condition id is the way), or with everything."""
    ways: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for request in requests:
        names = {"id": BY_ID, "market": request["condition_id"], "all": EVERYTHING}
        ways[names[request["way"]]].append(request)
    return ways
