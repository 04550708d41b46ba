"""Receipts, stored events, cursors and leases: what makes every handler and every reader once-only."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.life import Life, incarnation

# ---- receipts


async def test_a_receipt_is_taken_once(life: Life) -> None:
    assert await life.call("take_receipt", "main", "bot", "event 1") is True
    assert await life.call("take_receipt", "main", "bot", "event 1") is False
    assert await life.call("take_receipt", "main", "other bot", "event 1") is True
    assert await life.call("take_receipt", "main", "bot", "event 2") is True


async def test_no_receipt_is_taken_for_an_account_that_is_not_there(life: Life) -> None:
    with pytest.raises(asyncpg.PostgresError, match="NOT_GRANTED"):
        await life.call("take_receipt", "nobody", "bot", "event 1")


async def test_a_receipt_falls_with_the_work_it_belongs_to(life: Life) -> None:
    transaction = life.conn.transaction()
    await transaction.start()
    assert await life.call("take_receipt", "main", "bot", "event 1") is True
    await transaction.rollback()
    assert await life.call("take_receipt", "main", "bot", "event 1") is True


async def test_events_are_stored_once_and_wait_until_they_are_applied(life: Life) -> None:
    events = [{"event_id": "b", "raw": "2"}, {"event_id": "a", "raw": "1"}]
    assert await life.call("store_events", "main", events) == 2
    assert await life.call("store_events", "main", events) == 0
    assert [e["event_id"] for e in await life.call("waiting_events", "main", 10)] == ["a", "b"]
    await life.conn.execute("SELECT ledger.mark_events('main', '{a}')")
    for _ in range(2):
        await life.conn.execute("SELECT ledger.mark_events('main', '{b}', 'cannot be read')")
    assert await life.call("waiting_events", "main", 10) == []
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.dead_letter") == 1
    letter = await life.conn.fetchval("SELECT dead_letter_id FROM ledger.dead_letter")
    assert await life.call("retry_dead_letter", letter) == "venue_event:b"
    assert await life.call("retry_dead_letter", letter) is None
    assert [e["event_id"] for e in await life.call("waiting_events", "main", 10)] == ["b"]


async def test_a_cursor_moves_only_forward(life: Life) -> None:
    assert [await life.call("move_cursor", "main", "trades", n) for n in (5, 3, 0, 7)] == [
        5,
        5,
        5,
        7,
    ]


async def test_a_lease_has_one_holder_and_a_growing_term(life: Life) -> None:
    first, second = incarnation(1), incarnation(2)
    assert await life.call("take_lease", "stream", first, 1_000) == 1
    assert await life.call("take_lease", "stream", second, 1_000) is None
    assert await life.call("take_lease", "stream", first, 1_000) == 1
    await life.clock.advance(1_000)
    assert await life.call("take_lease", "stream", second, 1_000) == 2
    assert await life.call("take_lease", "stream", first, 1_000) is None
    assert await life.call("drop_leases", second) == 1
    assert await life.call("take_lease", "stream", first, 1_000) == 3
