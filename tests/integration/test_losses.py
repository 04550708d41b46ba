"""Daily and rolling loss, drawdown and marks of equity (R3): what halts, when, and what outlives a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life
from tests.support.profit import book, lose, sweep, total_limit, trade, view, win

HOUR = 3_600_000
DAY = 24 * HOUR
UNIT = 1_000_000
DAILY, ROLLING = ("account", "DAILY_LOSS"), ("account", "ROLLING_LOSS")


async def allow(
    life: Life, units: int | None, name: str = "max_daily_loss_micros", scope: str = "account"
) -> None:
    await total_limit(life, scope, name, None if units is None else units * UNIT)


async def resume(life: Life, scope: str = "account", name: str = "main") -> None:
    version = await life.conn.fetchval(
        "SELECT max(halt_id) FROM ledger.halt WHERE cleared_at IS NULL"
    )
    await life.call("clear_halt", scope, name, version, "seen", "ann")


async def marks(life: Life) -> list[tuple[datetime, int]]:
    rows = await view(life, "equity", "account = 'main'")
    return sorted((row["at"], row["equity_micros"]) for row in rows)


# ------------------------------------------------------------------------ the daily loss


async def test_a_loss_over_the_limit_halts_the_account_once(life: Life) -> None:
    await allow(life, 10)
    await lose(life, 10)
    assert await sweep(life) == []  # as much as is allowed
    await lose(life, 1)
    assert await sweep(life) == [DAILY]
    assert await sweep(life) == []
    (halt,) = await view(life, "halts", "standing")
    assert (halt["scope"], halt["subject"]) == ("account", "main")
    assert halt["why"] == "DAILY_LOSS: 11.00 of collateral lost since midnight UTC, 10.00 allowed"
    assert (await life.reserve())["code"] == "HALTED"


async def test_without_a_limit_nothing_halts(life: Life) -> None:
    await lose(life, 1_000)
    assert await sweep(life) == []
    assert await life.halts() == []


async def test_a_book_that_falls_is_a_loss_before_anything_is_sold(life: Life) -> None:
    await allow(life, 10)
    await trade(life, "BUY", 100, 50)
    await book(life, 49, 51)
    assert await sweep(life) == []
    await book(life, 38, 40)
    assert await sweep(life) == [DAILY]


async def test_fees_are_a_loss(life: Life) -> None:
    await allow(life, 1)
    await trade(life, "BUY", 100, 50, fee=2 * UNIT)
    await book(life, 49, 51)
    assert await sweep(life) == [DAILY]


async def test_a_deposit_hides_no_loss_and_a_withdrawal_is_none(life: Life) -> None:
    await allow(life, 10)
    await lose(life, 11)
    await life.call("book_movement", "main", "collateral", 100 * UNIT, "deposit", "d", "")
    assert await sweep(life) == [DAILY]
    await life.open_account("other")
    await sweep(life)
    await life.call("book_movement", "other", "collateral", -100 * UNIT, "withdrawal", "w", "")
    assert await sweep(life) == []


async def test_who_resumed_is_not_overruled_until_the_loss_has_grown_by_the_limit_again(
    life: Life,
) -> None:
    await allow(life, 10)
    await lose(life, 11)
    assert await sweep(life) == [DAILY]
    await lose_while_halted(life, 2)
    assert await sweep(life) == []
    await resume(life)
    for units in (0, 4, 6):  # 13 was seen by who resumed; 23 is the limit again
        if units:
            await lose(life, units)
        assert await sweep(life) == []
    await lose(life, 1)
    assert await sweep(life) == [DAILY]


async def lose_while_halted(life: Life, units: int) -> None:
    """Trades that were on their way: facts are booked under every halt."""
    await resume(life)
    shares = units * 5
    bought = await life.live(price_micros=600_000, size_micros=shares * SHARE)
    await life.conn.execute(
        "SELECT ledger._halt_once('account', account_id::text, 'DAILY_LOSS: again', ledger.clock()) "
        "FROM ledger.account WHERE name = 'main'"
    )
    await life.fill(bought, shares * SHARE, "CONFIRMED", price_micros=600_000)
    token_id = await life.conn.fetchval("SELECT token_id FROM ledger.outcome WHERE outcome = 0")
    await life.call(
        "book_movement",
        "main",
        token_id,
        -shares * SHARE,
        "redemption",
        f"w{bought}",
        "",
        shares * 400_000,
    )


async def test_a_loss_that_came_back_within_the_day_halts_no_second_time(life: Life) -> None:
    await allow(life, 10)
    await lose(life, 11)
    assert await sweep(life) == [DAILY]
    await resume(life)
    await win(life, 5)
    assert await sweep(life) == []
    await lose(life, 5)
    assert await sweep(life) == []


async def test_each_utc_day_begins_anew(life: Life) -> None:
    await allow(life, 10)
    await lose(life, 11)
    assert await sweep(life) == [DAILY]
    await resume(life)
    await life.clock.set(datetime(2026, 3, 3, 0, 0, 1, tzinfo=UTC))
    assert await sweep(life) == []
    await lose(life, 10)
    assert await sweep(life) == []
    await lose(life, 1)
    assert await sweep(life) == [DAILY]


async def test_an_account_that_was_opened_today_began_with_nothing(life: Life) -> None:
    """Also if its losses came before anybody looked."""
    await allow(life, 10)
    await life.clock.advance(HOUR)
    await lose(life, 11)
    assert await sweep(life) == [DAILY]


async def test_a_night_without_a_worker_hides_no_loss(life: Life) -> None:
    await win(life, 3)
    await sweep(life)
    await life.clock.set(datetime(2026, 3, 3, 3, 0, tzinfo=UTC))
    await allow(life, 10)
    await lose(life, 11)
    await life.clock.set(datetime(2026, 3, 3, 8, 0, tzinfo=UTC))
    assert await sweep(life) == [DAILY]
    assert (datetime(2026, 3, 3, tzinfo=UTC), 3 * UNIT) in await marks(life)


# ------------------------------------------------------------------------ the rolling loss


async def test_the_rolling_loss_counts_from_the_highest_point_of_24_hours(life: Life) -> None:
    await allow(life, 10, "max_rolling_loss_micros")
    await win(life, 8)
    await sweep(life)
    await life.clock.set(datetime(2026, 3, 3, 11, 0, tzinfo=UTC))  # another day
    await lose(life, 10)
    assert await sweep(life) == []
    await life.clock.advance(60_000)
    await lose(life, 1)
    assert await sweep(life) == [ROLLING]


async def test_a_high_point_of_longer_ago_is_past(life: Life) -> None:
    await allow(life, 10, "max_rolling_loss_micros")
    await win(life, 8)
    await sweep(life)
    await life.clock.advance(60_000)
    await lose(life, 8)
    await sweep(life)
    await life.clock.advance(DAY + 60_000)
    await lose(life, 10)
    assert await sweep(life) == []
    (row,) = await view(life, "losses", "account = 'main'")
    assert row["rolling_loss_micros"] == 10 * UNIT


async def test_what_stood_when_the_24_hours_began_counts_though_nothing_was_written_since(
    life: Life,
) -> None:
    await allow(life, 10, "max_rolling_loss_micros")
    await win(life, 8)
    await sweep(life)
    await life.clock.advance(5 * DAY)
    await lose(life, 11)
    assert await sweep(life) == [ROLLING]


async def test_a_rolling_loss_that_was_told_halts_again_after_24_hours_only_if_it_is_new(
    life: Life,
) -> None:
    await allow(life, 10, "max_rolling_loss_micros")
    await sweep(life)
    await life.clock.advance(60_000)
    await lose(life, 11)
    assert await sweep(life) == [ROLLING]
    await resume(life)
    await life.clock.advance(DAY + 120_000)
    assert await sweep(life) == []
    await life.clock.advance(60_000)
    await lose(life, 11)
    assert await sweep(life) == [ROLLING]


# ------------------------------------------------------------------------ all accounts together


async def test_the_losses_of_all_accounts_together_halt_everything(life: Life) -> None:
    await allow(life, 10, scope="global")
    await life.open_account("other")
    other = life.on(life.conn)
    other.account = "other"
    await lose(life, 6)
    assert await sweep(life) == []
    await lose(other, 6)
    assert await sweep(life) == [("global", "DAILY_LOSS")]
    assert (await life.reserve())["code"] == "HALTED"
    await resume(life, "global", "")
    assert await sweep(life) == []


async def test_what_one_account_wins_makes_up_for_what_another_loses(life: Life) -> None:
    await allow(life, 10, scope="global")
    await allow(life, 10, "max_rolling_loss_micros", scope="global")
    await life.open_account("other")
    other = life.on(life.conn)
    other.account = "other"
    await win(other, 5)
    await lose(life, 12)
    assert await sweep(life) == []
    await life.clock.advance(60_000)
    await lose(life, 4)
    assert await sweep(life) == [("global", "DAILY_LOSS"), ("global", "ROLLING_LOSS")]
    (row,) = await view(life, "losses", "scope = 'global'")
    assert (row["daily_loss_micros"], row["told_rolling_micros"]) == (11 * UNIT, 11 * UNIT)


# ------------------------------------------------------------------------ restarts, clocks, others


async def test_another_process_knows_what_was_told_and_resumed(
    life: Life, module_database: TestDatabase
) -> None:
    await allow(life, 10)
    await lose(life, 11)
    await sweep(life)
    await resume(life)
    started_again = life.on(await module_database.connect("worker"))
    assert await sweep(started_again) == []


async def test_a_sweep_that_died_halfway_is_made_up_for(
    life: Life, module_database: TestDatabase
) -> None:
    await allow(life, 10)
    await lose(life, 11)
    dying = await module_database.connect("worker")
    await dying.execute("BEGIN")
    assert await sweep(life.on(dying)) == [DAILY]
    await dying.close()
    # The server may be rolling back still: the sweep before stands aside for it, and this one waits.
    await life.conn.execute("SELECT FROM ledger.loss_watch FOR UPDATE")
    assert await life.halts() == []
    assert await sweep(life) == [DAILY]


async def test_two_sweeps_at_once_set_one_halt(life: Life, module_database: TestDatabase) -> None:
    await allow(life, 10)
    await lose(life, 11)
    await sweep_without_halts(life)
    other = await module_database.connect("worker")
    await other.execute("BEGIN")
    assert await sweep(life.on(other)) == [DAILY]
    assert (await life.call("sweep_losses"))["busy"] is True
    await other.execute("COMMIT")
    assert await life.halts() == ["DAILY_LOSS"]


async def sweep_without_halts(life: Life) -> None:
    """The row that lets one sweep run at a time is there from the first sweep on."""
    limit = await life.conn.fetchval(
        "SELECT max_daily_loss_micros FROM ledger.total_limits WHERE scope = 'account'"
    )
    await allow(life, None)
    await sweep(life)
    await allow(life, limit // UNIT)


async def test_a_minute_has_one_mark_and_a_minute_without_change_none(life: Life) -> None:
    for _ in range(3):
        await sweep(life)
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    assert await marks(life) == [(midnight, 0)]
    await lose(life, 1)
    await sweep(life)
    await lose(life, 1)
    await sweep(life)
    await life.clock.advance(60_000)
    await sweep(life)
    await life.clock.advance(60_000)
    await sweep(life)
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert await marks(life) == [
        (midnight, 0), (noon, -1 * UNIT), (noon + timedelta(minutes=1), -2 * UNIT),
    ]  # fmt: skip


@pytest.mark.parametrize("back_ms", [90_000, 13 * HOUR, 3 * DAY])
async def test_a_clock_that_steps_back_forgets_no_loss_and_tells_none_twice(
    life: Life, back_ms: int
) -> None:
    await allow(life, 10)
    await allow(life, 10, "max_rolling_loss_micros")
    await life.clock.advance(5 * DAY)
    await win(life, 2)
    await sweep(life)
    await life.clock.advance(60_000)
    await lose(life, 14)
    assert await sweep(life) == [DAILY, ROLLING]
    for _ in range(2):
        await resume(life)
        await life.clock.advance(-back_ms)
        assert await sweep(life) == []
        await life.clock.advance(back_ms)
        assert await sweep(life) == []
        await life.call("set_halt", "account", "main", "to be resumed", "test")


async def test_a_loss_in_a_minute_that_was_marked_before_the_clock_stepped_back_still_halts(
    life: Life,
) -> None:
    await allow(life, 10)
    await sweep(life)
    await life.clock.advance(120_000)
    await win(life, 1)
    await sweep(life)
    await life.clock.advance(-60_000)
    await lose(life, 12)
    assert await sweep(life) == [DAILY]
    before = await marks(life)
    await life.clock.advance(60_000)
    await sweep(life)
    assert [mark for mark in await marks(life) if mark in before] == before


async def test_old_days_keep_their_midnight_alone(life: Life) -> None:
    for n in range(4):
        await (win if n % 2 else lose)(life, 1)
        await sweep(life)
        await life.clock.advance(60_000)
    assert len(await marks(life)) == 5
    await life.clock.advance(6 * DAY)
    await sweep(life)
    assert len(await marks(life)) == 6
    await life.clock.advance(2 * DAY)
    await sweep(life)
    assert [at.hour + at.minute for at, _ in await marks(life)] == [0, 0, 0]
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.total_mark") == 3


async def test_how_long_minutes_are_kept_is_a_setting(life: Life) -> None:
    await life.conn.execute(
        "UPDATE ledger.setting SET value = '30' WHERE name = 'keep_equity_minutes_days'"
    )
    await lose(life, 1)
    await sweep(life)
    await life.clock.advance(20 * DAY)
    await sweep(life)
    assert len(await marks(life)) == 3
    await life.conn.execute(
        "UPDATE ledger.setting SET value = '7' WHERE name = 'keep_equity_minutes_days'"
    )


async def test_only_the_worker_sweeps(life: Life, module_database: TestDatabase) -> None:
    for role in ("trader", "risk", "auditor"):
        conn = await module_database.connect(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("SELECT ledger.sweep_losses()")
