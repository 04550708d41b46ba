"""Reads of the venue turned into facts for the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.ledger.calls import Item, storable
from app.venue.interface import Found, Unread, VenueOrder, VenueTrade
from workers.worker.context import Context


def observation(account: str, order: VenueOrder, *, source: str, took_ms: int = 0) -> Item:
    """An order as ``ledger.observe_orders`` takes it. ``source``: read (by id, or a clean list) or stream;
    ``took_ms``: since the read began, so that a late answer cannot contradict a newer one.
    """
    return {
        "took_ms": took_ms,
        "account": account,
        "venue_order_id": storable(order.venue_order_id),
        "status": order.status.value,
        "raw_status": storable(order.raw_status),
        "size_matched_micros": order.size_matched_micros,
        "source": source,
        "token_id": storable(order.token_id),
        "side": order.side.value,
        "price_micros": order.price_micros,
        "size_micros": order.original_size_micros,
    }


def fill(account: str, trade: VenueTrade) -> Item:
    """Our part of a trade as ``ledger.record_fills`` takes it."""
    return {
        "account": account,
        "trade_id": storable(trade.trade_id),
        "venue_order_id": storable(trade.venue_order_id),
        "size_micros": trade.size_micros,
        "price_micros": trade.price_micros,
        "fee_micros": trade.fee_micros,
        "status": trade.status.value,
        "raw_status": storable(trade.raw_status),
        "is_maker": trade.is_maker,
        "matched_at_ms": trade.matched_at_ms,
    }


@dataclass(frozen=True, slots=True)
class OrdersRead:
    """The ids of which nothing was found. ``absent``: the venue answered cleanly that there is nothing now."""

    absent: tuple[str, ...]
    unread: tuple[str, ...]


async def read_orders(context: Context, account: str, venue_order_ids: Sequence[str]) -> OrdersRead:
    """Look each order up by id and book what is found."""
    found: list[VenueOrder] = []
    absent: list[str] = []
    unread: list[str] = []
    started_ns = context.ports.clock.monotonic_ns()
    for venue_order_id in venue_order_ids:
        answer = await context.venue.order(account, venue_order_id)
        if isinstance(answer, Found):
            found.append(answer.value)
        elif isinstance(answer, Unread):
            unread.append(venue_order_id)
        else:
            absent.append(venue_order_id)
    await observe(context, account, found, source="read", since_ns=started_ns)
    return OrdersRead(tuple(absent), tuple(unread))


async def observe(
    context: Context,
    account: str,
    orders: Iterable[VenueOrder],
    *,
    source: str,
    since_ns: int | None = None,
) -> list[Item]:
    """Book what was seen. ``since_ns``: when the read began (monotonic); None for the stream."""
    took_ms = context.elapsed_ms(since_ns) if since_ns is not None else 0
    items = [observation(account, order, source=source, took_ms=took_ms) for order in orders]
    answers: list[Item] = []
    for start in range(0, len(items), 100):
        answers += await context.calls.items("observe_orders", items[start : start + 100])
    return answers


async def book_trades(context: Context, account: str, trades: Iterable[VenueTrade]) -> list[Item]:
    items = [fill(account, trade) for trade in trades]
    answers: list[Item] = []
    for start in range(0, len(items), 100):
        answers += await context.calls.items("record_fills", items[start : start + 100])
    return answers
