"""A listing is read to its end or is called incomplete; each market is confirmed at the CLOB."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import BadInput, Code
from app.markets.fetching import (
    CLOB_MARKET,
    GAMMA_EVENTS,
    GAMMA_MARKETS,
    Absent,
    Got,
    Query,
    Reader,
    Unread,
    judge,
)
from app.markets.sync import Completeness, SyncReport, Wanted, sync_markets
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.gamma import FakeVenue, answer, broken, condition, gamma_market
from tests.support.stepping import HastyClock, ports_on
from workers.markets_sync import fetch_over

ALL = Wanted()


async def sync(venue: FakeVenue, wanted: Wanted = ALL, **options: Any) -> SyncReport:
    ports = ports_on(HastyClock())
    return await sync_markets(Reader(venue, ports, tries=1), ports, wanted, **options)


def nested(levels: int) -> dict[str, Any]:
    return {"raw": nested(levels - 1)} if levels else gamma_market("c")


def slugs(report: SyncReport) -> list[str]:
    return [str(one.slug) for one in report.markets]


async def test_every_page_is_read_and_every_market_confirmed() -> None:
    venue = FakeVenue.of("a", "b", "c", "d", "e")
    report = await sync(venue)
    assert (report.state, report.why, report.pages) == (Completeness.COMPLETE, (), 3)
    assert slugs(report) == ["a", "b", "c", "d", "e"]
    assert all(one.tradable for one in report.markets)
    assert [endpoint for endpoint, _ in venue.asked].count(CLOB_MARKET) == 5
    assert report.absent([condition("a"), condition("z")]) == frozenset({condition("z")})


async def test_a_short_or_empty_page_is_not_the_end() -> None:
    pages: dict[str, Any] = {
        "0": {"markets": [], "next_cursor": "1"},
        "1": {"markets": [gamma_market("a")], "next_cursor": "2"},
        "2": {"markets": [gamma_market("b")], "next_cursor": None},
    }

    async def fetch(endpoint: str, query: Query) -> Exchange:
        if endpoint == CLOB_MARKET:
            return answer({}, 404)
        return answer(pages[str(query.get("after_cursor", "0"))])

    ports = ports_on(HastyClock())
    report = await sync_markets(Reader(fetch, ports), ports, ALL)
    assert (report.state, report.pages, slugs(report)) == (Completeness.COMPLETE, 3, ["a", "b"])


async def test_a_cursor_that_comes_back_makes_the_listing_incomplete() -> None:
    venue = FakeVenue.of("a", "b", "c", "d", "e")
    looped = {"markets": [gamma_market("b")], "next_cursor": "2"}
    venue.faults[GAMMA_MARKETS] = [None, lambda _endpoint, _query: answer(looped)]
    report = await sync(venue)
    assert report.state is Completeness.INCOMPLETE
    assert report.why == ("page 2: its cursor was given before",)
    assert report.absent([condition("z")]) is None
    assert set(slugs(report)) == {"a", "b"}


@pytest.mark.parametrize(
    "fault",
    [
        broken(),
        broken(Phase.CONNECTING),
        answer({"error": "x"}, 500),
        answer({"error": "x"}, 404),
        answer([]),
        answer({"markets": None}),
        answer({"events": []}),
        answer({"markets": [gamma_market("c")], "next_cursor": ""}),
        answer({"markets": [gamma_market("c")], "next_cursor": 7}),
        Exchange(Endpoint.GET_TIME, Phase.DONE, 200, body=b"<html>"),
        Exchange(Endpoint.GET_TIME, Phase.DONE, 200, body=b"\xff"),
        answer({"markets": [nested(20)]}),
        Exchange(Endpoint.GET_TIME, Phase.DONE, 200, body=b"[" * 100_000),
    ],
)
async def test_a_page_that_breaks_keeps_what_was_read_and_concludes_nothing(
    fault: Exchange,
) -> None:
    venue = FakeVenue.of("a", "b", "c", "d")
    venue.faults[GAMMA_MARKETS] = [None, fault]
    report = await sync(venue)
    assert report.state is Completeness.INCOMPLETE
    assert report.why
    assert report.why[0].startswith("page 2: ")
    assert slugs(report)[:2] == ["a", "b"]
    assert report.absent([condition("d")]) is None


async def test_a_first_page_that_breaks_is_no_reading_at_all() -> None:
    venue = FakeVenue.of("a")
    venue.faults[GAMMA_MARKETS] = [broken()]
    report = await sync(venue)
    assert (report.state, report.markets, report.pages) == (Completeness.UNREAD, (), 0)


async def test_an_object_that_cannot_be_read_leaves_the_listing_incomplete() -> None:
    venue = FakeVenue.of("a")
    venue.markets.append(gamma_market("b", conditionId=...))
    report = await sync(venue)
    assert report.state is Completeness.INCOMPLETE
    assert report.why == ("1 objects could not be read",)
    assert [str(one.reason) for one in report.unreadable] == ["NO_CONDITION_ID"]
    assert slugs(report) == ["a"]


async def test_what_may_pass_is_tried_again_and_the_venue_says_when() -> None:
    venue = FakeVenue.of("a")
    limited = Exchange(
        Endpoint.GET_TIME, Phase.DONE, 429, headers={"retry-after": "7"}, body=b"slow down"
    )
    venue.faults[GAMMA_MARKETS] = [limited, broken(), None]
    clock = HastyClock()
    ports = ports_on(clock)
    report = await sync_markets(Reader(venue, ports), ports, ALL)
    assert report.state is Completeness.COMPLETE
    assert slugs(report) == ["a"]
    assert clock.slept[0] == 7
    assert 2 <= sum(clock.slept[1:]) <= 3, "a probe that fails is followed by a longer pause"


async def test_a_service_that_is_away_is_left_alone_and_a_reader_is_not_kept_waiting() -> None:
    venue = FakeVenue.of("a")
    venue.faults[GAMMA_MARKETS] = [broken() for _ in range(50)]
    clock = HastyClock()
    ports = ports_on(clock)
    reader = Reader(venue, ports, tries=1)
    reports = [await sync_markets(reader, ports, ALL) for _ in range(20)]
    assert {report.state for report in reports} == {Completeness.UNREAD}
    asked, slept = len(venue.asked), sum(clock.slept)
    assert 5 < asked < 20, "five failures in a row, then probes"
    assert slept < 60
    assert "left alone" in reports[-1].why[0]
    # and when it is back, the first probe finds out
    venue.faults[GAMMA_MARKETS] = []
    clock.now_ns += 60_000_000_000
    assert (await sync_markets(reader, ports, ALL)).state is Completeness.COMPLETE


async def test_what_is_refused_is_not_tried_again() -> None:
    venue = FakeVenue.of("a")
    venue.faults[GAMMA_MARKETS] = [answer({"error": "no"}, 400)]
    ports = ports_on(HastyClock())
    report = await sync_markets(Reader(venue, ports), ports, ALL)
    assert report.state is Completeness.UNREAD
    assert len(venue.asked) == 1


async def test_every_request_waits_for_its_pace() -> None:
    venue = FakeVenue.of("a", "b", "c")
    clock = HastyClock()
    ports = ports_on(clock)
    asked: list[str] = []
    waits = iter([0, 250, 100, 0] + [0] * 20)

    def pace(endpoint: str) -> int:
        asked.append(endpoint)
        return next(waits)

    await sync_markets(Reader(venue, ports, pace=pace), ports, ALL)
    assert clock.slept == [0.25, 0.1]
    assert asked[:4] == [GAMMA_MARKETS] * 4
    assert asked.count(CLOB_MARKET) == 3


async def test_no_more_markets_are_confirmed_at_once_than_allowed() -> None:
    venue = FakeVenue.of(*(f"m{n}" for n in range(30)), page=100)
    report = await sync(venue, concurrency=4)
    assert len(report.markets) == 30
    assert venue.most_under_way == 4


async def test_a_failure_of_ours_ends_the_reading_and_leaves_no_task() -> None:
    venue = FakeVenue.of("a", "b", "c")

    def planted(_endpoint: str, _query: Query) -> Exchange:
        raise ZeroDivisionError

    venue.faults[CLOB_MARKET] = [None, planted]
    before = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await sync(venue)
    assert asyncio.all_tasks() == before


async def test_terms_come_from_the_clob_and_a_market_it_does_not_know_is_not_traded() -> None:
    venue = FakeVenue.of("a")
    venue.add("b", clob={"mts": 0.001, "mos": 15, "fd": {"r": 0.05, "e": 1, "to": True}})
    venue.add("c", clob={"missing": True})
    venue.add("d", gamma={"orderPriceMinTickSize": ...})
    report = await sync(venue)
    a, b, c, d = report.markets
    assert (a.tick_micros, b.tick_micros, b.min_size_micros) == (10_000, 1_000, 15_000_000)
    assert b.fee_rate_micros == 50_000
    assert c.untradable_reasons == ("NO_CLOB_MARKET",)
    assert d.tradable
    assert report.state is Completeness.COMPLETE


@pytest.mark.parametrize("fault", [broken(), answer(None), answer([1]), answer({}, 403)])
async def test_a_market_whose_clob_object_was_not_read_stands_apart(fault: Exchange) -> None:
    venue = FakeVenue.of("a", "b")
    venue.faults[CLOB_MARKET] = [fault]
    report = await sync(venue, concurrency=1)
    assert slugs(report) == ["b"]
    (unread,) = report.unconfirmed
    assert (unread.slug, unread.untradable_reasons) == ("a", ("CLOB_UNREAD",))
    assert report.state is Completeness.COMPLETE
    assert report.absent([condition("a")]) == frozenset()


async def test_a_market_that_gamma_calls_over_costs_no_request_at_the_clob() -> None:
    venue = FakeVenue.of()
    venue.add("a", gamma={"closed": True})
    report = await sync(venue, Wanted(closed=None))
    assert [one.untradable_reasons for one in report.markets] == [("CLOSED",)]
    assert [endpoint for endpoint, _ in venue.asked] == [GAMMA_MARKETS, GAMMA_MARKETS]


def test_a_query_asks_for_full_pages_and_says_each_filter_once() -> None:
    assert ALL.queries() == [(GAMMA_MARKETS, "markets", {"limit": "100", "closed": "false"})]
    assert Wanted(tag="64860", closed=True, active=True).queries() == [
        (
            GAMMA_MARKETS,
            "markets",
            {"limit": "100", "tag_id": "64860", "active": "true", "closed": "true"},
        )
    ]
    assert Wanted(tag="esports").queries() == [
        (GAMMA_EVENTS, "events", {"limit": "100", "tag_slug": "esports", "closed": "false"})
    ]
    assert Wanted(event_slugs=("x", "y")).queries() == [
        (GAMMA_EVENTS, "events", {"limit": "100", "slug": ("x", "y"), "closed": "false"})
    ]
    assert Wanted(event_ids=("7",), closed=None).queries() == [
        (GAMMA_EVENTS, "events", {"limit": "100", "id": ("7",), "closed": closed})
        for closed in ("false", "true")
    ]
    assert Wanted(market_slugs=("m",)).queries()[0][2]["slug"] == ("m",)
    with pytest.raises(BadInput) as caught:
        Wanted(event_ids=("7",), market_slugs=("m",)).queries()
    assert caught.value.code is Code.BAD_REQUEST


async def test_many_ids_are_asked_for_in_parts_and_both_open_and_closed() -> None:
    venue = FakeVenue.of(*(f"m{n}" for n in range(120)), page=100)
    ids = tuple(condition(f"m{n}") for n in range(120))
    report = await sync(venue, Wanted(condition_ids=ids, closed=None))
    assert len(report.markets) == 120
    listings = [query for endpoint, query in venue.asked if endpoint == GAMMA_MARKETS]
    assert [len(query["condition_ids"]) for query in listings] == [50, 50, 50, 50, 20, 20]
    assert report.absent(ids) == frozenset()


async def test_a_filter_that_the_venue_ignores_widens_nothing() -> None:
    venue = FakeVenue.of("a")
    venue.add("b", gamma={"active": False})
    report = await sync(venue, Wanted(active=True))
    assert slugs(report) == ["a"]
    assert report.absent([condition("b")]) == frozenset()


async def test_an_event_gives_its_flags_to_the_markets_listed_in_it() -> None:
    venue = FakeVenue.of("a")
    report = await sync(venue, Wanted(event_slugs=("event",)))
    assert [(one.slug, one.event_id) for one in report.markets] == [("a", "1")]


def test_a_complete_answer_is_judged_by_status_and_body() -> None:
    assert judge(answer({"a": 1})) == Got({"a": 1})
    assert isinstance(judge(answer({"error": "no such"}, 404)), Absent)
    for one in (
        Exchange(Endpoint.GET_TIME, Phase.DONE, 404, body=b"<html>not here</html>"),
        answer("gone", 404),
        answer({}, 403),
        answer({}, 302),
        Exchange(Endpoint.GET_TIME, Phase.READING, 200, body=b"{}"),
    ):
        assert isinstance(judge(one), Unread)


async def test_the_words_for_endpoints_are_the_venues_and_placeholders_are_filled() -> None:
    assert (GAMMA_MARKETS, GAMMA_EVENTS, CLOB_MARKET) == (
        Endpoint.GET_GAMMA_MARKETS,
        Endpoint.GET_GAMMA_EVENTS,
        Endpoint.GET_CLOB_MARKET,
    )
    asked: list[tuple[str, Endpoint, str, dict[str, Any]]] = []

    def request(service: str) -> Any:
        async def one(endpoint: Endpoint, *, path: str, query: dict[str, Any]) -> Exchange:
            asked.append((service, endpoint, path, query))
            return answer({})

        return one

    fetch = fetch_over(request("gamma"), request("clob"))
    await fetch(GAMMA_MARKETS, {"limit": "100", "condition_ids": ("0x1", "0x2")})
    await fetch(CLOB_MARKET, {"condition": "0x12"})
    assert asked == [
        (
            "gamma",
            Endpoint.GET_GAMMA_MARKETS,
            "/markets/keyset",
            {"limit": "100", "condition_ids": ("0x1", "0x2")},
        ),
        ("clob", Endpoint.GET_CLOB_MARKET, "/clob-markets/0x12", {}),
    ]
    with pytest.raises(ValueError, match="no condition for a path"):
        await fetch(CLOB_MARKET, {"condition": "../order"})
