"""What may be asked and what it costs: guards that could be taken away without any test's noticing soon."""

from __future__ import annotations

import asyncpg
import pytest

from tests.integration.test_guards_locks import waiting
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, incarnation


@pytest.fixture(name="other")
async def _other(module_database: TestDatabase, life: Life) -> Life:
    return life.on(await module_database.connect(), incarnation(3))


async def locked(life: Life) -> int:
    return (await life.balance())[1]


async def test_a_hold_is_rounded_up(life: Life) -> None:
    cost = "SELECT ledger.cost_of(410000, $1)"
    assert await life.conn.fetchval(cost, 10 * SHARE + 1) == 4_100_001
    assert await life.conn.fetchval(cost, 10 * SHARE) == 4_100_000


async def test_a_hold_has_the_highest_fee_at_or_below_its_price(life: Life) -> None:
    await life.add_market("m2", fee_rate_micros=40_000)
    holds = []
    for price in (500_000, 600_000, 900_000):
        before = await locked(life)
        await life.reserved(market="m2", price_micros=price)
        holds.append(await locked(life) - before - price * 10)
    assert holds == [100_000] * 3


async def test_tokens_that_were_sold_and_have_not_settled_are_sold_once(life: Life) -> None:
    await life.add_tokens(0, 10 * SHARE)
    order_id = await life.live(side="SELL")
    await life.fill(order_id, 10 * SHARE)
    assert await life.state(order_id) == "FILLED"
    assert (await life.row("reservation", order_id))["held_micros"] == 10 * SHARE
    assert (await life.reserve(side="SELL"))["code"].startswith("INSUFFICIENT")


async def test_commits_are_durable_whatever_the_session_says(second: Life) -> None:
    await second.conn.execute("SET synchronous_commit = off")
    async with second.conn.transaction():
        await second.reserved()
        assert await second.conn.fetchval("SHOW synchronous_commit") == "on"


async def test_a_replay_is_answered_by_a_commit_that_writes(life: Life) -> None:
    """One that writes nothing waits for no standby."""
    request = life.request()
    first = await life.item("reserve_pending", **request)
    async with life.conn.transaction():
        again = await life.item("reserve_pending", **request)
        wrote = await life.conn.fetchval("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    assert (again["order_id"], again["replay"], wrote) == (first["order_id"], True, True)


@pytest.mark.parametrize("since", ["halt", "not tradable"])
async def test_a_replay_is_answered_first(life: Life, since: str) -> None:
    request = life.request()
    first = await life.item("reserve_pending", **request)
    if since == "halt":
        await life.call("set_halt", "global", "", "test")
    else:
        await life.add_market("m1", tradable=False, untradable_reasons=["closed"])
    assert (await life.reserve())["status"] == "refused"
    again = await life.item("reserve_pending", **request)
    assert (again["status"], again["order_id"]) == ("admitted", first["order_id"])


@pytest.mark.parametrize("order_type", ["FOK", "FAK"])
async def test_at_the_venue_a_taker_spends_without_bound_and_is_refused(
    life: Life, order_type: str
) -> None:
    await life.conn.execute("SELECT ledger.open_account('venue', 'polymarket')")
    answer = await life.reserve(account="venue", order_type=order_type)
    assert answer["code"] == "TAKER_BUY_UNBOUNDED"
    assert (await life.reserve(order_type=order_type))["status"] == "admitted"


async def test_a_mode_of_the_venue_keeps_what_was_prepared_from_being_sent(life: Life) -> None:
    order_id = await life.prepared()
    await life.call("note_mode", life.account, "CANCEL_ONLY", 5_000, "test")
    assert (await life.open_attempt(order_id))["code"] == "VENUE_MODE"
    assert await life.state(order_id) == "PREPARED"
    await life.clock.advance(5_000)
    await life.claim()
    assert (await life.open_attempt(order_id))["state"] == "SENDING"


async def test_two_bids_that_cost_a_whole_together_are_a_match(life: Life) -> None:
    await life.live(price_micros=600_000)
    answer = await life.reserve(outcome="Down", price_micros=400_000)
    assert answer["code"] == "SELF_MATCH"
    below = await life.reserve(outcome="Down", price_micros=390_000)
    assert below["status"] == "admitted"


@pytest.mark.parametrize(
    ("side", "word", "unwinds"),
    [
        ("SELL", "unwind", True),
        ("SELL", "emergency", True),
        ("SELL", "entry", False),
        ("BUY", "unwind", False),
        ("BUY", "emergency", False),
    ],
)
async def test_a_class_alone_opens_no_door(life: Life, side: str, word: str, unwinds: bool) -> None:
    asked = "SELECT ledger._unwinds(jsonb_populate_record(NULL::ledger.request, $1::text::jsonb))"
    request = f'{{"side": "{side}", "class": "{word}"}}'
    assert await life.conn.fetchval(asked, request) is unwinds


async def test_the_most_specific_limit_that_is_set_is_the_limit(life: Life) -> None:
    effective = (
        "SELECT (ledger._effective_limits(a.account_id, m.market_id)).max_market_micros"
        " FROM ledger.account a, ledger.market m"
    )
    found = []
    for account, market, value in (
        (None, None, 1),
        (life.account, None, 2),
        (None, life.market, 3),
        (life.account, life.market, 4),
    ):
        await life.call("set_limit", account, market, "max_market_micros", str(value), "test")
        found.append(await life.conn.fetchval(effective))
    assert found == [1, 2, 3, 4]


async def test_a_changed_limit_leaves_a_trace(life: Life) -> None:
    await life.call("set_limit", life.account, life.market, "max_market_micros", "7", "why not")
    row = await life.conn.fetchrow(
        "SELECT name, before, after, why, changed_by = session_user AS by_us FROM ledger.limit_change"
        " WHERE account_id <> 0"
    )
    assert tuple(row) == ("max_market_micros", None, "7", "why not", True)
    assert (
        await life.conn.fetchval("SELECT count(*) FROM ledger.limit_change WHERE account_id <> 0")
        == 1
    )


async def test_a_halt_that_is_committed_while_another_is_ended_stands(
    life: Life, second: Life, other: Life
) -> None:
    version = await life.call("set_halt", "market", life.market, "the first")
    async with second.conn.transaction():
        # It lets the looks of the other session through, and keeps it from writing.
        await second.conn.execute("LOCK TABLE ledger.halt IN SHARE MODE")
        ending = other.call("clear_halt", "market", life.market, version, "over")
        async with waiting(life, ending) as ended:
            await second.call("set_halt", "market", life.market, "the second")
            await second.conn.execute("COMMIT; BEGIN")
            assert await ended == 1
    assert await life.halts() == ["the second"]


async def test_a_withdrawal_is_booked_once_for_each_step(life: Life) -> None:
    book = (
        "SELECT ledger._withdrawal_book(jsonb_populate_record(NULL::ledger.withdrawal,"
        " jsonb_build_object('account_id', a.account_id, 'withdrawal_id', 7, 'destination', '0x')),"
        " -5, 'debit', ledger.clock()) FROM ledger.account a"
    )
    before = await life.balance()
    await life.conn.execute(book)
    with pytest.raises(asyncpg.UniqueViolationError):
        await life.conn.execute(book)
    assert await life.balance() == (before[0] - 5, before[1])
