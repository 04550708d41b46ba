"""Orders, trades and books in the forms in which the venue shows them (docs/venue.md 3.2, 5, 6, 7)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from app.money import MICROS, format_micros
from app.venue.interface import Side
from app.venue.matching import BACKGROUND, Book, Part, Trade, resting
from app.venue.simulator.markets import Market
from app.venue.simulator.records import OrderRecord, TradeRecord

FindOrder = Callable[[str], OrderRecord]


def order_view(record: OrderRecord) -> dict[str, Any]:
    """As GET /data/order/{id} shows it."""
    order = record.order
    return {
        "id": order.order_id,
        "status": record.status,
        "owner": record.owner,
        "maker_address": record.maker,
        "market": record.condition_id,
        "asset_id": order.token_id,
        "side": order.side.value,
        "original_size": format_micros(order.size_micros),
        "size_matched": format_micros(order.matched_micros),
        "price": format_micros(order.price_micros),
        "outcome": record.outcome,
        "expiration": str(record.expiration_s),
        "order_type": order.order_type.value,
        "associate_trades": list(record.trades),
        "created_at": record.created_ms // 1000,
    }


def order_frame(kind: str, record: OrderRecord, now_ms: int) -> dict[str, Any]:
    """An order event of the user channel."""
    view = order_view(record)
    view["created_at"] = str(view["created_at"])
    return {
        **view,
        "order_owner": record.owner,
        "type": kind,
        "timestamp": str(now_ms),
        "event_type": "order",
    }


# --- trades ---------------------------------------------------------------------------------------


def made_up_owner(trade_id: str, place: int) -> str:
    """The API key of somebody outside."""
    h = hashlib.sha256(f"owner|{trade_id}|{place}".encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-8{h[17:20]}-{h[20:32]}"


def made_up_address(trade_id: str, place: int) -> str:
    return "0x" + hashlib.sha256(f"address|{trade_id}|{place}".encode()).hexdigest()[:40]


def made_up_order(trade_id: str, place: int) -> str:
    return "0x" + hashlib.sha256(f"order|{trade_id}|{place}".encode()).hexdigest()


def trade_view(
    record: TradeRecord, account: str, find: FindOrder, market: Market, *, prefix: bool
) -> dict[str, Any]:
    """As one account sees it: top-level values are the taker's, whoever looks."""
    trade = record.trade
    taker, makers = trade.parts[0], trade.parts[1:]
    token, side, price = trade.token_id, taker.side, trade.price_micros
    if record.mint:
        token, price = market.other(token), MICROS - price
        side = Side.SELL if side is Side.BUY else Side.BUY
    maker_rows = [_maker(trade, i, part, find, market) for i, part in enumerate(makers, 1)]
    return {
        "id": trade.trade_id,
        "taker_order_id": taker.order_id or made_up_order(trade.trade_id, 0),
        "market": record.condition_id,
        "asset_id": token,
        "side": side.value,
        "size": format_micros(sum(part.size_micros for part in makers)),
        "fee_rate_bps": "0",
        "price": format_micros(price),
        "status": ("TRADE_STATUS_" if prefix else "") + trade.status.value,
        "match_time": str(trade.matched_at_ms // 1000),
        "last_update": str(record.updated_ms // 1000),
        "outcome": market.outcome_of(token),
        "bucket_index": 0,
        "owner": _owner(trade, 0, taker, find),
        "maker_address": _address(trade, 0, taker, find),
        "transaction_hash": record.transaction_hash,
        "trader_side": "TAKER" if taker.account == account else "MAKER",
        "maker_orders": maker_rows,
    }


def _maker(trade: Trade, place: int, part: Part, find: FindOrder, market: Market) -> dict[str, Any]:
    return {
        "order_id": part.order_id or made_up_order(trade.trade_id, place),
        "owner": _owner(trade, place, part, find),
        "maker_address": _address(trade, place, part, find),
        "matched_amount": format_micros(part.size_micros),
        "price": format_micros(trade.price_micros),
        "fee_rate_bps": "0",
        "asset_id": trade.token_id,
        "outcome": market.outcome_of(trade.token_id),
        "outcome_index": market.tokens.index(trade.token_id),
        "side": part.side.value,
    }


def _owner(trade: Trade, place: int, part: Part, find: FindOrder) -> str:
    if part.account == BACKGROUND:
        return made_up_owner(trade.trade_id, place)
    return find(part.order_id).owner


def _address(trade: Trade, place: int, part: Part, find: FindOrder) -> str:
    if part.account == BACKGROUND:
        return made_up_address(trade.trade_id, place)
    return find(part.order_id).maker


def trade_frame(
    record: TradeRecord, account: str, find: FindOrder, market: Market, now_ms: int
) -> dict[str, Any]:
    """A trade event of the user channel, for one of the accounts in it."""
    view = trade_view(record, account, find, market, prefix=False)
    own = next(part for part in record.trade.parts if part.account == account)
    return {
        **view,
        "trade_owner": find(own.order_id).owner,
        "transaction_hash": view["transaction_hash"] or None,
        "type": "TRADE",
        "timestamp": str(now_ms),
        "event_type": "trade",
    }


# --- books ----------------------------------------------------------------------------------------


def levels_of(book: Book, side: Side) -> list[dict[str, str]]:
    """One side, the best price last, as the venue lists both."""
    totals = sorted(resting(book, side).items(), reverse=side is Side.SELL)
    return [{"price": format_micros(p), "size": format_micros(s)} for p, s in totals]


def book_view(book: Book, market: Market, timestamp_ms: int, last_price: str) -> dict[str, Any]:
    """As GET /book shows it, with the venue's own hash over exactly this."""
    view: dict[str, Any] = {
        "market": market.condition_id,
        "asset_id": book.token_id,
        "timestamp": str(timestamp_ms),
        "hash": "",
        "bids": levels_of(book, Side.BUY),
        "asks": levels_of(book, Side.SELL),
        "min_order_size": format_micros(market.min_size_micros),
        "tick_size": format_micros(book.tick_micros),
        "neg_risk": market.neg_risk,
        "last_trade_price": last_price,
    }
    text = json.dumps(view, separators=(",", ":"), ensure_ascii=False)
    view["hash"] = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return view


def best(book: Book) -> tuple[int | None, int | None]:
    """Best bid and best ask in micros."""
    bids, asks = resting(book, Side.BUY), resting(book, Side.SELL)
    return max(bids, default=None), min(asks, default=None)
