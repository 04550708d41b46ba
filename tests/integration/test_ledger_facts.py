"""Facts: what happened at the venue is booked in every state, once, and balances follow it.

Lessons 19-27: one trade for several of our orders, maker trades under the taker's side, settlement
that failed, late fills, overfills, dust, phantom cancels.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.life import SHARE, Life, token, venue_id

START = 10_000 * SHARE


async def snapshot(life: Life) -> list[object]:
    """All that a fact may change, but for the journal, the evidence and the clock."""
    rows: list[object] = []
    for table in ("orders", "reservation", "fill", "balance", "balance_entry", "outbox", "halt"):
        found = await life.conn.fetch(f"SELECT t::text FROM ledger.{table} t ORDER BY 1")
        rows.append([row[0] for row in found])
    exposure = await life.exposure()
    rows.append({k: v for k, v in exposure.items() if k not in ("journal_seq", "clock_at")})
    return rows


# ---- fills of a BUY


async def test_a_partial_fill_shrinks_the_hold_by_exactly_its_size(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 3 * SHARE)
    assert await life.balance() == (START - 4 * SHARE, 2_800_000)
    row = await life.row("reservation", order_id)
    assert (row["shares_micros"], row["held_micros"]) == (7 * SHARE, 2_800_000)
    exposure = await life.exposure()
    assert (exposure["open_buy"], exposure["provisional_buy"]) == ([7 * SHARE, 0], [3 * SHARE, 0])


async def test_a_better_price_gives_the_difference_back(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, price_micros=300_000)
    assert await life.balance() == (START - 3 * SHARE, 0)


async def test_the_fee_is_held_and_what_it_was_not_is_given_back(life: Life) -> None:
    await life.add_market("m1", fee_rate_micros=50_000)
    order_id = await life.live()
    held = (await life.row("reservation", order_id))["held_micros"]
    assert held == 4 * SHARE + 120_000  # 10 shares * 0.05 * 0.4 * 0.6
    await life.fill(order_id, 10 * SHARE, fee_micros=100_000)
    assert await life.balance() == (START - 4 * SHARE - 100_000, 0)


async def test_bought_tokens_can_be_sold_only_once_confirmed(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, trade_id="t")
    assert (await life.reserve(side="SELL"))["code"] == "INSUFFICIENT_TOKENS"
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", trade_id="t")
    assert await life.balance(token("m1", 0)) == (10 * SHARE, 0)
    assert (await life.reserve(side="SELL"))["status"] == "admitted"
    assert (await life.reserve(side="SELL", size_micros=5 * SHARE))["code"] == "INSUFFICIENT_TOKENS"


# ---- fills of a SELL


async def test_a_sell_pays_out_once_confirmed(life: Life) -> None:
    await life.add_tokens(0, 10 * SHARE)
    order_id = await life.live(side="SELL")
    assert await life.balance(token("m1", 0)) == (0, 10 * SHARE)
    await life.fill(order_id, 10 * SHARE, trade_id="t", fee_micros=50_000)
    assert await life.balance(token("m1", 0)) == (0, 10 * SHARE)
    assert await life.balance() == (START, 0)
    assert (await life.row("reservation", order_id))["phase"] == "settling"
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", trade_id="t")
    assert await life.balance(token("m1", 0)) == (0, 0)
    assert await life.balance() == (START + 4 * SHARE - 50_000, 0)
    assert (await life.exposure())["confirmed"] == [0, 0]
    assert (await life.row("reservation", order_id))["phase"] == "released"


async def test_a_sell_never_lowers_exposure_before_it_is_settled(life: Life) -> None:
    await life.limit("max_outcome_micros", 100 * SHARE)
    await life.add_tokens(0, 100 * SHARE)
    order_id = await life.live(side="SELL", size_micros=50 * SHARE)
    assert (await life.reserve())["code"] == "CAP_OUTCOME"
    await life.fill(order_id, 50 * SHARE, trade_id="t")
    assert (await life.reserve())["code"] == "CAP_OUTCOME"
    await life.fill(order_id, 50 * SHARE, "CONFIRMED", trade_id="t")
    assert (await life.reserve(size_micros=50 * SHARE))["status"] == "admitted"


# ---- settlement


@pytest.mark.parametrize("before", [[], ["MATCHED"], ["MATCHED", "MINED"], ["MATCHED", "RETRYING"]])
async def test_a_failed_settlement_is_reversed(life: Life, before: list[str]) -> None:
    order_id = await life.live()
    for status in (*before, "FAILED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    assert await life.balance() == (START, 0)
    assert await life.balance(token("m1", 0)) == (0, 0)
    exposure = await life.exposure()
    assert (exposure["provisional_buy"], exposure["confirmed"]) == ([0, 0], [0, 0])
    assert (await life.row("fill", order_id))["settlement"] == "failed"
    assert (await life.row("orders", order_id))["failed_micros"] == 10 * SHARE


async def test_a_failed_sell_gives_the_tokens_back(life: Life) -> None:
    await life.add_tokens(0, 10 * SHARE)
    order_id = await life.live(side="SELL")
    for status in ("MATCHED", "FAILED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    assert await life.balance(token("m1", 0)) == (10 * SHARE, 0)
    assert await life.balance() == (START, 0)


@pytest.mark.parametrize("order", [["FAILED", "CONFIRMED"], ["CONFIRMED", "FAILED"]])
async def test_confirmed_outranks_failed_and_a_person_looks(life: Life, order: list[str]) -> None:
    order_id = await life.live()
    for status in ("MATCHED", *order):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    row = await life.row("fill", order_id)
    assert (row["settlement"], row["raw_status"]) == ("confirmed", "CONFIRMED")
    assert await life.balance() == (START - 4 * SHARE, 0)
    assert await life.balance(token("m1", 0)) == (10 * SHARE, 0)
    assert (await life.row("orders", order_id))["failed_micros"] == 0
    assert await life.halts() == ["CONFIRMED_AFTER_FAILED"]


@pytest.mark.parametrize("last", ["MATCHED", "MINED", "RETRYING", "CONFIRMED", "FAILED"])
@pytest.mark.parametrize("first", ["MATCHED", "CONFIRMED", "FAILED"])
async def test_a_status_heard_again_changes_nothing(life: Life, first: str, last: str) -> None:
    order_id = await life.live()
    for status in (first, last):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    before = await snapshot(life)
    for status in (first, last, "MATCHED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    assert await snapshot(life) == before


async def test_a_trade_that_changes_its_numbers_stays_as_booked(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 4 * SHARE, trade_id="t")
    await life.fill(order_id, 5 * SHARE, trade_id="t")
    assert (await life.row("fill", order_id))["size_micros"] == 4 * SHARE
    assert await life.halts() == ["TRADE_CHANGED"]


# ---- whose trade


async def test_one_trade_may_fill_several_of_our_orders(life: Life) -> None:
    ids = [await life.live(), await life.live(), await life.live(outcome="Down")]
    for order_id in (*ids, *ids):
        await life.fill(order_id, 4 * SHARE, trade_id="the same")
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.fill") == 3
    assert (await life.exposure())["provisional_buy"] == [8 * SHARE, 4 * SHARE]


async def test_side_and_token_come_from_our_own_order(life: Life) -> None:
    order_id = await life.live(outcome="Down")
    await life.fill(order_id, 4 * SHARE, side="SELL", outcome=0, asset_id=token("m1", 0))
    row = await life.row("fill", order_id)
    assert (row["side"], row["outcome"]) == ("BUY", 1)
    assert (await life.exposure())["provisional_buy"] == [0, 4 * SHARE]


@pytest.mark.parametrize("function", ["record_fills", "observe_orders"])
async def test_what_no_intent_explains_halts_the_account_once(life: Life, function: str) -> None:
    for _ in range(2):
        answer = await life.item(
            function,
            account=life.account,
            venue_order_id=venue_id(4_711),
            trade_id="t",
            size_micros=SHARE,
            price_micros=400_000,
            status="LIVE",
            source="read",
        )
        assert answer["code"] == "UNKNOWN_ORDER"
        await life.clock.advance(1)
    assert await life.halts() == ["FOREIGN_ORDER"]
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.foreign_order") == 1
    assert (await life.reserve())["code"] == "HALTED"


# ---- in every state


@pytest.mark.parametrize(
    "state",
    ["prepared", "sending", "held_back", "unknown", "live", "cancelled", "absent"],
)
async def test_a_fill_is_booked_in_every_state(life: Life, state: str) -> None:
    order_id = await getattr(life, state)()
    assert (await life.fill(order_id, 4 * SHARE))["status"] == "ok"
    exposure = await life.exposure()
    assert exposure["provisional_buy"] == [4 * SHARE, 0]
    row = await life.row("orders", order_id)
    open_shares = 0 if state == "cancelled" else 6 * SHARE
    assert row["state"] == ("CANCELLED" if state == "cancelled" else "LIVE")
    assert exposure["open_buy"] == [open_shares, 0]
    assert exposure["pending_buy"] == [0, 0]
    assert (await life.balance())[0] == START - 1_600_000 - open_shares * 4 // 10


async def test_a_fill_after_a_reject_is_booked_and_the_rest_cancelled(life: Life) -> None:
    order_id = await life.sending()
    await life.complete("reject", order_id)
    assert (await life.fill(order_id, 4 * SHARE))["state"] == "LIVE"
    assert await life.claim_cancels() == [order_id]


async def test_a_fill_after_the_last_fill_is_an_overfill_that_halts(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE)
    assert await life.events("INVARIANT_BREACH_HALT") == []
    await life.fill(order_id, 1, trade_id="rounding")
    assert await life.state(order_id) == "FILLED"
    assert (await life.exposure())["provisional_buy"] == [10 * SHARE + 1, 0]
    (row,) = await life.events("INVARIANT_BREACH_HALT")
    assert row["detail"]["why"] == "OVERFILL"
    assert (await life.reserve())["code"] == "SUSPENDED"
    # the writer is alive: the next facts are booked, the breach is not journaled again
    await life.fill(order_id, 1, "CONFIRMED", trade_id="rounding")
    await life.fill(order_id, SHARE, trade_id="more")
    assert (await life.row("orders", order_id))["traded_micros"] == 11 * SHARE + 1
    assert len(await life.events("INVARIANT_BREACH_HALT")) == 1


async def test_a_fact_is_booked_into_a_negative_balance_and_halts(life: Life) -> None:
    order_id = await life.live(size_micros=20_000 * SHARE)
    await life.call("book_movement", "main", "collateral", -1_900 * SHARE, "withdrawal", "w", "")
    assert await life.halts() == []
    await life.fill(order_id, 20_000 * SHARE, price_micros=410_000)
    assert await life.balance() == (-100 * SHARE, 0)
    assert await life.halts() == ["NEGATIVE_BALANCE"]
    await life.fill(order_id, SHARE, trade_id="more")
    assert await life.halts() == ["NEGATIVE_BALANCE"]
    assert (await life.reserve())["code"] == "HALTED"


async def test_a_sell_of_what_is_not_there_is_booked_and_suspends(life: Life) -> None:
    await life.add_tokens(0, 10 * SHARE)
    order_id = await life.live(side="SELL")
    await life.fill(order_id, 12 * SHARE, "CONFIRMED")
    assert (await life.exposure())["confirmed"] == [-2 * SHARE, 0]
    (row,) = await life.events("INVARIANT_BREACH_HALT")
    assert row["detail"]["why"] == "NEGATIVE_POSITION"


async def test_a_late_fill_over_the_cap_is_booked_and_suspends(life: Life) -> None:
    await life.limit("max_outcome_micros", 10 * SHARE)
    late = await life.cancelled()
    await life.live()
    await life.fill(late, 10 * SHARE)
    assert (await life.exposure())["provisional_buy"] == [10 * SHARE, 0]
    (row,) = await life.events("INVARIANT_BREACH_HALT")
    assert (row["detail"]["why"], row["detail"]["up"]) == ("CAP_OUTCOME", 20 * SHARE)
    assert row["detail"]["cap_outcome"] == 10 * SHARE


async def test_opening_tokens_over_the_cap_suspend_the_market(life: Life) -> None:
    await life.limit("max_outcome_micros", 10 * SHARE)
    await life.add_tokens(0, 11 * SHARE)
    assert len(await life.events("INVARIANT_BREACH_HALT")) == 1
    assert (await life.reserve(outcome="Down"))["code"] == "SUSPENDED"


# ---- matched and not yet traded


async def test_what_was_matched_and_not_yet_traded_is_held(life: Life) -> None:
    order_id = await life.live()
    await life.read(order_id, "LIVE", 6 * SHARE)
    exposure = await life.exposure()
    assert (exposure["open_buy"], exposure["awaiting_buy"]) == ([4 * SHARE, 0], [6 * SHARE, 0])
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    await life.fill(order_id, 5 * SHARE)
    exposure = await life.exposure()
    assert (exposure["open_buy"], exposure["awaiting_buy"]) == ([4 * SHARE, 0], [SHARE, 0])
    assert exposure["provisional_buy"] == [5 * SHARE, 0]


async def test_a_cancel_releases_the_size_minus_what_was_matched(life: Life) -> None:
    order_id = await life.live()
    await life.read(order_id, "CANCELLED", 6 * SHARE)
    assert await life.balance() == (START - 2_400_000, 2_400_000)
    row = await life.row("reservation", order_id)
    assert (row["phase"], row["awaiting_micros"]) == ("settling", 6 * SHARE)
    assert row["awaiting_since"] is not None
    await life.fill(order_id, 6 * SHARE)
    assert (await life.row("reservation", order_id))["phase"] == "released"
    assert await life.balance() == (START - 2_400_000, 0)


async def test_a_smaller_matched_size_read_later_changes_nothing(life: Life) -> None:
    order_id = await life.live()
    await life.stream(order_id, "LIVE", 6 * SHARE)
    before = await snapshot(life)
    await life.read(order_id, "LIVE", 2 * SHARE)
    assert await snapshot(life) == before


async def test_dust_does_not_keep_an_order_open(life: Life) -> None:
    order_id = await life.live(size_micros=100 * SHARE)
    assert (await life.read(order_id, "MATCHED", 99_997_714))["state"] == "FILLED"
    await life.fill(order_id, 99_997_714)
    row = await life.row("orders", order_id)
    assert (row["state"], row["traded_micros"]) == ("FILLED", 99_997_714)
    assert (await life.row("reservation", order_id))["phase"] == "released"


async def test_a_terminated_partial_reported_matched_is_cancelled(life: Life) -> None:
    order_id = await life.live()
    assert (await life.read(order_id, "MATCHED", 6 * SHARE))["state"] == "CANCELLED"
    assert (await life.exposure())["awaiting_buy"] == [6 * SHARE, 0]


# ---- ends


@pytest.mark.parametrize("status", ["CANCELLED", "EXPIRED", "REJECTED", "MATCHED", "OTHER"])
async def test_the_stream_alone_ends_nothing(life: Life, status: str) -> None:
    order_id = await life.live()
    assert (await life.stream(order_id, status))["state"] == "LIVE"
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)


@pytest.mark.parametrize("answer", ["accepted", "refused", "unknown"])
async def test_a_phantom_cancel_frees_nothing(life: Life, answer: str) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await life.claim_cancels()
    await life.cancel_answered(order_id, answer)
    assert await life.state(order_id) == "LIVE"
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    await life.clock.advance(1_000)
    assert await life.claim_cancels() == [order_id]


async def test_a_cancel_behind_the_whole_fill_resurrects_nothing(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE)
    before = await snapshot(life)
    for status in ("CANCELLED", "EXPIRED", "LIVE"):
        await life.read(order_id, status)
        await life.read(order_id, status, 10 * SHARE)
    await life.cancel(order_id)
    # the first read is news of its matched size, which the trades have long shown
    assert await life.state(order_id) == "FILLED"
    assert (await snapshot(life))[1] == before[1]
    assert await life.balance() == (START - 4 * SHARE, 0)
    assert await life.claim_cancels() == []


async def test_a_fresh_read_that_shows_it_alive_reopens_what_was_believed_ended(life: Life) -> None:
    order_id = await life.cancelled()
    await life.clock.advance(1)
    assert (await life.observe(order_id, "LIVE", took_ms=0))["state"] == "LIVE"
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    assert await life.claim_cancels() == [order_id]


async def test_a_read_begun_before_the_end_was_known_reopens_nothing(life: Life) -> None:
    order_id = await life.live()
    await life.clock.advance(5_000)
    await life.read(order_id, "CANCELLED")
    await life.clock.advance(100)
    assert (await life.observe(order_id, "LIVE", took_ms=200))["state"] == "CANCELLED"
    assert await life.balance() == (START, 0)
    assert (await life.observe(order_id, "LIVE", took_ms=50))["state"] == "LIVE"


async def test_the_stream_reopens_nothing_that_a_read_ended(life: Life) -> None:
    order_id = await life.cancelled()
    assert (await life.stream(order_id, "LIVE"))["state"] == "CANCELLED"


# ---- bad input


@pytest.mark.parametrize(
    "wrong",
    [{"size_micros": None}, {"size_micros": 0}, {"size_micros": -1}, {"size_micros": 1.5},
     {"size_micros": "5"}, {"price_micros": None}, {"price_micros": 1_000_001},
     {"price_micros": -1}, {"fee_micros": -1}, {"fee_micros": "x"}, {"trade_id": None},
     {"trade_id": ""}, {"trade_id": "x" * 201},
     {"venue_order_id": None}, {"account": "nobody"}, {"account": None}],
)  # fmt: skip
async def test_a_malformed_trade_does_not_void_the_others(
    life: Life, wrong: dict[str, object]
) -> None:
    order_id = await life.live()
    good = {
        "account": "main", "trade_id": "good", "venue_order_id": venue_id(order_id),
        "size_micros": SHARE, "price_micros": 400_000, "fee_micros": 0, "status": "MATCHED",
        "is_maker": True, "matched_at_ms": 1_770_000_000_000,
    }  # fmt: skip
    answers = await life.call("record_fills", [good | {"trade_id": "bad"} | wrong, good, 5, None])
    assert [a.get("code", "ok") for a in answers] == [
        "BAD_REQUEST", "ok", "BAD_REQUEST", "BAD_REQUEST",
    ]  # fmt: skip
    assert await life.conn.fetchval("SELECT array_agg(trade_id) FROM ledger.fill") == ["good"]
    assert await life.halts() == []


@pytest.mark.parametrize(
    "wrong",
    [{"size_matched_micros": None}, {"venue_order_id": None},
     {"account": "nobody"}, {"size_matched_micros": "5"}, {"size_matched_micros": -1}],
)  # fmt: skip
async def test_a_malformed_observation_does_not_void_the_others(
    life: Life, wrong: dict[str, object]
) -> None:
    order_id = await life.sending()
    good = {
        "account": "main", "venue_order_id": venue_id(order_id), "status": "LIVE",
        "raw_status": "LIVE", "size_matched_micros": 0, "source": "read",
    }  # fmt: skip
    answers = await life.call("observe_orders", [good | wrong, good, 5, None])
    assert [a.get("code", "ok") for a in answers] == [
        "BAD_REQUEST", "ok", "BAD_REQUEST", "BAD_REQUEST",
    ]  # fmt: skip
    assert await life.state(order_id) == "LIVE"
    assert await life.halts() == []


@pytest.mark.parametrize(
    "odd",
    [{"matched_at_ms": None}, {"matched_at_ms": "x"}, {"is_maker": "perhaps"},
     {"status": "SETTLED"}, {"status": None}, {"fee_micros": None}],
)  # fmt: skip
async def test_what_else_is_odd_about_a_trade_never_keeps_it_out(
    life: Life, odd: dict[str, Any]
) -> None:
    order_id = await life.live()
    answer = await life.fill(order_id, SHARE, **({"status": "MATCHED"} | odd))
    assert answer["status"] == "ok"
    assert (await life.row("fill", order_id))["settlement"] == "provisional"


@pytest.mark.parametrize("far", [-1, -(10**17), 4_102_444_800_001, 10**17])
async def test_a_trade_of_an_impossible_time_is_booked_at_the_time_it_is_heard_of(
    life: Life, far: int
) -> None:
    order_id = await life.live()
    assert (await life.fill(order_id, SHARE, matched_at_ms=far))["status"] == "ok"
    assert (await life.row("fill", order_id))["matched_at"] == life.clock.now
    assert (await life.exposure())["provisional_buy"] == [SHARE, 0]


async def test_an_order_seen_in_a_state_nobody_knows_is_seen_alive(life: Life) -> None:
    order_id = await life.unknown()
    assert (await life.read(order_id, "WEIRD"))["state"] == "LIVE"
