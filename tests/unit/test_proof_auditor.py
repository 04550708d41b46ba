"""The independent auditor: a sound world passes, and a fault planted for each invariant is found by that invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proof.auditor import INVARIANTS, judge
from proof.auditor.interface import (
    COLUMNS,
    Answer,
    LimitSet,
    Moved,
    OrderAsked,
    Outage,
    Received,
    VenueOrder,
)
from tests.support.proof_world import SECOND, SHARE, TOKENS, World, clean, replace_order

Plant = Callable[[World], object]


def found(world: World) -> set[str]:
    sentences = judge(world.asked, world.venue, world.views)
    return {sentence.split(":")[0] for sentence in sentences}


def order(world: World, order_id: int) -> VenueOrder:
    return next(one for one in world.venue.orders if one.venue_order_id == f"v{order_id}")


def changed(view: str, columns: dict[str, Any], **by: Any) -> Plant:
    """A plant: one row of a view says something else."""
    return lambda world: world.find(view, **by).update(columns)


def dropped(view: str, **by: Any) -> Plant:
    def plant(world: World) -> None:
        row = world.find(view, **by)
        world.views.rows[view] = [one for one in world.views.rows[view] if one is not row]

    return plant


def doubled(view: str, changes: dict[str, Any] | None = None, **by: Any) -> Plant:
    def plant(world: World) -> None:
        world.row(view, dict(world.find(view, **by)) | (changes or {}))

    return plant


def call_of(world: World, key: str, number: int = 0) -> int:
    """Where the n-th call of a key is in what was asked."""
    return [i for i, one in enumerate(world.asked.orders) if one.key == key][number]


def called(key: str, number: int = 0, **changes: Any) -> Plant:
    def plant(world: World) -> None:
        place = call_of(world, key, number)
        world.asked.orders[place] = replace(world.asked.orders[place], **changes)

    return plant


def second_order_at_the_venue(world: World) -> None:
    """The same intent signed again, with another salt."""
    again = replace(order(world, 1), venue_order_id="v1b", salt="other", digest="other")
    world.venue.orders += [
        again,
        replace(again, venue_order_id="v1c"),
        replace(again, venue_order_id="v1d"),
    ]


def other_bytes(world: World) -> None:
    world.receive("place", 1)
    world.venue.received[-1] = replace(world.venue.received[-1], digest="other")


def at_venue(order_id: int, **changes: Any) -> Plant:
    return lambda world: replace_order(world, order_id, **changes)


def request(kind: str, order_id: int, **changes: Any) -> Plant:
    """A request that was received becomes another."""

    def plant(world: World) -> None:
        for place, one in enumerate(world.venue.received):
            if (one.kind, one.venue_order_id) == (kind, f"v{order_id}"):
                world.venue.received[place] = replace(one, **changes)

    return plant


def without_the_cancel(world: World) -> None:
    world.venue.received = [one for one in world.venue.received if one.kind != "cancel"]
    replace_order(world, 3, ended_turn=None, ended_us=None, state="live")


def late_cancel(world: World) -> None:
    late = world.asked.cancels[0].at_us + 60 * SECOND
    request("cancel", 3, sent_us=late)(world)
    replace_order(world, 3, ended_us=late + SECOND)


def overtaken_cancel(world: World) -> None:
    """An order asked after the cancel had been answered is on the wire before it."""
    cancel = world.asked.cancels[0]
    place = call_of(world, "k7")
    later = replace(world.asked.orders[place], turn=cancel.turn + 2, answered_turn=cancel.turn + 2)
    world.asked.orders[place] = later
    world.find("orders", order_id=7)["venue_order_id"] = "v7"
    sent = Received(cancel.turn + 3, cancel.at_us + 2, "a", "place", "v7", "m", taken=False)
    world.venue.received.append(sent)
    request("cancel", 3, turn=cancel.turn + 4, sent_turn=cancel.turn + 4)(world)
    replace_order(world, 3, ended_turn=cancel.turn + 5)


def cap(name: str, value: int, **scope: Any) -> Plant:
    """As if that had been the limit from the start."""

    def plant(world: World) -> None:
        world.asked.limits = [one for one in world.asked.limits if one.name != name]
        world.asked.limits.append(LimitSet(0, name, value, **scope))

    return plant


def less_money(world: World) -> None:
    first = world.asked.moved[0]
    world.asked.moved[0] = replace(first, amount_micros=7 * SHARE)


def fewer_tokens(world: World) -> None:
    world.asked.moved[1] = replace(world.asked.moved[1], amount_micros=19 * SHARE)


def admitted_under_the_halt(world: World) -> None:
    called("k6", answer=Answer(True, None, 6))(world)


def lost_fill(world: World) -> None:
    """It happened after the cancel, and only the order's end was read."""
    more = world.fill("t3b", 12 * SHARE, 600_000)
    there = order(world, 3)
    filled = {"matched_micros": 20 * SHARE, "state": "matched", "fills": (*there.fills, more)}
    replace_order(world, 3, **filled)


