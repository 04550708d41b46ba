"""Cancels leave at once, whatever else stands still, and only a read ends an order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.venue.interface import CancelRefused
from tests.support.life import call
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker.cancels import READS_AT_ONCE


async def hold_mutex(rig: Rig) -> None:
    holder = "00000000-0000-0000-0000-0000000000bb"
    answer = await call(rig.owner, "take_mutex", "main", "m1", holder, 60_000)
    assert answer["status"] == "ok"


async def suspend(rig: Rig) -> None:
    await rig.owner.execute(
        "UPDATE ledger.exposure SET suspended_until = clock_timestamp() + interval '1 hour', "
        "suspended_why = 'test'"
    )


async def block_lane(rig: Rig) -> None:
    head = await rig.reserve("m1")
    await rig.fault("place", "lost_request", head, times=10_000)
    await rig.until_state(head, "UNKNOWN")


async def clog_sending(rig: Rig) -> None:
    """Every request for a placement hangs."""
    await rig.fault("place", "delay", times=10_000, before_ms=5_000)
    slugs = [f"clog {n}" for n in range(8)]
    await rig.markets(*slugs)
    sending = [await rig.reserve(slug) for slug in slugs]
    await rig.until_state(sending[0], "SENDING")


async def refuse_placements(rig: Rig) -> None:
    """The venue restarts: placements are held back for a long while."""
    await rig.fault("place", "http", times=10_000, http_status=425, retry_after_ms=30_000)
    held = await rig.reserve("m1")
    await rig.until_state(held, "HELD_BACK")


async def halt_by(rig: Rig, scope: str, subject: str | None) -> None:
    await call(rig.owner, "set_halt", scope, subject, "test", "test")


async def nothing(rig: Rig) -> None:
    pass


STANDSTILLS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "nothing": nothing,
    "mutex held": hold_mutex,
    "suspended": suspend,
    "lane blocked": block_lane,
    "sending clogged": clog_sending,
    "placements refused": refuse_placements,
    "halted globally": lambda rig: halt_by(rig, "global", None),
    "account halted": lambda rig: halt_by(rig, "account", "main"),
    "market halted": lambda rig: halt_by(rig, "market", "m1"),
}


@pytest.mark.parametrize("standstill", STANDSTILLS)
async def test_a_cancel_leaves_at_once(rig: Rig, standstill: str) -> None:
    order_id = await rig.reserve("m1")
    async with rig.inside(request_timeout_ms=100):
        await rig.until_state(order_id, "LIVE")
        await STANDSTILLS[standstill](rig)
        if "halted" not in standstill:
            await rig.cancel(order_id)
        await rig.until_state(order_id, "CANCELLED", within_s=5)
        took = await rig.owner.fetchval(
            "SELECT extract(epoch FROM o.state_at - o.cancel_asked_at)::float FROM ledger.orders o "
            "WHERE order_id = $1",
            order_id,
        )
        assert took < 2.0
        await rig.venue.faults.clear()
    [found] = await rig.at_venue(order_id)
    assert found["status"] == "CANCELED"


@pytest.mark.parametrize("slow", ["cancel", "order"])
async def test_a_cancel_waits_neither_for_the_request_nor_for_the_read_of_another_account(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    await rig.account("second")
    mine, theirs = await rig.reserve(), await rig.reserve(account="second")
    asked, answered = asyncio.Event(), asyncio.Event()
    async with rig.inside() as context:
        for order_id in (mine, theirs):
            await rig.until_state(order_id, "LIVE")
        ask = getattr(context.venue, slow)

        async def slowly(account: str, *arguments: Any) -> Any:
            if account == "main":
                asked.set()
                await answered.wait()
            return await ask(account, *arguments)

        monkeypatch.setattr(context.venue, slow, slowly)
        try:
            await rig.cancel(mine)
            await until(asked.is_set, "the venue is asked about the first account")
            await rig.cancel(theirs)
            await rig.until_state(theirs, "CANCELLED", within_s=5)
            assert (await rig.order(mine))["state"] == "LIVE"
        finally:
            answered.set()
        await rig.until_state(mine, "CANCELLED")
    await rig.check_sound()


async def test_where_look_ups_hang_each_order_has_one_and_its_delete_leaves_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each second adds one more to the connections that the comparison reads with, too."""
    order_ids = [await rig.reserve() for _ in range(12)]
    running: list[str] = []
    twice: list[str] = []
    most = 0
    answered = asyncio.Event()
    async with rig.inside() as context:
        for order_id in order_ids:
            await rig.until_state(order_id, "LIVE")
        ask, deleted = context.venue.order, Counter[str]()

        async def slowly(account: str, venue_order_id: str, **more: Any) -> Any:
            nonlocal most
            twice.extend(one for one in running if one == venue_order_id)
            running.append(venue_order_id)
            most = max(most, len(running))
            await answered.wait()
            running.remove(venue_order_id)
            return await ask(account, venue_order_id, **more)

        async def missed(account: str, ids: Sequence[str]) -> list[CancelRefused]:
            deleted.update(ids)
            return [CancelRefused("not found", "") for _ in ids]

        with monkeypatch.context() as patched:
            patched.setattr(context.venue, "order", slowly)
            patched.setattr(context.venue, "cancel", missed)
            try:
                await rig.cancel(*order_ids)
                await until(
                    lambda: len(deleted) == len(order_ids) and min(deleted.values()) >= 3,
                    "each DELETE has left three times",
                )
                assert twice == []
                assert most == len(running) == READS_AT_ONCE
            finally:
                answered.set()
        for order_id in order_ids:
            await rig.until_state(order_id, "CANCELLED")
    await rig.check_sound()


