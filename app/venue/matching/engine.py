"""The matching core: `place`, `cancel` and `step`, each a pure function from a book to a new book
and events.

No clock, no chance, no I/O: the time is an argument, draws come from the book's seed. The paper
venue, the simulator and the tests run this same code; what differs is only where the state is
kept.
"""

from __future__ import annotations

from dataclasses import replace

from app.money import MICROS, cost_micros
from app.venue.interface import OrderType, Side, TradeStatus
from app.venue.matching.crossing import Incoming, Maker, Work
from app.venue.matching.flow import FillModel, SimpleCrossing
from app.venue.matching.types import (
    BACKGROUND,
    Answer,
    AnswerKind,
    Book,
    Fate,
    Level,
    Order,
    OrderChanged,
    OrderEventType,
    OrderStatus,
    Outcome,
    Rules,
    Trade,
    TradeChanged,
)

_RESTS = (OrderType.GTC, OrderType.GTD)


def place(
    book: Book,
    order: Order,
    now_ms: int,
    rules: Rules,
    *,
    seen: bool,
    available_micros: int | None = None,
) -> Outcome:
    """An order arrives.

    ``seen``: this id was processed before (the keeper of the state knows; every id whose answer
    had ``burns_id``). ``available_micros``: what the account could still commit, collateral for a
    BUY and tokens for a SELL; None leaves balances unchecked. Early refusals change nothing and
    emit nothing.
    """
    if seen or any(order.order_id == live.order_id for live in book.orders):
        # First of all: an order that has ended must not be refused for other reasons when it is
        # sent again, since the sender would take that for news about the first copy (docs/venue.md
        # 2.6, point 5).
        text = f"order {order.order_id} is invalid. Duplicated."
        return Outcome(book, (), Answer(AnswerKind.DUPLICATED, code="DUPLICATED", text=text))
    work = Work(book, rules, now_ms)
    early = _early_refusal(book, order, work.now_ms, rules, available_micros)
    if early is not None:
        return Outcome(book, (), early)
    _expire(work)
    answer = _process(work, replace(order, received_at_ms=work.now_ms))
    first = not book.orders and work.orders
    tape_at = work.now_ms + rules.tape_every_ms if first else None
    return Outcome(work.done(tape_at_ms=tape_at), tuple(work.events), answer)


def cancel(book: Book, account: str, order_id: str, now_ms: int, rules: Rules) -> Outcome:
    """Take a live order off the book.

    The answer is ACCEPTED only if it was live; what matched before stays matched.
    """
    work = Work(book, rules, now_ms)
    _expire(work)
    order = work.orders.get(order_id)
    if order is None or order.account != account:
        text = "order can't be found - already canceled or matched"
        answer = Answer(AnswerKind.REFUSED, code="NOT_CANCELED", text=text)
    else:
        _end(work, order, OrderStatus.CANCELED)
        answer = Answer(AnswerKind.ACCEPTED, status="canceled")
    return Outcome(work.done(), tuple(work.events), answer)


def step(book: Book, now_ms: int, rules: Rules, model: FillModel | None = None) -> Outcome:
    """Time passes: expiries, one step of settlement for each trade that is due, one tick of the
    tape if it is due.

    The tape runs only while an account's order rests, so idle markets cost nothing. A long pause
    is one tick, not thousands.
    """
    work = Work(book, rules, now_ms)
    _expire(work)
    _settle(work)
    tape_at = book.tape_at_ms
    if work.orders and work.now_ms >= tape_at:
        _tape(work, model or SimpleCrossing())
        tape_at = work.now_ms + rules.tape_every_ms
    return Outcome(work.done(tape_at_ms=tape_at), tuple(work.events))


def next_due_ms(book: Book, rules: Rules) -> int | None:
    """When `step` has something to do next, or None while nothing can happen by itself."""
    times = [trade.due_ms for trade in book.trades]
    times += [_stops_at(order, rules) for order in book.orders if order.expiration_ms]
    if book.orders:
        times.append(book.tape_at_ms)
    return min(times, default=None)


# --- arriving -------------------------------------------------------------------------------------


def _early_refusal(
    book: Book, order: Order, now_ms: int, rules: Rules, available: int | None
) -> Answer | None:
    """Checks before the engine: they do not burn the id (docs/venue.md 2.5, 3.6)."""
    price, size = order.price_micros, order.size_micros
    tick = book.tick_micros
    if not book.open:
        return _refuse("ORDERBOOK_MISSING", f"the orderbook {order.token_id} does not exist")
    if not tick <= price <= MICROS - tick or price % tick:
        return _refuse("TICK_SIZE", f"order {order.order_id} breaks minimum tick size rule")
    if size <= 0 or (order.order_type in _RESTS and size % rules.size_step_micros):
        return _refuse("INVALID_AMOUNTS", "invalid amounts")
    if size < book.min_size_micros:
        return _refuse("MIN_SIZE", f"Size ({size}) lower than the minimum")
    if order.spend_micros and (order.order_type in _RESTS or order.side is not Side.BUY):
        return _refuse("INVALID_AMOUNTS", "invalid amounts")
    if order.post_only and order.order_type not in _RESTS:
        return _refuse("INVALID_POST_ONLY", "invalid post-only order: only GTC and GTD")
    if (order.order_type is OrderType.GTD) is not (order.expiration_ms > 0):
        return _refuse("INVALID_EXPIRATION", "invalid expiration")
    if order.expiration_ms and order.expiration_ms - now_ms <= rules.gtd_lead_ms:
        return _refuse("INVALID_EXPIRATION", "invalid expiration")
    need = (order.spend_micros or cost_micros(price, size)) if order.side is Side.BUY else size
    if available is not None and need > available:
        return _refuse("NOT_ENOUGH_BALANCE", "not enough balance / allowance")
    return None


