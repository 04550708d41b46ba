"""How an unknown fate ends: by evidence of every kind, or by an operator, and by nothing else.

Lessons 2, 14, 18, 28, 31 and 36.
"""

from __future__ import annotations

import pytest

from tests.support.life import QUARANTINE_MS, REQUEST_TIMEOUT_MS, SEND_BY_MS, SHARE, Life

DEADLINE_MS = SEND_BY_MS + REQUEST_TIMEOUT_MS
LOOK_UPS = ("order_absent", "trades_absent")


async def all_evidence(
    life: Life, order_id: int, leave_out: str = "", owner: str = "owner"
) -> None:
    if leave_out != "delete_answered":
        await life.cancel(order_id)
        await life.cancel_answered(order_id)
    for kind in LOOK_UPS:
        if kind != leave_out:
            await life.evidence(order_id, kind, owner)


async def test_an_order_is_absent_once_every_proof_is_there(life: Life) -> None:
    order_id = await life.absent()
    row = await life.row("orders", order_id)
    assert (row["state"], row["cause"]) == ("NOT_PLACED", "PROVEN_ABSENT")
    assert await life.balance() == (10_000 * SHARE, 0)
    assert (await life.exposure())["pending_buy"] == [0, 0]


@pytest.mark.parametrize("missing", ["order_absent", "trades_absent", "delete_answered"])
async def test_absence_needs_every_kind_of_evidence(life: Life, missing: str) -> None:
    order_id = await life.unknown()
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id, leave_out=missing)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    assert await life.state(order_id) == "UNKNOWN"
    assert await life.balance() == (9_996 * SHARE, 4 * SHARE)


async def test_absence_is_not_concluded_within_the_quarantine(life: Life) -> None:
    order_id = await life.unknown()
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS)
    await all_evidence(life, order_id)
    assert "quarantine" in (await life.prove_absent(order_id))["detail"]
    # and what was looked up within it proves nothing afterwards
    await life.clock.advance(60_000)
    assert "was begun after the quarantine" in (await life.prove_absent(order_id))["detail"]


async def test_a_look_up_that_began_within_the_quarantine_proves_nothing(life: Life) -> None:
    order_id = await life.unknown()
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1_000)
    await life.cancel(order_id)
    await life.cancel_answered(order_id)
    await life.evidence(order_id, "order_absent")
    await life.evidence(order_id, "trades_absent", took_ms=1_000)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    await life.evidence(order_id, "trades_absent", took_ms=999)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"


async def test_a_delete_answered_before_the_bytes_could_arrive_proves_nothing(life: Life) -> None:
    order_id = await life.unknown()
    await life.cancel(order_id)
    await life.clock.advance(DEADLINE_MS)
    await life.cancel_answered(order_id)
    await life.clock.advance(QUARANTINE_MS + 1)
    await all_evidence(life, order_id, leave_out="delete_answered")
    assert "DELETE" in (await life.prove_absent(order_id))["detail"]


@pytest.mark.parametrize("answer", ["not_sent", "unknown"])
async def test_a_delete_without_an_answer_proves_nothing(life: Life, answer: str) -> None:
    order_id = await life.unknown()
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id, leave_out="delete_answered")
    await life.cancel(order_id)
    await life.cancel_answered(order_id, answer)
    assert "DELETE" in (await life.prove_absent(order_id))["detail"]


async def test_a_later_attempt_begins_the_quarantine_again(life: Life) -> None:
    order_id = await life.unknown(valid_for_ms=600_000)
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS)
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    await life.complete("mark_unknown", order_id, 2)
    await life.clock.advance(1_000)
    await all_evidence(life, order_id)
    assert "quarantine" in (await life.prove_absent(order_id))["detail"]


async def test_only_the_attempts_own_credentials_see_its_order(life: Life) -> None:
    order_id = await life.unknown(owner="old key", valid_for_ms=600_000)
    await life.claim_look_ups()
    await life.open_attempt(order_id, "new key")
    await life.complete("mark_unknown", order_id, 2)
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id, owner="new key")
    assert "own key" in (await life.prove_absent(order_id))["detail"]
    await all_evidence(life, order_id, owner="old key")
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"


async def test_an_order_that_was_answered_duplicated_is_never_absent(life: Life) -> None:
    order_id = await life.unknown()
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    assert (await life.complete("mark_seen", order_id, 2))["state"] == "UNKNOWN"
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id)
    assert "knows the id" in (await life.prove_absent(order_id))["detail"]
    assert await life.call("resolve_order", order_id, "not_placed", None, "sure", "me") == {
        "item": 0,
        "status": "refused",
        "code": "NOT_PROVEN",
        "detail": "the venue has shown this order: resolve it as cancelled or live",
    }
    # a read ends it
    assert (await life.read(order_id, "CANCELLED"))["state"] == "CANCELLED"


async def test_an_order_with_a_stored_sighting_is_never_absent(life: Life) -> None:
    order_id = await life.unknown()
    await life.evidence(order_id, "sighting")
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id)
    assert "knows the id" in (await life.prove_absent(order_id))["detail"]


