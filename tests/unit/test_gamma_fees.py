"""A fee that is not known is never taken for zero, and a hold covers every price it may fill at."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markets.gamma import parse_market
from app.markets.model import MAX_FEE_EXPONENT, MarketRecord, highest_fee_micros
from app.money import MICROS

SCHEDULE = {"exponent": 1, "rate": "0.05", "takerOnly": True}


def fees(**fields: object) -> tuple[int | None, int | None, bool, set[str]]:
    record = parse_market({"conditionId": "0x" + "1" * 64, **fields})
    assert isinstance(record, MarketRecord)
    told = {reason for reason in record.untradable_reasons if "FEE" in reason.upper()}
    return record.fee_rate_micros, record.fee_exponent, record.fee_taker_only, told


def test_only_a_plain_no_to_fees_is_free() -> None:
    assert fees(feesEnabled=False) == (0, 1, True, set())
    assert fees(feesEnabled=False, takerBaseFee=0, feeSchedule=None) == (0, 1, True, set())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"feesEnabled": True},
        {"feesEnabled": None, "feeType": "sports_fees_v2"},
        {"feesEnabled": False, "takerBaseFee": 1000},
        {"feesEnabled": False, "makerBaseFee": 1000},
        {"feesEnabled": True, "feeSchedule": {}},
        {"feesEnabled": True, "feeSchedule": {"rate": "0.05"}},
        {"feesEnabled": False, "feeSchedule": {"exponent": 1}},
    ],
)
def test_a_fee_that_is_not_stated_is_unknown(fields: dict[str, object]) -> None:
    rate, exponent, _, told = fees(**fields)
    assert (rate, exponent, told) == (None, None, {"NO_FEES"})


@pytest.mark.parametrize("enabled", [True, False, None])
def test_a_schedule_counts_whatever_the_switch_says(enabled: bool | None) -> None:
    assert fees(feesEnabled=enabled, feeSchedule=SCHEDULE) == (50_000, 1, True, set())


def test_makers_pay_too_unless_the_schedule_says_otherwise() -> None:
    assert fees(feeSchedule={"exponent": 1, "rate": "0.05"})[2] is False
    assert fees(feeSchedule={**SCHEDULE, "takerOnly": False})[2] is False


@pytest.mark.parametrize("change", [{"rate": "-0.01"}, {"rate": "1.01"}, {"exponent": 9}])
def test_a_schedule_out_of_reason_is_refused(change: dict[str, object]) -> None:
    assert fees(feeSchedule={**SCHEDULE, **change})[3] == {"BAD_FEES"}


def test_an_exponent_may_be_written_as_a_decimal_but_must_be_whole() -> None:
    assert fees(feeSchedule={**SCHEDULE, "exponent": "2.0"})[1] == 2
    assert fees(feeSchedule={**SCHEDULE, "exponent": "1.5"})[3] == {
        "BAD_FIELD:feeSchedule.exponent"
    }


def test_the_fee_of_a_hundred_shares_at_one_half() -> None:
    held = highest_fee_micros(price=500_000, shares=100 * MICROS, rate_micros=70_000, exponent=1)
    assert held == 1_750_000
    assert highest_fee_micros(price=10_000, shares=1, rate_micros=50_000, exponent=1) == 1


PRICES = st.integers(1, MICROS - 1)


@given(
    limit=PRICES,
    better=PRICES,
    shares=st.integers(1, 10**12),
    rate=st.integers(0, MICROS),
    exponent=st.integers(0, MAX_FEE_EXPONENT),
)
def test_price_and_fee_at_the_limit_cover_a_fill_at_any_better_price(
    limit: int, better: int, shares: int, rate: int, exponent: int
) -> None:
    better = min(better, limit)
    p = Fraction(better, MICROS)
    paid = shares * (p + Fraction(rate, MICROS) * (p * (1 - p)) ** exponent)
    fee = highest_fee_micros(price=limit, shares=shares, rate_micros=rate, exponent=exponent)
    assert paid <= Fraction(limit * shares, MICROS) + fee