def _refuse(code: str, text: str, *, burns_id: bool = False) -> Answer:
    return Answer(AnswerKind.REFUSED, code=code, text=text, burns_id=burns_id)


def _process(work: Work, order: Order) -> Answer:
    """From here on the id is burned, whatever the answer."""
    order = replace(order, seq=work.next_seq())
    makers = work.makers(order.side, order.price_micros)
    if order.post_only and makers:
        text = "invalid post-only order: order crosses book"
        return _kill(work, order, "POST_ONLY_CROSSES", text)
    offered = _offered(order, makers)
    enough = offered >= (order.spend_micros or order.size_micros)
    if order.order_type is OrderType.FOK and not enough:
        text = "order couldn't be fully filled. FOK orders are fully filled or killed."
        return _kill(work, order, "FOK_KILLED", text)
    if order.order_type is OrderType.FAK and not offered:
        return _kill(work, order, "FAK_KILLED", "no orders found to match with FAK order.")
    at = len(work.events)
    incoming = Incoming(
        order.order_id,
        order.account,
        order.side,
        order.price_micros,
        order.size_micros,
        order.spend_micros,
    )
    order = replace(order, matched_micros=work.cross(incoming))
    if enough:
        order = replace(order, status=OrderStatus.MATCHED)
    elif order.order_type in _RESTS:
        work.orders[order.order_id] = order
    else:
        order = replace(order, status=OrderStatus.CANCELED)
    # Before its trades: a stream that told of a fill first would be allowed, but this is the usual
    # order.
    work.events.insert(at, OrderChanged(OrderEventType.PLACEMENT, order))
    status = "matched" if order.matched_micros else "live"
    return Answer(AnswerKind.ACCEPTED, status=status, burns_id=True)


def _offered(order: Order, makers: list[Maker]) -> int:
    """How much of what bounds the order rests against it: shares, or collateral for them."""
    if not order.spend_micros:
        return sum(maker.size_micros for maker in makers)
    return sum(maker.size_micros * maker.price_micros for maker in makers) // MICROS


def _kill(work: Work, order: Order, code: str, text: str) -> Answer:
    killed = replace(order, status=OrderStatus.INVALID)
    work.events.append(OrderChanged(OrderEventType.CANCELLATION, killed))
    return _refuse(code, text, burns_id=True)


# --- time passing ---------------------------------------------------------------------------------


def _stops_at(order: Order, rules: Rules) -> int:
    return order.expiration_ms - rules.gtd_margin_ms


def _expire(work: Work) -> None:
    for order in list(work.orders.values()):
        if order.expiration_ms and work.now_ms >= _stops_at(order, work.rules):
            _end(work, order, OrderStatus.EXPIRED)


def _end(work: Work, order: Order, status: OrderStatus) -> None:
    del work.orders[order.order_id]
    ended = replace(order, status=status)
    work.events.append(OrderChanged(OrderEventType.CANCELLATION, ended))


def _settle(work: Work) -> None:
    work.trades.sort(key=lambda trade: (trade.matched_at_ms, trade.trade_id))
    for i, trade in enumerate(work.trades):
        if work.now_ms >= trade.due_ms:
            work.trades[i] = _settled(trade, work.now_ms, work.rules)
            work.events.append(TradeChanged(work.trades[i]))


def _settled(trade: Trade, now_ms: int, rules: Rules) -> Trade:
    """One step along docs/venue.md 6.4."""
    if trade.status is TradeStatus.MINED:
        return replace(trade, status=TradeStatus.CONFIRMED)
    if trade.status is TradeStatus.MATCHED and trade.fate is not Fate.CONFIRM:
        return replace(trade, status=TradeStatus.RETRYING, due_ms=now_ms + rules.mine_after_ms)
    if trade.fate is Fate.FAIL:
        return replace(trade, status=TradeStatus.FAILED)
    return replace(trade, status=TradeStatus.MINED, due_ms=now_ms + rules.confirm_after_ms)


def _level_key(level: Level) -> tuple[str, int]:
    return (level.side, level.base_price_micros)


def _tape(work: Work, model: FillModel) -> None:
    """One tick: levels move and refill, taking what they meet; then the background's own takers."""
    before = work.done()
    flow = model.flow(before, work.now_ms)
    work.draws += flow.draws

    def grant(order: Order, offered: int) -> int:
        return model.grant(before, order, offered, work.now_ms)

    moved = flow.shift_micros != work.shift
    work.shift = flow.shift_micros
    # In an order that follows from the state alone, not from how its keeper lists the levels: each
    # draws a number of the queue, and trade ids come from the same numbers.
    places = sorted(range(len(work.levels)), key=lambda i: _level_key(work.levels[i]))
    for i in places:
        level = work.levels[i]
        if not moved and level.size_micros == level.base_size_micros:
            continue
        price, size = work.level_price(level), level.base_size_micros
        if 0 < price < MICROS:
            taker = Incoming("", BACKGROUND, level.side, price, size)
            size -= work.cross(taker, grant, levels=False)
        work.levels[i] = replace(level, size_micros=size, seq=work.next_seq())
    for one in flow.takers:
        work.cross(Incoming("", BACKGROUND, one.side, one.limit_micros, one.size_micros), grant)
