"""The market mutex: one evaluation per market at a time, over tasks, processes and machines.

The lease is a row of the database and that row is the truth. This module keeps it alive while it is
held, knows by its own monotonic clock when it can no longer count on it, and spares the database
the question where the holder is a task of this very process.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from app.ledger.answers import refusal_of
from app.ledger.calls import LedgerCalls

RENEWALS_PER_LEASE: Final = 3
"""Two renewals in a row may fail before the lease runs out."""


class Lease:
    """The hold on one market. ``term`` grows with each holder; the ledger refuses an old one."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.term = 0
        self.again = False
        """Somebody found the market locked and asked for one run after unlock."""
        self.renewer: asyncio.Task[Any] | None = None
        self.valid_until_ns = 0
        self.ended = False


class Mutexes:
    """The leases of one process for one account."""

    def __init__(self, calls: LedgerCalls, account: str, ports: Ports, *, ttl_ms: int) -> None:
        self._calls = calls
        self._account = account
        self._ports = ports
        self._ttl_ms = ttl_ms
        self._held: dict[str, Lease] = {}

    def is_lost(self, lease: Lease) -> bool:
        """Whether the hold ended, or can no longer be counted on: nothing renewed it in time."""
        return lease.ended or self._ports.clock.monotonic_ns() >= lease.valid_until_ns

    async def take(self, market: str, *, remember: bool) -> Lease | None:
        """The hold on ``market``, or None while another has it.

        ``remember`` asks that holder for one run after it unlocks, however often it is asked.
        Raises `Refused` for a market or account that is not there or not granted.
        """
        here = self._held.get(market)
        if here is not None and not (here.term and self.is_lost(here)):
            here.again |= remember
            return None
        lease = self._held[market] = Lease(market)
        taking = self._ports.tasks.spawn(self._ask(lease, remember), name="ledger mutex take")
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The question may be answered yes all the same: nobody would hold the market then.
            self._ports.tasks.spawn(self._give_back(taking, lease), name="ledger mutex return")
            raise
        except BaseException:
            self._forget(lease)
            raise
        if not taken:
            self._forget(lease)
            return None
        lease.renewer = self._ports.tasks.spawn(self._renew(lease), name="ledger mutex renewal")
        return lease

    async def release(self, lease: Lease) -> bool:
        """Unlock. Whether one run was asked for meanwhile.

        Raises `DatabaseProblem` if the database does not answer; the lease runs out by itself then.
        """
        if lease.renewer is not None:
            lease.renewer.cancel()
        try:
            if not lease.ended:
                answer = await self._calls.value(
                    "release_mutex", self._account, lease.market, lease.term
                )
                lease.again |= bool(answer["again"])
        finally:
            lease.ended = True
            self._forget(lease)
        return lease.again

    async def _ask(self, lease: Lease, remember: bool) -> bool:
        while True:
            asked_ns = self._ports.clock.monotonic_ns()
            answer = await self._calls.value(
                "take_mutex",
                self._account,
                lease.market,
                self._ports.rng.uuid(),
                self._ttl_ms,
                remember,
            )
            refusal = refusal_of(answer)
            if refusal is None:
                lease.term = int(answer["term"])
                lease.valid_until_ns = asked_ns + self._ttl_ms * 1_000_000
                return True
            if refusal.code is not Code.LOCKED:
                raise refusal.error()
            if remember or not lease.again:
                return False
            # A task of this process was told meanwhile that its run is remembered: pass it on.
            remember = True

    async def _renew(self, lease: Lease) -> None:
        while not self.is_lost(lease):
            await self._ports.clock.sleep(self._ttl_ms / 1000 / RENEWALS_PER_LEASE)
            asked_ns = self._ports.clock.monotonic_ns()
            try:
                held = await self._calls.value(
                    "renew_mutex", self._account, lease.market, lease.term, self._ttl_ms
                )
            except DatabaseProblem:
                continue  # the lease may outlive the trouble; if not, is_lost says so
            if not held:
                break
            lease.valid_until_ns = asked_ns + self._ttl_ms * 1_000_000
        lease.ended = True
        self._forget(lease)

    async def _give_back(self, taking: asyncio.Task[bool], lease: Lease) -> None:
        await asyncio.wait({taking})
        if not taking.cancelled() and taking.exception() is None and taking.result():
            await self.release(lease)
        self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        if self._held.get(lease.market) is lease:
            del self._held[lease.market]
