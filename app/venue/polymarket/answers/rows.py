"""One order or one trade as the venue writes it, in a list, alone or in a frame of the user channel.

Two spellings are met (docs/venue.md 5.1): sizes in decimal shares, as every recorded answer has them and the
newest specification says, and sizes as integers of 1e-6 under older pages; statuses plain, or with a prefix.
The unit of a row is decided once for the row, against the size that we signed where it is known. Where it
cannot be told the row is unreadable: read wrong by a million it would free a hold or overfill an order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from app.money import MAX_MICROS, MICROS
from app.venue.interface import Side, TradeStatus, VenueOrder, VenueOrderStatus
from app.venue.polymarket.answers.border import Fields, Unreadable, exact_micros

SizeOf = Callable[[str], int | None]
"""The size in micros that we signed for one of our orders; None for an id that is not ours."""

_OTHER_UNIT_FROM: Final = MICROS
"""Whole shares from which a number without a point could be micros of an order of ordinary size."""

_LEAST_IN_MICROS: Final = 10_000
"""A hundredth of a share: orders and fills are not smaller (docs/venue.md 3.5)."""

_OTHER_UNIT_TIMES: Final = 1_000
"""A fill that is more than this many times its order is no overfill but another unit."""

_ORDER_STATUSES: Final = {
    "LIVE": VenueOrderStatus.LIVE,
    "DELAYED": VenueOrderStatus.DELAYED,
    "MATCHED": VenueOrderStatus.MATCHED,
    "CANCELED": VenueOrderStatus.CANCELLED,
    "CANCELLED": VenueOrderStatus.CANCELLED,
    "CANCELED_EXPIRED_ORDER": VenueOrderStatus.EXPIRED,
    "INVALID": VenueOrderStatus.REJECTED,
}
"""UNMATCHED is left out: the venue's pages disagree whether such an order rests, so nothing is concluded."""

_KILLED: Final = re.compile(
    r"CANCELL?ED_(?:ORDER COULDN.T BE FULLY FILLED|NO ORDERS FOUND TO MATCH)"
)
_ENDED: Final = re.compile(r"CANCELL?ED_")

_TRADE_STATUSES: Final = {
    **{status.value: status for status in TradeStatus},
    "MATCHED_NOT_BROADCASTED": TradeStatus.MATCHED,
}


def nobodys(_venue_order_id: str) -> None:
    """A `SizeOf` that knows no order."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order, and what else its row tells. Nothing is concluded from the rest: it may be missing."""

    order: VenueOrder
    condition_id: str
    owner: str
    """The API key id under which it was placed."""
    wallet: str
    order_type: str
    created_at_ms: int
    """`border.NOT_TOLD` where the row has "" or nothing."""
    trade_ids: tuple[str, ...]
    """Trades it took part in: how a delayed order's fills are found."""


@dataclass(frozen=True, slots=True)
class MakerRow:
    """One resting order that a trade hit. Its values are its own, never the taker's (lesson 20)."""

    place: int
    """Its place among the trade's maker orders."""
    venue_order_id: str
    owner: str
    wallet: str
    fields: Fields
    """Read only where it is ours: a stranger's odd entry must not cost us our fill."""


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A trade as its row tells it. Which parts are ours: `own.own_fills`."""

    trade_id: str
    taker_order_id: str
    trader_side: str
    """Our part in it as the venue sees it: TAKER, MAKER, or empty where it does not say."""
    owner: str
    """The API key of the taker, or of the listener: pages and recordings differ."""
    wallet: str
    status: TradeStatus
    raw_status: str
    matched_at_ms: int
    transaction_hash: str
    makers: tuple[MakerRow, ...]
    fields: Fields
    """For the taker's part."""


# --- orders ---------------------------------------------------------------------------------------


