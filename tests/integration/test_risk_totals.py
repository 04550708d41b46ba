"""Caps on totals: per account, per group, over all accounts and over all live ones, shared out as loans."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life

COST = 4_000_000  # of the ordinary request: 10 shares at 0.4


async def total(life: Life, scope: str, name: str, value: int | None, scope_id: str = "") -> None:
    text = None if value is None else str(value)
    await life.call("set_total_limit", scope, scope_id, name, text, "test")


async def code(life: Life, **changes: Any) -> str:
    answer = await life.reserve(**changes)
    return str(answer.get("code", answer["status"]))


async def sound(life: Life) -> None:
    """No check of the audit finds a difference."""
    rows = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert rows == []


@pytest.fixture(name="many")
async def _many(life: Life) -> Life:
    """Accounts main, second (paper) and live (the real venue); markets of two groups; no other limits."""
    for name in ("burst_per_minute", "burst_gap_ms", "max_outcome_micros", "max_market_micros"):
        await life.limit(name, None)
    await life.open_account("second")
    await life.conn.fetchval("SELECT ledger.open_account('live', 'polymarket')")
    await life.call("book_movement", "live", "collateral", 10_000 * SHARE, "opening", "o", "")
    for name, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        await life.add_market(name, group_key=group)
    return life


async def test_an_account_has_a_cap_over_all_its_markets_in_collateral_and_in_shares(
    many: Life,
) -> None:
    await total(many, "account", "max_cost_micros", 2 * COST)
    codes = [await code(many, market=market) for market in ("a1", "a2", "b1")]
    assert codes == ["admitted", "admitted", "CAP_ACCOUNT"]
    assert await code(many, account="second", market="b1") == "admitted", "each account has its own"
    await total(many, "account", "max_cost_micros", 3 * COST, "main")
    await total(many, "account", "max_shares_micros", 25 * SHARE)
    assert await code(many, market="b1") == "CAP_ACCOUNT"
    assert await code(many, market="b1", size_micros=5 * SHARE) == "admitted"
    await sound(many)


async def test_a_group_has_a_cap_over_its_markets_and_over_all_accounts(many: Life) -> None:
    await total(many, "group", "max_cost_micros", 3 * COST)
    assert await code(many, market="a1") == "admitted"
    assert await code(many, market="a2", account="second") == "admitted"
    assert await code(many, market="a2") == "admitted"
    assert await code(many, market="a1") == "CAP_GROUP"
    assert await code(many, market="a2", account="second") == "CAP_GROUP"
    assert await code(many, market="b1") == "admitted"
    assert await code(many, market="m1") == "admitted", "of no group"
    await total(many, "group", "max_cost_micros", 4 * COST, "a")
    assert await code(many, market="a1", price_micros=390_000) == "admitted"
    await sound(many)


async def test_the_cap_of_all_accounts_binds_whoever_comes_last(many: Life) -> None:
    await total(many, "global", "max_cost_micros", 3 * COST)
    codes = [
        await code(many, market="a1", account=name) for name in ("main", "second", "live", "main")
    ]
    assert codes == ["admitted"] * 3 + ["CAP_GLOBAL"]
    await sound(many)


async def test_live_accounts_begin_small_and_only_a_person_lifts_that(many: Life) -> None:
    """500 of collateral over all of them; paper is not meant."""
    assert await code(many, account="live", market="a1", size_micros=1_250 * SHARE) == "admitted"
    assert await code(many, account="live", market="a2") == "CAP_LIVE"
    assert await code(many, market="a2", size_micros=2_000 * SHARE) == "admitted"
    await total(many, "live", "max_cost_micros", 504_000_000)
    assert await code(many, account="live", market="a2") == "admitted"
    assert await code(many, account="live", market="b1") == "CAP_LIVE"
    await total(many, "live", "max_cost_micros", None)
    assert await code(many, account="live", market="b1") == "admitted"
    await sound(many)


async def test_what_one_account_was_lent_and_does_not_use_is_there_for_another(many: Life) -> None:
    await total(many, "global", "max_cost_micros", 32 * COST)
    order_id = await many.reserved(market="a1", size_micros=300 * SHARE)  # 30 of 32
    assert await code(many, account="second", market="a1", size_micros=30 * SHARE) == "CAP_GLOBAL"
    await many.item("release_pending", order_id=order_id)
    assert await code(many, account="second", market="a1", size_micros=310 * SHARE) == "admitted"
    assert await code(many, market="a1") == "admitted"
    assert await code(many, market="a1", price_micros=390_000) == "CAP_GLOBAL"
    await sound(many)


async def test_a_lowered_cap_binds_at_once_and_ends_nothing(many: Life) -> None:
    await total(many, "global", "max_cost_micros", 100 * COST)
    order_id = await many.live(market="a1")
    await total(many, "global", "max_cost_micros", COST)
    assert await code(many, market="a1", price_micros=390_000) == "CAP_GLOBAL"
    assert await many.state(order_id) == "LIVE"
    assert await many.halts() == []
    await many.read(order_id, "CANCELLED")
    assert await code(many, market="a1", price_micros=390_000) == "admitted"
    await sound(many)


async def test_a_cap_that_is_set_later_counts_what_is_there_already(many: Life) -> None:
    await many.live(market="a1")
    await many.reserved(market="a2", account="second")
    await total(many, "global", "max_cost_micros", 3 * COST)
    await total(many, "group", "max_cost_micros", 3 * COST)
    assert await code(many, market="a1", price_micros=300_000) == "admitted"
    assert await code(many, market="a1", price_micros=200_000) == "CAP_GROUP"
    assert await code(many, market="b1", price_micros=200_000) == "CAP_GLOBAL"
    await sound(many)


async def test_a_market_that_changes_its_group_takes_its_risk_along(many: Life) -> None:
    await total(many, "group", "max_cost_micros", 2 * COST)
    await many.live(market="b1")
    await many.live(market="b1", price_micros=390_000)
    await many.add_market("b1", group_key="a")
    assert await many.conn.fetchval("SELECT ledger.sweep_groups()") == 0
    assert await code(many, market="a1") == "CAP_GROUP"
    await sound(many)


async def test_a_lane_that_an_import_did_not_see_is_moved_by_the_next_sweep(many: Life) -> None:
    """Made while the import ran: neither of the two saw the other."""
    await total(many, "group", "max_cost_micros", COST)
    await many.live(market="b1")
    await many.conn.execute("UPDATE ledger.market SET group_key = 'a' WHERE slug = 'b1'")
    assert await many.conn.fetchval("SELECT ledger.sweep_groups()") == 1
    assert await many.conn.fetchval("SELECT ledger.sweep_groups()") == 0
    assert await code(many, market="a1") == "CAP_GROUP"
    await sound(many)


async def test_a_fact_beyond_a_cap_is_booked_and_the_others_have_that_much_less(many: Life) -> None:
    await total(many, "global", "max_cost_micros", 3 * COST)
    first = await many.live(market="a1")
    await many.read(first, "CANCELLED")
    assert await code(many, account="second", market="a1", size_micros=20 * SHARE) == "admitted"
    await many.reserved(market="a2")
    await many.fill(first, 10 * SHARE)  # a trade for what was believed to be cancelled
    assert (await many.exposure("a1"))["at_risk"] == COST
    await sound(many)
    await many.item("release_pending", order_id=2)
    assert await code(many, account="second", market="a1", size_micros=20 * SHARE) == "CAP_GLOBAL"
    assert await code(many, account="second", market="a1", size_micros=10 * SHARE) == "admitted"


async def test_a_sell_needs_no_room_under_any_total(many: Life) -> None:
    await many.add_tokens(0, 20 * SHARE)
    for scope in ("global", "account"):
        await total(many, scope, "max_cost_micros", 0)
    assert await code(many) in {"CAP_ACCOUNT", "CAP_GLOBAL"}
    assert await code(many, side="SELL") == "admitted"


@pytest.mark.parametrize(
    ("scope", "scope_id", "name", "value", "why"),
    [
        ("galaxy", "", "max_cost_micros", "1", "w"),
        ("global", "x", "max_cost_micros", "1", "w"),
        ("live", "x", "max_cost_micros", "1", "w"),
        ("account", "nobody", "max_cost_micros", "1", "w"),
        ("global", "", "scope", "1", "w"),
        ("global", "", "max_cost", "1", "w"),
        ("global", "", "max_cost_micros", "1", ""),
        ("global", "", "max_cost_micros", "-1", "w"),
        ("global", "", "max_cost_micros", "many", "w"),
        ("group", "a", "max_daily_loss_micros", "1", "w"),
        ("global", "", "max_open_orders", "1", "w"),
    ],
)
async def test_a_total_that_makes_no_sense_is_refused_and_nothing_is_changed(
    many: Life, scope: str, scope_id: str, name: str, value: str, why: str
) -> None:
    before = await many.conn.fetch("SELECT * FROM ledger.total_limits ORDER BY scope, scope_id")
    with pytest.raises(
        Exception, match=r"BAD_REQUEST|UNKNOWN_ACCOUNT|violates check|invalid input"
    ):
        await many.conn.fetchval(
            "SELECT ledger.set_total_limit($1, $2, $3, $4, $5)", scope, scope_id, name, value, why
        )
    assert (
        await many.conn.fetch("SELECT * FROM ledger.total_limits ORDER BY scope, scope_id")
        == before
    )
    assert (
        await many.conn.fetchval("SELECT count(*) FROM ledger.limit_change WHERE scope <> ''") == 0
    )


async def test_accounts_that_reserve_at_the_same_time_never_exceed_what_they_share(
    many: Life, module_database: TestDatabase
) -> None:
    """Eight sessions over two accounts, a global cap of 20 orders: what is admitted is never more, and with everybody
    asking again at the end all of it is given out.
    """
    await total(many, "global", "max_cost_micros", 20 * COST)
    sessions = [many.on(await module_database.connect()) for _ in range(8)]

    async def ask(n: int, life: Life) -> int:
        admitted = 0
        for k in range(12):
            key = f"{n} {k}"
            market = ("a1", "a2", "b1", "m1")[n % 4]
            account = ("main", "second")[n // 4]
            answered = await life.reserve(key=key, market=market, account=account)
            admitted += answered["status"] == "admitted"
            assert answered.get("code") in {None, "CAP_GLOBAL"}, answered
        return admitted

    counts = await asyncio.gather(*(ask(n, life) for n, life in enumerate(sessions)))
    assert sum(counts) <= 20
    while (await many.reserve(market="a1"))["status"] == "admitted":
        counts.append(1)
    assert sum(counts) == 20
    await sound(many)
