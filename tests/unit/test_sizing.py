"""Sizing: never above the base, smaller with every reason to be, nothing rather than too little (R3, R4, R6)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput
from app.risk.sizing import (
    MOST_LIMITS,
    MOST_MIDS,
    MOST_NAME,
    MOST_RECORD_BYTES,
    WHOLE,
    Moment,
    SizingRules,
    again,
    record_bytes,
    shares_for,
    size,
    volatility,
)

SHARE = 1_000_000
MINUTE = 60_000
HALF: Any = 0.5


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


MONDAY = at("2026-03-02T12:00")
RULES = SizingRules(base_micros=100 * SHARE, min_size_micros=5 * SHARE)
CALM = Moment(now_ms=MONDAY)

ppm = st.integers(0, WHOLE)
mids = st.lists(st.integers(1, 999_999), max_size=MOST_MIDS).map(tuple)


@st.composite
def all_rules(draw: st.DrawFn) -> SizingRules:
    calm = draw(st.integers(0, 50_000))
    close_to = draw(st.integers(0, 10**6))
    return SizingRules(
        base_micros=draw(st.integers(0, 10**15)),
        min_size_micros=draw(st.integers(0, 20 * SHARE)),
        step_micros=draw(st.sampled_from([1, 10_000, SHARE])),
        calm_micros=calm,
        wild_micros=draw(st.sampled_from([0, calm + 1, calm + 100_000])),
        mids_needed=draw(st.integers(0, 5)),
        unknown_ppm=draw(ppm),
        peak_from_minute=draw(st.integers(0, 1_440)),
        peak_to_minute=draw(st.integers(0, 1_440)),
        peak_ppm=draw(ppm),
        weekend_ppm=draw(ppm),
        close_from_ms=close_to + draw(st.integers(0, 10**6)),
        close_to_ms=close_to,
    )


moments = st.builds(
    Moment,
    now_ms=st.integers(0, 10**13),
    mids=mids,
    drawdown_ppm=ppm,
    closes_at_ms=st.none() | st.integers(0, 10**13),
    limits_left=st.dictionaries(
        st.text("abcäz_", min_size=1, max_size=20),
        st.integers(-(10**15), 10**15),
        max_size=MOST_LIMITS,
    ),
)


# ------------------------------------------------------------------------ for any inputs


@given(all_rules(), moments)
def test_a_size_is_never_above_its_base_nor_above_any_limit(
    rules: SizingRules, moment: Moment
) -> None:
    sized = size(rules, moment)
    assert 0 <= sized.size_micros <= rules.base_micros
    assert all(sized.size_micros <= max(left, 0) for left in moment.limits_left.values())
    assert all(0 <= factor <= WHOLE for factor in sized.factors.values())


@given(all_rules(), moments)
def test_a_size_is_a_whole_number_of_steps_and_never_below_the_minimum_but_nothing(
    rules: SizingRules, moment: Moment
) -> None:
    sized = size(rules, moment)
    assert sized.size_micros % rules.step_micros == 0
    assert sized.size_micros == 0 or sized.size_micros >= rules.min_size_micros


@given(all_rules(), moments)
def test_from_what_was_recorded_the_same_size_follows(rules: SizingRules, moment: Moment) -> None:
    sized = size(rules, moment)
    record = json.loads(json.dumps(sized.record()))
    assert again(record) == sized
    assert record_bytes(record) <= MOST_RECORD_BYTES


SMALLER: dict[str, Any] = {
    "a smaller base": ("rules", "base_micros", st.integers(0, 10**15)),
    "less while the volatility is unknown": ("rules", "unknown_ppm", ppm),
    "less in peak hours": ("rules", "peak_ppm", ppm),
    "less on weekends": ("rules", "weekend_ppm", ppm),
    "a deeper drawdown": ("moment", "drawdown_ppm", ppm),
}


@pytest.mark.parametrize("what", list(SMALLER))
@given(rules=all_rules(), moment=moments, data=st.data())
def test_a_smaller_factor_never_makes_a_larger_size(
    what: str, rules: SizingRules, moment: Moment, data: st.DataObject
) -> None:
    where, name, values = SMALLER[what]
    low, high = sorted([data.draw(values), data.draw(values)])
    if where == "rules":
        less, more = (size(replace(rules, **{name: value}), moment) for value in (low, high))
    else:
        less, more = (size(rules, replace(moment, **{name: value})) for value in (low, high))
    assert less.size_micros <= more.size_micros


@given(all_rules(), moments, st.integers(1, 5))
def test_more_volatility_never_makes_a_larger_size(
    rules: SizingRules, moment: Moment, times: int
) -> None:
    """The same path with larger swings, within the range of prices."""
    less = tuple(500_000 + (mid - 500_000) // 10 for mid in moment.mids)
    more = tuple(500_000 + (mid - 500_000) * times for mid in less)
    calm = size(rules, replace(moment, mids=less))
    wild = size(rules, replace(moment, mids=more))
    assert volatility(less) <= volatility(more)
    assert wild.size_micros <= calm.size_micros


@given(all_rules(), moments, st.integers(0, 10**7), st.integers(0, 10**7))
def test_nearer_the_close_never_makes_a_larger_size(
    rules: SizingRules, moment: Moment, one: int, other: int
) -> None:
    near, far = sorted([one, other])
    at_near = size(rules, replace(moment, closes_at_ms=moment.now_ms + near))
    at_far = size(rules, replace(moment, closes_at_ms=moment.now_ms + far))
    assert at_near.size_micros <= at_far.size_micros
    assert at_far.size_micros <= size(rules, replace(moment, closes_at_ms=None)).size_micros


@given(all_rules(), moments, st.integers(-(10**15), 10**15))
def test_one_more_limit_never_makes_a_larger_size(
    rules: SizingRules, moment: Moment, left: int
) -> None:
    fewer = replace(moment, limits_left=dict(list(moment.limits_left.items())[1:]))
    more = replace(fewer, limits_left={**fewer.limits_left, "one more": left})
    assert size(rules, more).size_micros <= size(rules, fewer).size_micros


# ------------------------------------------------------------------------ by example


def test_with_nothing_against_it_the_size_is_the_base() -> None:
    sized = size(RULES, CALM)
    assert (sized.size_micros, sized.bound_by) == (100 * SHARE, "")
    assert set(sized.factors.values()) == {WHOLE}


def test_all_factors_multiply_and_are_rounded_once() -> None:
    rules = replace(
        RULES,
        base_micros=3_000_001,
        min_size_micros=0,
        step_micros=1,
        peak_to_minute=1_440,
        peak_ppm=333_333,
    )
    sized = size(rules, replace(CALM, drawdown_ppm=333_333))
    assert sized.size_micros == 3_000_001 * 333_333**2 // WHOLE**2


def test_volatility_is_the_root_mean_square_of_the_changes() -> None:
    assert volatility((500_000, 530_000, 490_000)) == 35_355  # of 30,000 and 40,000
    assert volatility((500_000,)) == volatility(()) == 0


@pytest.mark.parametrize(
    ("swing", "factor"), [(10_000, WHOLE), (20_000, 500_000), (39_999, 250_006), (40_000, 0)]
)
def test_a_wilder_market_gets_smaller_orders_and_then_none(swing: int, factor: int) -> None:
    rules = replace(RULES, calm_micros=10_000, wild_micros=40_000)
    path = tuple(500_000 + swing * (n % 2) for n in range(10))
    assert size(rules, replace(CALM, mids=path)).factors["volatility"] == factor


def test_too_few_mids_are_no_calm() -> None:
    rules = replace(RULES, calm_micros=10_000, mids_needed=3, unknown_ppm=200_000)
    assert size(rules, replace(CALM, mids=(500_000, 500_000))).size_micros == 20 * SHARE
    assert size(rules, replace(CALM, mids=(500_000,) * 3)).size_micros == 100 * SHARE


@pytest.mark.parametrize(
    ("time", "peak"),
    [
        ("2026-03-02T21:59", False),
        ("2026-03-02T22:00", True),
        ("2026-03-03T00:30", True),
        ("2026-03-03T01:00", False),
    ],
)
def test_peak_hours_may_span_midnight(time: str, peak: bool) -> None:
    rules = replace(RULES, peak_from_minute=22 * 60, peak_to_minute=60, peak_ppm=500_000)
    assert size(rules, replace(CALM, now_ms=at(time))).size_micros == (50 if peak else 100) * SHARE


@pytest.mark.parametrize(
    ("time", "weekend"),
    [
        ("2026-03-06T23:59", False),
        ("2026-03-07T00:00", True),
        ("2026-03-08T23:59", True),
        ("2026-03-09T00:00", False),
    ],
)
def test_the_weekend_can_be_switched_off(time: str, weekend: bool) -> None:
    rules = replace(RULES, weekend_ppm=0)
    assert size(rules, replace(CALM, now_ms=at(time))).size_micros == (
        0 if weekend else 100 * SHARE
    )


@pytest.mark.parametrize(
    ("minutes", "shares"), [(11, 100), (10, 100), (6, 50), (3, 12), (2, 0), (1, 0), (-1, 0)]
)
def test_towards_the_close_sizes_shrink_to_nothing(minutes: int, shares: int) -> None:
    rules = replace(RULES, close_from_ms=10 * MINUTE, close_to_ms=2 * MINUTE, step_micros=SHARE)
    moment = replace(CALM, closes_at_ms=MONDAY + minutes * MINUTE)
    assert size(rules, moment).size_micros == shares * SHARE


def test_the_smallest_limit_holds_and_is_named() -> None:
    sized = size(RULES, replace(CALM, limits_left={"market": 40 * SHARE, "account": 39_999_999}))
    assert (sized.size_micros, sized.bound_by) == (39_990_000, "account")
    assert size(RULES, replace(CALM, limits_left={"market": 400 * SHARE})).bound_by == ""
    assert size(RULES, replace(CALM, limits_left={"market": -1})).size_micros == 0


def test_less_than_the_minimum_is_nothing() -> None:
    assert size(RULES, replace(CALM, drawdown_ppm=50_000)).size_micros == 5 * SHARE
    assert size(RULES, replace(CALM, drawdown_ppm=49_999)).size_micros == 0


def test_a_limit_in_collateral_leaves_so_many_shares() -> None:
    assert shares_for(10 * SHARE, 300_000) == 33_333_333


def test_the_largest_record_is_bounded() -> None:
    everything = SizingRules(**dict.fromkeys((
        "base_micros", "min_size_micros", "step_micros", "calm_micros"), 10**15),
        unknown_ppm=1, mids_needed=60, peak_from_minute=1_440, peak_to_minute=1_439, peak_ppm=1, weekend_ppm=1,
        close_from_ms=10**15, close_to_ms=10**15,
    )  # fmt: skip
    names = [f"{n:02d}".ljust(MOST_NAME, "x") for n in range(MOST_LIMITS)]
    moment = Moment(
        now_ms=10**14, mids=(999_999,) * MOST_MIDS, drawdown_ppm=999_999, closes_at_ms=10**14,
        limits_left=dict.fromkeys(names, -(10**15)),
    )  # fmt: skip
    assert 2_000 < record_bytes(size(everything, moment).record()) <= MOST_RECORD_BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replace(RULES, base_micros=HALF),
        lambda: replace(RULES, base_micros=True),
        lambda: replace(RULES, base_micros=-1),
        lambda: replace(RULES, step_micros=0),
        lambda: replace(RULES, peak_ppm=WHOLE + 1),
        lambda: replace(RULES, calm_micros=10, wild_micros=10),
        lambda: replace(RULES, close_to_ms=2, close_from_ms=1),
        lambda: replace(RULES, peak_to_minute=1_441),
        lambda: replace(CALM, mids=(1,) * (MOST_MIDS + 1)),
        lambda: replace(CALM, mids=(HALF,)),
        lambda: replace(CALM, drawdown_ppm=WHOLE + 1),
        lambda: replace(CALM, limits_left=dict.fromkeys(map(str, range(MOST_LIMITS + 1)), 1)),
        lambda: replace(CALM, limits_left={"x" * (MOST_NAME + 1): 1}),
        lambda: replace(CALM, limits_left={"": 1}),
        lambda: again({}),
        lambda: again({"rules": {"odd": 1}, "moment": {"now_ms": 1}}),
    ],
)
def test_what_cannot_be_sized_is_an_error(wrong: Any) -> None:
    with pytest.raises(BadInput):
        wrong()


@pytest.mark.parametrize("needed", [0, 1])
@pytest.mark.parametrize("mids", [(), (500_000,)])
def test_volatility_is_unknown_below_two_mids_however_few_are_asked_for(
    needed: int, mids: tuple[int, ...]
) -> None:
    rules = SizingRules(
        base_micros=100 * SHARE,
        min_size_micros=SHARE,
        calm_micros=10_000,
        wild_micros=50_000,
        mids_needed=needed,
        unknown_ppm=0,
    )
    assert size(rules, Moment(now_ms=0, mids=mids)).size_micros == 0


@pytest.mark.parametrize(("collateral", "price"), [(SHARE, 0), (SHARE, -1), (SHARE, 2 * SHARE)])
def test_no_shares_are_worked_out_for_a_price_that_is_none(collateral: int, price: int) -> None:
    with pytest.raises(BadInput):
        shares_for(collateral, price)
