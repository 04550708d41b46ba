"""What an intent is measured against: the burst limiter, clamping, tokens for sells, keys, the
market mutex. Durable, and the same for every process.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.life import SHARE, Life, incarnation


@pytest.fixture(name="limited")
async def _limited(life: Life) -> Life:
    """The default limiter: 6 a minute, 2 s between two."""
    await life.limit("burst_per_minute", 6)
    await life.limit("burst_gap_ms", 2_000)
    return life


async def codes(life: Life, *requests: Mapping[str, object]) -> list[str]:
    answers = await life.call("reserve_pending", [life.request(**r) for r in requests])
    return [answer.get("code", answer["status"]) for answer in answers]


# ---- the limiter


async def test_six_a_minute_are_admitted(limited: Life) -> None:
    for _ in range(6):
        assert await codes(limited, {}) == ["admitted"]
        await limited.clock.advance(2_000)
    assert await codes(limited, {}) == ["BURST_MINUTE"]
    await limited.clock.advance(60_000 - 12_000 - 1)
    assert await codes(limited, {}) == ["BURST_MINUTE"]
    await limited.clock.advance(1)
    assert await codes(limited, {}) == ["admitted"]


async def test_two_orders_of_a_market_keep_their_distance(limited: Life) -> None:
    await limited.add_market("m2")
    assert await codes(limited, {}) == ["admitted"]
    await limited.clock.advance(1_999)
    assert await codes(limited, {}) == ["BURST_GAP"]
    assert await codes(limited, {"market": "m2"}) == ["admitted"]
    await limited.clock.advance(1)
    assert await codes(limited, {}) == ["admitted"]


async def test_refusals_do_not_count(limited: Life) -> None:
    for _ in range(20):
        assert await codes(limited, {"price_micros": 401_000}) == ["OFF_TICK"]
        assert await codes(limited, {"size_micros": 10**12}) == ["INSUFFICIENT_COLLATERAL"]
    assert await codes(limited, {}) == ["admitted"]


async def test_replays_do_not_count_and_are_answered_whatever_stands(limited: Life) -> None:
    request = limited.request()
    first = await limited.call("reserve_pending", [request])
    await limited.call("set_halt", "global", None, "test", "tester")
    for _ in range(20):
        (again,) = await limited.call("reserve_pending", [request])
        assert again == first[0] | {"replay": True}
    await limited.call("clear_halt", "global", None, 1)
    await limited.clock.advance(2_000)
    assert await codes(limited, {}) == ["admitted"]


async def test_what_was_admitted_counts_though_it_was_never_placed(limited: Life) -> None:
    for _ in range(6):
        order_id = await limited.reserved()
        await limited.cancel(order_id)
        await limited.clock.advance(2_000)
    assert await codes(limited, {}) == ["BURST_MINUTE"]


async def test_a_replacement_counts_one(limited: Life) -> None:
    order_id = await limited.live()
    assert (await limited.call("replace_order", order_id, limited.request()))["code"] == "BURST_GAP"
    await limited.clock.advance(2_000)
    assert (await limited.call("replace_order", order_id, limited.request()))["status"] == "asked"
    await limited.read(order_id, "CANCELLED")
    assert len((await limited.exposure())["admitted_at"]) == 2
    assert await codes(limited, {}) == ["BURST_GAP"]


async def test_a_set_is_one_for_the_gap_and_n_for_the_minute(limited: Life) -> None:
    assert await codes(limited, *[{"set_id": 1}] * 4) == ["admitted"] * 4
    await limited.clock.advance(2_000)
    assert await codes(limited, *[{"set_id": 1}] * 4) == ["admitted"] * 2 + ["DEFERRED"] * 2


async def test_the_same_set_number_in_another_call_is_another_set(limited: Life) -> None:
    assert await codes(limited, {"set_id": 1}) == ["admitted"]
    assert await codes(limited, {"set_id": 1}) == ["BURST_GAP"]


async def test_a_batch_that_is_no_set_keeps_the_gap(limited: Life) -> None:
    assert await codes(limited, {}, {}) == ["admitted", "BURST_GAP"]


async def test_sells_count_only_if_they_are_told_to(limited: Life) -> None:
    await limited.limit("self_match_allowed", "true")
    await limited.add_tokens(0, 1_000 * SHARE)
    for _ in range(10):
        assert await codes(limited, {"side": "SELL"}) == ["admitted"]
    assert await codes(limited, {}) == ["admitted"]
    await limited.limit("burst_counts_sells", "true")
    assert await codes(limited, {"side": "SELL"}) == ["BURST_GAP"]
    await limited.clock.advance(2_000)
    assert await codes(limited, {"side": "SELL"}) == ["admitted"]


async def test_a_clock_that_steps_back_opens_no_limit(limited: Life) -> None:
    for _ in range(6):
        assert await codes(limited, {}) == ["admitted"]
        await limited.clock.advance(2_000)
    await limited.clock.advance(-3_600_000)
    assert await codes(limited, {}) == ["BURST_MINUTE"]


async def test_a_suspension_outlives_a_clock_that_steps_back_and_forth(life: Life) -> None:
    await life.limit("max_outcome_micros", 10 * SHARE)
    await life.add_tokens(0, 11 * SHARE)
    await life.clock.advance(-86_400_000)
    assert await codes(life, {"outcome": "Down"}) == ["SUSPENDED"]


async def test_the_limiter_is_shared_by_every_session(limited: Life, second: Life) -> None:
    assert await codes(limited, {}) == ["admitted"]
    assert await codes(second, {}) == ["BURST_GAP"]


async def test_the_most_specific_limit_wins(limited: Life) -> None:
    await limited.call("set_limit", "main", "m1", "burst_gap_ms", "0", "test")
    await limited.call("set_limit", None, "m1", "burst_per_minute", "3", "test")
    await limited.call("set_limit", "main", None, "burst_per_minute", "2", "test")
    assert await codes(limited, {}, {}, {}, {}) == ["admitted"] * 3 + ["BURST_MINUTE"]
    changed = await limited.conn.fetch("SELECT name, before, after FROM ledger.limit_change")
    assert ("burst_gap_ms", None, "0") in [tuple(row) for row in changed]


# ---- caps and clamping


@pytest.mark.parametrize(
    ("cap", "code"), [("max_outcome_micros", "CAP_OUTCOME"), ("max_market_micros", "CAP_MARKET")]
)
async def test_a_cap_is_reached_exactly_and_never_passed(life: Life, cap: str, code: str) -> None:
    await life.limit(cap, 100 * SHARE)
    assert await codes(life, *[{"size_micros": 7 * SHARE}] * 15) == ["admitted"] * 14 + [code]
    assert await codes(life, {"size_micros": 5 * SHARE, "clamp": True}) == [code]
    assert (await life.exposure())["pending_buy"] == [98 * SHARE, 0]


async def test_both_outcomes_share_the_markets_cap(life: Life) -> None:
    await life.limit("max_market_micros", 25 * SHARE)
    assert await codes(life, {}, {"outcome": "Down"}, {}) == ["admitted"] * 2 + ["CAP_MARKET"]


async def test_a_clamped_intent_takes_what_is_left(life: Life) -> None:
    await life.limit("max_outcome_micros", 17_345_678)
    await life.reserved()
    request = life.request(clamp=True)
    (answer,) = await life.call("reserve_pending", [request])
    assert (answer["size_micros"], answer["clamped"]) == (7_340_000, True)
    (again,) = await life.call("reserve_pending", [request])
    assert again == answer | {"replay": True}
    assert (await life.exposure())["pending_buy"] == [17_340_000, 0]


async def test_a_clamp_below_the_minimum_is_refused(life: Life) -> None:
    await life.limit("max_outcome_micros", 14_999_999)
    await life.reserved()
    assert await codes(life, {"clamp": True}) == ["CAP_OUTCOME"]


async def test_a_sell_needs_confirmed_tokens_less_what_is_on_offer(life: Life) -> None:
    await life.limit("self_match_allowed", "true")
    await life.add_tokens(0, 20 * SHARE)
    sell = {"side": "SELL"}
    assert await codes(life, sell, sell, sell) == ["admitted"] * 2 + ["INSUFFICIENT_TOKENS"]
    assert await codes(life, sell | {"outcome": "Down"}) == ["INSUFFICIENT_TOKENS"]


async def test_a_hold_never_takes_available_below_zero(life: Life) -> None:
    # 10,000 of collateral are 25,000 shares at 0.40
    assert await codes(life, {"size_micros": 25_000 * SHARE + 10_000}) == [
        "INSUFFICIENT_COLLATERAL"
    ]
    assert await codes(life, {"size_micros": 25_000 * SHARE}) == ["admitted"]
    assert await life.balance() == (0, 10_000 * SHARE)


async def test_available_amounts_account_for_reservations_in_all_markets(life: Life) -> None:
    await life.add_market("m2")
    assert await codes(life, {"size_micros": 20_000 * SHARE}) == ["admitted"]
    assert await codes(life, {"size_micros": 20_000 * SHARE, "market": "m2"}) == [
        "INSUFFICIENT_COLLATERAL"
    ]


# ---- keys


async def test_a_refusal_leaves_the_key_free(life: Life) -> None:
    assert await codes(life, {"key": "k", "price_micros": 401_000}) == ["OFF_TICK"]
    assert await codes(life, {"key": "k"}) == ["admitted"]


@pytest.mark.parametrize(
    "change",
    [{"size_micros": 11 * SHARE}, {"price_micros": 410_000}, {"side": "SELL"},
     {"outcome": "Down"}, {"market": "m2"}, {"clamp": True}, {"post_only": True},
     {"order_type": "FAK"}, {"class": "hedge"}, {"valid_for_ms": 1_000}],
)  # fmt: skip
async def test_a_key_belongs_to_one_request(life: Life, change: dict[str, object]) -> None:
    await life.add_market("m2")
    assert await codes(life, {"key": "k"}) == ["admitted"]
    assert await codes(life, {"key": "k"} | change) == ["KEY_REUSED"]


async def test_a_key_in_one_batch_twice_is_one_order(life: Life) -> None:
    answers = await life.call("reserve_pending", [life.request(key="k")] * 3)
    assert {a["order_id"] for a in answers} == {answers[0]["order_id"]}
    assert [a["replay"] for a in answers] == [False, True, True]


async def test_a_key_is_the_accounts_own(life: Life) -> None:
    await life.open_account("other")
    assert await codes(life, {"key": "k"}, {"key": "k", "account": "other"}) == ["admitted"] * 2


# ---- the market's own terms


async def test_tick_and_fee_are_the_market_s_at_each_decision(life: Life) -> None:
    """Also in a session that has just asked: nothing remembers what a market was."""
    assert await codes(life, {"price_micros": 405_000}) == ["OFF_TICK"]
    await life.add_market("m1", tick_micros=5_000, fee_rate_micros=50_000)
    order_id = await life.reserved(price_micros=405_000)
    row = await life.row("orders", order_id)
    assert (row["tick_micros"], row["fee_rate_micros"]) == (5_000, 50_000)
    held = 4_050_000 + 120_488  # 10 shares * 0.05 * 0.405 * 0.595, rounded up
    assert (await life.row("reservation", order_id))["held_micros"] == held
    await life.add_market("m1", tick_micros=10_000, fee_rate_micros=0)
    assert await codes(life, {"price_micros": 405_000}) == ["OFF_TICK"]
    # what was admitted keeps the terms it was admitted under
    assert await life.row("orders", order_id) == row
    assert (await life.row("reservation", order_id))["held_micros"] == held


# ---- the market mutex


async def test_a_held_market_is_locked_for_others_and_open_to_its_term(life: Life) -> None:
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert await codes(life, {}) == ["LOCKED"]
    assert await codes(life, {"mutex_term": term}) == ["admitted"]
    assert await codes(life, {"mutex_term": term + 1}) == ["MUTEX_LOST"]
    await life.clock.advance(1_000)
    assert await codes(life, {"mutex_term": term}, {}) == ["MUTEX_LOST", "admitted"]


@pytest.mark.parametrize("ttl_ms", [None, 9, 60_001, -1])
async def test_a_market_is_held_for_a_time_that_makes_sense_or_not_at_all(
    life: Life, ttl_ms: int | None
) -> None:
    answer = await life.call("take_mutex", "main", "m1", incarnation(9), ttl_ms)
    assert (answer["status"], answer["code"]) == ("refused", "BAD_REQUEST")
    assert "10 to 60000 ms" in answer["detail"]
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.exposure") == 0
    assert await codes(life, {}) == ["admitted"]


async def test_a_term_that_was_given_back_reserves_and_replaces_nothing(life: Life) -> None:
    order_id = await life.live()
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert await life.call("release_mutex", "main", "m1", term) == {
        "released": True,
        "again": False,
    }
    assert await codes(life, {"mutex_term": term}) == ["MUTEX_LOST"]
    answer = await life.call("replace_order", order_id, life.request(mutex_term=term))
    assert answer["code"] == "MUTEX_LOST"
    assert await life.state(order_id) == "LIVE"


async def test_a_takeover_grows_the_term_and_the_old_holder_is_out(life: Life) -> None:
    old = (await life.call("take_mutex", "main", "m1", incarnation(8), 1_000))["term"]
    assert (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["code"] == "LOCKED"
    await life.clock.advance(1_000)
    new = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert new == old + 1
    assert await life.call("renew_mutex", "main", "m1", old, 1_000) is False
    assert (await life.call("release_mutex", "main", "m1", old))["released"] is False
    assert await life.call("renew_mutex", "main", "m1", new, 1_000) is True


async def test_one_run_is_remembered_however_often_it_was_asked_for(life: Life) -> None:
    term = (await life.call("take_mutex", "main", "m1", incarnation(8), 1_000))["term"]
    for _ in range(3):
        await life.call("take_mutex", "main", "m1", incarnation(9), 1_000, True)
    assert (await life.call("release_mutex", "main", "m1", term))["again"] is True
    term = (await life.call("take_mutex", "main", "m1", incarnation(9), 1_000))["term"]
    assert (await life.call("release_mutex", "main", "m1", term))["again"] is False
