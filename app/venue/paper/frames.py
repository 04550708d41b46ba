"""The user stream's frames: how an event is written down, and how it is read again (docs/venue.md
6.2, 6.3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.money import format_micros, parse_micros
from app.venue.interface import (
    OrderEvent,
    Side,
    TradeEvent,
    TradeStatus,
    VenueEvent,
    VenueOrder,
    VenueOrderStatus,
    VenueTrade,
)
from app.venue.matching import BACKGROUND, Event, Order, OrderChanged, Part, Trade

_MEANING = {
    "LIVE": VenueOrderStatus.LIVE,
    "MATCHED": VenueOrderStatus.MATCHED,
    "CANCELED": VenueOrderStatus.CANCELLED,
    "CANCELED_EXPIRED_ORDER": VenueOrderStatus.EXPIRED,
    "INVALID": VenueOrderStatus.REJECTED,
}


def order_status(raw: str) -> VenueOrderStatus:
    return _MEANING.get(raw, VenueOrderStatus.OTHER)


def frames_of(event: Event, now_ms: int) -> Iterator[tuple[str, str]]:
    """(account, frame) for each account the event concerns; a trade gives one frame per order of
    ours in it.
    """
    if isinstance(event, OrderChanged):
        yield event.order.account, json.dumps(_order_frame(event.type, event.order, now_ms))
        return
    for part in event.trade.parts:
        if part.account != BACKGROUND:
            yield part.account, json.dumps(_trade_frame(event.trade, part, now_ms))


def _order_frame(kind: str, order: Order, now_ms: int) -> dict[str, Any]:
    return {
        "event_type": "order",
        "type": kind,
        "id": order.order_id,
        "owner": order.account,
        "asset_id": order.token_id,
        "side": order.side,
        "price": format_micros(order.price_micros),
        "original_size": format_micros(order.size_micros),
        "size_matched": format_micros(order.matched_micros),
        "order_type": order.order_type,
        "status": order.status,
        "timestamp": str(now_ms),
    }


def _trade_frame(trade: Trade, part: Part, now_ms: int) -> dict[str, Any]:
    return {
        "event_type": "trade",
        "type": "TRADE",
        "id": trade.trade_id,
        "order_id": part.order_id,
        "owner": part.account,
        "asset_id": trade.token_id,
        "side": part.side,
        "price": format_micros(trade.price_micros),
        "size": format_micros(part.size_micros),
        "fee": format_micros(part.fee_micros),
        "status": trade.status,
        "trader_side": "MAKER" if part.is_maker else "TAKER",
        "match_time": str(trade.matched_at_ms),
        "timestamp": str(now_ms),
    }


def read_frame(seq: int, raw: str) -> VenueEvent:
    """A stored frame as the interface tells it. ``paper-<seq>`` is the same for the same frame for
    ever.
    """
    frame = json.loads(raw)
    event_id = f"paper-{seq}"
    price = parse_micros(frame["price"], what="price")
    if frame["event_type"] == "trade":
        return TradeEvent(event_id, _trade(frame, price), raw, seq)
    order = VenueOrder(
        frame["id"],
        frame["asset_id"],
        Side(frame["side"]),
        price,
        parse_micros(frame["original_size"], what="original_size"),
        parse_micros(frame["size_matched"], what="size_matched"),
        order_status(frame["status"]),
        frame["status"],
    )
    return OrderEvent(event_id, order, raw, seq)


def _trade(frame: dict[str, Any], price: int) -> VenueTrade:
    return VenueTrade(
        frame["id"],
        frame["order_id"],
        frame["asset_id"],
        parse_micros(frame["size"], what="size"),
        price,
        TradeStatus(frame["status"]),
        frame["status"],
        frame["trader_side"] == "MAKER",
        int(frame["match_time"]),
        parse_micros(frame["fee"], what="fee"),
    )
