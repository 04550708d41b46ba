"""A worker that keeps the simulated Polymarket's dead-man switch: nothing leaves without it, and keepers may die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.database import TestDatabase
from tests.support.database_door import database_door
from tests.support.polymarket_rig import PolymarketRig, pm_fixture, polymarket_rig
from tests.support.worker import until
from workers.worker import heart, polymarket_host

__all__ = ["pm_fixture"]

BEATS = "POST /v1/heartbeats"


async def gate(pm: PolymarketRig) -> str | None:
    found: str | None = await pm.owner.fetchval(
        "SELECT ledger._gate(account_id, true) FROM ledger.account"
    )
    return found


async def until_later(pm: PolymarketRig, ms: int) -> None:
    """The venue's clock has gone on by ``ms``: what it had to do by then is done."""
    since_ms = pm.simulator.see("state")["at_ms"]
    await until(
        lambda: pm.simulator.see("state")["at_ms"] - since_ms > ms,
        f"the venue is {ms} ms older",
        within_s=30,
    )


async def until_beaten(pm: PolymarketRig) -> None:
    """A beat that was sent after this call was accepted."""
    await pm.until(
        "SELECT ok_at > $1 FROM ledger.pulse WHERE kind = 'heartbeat'",
        await pm.owner.fetchval("SELECT ledger.clock()"),
    )


async def test_the_heartbeat_is_registered_before_the_first_order_leaves(pm: PolymarketRig) -> None:
    pm.simulator.fault("http_error", endpoint=BEATS, times=0)
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    async with pm.inside(heartbeat=True):
        await pm.until("SELECT EXISTS (SELECT FROM ledger.worker WHERE ready)")
        await pm.until("SELECT problem IS NOT NULL FROM ledger.pulse WHERE kind = 'heartbeat'")
        await pm.until("SELECT ok_at IS NOT NULL FROM ledger.pulse WHERE kind = 'stream'")
        assert await gate(pm) == "HEARTBEAT_LOST"
        assert (await pm.order(order_id))["state"] == "RESERVED"
        pm.simulator.do("no_fault")
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    beat_at, order_at = await pm.owner.fetchrow(
        "SELECT min(at) FILTER (WHERE path = '/v1/heartbeats' AND status = 200),"
        " min(at) FILTER (WHERE path LIKE '/order%' AND method = 'POST') FROM ledger.venue_exchange"
    )
    assert beat_at < order_at
    await pm.check_against_venue()


async def test_without_the_setting_nothing_beats(pm: PolymarketRig) -> None:
    """Once begun there is no way back: it must not begin by itself."""
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
    asked = await pm.owner.fetchval(
        "SELECT count(*) FROM ledger.venue_exchange WHERE path = '/v1/heartbeats'"
    )
    assert asked == 0


async def test_the_chain_is_taken_up_by_another_worker_when_its_keeper_is_killed(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, heartbeat_ms=7_000) as pm:
        keeper = await pm.started(heartbeat=True)
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        known = await pm.incarnations()
        other = pm.start(heartbeat=True)
        heir = await pm.ready(known, other)
        term = await pm.owner.fetchval("SELECT term FROM ledger.pulse WHERE kind = 'heartbeat'")
        await keeper.kill()
        await pm.until(
            "SELECT term > $1 AND ok_at > ledger.clock() - interval '2 seconds' "
            "FROM ledger.pulse WHERE kind = 'heartbeat'",
            term,
            tell=other.said,
        )
        await until_later(pm, 7_500)
        assert (await pm.book(order_id))["status"] == "LIVE"
        assert (await pm.order(order_id))["state"] == "LIVE"
        first = await pm.owner.fetchval(
            "SELECT request FROM ledger.venue_exchange WHERE path = '/v1/heartbeats' "
            "AND incarnation = $1 ORDER BY exchange_id LIMIT 1",
            heir,
        )
        assert first != '{"heartbeat_id":""}', "it began a chain of its own"
        await pm.check_against_venue()


async def test_a_beat_whose_answer_was_lost_is_made_good_with_the_id_that_is_due(
    pm: PolymarketRig,
) -> None:
    """The venue took it and expects the next id, which nobody heard: its refusal says which."""
    async with pm.inside(heartbeat=True):
        await pm.trading()
        number = pm.simulator.fault("drop_after", endpoint=BEATS)
        await pm.until_struck(number)
        await until_beaten(pm)
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    statuses = await pm.owner.fetch(
        "SELECT status FROM ledger.venue_exchange WHERE path = '/v1/heartbeats' AND phase = 'done' "
        "ORDER BY exchange_id"
    )
    assert [row["status"] for row in statuses].count(400) == 1
    await pm.check_against_venue()


