"""Ways round a limit that were tried: by a round trip, by replacing, by naming a set, by a clock that went back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cost_replay import replayed
from tests.support.life import SHARE, Life, _life, _module_database

__all__ = ["_life", "_module_database"]


async def total(life: Life, scope: str, name: str, value: int) -> None:
    await life.call("set_total_limit", scope, "", name, str(value), "test")


async def code(life: Life, **terms: Any) -> str:
    answer = await life.reserve(**terms)
    return str(answer.get("code", answer["status"]))


async def traded(life: Life, side: str, shares: int, price_micros: int) -> None:
    order_id = await life.live(side=side, size_micros=shares * SHARE, price_micros=price_micros)
    await life.fill(order_id, shares * SHARE, "CONFIRMED", price_micros=price_micros)


@pytest.mark.parametrize(
    ("scope", "name"),
    [("account", "max_cost_micros"), ("global", "max_cost_micros"), ("market", "")],
)
async def test_a_cheap_round_trip_makes_no_room_for_dear_buys(
    life: Life, scope: str, name: str
) -> None:
    if scope == "market":
        await life.limit("max_market_cost_micros", 20 * SHARE)
    else:
        await total(life, scope, name, 20 * SHARE)
    await traded(life, "BUY", 1_000, 10_000)
    await traded(life, "SELL", 1_000, 10_000)
    before, _ = await life.balance()
    while (answer := await life.reserve(price_micros=900_000))["status"] == "admitted":
        order_id = answer["order_id"]
        await life.claim()
        await life.prepare(order_id)
        await life.open_attempt(order_id)
        await life.complete("acknowledge", order_id)
        await life.fill(order_id, 10 * SHARE, "CONFIRMED", price_micros=900_000)
    after, _ = await life.balance()
    assert 0 < before - after <= 20 * SHARE


async def test_a_cheap_buy_after_a_sale_adds_what_it_cost_and_no_more(life: Life) -> None:
    await traded(life, "BUY", 100, 500_000)
    await traded(life, "SELL", 90, 500_000)
    assert (await life.exposure())["at_risk"] == 5 * SHARE
    await traded(life, "BUY", 100, 100_000)
    assert (await life.exposure())["at_risk"] == 15 * SHARE
    [held] = (await replayed(life.conn)).values()
    assert held.cost == 15 * SHARE
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_a_buy_that_failed_after_a_sale_leaves_no_cost_behind(life: Life) -> None:
    order_id = await life.live(price_micros=200_000)
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", price_micros=200_000, trade_id="cheap")
    await life.clock.advance(120_000)
    dear = await life.live(price_micros=800_000)
    await life.fill(dear, 10 * SHARE, price_micros=800_000, trade_id="dear")
    await life.clock.advance(120_000)
    await traded(life, "SELL", 10, 500_000)
    await life.fill(dear, 10 * SHARE, "FAILED", price_micros=800_000, trade_id="dear")
    row = await life.exposure()
    assert (row["basis"], row["at_risk"]) == ([0, 0], 0)
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_a_replacement_waits_for_the_cooldown_too(life: Life) -> None:
    await life.limit("cooldown_ms", 30_000)
    order_id = await life.live()
    asked = await life.call("replace_order", order_id, life.request(price_micros=350_000))
    assert asked["code"] == "COOLDOWN"
    assert (await life.row("orders", order_id))["cancel_asked_at"] is None
    await life.clock.advance(30_000)
    asked = await life.call("replace_order", order_id, life.request(price_micros=350_000))
    assert asked["status"] == "asked"


@pytest.mark.parametrize("of_whom", ["market", "account"])
async def test_replacements_use_up_the_budget_of_changes(life: Life, of_whom: str) -> None:
    if of_whom == "market":
        await life.limit("changes_per_minute", 2)
    else:
        await life.limit("changes_per_minute", 100)
        await total(life, "account", "changes_per_minute", 2)
    await life.add_tokens(0, 100 * SHARE)
    terms: dict[str, Any] = {"side": "SELL", "price_micros": 600_000}
    order_id = await life.live(**terms)
    asked = 0
    for n in range(5):
        request = life.request(**terms | {"price_micros": 610_000 + n * 10_000})
        if (await life.call("replace_order", order_id, request))["status"] != "asked":
            break
        asked += 1
        await life.read(order_id, "CANCELLED")
        order_id = await life.conn.fetchval("SELECT max(new_order_id) FROM ledger.replacement")
        await life.claim()
        await life.prepare(order_id)
        await life.open_attempt(order_id)
        await life.complete("acknowledge", order_id)
    assert asked == 1


@pytest.mark.parametrize("side", ["BUY", "SELL"])
async def test_the_number_of_a_set_passes_no_cooldown(life: Life, side: str) -> None:
    await life.limit("cooldown_ms", 30_000)
    await life.add_tokens(0, 100 * SHARE)
    price = 300_000 if side == "BUY" else 600_000
    assert await code(life, side=side, price_micros=price) == "admitted"
    assert await code(life, side=side, price_micros=price + 10_000, set_id=1) == "COOLDOWN"
    await life.clock.advance(30_000)
    one = [life.request(side=side, price_micros=price + n * 10_000, set_id=1) for n in (1, 2)]
    assert [a["status"] for a in await life.call("reserve_pending", one)] == ["admitted"] * 2
    assert await code(life, side=side, price_micros=price + 30_000, set_id=1) == "COOLDOWN"


async def test_a_clock_that_went_back_refills_no_budget(life: Life) -> None:
    await total(life, "account", "changes_per_minute", 4)
    await life.limit("changes_per_minute", 100)
    await life.add_market("m2")
    for n in range(4):
        assert await code(life, price_micros=100_000 + n * 10_000) == "admitted"
    await life.clock.advance(-600_000)
    for market in ("m1", "m2"):
        terms = {"market": market, "price_micros": 200_000, "size_micros": 5 * SHARE}
        assert await code(life, **terms) == "CHANGES_MINUTE"
    await life.clock.advance(615_000)
    assert await code(life, price_micros=200_000, size_micros=5 * SHARE) == "admitted"


@pytest.mark.parametrize("back_ms", [0, 5_000])
async def test_a_duplicate_is_seen_behind_any_number_of_others(life: Life, back_ms: int) -> None:
    await life.limit("duplicate_window_ms", 60_000)
    await life.limit("duplicate_refused", "true")
    await life.clock.advance(10_000)
    await life.clock.advance(-back_ms)
    assert await code(life) == "admitted"
    for n in range(25):
        price = {"price_micros": 10_000 + n * 10_000, "size_micros": 5 * SHARE}
        assert await code(life, **price) == "admitted"
    await life.clock.advance(-back_ms)
    assert await code(life) == "DUPLICATE"
    await life.clock.advance(60_000 + 2 * back_ms)
    assert await code(life) == "admitted"


async def test_sells_on_their_way_count_for_the_imbalance(life: Life) -> None:
    for outcome in (0, 1):
        await life.add_tokens(outcome, 100 * SHARE)
    await life.limit("max_imbalance_micros", 5 * SHARE)
    terms: dict[str, Any] = {"side": "SELL", "price_micros": 600_000, "size_micros": 5 * SHARE}
    order_id = await life.live(outcome="Down", **terms)
    assert await code(life, size_micros=5 * SHARE) == "IMBALANCE", "offered"
    await life.fill(order_id, 5 * SHARE, "MATCHED", price_micros=600_000, trade_id="t")
    assert await code(life, size_micros=5 * SHARE) == "IMBALANCE", "matched"
    assert await code(life, outcome="Down", **terms) == "IMBALANCE"
    await life.fill(order_id, 5 * SHARE, "CONFIRMED", price_micros=600_000, trade_id="t")
    assert await code(life, size_micros=5 * SHARE) == "IMBALANCE", "gone"
    assert await code(life, **terms) == "admitted", "the other outcome may follow"


async def test_the_largest_order_may_be_any_number_under_a_drawdown(life: Life) -> None:
    await life.limit("max_order_micros", 9_000_000_000_000 * SHARE)
    await life.conn.execute("UPDATE ledger.account_state SET size_factor_ppm = 500000")
    assert await code(life) == "admitted"


async def test_a_buy_that_failed_takes_no_more_cost_along_than_is_left_of_it(life: Life) -> None:
    await traded(life, "BUY", 1_000, 400_000)
    dear = await life.live(price_micros=900_000, size_micros=100 * SHARE)
    await life.fill(dear, 100 * SHARE, price_micros=900_000, trade_id="dear")
    await traded(life, "SELL", 800, 400_000)
    await life.fill(dear, 100 * SHARE, "FAILED", price_micros=900_000, trade_id="dear")
    row = await life.exposure()
    assert row["bought"][0] - row["sold"][0] == 200 * SHARE
    assert 80 * SHARE <= row["at_risk"] <= 90 * SHARE, "200 shares that cost 0.40 each"
