"""Comparisons with the venue are rows, and each of them ends, whoever is killed before it could say so."""

from __future__ import annotations

from typing import Any

from tests.support.life import Life, incarnation

LEASE_MS = 5_000
ALIVE_MS = 3 * LEASE_MS


async def start(life: Life, n: int) -> None:
    await life.call("worker_started", incarnation(n), "w", "1", LEASE_MS)


async def run(life: Life, n: int, kind: str = "start") -> int:
    return int(await life.call("start_run", "main", kind, incarnation(n)))


async def results(life: Life) -> list[str | None]:
    rows = await life.conn.fetch("SELECT * FROM ledger.reconcile_run ORDER BY run_id")
    assert all((row["ended_at"] is None) == (row["result"] is None) for row in rows)
    return [row["result"] for row in rows]


async def end(life: Life, run_id: int, result: str, *drift: dict[str, Any]) -> None:
    await life.call("end_run", run_id, result, {"account": "main"}, list(drift))


async def test_a_starting_worker_ends_the_comparisons_of_those_that_beat_no_more(
    life: Life,
) -> None:
    for n in (1, 2):
        await start(life, n)
        await run(life, n)
    await life.clock.advance(ALIVE_MS - 1)
    await life.call("beat", incarnation(2), LEASE_MS, None, None)
    await start(life, 3)
    assert await results(life) == [None, None], "both may be alive"
    await life.clock.advance(1)
    await start(life, 4)
    assert await results(life) == ["incomplete", None]
    reason = "SELECT detail ->> 'reason' FROM ledger.reconcile_run WHERE ended_at IS NOT NULL"
    assert "gone before it had ended" in await life.conn.fetchval(reason)


async def test_the_next_comparison_ends_those_of_a_worker_that_stopped_without_saying_how(
    life: Life,
) -> None:
    await start(life, 1)
    await run(life, 1)
    await life.call("worker_stopped", incarnation(1))
    await start(life, 2)
    await run(life, 2, "periodic")
    assert await results(life) == ["incomplete", None]


async def test_comparisons_beside_each_other_leave_each_other_alone(life: Life) -> None:
    await start(life, 1)
    await run(life, 1, "periodic")
    await run(life, 1, "reconnect")
    await run(life, 7, "once")
    await run(life, 8, "once")
    assert await results(life) == [None] * 4


async def test_a_single_comparison_does_not_beat_and_is_given_a_quarter_of_an_hour(
    life: Life,
) -> None:
    await run(life, 7, "once")
    await life.clock.advance(15 * 60_000)
    await start(life, 1)
    assert await results(life) == [None]
    await life.clock.advance(1)
    await run(life, 8, "once")
    assert await results(life) == ["incomplete", None]


async def test_who_comes_back_after_it_was_given_up_still_says_how_it_ended(life: Life) -> None:
    await start(life, 1)
    first = await run(life, 1)
    await life.clock.advance(ALIVE_MS)
    await start(life, 2)
    assert await results(life) == ["incomplete"]
    drift = {"kind": "k", "subject": "s", "ours": "a", "theirs": "b", "action": "none"}
    await end(life, first, "drift", drift)
    assert await results(life) == ["drift"]
    # but what has been said stands
    await end(life, first, "clean")
    assert await results(life) == ["drift"]
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.drift") == 1


async def test_only_beats_keep_a_worker_alive(life: Life) -> None:
    await start(life, 1)
    alive = "SELECT alive_until > ledger.clock() FROM ledger.worker"
    await life.clock.advance(ALIVE_MS - 1)
    assert await life.conn.fetchval(alive)
    await life.call("worker_ready", incarnation(1))
    await life.clock.advance(1)
    assert not await life.conn.fetchval(alive)
    await life.call("beat", incarnation(1), LEASE_MS, None, None)
    assert await life.conn.fetchval(alive)
