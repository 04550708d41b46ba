"""One comparison with the venue, as cron runs it: clean, drift that is booked and recorded, or incomplete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.config import Settings
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import Item, LedgerCalls
from app.venue.interface import VenueTrade
from tests.support.life import SHARE, call
from tests.support.servers import in_thread
from tests.support.worker import SETTINGS, Rig, rig_fixture, until  # noqa: F401
from workers.reconcile import OVERLAP_MS
from workers.reconcile_once import OnceReport, run_once
from workers.worker import reading


def reconcile(rig: Rig, account: str | None = None) -> OnceReport:
    options: dict[str, Any] = {"database_url": rig.database.url_for("worker"), **SETTINGS}
    return in_thread(lambda: run_once(Settings(**options), account))


async def drift(rig: Rig) -> set[str]:
    return {row["kind"] for row in await rig.owner.fetch("SELECT kind FROM ledger.drift")}


async def told(rig: Rig, kind: str) -> dict[str, Any]:
    """The newest row of audit.drift of that kind."""
    row = await rig.owner.fetchrow(
        "SELECT * FROM audit.drift WHERE kind = $1 ORDER BY drift_id DESC LIMIT 1", kind
    )
    assert row is not None
    return {**row, "evidence": json.loads(row["evidence"])}


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
    row = await told(rig, "trade_missing")
    assert (row["drift_class"], row["ours"], row["after"], row["action"]) == (
        "resync", "none", "provisional", "booked as the venue says",
    )  # fmt: skip
    assert row["evidence"]["told"]["size_micros"] == 5 * SHARE
    row = await told(rig, "order_not_listed")
    assert (row["ours"], row["after"], row["action"]) == (
        "LIVE", "FILLED", "read by its id: MATCHED, booked",
    )  # fmt: skip
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
    row = await told(rig, "order_not_listed")
    assert (row["drift_class"], row["ours"], row["after"]) == ("resync", "LIVE", "LIVE")
    assert row["action"].startswith("nothing: read by its id it is not shown")
    assert row["evidence"] == {"read": None}


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


# ---- the watermark of trades

HOUR_MS = 3_600_000


async def now_ms(rig: Rig) -> int:
    query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    return int(await rig.owner.fetchval(query))


async def watermark(rig: Rig) -> int:
    return int(await call(rig.owner, "move_cursor", "main", "trades", 0))


async def traded_at(rig: Rig, **times: int) -> list[str]:
    """Orders, one per market, that fill at the venue at those times while nobody looks; their ids there."""
    orders = [await rig.reserve(market) for market in times]
    async with rig.inside():
        for order_id in orders:
            await rig.until_state(order_id, "LIVE")
        await rig.until_stream_is_read()
    found = []
    for order_id, (market, at_ms) in zip(orders, times.items(), strict=True):
        await rig.fill_at_venue(market, cents=4)
        found.append((await rig.order(order_id))["venue_order_id"])
        part = "UPDATE paper.trade_part SET matched_at_ms = $2 WHERE venue_order_id = $1"
        await rig.owner.execute(part, found[-1], at_ms)
    return found


async def traded(rig: Rig, venue_order_id: str) -> int:
    query = "SELECT traded_micros FROM ledger.orders WHERE venue_order_id = $1"
    return int(await rig.owner.fetchval(query, venue_order_id))


def unbookable(venue_order_id: str) -> Callable[[str, VenueTrade], Item]:
    """Our parts of trades as the ledger takes them, but for one order, of which they make no sense."""
    fill = reading.fill

    def broken(account: str, trade: VenueTrade) -> Item:
        item = fill(account, trade)
        return item | {"size_micros": 0} if trade.venue_order_id == venue_order_id else item

    return broken


async def test_the_watermark_stays_before_a_trade_that_was_not_booked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await now_ms(rig)
    early, late = now - 3 * HOUR_MS, now - HOUR_MS
    refused, booked = await traded_at(rig, m1=early, m2=late)
    with monkeypatch.context() as patched:
        patched.setattr(reading, "fill", unbookable(refused))
        for _ in range(2):
            report = reconcile(rig)
            assert report.result == "incomplete"
            assert refused in report.accounts[0].reason
            assert "BAD_REQUEST" in report.accounts[0].reason
            assert await watermark(rig) == early - 1
    assert await traded(rig, booked) == 5 * SHARE, "it holds up none of the others"
    assert await traded(rig, refused) == 0
    assert reconcile(rig).result == "drift"
    assert await traded(rig, refused) == 5 * SHARE
    assert await watermark(rig) == late


async def test_an_account_with_a_trade_that_cannot_be_booked_is_not_traded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    [broken] = await traded_at(rig, m1=await now_ms(rig))
    waiting = await rig.reserve("m2")
    with monkeypatch.context() as patched:
        patched.setattr(reading, "fill", unbookable(broken))
        async with rig.inside():
            why = "SELECT not_ready_why FROM ledger.worker WHERE not_ready_why LIKE $1"
            assert "BAD_REQUEST" in await rig.until(why, f"%{broken}%")
            assert (await rig.order(waiting))["state"] == "RESERVED"
    async with rig.inside():
        await rig.until_state(waiting, "LIVE")


async def test_a_trade_from_the_future_does_not_hide_those_of_the_present(rig: Rig) -> None:
    now = await now_ms(rig)
    _, present = await traded_at(rig, m1=now + HOUR_MS, m2=now)
    shown_late = "UPDATE paper.trade_part SET account = $2 WHERE venue_order_id = $1"
    await rig.owner.execute(shown_late, present, "somebody else")
    assert reconcile(rig).result == "drift"
    assert now - OVERLAP_MS <= await watermark(rig) <= await now_ms(rig) - OVERLAP_MS
    await rig.owner.execute(shown_late, present, "main")
    assert reconcile(rig).result == "drift"
    assert await traded(rig, present) == 5 * SHARE


async def test_a_watermark_that_lies_in_the_future_hides_no_trade(rig: Rig) -> None:
    await call(rig.owner, "move_cursor", "main", "trades", await now_ms(rig) + HOUR_MS)
    [hidden] = await traded_at(rig, m1=await now_ms(rig))
    assert reconcile(rig).result == "drift"
    assert await traded(rig, hidden) == 5 * SHARE


# ---- final, and not so


async def final(rig: Rig, status: str) -> int:
    """An order whose trade ended that way here."""
    order_id = await rig.reserve(cents=90)
    async with rig.inside(paper_settle_ms=600_000):
        await rig.until_state(order_id, "FILLED")
        await rig.until("SELECT bool_and(settlement = 'provisional') FROM ledger.fill")
    await rig.owner.execute("UPDATE paper.trade SET status = $1", status)
    assert reconcile(rig).result == "drift"
    return order_id


@pytest.mark.parametrize(("here", "there"), [("CONFIRMED", "FAILED"), ("FAILED", "CONFIRMED")])
async def test_a_trade_that_is_final_here_and_the_other_way_there_is_drift_and_halts_its_market(
    rig: Rig, here: str, there: str
) -> None:
    order_id = await final(rig, here)
    await rig.owner.execute("UPDATE paper.trade SET status = $1", there)
    report = reconcile(rig)
    assert report.result == "drift"
    [told] = report.accounts[0].differences
    assert (told.kind, told.ours, told.theirs) == (
        "settlement_contradicted", here.lower(), there.lower(),
    )  # fmt: skip
    assert (await rig.owner.fetchval("SELECT settlement FROM ledger.fill")) == "confirmed"
    [row] = await rig.owner.fetch(
        "SELECT order_id, detail FROM ledger.journal WHERE event = 'SETTLEMENT_CONTRADICTED'"
    )
    assert row["order_id"] == order_id
    assert json.loads(row["detail"])["theirs"] == there.lower()
    rows = await rig.owner.fetch("SELECT * FROM ledger.drift WHERE kind = $1", told.kind)
    assert {row["run_id"] is None for row in rows} == {True, False}, "heard of, and compared"
    assert {(row["drift_class"], row["after"]) for row in rows} == {("halt", "confirmed")}
    [refused] = await rig.ask(rig.request("m1"))
    assert refused["code"] == "HALTED"
    [admitted] = await rig.ask(rig.request("m2"))
    assert admitted["status"] == "admitted"


async def test_a_contradiction_that_stands_is_told_again_and_done_once(rig: Rig) -> None:
    await final(rig, "CONFIRMED")
    await rig.owner.execute("UPDATE paper.trade SET status = 'FAILED'")
    assert reconcile(rig).result == "drift"
    before = await rig.state()
    assert reconcile(rig).result == "drift"
    assert await rig.state() == before
    assert (await told(rig, "settlement_contradicted"))["action"].startswith("nothing new: ")
    journaled = "SELECT count(*) FROM ledger.journal WHERE event = 'SETTLEMENT_CONTRADICTED'"
    assert await rig.owner.fetchval(journaled) == 1


async def test_a_fee_that_the_venue_says_later_is_booked_by_a_comparison(rig: Rig) -> None:
    order_id = await final(rig, "CONFIRMED")
    collateral = "SELECT available FROM ledger.balance WHERE asset = 'collateral'"
    before = await rig.owner.fetchval(collateral)
    await rig.owner.execute("UPDATE paper.trade_part SET fee_micros = 4321")
    report = reconcile(rig)
    assert [one.kind for one in report.accounts[0].differences] == ["fee_behind"]
    row = await told(rig, "fee_behind")
    assert (row["ours"], row["theirs"], row["after"]) == ("0", "4321", "4321")
    assert await rig.owner.fetchval("SELECT fee_micros FROM ledger.fill") == 4321
    assert await rig.owner.fetchval(collateral) == before - 4321
    assert reconcile(rig).result == "clean"
    assert (await rig.order(order_id))["confirmed_micros"] == 5 * SHARE
    await rig.check_sound()


# ---- runs that nobody ended


async def test_a_comparison_whose_worker_was_killed_is_ended_by_the_next_worker(rig: Rig) -> None:
    worker = rig.start(stop_at="start.read.after")
    await worker.died()
    open_runs = "SELECT count(*) FROM ledger.reconcile_run WHERE ended_at IS NULL"
    assert await rig.owner.fetchval(open_runs) == 1
    await rig.started(reconcile_every_s=1)
    # at once if the beat of the dead one has lapsed by then, else with one of the next comparisons
    run = await rig.until(
        "SELECT detail ->> 'reason' FROM ledger.reconcile_run WHERE result = 'incomplete' "
        "AND ended_at IS NOT NULL"
    )
    assert "gone before it had ended" in run
    alive = await rig.owner.fetch("SELECT alive_until > clock_timestamp() FROM ledger.worker")
    assert sorted(row[0] for row in alive) == [False, True]


async def test_a_comparison_that_the_database_interrupts_is_incomplete_and_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = LedgerCalls.value

    async def failing(self: LedgerCalls, function: str, *arguments: Any) -> Any:
        if function == "move_cursor":
            raise DatabaseProblem(Code.DATABASE_BUSY, "it took too long")
        return await value(self, function, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(LedgerCalls, "value", failing)
        report = reconcile(rig)
    assert report.result == "incomplete"
    assert "it took too long" in report.accounts[0].reason
    [run] = await rig.owner.fetch("SELECT * FROM ledger.reconcile_run")
    assert (run["result"], run["ended_at"] is None) == ("incomplete", False)
