"""What was learned of the venue before a call queued for a lock does not grow younger in the queue.

A read may be an old story by the time the ledger gets round to it: the order may have ended, or the
quarantine may have passed, while it waited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from tests.support.life import QUARANTINE_MS, REQUEST_TIMEOUT_MS, SEND_BY_MS, SHARE, Item, Life

QUARANTINE_ENDS_MS = SEND_BY_MS + REQUEST_TIMEOUT_MS + QUARANTINE_MS


@asynccontextmanager
async def queued(
    life: Life, second: Life, call: Awaitable[Item]
) -> AsyncIterator[asyncio.Future[Item]]:
    """A call of the second session waits for the market's row, which the first holds meanwhile."""
    pid = second.conn.get_server_pid()
    async with life.conn.transaction():
        await life.conn.execute("SELECT FROM ledger.exposure FOR UPDATE")
        waiting = asyncio.ensure_future(call)
        async with asyncio.timeout(20):
            while not await life.conn.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid):
                assert not waiting.done(), waiting.result()
        yield waiting


async def test_a_read_that_queued_while_the_order_ended_reopens_nothing(
    life: Life, second: Life
) -> None:
    order_id = await life.live()
    async with queued(life, second, second.observe(order_id, "LIVE", took_ms=0)) as late:
        await life.clock.advance(100)
        assert (await life.read(order_id, "CANCELLED"))["state"] == "CANCELLED"
        await life.clock.advance(100)
    assert (await late)["state"] == "CANCELLED"
    assert await life.balance() == (10_000 * SHARE, 0)
    assert await life.claim_cancels() == []
    # one that begins after the end is another matter
    assert (await life.observe(order_id, "LIVE", took_ms=0))["state"] == "LIVE"


@pytest.mark.parametrize("kind", ["order_absent", "trades_absent"])
async def test_a_look_up_that_queued_past_the_quarantine_proves_no_absence(
    life: Life, second: Life, kind: str
) -> None:
    order_id = await life.unknown()
    await life.clock.advance(QUARANTINE_ENDS_MS)
    async with queued(life, second, second.evidence(order_id, kind)) as late:
        await life.clock.advance(60_000)
    assert (await late)["status"] == "ok"
    await life.cancel(order_id)
    await life.cancel_answered(order_id)
    other = {"order_absent": "trades_absent", "trades_absent": "order_absent"}[kind]
    await life.evidence(order_id, other)
    assert "was begun after the quarantine" in (await life.prove_absent(order_id))["detail"]
    await life.evidence(order_id, kind)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"


async def test_a_delete_whose_answer_queued_past_the_last_deadline_proves_no_absence(
    life: Life, second: Life
) -> None:
    order_id = await life.unknown()
    await life.cancel(order_id)
    await life.clock.advance(SEND_BY_MS + REQUEST_TIMEOUT_MS - 1_000)
    async with queued(life, second, second.cancel_answered(order_id)) as late:
        await life.clock.advance(QUARANTINE_ENDS_MS)
    assert (await late)["status"] == "ok"
    for kind in ("order_absent", "trades_absent"):
        await life.evidence(order_id, kind)
    assert "no DELETE was answered" in (await life.prove_absent(order_id))["detail"]
    await life.cancel_answered(order_id)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"
