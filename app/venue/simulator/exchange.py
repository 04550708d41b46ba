"""The simulated exchange: the matching core's books, and everything that must be known around them.

Deterministic and without I/O: time is an argument, chance comes from the seed. Whatever changes is
told in ``happenings``, in the order in which it happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from app.money import format_micros
from app.venue.interface import Side
from app.venue.matching import (
    BACKGROUND,
    Answer,
    AnswerKind,
    Book,
    Fate,
    Level,
    Order,
    OrderChanged,
    OrderEventType,
    Outcome,
    Trade,
    cancel,
    new_book,
    next_due_ms,
    place,
    step,
)
from app.venue.simulator.backing import Backing, asset_of
from app.venue.simulator.markets import Market
from app.venue.simulator.records import (
    BookTouched,
    Happening,
    MarketFrame,
    OrderRecord,
    TradeRecord,
    UserFrame,
    raw_status,
)
from app.venue.simulator.settings import Settings
from app.venue.simulator.views import order_frame, trade_frame

NOT_FOUND = Answer(
    AnswerKind.REFUSED,
    code="NOT_CANCELED",
    text="order can't be found - already canceled or matched",
)


class Exchange:
    """Markets, books, orders, trades and what wallets own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.markets: dict[str, Market] = {}
        self.books: dict[str, Book] = {}
        self.orders: dict[str, OrderRecord] = {}
        self.trades: dict[str, TradeRecord] = {}
        self.backing = Backing()
        self.last_price: dict[str, str] = {}
        self.last_side: dict[str, str] = {}
        self.touched_ms: dict[str, int] = {}
        self.orders_of: dict[str, list[str]] = defaultdict(list)
        self.trades_of: dict[str, list[str]] = defaultdict(list)
        self.happenings: list[Happening] = []
        self.fates: list[tuple[str, Fate, int]] = []
        """Fates that a script has ordered: (order id, or "" for any; fate; after how long)."""
        self._live: dict[str, dict[str, None]] = defaultdict(dict)
        self._unsettled: dict[str, dict[str, None]] = defaultdict(dict)
        self._market_of: dict[str, Market] = {}
        self._due: dict[str, int] = {}
        self._delayed: dict[str, int] = {}
        self._mint = False

    # --- markets -------------------------------------------------------------------------------

    def add_market(self, market: Market) -> bool:
        """Open its books, empty. A market that is there already stays as it is."""
        if market.condition_id in self.markets:
            return False
        self.markets[market.condition_id] = market
        for token in market.tokens:
            self._market_of[token] = market
            self.books[token] = new_book(
                self.settings.seed,
                token,
                market.condition_id,
                market.tick_micros,
                market.min_size_micros,
                fee_rate_ppm=market.fee_rate_ppm,
                levels=(),
            )
        return True

    def market_of(self, token_id: str) -> Market | None:
        return self._market_of.get(token_id)

    # --- orders --------------------------------------------------------------------------------

    def place(self, record: OrderRecord, now_ms: int, *, delay_ms: int = 0) -> Answer:
        """An order arrives. With ``delay_ms`` it is accepted now and matched later."""
        order = record.order
        book = self.books.get(order.token_id)
        if book is None:
            text = f"the orderbook {order.token_id} does not exist"
            return Answer(AnswerKind.REFUSED, code="ORDERBOOK_MISSING", text=text)
        seen = order.order_id in self.orders
        outcome = place(
            book,
            order,
            now_ms,
            self.settings.rules,
            seen=seen,
            available_micros=self._available(record),
        )
        assert outcome.answer is not None
        if outcome.answer.burns_id:
            self.orders[order.order_id] = record
            self.orders_of[order.account].append(order.order_id)
        if delay_ms and outcome.answer.burns_id:
            # what the core would say of it now has been checked; what it does, it does later
            return self._delay(record, now_ms, delay_ms)
        self._keep(outcome, now_ms)
        return outcome.answer

    def _delay(self, record: OrderRecord, now_ms: int, delay_ms: int) -> Answer:
        record.status, record.due_ms = "DELAYED", now_ms + delay_ms
        self._delayed[record.order.order_id] = record.due_ms
        self._live[record.order.account][record.order.order_id] = None
        self._order_changed("PLACEMENT", record, now_ms)
        return Answer(AnswerKind.ACCEPTED, status="delayed", burns_id=True)

    def _available(self, record: OrderRecord) -> int | None:
        if not self.settings.balances:
            return None
        asset = asset_of(record.order.side, record.order.token_id)
        return self.backing.available(record.maker, asset)

    def marketable(self, order: Order) -> bool:
        """Whether something rests against it."""
        book = self.books.get(order.token_id)
        if book is None:
            return False
        sign = 1 if order.side is Side.BUY else -1
        prices = [o.price_micros for o in book.orders if o.side is not order.side]
        prices += [
            lv.base_price_micros + book.shift_micros
            for lv in book.levels
            if lv.size_micros and lv.side is not order.side
        ]
        return any(sign * price <= sign * order.price_micros for price in prices)

    def cancel(self, account: str, order_id: str, now_ms: int, status: str = "") -> Answer:
        """Take a live order off its book. ``status``: the raw text it ends with."""
        record = self.orders.get(order_id)
        if record is None or record.order.account != account or order_id in self._delayed:
            return NOT_FOUND
        book = self.books[record.order.token_id]
        outcome = cancel(book, account, order_id, now_ms, self.settings.rules)
        self._keep(outcome, now_ms, ended_as=(order_id, status))
        return outcome.answer or NOT_FOUND

    def live_orders(self, account: str) -> list[OrderRecord]:
        """Open ones, oldest first; the delayed are among them."""
        return [self.orders[one] for one in self._live[account]]

    # --- time ----------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """When something happens next by itself."""
        return min((*self._due.values(), *self._delayed.values()), default=None)

    def step(self, now_ms: int) -> None:
        """What is due at ``now_ms`` happens, one step of each."""
        for order_id in sorted(o for o, due in self._delayed.items() if due <= now_ms):
            self._release(order_id, now_ms)
        for token in sorted(token for token, due in self._due.items() if due <= now_ms):
            self._keep(step(self.books[token], now_ms, self.settings.rules), now_ms)

    def _release(self, order_id: str, now_ms: int) -> None:
        """A delayed order reaches the book: matched, resting, or killed."""
        del self._delayed[order_id]
        record = self.orders[order_id]
        record.due_ms = 0
        self._live[record.order.account].pop(order_id, None)
        book = self.books[record.order.token_id]
        outcome = place(book, record.order, now_ms, self.settings.rules, seen=False)
        self._keep(outcome, now_ms)
        if outcome.answer is not None and not outcome.answer.burns_id:
            record.status = "INVALID"
            self._order_changed("CANCELLATION", record, now_ms)

    # --- the outside world ---------------------------------------------------------------------

    def outside(
        self, token_id: str, deed: Callable[[Book], Outcome], now_ms: int, *, mint: bool = False
    ) -> None:
        """Let ``deed`` happen to a book. ``mint``: its takers come through the other token."""
        self._mint = mint
        self._keep(deed(self.books[token_id]), now_ms)
        self._mint = False

    def change_tick(self, condition_id: str, tick_micros: int, now_ms: int) -> None:
        market = self.markets[condition_id]
        old, market.tick_micros = market.tick_micros, tick_micros
        for token in market.tokens:
            self.books[token] = replace(self.books[token], tick_micros=tick_micros)
            payload = {
                "event_type": "tick_size_change",
                "market": condition_id,
                "asset_id": token,
                "old_tick_size": format_micros(old),
                "new_tick_size": format_micros(tick_micros),
                "timestamp": str(now_ms),
            }
            self.happenings.append(MarketFrame(condition_id, token, payload))

    def resolve(self, condition_id: str, winner: str, now_ms: int) -> None:
        """The market ends: its orders are cancelled, its books are gone."""
        market = self.markets[condition_id]
        market.winner, market.closed, market.accepting = winner, True, False
        for token in market.tokens:
            for order in self.books[token].orders:
                self.cancel(order.account, order.order_id, now_ms, "CANCELED_MARKET_RESOLVED")
            self.books[token] = replace(self.books[token], open=False, levels=())
            self.happenings.append(BookTouched(token))
        payload = {
            "event_type": "market_resolved",
            "id": str(market.raw.get("id", "")),
            "market": condition_id,
            "assets_ids": list(market.tokens),
            "winning_asset_id": winner,
            "winning_outcome": market.outcome_of(winner),
            "timestamp": str(now_ms),
        }
        self.happenings.append(MarketFrame(condition_id, "", payload, custom=True))

    # --- keeping what the core decided ---------------------------------------------------------

    def _keep(self, outcome: Outcome, now_ms: int, ended_as: tuple[str, str] = ("", "")) -> None:
        book = outcome.book
        self.books[book.token_id] = self._fated(book)
        due = next_due_ms(self.books[book.token_id], self.settings.rules)
        if due is None:
            self._due.pop(book.token_id, None)
        else:
            self._due[book.token_id] = due
        for event in outcome.events:
            if isinstance(event, OrderChanged):
                status = ended_as[1] if event.order.order_id == ended_as[0] else ""
                self._keep_order(event.type, event.order, status, now_ms)
            else:
                self._keep_trade(event.trade, now_ms)
        self.touched_ms[book.token_id] = now_ms
        self.happenings.append(BookTouched(book.token_id))

    def _fated(self, book: Book) -> Book:
        """Fresh trades take the fates a script has ordered for them."""
        if not self.fates:
            return book
        trades = (t if t.trade_id in self.trades else self._fate_of(t) for t in book.trades)
        return replace(book, trades=tuple(trades))

    def _fate_of(self, trade: Trade) -> Trade:
        ids = {part.order_id for part in trade.parts if part.account != BACKGROUND}
        for i, (wanted, fate, after_ms) in enumerate(self.fates):
            if not wanted or wanted in ids:
                del self.fates[i]
                due = trade.matched_at_ms + after_ms if after_ms else trade.due_ms
                return replace(trade, fate=fate, due_ms=due)
        return trade

    def _keep_order(self, kind: OrderEventType, order: Order, status: str, now_ms: int) -> None:
        record = self.orders[order.order_id]
        record.order = order
        record.status = status or raw_status(order)
        if record.live:
            self._live[order.account][order.order_id] = None
        else:
            self._live[order.account].pop(order.order_id, None)
        self._order_changed(kind.value, record, now_ms)

    def _order_changed(self, kind: str, record: OrderRecord, now_ms: int) -> None:
        record.history.append((now_ms, record.status, record.order.matched_micros))
        self.backing.bind(record)
        frame = order_frame(kind, record, now_ms)
        self.happenings.append(UserFrame(record.order.account, record.condition_id, frame))

    def _keep_trade(self, trade: Trade, now_ms: int) -> None:
        market = self._market_of[trade.token_id]
        known = self.trades.get(trade.trade_id)
        if known is None:
            book = self.books[trade.token_id]
            trade = next((t for t in book.trades if t.trade_id == trade.trade_id), trade)
            known = TradeRecord(trade, market.condition_id, self._mint, now_ms)
            self.trades[trade.trade_id] = known
            self._tell_last_price(trade, now_ms)
        known.trade, known.updated_ms = trade, now_ms
        accounts = dict.fromkeys(p.account for p in trade.parts if p.account != BACKGROUND)
        for account in accounts:
            if trade.trade_id not in self._unsettled[account] and trade.status == "MATCHED":
                self._enter(trade, account)
            if trade.settled:
                self._settle(trade, account)
            frame = trade_frame(known, account, self.orders.__getitem__, market, now_ms)
            self.happenings.append(UserFrame(account, market.condition_id, frame))

    def _enter(self, trade: Trade, account: str) -> None:
        self._unsettled[account][trade.trade_id] = None
        self.trades_of[account].append(trade.trade_id)
        for part in trade.parts:
            if part.account == account:
                record = self.orders[part.order_id]
                self.backing.match(trade, part, record.maker)
                if trade.trade_id not in record.trades:
                    record.trades.append(trade.trade_id)

    def _settle(self, trade: Trade, account: str) -> None:
        if trade.trade_id not in self._unsettled[account]:
            return
        del self._unsettled[account][trade.trade_id]
        for part in trade.parts:
            if part.account == account:
                self.backing.settle(trade, part, self.orders[part.order_id].maker)

    def _tell_last_price(self, trade: Trade, now_ms: int) -> None:
        self.last_price[trade.token_id] = format_micros(trade.price_micros)
        self.last_side[trade.token_id] = trade.parts[0].side.value
        payload = {
            "event_type": "last_trade_price",
            "market": self._market_of[trade.token_id].condition_id,
            "asset_id": trade.token_id,
            "fee_rate_bps": "0",
            "price": format_micros(trade.price_micros),
            "side": trade.parts[0].side.value,
            "size": format_micros(sum(part.size_micros for part in trade.parts[1:])),
            "timestamp": str(now_ms),
        }
        condition = self._market_of[trade.token_id].condition_id
        self.happenings.append(MarketFrame(condition, trade.token_id, payload))


def levels(rows: Iterable[tuple[Side, int, int]]) -> tuple[Level, ...]:
    """(side, price, size) as outside liquidity."""
    return tuple(Level(side, p, s, s, seq=i) for i, (side, p, s) in enumerate(rows, 1))