def resurrected(world: World) -> None:
    world.journal(2, "ACCEPT", "FILLED", "LIVE")
    world.find("orders", order_id=2)["state"] = "LIVE"


def late_placement(world: World) -> None:
    call = world.asked.orders[call_of(world, "k1")]
    assert call.valid_until_us is not None
    request("place", 1, sent_us=call.valid_until_us + 2 * SECOND + 1)(world)


def sent_under_the_halt(world: World) -> None:
    begun, ended = world.asked.halts
    world.asked.halts[1] = replace(ended, turn=10_000, at_us=10_000 * SECOND)
    request("place", 1, sent_us=begun.at_us + 4 * SECOND)(world)


def sent_after_the_cancel(world: World) -> None:
    cancel = world.asked.cancels[0]
    request("place", 3, sent_us=cancel.at_us + 4 * SECOND)(world)


def changed_by_the_start(world: World) -> None:
    assert world.views.second_start is not None
    row = dict(world.views.second_start["journal"][-1])
    world.views.second_start["journal"].append(row | {"seq": row["seq"] + 1})


def unknown_withdrawal(world: World) -> None:
    row = {"withdrawal_id": 1, "account": "a", "state": "UNKNOWN", "amount_micros": 1}
    world.row("withdrawals", row | {"key": "w", "ended": False, "attempts": 1})


