"""What a worker knows of the venue's condition, kept in the database so that every worker knows it: rate
budgets, modes, and each exchange as it was.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from app.clock import Clock
from app.errors import BadInput, DatabaseProblem
from app.ledger.calls import LedgerCalls, storable
from app.observe.logs import Logger
from app.venue.polymarket.limits import Kind, Tier
from app.venue.polymarket.transport import Sent
from app.venue.polymarket.wire import Exchange, Phase

KEPT_HEADERS: Final = (
    "date",
    "retry-after",
    "content-type",
    "poly-ratelimit-remaining",
    "poly-ratelimit-reset",
    "poly-ratelimit-tier",
    "poly-ratelimit-warning",
)
MOST_WAITING: Final = 5_000
MOST_WAITING_CHARS: Final = 32 * 1024 * 1024
MOST_KEPT: Final = 16_384
"""Characters of a body: what the table keeps of it. An answer of megabytes must not wait whole for a database."""

MOST_AT_ONCE: Final = 100
UNPACED_MS: Final = 500
"""Before an order is tried again whose budget could not be asked for."""

KEEP_HOURS: Final = 72
PRUNE_EVERY: Final = 3_600
"""Passes."""


class SharedBudget:
    """`Budget` over the ledger. Without a database cancels go unpaced: nothing of ours may hold them back."""

    def __init__(self, calls: LedgerCalls) -> None:
        self._calls = calls

    async def spend(self, signer: str, kind: Kind, count: int, tier: Tier) -> int:
        per_second, burst = tier.rate(kind)
        try:
            wait: int = await self._calls.value("spend", signer, kind, count, per_second, burst)
        except DatabaseProblem:
            # The attempt is open by now: to say "later" records it as not sent, an error would leave its fate open.
            return 0 if kind == "cancels" else UNPACED_MS
        return wait

    async def pause(self, signer: str, kind: Kind, for_ms: int) -> None:
        try:
            await self._calls.value("pause_budget", signer, kind, for_ms)
        except DatabaseProblem:
            # The answer in hand matters more, and the venue will say it again.
            return

    async def owe(self, signer: str, kind: Kind, count: int) -> None:
        try:
            await self._calls.value("owe_budget", signer, kind, count)
        except DatabaseProblem:
            # Counted too little, the next request may be refused with a 429, and that pauses us.
            return


class ExchangeLog:
    """Requests and raw answers on their way into the database: noted at once, written in batches, never in the way."""

    def __init__(
        self, calls: LedgerCalls, clock: Clock, log: Logger, incarnation: str, account: str
    ) -> None:
        """``account``: whose the requests are that nobody signs, such as the venue's time."""
        self._calls = calls
        self._clock = clock
        self._log = log
        self._incarnation = incarnation
        self._account = account
        self._waiting: deque[dict[str, Any]] = deque()
        self._chars = 0
        self._at_once = MOST_AT_ONCE
        self._lost = 0
        self._passes = 0

    def note(self, exchange: Exchange, sent: Sent) -> None:
        """The transport's ``record``."""
        self._add(
            {
                "noted_ns": self._clock.monotonic_ns(),
                "account": sent.account or self._account,
                "incarnation": self._incarnation,
                "method": sent.method,
                "path": storable(sent.path),
                "query": storable(sent.query[:MOST_KEPT]),
                "request": _kept(sent.body),
                "phase": exchange.phase.value,
                "status": exchange.status,
                "headers": {
                    name: storable(exchange.headers[name])
                    for name in KEPT_HEADERS
                    if name in exchange.headers
                },
                "answer": _kept(exchange.body),
                "problem": storable(exchange.problem),
                "took_ms": exchange.took_ms,
            }
        )
        if exchange.phase is not Phase.DONE or exchange.status >= 400:
            self._log.warning(
                "VENUE_ANSWERED_BADLY",
                endpoint=exchange.endpoint.value,
                account=sent.account,
                phase=exchange.phase.value,
                status=exchange.status,
                problem=exchange.problem,
                latency_ms=exchange.took_ms,
            )

    def _add(self, one: dict[str, Any]) -> None:
        self._waiting.append(one)
        self._chars += _size(one)
        while len(self._waiting) > MOST_WAITING or self._chars > MOST_WAITING_CHARS:
            self._chars -= _size(self._waiting.popleft())
            self._lost += 1

    async def one_pass(self) -> bool:
        """Write what waits; whether there is more. What the database does not take stays waiting, unless it
        refuses it for itself: that is counted as lost and holds up none of the rest.
        """
        if self._passes % PRUNE_EVERY == 0:
            # One bounded deletion after another, until nothing is left that is too old.
            while await self._calls.value("prune_exchanges", KEEP_HOURS):
                pass
        self._passes += 1
        count = min(self._at_once, len(self._waiting))
        batch = [self._waiting[place] for place in range(count)]
        if not batch:
            return False
        # What is noted meanwhile may push the oldest out: they are taken off by what they are.
        try:
            await self._write(batch)
            self._at_once = MOST_AT_ONCE
        except DatabaseProblem:
            self._at_once = max(1, self._at_once // 2)
            raise
        except BadInput as error:
            if len(batch) > 1:
                self._at_once = max(1, len(batch) // 2)
                return True
            self._log.error("EXCHANGE_REFUSED", path=batch[0]["path"], problem=error.wrong)
            self._lost += 1
        self._take_off(batch)
        if self._lost:
            self._log.error("EXCHANGES_LOST", count=self._lost)
            self._lost = 0
        return bool(self._waiting)

    def _take_off(self, batch: list[dict[str, Any]]) -> None:
        for one in batch:
            if self._waiting and self._waiting[0] is one:
                self._chars -= _size(self._waiting.popleft())

    async def _write(self, batch: list[dict[str, Any]]) -> None:
        now_ns = self._clock.monotonic_ns()
        items = [
            {name: value for name, value in one.items() if name != "noted_ns"}
            | {"age_ms": (now_ns - one["noted_ns"]) // 1_000_000}
            for one in batch
        ]
        await self._calls.value("record_exchanges", items)


def _kept(body: bytes) -> str:
    """As much of a body as the table takes, as text."""
    # Cut as bytes first: a character takes one at least.
    return storable(body[: 4 * MOST_KEPT].decode("utf-8", "backslashreplace")[:MOST_KEPT])


def _size(one: dict[str, Any]) -> int:
    return len(one["query"]) + len(one["request"]) + len(one["answer"])
