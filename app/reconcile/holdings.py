"""What is owned, in both views: what differs by more than is on its way, and what trading must stop for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.reconcile.compare import Difference, DriftClass
from app.venue.interface import COLLATERAL

TOLERANCE_MICROS: Final = 1_000_000
"""Of collateral: fees are computed, not told (docs/venue.md 10), and rebates arrive unannounced."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One asset in both views, in micros, and how much of it our rows say may have moved there or not yet."""

    asset: str
    ours: int
    theirs: int
    unsettled: int


def compare_holdings(holdings: Iterable[Holding]) -> tuple[Difference, ...]:
    """By asset. Never more than one difference for each."""
    return tuple(
        Difference(_kind(one), one.asset, str(one.ours), str(one.theirs), drift_class_of(one))
        for one in sorted(holdings, key=lambda one: one.asset)
        if abs(one.theirs - one.ours) > one.unsettled
    )


def drift_class_of(one: Holding) -> DriftClass:
    """Whether trading must stop for a holding that differs.

    A position that our orders do not explain is exposure nobody decided on, in either direction. Collateral
    beyond our books is a deposit, which a person books; short of them by more than fees could be, money has gone.
    """
    if one.asset == COLLATERAL:
        gone = one.ours - one.theirs > one.unsettled + TOLERANCE_MICROS
        return DriftClass.HALT if gone else DriftClass.RESYNC
    return DriftClass.HALT


def _kind(one: Holding) -> str:
    return "collateral_differs" if one.asset == COLLATERAL else "position_differs"
