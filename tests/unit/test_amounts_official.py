"""Our amounts are those of both official packages, and of a recorded table where it is present."""

from __future__ import annotations

import json
import math
import os
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polymarket import PRODUCTION
from polymarket._internal.actions.orders.limit import _compute_limit_order_amounts
from polymarket._internal.actions.orders.market import (
    PrepareMarketOrderParams,
    _build_protected_market_order_draft,
    _compute_market_order_amounts,
)
from polymarket.errors import UserInputError
from py_clob_client_v2.order_builder.builder import ROUNDING_CONFIG, OrderBuilder

from app.errors import BadInput
from app.money import MICROS, format_micros, parse_micros
from app.venue.interface import Side
from app.venue.polymarket.amounts import (
    AMOUNT_DECIMALS,
    HUNDREDTH,
    Amounts,
    limit_amounts,
    market_amounts,
)

TICKS = sorted(AMOUNT_DECIMALS)
sides = st.sampled_from(Side)
sizes = st.integers(1, 10**9).map(lambda hundredths: hundredths * HUNDREDTH)


@st.composite
def prices(draw: st.DrawFn) -> tuple[int, int]:
    tick = draw(st.sampled_from(TICKS))
    return tick, tick * draw(st.integers(1, MICROS // tick - 1))


def decimal(micros: int) -> Decimal:
    return Decimal(micros) / MICROS


def spoilt_by_float(micros: int, places: int) -> bool:
    """Whether the float package floors a number that needs no flooring (0.29 * 100 is 28.99...)."""
    value = micros / MICROS
    return math.floor(value * 10**places) * 10 ** (6 - places) != micros


@settings(max_examples=400, deadline=None)
@given(sides, prices(), sizes)
def test_limit_amounts_equal_those_of_polymarket_client(
    side: Side, priced: tuple[int, int], size: int
) -> None:
    tick, price = priced
    theirs = _compute_limit_order_amounts(
        price=decimal(price), size=decimal(size), side=side.value, tick_size=decimal(tick)
    )
    assert limit_amounts(side, price, size, tick) == theirs


@settings(max_examples=400, deadline=None)
@given(sides, prices(), sizes)
def test_limit_amounts_equal_those_of_py_clob_client_v2(
    side: Side, priced: tuple[int, int], size: int
) -> None:
    tick, price = priced
    # From half a million shares on its floats no longer carry ten decimals: 892,489.96 at 0.6345 loses a micro there.
    assume(size <= 10**11)
    assume(not spoilt_by_float(size, 2))
    _, maker, taker = OrderBuilder(None, funder="").get_order_amounts(
        side.value, size / MICROS, price / MICROS, ROUNDING_CONFIG[format_micros(tick)]
    )
    assert limit_amounts(side, price, size, tick) == (maker, taker)


def protected_draft(side: Side, given_micros: int, price: int, tick: int) -> Amounts:
    """A market order with a price limit as polymarket-client drafts it, refusals included."""
    context: Any = SimpleNamespace(
        environment_config=PRODUCTION._config,
        wallet="0x" + "1" * 40,
        signer=SimpleNamespace(address="0x" + "1" * 40),
    )
    market: Any = SimpleNamespace(tick_size=decimal(tick), neg_risk=False)
    amount, limit = decimal(given_micros), decimal(price)
    params: Any = PrepareMarketOrderParams(
        asset_id="7" * 70,  # type: ignore[arg-type]
        side=side.value,
        order_type="FAK",
        amount=amount if side is Side.BUY else None,
        shares=amount if side is Side.SELL else None,
        max_price=limit if side is Side.BUY else None,
        min_price=limit if side is Side.SELL else None,
    )
    draft = _build_protected_market_order_draft(
        context, params, metadata=market, builder_taker_fee_rate=Decimal(0)
    )
    return Amounts(draft.offered_amount, draft.requested_amount)


@settings(max_examples=400, deadline=None)
@given(sides, prices(), sizes | st.integers(1, 300).map(lambda cents: cents * HUNDREDTH))
def test_market_amounts_and_refusals_equal_those_of_polymarket_client(
    side: Side, priced: tuple[int, int], given_micros: int
) -> None:
    tick, price = priced
    try:
        ours: Amounts | None = market_amounts(side, given_micros, price, tick)
    except BadInput:
        ours = None
    try:
        theirs: Amounts | None = protected_draft(side, given_micros, price, tick)
    except UserInputError:
        theirs = None
    assert ours == theirs


def test_where_the_float_package_loses_a_micro_ours_is_exact() -> None:
    size, price = 892_489_960_000, 634_500
    _, maker, taker = OrderBuilder(None, funder="").get_order_amounts(
        "SELL", size / MICROS, price / MICROS, ROUNDING_CONFIG["0.0001"]
    )
    assert (maker, taker) == (size, size * price // MICROS - 1)
    assert limit_amounts(Side.SELL, price, size, 100) == (size, size * price // MICROS)


# --- recorded table -------------------------------------------------------------------------------


def recorded() -> list[dict[str, Any]]:
    folder = os.environ.get("LEDGER_TEST_DATA_DIR")
    file = Path(folder or "absent") / "signing-vectors" / "order_amounts_official_sdk.jsonl"
    if not folder or not file.is_file():
        pytest.skip("LEDGER_TEST_DATA_DIR does not name a folder with the recorded amounts")
    lines = file.read_text().splitlines()
    return [json.loads(line, parse_float=str, parse_int=str) for line in lines]


def test_every_recorded_amount_is_ours_and_no_size_is_floored_in_silence() -> None:
    seen = floored = spoilt = refused = 0
    for row in recorded():
        tick, price = parse_micros(row["tick"], what="tick"), parse_micros(row["price"], what="p")
        asked = parse_micros(row["size"] if row["kind"] == "limit" else row["amount"], what="size")
        build = limit_order if row["kind"] == "limit" else market_order
        side, size = Side(row["side"]), asked // HUNDREDTH * HUNDREDTH
        expected = (int(row["makerAmount"]), int(row["takerAmount"]))
        if size != asked:
            floored += 1
            with pytest.raises(BadInput):
                build(side, price, asked, tick)
        if expected != (exact := by_decimals(row["kind"], side, price, size, tick)):
            # The table was made by the float package: where the Decimal one disagrees, it errs.
            spoilt += 1
            expected = exact
        try:
            assert build(side, price, size, tick) == expected, row
        except BadInput:
            assert row["kind"] == "market"
            with pytest.raises(UserInputError):
                protected_draft(side, size, price, tick)
            refused += 1
        seen += 1
    print(f"{seen} rows: {floored} floored sizes, {spoilt} spoilt by floats, {refused} refused")
    assert seen > 1_000
    assert spoilt < seen // 20


def limit_order(side: Side, price: int, size: int, tick: int) -> Amounts:
    return limit_amounts(side, price, size, tick)


def market_order(side: Side, price: int, size: int, tick: int) -> Amounts:
    return market_amounts(side, size, price, tick)


def by_decimals(kind: str, side: Side, price: int, size: int, tick: int) -> tuple[int, int]:
    money = {"price": decimal(price), "side": side.value, "tick_size": decimal(tick)}
    if kind == "limit":
        return _compute_limit_order_amounts(size=decimal(size), **money)  # type: ignore[arg-type]
    return _compute_market_order_amounts(amount=decimal(size), **money)  # type: ignore[arg-type]