PLANTS: dict[str, dict[str, Plant]] = {
    "one_venue_order_per_intent": {
        "signed again": second_order_at_the_venue,
        "two texts under one id": other_bytes,
        "accepted twice": lambda w: w.venue.orders.append(order(w, 1)),
        "one id of two orders": changed("orders", {"venue_order_id": "v1"}, order_id=2),
        "one key of two orders": changed("orders", {"key": "k1"}, order_id=2),
        "one salt in two orders": request("place", 2, salt="s1"),
    },
    "sent_within_intended": {
        "larger": at_venue(1, size_micros=11 * SHARE),
        "dearer": at_venue(1, price_micros=410_000),
        "cheaper sale": at_venue(3, price_micros=590_000),
        "other token": at_venue(1, token_id=TOKENS[1]),
        "other side": at_venue(1, side="SELL"),
        "larger than what was admitted": called(
            "k1", answer=Answer(True, None, 1, size_micros=9 * SHARE)
        ),
        "sent larger, and refused": request("place", 4, size_micros=10 * SHARE + 1),
    },
    "no_intent_lost": {
        "admitted and gone": dropped("orders", order_id=4),
        "nobody asked": changed("orders", {"key": "nobody's"}, order_id=4),
        "refused and there": called("k4", answer=Answer(False, "HALTED")),
        "other price": changed("orders", {"price_micros": 410_000}, order_id=4),
    },
    "keys_are_idempotent": {
        "two orders of one key": called("k1", 1, answer=Answer(True, None, 9, replayed=True)),
        "new twice": called("k1", 1, answer=Answer(True, None, 1)),
        "refused where it is a replay": called("k1", 1, answer=Answer(False, "CAP_OUTCOME")),
        "other request admitted": called("k1", 2, answer=Answer(True, None, 1, replayed=True)),
        "not bound": dropped("idempotency", key="k2"),
        "bound to another": changed("idempotency", {"order_id": 1}, key="k2"),
        "bound twice": doubled("idempotency", {"order_id": 9}, key="k2"),
    },
    "remainder_never_negative": {
        "hold": changed("orders", {"held_micros": -1}, order_id=2),
        "overfilled by itself": changed("orders", {"matched_micros": 11 * SHARE}, order_id=2),
        "counter": changed("exposure", {"pending_buy_micros": -1}, outcome=0),
        "locked": changed("balances", {"locked_micros": -1}, asset=TOKENS[1]),
    },
    "cancel_after_fill_resurrects_nothing": {
        "filled and live again": resurrected,
        "cancelled, and live by an answer": lambda w: w.journal(3, "ACCEPT", "CANCELLED", "LIVE"),
        "fill lost to the cancel": lost_fill,
    },
    "converges_to_the_venue": {
        "unknown order": lambda w: w.venue.orders.append(
            replace(order(w, 1), venue_order_id="x", foreign=True)
        ),
        "live there, ended here": changed("orders", {"state": "CANCELLED"}, order_id=1),
        "ended there, live here": at_venue(1, state="cancelled", ended_turn=9),
        "accepted and rejected": changed("orders", {"state": "REJECTED"}, order_id=1),
        "other filled size": at_venue(1, matched_micros=5 * SHARE),
        "trade not counted": changed("orders", {"traded_micros": 3 * SHARE}, order_id=1),
        "live and never accepted": changed("orders", {"state": "LIVE"}, order_id=4),
        "filled whole, not FILLED": changed("orders", {"state": "EXPIRED"}, order_id=2),
    },
    "nothing_unknown_for_ever": {
        "UNKNOWN": changed("orders", {"state": "UNKNOWN"}, order_id=4),
        "RESERVED": changed("orders", {"state": "RESERVED"}, order_id=7),
        "fate open": changed("orders", {"fate_open": True}, order_id=4),
        "unresolved": lambda w: w.row(
            "unresolved", {"account": "a", "order_id": 4, "state": "X", "why": "?"}
        ),
        "lane": changed("outbox", {"status": "blocked"}, order_id=4),
        "withdrawal": unknown_withdrawal,
        "replacement": lambda w: w.row(
            "intents_without_order",
            {"kind": "replacement", "order_id": 1, "account": "a", "anomaly": False},
        ),
    },
    "anomalies_are_none": {
        "key of no order": lambda w: w.row(
            "intents_without_order", {"kind": "key", "order_id": 9, "account": "a", "anomaly": True}
        ),
        "bytes of no order": lambda w: w.row(
            "orders_without_intent",
            {
                "kind": "signed bytes without intent",
                "account": "a",
                "venue_order_id": "x",
                "standing": True,
            },
        ),
    },
    "every_hold_ends": {
        "ended and holds": changed("orders", {"held_micros": 1}, order_id=2),
        "ended and reserves": changed("orders", {"remaining_micros": 1}, order_id=4),
        "alive and released": changed("orders", {"phase": "released"}, order_id=1),
        "ended and not released": changed("orders", {"phase": "pending"}, order_id=4),
        "no reservation": changed("orders", {"phase": None}, order_id=4),
        "locked without order": changed(
            "balances", {"locked_micros": 3 * SHARE}, asset="collateral"
        ),
    },
    "exposure_is_what_is_held": {
        "released twice": changed("exposure", {"open_buy_micros": 0}, outcome=0),
        "counted twice": changed("exposure", {"pending_buy_micros": 6 * SHARE}, outcome=0),
        "no counters": dropped("exposure", outcome=0),
        "position": changed("exposure", {"position_micros": 15 * SHARE}, outcome=0),
    },
    "every_answer_is_known": {
        "an order without a binding": lambda w: (
            called("k4", answer=None, answered_turn=None)(w),
            dropped("idempotency", key="k4")(w),
        ),
    },
    "caps_hold_in_shares": {
        "outcome": cap("max_outcome_micros", 19 * SHARE),
        "outcome of this account and market": cap(
            "max_outcome_micros", 19 * SHARE, account="a", market="m"
        ),
        "market": cap("max_market_micros", 29 * SHARE),
        "account": cap("max_shares_micros", 19 * SHARE, scope="account", subject="a"),
        "all accounts": cap("max_shares_micros", 19 * SHARE, scope="global"),
    },
    "caps_hold_in_collateral": {
        "order": cap("max_order_cost_micros", 4 * SHARE),
        "order's size": cap("max_order_micros", 9 * SHARE),
        "market": cap("max_market_cost_micros", 7_900_000),
        "account": cap("max_cost_micros", 7_900_000, scope="account"),
        "fees count": cap("max_order_cost_micros", 4_119_999),
    },
    "open_orders_within_limits": {"market": cap("max_open_orders", 1)},
    "holds_within_holdings": {"collateral": less_money, "tokens": fewer_tokens},
    "every_fill_counted_once": {
        "booked twice": doubled("fills", trade_id="t1"),
        "not booked": dropped("fills", trade_id="t1"),
        "never happened": changed("fills", {"trade_id": "t9"}, trade_id="t1"),
        "other size": changed("fills", {"size_micros": 5 * SHARE}, trade_id="t1"),
        "other price": changed("fills", {"price_micros": 410_000}, trade_id="t1"),
        "other side": changed("fills", {"side": "SELL"}, trade_id="t1"),
        "other cash": changed("fills", {"cash_micros": 1}, trade_id="t1"),
        "confirmed and failed": at_venue(1, fills=()),
        "of no order": changed("fills", {"order_id": 99}, trade_id="t1"),
        "other outcome": changed("fills", {"outcome": 1}, trade_id="t1"),
    },
    "sums_of_orders_are_their_fills": {
        "traded": changed("orders", {"traded_micros": 8 * SHARE}, order_id=1),
        "confirmed": changed("orders", {"confirmed_micros": 0}, order_id=1),
    },
    "money_of_fills_moved_once": {
        "cash twice": doubled(
            "balance_entries", {"entry_seq": 99}, trade_id="t1", asset="collateral"
        ),
        "tokens never": dropped("balance_entries", trade_id="t1", asset=TOKENS[0]),
    },
    "balances_are_what_happened": {
        "too much": changed("balances", {"total_micros": 999 * SHARE}, asset="collateral"),
        "deposit not booked": lambda w: w.asked.moved.append(
            Moved(1, "a", "collateral", 1, answered_turn=2)
        ),
        "another asset": lambda w: w.asked.moved.append(Moved(1, "a", "33", 1, answered_turn=2)),
    },
    "ends_agree_with_fills": {
        "more than the venue filled": changed("orders", {"matched_micros": 1}, order_id=4),
    },
    "cancels_leave_at_once": {
        "never": without_the_cancel,
        "late": late_cancel,
        "after a later order": overtaken_cancel,
    },
    "what_is_cancelled_ends": {
        "cancelled": at_venue(3, state="live"),
        "replaced": called("k2", replaces=1),
        "halted": lambda w: w.halt(on=True),
    },
    "nothing_unwanted_is_sent": {
        "too late": late_placement,
        "under a halt": sent_under_the_halt,
        "after its cancel": sent_after_the_cancel,
    },
    "halted_admits_nothing": {"admitted": admitted_under_the_halt},
    "double_entry": {
        "without its twin": changed("balance_entries", {"contra_delta_micros": 0}, entry_seq=1),
        "booked twice": changed("balance_entries", {"entry_key": "e1"}, entry_seq=2),
        "balance": changed("balances", {"total_micros": 1}, asset=TOKENS[1]),
        "other side": changed("contra", {"amount_micros": 1}, asset=TOKENS[1], contra="outside"),
        "available and locked": changed("balances", {"available_micros": 1}, asset=TOKENS[1]),
    },
    "journal_without_gaps": {
        "gap": changed("journal", {"seq": 999}, seq=5),
        "gap in the market": changed("journal", {"market_seq": 999}, seq=5),
        "twice": changed("journal", {"seq": 4}, seq=5),
        "entries": changed("balance_entries", {"entry_seq": 999}, entry_seq=2),
        "no number": changed("journal", {"market_seq": None}, seq=5),
    },
    "journal_follows_states": {
        "end": changed("orders", {"state": "EXPIRED"}, order_id=3),
        "step left out": changed("journal", {"from_state": "RESERVED"}, seq=4),
    },
    "second_start_changes_nothing": {"a row more": changed_by_the_start},
}


