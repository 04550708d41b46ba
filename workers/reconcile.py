"""The shell around the comparison: reads both views, books what the venue knows better, records the drift.

It runs at every start (a worker is not ready before it came out clean or corrected), periodically, and
as ``ledger-worker reconcile``. Whatever cannot be read completely makes the run incomplete: it never
continues on failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.reconcile.compare import (
    AT_VENUE,
    NO_PLAN,
    Difference,
    OurFill,
    Ours,
    Plan,
    Theirs,
    TheirTrade,
    compare_orders,
    compare_trades,
    confirmed_by_both,
)
from app.venue.interface import Found, TradeStatus, Unread, VenueOrder, VenueTrade
from workers.worker.context import Context
from workers.worker.reading import book_trades, observe

Result = Literal["clean", "drift", "incomplete"]
OVERLAP_MS = 600_000
"""Trades are read again this far before the watermark: a change of status does not move the match time."""

SECOND_LOOK_S = 2.0
_SETTLEMENT = {TradeStatus.CONFIRMED: "confirmed", TradeStatus.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run found for one account, or (joined) for several."""

    account: str
    result: Result
    reason: str = ""
    """Which read failed, if incomplete."""
    differences: tuple[Difference, ...] = ()
    orders_compared: int = 0
    trades_compared: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "result": self.result,
            "reason": self.reason,
            "orders_compared": self.orders_compared,
            "trades_compared": self.trades_compared,
            "drift": [
                {"kind": one.kind, "subject": one.subject, "ours": one.ours, "theirs": one.theirs}
                for one in self.differences
            ],
        }


@dataclass(slots=True)
class _Views:
    since_ns: int = 0
    ours: list[Ours] = field(default_factory=list)
    fills: list[OurFill] = field(default_factory=list)
    open_orders: dict[str, VenueOrder] = field(default_factory=dict)
    trades: dict[tuple[str, str], VenueTrade] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    """Live by our rows, and the venue cleanly answers that it knows no such order."""
    orders: Plan = NO_PLAN
    settled: Plan = NO_PLAN

    @property
    def differences(self) -> tuple[Difference, ...]:
        return self.orders.differences + self.settled.differences


