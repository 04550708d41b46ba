"""The demo's judgement turns red for every kind of fault, put in one at a time.

A verdict that cannot turn red proves nothing, so the sound facts are a small complete course: one
order filled, one cancelled, one open, one not placed, one rejected, one sale, one refusal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.venue.interface import Side
from app.venue.paper import PaperOrder
from workers.demo.exposure import Cap, VenueMoment
from workers.demo.facts import Facts, OrderRow, Trade
from workers.demo.records import Answer, Ask
from workers.demo.verdict import Verdict, judge

SHARE = 1_000_000
MARKET = "0x" + "ab" * 32
UP, DOWN = "111", "222"
CAP = Cap(outcome_micros=30 * SHARE, market_micros=40 * SHARE)
NAMES = ("filled", "cancelled", "open", "sold", "hurried", "rejected")


def ask(key: str, side: str = "BUY", size: int = 10 * SHARE, via: str = "place") -> Ask:
    return Ask(key, via, 1_000, "main", MARKET, "0", side, 400_000, size, {})


def answer(key: str, order_id: int, **changes: Any) -> Answer:
    told = Answer(key, "place", 1_010 + order_id, "admitted", "", order_id, 10 * SHARE)
    return replace(told, **changes)


def row(key: str, order_id: int, state: str, **changes: Any) -> OrderRow:
    at_venue = state in ("LIVE", "FILLED", "CANCELLED", "EXPIRED")
    return replace(
        OrderRow(
            order_id=order_id,
            account="main",
            key=key,
            state=state,
            cause="",
            venue_order_id=f"0x{order_id}",
            salt=f"salt {order_id}",
            token_id=UP,
            side="BUY",
            size_micros=10 * SHARE,
            matched_micros=0,
            state_at_ms=5_000 + order_id,
            ended=state in ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED"),
            at_venue=at_venue,
        ),
        **changes,
    )


def theirs(order_id: int, status: str, **changes: Any) -> PaperOrder:
    return replace(
        PaperOrder(
            venue_order_id=f"0x{order_id}",
            account="main",
            token_id=UP,
            condition_id=MARKET,
            side=Side.BUY,
            price_micros=400_000,
            size_micros=10 * SHARE,
            matched_micros=0,
            order_type="GTC",
            status=status,
            salt=f"salt {order_id}",
            timestamp_ms=1_000,
            times_received=1,
            received_at_ms=2_000,
            body=b"",
        ),
        **changes,
    )


def moment(at_ms: int, order_id: int, status: str, matched: int = 0, **changes: Any) -> VenueMoment:
    one = VenueMoment(at_ms, "main", f"0x{order_id}", UP, "BUY", status, 10 * SHARE, matched)
    return replace(one, **changes)


ALL = 10 * SHARE
TEN: dict[str, Any] = {"matched_micros": 10 * SHARE}
SOLD: dict[str, Any] = {"side": "SELL", **TEN}


def sound() -> Facts:
    """A course without fault. Order 5 was never sent; 6 was killed on arrival."""
    return Facts(
        keys=(*NAMES, "refused"),
        asks=(*(ask(key, "SELL" if key == "sold" else "BUY") for key in NAMES), ask("refused")),
        answers=(
            *(answer(key, i) for i, key in enumerate(NAMES, 1)),
            answer("refused", 0, status="refused", code="CAP_OUTCOME"),
            answer("filled", 1, via="again", replay=True),
            answer("filled", 0, via="reuse", status="refused", code="KEY_REUSED"),
        ),
        orders=(
            row("filled", 1, "FILLED", **TEN),
            row("cancelled", 2, "CANCELLED"),
            row("open", 3, "LIVE"),
            row("sold", 4, "FILLED", **SOLD),
            row("hurried", 5, "NOT_PLACED", venue_order_id="", cause="EXPIRED"),
            row("rejected", 6, "REJECTED"),
        ),
        fills=(
            Trade("t1", "0x1", ALL, 400_000, "confirmed"),
            Trade("t2", "0x4", ALL, 400_000, "confirmed"),
        ),
        book=(
            theirs(1, "MATCHED", **TEN),
            theirs(2, "CANCELED"),
            theirs(3, "LIVE"),
            theirs(4, "MATCHED", **(SOLD | {"side": Side.SELL})),
            theirs(6, "INVALID"),
        ),
        trades=(
            Trade("t1", "0x1", ALL, 400_000, "confirmed"),
            Trade("t2", "0x4", ALL, 400_000, "confirmed"),
        ),
        moments=(
            moment(2_000, 1, "MATCHED", ALL),
            moment(2_100, 2, "LIVE"),
            moment(2_200, 2, "CANCELED"),
            moment(2_300, 3, "LIVE"),
            moment(2_400, 6, "INVALID"),
            moment(2_500, 4, "MATCHED", ALL, side="SELL"),
            moment(2_600, 4, "CONFIRMED", side="SELL", trade_id="t2"),
        ),
        caps={("main", MARKET): Cap(50 * SHARE, 60 * SHARE)},
        tokens={UP: (MARKET, "0"), DOWN: (MARKET, "1")},
        audit_ok=True,
        reconciled="clean",
    )


def changed(facts: Facts, what: str, at: int, **changes: Any) -> Facts:
    """The facts with one element of one tuple changed."""
    items = list(getattr(facts, what))
    items[at] = replace(items[at], **changes)
    return with_items(facts, what, items)


def without(facts: Facts, what: str, at: int) -> Facts:
    items = list(getattr(facts, what))
    del items[at]
    return with_items(facts, what, items)


def with_items(facts: Facts, what: str, items: list[Any]) -> Facts:
    change: dict[str, Any] = {what: tuple(items)}
    return replace(facts, **change)


def red(verdict: Verdict) -> dict[str, int]:
    """The three conditions that are not zero."""
    assert not verdict.ok
    found = {
        "duplicates": verdict.duplicates,
        "lost": verdict.lost,
        "cap_breaches": verdict.cap_breaches,
    }
    return {name: count for name, count in found.items() if count}


def test_a_sound_course_is_green_and_everything_asked_for_is_accounted_for() -> None:
    verdict = judge(sound())
    assert verdict.problems == ()
    assert verdict.ok
    assert verdict.refused_by_reason == {"CAP_OUTCOME": 1}
    assert verdict.not_placed_by_cause == {"EXPIRED": 1}
    parts = (verdict.refused, verdict.not_placed, verdict.rejected, verdict.placed)
    assert parts == (1, 1, 1, 4)
    assert sum(parts) == verdict.intents == 7
    assert (verdict.filled, verdict.cancelled, verdict.expired, verdict.open) == (2, 1, 0, 1)
    assert (verdict.replays, verdict.key_reused, verdict.trades) == (1, 1, 2)


# ------------------------------------------------------------------------------------ doubled


def test_an_intent_signed_twice_is_doubled_by_its_salt() -> None:
    facts = sound()
    again = theirs(9, "LIVE", salt="salt 3")
    assert red(judge(replace(facts, book=(*facts.book, again)))) == {"duplicates": 1}


def test_a_venue_order_that_no_intent_explains_is_doubled() -> None:
    facts = sound()
    stranger = theirs(9, "CANCELED", salt="salt 9")
    assert red(judge(replace(facts, book=(*facts.book, stranger)))) == {"duplicates": 1}


def test_a_copy_that_arrived_of_an_order_that_no_intent_explains_is_doubled() -> None:
    facts = replace(sound(), arrivals={"0x1": "received 3, accepted 1, duplicated 2"})
    assert judge(facts).ok
    refused = {**facts.arrivals, "0x9": "received 1, refused 1"}
    assert red(judge(replace(facts, arrivals=refused))) == {"duplicates": 1}


def test_an_order_on_terms_that_no_writer_was_promised_is_doubled() -> None:
    # The ledger's row points at it, so only the writers' own records can tell.
    assert red(judge(changed(sound(), "book", 2, price_micros=410_000))) == {"duplicates": 1}
    assert red(judge(changed(sound(), "book", 1, size_micros=11 * SHARE))) == {"duplicates": 1}


def test_an_intent_explains_one_venue_order_and_no_second_one() -> None:
    facts = sound()
    facts = replace(
        facts,
        orders=(*facts.orders, row("open", 3, "LIVE", venue_order_id="0x9", salt="salt 9")),
        book=(*facts.book, theirs(9, "LIVE", salt="salt 9")),
    )
    assert red(judge(facts)) == {"duplicates": 1}


def test_a_key_that_was_answered_with_two_orders_is_doubled() -> None:
    facts = sound()
    facts = replace(facts, answers=(*facts.answers, answer("open", 8, via="again", replay=True)))
    assert red(judge(facts)) == {"duplicates": 1}


def test_another_request_admitted_under_a_used_key_is_doubled() -> None:
    facts = sound()
    facts = replace(facts, answers=(*facts.answers, answer("open", 3, via="reuse")))
    assert red(judge(facts)) == {"duplicates": 1}


def test_identical_bytes_received_twice_are_one_order() -> None:
    assert judge(changed(sound(), "book", 2, times_received=4)).ok


# --------------------------------------------------------------------------------------- lost


def test_an_admitted_order_that_the_ledger_does_not_have_is_lost() -> None:
    # Its venue order is then unexplained, too.
    assert red(judge(without(sound(), "orders", 2))) == {"duplicates": 1, "lost": 1}


def test_an_admitted_order_that_never_ended_and_is_not_at_the_venue_is_lost() -> None:
    facts = changed(sound(), "orders", 4, state="UNKNOWN", ended=False)
    assert red(judge(facts)) == {"lost": 1}


@pytest.mark.parametrize("at", [0, 1, 2, 3], ids=["filled", "cancelled", "open", "sold"])
def test_an_order_that_the_venue_does_not_have_is_lost(at: int) -> None:
    facts = without(sound(), "book", at)
    assert red(judge(facts)) == {"lost": 1}


def test_an_order_that_counts_as_not_placed_and_lives_at_the_venue_is_lost() -> None:
    facts = sound()
    facts = changed(facts, "orders", 4, venue_order_id="0x5")
    facts = replace(facts, book=(*facts.book, theirs(5, "LIVE")))
    assert red(judge(facts)) == {"lost": 1}


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (2, {"status": "CANCELED"}),
        (1, {"status": "LIVE"}),
        (0, {"matched_micros": 4 * SHARE, "status": "LIVE"}),
        (1, {"matched_micros": 4 * SHARE}),
        (0, {"status": "INVALID", "matched_micros": 0}),
    ],
    ids=["ended there", "alive there", "half filled there", "filled in part there", "killed there"],
)
def test_a_state_that_the_venue_contradicts_is_lost(at: int, changes: dict[str, Any]) -> None:
    assert red(judge(changed(sound(), "book", at, **changes))) == {"lost": 1}


def test_a_fill_of_the_venue_that_the_ledger_lacks_is_lost() -> None:
    assert red(judge(without(sound(), "fills", 0))) == {"lost": 1}


def test_a_fill_that_the_ledger_invented_is_lost() -> None:
    assert red(judge(without(sound(), "trades", 0))) == {"lost": 1}


@pytest.mark.parametrize(
    "changes", [{"size_micros": 9 * SHARE}, {"price_micros": 1}, {"status": "provisional"}]
)
def test_a_fill_booked_in_another_way_than_it_happened_is_lost(changes: dict[str, Any]) -> None:
    assert red(judge(changed(sound(), "fills", 1, **changes))) == {"lost": 1}


def test_an_order_killed_on_arrival_may_be_known_from_a_read_or_from_the_answer() -> None:
    verdict = judge(changed(sound(), "orders", 5, state="CANCELLED", at_venue=True))
    assert verdict.ok
    assert verdict.rejected == 1


# --------------------------------------------------------------------------------- over a cap


def capped(outcome: int, market: int) -> Facts:
    return replace(sound(), caps={("main", MARKET): Cap(outcome * SHARE, market * SHARE)})


def test_the_peak_at_the_venue_is_held_against_the_cap_of_the_outcome() -> None:
    # Promised before anything arrived: four purchases of ten and the one killed on arrival.
    assert judge(capped(50, 60)).ok
    assert red(judge(capped(49, 60))) == {"cap_breaches": 1}


def test_both_outcomes_together_are_held_against_the_cap_of_the_market() -> None:
    facts = sound()
    facts = changed(facts, "book", 2, token_id=DOWN)
    facts = changed(facts, "orders", 2, token_id=DOWN)
    facts = changed(facts, "asks", 2, outcome="1")
    facts = changed(facts, "moments", 3, token_id=DOWN)
    caps = {("main", MARKET): Cap(40 * SHARE, 49 * SHARE)}
    assert red(judge(replace(facts, caps=caps))) == {"cap_breaches": 1}
    assert judge(replace(facts, caps={("main", MARKET): Cap(40 * SHARE, 50 * SHARE)})).ok


def test_a_breach_that_only_stood_for_a_moment_is_found() -> None:
    # Ten alive, then fifty more for a tenth of a second; nothing of it is left at the end.
    burst = [moment(9_000, 20 + i, "LIVE") for i in range(5)]
    over = [moment(9_100, 20 + i, "CANCELED") for i in range(5)]
    facts = sound()
    facts = replace(facts, moments=(*facts.moments, *burst, *over))
    assert red(judge(facts)) == {"cap_breaches": 1}


def test_a_sale_makes_room_only_when_it_is_confirmed() -> None:
    # Ten bought, ten alive, ten promised to the one that is never sent, and thirty new.
    before = [moment(2_550, 20 + i, "LIVE") for i in range(3)]
    after = [moment(2_650, 20 + i, "LIVE") for i in range(3)]
    facts = sound()
    assert red(judge(replace(facts, moments=(*facts.moments, *before)))) == {"cap_breaches": 1}
    assert judge(replace(facts, moments=(*facts.moments, *after))).ok


def test_an_order_that_was_cancelled_makes_room_but_for_what_it_filled() -> None:
    part = [moment(9_000, 30, "LIVE"), moment(9_010, 30, "CANCELED", 6 * SHARE)]
    more = [moment(9_020 + i, 31 + i, "LIVE") for i in range(4)]
    facts = sound()
    # 0 held of the filled one after the sale, 10 alive, 6 kept of the cancelled one, 30, then 40.
    assert judge(replace(facts, moments=(*facts.moments, *part, *more[:3]))).cap_breaches == 0
    assert judge(replace(facts, moments=(*facts.moments, *part, *more))).cap_breaches == 1


# ------------------------------------------------------------------------------- the rest


def test_a_red_audit_is_red() -> None:
    assert red(judge(replace(sound(), audit_ok=False))) == {}


@pytest.mark.parametrize("result", ["drift", "incomplete"])
def test_a_reconciliation_that_is_not_clean_is_red(result: str) -> None:
    assert red(judge(replace(sound(), reconciled=result))) == {}


def test_an_intent_that_no_writer_has_an_answer_for_is_red() -> None:
    assert not judge(without(sound(), "answers", 6)).ok


def test_what_still_moved_or_ended_unasked_is_red() -> None:
    assert not judge(replace(sound(), unsettled={"trades settling": 1})).ok
    assert not judge(replace(sound(), unexpected=("worker-3 ended with exit code 1",))).ok
