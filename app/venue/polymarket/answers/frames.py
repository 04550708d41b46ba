"""One frame of the user channel as events (docs/venue.md 6.2, 6.3).

Every item of a frame becomes at least one event, whatever it holds: what cannot be read is an `UnreadEvent`,
so that it is stored, counted and alarmed instead of lost (an official parser once dropped every trade).
An event's id is a digest of the item's own text, so a frame that is told twice is stored once, and the
stored text gives the same event again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from app.venue.interface import OrderEvent, TradeEvent, UnreadEvent, VenueEvent
from app.venue.polymarket.answers.border import Fields, Unreadable, elements, parse
from app.venue.polymarket.answers.own import Ours, own_fills
from app.venue.polymarket.answers.rows import read_order_row, read_trade_row

ORDER_PLACE: Final = "o"
UNREAD_PLACE: Final = "u"

_MOST_ORDER_ID: Final = 100
_ORDER_TYPES: Final = frozenset({"PLACEMENT", "UPDATE", "CANCELLATION"})


def frame_events(frame: str, ours: Ours) -> list[VenueEvent]:
    """All events of a raw frame, in its order. A keep-alive and an empty frame give none."""
    frame = _storable(frame).strip()
    if not frame or frame.upper() in ("PONG", "PING"):
        return []
    try:
        items = elements(frame) if frame.startswith("[") else [(parse(frame), frame)]
    except Unreadable as error:
        return [_unread(frame, str(error))]
    return [event for value, raw in items for event in _item_events(value, raw, ours)]


def read_event(event_id: str, raw: str, ours: Ours) -> VenueEvent:
    """A stored event again, from its id and the text of its item.

    One that was stored as unread is read anew: it gives its event where it has become readable and is one
    event. Where it has become several, it stays unread and says so; `frame_events` of its text gives all.
    """
    place = event_id.rpartition(":")[2]
    events = frame_events(raw, ours)
    for event in events:
        if event.event_id.rpartition(":")[2] == place:
            return replace(event, event_id=event_id)
    if place == UNREAD_PLACE and len(events) == 1:
        return replace(events[0], event_id=event_id)
    reason = f"the stored text now holds {len(events)} events, none of them this one"
    return UnreadEvent(event_id, raw, reason)


def _item_events(value: object, raw: str, ours: Ours) -> list[VenueEvent]:
    try:
        item = Fields(value, "frame")
        kind = _kind(item)
        if kind == "order":
            order = read_order_row(value, ours.size_of, blank_is_none=True).order
            return [OrderEvent(_order_event_id(order.venue_order_id, raw), order, raw)]
        if kind == "trade":
            fills = own_fills(read_trade_row(value), ours)
            if not fills:
                raise Unreadable("a trade in which no order is ours")
            return [TradeEvent(_event_id(raw, place), fill, raw) for place, fill in fills.items()]
        raise Unreadable(f"neither an order nor a trade: {kind[:60]}")
    except Unreadable as error:
        return [_unread(raw, str(error))]


def _kind(item: Fields) -> str:
    """``event_type``, or where it is missing what ``type`` implies."""
    told = item.optional("event_type").lower()
    implied = item.optional("type").upper()
    if told or not implied:
        return told
    if implied == "TRADE":
        return "trade"
    return "order" if implied in _ORDER_TYPES else implied


def _unread(raw: str, reason: str) -> UnreadEvent:
    return UnreadEvent(_event_id(raw, UNREAD_PLACE), raw, reason)


def _event_id(raw: str, place: str) -> str:
    return f"pm:{hashlib.sha256(raw.encode()).hexdigest()}:{place}"


def _order_event_id(venue_order_id: str, raw: str) -> str:
    """Begins with the order, so that the ledger can ask whether the stream has told of it at all.

    An id of another shape than the venue's is cut to what the column of event ids can hold.
    """
    told = venue_order_id[:_MOST_ORDER_ID].encode("ascii", "replace").decode()
    return f"o:{told}:{_event_id(raw, ORDER_PLACE)}"


def _storable(frame: str) -> str:
    """As a database can hold it, so that what is stored is what was read: no NUL, no half characters."""
    return frame.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
