"""The send path by its SQL functions: whoever takes over sends the same bytes or nothing.

Lessons 1-6, 9, 12 and 35: timeouts that were taken for failures, retries that signed anew, zombies
that reported late.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.life import LEASE_MS, REQUEST_TIMEOUT_MS, SHARE, Life, venue_id


async def lapse(life: Life) -> None:
    """The leases of whoever claimed run out, and a sweep finds it."""
    await life.clock.advance(LEASE_MS)
    await life.call("sweep_lapsed")


async def test_a_takeover_signs_with_the_same_salt_and_time(life: Life, second: Life) -> None:
    await life.reserved()
    (first,) = await life.claim()
    await lapse(life)
    await life.clock.advance(5_000)
    (again,) = await second.claim()
    assert again["claim_no"] == first["claim_no"] + 1
    assert (again["salt"], again["signed_at_ms"]) == (first["salt"], first["signed_at_ms"])


async def test_a_takeover_gets_the_stored_bytes(life: Life, second: Life) -> None:
    order_id = await life.prepared()
    await lapse(life)
    (work,) = await second.claim()
    assert work["state"] == "PREPARED"
    assert work["body"] == "Ynl0ZXM="
    assert (await second.prepare(order_id, b"others"))["code"] == "ILLEGAL_TRANSITION"
    assert (await life.row("signed_order", order_id))["body"] == b"bytes"


async def test_two_intents_never_share_salt_and_time(life: Life) -> None:
    ids = [await life.reserved() for _ in range(20)]
    signed = [await life.row("orders", order_id) for order_id in ids]
    assert len({row["salt"] for row in signed}) == 20


async def test_who_lost_the_claim_can_neither_prepare_nor_open(life: Life, second: Life) -> None:
    order_id = await life.claimed()
    await lapse(life)
    assert (await life.prepare(order_id))["code"] == "STALE_ATTEMPT"
    await second.claim()
    assert (await life.prepare(order_id))["code"] == "STALE_ATTEMPT"
    assert (await second.prepare(order_id))["state"] == "PREPARED"
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    assert (await life.row("orders", order_id))["attempts"] == 0


async def test_a_lapsed_claim_opens_nothing_before_any_sweep_has_run(life: Life) -> None:
    order_id = await life.prepared()
    await life.clock.advance(LEASE_MS)
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"


async def test_a_renewed_claim_goes_on_and_a_lapsed_one_is_not_revived(life: Life) -> None:
    order_id = await life.claimed()
    await life.clock.advance(LEASE_MS - 1)
    assert await life.call("renew_claims", life.worker, LEASE_MS, (order_id,)) == 1
    await life.clock.advance(LEASE_MS - 1)
    assert (await life.prepare(order_id))["status"] == "ok"
    await life.clock.advance(1)
    assert await life.call("renew_claims", life.worker, LEASE_MS, (order_id,)) == 0


async def test_a_lapsed_attempt_is_unknown_and_a_live_colleagues_is_left_alone(
    life: Life, second: Life
) -> None:
    order_id = await life.sending()
    await life.clock.advance(LEASE_MS - 1)
    await life.add_market("m2")
    theirs = await second.sending(market="m2")
    await life.clock.advance(1)
    assert await life.call("sweep_lapsed") == {"lost": [order_id], "taken_back": []}
    assert await life.state(order_id) == "UNKNOWN"
    assert await life.state(theirs) == "SENDING"
    assert await life.call("sweep_lapsed") == {"lost": [], "taken_back": []}


@pytest.mark.parametrize("how", ["acknowledge", "reject", "hold_back", "mark_seen", "mark_unknown"])
async def test_a_zombies_late_answer_is_refused_and_kept_as_evidence(life: Life, how: str) -> None:
    order_id = await life.sending()
    await lapse(life)
    before = await life.exposure()
    answer = await life.complete(how, order_id)
    assert answer["code"] == "STALE_ATTEMPT"
    assert await life.state(order_id) == "UNKNOWN"
    assert (await life.exposure())["pending_buy"] == before["pending_buy"]
    assert len(await life.events("REFUSED_COMPLETION")) == 1
    assert (await life.row("attempt", order_id))["outcome"] == "lapsed"
    kept = await life.conn.fetchval("SELECT detail FROM ledger.evidence")
    assert how in kept


@pytest.mark.parametrize("how", ["acknowledge", "mark_seen"])
async def test_an_order_of_which_a_zombie_heard_is_never_absent(life: Life, how: str) -> None:
    order_id = await life.sending()
    await lapse(life)
    await life.complete(how, order_id)
    assert (await life.row("orders", order_id))["seen_at_venue"]
    assert "knows the id" in (await life.prove_absent(order_id))["detail"]


async def test_a_zombies_acceptance_after_absence_reopens_the_order(life: Life) -> None:
    order_id = await life.absent()
    assert (await life.complete("acknowledge", order_id))["code"] == "STALE_ATTEMPT"
    assert await life.state(order_id) == "LIVE"
    assert (await life.exposure())["open_buy"] == [10 * SHARE, 0]
    assert await life.claim_cancels() == [order_id]


async def test_an_answer_for_an_attempt_that_never_was_says_nothing(life: Life) -> None:
    order_id = await life.unknown()
    assert (await life.complete("acknowledge", order_id, 7))["code"] == "STALE_ATTEMPT"
    assert not (await life.row("orders", order_id))["seen_at_venue"]


async def test_an_answer_given_twice_changes_nothing_the_second_time(life: Life) -> None:
    order_id = await life.live()
    before = await life.row("orders", order_id)
    assert (await life.complete("acknowledge", order_id))["code"] == "STALE_ATTEMPT"
    assert await life.row("orders", order_id) == before


async def test_an_unknown_order_is_sent_again_only_as_the_same_bytes(
    life: Life, second: Life
) -> None:
    order_id = await life.unknown()
    (work,) = await second.claim_look_ups()
    assert (work["state"], work["body"]) == ("UNKNOWN", "Ynl0ZXM=")
    assert (work["venue_order_id"], work["wanted"]) == (venue_id(order_id), True)
    # nobody signs it anew, whoever has taken it over
    assert (await second.prepare(order_id, b"others"))["code"] == "ILLEGAL_TRANSITION"
    answer = await second.open_attempt(order_id)
    assert (answer["state"], answer["attempt"]) == ("SENDING", 2)
    assert (await second.complete("acknowledge", order_id, 2))["state"] == "LIVE"
    assert (await life.exposure())["open_buy"] == [10 * SHARE, 0]
    assert (await life.row("signed_order", order_id))["body"] == b"bytes"


async def test_an_unknown_order_that_expired_is_not_sent_again(life: Life) -> None:
    order_id = await life.unknown(valid_for_ms=5_000)
    await life.clock.advance(5_000)
    await life.claim_look_ups()
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "UNKNOWN"
    assert await life.claim_cancels() == [order_id]


async def test_an_unknown_order_with_a_cancel_asked_is_not_sent_again(life: Life) -> None:
    order_id = await life.unknown()
    await life.cancel(order_id)
    (work,) = await life.claim_look_ups()
    assert not work["wanted"]
    assert (await life.open_attempt(order_id))["code"] == "CANCEL_ASKED"
    assert await life.state(order_id) == "UNKNOWN"


@pytest.mark.parametrize("scope", ["global", "account", "market", "group"])
async def test_an_unknown_order_under_a_halt_is_not_sent_again(life: Life, scope: str) -> None:
    await life.add_market("m1", group_key="g1")
    order_id = await life.unknown()
    name = {"global": None, "account": life.account, "market": life.market, "group": "g1"}[scope]
    await life.call("set_halt", scope, name, "test", "tester")
    await life.claim_look_ups()
    assert (await life.open_attempt(order_id))["code"] == "HALTED"
    assert await life.state(order_id) == "UNKNOWN"
    assert await life.claim_cancels() == [order_id]


@pytest.mark.parametrize("scope", ["global", "account", "market", "group"])
async def test_a_prepared_order_under_a_halt_ends_unsent(life: Life, scope: str) -> None:
    await life.add_market("m1", group_key="g1")
    order_id = await life.prepared()
    name = {"global": None, "account": life.account, "market": life.market, "group": "g1"}[scope]
    await life.call("set_halt", scope, name, "test", "tester")
    assert (await life.open_attempt(order_id))["code"] == "HALTED"
    assert await life.state(order_id) == "NOT_PLACED"
    assert await life.balance() == (10_000 * SHARE, 0)


@pytest.mark.parametrize(
    ("valid_for_ms", "send_within_ms"), [(1, 1), (1_500, 1_500), (2_001, 2_000), (30_000, 2_000)]
)
async def test_bytes_may_leave_for_two_seconds_and_never_after_the_intent_ran_out(
    life: Life, valid_for_ms: int, send_within_ms: int
) -> None:
    order_id = await life.prepared(valid_for_ms=valid_for_ms)
    assert (await life.open_attempt(order_id))["send_within_ms"] == send_within_ms
    attempt = await life.row("attempt", order_id)
    send_by = life.clock.now + timedelta(milliseconds=send_within_ms)
    assert attempt["send_by"] == send_by
    # the quarantine counts from here
    assert attempt["deadline"] == send_by + timedelta(milliseconds=REQUEST_TIMEOUT_MS)
    assert (await life.row("orders", order_id))["last_deadline"] == attempt["deadline"]


async def test_a_prepared_order_that_expired_ends_unsent(life: Life) -> None:
    order_id = await life.prepared(valid_for_ms=1_000)
    await life.clock.advance(1_000)
    assert (await life.open_attempt(order_id))["code"] == "EXPIRED"
    assert await life.state(order_id) == "NOT_PLACED"


async def test_intents_whose_time_ran_out_end_in_a_sweep_and_unknown_ones_do_not(
    life: Life,
) -> None:
    unsure = await life.unknown(valid_for_ms=1_000)
    await life.add_market("m2")
    held = await life.held_back(valid_for_ms=1_000, market="m2")
    waiting = await life.reserved(valid_for_ms=1_000)
    await life.clock.advance(1_000)
    assert await life.call("sweep_expired") == 2
    assert [await life.state(i) for i in (unsure, held, waiting)] == [
        "UNKNOWN",
        "NOT_PLACED",
        "NOT_PLACED",
    ]
    assert await life.call("sweep_expired") == 0


@pytest.mark.parametrize("how", ["reject", "hold_back"])
async def test_a_refused_resend_proves_nothing_about_the_first_copy(life: Life, how: str) -> None:
    order_id = await life.unknown()
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    assert (await life.complete(how, order_id, 2))["state"] == "UNKNOWN"
    assert (await life.exposure())["pending_buy"] == [10 * SHARE, 0]
    # and so for every later copy
    await life.clock.advance(1_000)
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    assert (await life.complete("reject", order_id, 3))["state"] == "UNKNOWN"


@pytest.mark.parametrize("how", ["reject", "hold_back"])
async def test_a_refused_resend_after_a_lapsed_attempt_proves_nothing(life: Life, how: str) -> None:
    order_id = await life.sending()
    await lapse(life)
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    assert (await life.complete(how, order_id, 2))["state"] == "UNKNOWN"


async def test_a_definite_reject_of_the_only_copy_ends_the_order(life: Life) -> None:
    order_id = await life.sending()
    assert (await life.complete("reject", order_id))["state"] == "REJECTED"
    assert (await life.row("reservation", order_id))["phase"] == "released"
    assert await life.balance() == (10_000 * SHARE, 0)


async def test_a_reject_after_copies_that_were_all_held_back_ends_the_order(life: Life) -> None:
    order_id = await life.held_back()
    for attempt in (2, 3):
        await life.clock.advance(1_000)
        assert [w["order_id"] for w in await life.claim()] == [order_id]
        assert (await life.open_attempt(order_id))["state"] == "SENDING"
        if attempt == 2:
            assert (await life.complete("hold_back", order_id, 2))["state"] == "HELD_BACK"
    assert (await life.complete("reject", order_id, 3))["state"] == "REJECTED"


async def test_what_is_held_back_waits_as_long_as_the_venue_says(life: Life) -> None:
    order_id = await life.sending()
    await life.complete("hold_back", order_id, retry_after_ms=3_000)
    await life.clock.advance(2_999)
    assert await life.claim() == []
    await life.clock.advance(1)
    assert [work["order_id"] for work in await life.claim()] == [order_id]


async def test_a_cancel_asked_while_sending_ends_what_is_then_held_back(life: Life) -> None:
    order_id = await life.sending()
    assert (await life.cancel(order_id))["state"] == "SENDING"
    assert (await life.complete("hold_back", order_id))["state"] == "NOT_PLACED"
    assert await life.balance() == (10_000 * SHARE, 0)
    assert await life.claim_cancels() == []


@pytest.mark.parametrize("state", ["held_back", "prepared", "reserved", "claimed"])
async def test_release_pending_frees_what_was_never_sent_and_repeats_without_effect(
    life: Life, state: str
) -> None:
    order_id = await getattr(life, state)()
    for replay in (False, True):
        answer = await life.item("release_pending", order_id=order_id, cause="test")
        assert (answer["state"], answer.get("replay", False)) == ("NOT_PLACED", replay)
        assert await life.balance() == (10_000 * SHARE, 0)
    assert len(await life.events("WITHDRAW")) == 1


@pytest.mark.parametrize("state", ["sending", "unknown", "live"])
async def test_release_pending_keeps_the_hold_of_what_may_be_at_the_venue(
    life: Life, state: str
) -> None:
    order_id = await getattr(life, state)()
    answer = await life.item("release_pending", order_id=order_id)
    assert answer["code"] == "NOT_PROVEN"
    assert await life.balance() == (9_996 * SHARE, 4 * SHARE)


async def test_evidence_cancels_a_retry_that_is_still_scheduled(life: Life) -> None:
    order_id = await life.held_back()
    await life.stream(order_id, "LIVE")
    await life.clock.advance(60_000)
    assert await life.claim() == []
    assert await life.claim_look_ups() == []
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"


async def test_evidence_cancels_the_look_up_of_an_unknown_order(life: Life) -> None:
    order_id = await life.unknown()
    await life.claim_look_ups()
    await life.stream(order_id, "LIVE")
    assert (await life.open_attempt(order_id))["code"] == "STALE_ATTEMPT"
    await life.clock.advance(60_000)
    assert await life.claim_look_ups() == []


async def test_a_delayed_order_is_in_flight_and_counts_as_open(life: Life) -> None:
    order_id = await life.sending()
    assert (await life.complete("acknowledge_delayed", order_id))["state"] == "DELAYED"
    assert (await life.exposure())["open_buy"] == [10 * SHARE, 0]
    assert (await life.exposure())["pending_buy"] == [0, 0]
    assert (await life.read(order_id, "LIVE"))["state"] == "LIVE"


async def test_an_answer_behind_the_stream_changes_no_better_evidence(life: Life) -> None:
    order_id = await life.sending()
    await life.stream(order_id, "LIVE")
    assert (await life.complete("reject", order_id))["state"] == "LIVE"
    assert (await life.exposure())["open_buy"] == [10 * SHARE, 0]


async def test_a_batch_answers_per_item(life: Life) -> None:
    await life.add_market("m2")
    good = await life.sending()
    other = await life.sending(market="m2")
    answers = await life.call(
        "acknowledge",
        [
            {"order_id": good, "attempt": 1, "incarnation": str(life.worker), "code": "live"},
            {"order_id": 4_711, "attempt": 1, "incarnation": str(life.worker)},
            7,
            {"order_id": "x"},
            {"order_id": other, "attempt": 9, "incarnation": str(life.worker)},
        ],
    )
    assert [a.get("code", "ok") for a in answers] == [
        "ok",
        "UNKNOWN_ORDER",
        "UNKNOWN_ORDER",
        "UNKNOWN_ORDER",
        "STALE_ATTEMPT",
    ]
    assert [a["item"] for a in answers] == [0, 1, 2, 3, 4]
    assert (await life.state(good), await life.state(other)) == ("LIVE", "SENDING")


async def test_what_the_state_machine_refuses_is_journaled(life: Life) -> None:
    order_id = await life.sending()
    assert (await life.prepare(order_id))["code"] == "ILLEGAL_TRANSITION"
    assert (await life.open_attempt(order_id))["code"] == "ILLEGAL_TRANSITION"
    refused = await life.events("ILLEGAL_TRANSITION")
    assert [row["detail"]["event"] for row in refused] == ["PREPARE", "OPEN"]
    assert await life.state(order_id) == "SENDING"


async def test_a_claim_in_use_is_not_given_back_while_its_bytes_are_on_the_wire(life: Life) -> None:
    order_id = await life.sending()
    item = {"order_id": order_id, "incarnation": str(life.worker), "claim_no": 1}
    assert await life.call("drop_claims", [item]) == 0
    assert (await life.row("outbox", order_id))["status"] == "claimed"


async def test_a_drained_worker_takes_nothing_back_from_its_successor(
    life: Life, second: Life
) -> None:
    order_id = await life.claimed()
    await lapse(life)
    await second.claim()
    item = {"order_id": order_id, "incarnation": str(life.worker), "claim_no": 1}
    assert await life.call("drop_claims", [item]) == 0
    assert await life.call("renew_claims", life.worker, LEASE_MS, (order_id,)) == 0
    assert await life.call("fail_placement", order_id, life.worker, 1, "late") is None
    assert (await life.row("outbox", order_id))["claimed_by"] == second.worker


async def test_a_claim_given_back_is_another_workers_at_once(life: Life, second: Life) -> None:
    order_id = await life.claimed()
    item = {"order_id": order_id, "incarnation": str(life.worker), "claim_no": 1}
    assert await life.call("drop_claims", [item]) == 1
    assert [work["order_id"] for work in await second.claim()] == [order_id]


async def test_a_claim_that_nobody_works_on_is_not_renewed_by_its_living_process(
    life: Life,
) -> None:
    order_id = await life.claimed()
    await life.clock.advance(LEASE_MS - 1)
    assert await life.call("renew_claims", life.worker, LEASE_MS, ()) == 0
    await life.clock.advance(1)
    assert (await life.call("sweep_lapsed"))["taken_back"] == [order_id]
