"""Every limit of a reservation beyond caps and bursts: what is refused, with which code, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.life import SHARE, Life, token

DAY_MS = 86_400_000


@pytest.fixture(name="open_life")
async def _open_life(life: Life) -> Life:
    for name in ("burst_per_minute", "burst_gap_ms", "max_outcome_micros", "max_market_micros"):
        await life.limit(name, None)
    await life.add_market("m2")
    return life


async def code(life: Life, **changes: Any) -> str:
    answer = await life.reserve(**changes)
    return str(answer.get("code", answer["status"]))


async def books(
    life: Life, *, bid: int | None, ask: int | None, outcome: int = 0, age_ms: int = 0
) -> None:
    def side(price: int | None) -> list[list[int]]:
        return [] if price is None else [[price, 10 * SHARE]]

    item = {
        "token_id": token(life.market, outcome),
        "bids": side(bid),
        "asks": side(ask),
        "age_ms": age_ms,
    }
    assert await life.call("note_books", [item]) == 1


async def total(life: Life, scope: str, name: str, value: int | None, scope_id: str = "") -> None:
    text = None if value is None else str(value)
    await life.call("set_total_limit", scope, scope_id, name, text, "test")


# ------------------------------------------------------------------------------- size, cost, number


async def test_an_order_larger_than_allowed_is_refused_and_writes_nothing(open_life: Life) -> None:
    await open_life.limit("max_order_micros", 10 * SHARE)
    assert await code(open_life) == "admitted"
    before = await open_life.exposure()
    assert await code(open_life, size_micros=10 * SHARE + 10_000) == "ORDER_SIZE"
    assert await open_life.exposure() == before


async def test_the_cost_of_an_order_counts_its_highest_fee(open_life: Life) -> None:
    await open_life.add_market("fees", fee_rate_micros=20_000)
    # 10 shares at 0.4: 4.0, and at most 10 * 0.02 * 0.24 = 0.048
    await open_life.limit("max_order_cost_micros", 4_047_999)
    assert await code(open_life, market="fees") == "ORDER_COST"
    assert await code(open_life, market="fees", post_only=True) == "admitted"
    await open_life.limit("max_order_cost_micros", 4_048_000)
    assert await code(open_life, market="fees") == "admitted"


async def test_what_a_market_may_cost_counts_holds_and_positions_and_ends_with_them(
    open_life: Life,
) -> None:
    await open_life.limit("max_market_cost_micros", 8_000_000)
    first = await open_life.live()
    second = await open_life.live(price_micros=390_000)
    assert await code(open_life, price_micros=380_000) == "CAP_MARKET_COST"
    await open_life.fill(first, 10 * SHARE)  # a hold becomes a position of the same cost
    assert await code(open_life, price_micros=380_000) == "CAP_MARKET_COST"
    await open_life.read(second, "CANCELLED")
    assert await code(open_life, price_micros=380_000) == "admitted"
    assert (await open_life.exposure())["at_risk"] == 4_000_000 + 3_800_000


async def test_the_number_of_open_orders_is_limited_per_market_and_per_account(
    open_life: Life,
) -> None:
    await open_life.limit("max_open_orders", 1)
    one = await open_life.live()
    assert await code(open_life, price_micros=390_000) == "OPEN_ORDERS"
    assert await code(open_life, market="m2") == "admitted"
    await open_life.limit("max_open_orders", None)
    await total(open_life, "account", "max_open_orders", 2)
    assert await code(open_life, price_micros=390_000) == "OPEN_ORDERS"
    await open_life.read(one, "CANCELLED")
    assert await code(open_life, price_micros=390_000) == "admitted"


async def test_one_leg_may_lead_by_so_much_and_the_lagging_one_is_always_let_in(
    open_life: Life,
) -> None:
    await open_life.limit("max_imbalance_micros", 15 * SHARE)
    assert await code(open_life) == "admitted"
    assert await code(open_life, price_micros=390_000) == "IMBALANCE"
    assert await code(open_life, outcome="Down", size_micros=25 * SHARE) == "admitted"
    assert await code(open_life, outcome="Down", price_micros=390_000) == "IMBALANCE"


async def test_a_sell_counts_as_if_it_were_done_but_unwinding_is_let_through(
    open_life: Life,
) -> None:
    await open_life.add_tokens(0, 20 * SHARE)
    await open_life.add_tokens(1, 20 * SHARE)
    await open_life.limit("max_imbalance_micros", 15 * SHARE)
    sell = {"side": "SELL", "price_micros": 600_000}
    assert await code(open_life, **sell) == "admitted"
    assert await code(open_life, **sell) == "IMBALANCE"
    assert await code(open_life, **sell, **{"class": "unwind"}) == "admitted"


# --------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("name", "at_ms", "wanted"),
    [
        ("open_buffer_ms", 59_999, "TOO_EARLY"),
        ("open_buffer_ms", 60_000, "admitted"),
        ("close_buffer_ms", 839_999, "admitted"),
        ("close_buffer_ms", 840_000, "TOO_LATE"),
    ],
)
async def test_a_market_has_a_buffer_after_its_opening_and_before_its_close(
    open_life: Life, name: str, at_ms: int, wanted: str
) -> None:
    start = await open_life.conn.fetchval(
        "SELECT (extract(epoch FROM ledger.clock()) * 1000)::bigint"
    )
    await open_life.add_market("window", window_start_ms=start, window_end_ms=start + 900_000)
    await open_life.limit(name, 60_000)
    await open_life.clock.advance(at_ms)
    assert await code(open_life, market="window") == wanted


async def test_weekends_can_be_switched_off(open_life: Life) -> None:
    await open_life.limit("weekend_allowed", "false")
    found = []
    for _ in range(7):
        day = await open_life.conn.fetchval(
            "SELECT extract(isodow FROM ledger.clock() AT TIME ZONE 'UTC')::int"
        )
        found.append((day, await code(open_life)))
        await open_life.clock.advance(DAY_MS)
    assert {day for day, said in found if said == "WEEKEND"} == {6, 7}
    assert {said for day, said in found if day < 6} == {"admitted"}


# ------------------------------------------------------------------------------------- changes


async def test_a_market_cools_down_after_each_change_and_a_cancel_is_a_change(
    open_life: Life,
) -> None:
    await open_life.limit("cooldown_ms", 30_000)
    order_id = await open_life.live()
    assert await code(open_life, price_micros=390_000) == "COOLDOWN"
    assert await code(open_life, market="m2") == "admitted"
    await open_life.clock.advance(29_000)
    assert (await open_life.cancel(order_id))["status"] == "ok", "a cancel is never refused"
    await open_life.clock.advance(1_000)
    assert await code(open_life, price_micros=390_000) == "COOLDOWN"
    await open_life.clock.advance(29_000)
    assert await code(open_life, price_micros=390_000) == "admitted"


async def test_the_orders_of_one_set_do_not_wait_for_each_other(open_life: Life) -> None:
    await open_life.limit("cooldown_ms", 30_000)
    items = [open_life.request(price_micros=price, set_id=1) for price in (400_000, 390_000)]
    answers = await open_life.call("reserve_pending", items)
    assert [answer["status"] for answer in answers] == ["admitted"] * 2


async def test_a_busy_market_uses_up_its_own_budget_and_not_the_accounts(open_life: Life) -> None:
    await total(open_life, "account", "changes_per_minute", 8)
    codes = [await code(open_life, price_micros=price * 10_000) for price in range(20, 30)]
    assert codes == ["admitted"] * 2 + ["CHANGES_MINUTE"] * 8, "a quarter of the account's budget"
    assert await code(open_life, market="m2") == "admitted"
    await open_life.clock.advance(30_000)
    assert await code(open_life, price_micros=310_000) == "admitted"
    assert await code(open_life, price_micros=320_000) == "CHANGES_MINUTE"


async def test_the_accounts_budget_of_changes_binds_all_its_markets(open_life: Life) -> None:
    await total(open_life, "account", "changes_per_minute", 3)
    await open_life.limit("changes_per_minute", 100)
    for name in ("m3", "m4"):
        await open_life.add_market(name)
    codes = [await code(open_life, market=name) for name in ("m1", "m2", "m3", "m4")]
    assert codes == ["admitted"] * 3 + ["CHANGES_MINUTE"]


# ------------------------------------------------------------------------------ who trades with whom


@pytest.mark.parametrize(
    ("resting", "coming", "wanted"),
    [
        ({"side": "SELL", "price_micros": 500_000}, {"price_micros": 500_000}, "SELF_MATCH"),
        ({"side": "SELL", "price_micros": 500_000}, {"price_micros": 490_000}, "admitted"),
        ({"price_micros": 500_000}, {"side": "SELL", "price_micros": 500_000}, "SELF_MATCH"),
        ({"price_micros": 500_000}, {"side": "SELL", "price_micros": 510_000}, "admitted"),
        ({"price_micros": 500_000}, {"outcome": "Down", "price_micros": 500_000}, "SELF_MATCH"),
        ({"price_micros": 500_000}, {"outcome": "Down", "price_micros": 490_000}, "admitted"),
        (
            {"side": "SELL", "price_micros": 500_000},
            {"side": "SELL", "outcome": "Down", "price_micros": 500_000},
            "SELF_MATCH",
        ),
        (
            {"side": "SELL", "price_micros": 500_000},
            {"side": "SELL", "outcome": "Down", "price_micros": 510_000},
            "admitted",
        ),
        ({"price_micros": 500_000}, {"price_micros": 500_000}, "admitted"),
    ],
)
async def test_an_order_that_could_trade_with_ones_own_is_refused(
    open_life: Life, resting: dict[str, Any], coming: dict[str, Any], wanted: str
) -> None:
    """Lesson 45, the complementary token included: two bids that cost a whole together mint a pair."""
    for outcome in (0, 1):
        await open_life.add_tokens(outcome, 50 * SHARE)
    order_id = await open_life.live(**resting)
    assert await code(open_life, **coming) == wanted
    await open_life.read(order_id, "CANCELLED")
    assert await code(open_life, **coming) == "admitted"


async def test_an_order_of_unknown_fate_still_counts_as_ones_own(open_life: Life) -> None:
    await open_life.unknown(price_micros=500_000)
    assert await code(open_life, outcome="Down", price_micros=500_000) == "SELF_MATCH"


async def test_the_same_order_under_another_key_is_an_alarm_or_a_refusal(open_life: Life) -> None:
    first = await open_life.reserve()
    again = await open_life.reserve()
    assert (again["status"], again["duplicate_of"]) == ("admitted", first["order_id"])
    (told,) = await open_life.events("DUPLICATE_SUSPECTED")
    assert told["order_id"] == again["order_id"]
    await open_life.limit("duplicate_refused", "true")
    assert await code(open_life) == "DUPLICATE"
    assert await code(open_life, size_micros=11 * SHARE) == "admitted"
    await open_life.clock.advance(1_000)
    assert await code(open_life) == "admitted"


# -------------------------------------------------------------------------------------------- books


async def test_a_price_far_from_the_book_is_refused_and_no_book_is_no_price(
    open_life: Life,
) -> None:
    await open_life.limit("collar_micros", 50_000)
    assert await code(open_life) == "NO_BOOK"
    await books(open_life, bid=390_000, ask=410_000)
    assert await code(open_life, price_micros=450_000) == "admitted"
    assert await code(open_life, price_micros=460_000) == "COLLAR"
    assert await code(open_life, price_micros=100_000) == "admitted", "a low bid hurts nobody"
    await open_life.add_tokens(0, 100 * SHARE)
    await open_life.limit("self_match_allowed", "true")
    assert await code(open_life, side="SELL", price_micros=350_000) == "admitted"
    assert await code(open_life, side="SELL", price_micros=340_000) == "COLLAR"
    await open_life.clock.advance(30_000)
    assert await code(open_life) == "NO_BOOK", "older than book_age_ms"
    assert (
        await code(open_life, side="SELL", price_micros=340_000, **{"class": "emergency"})
        == "admitted"
    )


async def test_an_older_or_unreadable_book_does_not_replace_a_good_one(open_life: Life) -> None:
    await open_life.limit("collar_micros", 50_000)
    await books(open_life, bid=390_000, ask=410_000)
    name = token(open_life.market, 0)
    wrong: list[dict[str, Any]] = [
        {"token_id": name, "bids": [[100_000, SHARE]], "asks": [], "age_ms": 5_000},
        {"token_id": name, "bids": [[100_000, 0]], "asks": [], "age_ms": 0},
        {"token_id": name, "bids": [[100_000, SHARE], [200_000, SHARE]], "asks": [], "age_ms": 0},
        {"token_id": name, "bids": None, "asks": [], "age_ms": 0},
        {"token_id": name, "bids": [], "asks": [], "age_ms": -1},
        {"token_id": "1", "bids": [], "asks": [], "age_ms": 0},
    ]
    for item in wrong:
        assert await open_life.call("note_books", [item]) == 0
    assert await code(open_life, price_micros=450_000) == "admitted"
    assert await code(open_life, price_micros=460_000) == "COLLAR"


async def test_what_would_trade_far_from_the_middle_is_refused_by_depth(open_life: Life) -> None:
    await open_life.limit("max_slippage_bps", 500)
    item = {
        "token_id": token(open_life.market, 0),
        "bids": [[390_000, 100 * SHARE]],
        "asks": [[410_000, 10 * SHARE], [500_000, 100 * SHARE]],
        "age_ms": 0,
    }
    await open_life.call("note_books", [item])
    # 10 at 0.41 against 0.40: 250 basis points; 20 of them: (0.41 + 0.50) / 2 = 0.455, 1375
    assert await code(open_life, price_micros=500_000, size_micros=10 * SHARE) == "admitted"
    assert await code(open_life, price_micros=500_000, size_micros=20 * SHARE) == "SLIPPAGE"
    assert await code(open_life, price_micros=410_000, size_micros=20 * SHARE) == "admitted"
    assert await code(open_life, price_micros=300_000, size_micros=20 * SHARE) == "admitted"


async def test_a_post_only_order_that_would_cross_is_refused_or_moved_and_never_sent_to_fail(
    open_life: Life,
) -> None:
    await books(open_life, bid=390_000, ask=410_000)
    assert await code(open_life, post_only=True, price_micros=410_000) == "WOULD_CROSS"
    moved = await open_life.reserve(post_only=True, price_micros=450_000, clamp=True)
    assert (moved["status"], moved["price_micros"]) == ("admitted", 400_000)
    await open_life.add_tokens(0, 100 * SHARE)
    await open_life.limit("self_match_allowed", "true")
    sold = await open_life.reserve(post_only=True, side="SELL", price_micros=300_000, clamp=True)
    assert (sold["status"], sold["price_micros"]) == ("admitted", 400_000)
    assert await code(open_life, post_only=True, side="SELL", price_micros=390_000) == "WOULD_CROSS"
    assert await code(open_life, price_micros=410_000) == "admitted", "not post-only: it may take"


async def test_a_moved_order_is_replayed_as_it_was_admitted(open_life: Life) -> None:
    await books(open_life, bid=390_000, ask=410_000)
    wanted = {"post_only": True, "price_micros": 450_000, "clamp": True, "key": "k"}
    first = await open_life.reserve(**wanted)
    await books(open_life, bid=290_000, ask=310_000)
    again = await open_life.reserve(**wanted)
    assert (again["replay"], again["order_id"], again["price_micros"]) == (
        True,
        first["order_id"],
        400_000,
    )
