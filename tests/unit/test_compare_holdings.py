"""The comparison of what is owned: what is told, what trading stops for, and what is only on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.reconcile.compare import DriftClass
from app.reconcile.holdings import TOLERANCE_MICROS, Holding, compare_holdings
from app.venue.interface import COLLATERAL

ASSETS = st.sampled_from([COLLATERAL, "1", "22", "333"])
MICROS = st.integers(0, 5_000_000)
HOLDINGS = st.builds(Holding, ASSETS, MICROS, MICROS, st.integers(0, 2_000_000))
holding_lists = st.lists(HOLDINGS, unique_by=lambda one: one.asset)


@given(holding_lists, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(holdings, random) -> None:  # type: ignore[no-untyped-def]
    told = compare_holdings(holdings)
    random.shuffle(holdings)
    assert compare_holdings(holdings) == told


@given(holding_lists)
def test_an_asset_is_told_exactly_when_it_differs_by_more_than_is_on_its_way(
    holdings: list[Holding],
) -> None:
    told = [one.subject for one in compare_holdings(holdings)]
    assert len(told) == len(set(told))
    assert set(told) == {
        one.asset for one in holdings if abs(one.theirs - one.ours) > one.unsettled
    }


@given(holding_lists)
def test_both_numbers_are_told_as_they_are(holdings: list[Holding]) -> None:
    known = {one.asset: one for one in holdings}
    for one in compare_holdings(holdings):
        holding = known[one.subject]
        assert (one.ours, one.theirs) == (str(holding.ours), str(holding.theirs))
        collateral = one.subject == COLLATERAL
        assert one.kind == ("collateral_differs" if collateral else "position_differs")


@given(holding_lists)
def test_the_same_on_both_sides_is_no_difference(holdings: list[Holding]) -> None:
    same = [Holding(one.asset, one.ours, one.ours, one.unsettled) for one in holdings]
    assert compare_holdings(same) == ()


@given(st.sampled_from(["1", "22"]), MICROS, MICROS)
def test_a_position_that_differs_halts_in_either_direction(
    token: str, ours: int, more: int
) -> None:
    for pair in ((ours, ours + more + 1), (ours + more + 1, ours)):
        [one] = compare_holdings([Holding(token, *pair, 0)])
        assert one.drift_class is DriftClass.HALT


@given(MICROS, st.integers(1, 5_000_000), st.integers(0, 2_000_000))
def test_collateral_halts_only_when_more_is_gone_than_fees_could_be(
    ours: int, apart: int, unsettled: int
) -> None:
    for one in compare_holdings([Holding(COLLATERAL, ours, ours + apart, unsettled)]):
        assert one.drift_class is DriftClass.RESYNC, "a deposit"
    for one in compare_holdings([Holding(COLLATERAL, ours + apart, ours, unsettled)]):
        gone = apart > unsettled + TOLERANCE_MICROS
        assert one.drift_class is (DriftClass.HALT if gone else DriftClass.RESYNC)
