"""What must hold for the matching core whatever happens to it."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from app.money import MICROS
from app.venue.interface import OrderType, Side
from app.venue.matching import (
    BACKGROUND,
    Answer,
    AnswerKind,
    Event,
    Exchange,
    Order,
    OrderChanged,
    OrderStatus,
    Rules,
    Trade,
    TradeChanged,
    new_book,
)

NOW = 1_700_000_000_000
CENT = 10_000


class Place(NamedTuple):
    number: int
    account: str
    side: Side
    cents: int
    shares: int
    order_type: OrderType
    post_only: bool


class Cancel(NamedTuple):
    number: int


class Wait(NamedTuple):
    ms: int


Action = Place | Cancel | Wait

NUMBERS = st.integers(0, 25)
PLACES = st.builds(
    Place,
    NUMBERS,
    st.sampled_from(["a", "b"]),
    st.sampled_from(Side),
    st.integers(44, 56),
    st.integers(5, 60),
    st.sampled_from(OrderType),
    st.booleans(),
)
ACTIONS = st.lists(
    st.one_of(PLACES, PLACES, st.builds(Cancel, NUMBERS), st.builds(Wait, st.integers(1, 5_000))),
    max_size=40,
)


class Run(NamedTuple):
    exchange: Exchange
    events: list[Event]
    answers: list[tuple[str, Answer]]


def order_of(one: Place, now: int) -> Order:
    expiration = now + 62_000 if one.order_type is OrderType.GTD else 0
    # The signed bytes of an id never change, so neither does what an id of this test stands for
    # beyond its first use: the exchange must say Duplicated before it looks at anything else.
    return Order(
        f"id{one.number}",
        one.account,
        "7",
        one.side,
        one.cents * CENT,
        one.shares * MICROS,
        one.order_type,
        one.post_only and one.order_type in (OrderType.GTC, OrderType.GTD),
        expiration,
    )


def run(actions: list[Action], seed: int) -> Run:
    rules = Rules(fail_ppm=100_000, retry_ppm=100_000)
    made = Run(Exchange(rules), [], [])
    made.exchange.add(new_book(seed, "7", "0xc", CENT, 5 * MICROS, mid_micros=500_000))
    now = NOW
    for action in actions:
        if isinstance(action, Place):
            order = order_of(action, now)
            answer, events = made.exchange.place(order, now)
            made.answers.append((order.order_id, answer))
        elif isinstance(action, Cancel):
            _, events = made.exchange.cancel("a", f"id{action.number}", now)
        else:
            now += action.ms
            events = made.exchange.step(now)
        made.events.extend(events)
    return made


def trades_of(made: Run) -> dict[str, Trade]:
    return {e.trade.trade_id: e.trade for e in made.events if isinstance(e, TradeChanged)}


def last_orders(made: Run) -> dict[str, Order]:
    return {e.order.order_id: e.order for e in made.events if isinstance(e, OrderChanged)}


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_both_sides_of_every_trade_add_up_and_each_order_got_what_its_trades_say(
    actions: list[Action], seed: int
) -> None:
    made = run(actions, seed)
    matched: defaultdict[str, int] = defaultdict(int)
    for trade in trades_of(made).values():
        takers = [part for part in trade.parts if not part.is_maker]
        makers = [part for part in trade.parts if part.is_maker]
        assert len(takers) == 1
        assert takers[0].size_micros == sum(part.size_micros for part in makers) > 0
        assert all(part.side is not takers[0].side for part in makers)
        assert any(part.account != BACKGROUND for part in trade.parts)
        for part in trade.parts:
            matched[part.order_id] += part.size_micros
    for order in last_orders(made).values():
        assert order.matched_micros == matched[order.order_id]


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_no_order_gets_more_than_its_size_or_a_worse_price_or_shrinks(
    actions: list[Action], seed: int
) -> None:
    made = run(actions, seed)
    orders = last_orders(made)
    for trade in trades_of(made).values():
        for part in trade.parts:
            if part.account != BACKGROUND:
                order = orders[part.order_id]
                better = order.price_micros - trade.price_micros
                assert better >= 0 if order.side is Side.BUY else better <= 0
                assert part.is_maker is False or better == 0
    so_far: dict[str, int] = {}
    ended: set[str] = set()
    for event in made.events:
        if isinstance(event, OrderChanged):
            order = event.order
            assert order.order_id not in ended
            assert so_far.get(order.order_id, 0) <= order.matched_micros <= order.size_micros
            full = order.matched_micros == order.size_micros
            assert full is (order.status is OrderStatus.MATCHED)
            so_far[order.order_id] = order.matched_micros
            if order.status is not OrderStatus.LIVE:
                ended.add(order.order_id)
    book = made.exchange.books["7"]
    assert {o.order_id for o in book.orders} == {
        o.order_id for o in orders.values() if o.status is OrderStatus.LIVE
    }


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_accounts_never_rest_against_each_other_at_prices_that_cross(
    actions: list[Action], seed: int
) -> None:
    orders = run(actions, seed).exchange.books["7"].orders
    bids = [order.price_micros for order in orders if order.side is Side.BUY]
    asks = [order.price_micros for order in orders if order.side is Side.SELL]
    assert max(bids, default=0) < min(asks, default=MICROS)


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_fok_is_all_or_nothing_and_neither_fok_nor_fak_rests(
    actions: list[Action], seed: int
) -> None:
    for order in last_orders(run(actions, seed)).values():
        if order.order_type is OrderType.FOK:
            assert order.matched_micros in (0, order.size_micros)
        if order.order_type in (OrderType.FOK, OrderType.FAK):
            assert order.status is not OrderStatus.LIVE


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_an_id_is_processed_once_and_duplicated_ever_after(
    actions: list[Action], seed: int
) -> None:
    burned: set[str] = set()
    for order_id, answer in run(actions, seed).answers:
        assert (answer.kind is AnswerKind.DUPLICATED) is (order_id in burned)
        if answer.burns_id:
            burned.add(order_id)


@given(st.lists(PLACES, max_size=25))
@settings(max_examples=200, deadline=None)
def test_nothing_is_filled_while_something_with_priority_still_stands(places: list[Place]) -> None:
    made = Exchange()
    made.add(new_book(1, "7", "0xc", CENT, 5 * MICROS, levels=()))
    for one in places:
        order = order_of(one, NOW)
        before = {o.order_id: o for o in made.books["7"].orders}
        _, events = made.place(order, NOW)
        after = {o.order_id: o for o in made.books["7"].orders}
        sign = 1 if order.side is Side.BUY else -1
        filled = {
            part.order_id
            for event in events
            if isinstance(event, TradeChanged)
            for part in event.trade.parts
            if part.is_maker
        }
        for maker in (before[order_id] for order_id in filled):
            for rival in after.values():
                if rival.order_id != order.order_id and rival.side is maker.side:
                    mine = (sign * maker.price_micros, maker.seq)
                    theirs = (sign * rival.price_micros, rival.seq)
                    assert rival.order_id == maker.order_id or mine < theirs


@given(ACTIONS, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_the_same_seed_and_the_same_inputs_give_the_same_run(
    actions: list[Action], seed: int
) -> None:
    first, second = run(actions, seed), run(actions, seed)
    assert first.events == second.events
    assert first.answers == second.answers
    assert first.exchange.books == second.exchange.books
