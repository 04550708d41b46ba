"""Look-ups that several invariants share. They judge nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from proof.auditor.interface import Asked, OrderAsked, Row, VenueBook, VenueFill, VenueOrder, Views

MICROS = 1_000_000
COLLATERAL = "collateral"
ENDED = frozenset({"FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED"})
AT_THE_VENUE = frozenset({"LIVE", "DELAYED"})

Intent = tuple[str, str]
"""Account and key: what one wanted order is known by, whatever number it got."""


def intents(asked: Asked) -> dict[Intent, list[OrderAsked]]:
    """The calls of each key, oldest first."""
    found: dict[Intent, list[OrderAsked]] = defaultdict(list)
    for call in sorted(asked.orders, key=lambda one: one.turn):
        found[call.account, call.key].append(call)
    return found


def terms(call: OrderAsked) -> tuple[object, ...]:
    """What makes two calls of one key the same request."""
    wanted = (call.market, call.outcome, call.side, call.price_micros, call.size_micros)
    return (*wanted, call.order_type, call.post_only, call.expires_at_s, call.clamp, call.replaces)


def admitted(call: OrderAsked) -> bool:
    """Whether the caller was told so."""
    return call.answer is not None and call.answer.accepted


def by_venue_id(views: Views) -> dict[str, list[Row]]:
    """The ledger's orders by the id they have at the venue."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in views.of("orders"):
        if row["venue_order_id"] is not None:
            found[row["venue_order_id"]].append(row)
    return found


def by_order_id(views: Views) -> dict[int, Row]:
    return {row["order_id"]: row for row in views.of("orders")}


def at_venue(venue: VenueBook) -> dict[str, VenueOrder]:
    return {order.venue_order_id: order for order in venue.orders}


def counted(fills: Iterable[VenueFill]) -> list[VenueFill]:
    """Fills that have not failed."""
    return [fill for fill in fills if fill.status != "FAILED"]


def cash(side: str, price_micros: int, size_micros: int) -> int:
    """What a trade costs before the fee, rounded against us."""
    exact = price_micros * size_micros
    return -(-exact // MICROS) if side == "BUY" else exact // MICROS


def highest_fee(price_micros: int, size_micros: int, rate_micros: int, exponent: int) -> int:
    """The most that the venue's formula can charge for a BUY limited at this price, rounded down.

    shares × rate × (p × (1 − p))^exponent, which is largest at one half where the limit is above that. A fill at a
    lower price costs less by more than its fee can be higher, so the limit's own price is what certainly counts.
    """
    ratio = price_micros * (MICROS - price_micros)
    return int(size_micros * rate_micros * ratio**exponent // (MICROS * MICROS ** (2 * exponent)))


def named(row: Row) -> str:
    return f"order {row['order_id']} of {row['account']}"
