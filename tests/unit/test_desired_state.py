"""The comparison of the wanted set with the standing one: pure, so every case is one line."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput, Code
from app.gateway import DesiredOrder, diff
from app.ledger import OrderView

SHARE = 1_000_000
TICK = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ids = count(1)


def want(size: int = 10, cents: int = 45, outcome: str = "0", **options: Any) -> DesiredOrder:
    given_: dict[str, Any] = {"side": "BUY", **options}
    return DesiredOrder(
        outcome=outcome, price_micros=cents * TICK, size_micros=size * SHARE, **given_
    )


def standing(size: int = 10, cents: int = 45, outcome: int = 0, **changes: Any) -> OrderView:
    fields: dict[str, Any] = {
        "order_id": next(_ids),
        "account": "main",
        "market": "0x0",
        "slug": "m",
        "outcome": outcome,
        "outcome_label": ("Up", "Down")[outcome],
        "token_id": ("111", "222")[outcome],
        "side": "BUY",
        "price_micros": cents * TICK,
        "size_micros": size * SHARE,
        "order_type": "GTC",
        "post_only": False,
        "order_class": "entry",
        "key": "k",
        "state": "LIVE",
        "cause": "",
        "ended": False,
        "settled": False,
        "venue_order_id": None,
        "matched_micros": 0,
        "traded_micros": 0,
        "confirmed_micros": 0,
        "failed_micros": 0,
        "held_micros": 0,
        "attempts": 1,
        "cancel_asked": False,
        "seen_at_venue": True,
        "valid_until": NOW,
        "created_at": NOW,
        "state_at": NOW,
    }
    return OrderView(**(fields | changes))


def plan(desired: list[DesiredOrder], live: list[OrderView], **options: Any) -> tuple[Any, ...]:
    found = diff(desired, live, tick_micros=TICK, **options)
    return found.keep, found.cancel, found.post


def test_what_is_wanted_and_stands_is_kept() -> None:
    order = standing()
    assert plan([want()], [order]) == ((order,), (), ())


def test_what_is_wanted_and_does_not_stand_is_posted() -> None:
    assert plan([want()], []) == ((), (), (want(),))


def test_what_stands_and_is_not_wanted_is_cancelled() -> None:
    order = standing()
    assert plan([], [order]) == ((), (order,), ())


@pytest.mark.parametrize(
    "other",
    [
        {"cents": 46},
        {"outcome": "1"},
        {"side": "SELL"},
        {"post_only": True},
        {"order_type": "GTD", "expires_at_s": 1},
    ],
)
def test_an_order_of_another_kind_is_cancelled_and_the_wanted_one_posted(
    other: dict[str, Any],
) -> None:
    order = standing()
    assert plan([want(**other)], [order]) == ((), (order,), (want(**other),))


def test_an_order_that_is_too_large_is_cancelled_and_posted_smaller() -> None:
    order = standing(20)
    assert plan([want(10)], [order]) == ((), (order,), (want(10),))


def test_an_order_that_is_too_small_keeps_its_place_and_the_rest_is_posted() -> None:
    order = standing(6)
    assert plan([want(10)], [order]) == ((order,), (), (want(4),))


def test_a_partly_filled_order_counts_with_what_remains() -> None:
    order = standing(10, matched_micros=4 * SHARE)
    assert plan([want(6)], [order]) == ((order,), (), ())


def test_a_lack_below_the_minimum_is_not_posted() -> None:
    order = standing(10, matched_micros=4 * SHARE)
    assert plan([want(10)], [order], min_size_micros=5 * SHARE) == ((order,), (), ())


@pytest.mark.parametrize(
    ("matched", "lack"), [(1, 0), (9_999, 0), (10_001, 10_000), (4_999_999, 4_990_000)]
)
def test_what_an_odd_fill_left_of_a_hundredth_is_not_posted(matched: int, lack: int) -> None:
    order = standing(10, matched_micros=matched)
    posted = plan([want(10)], [order])[2]
    assert [one.size_micros for one in posted] == [lack][: bool(lack)]


def test_several_odd_fills_of_a_level_leave_one_hundredth_open_at_most() -> None:
    odd = [standing(3, matched_micros=1) for _ in range(3)]
    kept, cancelled, (posted,) = plan([want(10)], odd)
    assert (len(kept), cancelled, posted.size_micros) == (3, (), SHARE)


def test_the_oldest_orders_of_a_level_are_kept_as_far_as_they_fit() -> None:
    first, second, third = standing(5), standing(5), standing(5)
    assert plan([want(10)], [third, first, second]) == ((first, second), (third,), ())


def test_orders_wanted_twice_at_one_level_are_one_amount() -> None:
    order = standing(10)
    assert plan([want(5), want(5)], [order]) == ((order,), (), ())
    assert plan([want(5), want(5)], []) == ((), (), (want(10),))


def test_what_is_being_cancelled_counts_for_nothing() -> None:
    order = standing(cancel_asked=True)
    assert plan([want()], [order]) == ((), (), (want(),))
    assert plan([], [order]) == ((), (), ())


def test_an_order_of_unknown_fate_stands() -> None:
    order = standing(state="UNKNOWN")
    assert plan([want()], [order]) == ((order,), (), ())


def test_orders_of_other_classes_are_left_alone() -> None:
    hedge = standing(order_class="hedge")
    assert plan([], [hedge]) == ((), (), ())
    assert plan([], [hedge], classes=("entry", "hedge")) == ((), (hedge,), ())


@pytest.mark.parametrize("name", ["0", "Up", "up", "111"])
def test_an_outcome_is_known_by_number_label_and_token(name: str) -> None:
    order = standing()
    assert plan([want(outcome=name)], [order])[0] == (order,)


def test_posts_keep_the_order_in_which_they_were_wanted() -> None:
    wanted = [want(cents=44), want(cents=46), want(cents=45)]
    assert plan(wanted, [])[2] == tuple(wanted)


def test_an_order_whose_price_left_the_tick_is_cancelled() -> None:
    order = standing(price_micros=455_000)
    assert plan([want()], [order]) == ((), (order,), (want(),))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (want(cents=0), Code.BAD_PRICE),
        (want(cents=100), Code.BAD_PRICE),
        (want(cents=-45), Code.BAD_PRICE),
        (want(0), Code.BAD_SIZE),
        (want(-10), Code.BAD_SIZE),
        (want(side="HOLD"), Code.BAD_REQUEST),
        (want(order_type="FOK"), Code.BAD_REQUEST),
        (want(order_class="hedge"), Code.BAD_REQUEST),
    ],
)
def test_one_wrong_order_refuses_the_whole_set(wrong: DesiredOrder, code: Code) -> None:
    with pytest.raises(BadInput) as caught:
        plan([want(), wrong], [standing()])
    assert caught.value.code is code


def test_a_price_off_the_given_tick_refuses_the_set() -> None:
    with pytest.raises(BadInput) as caught:
        diff([want(cents=45)], [], tick_micros=100_000)
    assert caught.value.code is Code.OFF_TICK


def test_a_tick_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput):
        diff([want()], [], tick_micros=0)


def test_decimal_text_becomes_a_desired_order() -> None:
    assert DesiredOrder.of(outcome="0", side="BUY", price="0.45", size="10") == want()


def test_the_key_of_a_post_follows_from_the_revision_and_the_level_alone() -> None:
    def key(order: DesiredOrder, revision: str = "r1") -> str:
        return order.intent("m", revision, origin="o", strategy="s").key

    assert key(want()) == key(want(11)), "what lacks changes with every fill"
    gtd = want(order_type="GTD", expires_at_s=1)
    assert key(gtd) == key(want(order_type="GTD", expires_at_s=2))
    assert key(want(outcome="UP")) == key(want(outcome="up"))
    others = [gtd, want(cents=46), want(outcome="1"), want(side="SELL"), want(post_only=True)]
    assert len({key(one) for one in [want(), *others]} | {key(want(), "r2")}) == 7


levels = st.tuples(st.integers(1, 3), st.sampled_from([0, 1]), st.sampled_from(["BUY", "SELL"]))
amounts = st.lists(st.tuples(levels, st.integers(1, 20)), max_size=8)


@given(amounts, amounts)
def test_after_the_plan_stands_exactly_what_is_wanted(wanted: list[Any], found: list[Any]) -> None:
    desired = [want(size, cents, str(o), side=side) for (cents, o, side), size in wanted]
    live = [standing(size, cents, o, side=side) for (cents, o, side), size in found]
    result = diff(desired, live, tick_micros=TICK)
    assert sorted(view.order_id for view in (*result.keep, *result.cancel)) == sorted(
        view.order_id for view in live
    )
    after: dict[Any, int] = {}
    for view in result.keep:
        level = (view.price_micros, str(view.outcome), view.side)
        after[level] = after.get(level, 0) + view.remaining_micros
    for order in result.post:
        level = (order.price_micros, order.outcome, order.side)
        after[level] = after.get(level, 0) + order.size_micros
    asked: dict[Any, int] = {}
    for order in desired:
        level = (order.price_micros, order.outcome, order.side)
        asked[level] = asked.get(level, 0) + order.size_micros
    assert after == asked
