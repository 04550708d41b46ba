"""``ledger-worker adopt``: ends the orders that no intent explains, and books what a wallet held when it was opened.

Looking writes nothing. What is carried out is what a person was shown: an order is resolved only after a read
of it shows its end, and a holding is booked only if it is still what it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from app.clock import Ports
from app.config import Settings
from app.errors import BadInput, Code
from app.ledger.calls import LedgerCalls
from app.money import format_micros
from app.venue.interface import (
    COLLATERAL,
    Absent,
    CancelAccepted,
    CancelOutcome,
    CancelRefused,
    Found,
    Unread,
    VenueOrder,
    VenueOrderStatus,
)
from workers.statements import statement
from workers.worker.context import Context
from workers.worker.main import open_context

ENDS_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.5
_ENDED: Final = frozenset(
    {VenueOrderStatus.CANCELLED, VenueOrderStatus.EXPIRED, VenueOrderStatus.REJECTED}
)


@dataclass(frozen=True, slots=True)
class Holding:
    """One asset that differs. ``why_not``: why it is not booked as an opening, or empty."""

    asset: str
    market: str | None
    outcome: str | None
    ours_micros: int
    theirs_micros: int
    why_not: str

    @property
    def amount_micros(self) -> int:
        return self.theirs_micros - self.ours_micros


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of one foreign order. ``resolved_as`` is empty where it was not resolved."""

    venue_order_id: str
    resolved_as: str
    why: str


