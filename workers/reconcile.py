"""The shell around the comparison: reads both views, books what the venue knows better, records the drift.

It runs at every start (a worker is not ready before it came out clean or corrected), periodically, and
as ``ledger-worker reconcile``. Whatever cannot be read completely makes the run incomplete: it never
continues on failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import Item, refused
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
from workers.holdings import (
    HoldingsSeen,
    cancel_foreign_orders,
    halt_for_holdings,
    look_at_holdings,
)
from workers.worker.context import Context
from workers.worker.reading import book_trades, observe

Result = Literal["clean", "drift", "incomplete"]
Kind = Literal["start", "periodic", "once", "reconnect", "episode"]
Key = tuple[str, str]
"""Trade id and venue order id."""

OVERLAP_MS: Final = 600_000
"""The watermark stays this far behind our own clock: a change of status does not move the match time, a list
shows a trade late, and the venue's clock is not ours.
"""

SECOND_LOOK_S: Final = 2.0
CLOCKS_APART_MS: Final = 5_000
"""How far the venue's clock may be behind the database's: a worker does not start with more."""

_SETTLEMENT: Final = {TradeStatus.CONFIRMED: "confirmed", TradeStatus.FAILED: "failed"}
_ACTIONS: Final = {
    "settlement_contradicted": "journaled, and the market halted, when it was heard of first",
    "fee_contradicted": "nothing: of two fees said with a confirmation the higher one stands",
}
_ACTION: Final = "venue's facts booked"


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run found for one account, or (joined) for several."""

    account: str
    result: Result
    reason: str = ""
    """What could not be read or booked, if incomplete."""
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
    trades: dict[Key, VenueTrade] = field(default_factory=dict)
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

    async def run(self, kind: Kind, *, second_look: bool) -> ReconcileReport:
        """One run, recorded. ``second_look``: compare twice, so that what a running worker is just
        catching up with is not called drift. Never used at a start: there is no grace over a restart.
        """
        context = self._context
        run_id = await context.calls.value("start_run", self._account, kind, context.incarnation)
        try:
            report = await self._compare(second_look=second_look)
        except (DatabaseProblem, BadInput) as problem:
            # Said in the run's row, if the database takes that. Nothing the venue says may end the worker.
            report = ReconcileReport(self._account, "incomplete", str(problem))
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
                    "action": _ACTIONS.get(one.kind, _ACTION),
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
        holdings = await self._holdings(second_look=second_look)
        if holdings.unread:
            return ReconcileReport(self._account, "incomplete", holdings.unread, differences)
        differences += holdings.differences
        if self._context.settings.foreign_orders == "cancel":
            await cancel_foreign_orders(self._context, self._account)
        return ReconcileReport(
            self._account,
            "drift" if differences else "clean",
            "",
            differences,
            len(views.ours),
            len(views.trades),
        )

    async def _holdings(self, *, second_look: bool) -> HoldingsSeen:
        """What differs in what is owned; halted for what is grave."""
        context = self._context
        seen = await look_at_holdings(context, self._account)
        if seen.differences and second_look:
            await context.ports.clock.sleep(SECOND_LOOK_S)
            seen = await look_at_holdings(context, self._account)
        await halt_for_holdings(context, self._account, seen)
        return seen

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
                    trade.fee_micros,
                )
                for trade in trades.value
            ],
        )
        return views

    async def _apply(self, views: _Views) -> str:
        """Book what the venue knows better. Returns what could not be read or booked."""
        context = self._context
        unbooked = await self._book([views.trades[key] for key in views.settled.book])
        await self._move_watermark(views, unbooked)
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
        return next((f"trade {'/'.join(key)}: {why}" for key, why in unbooked.items()), "")

    async def _book(self, trades: Sequence[VenueTrade]) -> dict[Key, str]:
        """Book trades, and say which could not be, with why. One that cannot holds up none of the others."""
        try:
            answers = await book_trades(self._context, self._account, trades)
        except BadInput:
            answers = [await self._book_one(trade) for trade in trades]
        return {
            (trade.trade_id, trade.venue_order_id): f"{answer['code']}: {answer['detail']}"
            for trade, answer in zip(trades, answers, strict=True)
            # Of an order that no intent explains: booked as that, and the account is halted.
            if refused(answer) and answer["code"] != Code.UNKNOWN_ORDER
        }

    async def _book_one(self, trade: VenueTrade) -> Item:
        try:
            [answer] = await book_trades(self._context, self._account, [trade])
        except BadInput as error:
            return {"status": "refused", "code": error.code, "detail": error.wrong}
        return answer

    async def _move_watermark(self, views: _Views, unbooked: Mapping[Key, str]) -> None:
        """To the newest trade, but before every one that was not booked, and never into the time that a list
        may still be behind.
        """
        times = {key: trade.matched_at_ms for key, trade in views.trades.items()}
        booked = [time for key, time in times.items() if key not in unbooked]
        if booked:
            before = [times[key] - 1 for key in unbooked]
            position = min(max(booked), self._newest_ms(), *before)
            await self._context.calls.value(
                "move_cursor", self._account, "trades", max(position, 0)
            )

    def _newest_ms(self) -> int:
        return self._context.ports.clock.now_ms() - OVERLAP_MS

    async def _trades_since_ms(self) -> int:
        """From the watermark, but never later than a trade that is not settled in our rows, nor than a list
        may be behind.

        Later trades move the watermark on, and a settlement that took longer would never be read. What a wallet
        traded before its account was opened here is history of somebody else's, and no intent explains it (on
        paper there is nobody else).
        """
        calls = self._context.calls
        watermark: int = await calls.value("move_cursor", self._account, "trades", 0)
        [row] = await calls.rows(
            "SELECT CASE a.venue WHEN 'paper' THEN 0 "
            "ELSE floor(extract(epoch FROM a.created_at) * 1000)::bigint END AS opened, "
            "(SELECT floor(extract(epoch FROM min(f.matched_at)) * 1000)::bigint FROM ledger.fill f "
            "WHERE f.account_id = a.account_id AND f.settlement = 'provisional') AS oldest "
            "FROM ledger.account a WHERE a.name = $1",
            self._account,
        )
        since = min(watermark, self._newest_ms())
        oldest = since if row["oldest"] is None else min(since, row["oldest"])
        opened: int = row["opened"]
        return max(opened - CLOCKS_APART_MS, oldest, 0)

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
            "SELECT f.trade_id, o.venue_order_id, f.settlement, f.fee_micros, f.fee_rank = 4 AS fee_is_final, "
            "f.contradicted_at IS NOT NULL AS contradicted FROM ledger.fill f "
            "JOIN ledger.orders o USING (account_id, order_id) "
            "JOIN ledger.account a USING (account_id) WHERE a.name = $1 AND f.trade_id = ANY ($2)",
            self._account,
            list(trade_ids),
        )
        return [OurFill(**row) for row in rows]
