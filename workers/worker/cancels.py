"""The cancel path: its own queue, its own requests, never behind a placement.

No request waits for another: each account's requests, and the reads that follow, run by themselves.
"Cancel accepted" is not "cancelled": each answer is followed by a read of the order, and only that read
ends it. Until it ends, the ledger keeps the cancel due and this task sends it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from app.errors import DatabaseProblem
from app.ledger.calls import Item, storable
from app.venue.interface import (
    CancelAccepted,
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

MARKET_AFTER: Final = 5
ALL_AFTER: Final = 10
"""Tries in vain before the whole market, and then everything of the account, is cancelled: an order that
cannot be cancelled by its id is worth more worry than what rests beside it.
"""


BY_ID: Final = "by id"
EVERYTHING: Final = "everything"


class Cancels:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._background = Background(context)
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
            self._as_record(request, outcome, took_ms)
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
        read = await read_orders(
            context, account, [request["venue_order_id"] for request in requests]
        )
        answered = [
            (request["order_id"], request["venue_order_id"])
            for request, item in zip(requests, items, strict=True)
            if item["answer"] in ("accepted", "refused")
        ]
        if unseen := [one for one, venue_id in answered if venue_id in read.absent]:
            await context.calls.value("cancels_unseen", tuple(unseen))
        if seen := [one for one, venue_id in answered if venue_id not in read.absent + read.unread]:
            await context.calls.value("cancels_futile", tuple(seen))

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
            case CancelUnknown():
                return item | {"answer": "unknown"}


def _ways(requests: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """How each is sent: by id, with its market (then the condition id is the way), or with everything."""
    ways: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for request in requests:
        tries = request["futile_tries"]
        way = BY_ID if tries < MARKET_AFTER else request["condition_id"]
        ways[way if tries < ALL_AFTER else EVERYTHING].append(request)
    return ways
