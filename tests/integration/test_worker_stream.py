"""The user stream, the wake-ups, and what makes good for both when they fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from app.errors import Code, DatabaseProblem
from app.ledger.wake import OUTBOX_CHANNEL
from tests.support.life import SHARE, call
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker import stream, wake
from workers.worker.context import Context


async def test_what_a_silent_stream_does_not_tell_is_found_by_comparing(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside(reconcile_every_s=1):
        await rig.until_state(order_id, "LIVE")
        await rig.fault("events", "silent", times=10_000)
        await rig.fill_at_venue("m1", cents=4)
        await rig.until_state(order_id, "FILLED")
        await rig.until_resolved()
        # by a run whose first look fell between its two reads, it is the order that differs
        kinds = ["trade_missing", "order_not_listed"]
        await rig.until("SELECT count(*) > 0 FROM audit.drift WHERE kind = ANY ($1)", kinds)
    assert (await rig.order(order_id))["confirmed_micros"] == 5 * SHARE
    await rig.check_sound()


async def test_events_stored_and_not_applied_are_applied_once_at_the_next_start(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.until_stream_is_read()
    await rig.fill_at_venue("m1", cents=4)
    events = await rig.owner.fetch(
        "SELECT seq, payload FROM paper.event WHERE seq > "
        "(SELECT position FROM ledger.cursor WHERE name = 'stream') ORDER BY seq"
    )
    stored = [{"event_id": f"paper-{row['seq']}", "raw": row["payload"]} for row in events]
    assert await call(rig.owner, "store_events", "main", stored) == len(stored) > 0
    # the venue itself is silent now: what is known of the fill is what was stored
    await rig.fault("trades", "unread", times=10_000)
    await rig.fault("events", "silent", times=10_000)
    async with rig.inside():
        await rig.until_state(order_id, "FILLED")
        await rig.venue.faults.clear()
        await rig.until_resolved()
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.fill") == 1
    await rig.check_sound()


async def test_an_event_that_cannot_be_read_is_a_dead_letter_and_holds_up_none(rig: Rig) -> None:
    order_id = await rig.reserve(cents=90)
    broken = [
        {"event_id": "paper-900001", "raw": "{"},
        {"event_id": "paper-900002", "raw": json.dumps({"event_type": "trade"})},
        {"event_id": "paper-x", "raw": "null"},
    ]
    await call(rig.owner, "store_events", "main", broken)
    async with rig.inside():
        await rig.until_state(order_id, "FILLED")
    letters = await rig.owner.fetch("SELECT subject FROM ledger.dead_letter ORDER BY subject")
    assert [row["subject"] for row in letters] == [one["event_id"] for one in broken]


async def test_an_end_that_the_stream_told_and_no_read_could_prove_is_taken_up_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays unapplied until the order could be read: nothing else would end the order for long."""
    monkeypatch.setattr(stream, "RETRY_OLDER_MS", 300)
    order_id = await rig.reserve()
    async with rig.inside(reconcile_every_s=3_600):
        await rig.until_state(order_id, "LIVE")
        await rig.until_stream_is_read()
        before = await rig.owner.fetchval("SELECT count(*) FROM ledger.venue_event")
        await rig.fault("order", "unread", times=10_000)
        await rig.venue.cancel("main", [(await rig.order(order_id))["venue_order_id"]])
        told = "FROM ledger.venue_event WHERE applied_at IS NULL AND problem IS NULL"
        await rig.until("SELECT count(*) > $1 FROM ledger.venue_event", before)
        # and again, and again
        await rig.until("SELECT times < 9997 FROM paper.fault WHERE op = 'order'")
        assert await rig.owner.fetchval(f"SELECT count(*) {told}") == 1
        assert (await rig.order(order_id))["state"] == "LIVE"
        await rig.venue.faults.clear()
        await rig.until_state(order_id, "CANCELLED", within_s=10)
        await rig.until(f"SELECT count(*) = 0 {told}")
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.dead_letter") == 0
    await rig.check_sound()


async def test_the_stream_is_taken_up_where_it_was_left(rig: Rig) -> None:
    first = await rig.reserve("m1", cents=90)
    async with rig.inside():
        await rig.until_state(first, "FILLED")
        await rig.until_resolved()
        await rig.until_stream_is_read()
    seen = await rig.owner.fetchval("SELECT count(*) FROM ledger.venue_event")
    second = await rig.reserve("m2", cents=90)
    async with rig.inside():
        await rig.until_state(second, "FILLED")
        await rig.until_resolved()
        await rig.until_stream_is_read()
    told = await rig.owner.fetchval("SELECT count(*) FROM paper.event")
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.venue_event") == told > seen
    await rig.check_sound()


async def latency_ms(rig: Rig, order_id: int) -> float:
    await rig.until_state(order_id, "LIVE")
    return float(
        await rig.owner.fetchval(
            "SELECT extract(epoch FROM t.opened_at - o.created_at) * 1000 FROM ledger.orders o "
            "JOIN ledger.attempt t USING (order_id) WHERE order_id = $1",
            order_id,
        )
    )


LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'ledger wake'"
)


async def test_a_wake_up_shortens_the_wait(rig: Rig) -> None:
    async with rig.inside(poll_ms=8_000) as context:
        await until(lambda: context.shared.ready, "the account is ready")
        await rig.until(LISTENERS)
        await rig.until(
            "SELECT bool_or(query LIKE 'LISTEN%') FROM pg_stat_activity "
            "WHERE datname = current_database()"
        )
        order_id = await rig.reserve()
        await rig.owner.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        assert await latency_ms(rig, order_id) < 4_000


async def test_a_wake_up_lets_cancels_leave_too_and_takes_nothing_from_placements(rig: Rig) -> None:
    """Asked for before a new order, a cancel does not wait for its poll while the order leaves at once."""
    async with rig.inside(poll_ms=8_000) as context:
        await until(lambda: context.shared.ready, "the account is ready")
        await rig.until(LISTENERS)
        await rig.until(
            "SELECT bool_or(query LIKE 'LISTEN%') FROM pg_stat_activity "
            "WHERE datname = current_database()"
        )
        first = await rig.reserve()
        await rig.owner.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        await rig.until("SELECT state = 'LIVE' FROM ledger.orders WHERE order_id = $1", first)
        await rig.cancel(first)
        second = await rig.reserve(cents=4)
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await rig.owner.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        await rig.until(
            "SELECT bool_and(state IN ('LIVE', 'CANCELLED')) FROM ledger.orders "
            "WHERE order_id = ANY ($1)",
            [first, second],
        )
        await rig.until(
            "SELECT last_answer IS NOT NULL FROM ledger.cancel_request WHERE order_id = $1", first
        )
        assert loop.time() - asked_at < 4


async def test_a_lost_wake_up_only_delays_to_the_poll(rig: Rig) -> None:
    async with rig.inside(poll_ms=700) as context:
        await until(lambda: context.shared.ready, "the account is ready")
        await rig.until(LISTENERS)
        await rig.owner.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'ledger wake'"
        )
        order_id = await rig.reserve()
        await rig.owner.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        assert await latency_ms(rig, order_id) < 700 + 1_500


async def test_a_listening_session_whose_other_end_went_silent_is_made_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closes the socket, and nothing ever comes: as behind a firewall that forgot it."""
    if rig.database.server.embedded is None:
        pytest.skip("the server's processes are not on this machine")
    monkeypatch.setattr(wake, "CHECK_MS", 300)
    listening = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'ledger wake' AND pid <> $1"
    )
    async with rig.inside(poll_ms=8_000) as context:
        await until(lambda: context.shared.ready, "the account is ready")
        silent = await rig.until(listening, 0)
        os.kill(silent, signal.SIGSTOP)
        try:
            await rig.until(listening, silent, within_s=10)
            await rig.until(
                "SELECT bool_or(query LIKE 'LISTEN%' OR query = 'SELECT 1') FROM "
                "pg_stat_activity WHERE application_name = 'ledger wake' AND pid <> $1",
                silent,
            )
        finally:
            os.kill(silent, signal.SIGCONT)
        order_id = await rig.reserve()
        await rig.owner.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        assert await latency_ms(rig, order_id) < 4_000


@pytest.mark.filterwarnings("ignore::asyncpg.exceptions.InterfaceWarning")
@pytest.mark.parametrize("ends", ["worker", "paper venue"])
async def test_sessions_that_are_ended_are_made_anew(rig: Rig, ends: str) -> None:
    """An operator, a watchdog or a pooler ends the sessions of a running worker."""
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        for market in ("m1", "m2", "m3"):
            order_id = await rig.reserve(market)
            await rig.owner.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = $1",
                f"ledger {ends}",
            )
            await rig.until_state(order_id, "LIVE")
            assert len(await rig.at_venue(order_id)) == 1
    await rig.check_sound()


async def test_a_stream_that_recovered_starts_its_pauses_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hiccups hours apart are no outage: each is waited out for a moment, not for ever longer."""
    tries: list[int] = []

    def remember(_: Context, tried: int, **__: int) -> int:
        if tried:  # without a failure it is only how often something is looked at
            tries.append(tried)
        return 20

    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        value, stored = context.calls.value, [0]

        async def lose_every_other(function: str, *arguments: Any) -> Any:
            stored[0] += function == "store_events"
            if function == "store_events" and stored[0] % 2:
                raise DatabaseProblem(Code.NOT_DURABLE, "lost")
            return await value(function, *arguments)

        monkeypatch.setattr(context.calls, "value", lose_every_other)
        monkeypatch.setattr(Context, "backoff_ms", remember)
        for market in ("m1", "m2", "m3", "m4"):
            await rig.reserve(market)
            await rig.until(
                "SELECT count(*) > 0 FROM paper.venue_order v JOIN ledger.outcome o USING (token_id) "
                "JOIN ledger.market m USING (market_id) WHERE m.slug = $1",
                market,
            )
            await rig.until_stream_is_read()
    assert len(tries) >= 4
    assert set(tries) == {1}
