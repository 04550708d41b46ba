"""Books from rows and rows from books. Every function runs inside the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from app.venue.interface import OrderType, Side, TradeStatus
from app.venue.matching import (
    BACKGROUND,
    Book,
    Event,
    Fate,
    Level,
    Order,
    OrderChanged,
    OrderStatus,
    Outcome,
    Part,
    Rules,
    Trade,
    TradeChanged,
    next_due_ms,
)
from app.venue.paper.body import Received
from app.venue.paper.frames import frames_of
from app.venue.paper.statements import SQL, Connection


@dataclass(slots=True)
class Session:
    """The locked books of one transaction and what happened to them so far."""

    before: dict[str, Book]
    books: dict[str, Book] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)
    arrived: dict[str, Received] = field(default_factory=dict)
    repeats: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.books = dict(self.before)

    def apply(self, outcome: Outcome) -> None:
        self.books[outcome.book.token_id] = outcome.book
        self.events += [(outcome.book.at_ms, event) for event in outcome.events]


async def load(conn: Connection, rows: Sequence[Any]) -> Session:
    """The whole books of locked rows of ``paper.book``."""
    tokens = [row["token_id"] for row in rows]
    if not tokens:
        return Session({})
    levels = _by_token(await conn.fetch(SQL["load_levels"], tokens))
    orders = _by_token(await conn.fetch(SQL["load_orders"], tokens))
    trades = _by_token(await conn.fetch(SQL["load_trades"], tokens))
    return Session(
        {
            token: replace(
                _bare_book(row),
                levels=tuple(_level(one) for one in levels.get(token, ())),
                orders=tuple(_live_order(one) for one in orders.get(token, ())),
                trades=tuple(_trades(trades.get(token, ()))),
            )
            for token, row in zip(tokens, rows, strict=True)
        }
    )


def _by_token(rows: Iterable[Any]) -> dict[str, list[Any]]:
    return {token: list(some) for token, some in groupby(rows, key=lambda row: row["token_id"])}


def _bare_book(row: Any) -> Book:
    return Book(
        row["token_id"],
        row["condition_id"],
        row["tick_micros"],
        row["min_size_micros"],
        row["seed"],
        row["fee_rate_ppm"],
        shift_micros=row["shift_micros"],
        seq=row["seq"],
        draws=row["draws"],
        at_ms=row["at_ms"],
        tape_at_ms=row["tape_at_ms"],
        open=row["is_open"],
    )


def _level(row: Any) -> Level:
    return Level(
        Side(row["side"]),
        row["base_price_micros"],
        row["base_size_micros"],
        row["size_micros"],
        row["seq"],
    )


def _live_order(row: Any) -> Order:
    return Order(
        row["venue_order_id"],
        row["account"],
        row["token_id"],
        Side(row["side"]),
        row["price_micros"],
        row["size_micros"],
        OrderType(row["order_type"]),
        row["post_only"],
        row["expiration_ms"],
        row["matched_micros"],
        OrderStatus(row["status"]),
        row["seq"],
        row["received_at_ms"],
    )


def _trades(rows: Iterable[Any]) -> Iterable[Trade]:
    for trade_id, group in groupby(rows, key=lambda row: row["trade_id"]):
        some = list(group)
        first = some[0]
        yield Trade(
            trade_id,
            first["token_id"],
            first["price_micros"],
            tuple(
                Part(
                    row["venue_order_id"],
                    row["account"],
                    Side(row["side"]),
                    row["size_micros"],
                    row["is_maker"],
                    row["fee_micros"],
                )
                for row in some
            ),
            first["matched_at_ms"],
            Fate(first["fate"]),
            TradeStatus(first["status"]),
            first["due_ms"],
        )


async def save(conn: Connection, session: Session, rules: Rules) -> None:
    """Write down everything that changed since `load`. Events come last: their lock is shared by
    all tokens.
    """
    await _save_orders(conn, session)
    await _save_trades(conn, session)
    await _save_books(conn, session, rules)
    await _save_events(conn, session)


async def _write(conn: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """One statement for many rows: each column travels as an array."""
    if rows:
        await conn.execute(SQL[statement], *(list(column) for column in zip(*rows, strict=True)))


async def _save_orders(conn: Connection, session: Session) -> None:
    last = {
        event.order.order_id: event.order
        for _, event in session.events
        if isinstance(event, OrderChanged)
    }
    new, known = [], []
    for order in last.values():
        if (came := session.arrived.get(order.order_id)) is not None:
            new.append((*_order_row(order), came.salt, came.timestamp_ms, came.body))
        else:
            known.append((order.order_id, order.matched_micros, order.status))
    await _write(conn, "insert_orders", new)
    await _write(conn, "update_orders", known)
    await _write(conn, "count_repeats", list(session.repeats.items()))


def _order_row(order: Order) -> tuple[Any, ...]:
    return (
        order.order_id,
        order.account,
        order.token_id,
        order.side,
        order.price_micros,
        order.size_micros,
        order.matched_micros,
        order.order_type,
        order.post_only,
        order.expiration_ms,
        order.status,
        order.seq,
        order.received_at_ms,
    )


async def _save_trades(conn: Connection, session: Session) -> None:
    changed = {
        event.trade.trade_id: event.trade
        for _, event in session.events
        if isinstance(event, TradeChanged)
    }
    rows = [
        (t.trade_id, t.token_id, t.price_micros, t.status, t.fate, t.matched_at_ms, t.due_ms)
        for t in changed.values()
    ]
    old = {trade.trade_id for book in session.before.values() for trade in book.trades}
    parts = [
        (t.trade_id, *_part_row(p), t.matched_at_ms)
        for t in changed.values()
        if t.trade_id not in old
        for p in t.parts
        if p.account != BACKGROUND
    ]
    await _write(conn, "save_trades", rows)
    await _write(conn, "insert_trade_parts", parts)


def _part_row(part: Part) -> tuple[Any, ...]:
    return (
        part.order_id,
        part.account,
        part.side,
        part.size_micros,
        part.is_maker,
        part.fee_micros,
    )


async def _save_books(conn: Connection, session: Session, rules: Rules) -> None:
    levels, books = [], []
    for token, book in session.books.items():
        before = session.before[token]
        was = {(lv.side, lv.base_price_micros): lv for lv in before.levels}
        levels += [
            (token, lv.side, lv.base_price_micros, lv.size_micros, lv.seq)
            for lv in book.levels
            if was[lv.side, lv.base_price_micros] != lv
        ]
        if book is not before:
            state = (book.shift_micros, book.seq, book.draws, book.at_ms, book.tape_at_ms)
            books.append((token, *state, next_due_ms(book, rules)))
    await _write(conn, "save_levels", levels)
    await _write(conn, "save_books", books)


async def _save_events(conn: Connection, session: Session) -> None:
    frames = [
        (account, at_ms, frame)
        for at_ms, event in session.events
        for account, frame in frames_of(event, at_ms)
    ]
    counts = Counter(account for account, _, _ in frames)
    await _write(conn, "lock_accounts", list(counts.items()))
    await _write(conn, "insert_events", frames)
