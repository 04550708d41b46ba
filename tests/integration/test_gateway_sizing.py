"""A sized order keeps the reason for its size with it (R3, R4, R6)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from app.errors import BadInput, Code
from app.gateway import Gateway
from app.risk import Moment, Sized, SizingRules, size
from app.risk.sizing import MOST_LIMITS, MOST_MIDS, MOST_NAME, again
from tests.support.trading import (
    SHARE,
    World,
    buy,
    world_fixture,  # noqa: F401 - the fixture
)


def sized(shares: int, **moment: Any) -> Sized:
    rules = SizingRules(base_micros=shares * SHARE, min_size_micros=5 * SHARE, calm_micros=10_000)
    return size(rules, Moment(now_ms=1_772_452_800_000, mids=(450_000, 460_000, 440_000), **moment))


async def context(world: World) -> dict[str, Any]:
    return dict(json.loads(await world.owner.fetchval("SELECT context FROM ledger.orders")))


async def test_an_order_carries_what_it_was_sized_by(world: World) -> None:
    gateway = Gateway(await world.ledger(), log=CapturingLogger())
    chosen = sized(20, limits_left={"market": 15 * SHARE})
    intent = replace(buy("k"), size_micros=chosen.size_micros, context={"signal": 3})
    placed = await gateway.place_order_with_guards(intent, sizing=chosen)
    assert placed.admission is not None
    kept = await context(world)
    assert kept["signal"] == 3
    assert again(kept["sizing"]) == chosen
    assert kept["sizing"]["size"] == placed.admission.size_micros


async def test_inside_an_evaluation_too(world: World) -> None:
    gateway = Gateway(await world.ledger(), log=CapturingLogger())
    async with gateway.evaluation("m1") as evaluation:
        await evaluation.place_order_with_guards(buy("k"), sizing=sized(20))
    assert "sizing" in await context(world)


async def test_the_largest_record_fits_into_an_intent(world: World) -> None:
    gateway = Gateway(await world.ledger(), log=CapturingLogger())
    names = [f"{n:02d}".ljust(MOST_NAME, "x") for n in range(MOST_LIMITS)]
    chosen = size(
        SizingRules(base_micros=20 * SHARE, min_size_micros=0),
        Moment(
            now_ms=1_772_452_800_000,
            mids=(999_999,) * MOST_MIDS,
            limits_left=dict.fromkeys(names, 10**15),
        ),
    )
    await gateway.place_order_with_guards(buy("k"), sizing=chosen)
    assert again((await context(world))["sizing"]) == chosen


@pytest.mark.parametrize(
    ("shares", "own", "code"),
    [(9, {}, Code.BAD_SIZE), (4, {}, Code.BAD_SIZE), (20, {"sizing": 1}, Code.BAD_REQUEST)],
)
async def test_more_than_was_sized_is_not_asked_for(
    world: World, shares: int, own: dict[str, Any], code: Code
) -> None:
    gateway = Gateway(await world.ledger(), log=CapturingLogger())
    calm = Moment(now_ms=1_772_452_800_000)
    chosen = size(SizingRules(base_micros=shares * SHARE, min_size_micros=5 * SHARE), calm)
    with pytest.raises(BadInput) as caught:
        await gateway.place_order_with_guards(buy("k", 10, context=own), sizing=chosen)
    assert caught.value.code is code
    assert (await world.rows())["orders"] == 0