@pytest.mark.parametrize("state", ["reserved", "prepared", "sending", "held_back", "live"])
async def test_only_an_unknown_order_can_be_proven_absent(life: Life, state: str) -> None:
    order_id = await getattr(life, state)(valid_for_ms=86_400_000)
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    for kind in LOOK_UPS:
        await life.evidence(order_id, kind)
    before = await life.row("orders", order_id)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    assert await life.row("orders", order_id) == before


async def test_a_resend_while_absence_is_being_proven_keeps_the_order(life: Life) -> None:
    order_id = await life.unknown(valid_for_ms=86_400_000)
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS + 1)
    await all_evidence(life, order_id, leave_out="delete_answered")
    await life.claim_look_ups()
    await life.open_attempt(order_id)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    await life.complete("mark_unknown", order_id, 2)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"


@pytest.mark.parametrize("source", ["read", "stream"])
async def test_a_sighting_after_absence_reopens_and_queues_a_cancel(
    life: Life, source: str
) -> None:
    order_id = await life.absent()
    assert (await life.observe(order_id, "LIVE", 0, source))["state"] == "LIVE"
    assert (await life.exposure())["open_buy"] == [10 * SHARE, 0]
    assert await life.balance() == (9_996 * SHARE, 4 * SHARE)
    assert await life.claim_cancels() == [order_id]
    assert (await life.read(order_id, "CANCELLED"))["state"] == "CANCELLED"
    assert await life.balance() == (10_000 * SHARE, 0)


async def test_a_fill_after_absence_reopens_and_queues_a_cancel(life: Life) -> None:
    order_id = await life.absent()
    assert (await life.fill(order_id, 4 * SHARE))["state"] == "LIVE"
    exposure = await life.exposure()
    assert (exposure["open_buy"], exposure["provisional_buy"]) == ([6 * SHARE, 0], [4 * SHARE, 0])
    assert await life.claim_cancels() == [order_id]


async def test_the_whole_fill_after_absence_ends_as_filled(life: Life) -> None:
    order_id = await life.absent()
    assert (await life.fill(order_id, 10 * SHARE))["state"] == "FILLED"
    assert (await life.exposure())["provisional_buy"] == [10 * SHARE, 0]
    assert await life.claim_cancels() == []


async def test_an_operator_may_end_what_evidence_cannot(life: Life) -> None:
    order_id = await life.unknown()
    answer = await life.call("resolve_order", order_id, "not_placed", None, "asked support", "me")
    assert answer["state"] == "NOT_PLACED"
    assert await life.balance() == (10_000 * SHARE, 0)
    kept = await life.conn.fetchrow("SELECT kind, detail FROM ledger.evidence")
    assert tuple(kept) == ("operator", "me: asked support")
    (row,) = await life.events("ABSENT")
    assert row["detail"]["operator"] == "me"


async def test_an_operators_cancel_holds_what_trades_have_yet_to_show(life: Life) -> None:
    order_id = await life.unknown()
    answer = await life.call("resolve_order", order_id, "cancelled", 3 * SHARE, "web page", "me")
    assert answer["state"] == "CANCELLED"
    assert (await life.exposure())["awaiting_buy"] == [3 * SHARE, 0]
    assert (await life.row("reservation", order_id))["phase"] == "settling"
    await life.fill(order_id, 3 * SHARE)
    assert (await life.row("reservation", order_id))["phase"] == "released"


async def test_an_operator_who_sees_it_live_says_so(life: Life) -> None:
    order_id = await life.unknown()
    answer = await life.call("resolve_order", order_id, "live", None, "on the page", "me")
    assert answer["state"] == "LIVE"
    assert (await life.row("orders", order_id))["seen_at_venue"]


@pytest.mark.parametrize(
    ("how", "size", "why"),
    [("gone", None, "w"), ("cancelled", -1, "w"), ("cancelled", 11 * SHARE, "w"),
     ("live", 1, "w"), ("live", None, ""), ("live", None, None)],
)  # fmt: skip
async def test_an_operator_is_refused_what_makes_no_sense(
    life: Life, how: str, size: int | None, why: str | None
) -> None:
    order_id = await life.unknown()
    before = await life.row("orders", order_id)
    answer = await life.call("resolve_order", order_id, how, size, why, "me")
    assert answer["code"] in ("BAD_REQUEST", "BAD_SIZE")
    assert await life.row("orders", order_id) == before


async def test_a_cancel_of_an_unknown_order_repeats_until_its_fate_is_known(life: Life) -> None:
    order_id = await life.unknown(valid_for_ms=1_000)
    await life.cancel(order_id)
    for _ in range(5):
        assert await life.claim_cancels() == [order_id]
        assert await life.claim_cancels() == []
        await life.cancel_answered(order_id, "refused")
        await life.clock.advance(1_000)
    await life.clock.advance(DEADLINE_MS + QUARANTINE_MS)
    await all_evidence(life, order_id)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"
    await life.clock.advance(60_000)
    assert await life.claim_cancels() == []


async def test_unreadable_evidence_does_not_void_the_rest(life: Life) -> None:
    order_id = await life.unknown()
    answers = await life.call(
        "record_evidence",
        [{"order_id": order_id}, {"order_id": order_id, "kind": "rumour"}, 5,
         {"order_id": 4_711, "kind": "sighting"}, {"order_id": order_id, "kind": "order_absent"}],
    )  # fmt: skip
    assert [a.get("code", "ok") for a in answers] == ["BAD_REQUEST"] * 4 + ["ok"]
