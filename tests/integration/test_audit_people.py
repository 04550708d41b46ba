"""What only a table said before: times at which the clock went back, and since when a lane goes on without its head."""

from __future__ import annotations

from tests.support.database import TestDatabase
from tests.support.life import Life, incarnation


async def test_the_auditor_sees_that_the_clock_went_back_who_found_it_and_what_is_not_sent(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    order_id = await life.reserved()
    await life.call("worker_started", incarnation(1), "first", "1")
    await life.clock.advance(-5_000)
    await life.call("worker_started", incarnation(2), "second", "1")
    auditor = await any_database.connect("auditor")
    [row] = await auditor.fetch("SELECT * FROM audit.clock_steps")
    assert (row["lost_ms"], row["last_order_id"]) == (5_000, order_id)
    assert (row["worker"], row["incarnation"]) == ("second", incarnation(2))
    assert row["found_at"] == life.clock.now


async def test_the_auditor_sees_since_when_a_lane_goes_on_without_its_head(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    order_id = await life.unknown()
    auditor = await any_database.connect("auditor")
    query = "SELECT status, released_at FROM audit.outbox WHERE order_id = $1"
    before = await auditor.fetchrow(query, order_id)
    assert before is not None
    assert (before["status"], before["released_at"]) == ("blocked", None)
    await life.clock.advance(1_000)
    assert await life.call("release_lane", "main", "m1", "go on", "ann") == 1
    after = await auditor.fetchrow(query, order_id)
    assert after is not None
    assert (after["status"], after["released_at"]) == ("released", life.clock.now)
    [change] = await auditor.fetch("SELECT at, as_whom, why FROM audit.changes WHERE kind = 'lane'")
    assert tuple(change) == (life.clock.now, "ann", "go on")
