"""Workers as processes: two at once, killed, paused, stopped, and a database that goes away under them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from app.db import embedded
from tests.support.database import TestDatabase, migrated_template
from tests.support.life import SHARE, call
from tests.support.servers import in_thread, of_embedded
from tests.support.worker import (  # noqa: F401
    ROOT,
    Rig,
    open_rig,
    rig_fixture,
    until,
)

pytestmark = pytest.mark.acceptance


LAPSED: Final = "SELECT claimed_until < clock_timestamp() FROM ledger.outbox WHERE order_id = $1"


async def received(rig: Rig, order_id: int) -> int:
    """How often the venue received the bytes of an order."""
    return sum(row["times_received"] for row in await rig.at_venue(order_id))


async def test_two_workers_share_the_work_and_nothing_doubles(rig: Rig) -> None:
    slugs = [f"shared {n}" for n in range(40)]
    await rig.markets(*slugs)
    for _ in range(2):
        rig.start()
    await rig.until("SELECT count(*) FILTER (WHERE ready) = 2 FROM ledger.worker")
    orders = [
        await rig.reserve(slug, cents=90 if n % 4 == 0 else 5)
        for n, slug in enumerate(slugs)
        for _ in range(2)
    ]
    await rig.until(
        "SELECT count(*) = 0 FROM ledger.orders WHERE state NOT IN ('LIVE', 'FILLED')", within_s=30
    )
    shares = await rig.owner.fetch(
        "SELECT incarnation, count(*) FROM ledger.attempt GROUP BY 1 ORDER BY 2"
    )
    assert len(shares) == 2, f"both worked: {shares}"
    for order_id in orders:
        assert len(await rig.at_venue(order_id)) == 1
    await rig.until_resolved()
    await rig.check_sound()


async def test_a_worker_that_dies_is_replaced_within_its_lease(rig: Rig) -> None:
    first = rig.start(stop_at="send.before")
    order_id = await rig.reserve()
    await first.died()
    until_when = await rig.owner.fetchval("SELECT claimed_until FROM ledger.outbox")
    await rig.started()
    await rig.until_state(order_id, "LIVE")
    took = await rig.owner.fetchval(
        "SELECT extract(epoch FROM t.ended_at - greatest($2, (SELECT max(started_at) FROM ledger.worker)))::float "
        "FROM ledger.attempt t WHERE order_id = $1 AND outcome = 'lapsed'",
        order_id,
        until_when,
    )
    assert took < 1.5, "a sweep after its lease, or after the heir came"
    assert await received(rig, order_id) == 1
    await rig.check_sound()


async def test_a_takeover_sends_the_same_bytes_and_the_venue_calls_them_duplicated(
    rig: Rig,
) -> None:
    first = rig.start(stop_at="send.after")
    order_id = await rig.reserve()
    await first.died()
    await rig.fault("order", "null", order_id, times=4)
    await rig.fault("open_orders", "null", times=2)
    await rig.fault("events", "silent", times=1_000)
    await rig.started()
    await rig.until_state(order_id, "LIVE")
    assert await received(rig, order_id) > 1
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.attempt WHERE outcome = 'seen'")
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.signed_order") == 1
    await rig.check_sound()


async def test_sigterm_records_what_is_in_flight_and_gives_leases_back(rig: Rig) -> None:
    """Though the answer takes longer than its claim lives, and a colleague stands ready to take over."""
    worker = await rig.started(request_timeout_ms=20_000)
    await rig.fault("place", "delay", times=1, before_ms=1_200, after_ms=1_200)
    order_id = await rig.reserve()
    await rig.until("SELECT times = 0 FROM paper.fault")
    colleague = await rig.started()
    await worker.stop()
    attempts = await rig.owner.fetch("SELECT outcome FROM ledger.attempt")
    assert [row["outcome"] for row in attempts] == ["accepted"], "waited for, and recorded"
    assert (await rig.order(order_id))["state"] == "LIVE"
    assert await received(rig, order_id) == 1
    await colleague.stop()
    assert await rig.owner.fetchval("SELECT bool_and(holder IS NULL) FROM ledger.lease")
    assert await rig.owner.fetchval("SELECT bool_and(stopped_at IS NOT NULL) FROM ledger.worker")
    assert not await rig.owner.fetchval("SELECT bool_or(status = 'claimed') FROM ledger.outbox")
    await rig.check_sound()


async def test_a_second_signal_ends_a_worker_that_is_stuck(rig: Rig) -> None:
    worker = await rig.started(request_timeout_ms=60_000)
    await rig.fault("place", "delay", times=1, before_ms=60_000)
    order_id = await rig.reserve()
    await rig.until("SELECT times = 0 FROM paper.fault")
    worker.process.send_signal(signal.SIGTERM)
    await until(lambda: "STOPPING" in worker.said(), "it has heard the first")
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == -signal.SIGTERM
    await rig.started()
    await rig.until_state(order_id, "LIVE")
    assert await received(rig, order_id) == 1
    await rig.check_sound()


@pytest.mark.parametrize("held", ["public.ledger_alembic_version", "ledger.worker"])
async def test_sigterm_before_the_start_is_over_ends_a_worker_at_once(rig: Rig, held: str) -> None:
    """It waits for a table, to read its schema or to write its own row, and nobody gives that back."""
    order_id = await rig.reserve()
    async with rig.owner.acquire() as owner, owner.transaction():
        await owner.execute(f"LOCK TABLE {held} IN ACCESS EXCLUSIVE MODE")
        worker = rig.start()
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE relation = $1::regclass AND NOT granted"
        await rig.until(waits, held, tell=worker.said)
        await worker.stop()
        assert "STOPPING" in worker.said()
        assert "STARTED" not in worker.said()
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.worker WHERE NOT ready") == 0
    assert (await rig.order(order_id))["state"] == "RESERVED"
    await rig.started()
    await rig.until_state(order_id, "LIVE")


async def test_sigterm_ends_a_worker_that_has_only_just_begun(rig: Rig) -> None:
    order_id = await rig.reserve()
    for _ in range(3):
        await rig.start().stop()
    assert len(await rig.at_venue(order_id)) <= 1
    standing = "SELECT count(*) FROM ledger.worker WHERE stopped_at IS NULL"
    assert await rig.owner.fetchval(standing) == 0


@pytest.mark.parametrize("colleague", [False, True], ids=["alone", "with a colleague"])
async def test_a_paused_process_that_wakes_after_its_send_by_sends_nothing(
    rig: Rig, colleague: bool
) -> None:
    sleeper = await rig.started(pause_at="open.after")
    order_id = await rig.reserve(valid_for_ms=2_500)
    await sleeper.paused()
    attempt = "SELECT send_by < clock_timestamp() FROM ledger.attempt WHERE order_id = $1"
    await rig.until(attempt, order_id)
    other = await rig.started() if colleague else None
    if other:
        # by a slow start of the colleague its absence may have been proven by now as well
        lapsed = "SELECT outcome = 'lapsed' FROM ledger.attempt WHERE order_id = $1"
        await rig.until(lapsed, order_id)
    sleeper.go_on()
    await until(lambda: "ATTEMPT_DROPPED" in sleeper.said(), "it drops the attempt")
    # by now its validity is over, so that nothing else may send it either
    await rig.until_state(order_id, "NOT_PLACED")
    assert await received(rig, order_id) == 0, "no byte left"
    await sleeper.stop()
    if other:
        await other.stop()
        assert await rig.owner.fetchval(
            "SELECT count(*) FROM ledger.evidence WHERE kind = 'refused_completion'"
        )
    await rig.check_sound()


async def test_a_zombie_s_late_answer_is_refused_and_kept_as_evidence(rig: Rig) -> None:
    zombie = rig.start(pause_at="send.after")
    order_id = await rig.reserve()
    await zombie.paused()
    await rig.until(LAPSED, order_id)
    heir = await rig.started()
    await rig.until_state(order_id, "LIVE")
    before = await rig.state()
    zombie.go_on()
    await rig.until("SELECT count(*) > 0 FROM ledger.evidence WHERE kind = 'refused_completion'")
    await until(lambda: "RECORD_REFUSED" in zombie.said(), "the zombie hears of it")
    assert (await rig.state())["orders"] == before["orders"]
    assert (await rig.state())["attempt"] == before["attempt"]
    assert len(await rig.at_venue(order_id)) == 1
    await zombie.stop()
    await heir.stop()
    await rig.check_sound()


async def test_a_zombie_wakes_before_the_heir_has_looked(rig: Rig) -> None:
    """It was paused for longer than its lease, and nobody judged its claim meanwhile."""
    zombie = rig.start(pause_at="send.after")
    order_id = await rig.reserve()
    await zombie.paused()
    await rig.until(LAPSED, order_id)
    zombie.go_on()
    await rig.until_state(order_id, "LIVE")
    await zombie.stop()
    assert await received(rig, order_id) == 1
    await rig.check_sound()


async def test_a_paused_reader_of_the_stream_is_replaced_and_does_no_harm(rig: Rig) -> None:
    slow = await rig.started()
    holder = (
        "SELECT holder FROM ledger.lease WHERE name = 'stream:main' AND until > clock_timestamp()"
    )
    first = await rig.until(holder)
    slow.pause()
    other = await rig.started()
    second = await rig.until(f"SELECT x.holder FROM ({holder}) x WHERE x.holder <> $1", first)
    assert second != first
    order_id = await rig.reserve(cents=90)
    await rig.until_state(order_id, "FILLED")
    slow.go_on()
    again = await rig.reserve("m2", cents=90)
    await rig.until_state(again, "FILLED")
    await rig.until_resolved()
    await slow.stop()
    await other.stop()
    await rig.check_sound()


# --- the database --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_worker_survives_the_crash_of_its_database(tmp_path: Path) -> None:
    """Killed while orders are on their way, started again; durable, so with fsync."""
    with embedded.throwaway(fsync=True) as server:
        tested = of_embedded(server, server_credentials(tmp_path))
        with migrated_template(tested) as template:
            tested.run(f"ALTER DATABASE {template} ALLOW_CONNECTIONS true")
            database = TestDatabase(template, tested)
            async with open_rig(database, tmp_path) as rig:
                slugs = [f"crash {n}" for n in range(12)]
                await rig.account()
                await rig.markets(*slugs, "last")
                await rig.no_burst_limits()
                worker = await rig.started()
                orders: list[int] = []
                for round_ in range(2):
                    # held at the venue, so that the database dies with answers on their way
                    await rig.fault("place", "delay", times=100, before_ms=150, after_ms=150)
                    some = slugs[round_ * 6 : round_ * 6 + 6]
                    orders += [await rig.reserve(slug) for slug in some]
                    await rig.until(
                        "SELECT count(*) > 0 FROM ledger.orders WHERE state = 'SENDING'"
                    )
                    in_thread(lambda: embedded.stop(server.config, "immediate"))
                    assert worker.process.poll() is None, worker.said()
                    in_thread(lambda: embedded.start(server.config))
                    await rig.owner.expire_connections()
                    await rig.venue.faults.clear()
                    for order_id in orders:
                        await rig.until_state(order_id, "LIVE", within_s=40)
                last = await rig.reserve("last", cents=90)
                await rig.until_state(last, "FILLED", within_s=40)
                await rig.until_resolved()
                assert worker.process.poll() is None, worker.said()
                await worker.stop()
                for order_id in orders:
                    assert len(await rig.at_venue(order_id)) == 1
                await rig.check_sound()


def server_credentials(folder: Path):  # type: ignore[no-untyped-def]
    from app.db.credentials import Credentials

    return Credentials(folder / "credentials.json")


WRITER = """
import asyncio, json, sys
import asyncpg

