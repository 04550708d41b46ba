"""The rules of amounts, without any SDK: exact, or refused with a code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput, Code
from app.money import MAX_MICROS, MICROS
from app.venue.interface import OrderType, Side
from app.venue.polymarket.amounts import (
    AMOUNT_DECIMALS,
    HUNDREDTH,
    limit_amounts,
    market_amounts,
    order_amounts,
)

TICKS = sorted(AMOUNT_DECIMALS)


@st.composite
def prices(draw: st.DrawFn) -> tuple[int, int]:
    """A tick and a price on it."""
    tick = draw(st.sampled_from(TICKS))
    return tick, tick * draw(st.integers(1, MICROS // tick - 1))


sizes = st.integers(1, MAX_MICROS // HUNDREDTH).map(lambda hundredths: hundredths * HUNDREDTH)


@given(prices(), sizes)
def test_a_limit_order_gives_exactly_price_times_size(priced: tuple[int, int], size: int) -> None:
    tick, price = priced
    collateral, shares = limit_amounts(Side.BUY, price, size, tick)
    assert shares == size
    assert collateral * MICROS == price * size
    assert limit_amounts(Side.SELL, price, size, tick) == (shares, collateral)


@given(prices(), sizes)
def test_a_limit_order_keeps_to_the_decimal_places_of_its_tick(
    priced: tuple[int, int], size: int
) -> None:
    tick, price = priced
    collateral, _ = limit_amounts(Side.BUY, price, size, tick)
    assert collateral % 10 ** (6 - AMOUNT_DECIMALS[tick]) == 0


@given(prices(), sizes)
def test_a_market_buy_never_signs_a_price_below_its_limit_nor_at_the_next_one(
    priced: tuple[int, int], spend: int
) -> None:
    tick, limit = priced
    try:
        maker, taker = market_amounts(Side.BUY, spend, limit, tick)
    except BadInput:
        return
    assert maker == spend
    assert limit * taker <= maker * MICROS < (limit + min(TICKS)) * taker


@given(prices(), sizes)
def test_a_market_sell_gives_exactly_price_times_shares(
    priced: tuple[int, int], shares: int
) -> None:
    tick, limit = priced
    amounts = market_amounts(Side.SELL, shares, limit, tick)
    assert amounts == limit_amounts(Side.SELL, limit, shares, tick)


@given(prices(), sizes, st.sampled_from((OrderType.FOK, OrderType.FAK)))
def test_a_buy_that_never_rests_costs_whole_hundredths_or_is_refused(
    priced: tuple[int, int], size: int, order_type: OrderType
) -> None:
    tick, price = priced
    exact = limit_amounts(Side.BUY, price, size, tick)
    if exact.maker_amount % HUNDREDTH:
        with pytest.raises(BadInput) as refusal:
            order_amounts(order_type, Side.BUY, price, size, tick)
        assert refusal.value.code is Code.BAD_SIZE
    else:
        assert order_amounts(order_type, Side.BUY, price, size, tick) == exact
        assert market_amounts(Side.BUY, exact.maker_amount, price, tick) == exact


def test_a_resting_buy_may_cost_parts_of_a_hundredth() -> None:
    assert order_amounts(OrderType.GTC, Side.BUY, 533_000, 7_000_000, 1_000) == (
        3_731_000,
        7_000_000,
    )


@pytest.mark.parametrize(
    ("price", "size", "tick", "code"),
    [
        (0, 1_000_000, 10_000, Code.BAD_PRICE),
        (-10_000, 1_000_000, 10_000, Code.BAD_PRICE),
        (9_999, 1_000_000, 10_000, Code.BAD_PRICE),
        (990_001, 1_000_000, 10_000, Code.BAD_PRICE),
        (1_000_000, 1_000_000, 10_000, Code.BAD_PRICE),
        (10**30, 1_000_000, 10_000, Code.BAD_PRICE),
        (455_000, 1_000_000, 10_000, Code.OFF_TICK),
        (450_001, 1_000_000, 10_000, Code.OFF_TICK),
        (2_600, 1_000_000, 2_500, Code.OFF_TICK),
        (450_000, 0, 10_000, Code.BAD_SIZE),
        (450_000, -1_000_000, 10_000, Code.BAD_SIZE),
        (450_000, 1_005_000, 10_000, Code.BAD_SIZE),
        (450_000, 1, 10_000, Code.BAD_SIZE),
        (450_000, MAX_MICROS + HUNDREDTH, 10_000, Code.BAD_SIZE),
        (450_000, 1_000_000, 20_000, Code.NOT_TRADABLE),
        (450_000, 1_000_000, 0, Code.NOT_TRADABLE),
        (450_000, 1_000_000, -10_000, Code.NOT_TRADABLE),
        (0.45, 1_000_000, 10_000, Code.BAD_NUMBER),
        (450_000, 1e6, 10_000, Code.BAD_NUMBER),
        (450_000, True, 10_000, Code.BAD_NUMBER),
        (450_000, 1_000_000, 10_000.0, Code.BAD_NUMBER),
        (float("nan"), 1_000_000, 10_000, Code.BAD_NUMBER),
    ],
)
@pytest.mark.parametrize("side", list(Side))
def test_what_cannot_be_signed_exactly_is_refused_with_its_code(
    side: Side, price: int, size: int, tick: int, code: Code
) -> None:
    for amounts in (
        lambda: limit_amounts(side, price, size, tick),
        lambda: market_amounts(side, size, price, tick),
    ):
        with pytest.raises(BadInput) as refusal:
            amounts()
        assert refusal.value.code is code


def test_a_market_buy_too_small_to_keep_its_limit_is_refused() -> None:
    # 0.01 at 0.99: 0.0101 shares, a price of 0.990099, and the finest tick has an ask at 0.9901.
    # At 0.97 it is 0.0103 shares, a price of 0.970874: asks from 0.9701 on would be reached.
    with pytest.raises(BadInput, match="too small to keep") as refusal:
        market_amounts(Side.BUY, 10_000, 970_000, 10_000)
    assert refusal.value.code is Code.BAD_SIZE
