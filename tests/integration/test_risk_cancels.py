"""Cancels leave at once under all that keeps placements back (lesson 30), and what a halt covers is cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import pytest

from tests.support.life import SHARE, Life, token
from tests.support.withdrawals import Saga
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401 - the fixture

SATURDAY: Final = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
Stop: TypeAlias = Callable[[Life], Awaitable[None]]


def halt(scope: str, name: str | None) -> Stop:
    async def stop(life: Life) -> None:
        await life.call("set_halt", scope, name, "test", "test")

    return stop


async def suspended(life: Life) -> None:
    """What a broken invariant leaves: more bought than the cap allows."""
    order_id = await life.live(price_micros=100_000)
    await life.limit("max_outcome_micros", 20 * SHARE)
    await life.fill(order_id, 30 * SHARE)


def rejects(reason_class: str) -> Stop:
    async def stop(life: Life) -> None:
        for n in range(3):
            order_id = await life.sending(price_micros=100_000 + n * 10_000)
            await life.complete("reject", order_id, reason_class=reason_class)

    return stop


async def slow(life: Life) -> None:
    order_id = await life.sending(price_micros=100_000)
    await life.clock.advance(5_000)
    await life.complete("acknowledge", order_id)


async def unanswered_cancels(life: Life) -> None:
    for n in range(3):
        order_id = await life.live(price_micros=100_000 + n * 10_000)
        await life.cancel(order_id)
        assert await life.claim_cancels() == [order_id]
        await life.cancel_answered(order_id, "unknown")
        await life.read(order_id, "CANCELLED")


async def cooling_down(life: Life) -> None:
    await life.limit("cooldown_ms", 60_000)
    await life.reserved(price_micros=100_000)


async def no_changes_left(life: Life) -> None:
    await life.limit("changes_per_minute", 1)
    await life.reserved(price_micros=100_000)


async def no_account_changes_left(life: Life) -> None:
    await total("account", "changes_per_minute", 1)(life)
    await life.reserved(price_micros=100_000)


async def burst(life: Life) -> None:
    await life.limit("burst_per_minute", 1)
    await life.reserved(price_micros=100_000)


async def gap(life: Life) -> None:
    await life.limit("burst_gap_ms", 60_000)


def limit(name: str, value: int | str) -> Stop:
    async def stop(life: Life) -> None:
        await life.limit(name, value)

    return stop


def total(scope: str, name: str, value: int) -> Stop:
    async def stop(life: Life) -> None:
        await life.call("set_total_limit", scope, "", name, str(value), "test")

    return stop


async def live_cap(life: Life) -> None:
    """Only accounts of the real venue are under it: cancels of the account there."""
    await life.call("set_total_limit", "live", "", "max_cost_micros", "0", "test")
    await life.conn.execute("ALTER TABLE ledger.account DISABLE TRIGGER account_is_fixed")
    await life.conn.execute("UPDATE ledger.account SET venue = 'polymarket'")
    await life.conn.execute("ALTER TABLE ledger.account ENABLE TRIGGER account_is_fixed")


async def drawdown(life: Life) -> None:
    await life.conn.execute("UPDATE ledger.account_state SET size_factor_ppm = 0")


async def weekend(life: Life) -> None:
    await life.limit("weekend_allowed", "false")
    await life.clock.set(SATURDAY)


async def withdrawal(life: Life) -> None:
    saga = Saga(life)
    await saga.start()
    await saga.step("stop_for_withdrawal")


def mode(name: str) -> Stop:
    async def stop(life: Life) -> None:
        await life.call("note_mode", "main", name, 60_000, "test")

    return stop


async def mutex(life: Life) -> None:
    await life.call("take_mutex", "main", "m1", life.worker, 60_000)


async def crossing(life: Life) -> None:
    await book(life, 100_000, 110_000)


async def book(life: Life, bid: int, ask: int) -> None:
    sides = {"bids": [[bid, 100 * SHARE]], "asks": [[ask, SHARE], [ask + 10_000, SHARE]]}
    item = {"token_id": token("m1", 0), "age_ms": 0} | sides
    assert await life.call("note_books", [item]) == 1


async def collar(life: Life) -> None:
    await life.limit("collar_micros", 10_000)
    await book(life, 100_000, 110_000)


async def slippage(life: Life) -> None:
    await life.limit("max_slippage_bps", 1)
    await book(life, 100_000, 110_000)


async def poor(life: Life) -> None:
    available, _ = await life.balance()
    await life.call("book_movement", "main", "collateral", -available, "withdrawal", "poor", "")


async def too_late(life: Life) -> None:
    end = int(life.clock.now.timestamp() * 1000) + 60_000
    await life.add_market("m1", group_key="g1", window_end_ms=end)
    await life.limit("close_buffer_ms", 120_000)


async def too_early(life: Life) -> None:
    now = int(life.clock.now.timestamp() * 1000)
    await life.add_market("m1", group_key="g1", window_start_ms=now, window_end_ms=now + 900_000)
    await life.limit("open_buffer_ms", 120_000)


CODES: Final[dict[str, tuple[Stop, str, dict[str, Any]]]] = {
    "global halt": (halt("global", None), "HALTED", {}),
    "account halt": (halt("account", "main"), "HALTED", {}),
    "group halt": (halt("group", "g1"), "HALTED", {}),
    "market halt": (halt("market", "m1"), "HALTED", {}),
    "suspension": (suspended, "SUSPENDED", {}),
    "withdrawal": (withdrawal, "HALTED", {}),
    "reject breaker": (rejects("ours"), "BREAKER", {}),
    "venue breaker": (rejects("venue"), "BREAKER", {}),
    "credentials breaker": (rejects("credentials"), "BREAKER", {}),
    "latency breaker": (slow, "BREAKER", {}),
    "cancel breaker": (unanswered_cancels, "BREAKER", {}),
    "cooldown": (cooling_down, "COOLDOWN", {}),
    "changes of the market": (no_changes_left, "CHANGES_MINUTE", {}),
    "changes of the account": (no_account_changes_left, "CHANGES_MINUTE", {}),
    "burst of the minute": (burst, "BURST_MINUTE", {}),
    "burst gap": (gap, "BURST_GAP", {}),
    "cap of the outcome": (limit("max_outcome_micros", 0), "CAP_OUTCOME", {}),
    "cap of the market": (limit("max_market_micros", 0), "CAP_MARKET", {}),
    "cost of the market": (limit("max_market_cost_micros", 0), "CAP_MARKET_COST", {}),
    "size of an order": (limit("max_order_micros", 0), "ORDER_SIZE", {}),
    "cost of an order": (limit("max_order_cost_micros", 0), "ORDER_COST", {}),
    "imbalance": (limit("max_imbalance_micros", 0), "IMBALANCE", {}),
    "open orders of the market": (limit("max_open_orders", 0), "OPEN_ORDERS", {}),
    "open orders of the account": (total("account", "max_open_orders", 0), "OPEN_ORDERS", {}),
    "cost of the account": (total("account", "max_cost_micros", 0), "CAP_ACCOUNT", {}),
    "shares of the account": (total("account", "max_shares_micros", 0), "CAP_ACCOUNT", {}),
    "cost of the group": (total("group", "max_cost_micros", 0), "CAP_GROUP", {}),
    "cost of all accounts": (total("global", "max_cost_micros", 0), "CAP_GLOBAL", {}),
    "cost of all live accounts": (live_cap, "CAP_LIVE", {}),
    "drawdown": (drawdown, "DRAWDOWN", {}),
    "weekend": (weekend, "WEEKEND", {}),
    "too early": (too_early, "TOO_EARLY", {}),
    "too late": (too_late, "TOO_LATE", {}),
    "no book": (limit("collar_micros", 10_000), "NO_BOOK", {}),
    "collar": (collar, "COLLAR", {}),
    "slippage": (slippage, "SLIPPAGE", {"size_micros": 12 * SHARE}),
    "post-only that would cross": (crossing, "WOULD_CROSS", {"post_only": True}),
    "another evaluation": (mutex, "LOCKED", {}),
    "no collateral": (poor, "INSUFFICIENT_COLLATERAL", {}),
    # not a matter of a reservation: what was admitted waits
    **{
        f"venue {name}": (mode(name), "admitted", {})
        for name in ("RESTARTING", "POST_ONLY", "CANCEL_ONLY", "DISABLED", "CLOSED_ONLY")
    },
}
COVERS: Final = {"global halt", "account halt", "group halt", "market halt", "suspension"} | {
    "withdrawal"
}


@pytest.mark.parametrize("what", CODES)
async def test_a_cancel_asked_for_leaves_at_once_whatever_keeps_placements_back(
    life: Life, what: str
) -> None:
    await life.add_market("m1", group_key="g1")
    resting = await life.live(price_micros=300_000)
    stop, code, changes = CODES[what]
    await stop(life)
    answer = await life.reserve(price_micros=200_000, **changes)
    assert answer.get("code", answer["status"]) == code, answer
    assert (await life.cancel(resting))["status"] == "ok"
    assert resting in await life.claim_cancels()
    await life.cancel_answered(resting, "accepted")
    assert (await life.read(resting, "CANCELLED"))["state"] == "CANCELLED"


@pytest.mark.parametrize("what", CODES)
async def test_a_sweep_cancels_what_a_halt_covers_and_its_cancels_leave_at_once(
    life: Life, what: str
) -> None:
    """A protective cancel of a scope's halt goes out under everything else that stands beside it."""
    await life.add_market("m1", group_key="g1")
    resting = await life.live(price_micros=300_000)
    await CODES[what][0](life)
    before = await life.call("sweep_cancels")
    assert (before > 0) == (what in COVERS), "a limit or breaker alone cancels nothing"
    await life.call("set_halt", "market", "m1", "beside it", "test")
    await life.call("sweep_cancels")
    assert resting in await life.claim_cancels()