async def test_a_venue_that_forgot_the_chain_gets_a_new_one(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Nobody beat for too long: what stood is cancelled, and the next beat names an id nobody expects."""
    async with polymarket_rig(database, tmp_path, heartbeat_ms=2_500) as pm:
        async with pm.inside(heartbeat=True):
            await pm.trading()
            order_id = await pm.reserve(cents=5)
            await pm.until_state(order_id, "LIVE")
            silent = pm.simulator.fault("drop_before", endpoint=BEATS, times=0)
            await pm.until_venue(order_id, "CANCELED")
            await pm.until_state(order_id, "CANCELLED")
            pm.simulator.do("no_fault", number=silent)
            await until_beaten(pm)
            after = await pm.reserve(cents=5)
            await pm.until_state(after, "LIVE")
            await pm.until_settled()
        await pm.check_against_venue()


async def test_nothing_is_sent_while_the_last_accepted_beat_is_too_old(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers freeze: placements stop at the grace, cancels go on, and the first good beat ends it."""
    assert heart.GRACE_MS == 7_000
    monkeypatch.setattr(polymarket_host, "HEART_GRACE_MS", 2_500)
    async with pm.inside(heartbeat=True):
        await pm.trading()
        resting = await pm.reserve(cents=5)
        await pm.until_state(resting, "LIVE")
        frozen = pm.simulator.fault("hang", endpoint=BEATS, times=0)
        await pm.until("SELECT ledger._gate(account_id, true) IS NOT NULL FROM ledger.account")
        assert await gate(pm) == "HEARTBEAT_LOST"
        waiting = await pm.reserve(cents=5, valid_for_ms=60_000)
        await pm.cancel(resting)
        await pm.until_state(resting, "CANCELLED")
        assert (await pm.order(waiting))["state"] == "RESERVED"
        assert await pm.venue_orders(waiting) == []
        pm.simulator.do("no_fault", number=frozen)
        await pm.until_state(waiting, "LIVE")
        await pm.until_settled()
    late = await pm.owner.fetchval(
        "SELECT count(*) FROM ledger.attempt t WHERE NOT EXISTS (SELECT FROM ledger.venue_exchange x "
        "WHERE x.path = '/v1/heartbeats' AND x.status = 200 "
        "AND x.at BETWEEN t.opened_at - interval '2.5 seconds' AND t.opened_at)"
    )
    assert late == 0
    assert (await pm.arrivals(waiting))["received"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize("how", ["does not answer", "refuses"])
async def test_beating_goes_on_while_the_database_is_away(
    database: TestDatabase, tmp_path: Path, how: str
) -> None:
    """Its outage must not cancel the orders. It answers again, and trading goes on."""
    async with polymarket_rig(database, tmp_path, heartbeat_ms=5_000) as pm:
        async with (
            database_door(database.url_for("worker")) as door,
            pm.inside(heartbeat=True, database_url=door.url),
        ):
            await pm.trading()
            order_id = await pm.reserve(cents=5)
            await pm.until_state(order_id, "LIVE")
            await until_beaten(pm)
            if how == "refuses":
                door.cut()
            else:
                door.shut()
            await until_later(pm, 8_000)
            assert (await pm.book(order_id))["status"] == "LIVE"
            door.open()
            await until_beaten(pm)
            after = await pm.reserve(cents=5)
            await pm.until_state(after, "LIVE")
            await pm.until_settled()
        assert (await pm.order(order_id))["state"] == "LIVE"
        await pm.check_against_venue()


async def test_a_beat_that_the_database_hears_of_late_is_as_old_as_it_is(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was on the way while the database stood still: taken for fresh, it would let orders leave
    seconds after the venue last heard a beat.
    """
    monkeypatch.setattr(polymarket_host, "HEART_GRACE_MS", 2_500)
    async with (
        polymarket_rig(database, tmp_path) as pm,
        database_door(database.url_for("worker")) as door,
        pm.inside(heartbeat=True, database_url=door.url),
    ):
        await pm.trading()
        await until_beaten(pm)
        door.shut()
        await until_later(pm, 1_500)
        frozen = pm.simulator.fault("hang", endpoint=BEATS, times=0)
        await pm.until_struck(frozen)
        last_possible = await pm.owner.fetchval("SELECT ledger.clock()")
        await until_later(pm, 3_000)
        door.open()
        await pm.until("SELECT problem IS NOT NULL FROM ledger.pulse WHERE kind = 'heartbeat'")
        ok_at = await pm.owner.fetchval("SELECT ok_at FROM ledger.pulse WHERE kind = 'heartbeat'")
        assert ok_at <= last_possible


async def test_orders_that_the_venue_cancelled_while_no_worker_ran_are_cancelled_in_the_ledger(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, heartbeat_ms=3_000) as pm:
        async with pm.inside(heartbeat=True):
            await pm.trading()
            order_ids = [await pm.reserve(cents=5) for _ in range(2)]
            for order_id in order_ids:
                await pm.until_state(order_id, "LIVE")
        for order_id in order_ids:
            await pm.until_venue(order_id, "CANCELED")
            assert (await pm.order(order_id))["state"] == "LIVE"
        async with pm.inside(heartbeat=True):
            for order_id in order_ids:
                await pm.until_state(order_id, "CANCELLED")
            await pm.until_settled()
        held = await pm.owner.fetchval("SELECT sum(held_micros) FROM ledger.reservation")
        assert held == 0
        await pm.check_against_venue()
