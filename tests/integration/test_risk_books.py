"""Books that say little (empty, crossed, of one side, deeper than what is kept) hide no loss and let no price pass."""

from __future__ import annotations

import pytest

from tests.support.life import SHARE, Life, _life, _module_database, token

__all__ = ["_life", "_module_database"]

Side = list[list[int]]
DAY_MS = 86_400_000


async def note(life: Life, bids: Side, asks: Side, market: str = "m1") -> int:
    item = {"token_id": token(market, 0), "bids": bids, "asks": asks, "age_ms": 0}
    return int(await life.call("note_books", [item]))


async def allow(life: Life, name: str, micros: int) -> None:
    await life.call("set_total_limit", "account", "", name, str(micros), "test")


async def bought(life: Life, price_micros: int = 400_000) -> None:
    order_id = await life.live(price_micros=price_micros, size_micros=100 * SHARE)
    await life.fill(order_id, 100 * SHARE, "CONFIRMED", price_micros=price_micros)


@pytest.mark.parametrize(
    ("bids", "asks"),
    [
        ([], []),
        ([], [[990_000, SHARE]]),
        ([[600_000, SHARE]], [[110_000, SHARE]]),
        ([[120_000, SHARE]], [[120_000, SHARE]]),
    ],
    ids=["empty", "a lone offer", "crossed", "locked"],
)
async def test_no_book_hides_a_loss(life: Life, bids: Side, asks: Side) -> None:
    await allow(life, "max_daily_loss_micros", 20 * SHARE)
    await life.call("sweep_losses")
    await bought(life)
    await note(life, [[90_000, SHARE]], [[110_000, SHARE]])
    await life.clock.advance(1_000)
    await note(life, bids, asks)
    await life.call("sweep_losses")
    assert await life.halts() == ["DAILY_LOSS"]
    [row] = await life.conn.fetch("SELECT * FROM audit.pnl")
    assert row["unrealized_micros"] == -30 * SHARE


async def test_while_nobody_bids_a_lower_offer_lowers_what_a_share_is_worth(life: Life) -> None:
    await bought(life)
    for asks, mark in (([[990_000, SHARE]], None), ([[300_000, SHARE]], None)):
        await note(life, [], asks)
        [row] = await life.conn.fetch("SELECT * FROM audit.pnl")
        assert (row["mark_micros"], row["unrealized_micros"]) == (mark, 0), "no price so far"
    await note(life, [[390_000, SHARE]], [[410_000, SHARE]])
    for bids, asks, mark in (
        ([], [[990_000, SHARE]], 400_000),
        ([], [[300_000, SHARE]], 300_000),
        ([], [[600_000, SHARE]], 300_000),
        ([[250_000, SHARE]], [], 250_000),
        ([], [], 250_000),
    ):
        await note(life, bids, asks)
        [row] = await life.conn.fetch("SELECT * FROM audit.pnl")
        assert (row["mark_micros"], row["marked_by"]) == (mark, "stale book")


async def test_a_lone_offer_makes_no_high_from_which_everything_is_a_drawdown(life: Life) -> None:
    await allow(life, "drawdown_from_micros", 10 * SHARE)
    await allow(life, "drawdown_to_micros", 30 * SHARE)
    await life.call("sweep_losses")
    await bought(life)
    for bids, asks in (
        ([[390_000, SHARE]], [[410_000, SHARE]]),
        ([], [[990_000, SHARE]]),
        ([[390_000, SHARE]], [[410_000, SHARE]]),
    ):
        await note(life, bids, asks)
        await life.clock.advance(61_000)
        await life.call("sweep_losses")
    assert (await life.reserve())["status"] == "admitted"


@pytest.mark.parametrize("limit", ["collar_micros", "max_slippage_bps"])
async def test_a_lone_offer_is_not_its_own_middle(life: Life, limit: str) -> None:
    await life.limit(limit, 100)
    await note(life, [], [[990_000, 100 * SHARE]])
    assert (await life.reserve(price_micros=990_000))["code"] == "NO_BOOK"
    await life.add_tokens(0, 10 * SHARE)
    away = {"side": "SELL", "price_micros": 10_000, "class": "unwind"}
    assert (await life.reserve(**away))["status"] == "admitted", "what only closes needs no book"


async def test_what_reaches_past_the_levels_that_are_kept_may_trade_at_its_own_price(
    life: Life,
) -> None:
    await life.limit("max_slippage_bps", 500)
    await life.add_market("fine", tick_micros=1_000)
    asks = [[500_000 + 1_000 * n, 1_000] for n in range(20)] + [[900_000, 1_000 * SHARE]]
    await note(life, [[499_000, SHARE]], asks, "fine")
    terms = {"market": "fine", "size_micros": 100 * SHARE}
    assert (await life.reserve(price_micros=900_000, **terms))["code"] == "SLIPPAGE"
    assert (await life.reserve(price_micros=519_000, **terms))["status"] == "admitted"


async def test_a_midnight_from_before_the_clock_went_back_is_no_opening(life: Life) -> None:
    await allow(life, "max_daily_loss_micros", 20 * SHARE)
    await life.call("sweep_losses")
    for step in (DAY_MS, 60_000 - DAY_MS):
        await life.clock.advance(step)
        await life.call("sweep_losses")
    await bought(life)
    await note(life, [[590_000, SHARE]], [[610_000, SHARE]])
    await life.call("sweep_losses")
    await life.clock.advance(DAY_MS - 120_000)
    await life.call("sweep_losses")
    assert await life.halts() == []
    await note(life, [[140_000, SHARE]], [[160_000, SHARE]])
    await life.clock.advance(60_000)
    await life.call("sweep_losses")
    assert await life.halts() == ["DAILY_LOSS"]


async def test_a_maker_that_the_venue_calls_a_taker_is_told(life: Life) -> None:
    order_id = await life.live(post_only=True)
    await life.fill(order_id, 4 * SHARE, is_maker=False, fee_micros=1_000, trade_id="t")
    await life.fill(
        order_id, 4 * SHARE, "CONFIRMED", is_maker=False, fee_micros=1_000, trade_id="t"
    )
    await life.fill(order_id, 2 * SHARE, is_maker=True)
    found = await life.conn.fetch("SELECT kind, ours, theirs FROM ledger.drift")
    assert [tuple(row) for row in found] == [("post_only_took", "maker", "taker")]
