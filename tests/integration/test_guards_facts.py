"""What the venue says and what follows from it: guards that could be taken away without any test's noticing soon."""

from __future__ import annotations

import asyncpg
import pytest

from tests.integration.test_guards_locks import give_back, waiting
from tests.support.database import TestDatabase
from tests.support.life import (
    LEASE_MS,
    QUARANTINE_MS,
    REQUEST_TIMEOUT_MS,
    SEND_BY_MS,
    SHARE,
    Life,
    incarnation,
    venue_id,
)


@pytest.fixture(name="other")
async def _other(module_database: TestDatabase, life: Life) -> Life:
    return life.on(await module_database.connect(), incarnation(3))


async def fees(life: Life) -> int:
    return int(
        await life.conn.fetchval(
            "SELECT coalesce(sum(amount), 0) FROM ledger.contra_balance WHERE contra = 'fees'"
        )
    )


async def test_an_attempt_that_nobody_answers_ends_though_the_order_was_seen(life: Life) -> None:
    """Evidence was faster than its sender, who died then."""
    order_id = await life.sending()
    await life.read(order_id, "LIVE")
    await life.clock.advance(SEND_BY_MS + REQUEST_TIMEOUT_MS + LEASE_MS)
    assert (await life.row("attempt", order_id))["outcome"] == "open"
    await life.call("sweep_lapsed")
    assert (await life.row("attempt", order_id))["outcome"] == "lapsed"
    assert await life.state(order_id) == "LIVE"


async def test_a_refusal_of_an_attempt_ends_no_order_that_the_venue_has_shown(life: Life) -> None:
    order_id = await life.sending()
    await life.read(order_id, "LIVE")
    await life.complete("reject", order_id)
    assert await life.state(order_id) == "LIVE"


@pytest.mark.parametrize("event", ["REJECT", "ABSENT", "WITHDRAW", "OPEN"])
async def test_what_the_table_of_transitions_does_not_know_does_not_happen(
    life: Life, event: str
) -> None:
    order_id = await life.live()
    before = await life.row("orders", order_id)
    assert (
        await life.conn.fetchval(
            "SELECT ledger._settle(o, $2, 'test', ledger.clock()) FROM ledger.orders o WHERE order_id = $1",
            order_id,
            event,
        )
        is None
    )
    assert await life.row("orders", order_id) == before
    [told] = await life.events("ILLEGAL_TRANSITION")
    assert told["detail"]["event"] == event


async def test_a_fee_that_was_said_is_not_taken_back_by_one_that_is_not(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, trade_id="t", fee_micros=5_000)
    assert await fees(life) == 5_000
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", trade_id="t", fee_micros=0)
    assert await fees(life) == 5_000
    assert await life.balance() == (10_000 * SHARE - 4 * SHARE - 5_000, 0)


