"""One comparison with the venue, as cron runs it: clean, drift that is booked and recorded, or incomplete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.config import Settings
from app.errors import BadInput, Code
from tests.support.life import SHARE, call
from tests.support.servers import in_thread
from tests.support.worker import SETTINGS, Rig, rig_fixture, until  # noqa: F401
from workers.reconcile_once import OnceReport, run_once


def reconcile(rig: Rig, account: str | None = None) -> OnceReport:
    options: dict[str, Any] = {"database_url": rig.database.url_for("worker"), **SETTINGS}
    return in_thread(lambda: run_once(Settings(**options), account))


async def drift(rig: Rig) -> set[str]:
    return {row["kind"] for row in await rig.owner.fetch("SELECT kind FROM ledger.drift")}


async def one_live(rig: Rig, market: str = "m1") -> int:
    """An order that rests at the venue while no worker runs."""
    order_id = await rig.reserve(market)
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.until_stream_is_read()
    return order_id


async def test_without_orders_it_is_clean(rig: Rig) -> None:
    report = reconcile(rig)
    assert report.result == "clean"
    assert report.to_json()["accounts"][0]["drift"] == []


async def test_with_nothing_new_it_is_clean_and_changes_nothing(rig: Rig) -> None:
    await one_live(rig)
    before = await rig.state()
    for _ in range(2):
        report = reconcile(rig)
        assert (report.result, report.accounts[0].orders_compared) == ("clean", 1)
    assert await rig.state() == before
    assert await drift(rig) == set()


async def test_a_fill_while_no_worker_ran_is_booked_and_recorded_once(rig: Rig) -> None:
    order_id = await one_live(rig)
    await rig.fill_at_venue("m1", cents=4)
    report = reconcile(rig)
    assert report.result == "drift"
    order = await rig.order(order_id)
    assert (order["state"], order["traded_micros"]) == ("FILLED", 5 * SHARE)
    assert await drift(rig) >= {"trade_missing"}
    recorded = await rig.owner.fetchval("SELECT count(*) FROM ledger.drift")

    async def settled() -> bool:
        await rig.venue.step()
        return bool(
            await rig.owner.fetchval("SELECT bool_and(status = 'CONFIRMED') FROM paper.trade")
        )

    await until(settled, "the trade is confirmed at the venue")
    assert reconcile(rig).result == "drift", "the settlement"
    assert await rig.owner.fetchval("SELECT settlement FROM ledger.fill") == "confirmed"
    await rig.check_sound()
    before = await rig.state()
    assert reconcile(rig).result == "clean"
    assert await rig.state() == before
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.drift") == recorded + 1


async def test_an_order_cancelled_by_the_venue_itself_is_ended_and_recorded(rig: Rig) -> None:
    order_id = await one_live(rig)
    await rig.venue.cancel("main", [(await rig.order(order_id))["venue_order_id"]])
    assert reconcile(rig).result == "drift"
    assert (await rig.order(order_id))["state"] == "CANCELLED"
    assert await drift(rig) == {"order_not_listed"}
    assert reconcile(rig).result == "clean"
    await rig.check_sound()


async def test_an_order_that_the_venue_does_not_know_is_drift_and_stays(rig: Rig) -> None:
    """Live by our rows, in no list, and the look-up by id is cleanly empty: that proves nothing."""
    order_id = await one_live(rig)
    await rig.fault("open_orders", "null", times=10)
    await rig.fault("order", "null", times=10)
    report = reconcile(rig)
    assert report.result == "drift"
    assert [one.kind for one in report.accounts[0].differences] == ["order_not_listed"]
    assert (await rig.order(order_id))["state"] == "LIVE"
    assert await rig.owner.fetchval("SELECT held_micros FROM ledger.reservation") == 250_000


async def test_a_list_that_lags_is_no_drift(rig: Rig) -> None:
    order_id = await one_live(rig)
    await rig.fault("open_orders", "null", times=10)
    assert reconcile(rig).result == "clean"
    assert (await rig.order(order_id))["state"] == "LIVE"


@pytest.mark.parametrize("read", ["trades", "open_orders"])
async def test_a_read_that_fails_makes_it_incomplete_and_books_nothing(rig: Rig, read: str) -> None:
    await one_live(rig)
    await rig.fill_at_venue("m1", cents=4)
    before = await rig.state()
    await rig.fault(read, "unread", times=1)
    report = reconcile(rig)
    assert report.result == "incomplete"
    assert read.replace("_", " ") in report.accounts[0].reason
    assert await rig.state() == before
    assert reconcile(rig).result == "drift"


async def test_the_worst_account_gives_the_result(rig: Rig) -> None:
    await rig.account("second")
    await rig.fault("trades", "unread", account="second", times=1)
    report = reconcile(rig)
    assert [one.result for one in report.accounts] == ["clean", "incomplete"]
    assert report.result == "incomplete"
    assert reconcile(rig, "main").result == "clean"


async def test_an_account_that_does_not_exist_is_said(rig: Rig) -> None:
    with pytest.raises(BadInput) as caught:
        reconcile(rig, "nobody")
    assert caught.value.code == Code.UNKNOWN_ACCOUNT


async def test_beside_a_running_worker_it_finds_no_drift(rig: Rig) -> None:
    slugs = [f"busy {n}" for n in range(20)]
    await rig.markets(*slugs)
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        orders = [
            await rig.reserve(slug, cents=90 if n % 3 == 0 else 5) for n, slug in enumerate(slugs)
        ]
        looking = asyncio.get_running_loop().run_in_executor(None, lambda: reconcile(rig))
        await rig.cancel(*orders[10:])
        report = await looking
        assert report.result == "clean", report.to_json()
        await rig.until_resolved()
    await rig.check_sound()


async def test_a_settlement_older_than_the_watermark_is_still_read(rig: Rig) -> None:
    """A trade that hangs for longer than others take must not fall out of the window."""
    order_id = await rig.reserve(cents=90)
    async with rig.inside(paper_settle_ms=600_000):
        await rig.until_state(order_id, "FILLED")
        await rig.until("SELECT bool_and(settlement = 'provisional') FROM ledger.fill")
    # later trades have moved the watermark on by an hour
    later = "SELECT (extract(epoch FROM clock_timestamp() + interval '1 hour') * 1000)::bigint"
    await call(rig.owner, "move_cursor", "main", "trades", await rig.owner.fetchval(later))
    await rig.owner.execute("UPDATE paper.trade SET status = 'CONFIRMED'")
    assert reconcile(rig).result == "drift"
    assert await rig.owner.fetchval("SELECT settlement FROM ledger.fill") == "confirmed"


async def test_a_trade_that_failed_to_settle_is_reversed(rig: Rig) -> None:
    order_id = await rig.reserve(cents=90)
    async with rig.inside(paper_settle_ms=600_000):
        await rig.until_state(order_id, "FILLED")
        await rig.until("SELECT bool_and(settlement = 'provisional') FROM ledger.fill")
    await rig.owner.execute("UPDATE paper.trade SET status = 'FAILED'")
    assert reconcile(rig).result == "drift"
    assert (await rig.order(order_id))["failed_micros"] == 5 * SHARE
    balance = await rig.owner.fetchrow("SELECT * FROM ledger.balance WHERE asset = 'collateral'")
    assert (balance["available"], balance["locked"]) == (1_000 * SHARE, 0)
    assert reconcile(rig).result == "clean"
