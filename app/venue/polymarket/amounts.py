"""From price and size to the two amounts an order is signed over, exactly.

The venue recomputes the price from the amounts and refuses what is off by one base unit, and a size
that is floored on the way to the signature is an order the ledger did not reserve. So nothing is
rounded here that can be refused instead. Source: docs/venue.md 3.5 (read from both official
packages).

All values are micros (1e-6 of a share or of one unit of collateral); so are the amounts in an
order.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from app.errors import BadInput, Code
from app.money import MAX_MICROS, MICROS, format_micros
from app.venue.interface import OrderType, Side

HUNDREDTH: Final = MICROS // 100
"""Sizes of every order, and the maker amount of a market order, have two decimal places."""

AMOUNT_DECIMALS: Final = {100_000: 3, 10_000: 4, 5_000: 5, 2_500: 6, 1_000: 5, 100: 6}
"""Ticks in micros that the venue has, and the decimal places of the computed amount for each."""

FINEST_TICK: Final = min(AMOUNT_DECIMALS)

MARKET_TYPES: Final = frozenset((OrderType.FOK, OrderType.FAK))


class Amounts(NamedTuple):
    """What the maker gives and wants: collateral for shares in a BUY, the reverse in a SELL."""

    maker_amount: int
    taker_amount: int


def check_price(price_micros: int, tick_micros: int) -> None:
    """Refuse a price outside [tick, 1 - tick] (``BAD_PRICE``) or between ticks (``OFF_TICK``).

    A tick the venue does not have is the market's fault and gives ``NOT_TRADABLE``.
    """
    _require_int(price_micros, "price")
    _require_int(tick_micros, "tick")
    if tick_micros not in AMOUNT_DECIMALS:
        raise BadInput(
            Code.NOT_TRADABLE,
            f"the market's tick of {tick_micros} micros is none of {sorted(AMOUNT_DECIMALS)}",
            not_done="no order was made",
            next_step="import the market again; a tick new at the venue needs a new release",
        )
    if not tick_micros <= price_micros <= MICROS - tick_micros:
        low, high = format_micros(tick_micros), format_micros(MICROS - tick_micros)
        raise BadInput(
            Code.BAD_PRICE,
            f"price {format_micros(price_micros)} is not between {low} and {high}",
            not_done="no order was made",
        )
    if price_micros % tick_micros:
        raise BadInput(
            Code.OFF_TICK,
            f"price {format_micros(price_micros)} is off the tick of {format_micros(tick_micros)}",
            not_done="no order was made",
            next_step="round to the tick; it may have changed since the market was read",
        )


def limit_amounts(side: Side, price_micros: int, size_micros: int, tick_micros: int) -> Amounts:
    """Amounts of an order for exactly ``size_micros`` shares at ``price_micros``.

    Never rounds: a size of two decimals times a price on the tick always fits the amount's places.
    A size with more places is refused with ``BAD_SIZE`` (the official packages floor it in
    silence).
    """
    check_price(price_micros, tick_micros)
    _check_hundredths(size_micros, "size")
    collateral = price_micros * size_micros // MICROS
    if side is Side.BUY:
        return Amounts(collateral, size_micros)
    return Amounts(size_micros, collateral)


def market_amounts(
    side: Side, given_micros: int, limit_price_micros: int, tick_micros: int
) -> Amounts:
    """Amounts of a FOK or FAK order that gives ``given_micros``: collateral to BUY, shares to SELL.

    As the official package does it with a price limit: shares of a BUY are rounded down, so that
    the signed price stays at or just above the limit and still crosses an ask that rests there, but
    is refused (``BAD_SIZE``) where the roundings would let it reach the next price of the finest
    tick.

    For a BUY the venue spends the maker amount and takes the taker amount for the limit price only:
    with a better price it buys *more* shares than ``taker_amount``, so hold the spend and count
    the worst case. Taker amounts of more than four places, which the package makes on ticks finer
    than 0.01, were reported as refused at placement (July 2026): a definite answer, so left to it.
    """
    if side is Side.SELL:
        return limit_amounts(side, limit_price_micros, given_micros, tick_micros)
    check_price(limit_price_micros, tick_micros)
    _check_hundredths(given_micros, "spend")
    places = AMOUNT_DECIMALS[tick_micros]
    # The package rounds up at four more places, then down. On the tick that is just down:
    # a price is at most 9,999 of the finest ticks, no quotient is within 1/10,000 of the next.
    shares = given_micros * 10**places // limit_price_micros * 10 ** (6 - places)
    if given_micros * MICROS >= shares * (limit_price_micros + FINEST_TICK):
        raise BadInput(
            Code.BAD_SIZE,
            f"spend {format_micros(given_micros)} is too small to keep its price limit",
            not_done="no order was made",
            next_step="spend more, or choose another limit price",
        )
    return Amounts(given_micros, shares)


def order_amounts(
    order_type: OrderType, side: Side, price_micros: int, size_micros: int, tick_micros: int
) -> Amounts:
    """Amounts of an order of any type for exactly ``size_micros`` shares, or a refusal.

    A FOK or FAK BUY may give only whole hundredths of collateral (docs/venue.md 3.5), so price
    times size must be such; otherwise ``BAD_SIZE``, because flooring the spend would sign another
    size than was reserved.
    """
    amounts = limit_amounts(side, price_micros, size_micros, tick_micros)
    if order_type in MARKET_TYPES and amounts.maker_amount % HUNDREDTH:
        cost = format_micros(amounts.maker_amount)
        raise BadInput(
            Code.BAD_SIZE,
            f"a {order_type} BUY must cost whole hundredths; price times size is {cost}",
            not_done="no order was made",
            next_step="choose a size whose cost has two decimal places, or use GTC",
        )
    return amounts


def _check_hundredths(micros: int, what: str) -> None:
    _require_int(micros, what)
    if not 0 < micros <= MAX_MICROS:
        raise BadInput(
            Code.BAD_SIZE,
            f"{what} {format_micros(micros)} is not between 0 and {format_micros(MAX_MICROS)}",
            not_done="no order was made",
        )
    if micros % HUNDREDTH:
        raise BadInput(
            Code.BAD_SIZE,
            f"{what} {format_micros(micros)} has more than two decimal places",
            not_done="no order was made",
            next_step="round it to hundredths yourself: it is not floored in silence",
        )


def _require_int(value: int, what: str) -> None:
    # A float or a bool passes every comparison above and would be signed as something else.
    if type(value) is not int:
        kind = type(value).__name__
        raise BadInput(Code.BAD_NUMBER, f"{what} must be an integer of micros, not {kind}")