def test_a_sound_world_is_found_sound() -> None:
    world = clean()
    assert judge(world.asked, world.venue, world.views) == []


def test_every_invariant_has_a_planted_fault() -> None:
    assert set(PLANTS) == set(INVARIANTS)


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, of in PLANTS.items() for fault in of]
)
def test_a_planted_fault_is_found_by_its_invariant(name: str, fault: str) -> None:
    world = clean()
    PLANTS[name][fault](world)
    assert name in found(world)


def test_every_column_that_is_said_to_be_read_is_in_the_world() -> None:
    world = clean()
    for view, columns in COLUMNS.items():
        for row in world.views.of(view):
            assert set(columns.split()) <= set(row), view


def test_a_view_that_is_missing_is_an_error_and_not_a_pass() -> None:
    world = clean()
    del world.views.rows["journal"]
    with pytest.raises(KeyError, match=r"audit\.journal"):
        judge(world.asked, world.venue, world.views)


def test_an_unknown_invariant_cannot_be_left_out() -> None:
    world = clean()
    with pytest.raises(ValueError, match="no_such"):
        judge(world.asked, world.venue, world.views, without=("no_such",))


def test_a_cancel_has_longer_while_nobody_can_work() -> None:
    world = clean()
    late_cancel(world)
    assert "cancels_leave_at_once" in found(world)
    cancel = world.asked.cancels[0]
    until = cancel.at_us + 59 * SECOND
    down = Outage(cancel.turn, cancel.at_us + SECOND, cancel.turn + 1, until)
    world.asked.outages.append(down)
    assert "cancels_leave_at_once" not in found(world)