@dataclass(slots=True)
class Adopted:
    """What was done."""

    orders: list[Resolved] = field(default_factory=list)
    booked: list[Holding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What was shown and not booked, each with its reason."""

    @property
    def ok(self) -> bool:
        return all(one.resolved_as for one in self.orders) and not self.left


class Adoption:
    """One account over a worker's connections, none of whose tasks run."""

    def __init__(self, context: Context, account: str) -> None:
        self._context = context
        self._account = account

    async def holdings(self) -> Found[list[Holding]] | Unread:
        """Every asset in which the venue's view and ours differ. Writes nothing."""
        tokens = await self._tokens()
        if isinstance(tokens, Unread):
            return tokens
        seen = await self._context.venue.holdings(self._account, tokens)
        if seen is None:
            return Found([])
        if isinstance(seen, Unread):
            return Unread(f"balances: {seen.reason}")
        theirs = {COLLATERAL: seen.value.collateral_micros, **seen.value.tokens_micros}
        rows = await self._context.calls.rows(statement("owned"), self._account, list(theirs))
        found = [_holding(row, theirs[row["asset"]]) for row in rows]
        return Found([one for one in found if one.amount_micros])

    async def _tokens(self) -> list[str] | Unread:
        ours: list[str] = await self._context.calls.value("held_tokens", self._account)
        listed = await self._context.host.listed_tokens(self._account)
        if isinstance(listed, Unread):
            return Unread(f"positions: {listed.reason}")
        return sorted({*ours, *listed.value})

    async def carry_out(
        self,
        risk: LedgerCalls,
        orders: Sequence[str],
        shown: Sequence[Holding],
        operator: str,
    ) -> Adopted:
        """End and resolve these orders, then book these holdings. Safe to repeat."""
        done = Adopted()
        for venue_order_id in orders:
            ended = await self._end(venue_order_id)
            if ended.resolved_as:
                await risk.value(
                    "resolve_foreign",
                    self._account,
                    venue_order_id,
                    ended.resolved_as,
                    ended.why,
                    operator,
                )
            done.orders.append(ended)
        await self._book(risk, [one for one in shown if not one.why_not], operator, done)
        return done

    async def _book(
        self, risk: LedgerCalls, shown: Sequence[Holding], operator: str, done: Adopted
    ) -> None:
        if not shown:
            return
        now = await self.holdings()
        for one in shown:
            if not all(order.resolved_as for order in done.orders):
                done.left.append(f"{one.asset}: an order that may trade it has not ended")
            elif isinstance(now, Unread):
                done.left.append(f"{one.asset}: {now.reason}")
            elif one not in now.value:
                done.left.append(f"{one.asset}: it changed since it was shown")
            else:
                await risk.value(
                    "book_movement",
                    self._account,
                    one.asset,
                    one.amount_micros,
                    "opening",
                    f"opening:{one.asset}",
                    f"adopted by {operator}: the wallet held it",
                )
                done.booked.append(one)

    async def _end(self, venue_order_id: str) -> Resolved:
        """Cancel it at the venue, and read it by its id until that shows the end."""
        clock, venue = self._context.ports.clock, self._context.venue
        until_ns = clock.monotonic_ns() + int(ENDS_WITHIN_S * 1e9)
        absences, answer = 0, await self._cancel(venue_order_id)
        while True:
            seen = await venue.order(self._account, venue_order_id)
            if isinstance(seen, Found) and (ended := _end_of(seen.value)):
                return Resolved(venue_order_id, *ended)
            absences = absences + 1 if isinstance(seen, Absent) else 0
            if absences > 1 and isinstance(answer, CancelAccepted):
                why = "the venue took the cancel, and shows the order no more"
                return Resolved(venue_order_id, "cancelled", why)
            if clock.monotonic_ns() >= until_ns:
                return Resolved(venue_order_id, "", f"no read shows its end: {_words(seen)}")
            await clock.sleep(LOOK_EVERY_S)
            if not isinstance(answer, CancelAccepted | CancelRefused):
                answer = await self._cancel(venue_order_id)

    async def _cancel(self, venue_order_id: str) -> CancelOutcome:
        [outcome] = await self._context.venue.cancel(self._account, [venue_order_id])
        return outcome


def _end_of(order: VenueOrder) -> tuple[str, str] | None:
    traded = f"{format_micros(order.size_matched_micros)} traded"
    if order.status is VenueOrderStatus.MATCHED:
        return "filled", f"{order.raw_status}, {traded}"
    if order.status in _ENDED:
        return "cancelled", f"{order.raw_status}, {traded}"
    return None


def _words(seen: Found[VenueOrder] | Absent | Unread) -> str:
    match seen:
        case Found(value=order):
            return f"it is {order.raw_status}"
        case Absent():
            return "it is not shown, which proves nothing"
        case Unread(reason=reason):
            return reason


def _holding(row: dict[str, Any], theirs_micros: int) -> Holding:
    why_not = ""
    if not row["known"]:
        why_not = "its market is not known: ledger-worker markets sync"
    elif row["on_its_way"]:
        why_not = "an order stands or a fill is not settled: repeat when that is over"
    elif row["opened"]:
        why_not = "it was opened before: ledger-worker balances book, with its cause"
    elif theirs_micros < row["ours_micros"]:
        why_not = "our rows say more: ledger-worker balances book, with its cause"
    return Holding(
        row["asset"],
        row["slug"] or row["market"],
        row["outcome"],
        row["ours_micros"],
        theirs_micros,
        why_not,
    )


@asynccontextmanager
async def adopting(
    settings: Settings, ports: Ports, url: str, account: str
) -> AsyncIterator[Adoption]:
    """Connections of a worker that does not run. Raises `BadInput` for an account this process has no key for."""
    async with open_context(settings, ports, url) as context:
        rows = await context.calls.rows("SELECT venue FROM ledger.account WHERE name = $1", account)
        if not rows or rows[0]["venue"] != context.venue.name or context.host.key(account) is None:
            raise BadInput(
                Code.BAD_SETTING,
                f"these settings have no key for {account} on {context.venue.name}",
                not_done="nothing was cancelled or booked",
                next_step="set LEDGER_VENUE and LEDGER_ACCOUNT as the account's worker has them",
            )
        await context.host.prepare(to_trade=False)
        yield Adoption(context, account)
