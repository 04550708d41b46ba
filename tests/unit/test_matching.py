"""The matching core, case by case. Prices in micros; one share is 1_000_000."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.errors import BadInput
from app.money import MICROS
from app.venue.interface import OrderType, Side, TradeStatus
from app.venue.matching import (
    Answer,
    AnswerKind,
    Book,
    Exchange,
    Flow,
    Level,
    Order,
    OrderChanged,
    OrderStatus,
    Rules,
    SimpleCrossing,
    Taker,
    TradeChanged,
    made_up_book,
    new_book,
    parse_books,
)

NOW = 1_700_000_000_000
CENT = 10_000


class Still:
    """A tape on which nothing moves but what the test says."""

    def __init__(self, *takers: Taker, shift: int = 0, share_ppm: int = 1_000_000) -> None:
        self.takers, self.shift, self.share_ppm = takers, shift, share_ppm

    def flow(self, book: Book, now_ms: int) -> Flow:
        return Flow(self.shift, self.takers, 0)

    def grant(self, book: Book, order: Order, offered_micros: int, now_ms: int) -> int:
        return offered_micros * self.share_ppm // 1_000_000


def level(side: Side, cents: int, shares: int) -> Level:
    return Level(side, cents * CENT, shares * MICROS, shares * MICROS)


def exchange(*levels: Level, model: Still | None = None, rules: Rules | None = None) -> Exchange:
    made = Exchange(rules, model or Still())
    made.add(new_book(1, "7", "0xc", CENT, 5 * MICROS, levels=levels))
    return made


def order(
    order_id: str,
    side: Side,
    cents: int,
    shares: int = 10,
    order_type: OrderType = OrderType.GTC,
    *,
    account: str = "a",
    post_only: bool = False,
    expiration_ms: int = 0,
) -> Order:
    return Order(
        order_id,
        account,
        "7",
        side,
        cents * CENT,
        shares * MICROS,
        order_type,
        post_only,
        expiration_ms,
    )


def buy(order_id: str, cents: int, shares: int = 10, **more: object) -> Order:
    return order(order_id, Side.BUY, cents, shares, **more)  # type: ignore[arg-type]


def sell(order_id: str, cents: int, shares: int = 10, **more: object) -> Order:
    return order(order_id, Side.SELL, cents, shares, **more)  # type: ignore[arg-type]


def place(ex: Exchange, *orders: Order, now: int = NOW) -> list[Answer]:
    return [ex.place(one, now)[0] for one in orders]


def live(ex: Exchange) -> dict[str, int]:
    return {o.order_id: o.remaining_micros // MICROS for o in ex.books["7"].orders}


def test_an_order_that_meets_nothing_rests() -> None:
    ex = exchange()
    (answer,) = place(ex, buy("1", 40))
    assert (answer.kind, answer.status, answer.burns_id) == (AnswerKind.ACCEPTED, "live", True)
    assert live(ex) == {"1": 10}


def test_orders_of_two_accounts_trade_at_the_price_of_the_one_that_rested() -> None:
    ex = exchange()
    place(ex, sell("maker", 40, 10, account="b"))
    answer, events = ex.place(buy("taker", 45, 15), NOW)
    assert answer.status == "matched"
    (trade,) = [e.trade for e in events if isinstance(e, TradeChanged)]
    assert trade.price_micros == 40 * CENT
    assert [(p.order_id, p.size_micros, p.is_maker) for p in trade.parts] == [
        ("taker", 10 * MICROS, False),
        ("maker", 10 * MICROS, True),
    ]
    assert live(ex) == {"taker": 5}


def test_better_prices_go_first_and_then_those_who_came_first() -> None:
    ex = exchange()
    place(ex, sell("late-best", 39), sell("first", 40), sell("second", 40))
    place(ex, buy("taker", 40, 25))
    assert live(ex) == {"second": 5}


def test_makers_at_one_price_share_a_trade_id_and_each_price_has_its_own() -> None:
    ex = exchange()
    place(ex, sell("1", 40), sell("2", 40), sell("3", 41))
    _, events = ex.place(buy("t", 41, 30), NOW)
    trades = [e.trade for e in events if isinstance(e, TradeChanged)]
    assert [len(trade.parts) for trade in trades] == [3, 2]
    assert len({trade.trade_id for trade in trades}) == 2


def test_outside_levels_fill_orders_and_run_out() -> None:
    ex = exchange(level(Side.SELL, 50, 8))
    place(ex, buy("1", 50, 10))
    assert live(ex) == {"1": 2}
    assert ex.books["7"].levels[0].size_micros == 0


@pytest.mark.parametrize(("shares", "code"), [(11, "FOK_KILLED"), (10, "")])
def test_a_fok_fills_completely_or_not_at_all(shares: int, code: str) -> None:
    ex = exchange(level(Side.SELL, 50, 10))
    (answer,) = place(ex, buy("1", 50, shares, order_type=OrderType.FOK))
    assert answer.code == code
    assert ex.books["7"].levels[0].size_micros == (10 * MICROS if code else 0)
    assert live(ex) == {}


def test_a_fak_takes_what_is_there_and_never_rests() -> None:
    ex = exchange(level(Side.SELL, 50, 6))
    answer, events = ex.place(buy("1", 50, 10, order_type=OrderType.FAK), NOW)
    assert answer.status == "matched"
    (last,) = [e.order for e in events if isinstance(e, OrderChanged)]
    assert (last.status, last.matched_micros) == (OrderStatus.CANCELED, 6 * MICROS)
    assert live(ex) == {}
    (again,) = place(ex, buy("2", 50, 10, order_type=OrderType.FAK))
    assert (again.code, again.burns_id) == ("FAK_KILLED", True)


def test_post_only_is_refused_when_it_would_cross_and_rests_when_not() -> None:
    ex = exchange(level(Side.SELL, 50, 10))
    crossing, resting = place(ex, buy("1", 50, post_only=True), buy("2", 49, post_only=True))
    assert (crossing.code, resting.status) == ("POST_ONLY_CROSSES", "live")
    assert live(ex) == {"2": 10}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (Order("1", "a", "7", Side.BUY, 405_000, 10 * MICROS), "TICK_SIZE"),
        (Order("1", "a", "7", Side.BUY, 0, 10 * MICROS), "TICK_SIZE"),
        (Order("1", "a", "7", Side.BUY, MICROS, 10 * MICROS), "TICK_SIZE"),
        (Order("1", "a", "7", Side.BUY, 40 * CENT, 10 * MICROS + 1), "INVALID_AMOUNTS"),
        (Order("1", "a", "7", Side.BUY, 40 * CENT, 0), "INVALID_AMOUNTS"),
        (Order("1", "a", "7", Side.BUY, 40 * CENT, -5), "INVALID_AMOUNTS"),
        (buy("1", 40, 4), "MIN_SIZE"),
        (buy("1", 40, order_type=OrderType.FOK, post_only=True), "INVALID_POST_ONLY"),
        (buy("1", 40, order_type=OrderType.GTD), "INVALID_EXPIRATION"),
        (buy("1", 40, expiration_ms=NOW + 600_000), "INVALID_EXPIRATION"),
        (
            buy("1", 40, order_type=OrderType.GTD, expiration_ms=NOW + 60_000),
            "INVALID_EXPIRATION",
        ),
        (Order("1", "a", "8", Side.BUY, 40 * CENT, 10 * MICROS), "ORDERBOOK_MISSING"),
    ],
)
def test_an_early_refusal_changes_nothing_and_leaves_the_id_free(bad: Order, code: str) -> None:
    ex = exchange()
    before = ex.books["7"]
    answer, events = ex.place(bad, NOW)
    assert (answer.kind, answer.code, answer.burns_id) == (AnswerKind.REFUSED, code, False)
    assert (events, ex.books["7"]) == ((), before)
    assert place(ex, buy("1", 40))[0].status == "live"


def test_the_same_id_is_duplicated_for_ever_whatever_became_of_it() -> None:
    ex = exchange(level(Side.SELL, 50, 10))
    orders = {
        "live": buy("live", 40),
        "filled": buy("filled", 50),
        "killed": buy("killed", 49, order_type=OrderType.FOK),
        "cancelled": buy("cancelled", 41),
    }
    place(ex, *orders.values())
    ex.cancel("a", "cancelled", NOW)
    before = ex.books["7"]
    for one in orders.values():
        (answer,) = place(ex, one, now=NOW + 86_400_000)
        assert answer.kind is AnswerKind.DUPLICATED
        assert answer.text == f"order {one.order_id} is invalid. Duplicated."
    assert ex.books["7"] == before


def test_balances_are_checked_only_when_given() -> None:
    from app.venue.matching import place as core_place

    book = exchange().books["7"]
    need = 4 * MICROS
    for available, code in ((None, ""), (need, ""), (need - 1, "NOT_ENOUGH_BALANCE")):
        outcome = core_place(
            book, buy("1", 40), NOW, Rules(), seen=False, available_micros=available
        )
        assert outcome.answer is not None
        assert outcome.answer.code == code


def test_a_cancel_keeps_what_has_matched() -> None:
    ex = exchange(level(Side.SELL, 50, 6))
    place(ex, buy("1", 50, 10))
    answer, events = ex.cancel("a", "1", NOW)
    assert answer.kind is AnswerKind.ACCEPTED
    (ended,) = [e.order for e in events if isinstance(e, OrderChanged)]
    assert (ended.status, ended.matched_micros) == (OrderStatus.CANCELED, 6 * MICROS)
    assert ex.cancel("a", "1", NOW)[0].kind is AnswerKind.REFUSED


def test_nobody_cancels_an_order_of_another_account() -> None:
    ex = exchange()
    place(ex, buy("1", 40))
    assert ex.cancel("b", "1", NOW)[0].kind is AnswerKind.REFUSED
    assert ex.cancel("a", "2", NOW)[0].kind is AnswerKind.REFUSED
    assert live(ex) == {"1": 10}


def test_a_gtd_order_stops_one_minute_before_its_stated_expiration() -> None:
    ex = exchange()
    place(ex, buy("1", 40, order_type=OrderType.GTD, expiration_ms=NOW + 120_000))
    assert ex.step(NOW + 59_999) == ()
    (event,) = ex.step(NOW + 60_000)
    assert isinstance(event, OrderChanged)
    assert event.order.status is OrderStatus.EXPIRED


def test_an_order_that_has_expired_is_not_matched_even_before_a_step() -> None:
    ex = exchange()
    place(ex, buy("1", 40, order_type=OrderType.GTD, expiration_ms=NOW + 120_000))
    place(ex, sell("2", 40, account="b"), now=NOW + 60_000)
    assert live(ex) == {"2": 10}


def statuses(ex: Exchange, steps: int) -> list[TradeStatus]:
    seen = []
    for i in range(1, steps + 1):
        seen += [e.trade.status for e in ex.step(NOW + i * 2_000) if isinstance(e, TradeChanged)]
    return seen


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        (Rules(), [TradeStatus.MINED, TradeStatus.CONFIRMED]),
        (
            Rules(retry_ppm=1_000_000),
            [TradeStatus.RETRYING, TradeStatus.MINED, TradeStatus.CONFIRMED],
        ),
        (Rules(fail_ppm=1_000_000), [TradeStatus.RETRYING, TradeStatus.FAILED]),
    ],
)
def test_trades_settle_step_by_step(rules: Rules, path: list[TradeStatus]) -> None:
    ex = exchange(level(Side.SELL, 50, 10), rules=rules)
    place(ex, buy("1", 50))
    assert statuses(ex, 6) == path
    assert ex.books["7"].trades == ()


def test_a_settable_part_of_trades_fails() -> None:
    ex = exchange(level(Side.SELL, 50, 100_000), rules=Rules(fail_ppm=200_000))
    place(ex, *(buy(str(i), 50) for i in range(1_000)))
    failed = statuses(ex, 3).count(TradeStatus.FAILED)
    assert 140 <= failed <= 260


def test_levels_that_move_onto_a_resting_order_fill_it() -> None:
    ex = exchange(level(Side.SELL, 50, 6), model=Still(shift=-5 * CENT))
    place(ex, buy("1", 45, 10))
    events = ex.step(NOW + 1_000)
    (trade,) = [e.trade for e in events if isinstance(e, TradeChanged)]
    assert (trade.price_micros, live(ex)) == (45 * CENT, {"1": 4})
    assert ex.books["7"].levels[0].size_micros == 0


def test_a_background_taker_fills_orders_by_priority() -> None:
    taker = Taker(Side.SELL, 44 * CENT, 15 * MICROS)
    ex = exchange(level(Side.BUY, 43, 50), model=Still(taker))
    place(ex, buy("1", 44), buy("2", 45))
    ex.step(NOW + 1_000)
    assert live(ex) == {"1": 5}


def test_a_fill_model_may_grant_a_resting_order_less_than_what_crossed() -> None:
    taker = Taker(Side.SELL, 44 * CENT, 10 * MICROS)
    ex = exchange(model=Still(taker, share_ppm=300_000))
    place(ex, buy("1", 44))
    ex.step(NOW + 1_000)
    assert live(ex) == {"1": 7}


def test_the_tape_waits_for_its_tick_and_rests_where_nobody_has_orders() -> None:
    ex = exchange(level(Side.SELL, 50, 10), model=Still(shift=CENT))
    assert ex.step(NOW + 10_000) == ()
    assert ex.books["7"].shift_micros == 0
    place(ex, buy("1", 40), now=NOW + 10_000)
    ex.step(NOW + 10_999)
    assert ex.books["7"].shift_micros == 0
    ex.step(NOW + 11_000)
    assert ex.books["7"].shift_micros == CENT


def test_fees_are_the_takers_and_floored_to_five_decimals() -> None:
    ex = exchange()
    book = new_book(1, "7", "0xc", CENT, 0, fee_rate_ppm=50_000, levels=())
    ex.add(book)
    place(ex, sell("maker", 33, 7, account="b"))
    _, events = ex.place(buy("taker", 33, 7), NOW)
    (trade,) = [e.trade for e in events if isinstance(e, TradeChanged)]
    # 7 * 0.05 * 0.33 * 0.67 = 0.0773850 -> 0.07738
    assert [p.fee_micros for p in trade.parts] == [77_380, 0]


def test_time_never_runs_back_in_a_book() -> None:
    ex = exchange(level(Side.SELL, 50, 10))
    place(ex, buy("1", 40), now=NOW)
    _, events = ex.place(buy("2", 50, 5), NOW - 5_000)
    (trade,) = [e.trade for e in events if isinstance(e, TradeChanged)]
    assert trade.matched_at_ms == NOW


def test_a_made_up_book_is_the_same_for_the_same_seed_and_never_crosses() -> None:
    for tick in (100_000, 10_000, 5_000, 2_500, 1_000, 100):
        levels = made_up_book(5, "123", tick)
        assert levels == made_up_book(5, "123", tick)
        bids = [lv.base_price_micros for lv in levels if lv.side is Side.BUY]
        asks = [lv.base_price_micros for lv in levels if lv.side is Side.SELL]
        assert bids
        assert asks
        assert max(bids) < min(asks)
        assert all(p % tick == 0 and tick <= p <= MICROS - tick for p in bids + asks)
    assert made_up_book(5, "123", 10_000) != made_up_book(6, "123", 10_000)


def test_resting_orders_near_the_touch_fill_over_time() -> None:
    ex = Exchange()
    ex.add(new_book(3, "7", "0xc", CENT, 5 * MICROS, mid_micros=500_000))
    place(ex, buy("1", 49, 40), sell("2", 51, 40), buy("far", 5, 40))
    for second in range(1, 121):
        ex.step(NOW + 1_000 * second)
    assert live(ex) == {"far": 40}


def test_a_run_does_not_depend_on_how_the_levels_are_listed() -> None:
    levels = made_up_book(3, "7", CENT, 500_000)
    runs = []
    for listed in (levels, levels[::-1]):
        ex = Exchange()
        ex.add(replace(exchange(*listed).books["7"], seed=3))
        place(ex, buy("1", 49, 40), sell("2", 51, 40))
        runs.append([ex.step(NOW + 1_000 * second) for second in range(1, 60)])
    assert runs[0] == runs[1]


def test_the_wandering_mid_stays_near_home() -> None:
    model = SimpleCrossing()
    book = new_book(9, "7", "0xc", CENT, 0, mid_micros=500_000)
    reached = set()
    for _ in range(20_000):
        flow = model.flow(book, NOW)
        book = replace(book, shift_micros=flow.shift_micros, draws=book.draws + flow.draws)
        reached.add(flow.shift_micros // CENT)
    assert min(reached) >= -8
    assert max(reached) <= 8
    assert min(reached) < 0 < max(reached)


def test_books_are_read_from_snapshots_in_the_venues_shape() -> None:
    asks = [{"price": "0.52", "size": "1.5"}]
    book = {"asset_id": "7", "bids": [{"price": "0.48", "size": "30"}], "asks": asks}
    one = json.dumps(book)
    expected = (
        Level(Side.BUY, 480_000, 30 * MICROS, 30 * MICROS, 0),
        Level(Side.SELL, 520_000, 1_500_000, 1_500_000, 1),
    )
    assert parse_books(one) == {"7": expected}
    assert parse_books(f"[{one}]") == {"7": expected}
    assert parse_books(one + "\n" + one.replace('"7"', '"8"')).keys() == {"7", "8"}


CROSSED = json.dumps(
    {
        "asset_id": "7",
        "bids": [{"price": "0.5", "size": "1"}],
        "asks": [{"price": "0.5", "size": "1"}],
    }
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "[1]",
        '{"bids": [], "asks": []}',
        '{"asset_id": "7", "bids": []}',
        '{"asset_id": "7", "bids": [{"price": "NaN", "size": "1"}], "asks": []}',
        '{"asset_id": "7", "bids": [{"price": "0.5", "size": "-1"}], "asks": []}',
        '{"asset_id": "7", "bids": [{"price": "1.5", "size": "1"}], "asks": []}',
        CROSSED,
    ],
)
def test_a_file_that_holds_no_books_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_books(text)
