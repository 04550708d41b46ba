"""When a cancel leaves: guards that could be taken away without any test's noticing soon."""

from __future__ import annotations

from tests.support.life import Life


async def test_a_cancel_that_is_asked_again_is_due_now(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    assert await life.claim_cancels() == [order_id]
    now = await life.conn.fetchval("SELECT ledger.clock()")
    assert (await life.row("cancel_request", order_id))["next_at"] > now
    await life.cancel(order_id)
    assert (await life.row("cancel_request", order_id))["next_at"] == now
    assert await life.claim_cancels() == [order_id]


async def test_a_cancel_that_is_due_already_does_not_move_when_it_is_asked_again(
    life: Life,
) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    due = (await life.row("cancel_request", order_id))["next_at"]
    await life.clock.advance(1_000)
    await life.cancel(order_id)
    assert (await life.row("cancel_request", order_id))["next_at"] == due
