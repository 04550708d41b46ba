"""Each audit view answers its question."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.life import SHARE, Life, token, venue_id


async def rows(life: Life, query: str, *arguments: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in await life.conn.fetch(query, *arguments)]


async def test_exposure_adds_up_what_counts_against_the_cap(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 2 * SHARE, "CONFIRMED")
    await life.fill(order_id, 3 * SHARE)
    await life.read(order_id, "LIVE", 6 * SHARE)
    await life.reserved(size_micros=7 * SHARE)
    await life.limit("max_outcome_micros", 50 * SHARE)
    (row,) = await rows(life, "SELECT * FROM audit.exposure WHERE outcome = 0")
    parts = ("position", "provisional_buy", "awaiting_buy", "open_buy", "pending_buy")
    shares = [row[f"{part}_micros"] // SHARE for part in parts]
    assert shares == [2, 3, 1, 4, 7]
    assert row["effective_micros"] == row["market_effective_micros"] == 17 * SHARE
    assert (row["cap_outcome_micros"], row["sellable_micros"]) == (50 * SHARE, 2 * SHARE)


async def test_a_market_over_its_cap_is_a_standing_breach_and_stays_in_history(life: Life) -> None:
    await life.add_tokens(0, 11 * SHARE)
    await life.limit("max_outcome_micros", 10 * SHARE)
    await life.call("sweep_breaches")
    found = await rows(life, "SELECT kind, standing, effective_micros FROM audit.cap_breaches")
    assert {(row["kind"], row["standing"]) for row in found} == {
        ("CAP_OUTCOME", True),
        ("CAP_OUTCOME", False),
    }
    await life.limit("max_outcome_micros", None)
    assert [row["standing"] for row in await rows(life, "SELECT * FROM audit.cap_breaches")] == [
        False
    ]


async def test_an_unknown_order_is_unresolved_with_its_quarantine(life: Life) -> None:
    order_id = await life.unknown()
    await life.clock.advance(5_000)
    await life.cancel(order_id)
    await life.cancel_answered(order_id)
    (row,) = await rows(life, "SELECT * FROM audit.unresolved")
    assert (row["order_id"], row["state"], row["age_ms"]) == (order_id, "UNKNOWN", 5_000)
    assert (row["evidence"], row["lane_status"]) == (["delete_answered"], "blocked")
    assert (row["quarantine_until"] - life.clock.now).total_seconds() == 132 - 5


async def test_matched_size_without_trades_is_unresolved(life: Life) -> None:
    order_id = await life.live()
    await life.read(order_id, "CANCELLED", 4 * SHARE)
    (row,) = await rows(life, "SELECT * FROM audit.unresolved")
    assert (row["order_id"], row["awaiting_micros"]) == (order_id, 4 * SHARE)
    await life.fill(order_id, 4 * SHARE)
    assert await rows(life, "SELECT * FROM audit.unresolved") == []


async def test_an_intent_has_no_order_until_the_venue_shows_one(life: Life) -> None:
    order_id = await life.sending()
    (row,) = await rows(life, "SELECT * FROM audit.intents_without_order")
    assert (row["order_id"], row["state"], row["anomaly"]) == (order_id, "SENDING", False)
    await life.complete("acknowledge", order_id)
    assert await rows(life, "SELECT * FROM audit.intents_without_order") == []


@pytest.mark.parametrize("how", ["observe", "fill"])
async def test_an_order_of_nobody_is_an_order_without_intent(life: Life, how: str) -> None:
    await (life.observe(777, "LIVE") if how == "observe" else life.fill(777, SHARE))
    (row,) = await rows(life, "SELECT * FROM audit.orders_without_intent")
    assert (row["venue_order_id"], row["standing"]) == (venue_id(777), True)
    (halt,) = await rows(life, "SELECT * FROM audit.halts WHERE standing")
    assert (halt["scope"], halt["subject"]) == ("account", "main")


async def test_a_fill_beyond_the_size_is_counted_twice(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE)
    assert await rows(life, "SELECT * FROM audit.double_counted") == []
    await life.fill(order_id, SHARE)
    (row,) = await rows(life, "SELECT * FROM audit.double_counted")
    assert (row["order_ids"], row["counted_micros"]) == ([order_id], 11 * SHARE)


async def test_the_timeline_tells_an_order_from_reserve_to_end(life: Life) -> None:
    order_id = await life.cancelled()
    found = await rows(
        life,
        "SELECT source, event, to_state FROM audit.order_timeline WHERE order_id = $1 "
        "ORDER BY at, seq",
        order_id,
    )
    states = [row["to_state"] for row in found if row["source"] == "journal"]
    assert states == ["RESERVED", "PREPARED", "SENDING", "LIVE", "CANCELLED"]
    assert {row["event"] for row in found if row["source"] == "attempt"} == {"opened", "accepted"}


async def test_changes_say_who_changed_what_and_why(life: Life) -> None:
    version = await life.call("set_halt", "market", "m1", "odd prices", "ann")
    await life.call("clear_halt", "market", "m1", version, "looked", "bob")
    await life.call("set_limit", "main", "m1", "burst_gap_ms", "500", "faster")
    found = await rows(life, "SELECT * FROM audit.changes WHERE slug = 'm1' ORDER BY kind")
    told = [(row["kind"], row["as_whom"], row["what"], row["after"], row["why"]) for row in found]
    assert told == [
        ("halt", "ann", "market", f"halted, version {version}", "odd prices"),
        ("limit", "", "burst_gap_ms", "500", "faster"),
        ("resume", "bob", "market", None, "looked"),
    ]


async def test_profit_counts_average_cost_and_fees(life: Life) -> None:
    await life.call(
        "book_movement",
        "main",
        token("m1", 0),
        100 * SHARE,
        "opening",
        "tokens",
        "",
        60_000_000,
    )
    bought = await life.live(size_micros=10 * SHARE)
    await life.fill(bought, 10 * SHARE, "CONFIRMED", price_micros=400_000, fee_micros=20_000)
    sold = await life.live(side="SELL", price_micros=600_000, size_micros=5 * SHARE)
    await life.fill(sold, 5 * SHARE, "CONFIRMED", price_micros=600_000, fee_micros=10_000)
    failed = await life.live()
    await life.fill(failed, 10 * SHARE, trade_id="f")
    await life.fill(failed, 10 * SHARE, "FAILED", trade_id="f")
    (row,) = await rows(life, "SELECT * FROM audit.pnl")
    # The opening holdings are in it at their value: all buys have one average, fees included.
    average = 1_000_000 * (60_000 + 4_000 + 20) // (110_000)
    assert row["average_cost_micros"] == average
    assert row["basis_micros"] == -(-64_020_000 * 105 // 110)
    assert row["realized_micros"] == 3_000_000 - 10_000 - (64_020_000 - row["basis_micros"])
    assert row["cash_flow_micros"] == 3_000_000 - 10_000 - 64_020_000
    assert row["net_shares_micros"] == 105 * SHARE


async def test_a_key_shows_the_order_it_became(life: Life) -> None:
    order_id = await life.live(key="k")
    asked = await life.call("replace_order", order_id, life.request(key="r", price_micros=410_000))
    await life.read(order_id, "CANCELLED")
    found = await rows(life, "SELECT * FROM audit.idempotency ORDER BY key")
    assert [(row["key"], row["kind"]) for row in found] == [("k", "order"), ("r", "replacement")]
    assert found[0]["order_id"] == found[1]["replaces_order_id"] == order_id
    assert (found[1]["state"], asked["status"]) == ("replacement done", "asked")


async def test_the_lane_head_is_what_placements_wait_for(life: Life) -> None:
    head = await life.unknown()
    await life.reserved()
    found = await rows(life, "SELECT * FROM audit.outbox ORDER BY outbox_id")
    assert [(row["order_id"] == head, row["lane_head"], row["status"]) for row in found] == [
        (True, True, "blocked"),
        (False, False, "ready"),
    ]