async def main(url, name):
    conn = await asyncpg.connect(url)
    print("up", flush=True)
    n = 0
    while True:
        n += 1
        await conn.fetchval("SELECT ledger.reserve_pending($1)", json.dumps([
            {"account": "main", "market": f"m{1 + n % 4}", "outcome": str(n % 2), "side": "BUY",
             "price_micros": 50000, "size_micros": 5000000, "key": f"{name} {n} {i}"} for i in range(3)]))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_writers_killed_in_the_middle_of_reserving_leave_all_of_an_intent_or_nothing(
    rig: Rig,
) -> None:
    for name in ("max_outcome_micros", "max_market_micros"):
        await rig.limit(name, None)
    await call(
        rig.owner, "book_movement", "main", "collateral", 10**6 * SHARE, "deposit", "more", "test"
    )
    for round_ in range(3):
        before = await rig.owner.fetchval("SELECT count(*) FROM ledger.orders")
        writers = [
            subprocess.Popen(  # noqa: ASYNC220 - it does not wait for them
                [sys.executable, "-c", WRITER, rig.database.url_for("worker"), f"{round_}-{n}"],
                stdout=subprocess.DEVNULL,
            )
            for n in range(3)
        ]
        try:
            # each round dies at another moment of whatever the writers are in then
            await rig.until("SELECT count(*) > $1 FROM ledger.orders", before + 60 + 31 * round_)
        finally:
            for writer in writers:
                writer.kill()
            for writer in writers:
                writer.wait()
    await rig.until(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = $1 AND query LIKE '%reserve_pending%'",
        rig.database.server.role_prefix + "worker",
    )
    uneven = await rig.owner.fetch(
        "SELECT o.order_id FROM ledger.orders o WHERE "
        "(SELECT count(*) FROM ledger.reservation r WHERE r.order_id = o.order_id) <> 1 OR "
        "(SELECT count(*) FROM ledger.outbox b WHERE b.order_id = o.order_id) <> 1 OR "
        "(SELECT count(*) FROM ledger.idempotency_key k WHERE k.subject_id = o.order_id) <> 1 OR "
        "(SELECT count(*) FROM ledger.journal j WHERE j.order_id = o.order_id AND j.event = 'RESERVE') <> 1 OR "
        "(SELECT count(*) FROM ledger.balance_entry e WHERE e.order_id = o.order_id) <> 1"
    )
    assert uneven == []
    # each call was one commit: of its three intents all are there, or none
    torn = await rig.owner.fetch(
        "SELECT left(key, -2), count(*) FROM ledger.orders GROUP BY 1 HAVING count(*) <> 3"
    )
    assert torn == []
    await rig.check_sound()