@pytest.mark.parametrize("what", sorted(COVERS))
async def test_what_a_halt_does_not_cover_stays(life: Life, what: str) -> None:
    await life.add_market("m1", group_key="g1")
    await life.add_market("m2")
    covered = await life.live(price_micros=300_000)
    elsewhere = await life.live(price_micros=300_000, market="m2")
    await CODES[what][0](life)
    await life.call("sweep_cancels")
    claimed = await life.claim_cancels()
    assert covered in claimed
    assert (elsewhere in claimed) == (what in ("global halt", "account halt", "withdrawal"))


async def test_a_worker_under_an_open_breaker_cancels_at_the_venue_and_places_nothing(
    rig: Rig,
) -> None:
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        resting = [await rig.reserve(cents=cents) for cents in (6, 7)]
        for order_id in resting:
            await rig.until_state(order_id, "LIVE")
        for _ in range(3):
            order_id = await rig.reserve()
            await rig.fault("place", "http", order_id, http_status=400, text="no")
            await rig.until_state(order_id, "REJECTED")
        [answer] = await rig.ask(rig.request())
        assert answer["code"] == "BREAKER"
        await rig.cancel(resting[0])
        await rig.until_state(resting[0], "CANCELLED")
        async with rig.owner.acquire() as conn:
            await conn.execute("SELECT ledger.set_halt('market', 'm1', 'beside it', 'test')")
        await rig.until_state(resting[1], "CANCELLED")
        assert await rig.owner.fetchval(
            "SELECT count(*) FROM ledger.breaker WHERE kind = 'reject' AND until > ledger.clock()"
        )
    await rig.check_sound()
