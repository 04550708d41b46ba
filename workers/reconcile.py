"""The shell around the comparison: reads both views, books what the venue knows better, records the drift.

It runs at every start (a worker is not ready before it came out clean or corrected), periodically, and
as ``ledger-worker reconcile``. Whatever cannot be read completely makes the run incomplete: it never
continues on failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import Item, refused
from app.reconcile.compare import (
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
from workers.drift import Acts, Drift, halts_behind, reads_as_held, state_after
from workers.holdings import (
    HoldingsSeen,
    cancel_foreign_orders,
    halt_for_holdings,
    look_at_holdings,
    look_closer,
)
from workers.rewards import RewardsSeen, look_at_rewards
from workers.statements import statement
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
_WITH_REWARDS: Final = ("periodic", "once")
"""A start does not wait for what no order depends on."""

_WHOLE: Final = ("start", "once")
"""A worker that runs looks at the holdings in turn; a start and a person do not want half of it."""


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run found for one account, or (joined) for several."""

    account: str
    result: Result
    reason: str = ""
    """What could not be read or booked, if incomplete."""
    drift: tuple[Drift, ...] = ()
    orders_compared: int = 0
    trades_compared: int = 0

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differed, without what became of it."""
        return tuple(one.difference for one in self.drift)

    def to_json(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "result": self.result,
            "reason": self.reason,
            "orders_compared": self.orders_compared,
            "trades_compared": self.trades_compared,
            "drift": [one.to_json() for one in self.drift],
        }


def _and_rewards(report: ReconcileReport, seen: RewardsSeen) -> ReconcileReport:
    drift = report.drift + Acts().rows(seen.differences, {})
    result: Result = "incomplete" if seen.unread else "drift" if drift else "clean"
    return replace(report, result=result, reason=seen.unread, drift=drift)


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
            report = await self._compare(kind, second_look=second_look)
            if kind in _WITH_REWARDS and report.result != "incomplete":
                report = _and_rewards(report, await look_at_rewards(context, self._account))
        except (DatabaseProblem, BadInput) as problem:
            # Said in the run's row, if the database takes that. Nothing the venue says may end the worker.
            report = ReconcileReport(self._account, "incomplete", str(problem))
        await context.calls.value(
            "end_run",
            run_id,
            report.result,
            report.to_json(),
            [one.to_json() for one in report.drift],
        )
        self._log.info(
            "RECONCILED",
            kind=kind,
            result=report.result,
            drift=len(report.drift),
            reason=report.reason,
        )
        return report

    async def _compare(self, kind: Kind, *, second_look: bool) -> ReconcileReport:
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
        acts = Acts()
        unread = await self._apply(views, acts)
        self._context.reached("start.apply.after")
        if unread:
            return await self._told("incomplete", unread, differences, acts, views)
        holdings = await self._holdings(kind, second_look=second_look)
        if holdings.unread:
            return await self._told("incomplete", holdings.unread, differences, acts, views)
        for subject, action, evidence in await halt_for_holdings(
            self._context, self._account, holdings
        ):
            acts.add(subject, action, **evidence)
        if self._context.settings.foreign_orders == "cancel":
            ended = await cancel_foreign_orders(self._context, self._account)
            for venue_order_id, said in ended.items():
                acts.add(venue_order_id, f"cancel asked: {said}", cancel=said)
        return await self._told("", "", (*differences, *holdings.differences), acts, views)

    async def _told(
        self,
        result: Result | Literal[""],
        reason: str,
        differences: Sequence[Difference],
        acts: Acts,
        views: _Views,
    ) -> ReconcileReport:
        """The report: what still differs after what was done, each with what became of it."""
        await halts_behind(self._context, self._account, differences, acts)
        after = await state_after(self._context, self._account, differences)
        left = [one for one in differences if not reads_as_held(one, after, views.absent)]
        drift = acts.rows(left, after)
        return ReconcileReport(
            self._account,
            result or ("drift" if drift else "clean"),
            reason,
            drift,
            len(views.ours),
            len(views.trades),
        )

    async def _holdings(self, kind: Kind, *, second_look: bool) -> HoldingsSeen:
        """What differs in what is owned. Not behind a connection: what a stream missed are orders and trades, and
        nothing is placed until they were compared.
        """
        if kind == "reconnect":
            return HoldingsSeen()
        seen = await look_at_holdings(self._context, self._account, whole=kind in _WHOLE)
        if seen.differences and second_look:
            await self._context.ports.clock.sleep(SECOND_LOOK_S)
            again = await look_closer(self._context, self._account, seen)
            if again.unread:
                return again
            return replace(
                again, differences=confirmed_by_both(again.differences, seen.differences)
            )
        return seen

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

    async def _apply(self, views: _Views, acts: Acts) -> str:
        """Book what the venue knows better. Returns what could not be read or booked."""
        unbooked = await self._book([views.trades[key] for key in views.settled.book], acts)
        await self._move_watermark(views, unbooked)
        listed = [views.open_orders[one] for one in views.orders.observe]
        acts.of_list(listed, await self._observe(listed, views.since_ns))
        for venue_order_id in views.orders.look_up:
            started_ns = self._context.ports.clock.monotonic_ns()
            answer = await self._context.venue.order(self._account, venue_order_id)
            if isinstance(answer, Unread):
                return f"order {venue_order_id}: {answer.reason}"
            if isinstance(answer, Found):
                [booked] = await self._observe([answer.value], started_ns)
                acts.of_look_up(venue_order_id, answer, booked)
            else:
                # That proves nothing: the order stays, as drift.
                views.absent.add(venue_order_id)
                acts.of_look_up(venue_order_id, None, None)
        return next((f"trade {'/'.join(key)}: {why}" for key, why in unbooked.items()), "")

    async def _observe(self, orders: Sequence[VenueOrder], since_ns: int) -> list[Item]:
        return await observe(self._context, self._account, orders, source="read", since_ns=since_ns)

    async def _book(self, trades: Sequence[VenueTrade], acts: Acts) -> dict[Key, str]:
        """Book trades, and say which could not be, with why. One that cannot holds up none of the others."""
        try:
            answers = await book_trades(self._context, self._account, trades)
        except BadInput:
            answers = [await self._book_one(trade) for trade in trades]
        acts.of_trades(trades, answers)
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
        [row] = await calls.rows(statement("reconcile_window"), self._account)
        since = min(watermark, self._newest_ms())
        oldest = since if row["oldest"] is None else min(since, row["oldest"])
        opened: int = row["opened"]
        return max(opened - CLOCKS_APART_MS, oldest, 0)

    async def _rows(self, venue_order_ids: Sequence[str]) -> list[dict[str, Any]]:
        return await self._context.calls.rows(
            statement("reconcile_orders"), self._account, list(venue_order_ids)
        )

    async def _fills(self, trade_ids: Sequence[str]) -> list[OurFill]:
        rows = await self._context.calls.rows(
            statement("reconcile_fills"), self._account, list(trade_ids)
        )
        return [OurFill(**row) for row in rows]
