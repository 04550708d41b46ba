"""Claims placements lane by lane and hands them to the send path in batches of the venue's size."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from app.errors import DatabaseProblem
from workers.worker.background import Background
from workers.worker.context import Context
from workers.worker.sending import Sender, Work, timed

BATCH: Final = 15
"""Orders per request (docs/venue.md 3.3)."""

IN_FLIGHT: Final = 4
"""Requests under way at once. Many simultaneous posts time out (docs/venue.md 12, row 4)."""


class Placements:
    def __init__(self, context: Context, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._background = Background(context)

    async def one_pass(self) -> bool:
        """Claim what is ready for accounts that are ready; whether there was anything."""
        self._background.check()
        context = self._context
        accounts = tuple(sorted(context.shared.ready))
        if not accounts:
            return False
        async with self._slots:
            asked_ns = context.ports.clock.monotonic_ns()
            claimed: list[Work] = await context.calls.value(
                "claim_placements",
                context.incarnation,
                accounts,
                context.lease_ms,
                BATCH * IN_FLIGHT,
            )
        context.reached("claim.after")
        # From here on these are being worked on, also those that still wait for a slot.
        context.shared.holding |= {work["order_id"] for work in claimed}
        by_account: dict[str, list[Work]] = defaultdict(list)
        for work in timed(claimed, asked_ns):
            by_account[work["account"]].append(work)
        for account, works in by_account.items():
            for start in range(0, len(works), BATCH):
                await self._slots.acquire()
                self._background.start(
                    self._send(account, works[start : start + BATCH]), name="send"
                )
        return bool(claimed)

    async def _send(self, account: str, works: list[Work]) -> None:
        try:
            await self._sender.send(account, works)
        except DatabaseProblem as problem:
            # Before the attempt was opened: nothing was sent, and the claim lapses by itself.
            self._context.named("sender").warning(
                "SEND_GIVEN_UP",
                orders=[work["order_id"] for work in works],
                code=problem.code,
                problem=problem.wrong,
            )
        finally:
            self._context.shared.holding -= {work["order_id"] for work in works}
            self._slots.release()

    async def drain(self, within_s: float) -> None:
        """Wait for what is in flight, at most ``within_s``: its outcomes are recorded when it is done."""
        await self._background.drain(within_s)
