"""What waits while the venue is in a mode, and what a word opens no door to: guards that no test missed soon."""

from __future__ import annotations

import pytest

from tests.support.life import SHARE, Life


async def test_in_a_mode_of_the_venue_nothing_is_claimed(life: Life) -> None:
    order_id = await life.reserved()
    await life.call("note_mode", life.account, "CANCEL_ONLY", 5_000, "test")
    assert await life.claim() == []
    await life.clock.advance(5_000)
    assert [work["order_id"] for work in await life.claim()] == [order_id]


async def test_in_a_mode_of_the_venue_nothing_that_was_claimed_before_is_opened(life: Life) -> None:
    order_id = await life.prepared()
    await life.call("note_mode", life.account, "CANCEL_ONLY", 5_000, "test")
    assert (await life.open_attempt(order_id))["status"] == "refused"
    assert await life.state(order_id) == "PREPARED"
    await life.call("end_mode", life.account, "CANCEL_ONLY", "test")
    await life.clock.advance(500)
    await life.claim()
    assert (await life.open_attempt(order_id))["state"] == "SENDING"


async def test_while_it_takes_post_only_orders_alone_those_are_opened(life: Life) -> None:
    order_id = await life.prepared(post_only=True)
    await life.call("note_mode", life.account, "POST_ONLY", 5_000, "test")
    assert (await life.open_attempt(order_id))["state"] == "SENDING"


@pytest.mark.parametrize("word", ["unwind", "emergency"])
async def test_a_buy_that_calls_itself_an_unwind_is_judged_like_any(life: Life, word: str) -> None:
    await life.limit("max_imbalance_micros", 9 * SHARE)
    assert (await life.reserve(**{"class": word}))["code"] == "IMBALANCE"
    await life.add_tokens(0, 10 * SHARE)
    sold = await life.reserve(side="SELL", **{"class": word})
    assert sold["status"] == "admitted"