async def test_a_cancel_leaves_before_the_account_is_ready(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
    await rig.fault("trades", "unread", times=10_000)
    await rig.cancel(order_id)
    async with rig.inside() as context:
        await rig.until_state(order_id, "CANCELLED")
        assert context.shared.ready == set()
    await rig.check_sound()


@pytest.mark.parametrize(
    ("scope", "subject"), [("global", None), ("account", "main"), ("market", "m1")]
)
async def test_a_halt_ends_what_is_live_and_what_waits(
    rig: Rig, scope: str, subject: str | None
) -> None:
    live = [await rig.reserve("m1") for _ in range(3)]
    elsewhere = await rig.reserve("m2")
    async with rig.inside():
        for order_id in (*live, elsewhere):
            await rig.until_state(order_id, "LIVE")
        await rig.fault("place", "http", times=10_000, http_status=503, retry_after_ms=60_000)
        waiting = await rig.reserve("m1")
        await rig.until_state(waiting, "HELD_BACK")
        await halt_by(rig, scope, subject)
        for order_id in live:
            await rig.until_state(order_id, "CANCELLED")
        await rig.until_state(waiting, "NOT_PLACED")
        if scope == "market":
            assert (await rig.order(elsewhere))["state"] == "LIVE"
        else:
            await rig.until_state(elsewhere, "CANCELLED")
    await rig.check_sound()


async def test_a_cancelled_order_is_one_that_a_read_shows_cancelled(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.fault("order", "unread", order_id, times=10_000)
        await rig.cancel(order_id)
        await rig.until(
            "SELECT last_answer LIKE 'accepted%' FROM ledger.cancel_request WHERE order_id = $1",
            order_id,
        )
        assert (await rig.order(order_id))["state"] == "LIVE"
        held = "SELECT held_micros FROM ledger.reservation WHERE order_id = $1"
        assert await rig.owner.fetchval(held, order_id) > 0
        await rig.venue.faults.clear()
        await rig.until_state(order_id, "CANCELLED")
        assert await rig.owner.fetchval(held, order_id) == 0
    await rig.check_sound()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cancel_miss", "times": 2},
        {"kind": "lost_request", "times": 2},
        {"kind": "drop_answer"},
        {"kind": "http", "http_status": 425, "retry_after_ms": 200, "times": 3},
        {"kind": "http", "http_status": 500, "times": 2},
    ],
    ids=lambda fault: f"{fault['kind']}{fault.get('http_status', '')}",
)
async def test_a_cancel_is_repeated_until_a_read_shows_the_end(
    rig: Rig, fault: dict[str, Any]
) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.fault("cancel", order_id=order_id, **fault)
        await rig.cancel(order_id)
        await rig.until_state(order_id, "CANCELLED")
    await rig.check_sound()


async def test_each_order_of_a_cancel_request_ends_by_its_own_answer_and_its_own_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, missed, lost = orders = [await rig.reserve(market) for market in ("m1", "m2", "m3")]
    async with rig.inside() as context:
        for order_id in orders:
            await rig.until_state(order_id, "LIVE")
        await rig.fault("cancel", "cancel_miss", missed, times=10_000)
        await rig.fault("cancel", "lost_request", lost, times=10_000)
        cancel, requests = context.venue.cancel, list[int]()

        async def counted(account: str, ids: Sequence[str]) -> Any:
            requests.append(len(ids))
            return await cancel(account, ids)

        monkeypatch.setattr(context.venue, "cancel", counted)
        await rig.cancel(*orders)
        await rig.until_state(gone, "CANCELLED")
        await rig.until("SELECT min(tries) > 1 FROM ledger.cancel_request WHERE status = 'due'")
        assert requests[0] == 3
        answers = await rig.owner.fetch("SELECT order_id, last_answer FROM ledger.cancel_request")
        said = {row["order_id"]: row["last_answer"].split(":")[0] for row in answers}
        assert said == {gone: "accepted", missed: "refused", lost: "unknown"}
        for order_id in (missed, lost):
            assert (await rig.order(order_id))["state"] == "LIVE"
        await rig.venue.faults.clear()
        for order_id in (missed, lost):
            await rig.until_state(order_id, "CANCELLED")
    await rig.check_sound()


async def test_a_cancel_of_an_order_in_flight_is_repeated_until_its_fate_is_known(rig: Rig) -> None:
    """It may arrive after the DELETE: then the next one finds it."""
    order_id = await rig.reserve()
    await rig.fault("place", "appear_late", order_id, late_ms=2_500)
    async with rig.inside():
        await rig.until_state(order_id, "UNKNOWN")
        await rig.cancel(order_id)
        await rig.until_state(order_id, "CANCELLED")
    tries = await rig.owner.fetchval(
        "SELECT tries FROM ledger.cancel_request WHERE order_id = $1", order_id
    )
    assert tries > 1
    [found] = await rig.at_venue(order_id)
    assert (found["status"], found["times_received"]) == ("CANCELED", 1)
    await rig.check_sound()


async def test_a_fill_that_crossed_the_cancel_is_booked(rig: Rig) -> None:
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.fault("cancel", "lost_request", times=10_000)
        await rig.cancel(order_id)
        await rig.fill_at_venue("m1", cents=4)
        await rig.until_state(order_id, "FILLED")
        await rig.until_resolved()
    await rig.check_sound()


async def test_a_worker_told_to_cancels_everything_when_it_stops(rig: Rig) -> None:
    orders = [await rig.reserve(market) for market in ("m1", "m2", "m3")]
    async with rig.inside(cancel_on_stop=True):
        for order_id in orders:
            await rig.until_state(order_id, "LIVE")
    for order_id in orders:
        assert (await rig.order(order_id))["state"] == "CANCELLED"
    await rig.check_sound()
