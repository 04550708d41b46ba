"""The cancel path: its own queue, its own requests, never behind a placement.

No request waits for another: each account's requests, and the reads that follow, run by themselves.
"Cancel accepted" is not "cancelled": each answer is followed by a read of the order, and only that read
ends it. Until it ends, the ledger keeps the cancel due and this task sends it again.
"""

from __future__ import annotations

from collections import defaultdict
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
"""Within the smallest tier's cancel burst of 120 (polymarket.md 9.4)."""


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
            self._background.start(self._try(account, requests), name="cancel")
        return bool(claimed)

    async def drain(self) -> None:
        """Wait for the requests under way."""
        await self._background.drain()

    async def _try(self, account: str, requests: list[dict[str, Any]]) -> None:
        try:
            await self._cancel(account, requests)
        except DatabaseProblem as problem:
            # The cancels stay due in the ledger, and are sent again in a moment.
            self._log.warning(
                "CANCEL_NOT_RECORDED",
                account=account,
                orders=[request["order_id"] for request in requests],
                code=problem.code,
            )

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
            "raw": storable(outcome.raw),
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