async def test_what_an_account_pays_and_what_others_get_is_nothing_together(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", fee_micros=7_000)
    rows = await life.conn.fetch(
        "SELECT b.asset, sum(b.amount) AS left_over FROM ("
        " SELECT asset, available + locked AS amount FROM ledger.balance"
        " UNION ALL SELECT asset, amount FROM ledger.contra_balance) b GROUP BY b.asset"
    )
    assert {int(row["left_over"]) for row in rows} == {0}
    assert len(rows) == 2
    assert await fees(life) == 7_000


async def test_an_observation_is_a_sighting_whatever_it_says(life: Life) -> None:
    order_id = await life.unknown()
    await life.observe(order_id, "OTHER", source="stream")
    assert (await life.row("orders", order_id))["seen_at_venue"]


async def test_an_order_whose_id_is_stored_while_its_observation_waits_is_no_stranger(
    life: Life, second: Life, other: Life
) -> None:
    order_id = await life.claimed()
    writer = second.on(second.conn, life.worker)
    writer.claims |= life.claims
    async with second.conn.transaction():
        assert (await writer.prepare(order_id))["state"] == "PREPARED"
        async with waiting(life, other.read(order_id, "LIVE")) as seen:
            await give_back(second)
            with pytest.raises(asyncpg.SerializationError, match="appeared meanwhile"):
                await seen
    assert await life.halts() == []


async def test_an_order_whose_id_is_stored_while_its_trade_waits_is_no_stranger(
    life: Life, second: Life, other: Life
) -> None:
    order_id = await life.claimed()
    writer = second.on(second.conn, life.worker)
    writer.claims |= life.claims
    async with second.conn.transaction():
        assert (await writer.prepare(order_id))["state"] == "PREPARED"
        async with waiting(life, other.fill(order_id, SHARE)) as told:
            await give_back(second)
            with pytest.raises(asyncpg.SerializationError, match="appeared meanwhile"):
                await told
    assert await life.halts() == []


async def test_an_event_is_applied_once(life: Life) -> None:
    await life.call("store_events", life.account, [{"event_id": "e", "raw": "{}"}])
    await life.call("mark_events", life.account, ("e",))
    applied = await life.conn.fetchval("SELECT applied_at FROM ledger.venue_event")
    await life.clock.advance(1_000)
    await life.call("mark_events", life.account, ("e",), "a problem that came later")
    assert await life.conn.fetchval("SELECT applied_at FROM ledger.venue_event") == applied


async def test_an_end_leaves_no_fate_open(life: Life) -> None:
    order_id = await life.unknown()
    assert (await life.row("orders", order_id))["fate_open"]
    await life.read(order_id, "CANCELLED")
    assert not (await life.row("orders", order_id))["fate_open"]


async def test_when_a_hold_ended_is_told_once(life: Life) -> None:
    order_id = await life.cancelled()
    ended = (await life.row("reservation", order_id))["released_at"]
    await life.clock.advance(1_000)
    await life.fill(order_id, SHARE, "CONFIRMED")
    assert await life.state(order_id) == "CANCELLED"
    assert (await life.row("reservation", order_id))["released_at"] == ended


async def test_more_than_was_asked_for_stops_the_market_at_once(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 11 * SHARE)
    assert (await life.exposure())["suspended_why"] == "INVARIANT_BREACH_HALT OVERFILL"


async def test_a_market_that_holds_too_much_is_stopped_by_the_next_fact(life: Life) -> None:
    up, down = await life.live(), await life.live(outcome="Down")
    await life.limit("max_market_micros", 19 * SHARE)
    await life.fill(up, 10 * SHARE)
    assert (await life.exposure())["suspended_why"] == "INVARIANT_BREACH_HALT CAP_MARKET"
    assert await life.state(down) == "LIVE"


@pytest.mark.parametrize("how", ["provisional", "awaiting", "confirmed"])
async def test_what_was_bought_counts_against_a_cap_however_far_it_is(life: Life, how: str) -> None:
    order_id = await life.live()
    if how == "awaiting":
        await life.read(order_id, "MATCHED", 10 * SHARE)
    else:
        await life.fill(order_id, 10 * SHARE, "CONFIRMED" if how == "confirmed" else "MATCHED")
    await life.limit("max_outcome_micros", 14 * SHARE)
    assert (await life.reserve(size_micros=5 * SHARE))["code"].startswith("CAP")


async def test_a_cancel_that_is_asked_again_waits_no_longer(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    await life.cancel(order_id)
    await life.clock.advance(3_000)
    assert await life.claim_cancels() == [order_id]


async def test_a_cancel_is_due_by_the_clock_that_claims_go_by(life: Life) -> None:
    order_id = await life.live()
    await life.clock.advance(-5_000)
    await life.cancel(order_id)
    due = (await life.row("cancel_request", order_id))["next_at"]
    assert due == await life.conn.fetchval("SELECT ledger.clock()")


async def test_a_cancel_of_what_may_yet_appear_is_not_put_off(life: Life) -> None:
    """It was counted as absent by a clock that was then set back: it may appear again."""
    order_id = await life.unknown()
    await life.cancel(order_id)
    await life.clock.advance(SEND_BY_MS + REQUEST_TIMEOUT_MS + QUARANTINE_MS + 1)
    assert await life.claim_cancels() == [order_id]
    await life.cancel_answered(order_id)
    for _ in range(4):
        await life.call("cancels_unseen", (order_id,))
    await life.clock.advance(-2)
    before = (await life.row("cancel_request", order_id))["next_at"]
    await life.call("cancels_unseen", (order_id,))
    after = await life.row("cancel_request", order_id)
    assert (after["next_at"], after["absent_reads"]) == (before, 4)


async def test_a_stranger_is_resolved_with_a_reason_alone(life: Life) -> None:
    await life.item(
        "observe_orders",
        account=life.account,
        venue_order_id=venue_id(99),
        status="LIVE",
        raw_status="LIVE",
        size_matched_micros=0,
        source="read",
    )
    for why in (None, ""):
        with pytest.raises(asyncpg.PostgresError, match="say why"):
            await life.call("resolve_foreign", life.account, venue_id(99), "not_ours", why, "me")
    assert await life.call("resolve_foreign", life.account, venue_id(99), "not_ours", "mine", "me")


async def test_what_has_not_settled_may_explain_a_difference(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, matched_at_ms=1)
    [found] = await life.call("record_holdings", life.account, 10_000 * SHARE, {})
    assert found["unsettled"] == 4 * SHARE