def read_order_row(
    value: object, size_of: SizeOf = nobodys, *, blank_is_none: bool = False
) -> OrderRow:
    """One order. Raises `Unreadable`, also where the unit of its sizes cannot be told.

    ``blank_is_none``: take an empty ``size_matched`` for nothing matched. The user channel writes it so, and
    may not end an order; in an answer that may, it counts for a killed order only, which cannot have fills.
    """
    row = Fields(value, "order")
    venue_order_id = row.text("id").lower()
    raw_status = row.optional("status")
    status = order_status(raw_status)
    original = row.decimal("original_size")
    blank = row.get("size_matched") in (None, "")
    matched = (
        "0"
        if blank and (blank_is_none or status is VenueOrderStatus.REJECTED)
        else row.decimal("size_matched")
    )
    unit = unit_of((original, matched), original, size_of(venue_order_id))
    order = VenueOrder(
        venue_order_id=venue_order_id,
        token_id=row.text("asset_id"),
        side=_side(row),
        price_micros=row.price_micros("price"),
        original_size_micros=unit.micros(original, "original_size"),
        size_matched_micros=unit.micros(matched, "size_matched"),
        status=status,
        raw_status=raw_status,
    )
    trades = row.get("associate_trades")
    return OrderRow(
        order,
        row.optional("market"),
        _owner(row, "order_owner", "owner"),
        row.optional("maker_address").lower(),
        row.optional("order_type"),
        row.instant_ms("created_at"),
        tuple(t for t in trades if isinstance(t, str)) if isinstance(trades, list) else (),
    )


def order_status(raw: str) -> VenueOrderStatus:
    """What a raw status means; `OTHER` for one that nobody has described."""
    plain = raw.upper().removeprefix("ORDER_STATUS_")
    if found := _ORDER_STATUSES.get(plain):
        return found
    if _KILLED.match(plain):
        return VenueOrderStatus.REJECTED
    return VenueOrderStatus.CANCELLED if _ENDED.match(plain) else VenueOrderStatus.OTHER


def _side(row: Fields) -> Side:
    side = row.text("side").upper()
    if side not in Side.__members__:
        raise Unreadable(f"order: side is neither BUY nor SELL: {side[:20]}")
    return Side(side)


def _owner(row: Fields, *names: str) -> str:
    return next((found for name in names if (found := row.optional(name).lower())), "")


# --- trades ---------------------------------------------------------------------------------------


def read_trade_row(value: object) -> TradeRow:
    """One trade. Raises `Unreadable`; the numbers of its parts are read where a part is ours."""
    row = Fields(value, "trade")
    raw_status = row.optional("status")
    makers = row.get("maker_orders")
    if makers is not None and not isinstance(makers, list):
        raise Unreadable("trade: maker_orders is no list")
    return TradeRow(
        row.text("id"),
        row.optional("taker_order_id").lower(),
        row.optional("trader_side").upper(),
        _owner(row, "owner", "trade_owner"),
        row.optional("maker_address").lower(),
        trade_status(raw_status),
        raw_status,
        row.instant_ms("match_time", "matchtime", "last_update", "timestamp"),
        row.optional("transaction_hash"),
        tuple(_maker(place, one) for place, one in enumerate(makers or ())),
        row,
    )


def trade_status(raw: str) -> TradeStatus:
    """What a raw status means. One that nobody has described is MATCHED: the lowest, final in neither way."""
    return _TRADE_STATUSES.get(raw.upper().removeprefix("TRADE_STATUS_"), TradeStatus.MATCHED)


def _maker(place: int, value: object) -> MakerRow:
    row = Fields(value, f"maker order {place}")
    return MakerRow(
        place,
        row.optional("order_id").lower(),
        row.optional("owner").lower(),
        row.optional("maker_address").lower(),
        row,
    )


# --- units ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """What a size of one row counts."""

    in_micros: bool

    def micros(self, decimal: str, what: str) -> int:
        if not self.in_micros:
            return exact_micros(decimal, what)
        if int(decimal) > MAX_MICROS:
            raise Unreadable(f"{what} is larger than anything that trades: {decimal[:40]}")
        return int(decimal)


def unit_of(row: Iterable[str], decisive: str, signed_micros: int | None) -> Unit:
    """The unit of a row's sizes, all given as plain decimal text.

    ``decisive``: the size that is held against ``signed_micros``, what we signed for that order. Raises
    `Unreadable` where both units are possible and we do not know the order.
    """
    if any("." in size or size.startswith("-") for size in row):
        return Unit(in_micros=False)
    shares = int(decisive)
    if signed_micros is not None:
        if shares * MICROS > signed_micros * _OTHER_UNIT_TIMES:
            return Unit(in_micros=True)
        if shares * MICROS > signed_micros and _LEAST_IN_MICROS <= shares <= signed_micros:
            # As shares an overfill, as micros a small fill: a million lies between the two.
            raise Unreadable(f"a size of {decisive[:40]} could be shares or millionths of one")
        return Unit(in_micros=False)
    if shares >= _OTHER_UNIT_FROM:
        raise Unreadable(f"a size of {decisive[:40]} could be shares or millionths of one")
    return Unit(in_micros=False)
