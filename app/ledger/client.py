"""The ledger as a bot sees it: reserve, await, cancel, look. Ten lines are enough to trade through
it.

Everything that decides is in the database; this class carries, shares commits, waits and wakes. A
bot may place orders through it directly; one that evaluates a market before it places should use
`app.gateway.Gateway`, which holds the market meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Final, Literal

from app.clock import Ports
from app.db.connect import check_version, open_pool
from app.db.revisions import check_schema
from app.errors import BadInput, Code, Refused
from app.ledger.answers import (
    Admission,
    Cancelled,
    OrderView,
    Refusal,
    ReplaceAsked,
    ReplacementView,
    admission_of,
    as_refusal,
    unwrapped,
)
from app.ledger.calls import Item, LedgerCalls
from app.ledger.handles import OrderHandle
from app.ledger.intents import Intent
from app.ledger.shared_commits import MOST_PER_CALL, Request, SharedCommits
from app.ledger.waiting import Until, Waiting, replacement_ended
from app.ledger.wake import WakeUps

MOST_PER_PAGE: Final = 1000
"""Orders that ``ledger.standing_orders`` answers at once."""

HaltScope = Literal["global", "account", "group", "market"]


class Ledger:
    """One account's view of the ledger. Safe for concurrent use by the tasks of one event loop.

    Open it with `Ledger.open`. Methods raise `DatabaseProblem` when the database cannot be reached
    or does not fit, `BadInput` for what cannot be understood, and `Refused` for what the ledger
    will not do.
    """

    def __init__(
        self, calls: LedgerCalls, *, account: str, ports: Ports, pool_size: int = 4
    ) -> None:
        self.calls: Final = calls
        self.account: Final = account
        self.ports: Final = ports
        shared = max(1, min(4, pool_size // 2))
        # One connection is left for cancels, look-ups and wake-ups: a protective cancel never
        # queues behind reservations.
        self.commits: Final = SharedCommits(
            self._send, ports, calls=shared, patient=max(1, pool_size - shared - 1)
        )
        self.wake: Final = WakeUps(self._notify, ports)
        self.waiting: Final = Waiting(self.orders, ports)
        self._sets = count(1)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, account: str = "main", ports: Ports | None = None, pool_size: int = 4
    ) -> AsyncIterator[Ledger]:
        """Connect to ``url`` as ``account``'s trader; check server and schema first.

        ``pool_size`` connections (2 or more) serve any number of concurrent callers. On leaving,
        what was asked for is still answered; orders are not touched.
        """
        if pool_size < 2:
            raise BadInput(
                Code.BAD_SETTING,
                f"pool_size is {pool_size}, and a ledger needs 2 connections or more",
                not_done="no connection was made",
                next_step="leave one for cancels: pool_size=2",
            )
        pool = await open_pool(url, role_hint=f"client {account}", max_size=pool_size)
        try:
            async with pool.acquire() as connection:
                await check_version(connection)
                await check_schema(connection)
            ledger = cls(
                LedgerCalls(pool),
                account=account,
                ports=ports or Ports.system(),
                pool_size=pool_size,
            )
            try:
                yield ledger
            finally:
                await ledger.close()
        finally:
            await pool.close()

    async def close(self) -> None:
        """Answer what is under way, send the last wake-up, end the waiting. `open` does this."""
        await self.commits.drain()
        await self.waiting.close()
        await self.wake.close()

    # ---------------------------------------------------------------------------- reserving

    async def reserve_pending(self, intent: Intent) -> Admission:
        """Reserve one order, durably. After it returns the capacity is taken for every process.

        Raises `Refused` with the ledger's code (``CAP_OUTCOME``, ``BURST_GAP``, ``HALTED``,
        ``OFF_TICK``, …); nothing is written then, and the key stays free.
        """
        answer = await self.try_reserve(intent)
        if isinstance(answer, Refusal):
            raise answer.error()
        return answer

    async def try_reserve(self, intent: Intent) -> Admission | Refusal:
        """As `reserve_pending`, with the refusal as a value."""
        (answer,) = await self.try_reserve_many([intent])
        return answer

    async def try_reserve_many(self, intents: Sequence[Intent]) -> list[Admission | Refusal]:
        """Reserve up to 64 orders in one commit; each is admitted or refused by itself, in order.

        Intents with equal ``set_id`` are one unit for the minimum gap and count singly for the
        minute.
        """
        if len(intents) > MOST_PER_CALL:
            raise BadInput(
                Code.BAD_REQUEST,
                f"{len(intents)} intents were given at once, and {MOST_PER_CALL} can travel together",
                not_done="nothing was reserved",
                next_step="give them in several calls",
            )
        answers = self._requests(intents)
        requests = [request for request in answers if not isinstance(request, Refusal)]
        try:
            items = iter(await self.commits.ask(requests) if requests else ())
        except BadInput as error:
            return [as_refusal(error)] * len(intents)
        told = [one if isinstance(one, Refusal) else admission_of(next(items)) for one in answers]
        if any(isinstance(one, Admission) and not one.replay for one in told):
            self.wake.ring()
        return told

    def handle(self, order_id: int) -> OrderHandle:
        """An order to hold on to: await it, look at it, cancel it."""
        return OrderHandle(self, order_id)

    # -------------------------------------------------------------------- cancelling and replacing

    async def cancel(
        self, order_id: int, *, reason: str = "asked", mutex_term: int | None = None
    ) -> Cancelled:
        """Ask for a cancel. An order never sent ends at once; else the worker cancels it at the
        venue.

        Only a cancel that belongs to an evaluation names a ``mutex_term``; without it nothing
        delays it. Raises `Refused` with ``UNKNOWN_ORDER``, ``NOT_GRANTED`` or ``MUTEX_LOST``. An
        ended order is answered with its state.
        """
        (answer,) = await self.cancel_many([order_id], reason=reason, mutex_term=mutex_term)
        return answer

    async def cancel_many(
        self, order_ids: Sequence[int], *, reason: str = "asked", mutex_term: int | None = None
    ) -> list[Cancelled]:
        """As `cancel`, for up to 1024 orders in one commit."""
        if not order_ids:
            return []
        term = {} if mutex_term is None else {"mutex_term": mutex_term}
        items = [{"order_id": one, "reason": reason, **term} for one in order_ids]
        answers = await self.calls.items("request_cancel", items)
        self.wake.ring()
        return [_cancelled(answer) for answer in answers]

    async def cancel_all(
        self, market: str | None = None, *, reason: str = "asked"
    ) -> list[Cancelled]:
        """Ask for a cancel of everything not ended, in ``market`` or everywhere. Asks for no
        mutex.
        """
        asked: list[Cancelled] = []
        while True:
            answers = await self.calls.value("request_cancel_all", self.account, market, reason)
            if not answers:
                return asked
            self.wake.ring()
            asked += [_cancelled(answer) for answer in answers]

    async def release(self, order_id: int, *, cause: str = "RELEASED") -> str:
        """Give up an order that was never sent; returns its state. Safe to repeat.

        Raises `Refused` with ``NOT_PROVEN`` if a copy may be at the venue: ask for a cancel then.
        """
        (answer,) = await self.calls.items(
            "release_pending", [{"order_id": order_id, "cause": cause}]
        )
        return str(unwrapped(answer)["state"])

    async def replace(self, order_id: int, intent: Intent) -> ReplaceAsked:
        """Cancel an order and reserve ``intent`` when its final size is proven, less what it
        filled meanwhile.

        The two never hold at the same time. Market, outcome and side stay the same. Raises
        `Refused` (``ALREADY_ENDED``, ``BUSY`` while another replacement waits, ``LOCKED``,
        ``MUTEX_LOST``, …); `replaced` awaits the end.
        """
        request = intent.as_request(self.account)
        answer = unwrapped(await self.calls.value("replace_order", order_id, request))
        if "replacement_id" not in answer:
            raise Refused(
                Code.KEY_REUSED,
                "the key belongs to an order; nothing was changed",
                not_done="nothing was replaced",
            )
        self.wake.ring()
        return ReplaceAsked(int(answer["replacement_id"]), bool(answer["replay"]))

    # -------------------------------------------------------------------- looking and waiting

    async def order(self, order_id: int) -> OrderView:
        """The order as it is now. Raises `BadInput` with ``UNKNOWN_ORDER``."""
        for view in await self.orders([order_id]):
            return view
        raise BadInput(Code.UNKNOWN_ORDER, f"there is no order {order_id} that this login may see")

    async def orders(self, order_ids: Sequence[int]) -> list[OrderView]:
        """The orders of these ids that exist and may be seen, by id."""
        answers = await self.calls.value("get_orders", tuple(order_ids))
        return [OrderView.of(answer) for answer in answers]

    async def standing_orders(self, market: str | None = None) -> list[OrderView]:
        """Everything not ended, in ``market`` or everywhere, by id."""
        found: list[OrderView] = []
        while True:
            after = found[-1].order_id if found else 0
            page = await self.calls.value("standing_orders", self.account, market, after)
            found += [OrderView.of(answer) for answer in page]
            if len(page) < MOST_PER_PAGE:
                return found

    async def find_by_key(self, key: str) -> OrderView | ReplacementView | None:
        """What a key became: an order, a replacement, or nothing yet."""
        answer = await self.calls.value("find_by_key", self.account, key)
        if answer is None:
            return None
        if answer["kind"] == "order":
            return OrderView.of(answer)
        return ReplacementView(**{name: answer[name] for name in ReplacementView.__slots__})

    async def settled(
        self, order_id: int, *, until: Until = "ended", timeout_s: float | None = None
    ) -> OrderView:
        """Await an order's end and return it as it then is.

        ``until="settled"`` waits further until all fills are booked and nothing is held. Raises
        `TimeoutError` after ``timeout_s`` seconds; the order goes on. Rides out a database that is
        away for a while.
        """
        return await self.waiting.wait(order_id, until, timeout_s)

    async def replaced(self, key: str, *, timeout_s: float | None = None) -> ReplacementView:
        """Await the end of the replacement that was asked for under ``key``: ``done`` or
        ``refused``.

        Raises `BadInput` if the key asked for none, and `TimeoutError` after ``timeout_s``
        seconds.
        """
        return await replacement_ended(self.find_by_key, key, timeout_s, self.ports)

    # ---------------------------------------------------------------------------- halting

    async def halt(self, scope: HaltScope, scope_id: str, why: str, *, by: str = "") -> int:
        """Stop trading in a scope until a person resumes it; returns the version that ``resume``
        must name.

        ``scope_id`` is the account's, group's or market's name, and ``""`` for ``global``.
        """
        return int(await self.calls.value("set_halt", scope, scope_id, why, by))

    # ---------------------------------------------------------------------------- inside

    def _requests(self, intents: Sequence[Intent]) -> list[Request | Refusal]:
        """What travels; a refusal in place of what cannot. Set numbers are made unique: sets of two
        callers that share a call must stay two.
        """
        sets: dict[int, int] = {}
        found: list[Request | Refusal] = []
        for intent in intents:
            try:
                request = intent.as_request(self.account)
            except BadInput as error:
                found.append(as_refusal(error))
                continue
            if isinstance(intent.set_id, int):
                request["set_id"] = sets.setdefault(intent.set_id, next(self._sets))
            found.append(request)
        return found

    async def _send(self, requests: Sequence[Request]) -> list[Item]:
        return await self.calls.items("reserve_pending", requests)

    async def _notify(self, channel: str) -> object:
        return await self.calls.rows("SELECT pg_notify($1, '')", channel)


def _cancelled(answer: Item) -> Cancelled:
    unwrapped(answer)
    return Cancelled(int(answer["order_id"]), str(answer["state"]))