class Reconciler:
    """Compares one account."""

    def __init__(self, context: Context, account: str) -> None:
        self._context = context
        self._account = account
        self._log = context.named("reconciler").bind(account=account)

    async def run(
        self, kind: Literal["start", "periodic", "once"], *, second_look: bool
    ) -> ReconcileReport:
        """One run, recorded. ``second_look``: compare twice, so that what a running worker is just
        catching up with is not called drift. Never used at a start: there is no grace over a restart.
        """
        context = self._context
        run_id = await context.calls.value("start_run", self._account, kind, context.incarnation)
        report = await self._compare(second_look=second_look)
        await context.calls.value(
            "end_run",
            run_id,
            report.result,
            report.to_json(),
            [
                {
                    "kind": one.kind,
                    "subject": one.subject,
                    "ours": one.ours,
                    "theirs": one.theirs,
                    "action": "venue's facts booked",
                }
                for one in report.differences
            ],
        )
        self._log.info(
            "RECONCILED",
            kind=kind,
            result=report.result,
            drift=len(report.differences),
            reason=report.reason,
        )
        return report

    async def _compare(self, *, second_look: bool) -> ReconcileReport:
        views = await self._views()
        if isinstance(views, str):
            return ReconcileReport(self._account, "incomplete", views)
        self._context.reached("start.read.after")
        differences = views.differences
        if differences and second_look:
            await self._context.ports.clock.sleep(SECOND_LOOK_S)
            again = await self._views()
            if isinstance(again, str):
                return ReconcileReport(self._account, "incomplete", again)
            differences, views = confirmed_by_both(differences, again.differences), again
        unread = await self._apply(views)
        self._context.reached("start.apply.after")
        if unread:
            return ReconcileReport(self._account, "incomplete", unread, differences)
        differences = await self._still_meant(differences, views.absent)
        return ReconcileReport(
            self._account,
            "drift" if differences else "clean",
            "",
            differences,
            len(views.ours),
            len(views.trades),
        )

    async def _still_meant(
        self, differences: Sequence[Difference], absent: set[str]
    ) -> tuple[Difference, ...]:
        """An order that is not in the list, but by id reads as we hold it, is no drift: lists lag."""
        unlisted = {one.subject for one in differences if one.kind == "order_not_listed"} - absent
        rows = await self._rows(sorted(unlisted)) if unlisted else []
        as_held = {row["venue_order_id"] for row in rows if row["state"] in AT_VENUE} & unlisted
        return tuple(
            one
            for one in differences
            if one.kind != "order_not_listed" or one.subject not in as_held
        )

    async def _views(self) -> _Views | str:
        """Both views, or which read failed. The venue first: an order that ends in between is then seen by both."""
        context, views = self._context, _Views(self._context.ports.clock.monotonic_ns())
        trades = await context.venue.trades(self._account, await self._trades_since_ms())
        if isinstance(trades, Unread):
            return f"trades: {trades.reason}"
        open_orders = await context.venue.open_orders(self._account)
        if isinstance(open_orders, Unread):
            return f"open orders: {open_orders.reason}"
        views.trades = {(trade.trade_id, trade.venue_order_id): trade for trade in trades.value}
        views.open_orders = {order.venue_order_id: order for order in open_orders.value}
        views.ours = [
            Ours(row["order_id"], row["venue_order_id"], row["state"], row["matched"])
            for row in await self._rows(list(views.open_orders))
        ]
        views.fills = await self._fills([trade.trade_id for trade in trades.value])
        views.orders = compare_orders(
            views.ours,
            [
                Theirs(order.venue_order_id, order.size_matched_micros)
                for order in views.open_orders.values()
            ],
        )
        views.settled = compare_trades(
            views.fills,
            [
                TheirTrade(
                    trade.trade_id,
                    trade.venue_order_id,
                    _SETTLEMENT.get(trade.status, "provisional"),
                )
                for trade in trades.value
            ],
        )
        return views

    async def _apply(self, views: _Views) -> str:
        """Book what the venue knows better. Returns what could not be read."""
        context = self._context
        await book_trades(context, self._account, [views.trades[key] for key in views.settled.book])
        await observe(
            context,
            self._account,
            [views.open_orders[one] for one in views.orders.observe],
            source="read",
            since_ns=views.since_ns,
        )
        for venue_order_id in views.orders.look_up:
            started_ns = context.ports.clock.monotonic_ns()
            answer = await context.venue.order(self._account, venue_order_id)
            if isinstance(answer, Unread):
                return f"order {venue_order_id}: {answer.reason}"
            if isinstance(answer, Found):
                await observe(
                    context, self._account, [answer.value], source="read", since_ns=started_ns
                )
            else:
                # That proves nothing: the order stays, as drift.
                views.absent.add(venue_order_id)
        if views.trades:
            newest = max(trade.matched_at_ms for trade in views.trades.values())
            await context.calls.value("move_cursor", self._account, "trades", newest)
        return ""

    async def _trades_since_ms(self) -> int:
        """From the watermark, but never later than a trade that is not settled in our rows.

        Later trades move the watermark on, and a settlement that took longer would never be read.
        """
        calls = self._context.calls
        watermark: int = await calls.value("move_cursor", self._account, "trades", 0)
        [row] = await calls.rows(
            "SELECT floor(extract(epoch FROM min(f.matched_at)) * 1000)::bigint AS oldest "
            "FROM ledger.fill f JOIN ledger.account a USING (account_id) "
            "WHERE a.name = $1 AND f.settlement = 'provisional'",
            self._account,
        )
        since = watermark - OVERLAP_MS
        return max(0, since if row["oldest"] is None else min(since, row["oldest"]))

    async def _rows(self, venue_order_ids: Sequence[str]) -> list[dict[str, Any]]:
        return await self._context.calls.rows(
            "SELECT o.order_id, o.venue_order_id, o.state, "
            "greatest(o.size_matched_micros, o.traded_micros) AS matched "
            "FROM ledger.orders o JOIN ledger.account a USING (account_id) "
            "WHERE a.name = $1 AND o.venue_order_id IS NOT NULL "
            "AND (o.state IN ('SENDING', 'UNKNOWN', 'DELAYED', 'LIVE') OR o.venue_order_id = ANY ($2)) "
            "ORDER BY o.order_id",
            self._account,
            list(venue_order_ids),
        )

    async def _fills(self, trade_ids: Sequence[str]) -> list[OurFill]:
        rows = await self._context.calls.rows(
            "SELECT f.trade_id, o.venue_order_id, f.settlement FROM ledger.fill f "
            "JOIN ledger.orders o USING (account_id, order_id) "
            "JOIN ledger.account a USING (account_id) WHERE a.name = $1 AND f.trade_id = ANY ($2)",
            self._account,
            list(trade_ids),
        )
        return [OurFill(row["trade_id"], row["venue_order_id"], row["settlement"]) for row in rows]
