"""Our parts of a trade (docs/venue.md 6.3): which of them are ours, and what each one is.

Identity is (trade, order): one trade may hit several of our resting orders, and we may stand on both sides of
it. A maker's values come from its own entry, never from the trade's head, which is the taker's: the entry may
even be the other token, at one minus the price (lessons 19 and 20).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.venue.interface import VenueTrade
from app.venue.matching.crossing import taker_fee_micros
from app.venue.polymarket.answers.border import Fields, Unreadable
from app.venue.polymarket.answers.rows import MakerRow, SizeOf, TradeRow, nobodys, unit_of

TAKER_PLACE: Final = "t"


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """A market's fee as its own object tells it (``fd`` or ``feeSchedule``), never from ``/fee-rate``."""

    rate_micros: int
    exponent: int = 1


@dataclass(frozen=True, slots=True)
class Ours:
    """How an account recognises what is its own."""

    owners: frozenset[str]
    """API key ids, in lower case: the present one and those before it."""
    wallet: str
    """The address that makes the orders, in lower case. Decides only where a row tells no owner: two of our
    accounts may share a wallet, each with a key of its own (docs/venue.md 2.3).
    """
    knows: Callable[[str], bool]
    """Whether an order id, in lower case, is in the ledger under this account."""
    fee_terms: Callable[[str], FeeTerms]
    """The fee of a token's market, asked only for fills as a taker. Must answer for any token: a fill that
    waits for its fee is a fill that is not booked.
    """
    size_of: SizeOf = nobodys

    def owns(self, venue_order_id: str, owner: str, wallet: str) -> bool:
        if self.knows(venue_order_id):
            return True
        return owner in self.owners if owner else bool(wallet) and wallet == self.wallet


def own_fills(row: TradeRow, ours: Ours) -> dict[str, VenueTrade]:
    """Our parts of the trade by their place in it: ``t`` for the taker, ``m0``, ``m1`` ... for maker orders.

    Empty where every part is somebody else's. Raises `Unreadable` where a part of ours cannot be read, or
    where one order of ours would stand in the trade twice, which leaves its size open.
    """
    fills = {
        f"m{maker.place}": _maker_fill(row, maker, ours)
        for maker in row.makers
        if ours.owns(maker.venue_order_id, maker.owner, maker.wallet)
    }
    if _is_taker(row, ours, is_maker=bool(fills)):
        fills = {TAKER_PLACE: _taker_fill(row, ours), **fills}
    if len({fill.venue_order_id for fill in fills.values()}) != len(fills):
        raise Unreadable(f"trade {row.trade_id}: an order of ours stands in it twice")
    return fills


def fee_micros(terms: FeeTerms, price_micros: int, size_micros: int) -> int:
    """shares x rate x (p x (1 - p)) ^ exponent, down to five decimals, as the venue charges it.

    The answer names no amount, so this is a computation; what the venue took shows in the balance.
    """
    return taker_fee_micros(terms.rate_micros, price_micros, size_micros, terms.exponent)


def _is_taker(row: TradeRow, ours: Ours, *, is_maker: bool) -> bool:
    if ours.knows(row.taker_order_id):
        return True
    # The head's owner is the taker on recorded frames and the listener on the venue's page. So for an order
    # that the ledger does not know it counts only where the row says, or leaves open, that we took.
    if row.trader_side == "MAKER" or (is_maker and row.trader_side != "TAKER"):
        return False
    return ours.owns(row.taker_order_id, row.owner, row.wallet)


def _taker_fill(row: TradeRow, ours: Ours) -> VenueTrade:
    size = _size(row, row.fields, "size", row.taker_order_id, ours)
    price, token_id = row.fields.price_micros("price"), row.fields.text("asset_id")
    fee = fee_micros(ours.fee_terms(token_id), price, size)
    return _fill(row, row.taker_order_id, token_id, size, price, is_maker=False, fee=fee)


def _maker_fill(row: TradeRow, maker: MakerRow, ours: Ours) -> VenueTrade:
    size = _size(row, maker.fields, "matched_amount", maker.venue_order_id, ours)
    price, token_id = maker.fields.price_micros("price"), maker.fields.text("asset_id")
    return _fill(row, maker.venue_order_id, token_id, size, price, is_maker=True, fee=0)


def _size(row: TradeRow, fields: Fields, name: str, venue_order_id: str, ours: Ours) -> int:
    size = fields.decimal(name)
    unit = unit_of((*_sizes(row), size), size, ours.size_of(venue_order_id))
    micros = unit.micros(size, name)
    if not venue_order_id:
        raise Unreadable(f"trade {row.trade_id}: a part of ours names no order")
    if micros <= 0:
        raise Unreadable(f"trade {row.trade_id}: {name} is not above zero")
    return micros


def _sizes(row: TradeRow) -> tuple[str, ...]:
    """Every size of the row that can be read: one with a point says that all of them are shares."""
    told = [(row.fields, "size"), *((maker.fields, "matched_amount") for maker in row.makers)]
    found = []
    for fields, name in told:
        try:
            found.append(fields.decimal(name))
        except Unreadable:
            continue
    return tuple(found)


def _fill(
    row: TradeRow,
    venue_order_id: str,
    token_id: str,
    size: int,
    price: int,
    *,
    is_maker: bool,
    fee: int,
) -> VenueTrade:
    return VenueTrade(
        trade_id=row.trade_id,
        venue_order_id=venue_order_id,
        token_id=token_id,
        size_micros=size,
        price_micros=price,
        status=row.status,
        raw_status=row.raw_status,
        is_maker=is_maker,
        matched_at_ms=row.matched_at_ms,
        fee_micros=fee,
    )