def test_a_cap_that_was_lowered_later_condemns_nothing() -> None:
    world = clean()
    world.asked.limits.append(LimitSet(world.turn, "max_outcome_micros", SHARE))
    assert "caps_hold_in_shares" not in found(world)


def test_a_cap_that_was_lowered_before_the_last_order_condemns_it() -> None:
    world = clean()
    second = world.asked.orders[call_of(world, "k2")]
    lowered = LimitSet(
        second.turn - 2, "max_outcome_micros", 19 * SHARE, answered_turn=second.turn - 1
    )
    world.asked.limits.append(lowered)
    assert "caps_hold_in_shares" in found(world)


def test_what_was_sold_and_confirmed_makes_room_again() -> None:
    world = clean()
    cap("max_outcome_micros", 29 * SHARE)(world)
    assert "caps_hold_in_shares" in found(world)
    world.venue.orders.append(
        replace(
            order(world, 1),
            venue_order_id="sale",
            side="SELL",
            foreign=True,
            fills=(replace(order(world, 1).fills[0], trade_id="away", size_micros=SHARE),),
        )
    )
    assert "caps_hold_in_shares" not in found(world)


def test_a_hold_that_may_have_ended_is_not_counted() -> None:
    """What is left of an order that the venue has ended may be released before the next is admitted."""
    world = clean()
    cap("max_outcome_micros", 30 * SHARE)(world)
    assert "caps_hold_in_shares" not in found(world)
    world.ask("k8", Answer(True, None, 8), size_micros=15 * SHARE)
    world.asked.ended = world.next()
    assert "caps_hold_in_shares" in found(world)
    before = world.asked.orders[call_of(world, "k8")].turn - 1
    replace_order(world, 1, state="cancelled", ended_turn=before)
    assert "caps_hold_in_shares" not in found(world)


def test_an_answer_nobody_heard_condemns_nobody() -> None:
    world = clean()
    unheard = OrderAsked(world.turn, 0, "a", "k9", "m", 0, "BUY", 400_000, 10 * SHARE)
    world.asked.orders.append(unheard)
    assert found(world) == set()
