"""The cancel path: its own queue, its own requests, never behind a placement.

"Cancel accepted" is not "cancelled": each answer is followed by a read of the order, and only that read
ends it. Until it ends, the ledger keeps the cancel due and this task sends it again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, Final

from app.ledger.calls import Item
from app.venue.interface import (
    CancelAccepted,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    CancelUnknown,
)
from workers.worker.context import Context
from workers.worker.reading import read_orders

BATCH: Final = 100
"""Within the smallest tier's cancel burst of 120 (polymarket.md 9.4)."""


class Cancels:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("canceller")

    async def one_pass(self) -> bool:
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
        await asyncio.gather(
            *(self._cancel(account, requests) for account, requests in by_account.items())
        )
        return bool(claimed)

    async def _cancel(self, account: str, requests: list[dict[str, Any]]) -> None:
        context = self._context
        started_ns = context.ports.clock.monotonic_ns()
        context.reached("cancel.send.before")
        outcomes = await context.venue.cancel(
            account, [request["venue_order_id"] for request in requests]
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
        await read_orders(context, account, [request["venue_order_id"] for request in requests])

    def _as_record(self, request: dict[str, Any], outcome: CancelOutcome, took_ms: int) -> Item:
        item: Item = {
            "order_id": request["order_id"],
            "incarnation": str(self._context.incarnation),
            "raw": outcome.raw,
            "took_ms": took_ms,
        }
        match outcome:
            case CancelAccepted():
                return item | {"answer": "accepted"}
            case CancelRefused():
                return item | {"answer": "refused"}
            case CancelNotSent():
                return item | {"answer": "not_sent", "retry_after_ms": outcome.retry_after_ms}
            case CancelUnknown():
                return item | {"answer": "unknown"}
