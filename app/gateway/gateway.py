"""The one way to a venue: place, cancel, replace, and the wanted set, behind the market mutex.

Nothing here can reach a venue. Orders are rows that a worker picks up, and the ledger's functions
decide in the transaction that writes them; so there is no way round a guard, in this process or
another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from app.errors import Code, DatabaseProblem, Refused
from app.gateway.desired import DesiredOrder
from app.gateway.evaluation import Applied, Evaluation
from app.gateway.mutex import Lease, Mutexes
from app.gateway.sized import with_sizing
from app.ledger import Cancelled, Intent, Ledger, OrderHandle, Refusal, ReplaceAsked
from app.observe.logs import Logger, Throttle, get_logger
from app.risk.sizing import Sized

DEFAULT_TTL_MS: Final = 10_000
"""How long a market stays locked after its holder died."""

_BURST: Final = (Code.BURST_GAP, Code.BURST_MINUTE, Code.DEFERRED)


class Locked(Refused):
    """Another evaluation of the market is under way; nothing was done."""


class Gateway:
    """Acts for one ledger. One per process is best: its tasks then see each other's holds at once.

    ``ttl_ms`` (10 to 60,000) is the lease of a market, renewed while an evaluation lasts. Lines of
    one kind about one market are logged at most every ``quiet_s`` seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        log: Logger | None = None,
        ttl_ms: int = DEFAULT_TTL_MS,
        quiet_s: float = 5.0,
    ) -> None:
        self.ledger: Final = ledger
        self.mutexes: Final = Mutexes(ledger.calls, ledger.account, ledger.ports, ttl_ms=ttl_ms)
        self._log = _default_log() if log is None else log
        self._throttle = Throttle(ledger.ports.clock, quiet_s)

    # ------------------------------------------------------------------------ orders

    async def place_order_with_guards(
        self, intent: Intent, *, sizing: Sized | None = None
    ) -> OrderHandle:
        """Check caps (and clamp), limiter, halts and balance, and reserve, in one commit.

        ``sizing`` says why it has its size; it is kept in the intent's context under ``sizing``.
        Raises `BadInput` for an intent above what was sized. Raises `Refused` with the ledger's
        code, nothing being reserved or placed then; ``LOCKED`` if the market is being evaluated and
        this intent is not part of it.
        """
        if sizing is not None:
            intent = with_sizing(intent, sizing)
        answer = await self.ledger.try_reserve(intent)
        if isinstance(answer, Refusal):
            self.tell_refused(intent.market, answer)
            raise answer.error()
        return OrderHandle(self.ledger, answer.order_id, answer)

    async def cancel_order(self, order_id: int, reason: str = "asked") -> Cancelled:
        """A protective cancel: asks for no mutex and is delayed by nothing of ours."""
        return await self.ledger.cancel(order_id, reason=reason)

    async def replace_order(self, order_id: int, intent: Intent) -> ReplaceAsked:
        """Cancel, wait for the proven final size, reserve what is left: see `Ledger.replace`."""
        return await self.ledger.replace(order_id, intent)

    async def set_desired_orders(
        self, market: str, desired: Sequence[DesiredOrder], **options: Any
    ) -> Applied:
        """`Evaluation.set_desired_orders` in an evaluation of its own. Raises `Locked`."""
        async with self.evaluation(market) as evaluation:
            return await evaluation.set_desired_orders(desired, **options)

    # ------------------------------------------------------------------------ the market mutex

    @asynccontextmanager
    async def evaluation(self, market: str, *, remember: bool = False) -> AsyncIterator[Evaluation]:
        """Hold ``market`` while it is evaluated and orders are placed; not reentrant.

        Raises `Locked` at once if another holds it: the tick is dropped. With ``remember`` that
        holder is asked for one run after it unlocks, however often it is asked: `run_tick` makes
        it.
        """
        lease = await self._take(market, remember)
        try:
            yield Evaluation(self, lease)
        finally:
            await self._release(lease)

    async def run_tick(
        self,
        market: str,
        evaluate: Callable[[Evaluation], Awaitable[object]],
        *,
        remember: bool = False,
    ) -> int:
        """Run ``evaluate`` inside an evaluation of ``market``; returns how often it ran, 0 if
        dropped.

        Runs once more after unlock if that was remembered meanwhile, by a task here or by any
        other process. What ``evaluate`` raises ends it; a remembered run is then left to the next
        tick.
        """
        runs = 0
        while True:
            try:
                lease = await self._take(market, remember or runs > 0)
            except Locked:
                return runs
            runs += 1
            try:
                await evaluate(Evaluation(self, lease))
            finally:
                await self._release(lease)
            if not lease.again:
                return runs

    async def _take(self, market: str, remember: bool) -> Lease:
        lease = await self.mutexes.take(market, remember=remember)
        if lease is None:
            self._tell("MARKET_LOCK_SKIPPED", market, reason=Code.LOCKED.value)
            raise Locked(
                Code.LOCKED,
                f"another evaluation of {market} is under way",
                not_done="this one was dropped" + (", and one run remembered" if remember else ""),
            )
        self._tell("MARKET_LOCK_ACQUIRED", market, term=lease.term)
        return lease

    async def _release(self, lease: Lease) -> None:
        lost = self.mutexes.is_lost(lease)
        try:
            again = await self.mutexes.release(lease)
        except DatabaseProblem as error:
            self._log.warning("MARKET_LOCK_UNRELEASED", market=lease.market, code=error.code.value)
            return
        self._tell("MARKET_LOCK_RELEASED", lease.market, term=lease.term, lost=lost, again=again)

    # ---------------------------------------------------------------- what an operator reads

    def tell_refused(self, market: str, refusal: Refusal) -> None:
        """Log what the limiter or the mutex refused; other refusals are the caller's to tell."""
        if refusal.code in _BURST:
            self._tell("BURST_BLOCKED", market, reason=refusal.code.value)
        elif refusal.code is Code.LOCKED:
            self._tell("MARKET_LOCK_SKIPPED", market, reason=Code.LOCKED.value)

    def _tell(self, event: str, market: str, **fields: Any) -> None:
        self._throttle.info(
            self._log, event, market, market=market, account=self.ledger.account, **fields
        )


class _Silent:
    """Says nothing."""

    def info(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...


def _default_log() -> Logger:
    """The process's structured log, or none: a bot that set up no logging gets nothing on its
    stdout.
    """
    return get_logger("gateway") if structlog.is_configured() else _Silent()
