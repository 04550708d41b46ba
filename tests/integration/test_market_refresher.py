"""Markets from the venue into the ledger: what changes takes effect, what turns is stopped."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from app.config import Settings
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from app.markets.changes import plan
from app.markets.fetching import CLOB_MARKET, GAMMA_MARKETS, Reader
from app.markets.sync import Wanted
from app.observe.logs import get_logger
from tests.support.gamma import FakeVenue, answer, broken, condition
from tests.support.stepping import HastyClock, ports_on
from tests.support.trading import (
    World,
    buy,
    singly,
    world_fixture,  # noqa: F401 - the fixture
)
from workers.market_store import carry_out, stored_markets
from workers.markets_sync import sync_and_store
from workers.worker import points
from workers.worker.context import Context
from workers.worker.refresher import Refresher

EVENT = {"id": "77", "slug": "event", "title": "An event"}
OTHER = {"id": "78", "slug": "other", "negRisk": True, "negRiskAugmented": False}


@dataclass
class Desk:
    """A worker's view on the test's ledger and on a venue in memory."""

    world: World
    venue: FakeVenue
    context: Context
    reader: Reader
    clock: HastyClock

    @property
    def calls(self) -> LedgerCalls:
        return self.context.calls

    def refresher(self, incarnation: int = 1, **options: Any) -> Refresher:
        """Of the n-th worker."""
        context = replace(self.context, incarnation=uuid.UUID(int=incarnation))
        return Refresher(context, self.reader, **options)

    async def sync(self, wanted: Wanted | None = None) -> dict[str, Any]:
        return await sync_and_store(
            self.calls,
            self.reader,
            self.context.ports,
            wanted or Wanted(),
            get_logger("markets"),
        )

    async def passes(self, refresher: Refresher) -> list[dict[str, Any]]:
        """One pass; the lines it logged."""
        with capture_logs() as lines:
            assert await refresher.one_pass() is False
        return [dict(line) for line in lines]

    async def market(self, slug: str) -> Any:
        return await self.world.owner.fetchrow(
            "SELECT * FROM ledger.market WHERE condition_id = $1", condition(slug)
        )

    async def ask(self, slug: str, key: str, **options: Any) -> dict[str, Any]:
        (answered,) = await singly(self.world.owner, buy(key, market=slug, **options))
        return answered

    async def halts(self) -> list[Any]:
        return list(
            await self.world.owner.fetch(
                "SELECT m.slug, h.why, h.halt_id FROM ledger.halt h JOIN ledger.market m "
                "ON h.scope = 'market' AND h.scope_id = m.market_id::text "
                "WHERE h.cleared_at IS NULL ORDER BY m.slug"
            )
        )


@pytest.fixture(name="desk")
async def _desk(world: World) -> AsyncIterator[Desk]:
    """Markets a and b of one event and c of none, stored from the venue; no burst limits."""
    await world.open_limiter()
    async with desk_on(world) as desk:
        for slug in ("a", "b"):
            desk.venue.add(slug, gamma={"events": [EVENT]})
        desk.venue.add("c")
        await desk.sync()
        # the markets of other tests, which this venue does not list
        await world.owner.execute(
            "UPDATE ledger.market SET tradable = false, untradable_reasons = '{CLOSED}' "
            "WHERE slug IN ('m1', 'm2')"
        )
        yield desk


@asynccontextmanager
async def desk_on(world: World) -> AsyncIterator[Desk]:
    pool = await open_pool(
        world.database.url_for("worker"), role_hint="worker", min_size=1, max_size=2
    )
    clock = HastyClock()
    ports = ports_on(clock)
    venue = FakeVenue()
    calls = LedgerCalls(pool)
    context = Context(
        calls=calls,
        watch=calls,
        host=cast(Any, None),
        ports=ports,
        settings=Settings(),
        incarnation=uuid.UUID(int=1),
        log=get_logger("worker"),
        reached=points.nothing,
    )
    try:
        yield Desk(world, venue, context, Reader(venue, ports, tries=1), clock)
    finally:
        pool.terminate()


def named(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


# ------------------------------------------------------------------------------------- the command


async def test_markets_are_stored_as_the_import_stores_them_with_the_terms_of_the_clob(
    world: World,
) -> None:
    async with desk_on(world) as desk:
        desk.venue.add("a", gamma={"events": [EVENT]}, clob={"mts": 0.001, "mos": 15})
        desk.venue.add("b", clob={"missing": True})
        done = await desk.sync()
        assert json.loads(json.dumps(done)) == done
        assert (done["ok"], done["state"], done["created"], done["updated"]) == (
            True,
            "complete",
            2,
            0,
        )
        assert (done["markets"], done["tradable"]) == (2, 1)
        assert done["untradable_reasons"] == {"NO_CLOB_MARKET": 1}
        row = await desk.market("a")
        assert (row["tick_micros"], row["min_size_micros"], row["tradable"]) == (
            1_000,
            15_000_000,
            True,
        )
        assert (row["event_id"], row["event_title"]) == ("77", "An event")
        assert (await desk.market("b"))["untradable_reasons"] == ["NO_CLOB_MARKET"]
        again = await desk.sync()
        assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 2)
        admitted = await desk.ask("a", "k", price_micros=451_000, shares=15)
        assert admitted["status"] == "admitted"


async def test_an_incomplete_listing_stores_what_it_read_and_says_so(world: World) -> None:
    async with desk_on(world) as desk:
        for slug in ("a", "b", "c"):
            desk.venue.add(slug)
        desk.venue.faults[GAMMA_MARKETS] = [None, broken()]
        done = await desk.sync()
        assert (done["ok"], done["state"], done["created"]) == (False, "incomplete", 2)
        assert done["why"][0].startswith("page 2: ")


async def test_an_unread_clob_object_stores_a_new_market_untradable_and_touches_no_stored_one(
    desk: Desk,
) -> None:
    before = await desk.market("a")
    desk.venue.add("d")
    desk.venue.faults[CLOB_MARKET] = [broken()] * 4
    done = await desk.sync()
    assert (done["created"], done["updated"], done["unconfirmed"]) == (1, 0, 4)
    assert await desk.market("a") == before
    assert (await desk.market("d"))["untradable_reasons"] == ["CLOB_UNREAD"]
    await desk.sync()
    assert (await desk.market("d"))["tradable"] is True


# ------------------------------------------------------------------------------------ the refresher


async def test_a_changed_tick_and_minimum_take_effect_with_the_pass(desk: Desk) -> None:
    off_tick = {"price_micros": 451_000}
    assert (await desk.ask("a", "k1", **off_tick))["code"] == "OFF_TICK"
    desk.venue.clob[condition("a")] |= {"mts": 0.001, "mos": 15}
    lines = await desk.passes(desk.refresher())
    told = {line["what"]: line for line in named(lines, "MARKET_CHANGED")}
    assert told.keys() == {"TICK", "MIN_SIZE"}
    assert (told["TICK"]["before"], told["TICK"]["after"]) == ("10000", "1000")
    assert told["TICK"]["log_level"] == "info"
    assert (await desk.ask("a", "k2", shares=10, **off_tick))["code"] == "BELOW_MINIMUM"
    assert (await desk.ask("a", "k3", shares=15, **off_tick))["status"] == "admitted"
    (done,) = named(lines, "MARKETS_REFRESHED")
    assert (done["state"], done["markets"], done["changed"], done["stored"]) == (
        "complete",
        3,
        1,
        1,
    )


async def test_a_market_that_turns_neg_risk_stops_its_event_and_cancels_every_order_in_it(
    desk: Desk,
) -> None:
    waiting = await desk.ask("a", "waiting")
    live = await desk.ask("b", "live")
    elsewhere = await desk.ask("c", "elsewhere")
    await desk.world.mark_live(live["order_id"], elsewhere["order_id"])
    turned = {"id": "77", "negRisk": True, "negRiskAugmented": False}
    for market in desk.venue.markets[:1]:
        market |= {"negRisk": True, "events": [turned]}
    desk.venue.clob[condition("a")]["nr"] = True
    lines = await desk.passes(desk.refresher())

    (error,) = named(lines, "NEG_RISK_TURNED_ON")
    assert (error["log_level"], error["market"]) == ("error", condition("a"))
    halts = await desk.halts()
    assert [row["slug"] for row in halts] == ["a", "b"]
    states = dict(
        await desk.world.owner.fetch(
            "SELECT order_id, state || coalesce(' ' || cancel_reason, '') FROM ledger.orders"
        )
    )
    assert states[waiting["order_id"]].startswith("NOT_PLACED halted: market")
    assert states[live["order_id"]].startswith("LIVE halted: market")
    assert states[elsewhere["order_id"]] == "LIVE"
    due = await desk.world.owner.fetch("SELECT order_id FROM ledger.cancel_request")
    assert [row["order_id"] for row in due] == [live["order_id"]]
    assert (await desk.ask("a", "more"))["code"] == "HALTED"
    assert (await desk.ask("b", "more b"))["code"] == "HALTED"
    assert (await desk.ask("c", "more c"))["status"] == "admitted"
    row = await desk.market("a")
    assert (row["neg_risk"], row["tradable"]) == (True, True)

    later = await desk.passes(desk.refresher())
    assert named(later, "NEG_RISK_TURNED_ON") == []
    assert await desk.halts() == halts


async def test_a_pass_that_died_between_halt_and_storing_is_repeated_without_a_second_halt(
    desk: Desk,
) -> None:
    desk.venue.markets[2] |= {"negRisk": True, "events": [OTHER]}
    desk.venue.clob[condition("c")]["nr"] = True
    await desk.world.owner.fetchval(
        "SELECT ledger.set_halt('market', $1, 'NEG_RISK_ON: seen before', '')", condition("c")
    )
    lines = await desk.passes(desk.refresher())
    assert len(named(lines, "NEG_RISK_TURNED_ON")) == 1
    assert named(lines, "MARKET_HALTED") == []
    assert [row["slug"] for row in await desk.halts()] == ["c"]
    assert (await desk.market("c"))["neg_risk"] is True


async def test_a_person_who_resumes_is_not_overruled_by_the_next_pass(desk: Desk) -> None:
    desk.venue.markets[2] |= {"negRisk": True, "events": [OTHER]}
    desk.venue.clob[condition("c")]["nr"] = True
    await desk.passes(desk.refresher())
    (halt,) = await desk.halts()
    await desk.world.owner.fetchval(
        "SELECT ledger.clear_halt('market', $1, $2, 'looked at', 'me')",
        condition("c"),
        halt["halt_id"],
    )
    await desk.passes(desk.refresher())
    assert await desk.halts() == []
    assert (await desk.ask("c", "again"))["status"] == "admitted"


async def test_a_market_that_closes_moves_or_becomes_a_placeholder_is_stored_and_told(
    desk: Desk,
) -> None:
    a, b, c = desk.venue.markets
    a["closed"] = True
    b["endDate"] = "2035-03-01T15:00:00Z"
    c["negRiskOther"] = True
    lines = await desk.passes(desk.refresher())
    told = {(line["market"], line["what"]): line for line in named(lines, "MARKET_CHANGED")}
    assert told.keys() == {
        (condition("a"), "CLOSED"),
        (condition("b"), "END_MOVED"),
        (condition("c"), "PLACEHOLDER"),
        (condition("c"), "STOPPED"),
    }
    assert told[(condition("b"), "END_MOVED")]["log_level"] == "warning"
    assert (await desk.market("a"))["untradable_reasons"] == ["CLOSED"]
    assert (await desk.market("b"))["window_end"].hour == 15
    assert (await desk.ask("c", "k"))["code"] == "NOT_TRADABLE"
    # a market that is over is not asked for again, unless an order in it has not ended
    desk.venue.asked.clear()
    await desk.passes(desk.refresher())
    asked = [query["condition_ids"] for name, query in desk.venue.asked if name == GAMMA_MARKETS]
    assert asked
    assert all(set(ids) == {condition("b"), condition("c")} for ids in asked)


async def test_a_market_that_is_over_is_still_looked_at_while_an_order_in_it_lives(
    desk: Desk,
) -> None:
    live = await desk.ask("a", "live")
    await desk.world.mark_live(live["order_id"])
    desk.venue.markets[0]["closed"] = True
    await desk.passes(desk.refresher())
    assert condition("a") in {one.condition_id for one in await stored_markets(desk.calls)}


@pytest.mark.parametrize(
    ("endpoint", "faults"),
    [
        (GAMMA_MARKETS, [broken()] * 9),
        (GAMMA_MARKETS, [answer({"markets": []})] * 9),
        (CLOB_MARKET, [broken()] * 9),
        (CLOB_MARKET, [answer(None)] * 9),
    ],
)
async def test_what_cannot_be_read_changes_nothing_and_is_told(
    desk: Desk, endpoint: str, faults: list[Any]
) -> None:
    before = [await desk.market(slug) for slug in "abc"]
    for slug in "abc":
        desk.venue.clob[condition(slug)] |= {"mts": 0.001}
    desk.venue.faults[endpoint] = list(faults)
    lines = await desk.passes(desk.refresher())
    assert [await desk.market(slug) for slug in "abc"] == before
    told = {line["event"] for line in lines if line["log_level"] == "warning"}
    assert told <= {"REFRESH_INCOMPLETE", "CLOB_MARKETS_UNREAD", "MARKETS_NOT_LISTED"}
    assert told


async def test_one_worker_refreshes_at_a_time(desk: Desk) -> None:
    await desk.passes(desk.refresher(1))
    desk.venue.asked.clear()
    assert await desk.passes(desk.refresher(2)) == []
    assert desk.venue.asked == []
    await desk.passes(desk.refresher(1))
    assert desk.venue.asked


# --------------------------------------------------------------------------------- ticks at once


async def test_a_tick_told_by_the_stream_is_stored_without_asking_anybody(desk: Desk) -> None:
    refresher = desk.refresher()
    desk.venue.asked.clear()
    refresher.tick_changed(condition("a").upper().replace("X", "x"), 1_000)
    refresher.tick_changed("0x" + "99" * 32, 1_000)
    with capture_logs() as lines:
        refresher.tick_changed(condition("b"), 20_000)
        refresher.tick_changed("nonsense", 1_000)
        assert await refresher.tick_pass() is False
    told = [(line["event"], line.get("after")) for line in lines]
    assert told[:2] == [("TICK_UNUSABLE", None)] * 2
    assert sorted(told[2:], key=str) == [("TICK_CHANGED", 1_000), ("TICK_CHANGED", None)]
    assert desk.venue.asked == []
    row = await desk.market("a")
    assert (row["tick_micros"], row["tradable"], row["slug"]) == (1_000, True, "a")
    assert (await desk.ask("a", "k", price_micros=451_000))["status"] == "admitted"
    with capture_logs() as lines:
        await refresher.tick_pass()
    assert lines == []


async def test_a_market_with_a_tick_nobody_knows_is_not_tradable_until_a_known_one_is_told(
    desk: Desk,
) -> None:
    refresher = desk.refresher()
    refresher.tick_changed(condition("b"), 20_000)
    await refresher.tick_pass()
    row = await desk.market("b")
    assert (row["tradable"], row["untradable_reasons"]) == (False, ["BAD_TICK"])
    assert row["tick_micros"] == 10_000
    assert (await desk.ask("b", "k1"))["code"] == "NOT_TRADABLE"
    # The metadata are a cache, and still say the tick of before.
    await desk.passes(refresher)
    assert not (await desk.market("b"))["tradable"]
    refresher.tick_changed(condition("b"), 1_000)
    await refresher.tick_pass()
    row = await desk.market("b")
    assert (row["tradable"], row["untradable_reasons"]) == (True, [])
    assert row["tick_micros"] == 1_000
    assert (await desk.ask("b", "k2"))["status"] == "admitted"


async def test_a_market_with_a_tick_nobody_knows_is_tradable_again_when_the_metadata_settle(
    desk: Desk,
) -> None:
    refresher = desk.refresher()
    refresher.tick_changed(condition("b"), 20_000)
    await refresher.tick_pass()
    desk.clock.now_ns += 300_000_000_000
    await desk.passes(refresher)
    assert (await desk.market("b"))["tradable"]


async def test_metadata_does_not_go_back_on_a_tick_of_a_moment_ago_but_later_it_counts(
    desk: Desk,
) -> None:
    refresher = desk.refresher()
    refresher.tick_changed(condition("a"), 1_000)
    await refresher.tick_pass()
    await desk.passes(refresher)
    assert (await desk.market("a"))["tick_micros"] == 1_000
    desk.clock.now_ns += 300_000_000_000
    lines = await desk.passes(refresher)
    assert [line["what"] for line in named(lines, "MARKET_CHANGED")] == ["TICK"]
    assert (await desk.market("a"))["tick_micros"] == 10_000


async def test_writing_a_stored_market_again_changes_nothing_of_it(desk: Desk) -> None:
    before = [dict(await desk.market(slug)) for slug in "abc"]
    rows = [one.to_row() for one in await stored_markets(desk.calls)]
    await desk.calls.value("import_markets", rows)
    after = [dict(await desk.market(slug)) for slug in "abc"]
    for one in (*before, *after):
        one.pop("updated_at")
    assert after == before


async def test_a_plan_with_nothing_in_it_writes_nothing(desk: Desk) -> None:
    done = await carry_out(desk.calls, plan([], []), get_logger("x"))
    assert (done.created, done.updated, done.halted, done.cancels) == (0, 0, 0, 0)
