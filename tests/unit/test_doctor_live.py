"""The live test over a stand-in venue: what it finds, what it never does, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import AsyncioTasks, Ports, SeededRng
from app.errors import Code, DatabaseProblem, Refused
from app.money import MICROS
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.polymarket import HandClock, exchange, silent
from workers.doctor.books import Top
from workers.doctor.live import Attempt, LiveTest, Report, Stored
from workers.doctor.live_plan import (
    FAR_MICROS,
    MOST_COST_MICROS,
    NOT_ASKED,
    QUESTIONS,
    LiveOrder,
    Planned,
    Step,
    Terms,
    Unsuitable,
    choose,
    plan,
)

OURS = "0x" + "ab" * 32
TOKEN = str(10**75 + 7)
NOW_S = 1_800_000_000
TERMS = Terms("0x" + "11" * 32, "Up", TOKEN, 10_000, 5 * MICROS)
GOOD_BOOK = Top(400_000, 600_000, NOW_S * 1000)


def the_order() -> LiveOrder:
    order = choose(TERMS, GOOD_BOOK, NOW_S)
    assert isinstance(order, LiveOrder)
    return order


# --- the plan --------------------------------------------------------------------------------------


def test_the_order_is_the_smallest_and_the_lowest_and_ends_by_itself() -> None:
    order = the_order()
    assert (order.price_micros, order.size_micros) == (10_000, 5 * MICROS)
    assert order.cost_micros == 50_000
    assert order.expires_at_s == NOW_S + 1_260
    assert order.exchange == "standard"


@given(
    st.sampled_from((100_000, 10_000, 5_000, 2_500, 1_000, 100)),
    st.integers(1, 2_000 * MICROS),
    st.none() | st.integers(0, MICROS),
    st.none() | st.integers(0, MICROS),
)
def test_whatever_the_market_the_order_is_cheap_far_and_not_the_best(
    tick: int, minimum: int, bid: int | None, offer: int | None
) -> None:
    terms = Terms(TERMS.market, "Up", TOKEN, tick, minimum)
    order = choose(terms, Top(bid, offer, 0), NOW_S)
    if isinstance(order, Unsuitable):
        assert order.why
        assert order.next_step
        return
    assert order.size_micros >= minimum
    assert order.size_micros % 10_000 == 0
    assert order.cost_micros <= MOST_COST_MICROS
    assert bid is not None
    assert bid > order.price_micros
    assert offer is None or offer - order.price_micros >= FAR_MICROS


@pytest.mark.parametrize(
    ("terms", "top", "why"),
    [
        (TERMS, Top(600_000, 400_000, 0), "crossed"),
        (TERMS, Top(20_000, 100_000, 0), "too near"),
        (TERMS, Top(None, 600_000, 0), "nobody bids"),
        (TERMS, Top(10_000, 600_000, 0), "ours would be the best"),
        (Terms("m", "Up", TOKEN, 10_000, 101 * MICROS), GOOD_BOOK, "costs 1.01 pUSD"),
        (Terms("m", "Up", TOKEN, 7, MICROS), GOOD_BOOK, "tick of 7"),
    ],
)
def test_a_market_that_is_no_place_for_it_is_refused(terms: Terms, top: Top, why: str) -> None:
    order = choose(terms, top, NOW_S)
    assert isinstance(order, Unsuitable)
    assert why in order.why


@pytest.mark.parametrize(
    ("token", "neg_risk", "name"),
    [(TOKEN, False, "standard"), (TOKEN, True, "neg-risk"), ("12345", True, "v3")],
)
def test_the_exchange_that_is_asked_about_is_named(token: str, neg_risk: bool, name: str) -> None:
    order = choose(Terms("m", "Up", token, 10_000, MICROS, neg_risk), GOOD_BOOK, NOW_S)
    assert isinstance(order, LiveOrder)
    assert order.exchange == name


def test_every_open_question_is_in_the_plan_or_listed_as_not_asked() -> None:
    steps = plan(the_order(), cancel_first=True)
    asked = {question for one in steps for question in one.questions}
    assert asked | {one.question for one in NOT_ASKED} == set(QUESTIONS)
    assert [one.step for one in steps] == list(Step)


def test_what_sends_an_order_asks_and_what_ends_one_does_not() -> None:
    asks = {one.step for one in plan(the_order(), cancel_first=True) if one.irreversible}
    assert asks == {Step.PLACE, Step.REPOST_LIVE, Step.REPOST_CANCELLED}


# --- a venue and a ledger --------------------------------------------------------------------------


@dataclass
class World:
    """Both sides of one order. Its options are what the documents leave open, and what can break."""

    clock: HandClock = field(default_factory=lambda: HandClock(NOW_S * 1000))
    lag_ms: int = 0
    sizes: str = "shares"
    forgets_cancelled: bool = False
    remembers_early_cancel: bool = False
    deaf_to_cancels: bool = False
    id_mismatch: bool = False
    fills: bool = False
    refuses_order: bool = False
    repost_answer: Any = None
    reserve_error: Exception | None = None
    reserved_anyway: bool = False
    database_away: bool = False
    list_unreadable: bool = False

    status: str = ""
    placed_at_ms: int = 0
    state: str = ""
    posts: int = 0
    deletes: int = 0
    early: str | None = None
    requests: list[Endpoint] = field(default_factory=list)

    # the ledger's side

    async def place(self, order: LiveOrder, *, cancel_first: bool) -> int:
        if self.reserve_error is not None:
            if self.reserved_anyway:
                self._send(cancel_first)
            raise self.reserve_error
        self._send(cancel_first)
        return 7

    def _send(self, cancel_first: bool) -> None:
        if cancel_first:
            self.early = '{"canceled":[],"not_canceled":{"x":"order not found"}}'
        self.placed_at_ms = self.clock.at_ms
        if self.refuses_order:
            self.state = "REJECTED"
            return
        early_end = cancel_first and self.remembers_early_cancel
        self.status = "CANCELED" if early_end else "MATCHED" if self.fills else "LIVE"
        self.state = {"CANCELED": "CANCELLED", "MATCHED": "FILLED"}.get(self.status, "LIVE")

    async def find(self) -> int | None:
        self._check()
        return 7 if self.state else None

    async def stored(self, order_id: int) -> Stored:
        assert order_id == 7
        self._check()
        if self.refuses_order:
            refused = Attempt("rejected", "NOT_ENOUGH_BALANCE", "a-key", "not enough balance")
            return Stored("REJECTED", True, OURS, b'{"owner":""}', (refused,))
        code = "ID_MISMATCH" if self.id_mismatch else "live"
        outcome = "unknown" if self.id_mismatch else "accepted"
        answer = '{"orderID":"' + OURS + '","status":"live","makingAmount":""}'
        attempt = Attempt(outcome, code, "a-key", answer)
        ended = self.state in ("CANCELLED", "FILLED", "REJECTED")
        return Stored(self.state, ended, OURS, b'{"order":{},"owner":""}', (attempt,))

    async def cancel(self, order_id: int) -> str:
        assert order_id == 7
        self._check()
        if self.state == "LIVE" and not self.deaf_to_cancels:
            self.status, self.state = "CANCELED", "CANCELLED"
        return self.state

    def early_cancel(self) -> str | None:
        return self.early

    def _check(self) -> None:
        if self.database_away:
            raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "the database is away")

    # the venue's side

    async def __call__(self, endpoint: Endpoint, **how: Any) -> Exchange:
        self.requests.append(endpoint)
        assert how.get("signed") is True
        await asyncio.sleep(0)
        if endpoint is Endpoint.GET_ORDER:
            known = how["path"].endswith(OURS) and self._shown()
            return exchange(endpoint, self._row() if known else "null")
        if endpoint is Endpoint.GET_ORDERS:
            if self.list_unreadable:
                return exchange(endpoint, (400, {"error": "invalid filter"}))
            known = how["query"] == {"id": OURS} and self._shown()
            rows = [self._row()] if known else []
            return exchange(endpoint, {"data": rows, "next_cursor": "LTE="})
        if endpoint is Endpoint.DELETE_ORDER:
            return self._delete(endpoint, json.loads(how["body"]))
        assert endpoint is Endpoint.POST_ORDER
        return self._post(endpoint, json.loads(how["body"]))

    def _shown(self) -> bool:
        return bool(self.status) and self.clock.at_ms >= self.placed_at_ms + self.lag_ms

    def _row(self) -> dict[str, Any]:
        size = {"shares": "5", "micros": "5000000", "odd": "77"}[self.sizes]
        return {
            "id": OURS,
            "status": self.status,
            "asset_id": TOKEN,
            "side": "BUY",
            "price": "0.01",
            "original_size": size,
            "size_matched": size if self.status == "MATCHED" else "0",
        }

    def _delete(self, endpoint: Endpoint, body: Any) -> Exchange:
        assert body == {"orderID": OURS}
        self.deletes += 1
        if self.status == "LIVE" and not self.deaf_to_cancels:
            self.status = "CANCELED"
            return exchange(endpoint, {"canceled": [OURS], "not_canceled": {}})
        return exchange(endpoint, {"canceled": [], "not_canceled": {OURS: "already canceled"}})

    def _post(self, endpoint: Endpoint, body: Any) -> Exchange:
        assert body["owner"] == "a-key"
        self.posts += 1
        if self.repost_answer is not None:
            return exchange(endpoint, self.repost_answer)
        if self.status == "CANCELED" and self.forgets_cancelled:
            self.status, self.placed_at_ms = "LIVE", self.clock.at_ms
            told = {"success": True, "orderID": OURS, "status": "live", "errorMsg": ""}
            return exchange(endpoint, told)
        duplicate = {"error": f"order {OURS} is invalid. Duplicated."}
        headers = {"poly-ratelimit-remaining": "59", "poly-ratelimit-tier": "Standard"}
        return exchange(endpoint, (400, duplicate), headers=headers)


async def run(
    world: World, *, declines: tuple[Step, ...] = (), cancel_first: bool = True
) -> tuple[Report, list[Planned]]:
    asked: list[Planned] = []

    async def consent(step: Planned) -> bool:
        asked.append(step)
        return step.step not in declines

    ports = Ports(world.clock, SeededRng(3), AsyncioTasks())
    test = LiveTest(world, world, ports, consent, signature_type=3, tell=lambda _: None)
    report = await test.run(the_order(), cancel_first=cancel_first)
    json.dumps(report.to_json())
    return report, asked


def means(report: Report, question: int) -> list[str]:
    return [one.means for one in report.answers if one.question == question]


# --- what it finds ---------------------------------------------------------------------------------


async def test_a_venue_as_assumed_settles_what_one_order_can_tell() -> None:
    world = World(lag_ms=3_000)
    report, asked = await run(world)
    assert set(report.steps.values()) == {"done"}
    assert report.verified
    assert (report.alarms(), report.last_words) == ([], "the order is CANCELLED")
    assert means(report, 1) == ["the id is the hash, as assumed"]
    assert means(report, 2) == ["Duplicated, as assumed: seen, then read"] * 2
    assert "not remembered" in means(report, 6)[0]
    assert "decimal shares, as assumed" in means(report, 4)
    [shown] = [
        one for one in report.answers if (one.question, one.about) == (3, "by id, after the post")
    ]
    assert shown.seen.startswith("shown after 3")
    assert {one.question for one in report.answers} == {1, 2, 3, 4, 6, 8}
    assert [step.step for step in asked] == [Step.PLACE, Step.REPOST_LIVE, Step.REPOST_CANCELLED]
    assert world.status == "CANCELED"
    assert (world.posts, world.state) == (2, "CANCELLED")


async def test_a_cancelled_order_that_lives_again_is_an_alarm_and_ended_by_hand() -> None:
    world = World(forgets_cancelled=True)
    report, _ = await run(world)
    assert [one.question for one in report.alarms()] == [2]
    assert "lives again" in report.alarms()[0].means
    assert world.deletes >= 1
    assert world.status == "CANCELED"
    assert report.verified
    assert report.to_json()["ok"] is False


@pytest.mark.parametrize("answer", [silent(Endpoint.POST_ORDER), (500, "could not insert order")])
async def test_a_repeat_of_unknown_outcome_is_cancelled_and_watched_for_long(answer: Any) -> None:
    world = World(repost_answer=answer)
    report, _ = await run(world)
    assert means(report, 2) == ["no definite answer"] * 2
    assert world.deletes > 1
    assert world.clock.slept_ms >= 45_000
    assert report.verified


async def test_an_early_cancel_that_is_remembered_is_found() -> None:
    world = World(remembers_early_cancel=True)
    report, asked = await run(world)
    assert means(report, 6) == ["remembered, it seems: the order ended as CANCELLED at once"]
    assert report.steps["place"] == "it ended at once as CANCELLED"
    assert [step.step for step in asked] == [Step.PLACE]
    assert report.verified
    assert world.posts == 0


async def test_without_the_early_cancel_its_question_is_not_asked() -> None:
    report, _ = await run(World(), cancel_first=False)
    assert means(report, 6) == []
    assert report.steps["place"] == "done"


@pytest.mark.parametrize(
    ("sizes", "words"),
    [("shares", "decimal shares"), ("micros", "integers of 1e-6"), ("odd", "ALARM")],
)
async def test_the_scale_of_sizes_is_told(sizes: str, words: str) -> None:
    report, _ = await run(World(sizes=sizes))
    assert any(words in one for one in means(report, 4))
    assert bool(report.alarms()) is (sizes == "odd")


async def test_another_id_than_our_hash_is_an_alarm() -> None:
    report, _ = await run(World(id_mismatch=True))
    assert [one.question for one in report.alarms()] == [1]


async def test_an_order_that_is_never_shown_is_an_alarm_about_absence() -> None:
    report, _ = await run(World(lag_ms=10**9))
    assert [one.question for one in report.alarms()] == [3, 3]
    assert any(one.about == "before it was shown" for one in report.answers)


async def test_a_list_that_cannot_be_read_is_said_and_does_not_stop_the_end() -> None:
    report, _ = await run(World(list_unreadable=True))
    assert report.verified
    assert any("concludes nothing" in one for one in means(report, 3))


# --- what it does not do ---------------------------------------------------------------------------


async def test_without_consent_nothing_is_placed() -> None:
    world = World()
    report, asked = await run(world, declines=(Step.PLACE,))
    assert [step.step for step in asked] == [Step.PLACE]
    assert (report.verified, report.last_words) == (True, "nothing was placed")
    assert (world.state, world.posts, world.deletes) == ("", 0, 0)
    missed = {one.question for one in report.not_asked()}
    assert missed == set(QUESTIONS)


@pytest.mark.parametrize("declined", [Step.REPOST_LIVE, Step.REPOST_CANCELLED])
async def test_a_declined_repeat_is_left_out_and_the_rest_done(declined: Step) -> None:
    world = World()
    report, _ = await run(world, declines=(declined,))
    assert world.posts == 1
    assert report.steps[declined.value] == "declined"
    assert report.verified
    assert any(one.part == declined.value for one in report.not_asked())


async def test_a_refusal_of_the_ledger_ends_it_before_anything_is_sent() -> None:
    world = World(reserve_error=Refused(Code.HALTED, "the account is halted"))
    report, _ = await run(world)
    assert report.steps["place"] == "HALTED: the account is halted"
    assert (report.verified, report.last_words) == (True, "nothing was reserved")
    assert Endpoint.POST_ORDER not in world.requests


async def test_a_refusal_of_the_venue_is_told_and_nothing_is_posted_again() -> None:
    world = World(refuses_order=True)
    report, asked = await run(world)
    assert "NOT_ENOUGH_BALANCE" in report.steps["place"]
    assert [step.step for step in asked] == [Step.PLACE]
    assert world.posts == 0
    assert report.verified


async def test_an_order_that_filled_is_not_posted_again() -> None:
    world = World(fills=True)
    report, _ = await run(world)
    assert world.posts == 0
    assert (report.verified, report.last_words) == (True, "the order is FILLED")


# --- that nothing is left --------------------------------------------------------------------------


async def test_a_reservation_of_unknown_fate_is_found_by_its_key_and_ended() -> None:
    lost = DatabaseProblem(Code.NOT_DURABLE, "the connection broke in COMMIT")
    world = World(reserve_error=lost, reserved_anyway=True)
    report, _ = await run(world)
    assert report.order_id == 7
    assert report.verified
    assert world.status == "CANCELED"


async def test_a_venue_that_ignores_cancels_is_told_loudly() -> None:
    world = World(deaf_to_cancels=True)
    report, _ = await run(world)
    assert not report.verified
    assert report.last_words.startswith("NOT VERIFIED: order 7")
    assert str(the_order().expires_at_s) in report.last_words
    assert world.deletes > 1
    assert report.steps["clean_up"] == "NOT VERIFIED"
    assert report.to_json()["ok"] is False


async def test_a_database_that_goes_away_does_not_keep_the_venue_from_being_asked() -> None:
    world = World()
    asked: list[Step] = []

    async def consent(step: Planned) -> bool:
        asked.append(step.step)
        world.database_away = step.step is Step.REPOST_LIVE
        return True

    ports = Ports(world.clock, SeededRng(3), AsyncioTasks())
    test = LiveTest(world, world, ports, consent, signature_type=3, tell=lambda _: None)
    report = await test.run(the_order())
    assert not report.verified
    assert "DATABASE_UNREACHABLE" in report.last_words
    assert report.steps["repost_cancelled"].startswith("DATABASE_UNREACHABLE")
    assert asked == [Step.PLACE, Step.REPOST_LIVE]
    assert world.status == "CANCELED"
    assert world.deletes >= 1


@pytest.mark.parametrize("at", [Step.REPOST_LIVE, Step.REPOST_CANCELLED])
async def test_an_interrupt_still_cancels_and_verifies(at: Step) -> None:
    world = World()
    reached = asyncio.Event()

    async def consent(step: Planned) -> bool:
        if step.step is at:
            reached.set()
            await asyncio.Event().wait()
        return True

    ports = Ports(world.clock, SeededRng(3), AsyncioTasks())
    test = LiveTest(world, world, ports, consent, signature_type=3, tell=lambda _: None)
    running = asyncio.ensure_future(test.run(the_order()))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.status == "CANCELED"
    assert world.state == "CANCELLED"
    assert world.requests[-1] is Endpoint.GET_ORDERS


def test_an_exchange_without_an_answer_is_no_refusal() -> None:
    assert silent(Endpoint.POST_ORDER).phase is Phase.SENDING
