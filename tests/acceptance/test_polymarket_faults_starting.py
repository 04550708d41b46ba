"""A worker that starts while the venue refuses, times out or half-answers: it says why, and begins by itself.

And no second signed order, whoever dies or takes over: exactly one hash per intent arrives at the venue, ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, call
from tests.support.polymarket_rig import PolymarketRig, pm_fixture, polymarket_rig

__all__ = ["pm_fixture"]

FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("http_error", {"status": 500, "text": "internal error"}, "HTTP 500"),
    ("hang", {}, "timeout"),
    ("truncated_json", {"keep": 0}, "not JSON"),
]
"""Refuses, times out, half-answers; and what is said of each."""

READS = {
    "GET /time": "the venue's time",
    "GET /version": "the venue's order version",
    "GET /auth/ban-status/closed-only": "closed-only status",
    "GET /v1/user/rate-limit-tier": "rate limit tier",
    "GET /data/trades": "trades",
    "GET /data/orders": "open orders",
    "GET /balance-allowance": "balances",
    "GET /data-api/v2/positions": "positions",
}
"""What a start reads, and how it names what it could not read."""


async def does_not_trade(pm: PolymarketRig, order_id: int, why: str) -> None:
    """The worker says why, and nothing has left."""
    await pm.until("SELECT not_ready_why LIKE $1 FROM ledger.worker", why, within_s=15)
    assert not await pm.owner.fetchval("SELECT bool_or(ready) FROM ledger.worker")
    assert pm.simulator.see("arrivals") == {}
    assert (await pm.order(order_id))["state"] == "RESERVED"


async def starts_only_when_clean(pm: PolymarketRig, endpoint: str, named: str) -> int:
    """One start through all three faults of one read; an order waits meanwhile and goes in the end."""
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    fault, terms, said = FAULTS[0]
    number = pm.simulator.fault(fault, endpoint=endpoint, times=0, **terms)
    async with pm.inside(request_timeout_ms=400):
        await does_not_trade(pm, order_id, f"main: {named}:%{said}%")
        for fault, terms, said in FAULTS[1:]:
            following = pm.simulator.fault(fault, endpoint=endpoint, times=0, **terms)
            pm.simulator.do("no_fault", number=number)
            number = following
            await does_not_trade(pm, order_id, f"main: {named}:%{said}%")
        pm.simulator.do("no_fault", number=number)
        await pm.until_state(order_id, "LIVE")
        assert await pm.owner.fetchval("SELECT bool_and(ready) FROM ledger.worker")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()
    return order_id


@pytest.mark.parametrize("endpoint", READS)
async def test_a_start_that_cannot_read_one_thing_does_not_trade_and_says_which(
    pm: PolymarketRig, endpoint: str
) -> None:
    await starts_only_when_clean(pm, endpoint, READS[endpoint])


async def test_a_start_that_cannot_look_up_an_order_that_is_not_listed_does_not_trade(
    pm: PolymarketRig,
) -> None:
    """It was live, and the venue cancelled it while nobody looked."""
    async with pm.inside():
        await pm.trading()
        before = await pm.reserve(cents=5)
        await pm.until_state(before, "LIVE")
        await pm.until_settled()
    venue_order_id = (await pm.order(before))["venue_order_id"]
    pm.simulator.do("cancel", address=(await pm.book(before))["account"], order_id=venue_order_id)
    waiting = await pm.reserve(cents=5, valid_for_ms=60_000)
    number = pm.simulator.fault("http_error", endpoint="GET /data/order/{id}", times=0)
    async with pm.inside():
        await pm.until_struck(number)
        await pm.until(
            "SELECT not_ready_why LIKE 'main: order ' || $1 || ':%' FROM ledger.worker "
            "WHERE stopped_at IS NULL",
            venue_order_id,
        )
        assert (await pm.order(waiting))["state"] == "RESERVED"
        assert (await pm.order(before))["state"] == "LIVE"
        pm.simulator.do("no_fault")
        await pm.until_state(before, "CANCELLED")
        await pm.until_state(waiting, "LIVE")
        await pm.until_settled()
    await pm.check_against_venue()


async def test_a_start_without_a_stream_does_not_place_and_begins_when_it_is_there(
    pm: PolymarketRig,
) -> None:
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    nowhere = "ws://127.0.0.1:9/ws/user"
    async with pm.inside(polymarket_ws_url=nowhere):
        await pm.until("SELECT EXISTS (SELECT FROM ledger.worker WHERE ready)")
        gate = await pm.owner.fetchval("SELECT ledger._gate(account_id, true) FROM ledger.account")
        assert gate == "BLIND_STREAM"
        assert (await pm.order(order_id))["state"] == "RESERVED"
    async with pm.inside():
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


async def test_cancels_leave_while_the_start_cannot_be_completed(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
    pm.simulator.fault("http_error", endpoint="GET /version", times=0)
    await pm.cancel(order_id)
    async with pm.inside():
        await pm.until_state(order_id, "CANCELLED")
        assert not await pm.owner.fetchval("SELECT bool_or(ready) FROM ledger.worker")
    assert (await pm.book(order_id))["status"] == "CANCELED"
    await pm.check_against_venue()


async def test_a_venue_that_nobody_used_for_a_while_has_no_stopped_clock(pm: PolymarketRig) -> None:
    """Reads alone must move the simulator's clock: else no worker starts at a venue where nothing happens."""
    at_ms = pm.simulator.see("state")["at_ms"]
    await pm.until("SELECT extract(epoch FROM clock_timestamp()) * 1000 > $1::bigint + 6500", at_ms)
    async with pm.inside():
        await pm.until("SELECT EXISTS (SELECT FROM ledger.worker WHERE ready)", within_s=8)


async def test_fills_from_while_nobody_looked_are_booked_from_pages_that_shift(
    pm: PolymarketRig,
) -> None:
    """A page that moved makes the reading unknown, not shorter: every fill is booked once."""
    pm.simulator.do("settings", page_limit=2)
    async with pm.inside():
        await pm.trading()
        order_ids = [await pm.reserve(cents=40 + one, shares=5) for one in range(5)]
        for order_id in order_ids:
            await pm.until_state(order_id, "LIVE")
    for _ in order_ids[:4]:
        pm.simulator.do(
            "trade", token_id=pm.market.yes, side="SELL", price="0.40", size="5", mint=False
        )
    pm.simulator.fault("page_shift", endpoint="GET /data/trades", by=1)
    pm.simulator.fault("page_shift", endpoint="GET /data/orders", by=1)
    pm.simulator.fault("duplicate_rows", endpoint="GET /data/*", times=3)
    async with pm.inside():
        for order_id in order_ids[1:]:
            await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
        assert (await pm.order(order_ids[0]))["state"] == "LIVE"
    assert await pm.owner.fetchval("SELECT sum(size_micros) FROM ledger.fill") == 20 * SHARE
    await pm.check_against_venue()


async def test_pages_that_always_shift_lose_no_order(pm: PolymarketRig) -> None:
    """The same row is missing from every reading: what is not listed is looked up by its id."""
    pm.simulator.do("settings", page_limit=2)
    async with pm.inside():
        await pm.trading()
        order_ids = [await pm.reserve(cents=5) for _ in range(5)]
        for order_id in order_ids:
            await pm.until_state(order_id, "LIVE")
    pm.simulator.fault("page_shift", endpoint="GET /data/orders", by=1, times=0)
    async with pm.inside():
        await pm.trading()
        pm.simulator.do("no_fault")
        await pm.until_settled()
    for order_id in order_ids:
        assert (await pm.order(order_id))["state"] == "LIVE"
        assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


# --- no second signed order -----------------------------------------------------------------------


async def test_a_worker_that_died_with_the_order_sent_leaves_no_second_one_to_its_successor(
    pm: PolymarketRig,
) -> None:
    worker = pm.start(stop_at="send.after")
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    await worker.died()
    assert (await pm.order(order_id))["state"] == "SENDING"
    pm.no_stream()
    async with pm.inside():
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["accepted"] == 1
    assert len(pm.simulator.see("arrivals")) == 1
    await pm.check_against_venue()


async def test_a_worker_that_died_before_it_sent_leaves_its_very_bytes_to_its_successor(
    pm: PolymarketRig,
) -> None:
    worker = pm.start(stop_at="send.before")
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    await worker.died()
    signed = await pm.owner.fetchval("SELECT body FROM ledger.signed_order")
    async with pm.inside():
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert await pm.owner.fetchval("SELECT body FROM ledger.signed_order") == signed
    assert len(pm.simulator.see("arrivals")) == 1
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


async def test_a_paused_worker_that_lost_its_lease_sends_nothing_more(pm: PolymarketRig) -> None:
    """It stood still between its attempt and its bytes; another resolved the order meanwhile."""
    paused = pm.start(pause_at="send.before")
    order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
    await paused.paused()
    async with pm.inside():
        await pm.until_state(order_id, "LIVE")
        paused.go_on()
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.evidence WHERE order_id = $1 "
            "AND kind = 'refused_completion')",
            order_id,
            tell=paused.said,
        )
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["accepted"] == 1
    assert len(pm.simulator.see("arrivals")) == 1
    await pm.check_against_venue()


async def test_a_new_version_that_starts_while_the_fate_is_open_signs_nothing_anew(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Release, key and time are others; what goes again are the bytes that are stored."""
    async with polymarket_rig(database, tmp_path, quarantine_ms=60_000) as pm:
        pm.no_stream()
        pm.simulator.fault("appear_late", ms=30_000)
        async with pm.inside():
            await pm.trading()
            order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
            await pm.until_state(order_id, "UNKNOWN")
        signed = await pm.owner.fetchrow("SELECT * FROM ledger.signed_order")
        monkeypatch.setattr("app.__version__", "9.9.9")
        async with pm.inside():
            await pm.until_state(order_id, "LIVE")
            await pm.until_settled()
        pm.simulator.advance(31_000)
        assert await pm.owner.fetchrow("SELECT * FROM ledger.signed_order") == signed
        assert (await pm.arrivals(order_id))["accepted"] == 1
        assert len(pm.simulator.see("arrivals")) == 1
        assert (await pm.book(order_id))["status"] == "LIVE"
        await pm.check_against_venue()


async def test_an_operator_who_retries_a_dead_letter_sends_no_second_order(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing failed until the letter; after the retry the fate is open, and a second retry changes nothing."""

    def fail(*_args: Any, **_terms: Any) -> Any:
        from app.errors import Code, LedgerError

        raise LedgerError(Code.SIGNING_FAILED, "the key is away")

    with monkeypatch.context() as patched:
        patched.setattr("workers.worker.sending._sign", fail)
        async with pm.inside():
            await pm.trading()
            order_id = await pm.reserve(cents=5, valid_for_ms=60_000)
            await pm.until("SELECT failures > 0 FROM ledger.outbox WHERE order_id = $1", order_id)
            await pm.owner.execute("UPDATE ledger.outbox SET failures = 4, not_before = now()")
            await pm.until("SELECT EXISTS (SELECT FROM ledger.dead_letter)")
    letter = await pm.owner.fetchval("SELECT dead_letter_id FROM ledger.dead_letter")
    pm.no_stream()
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("drop_after", endpoint="POST /order*")
        assert await call(pm.owner, "retry_dead_letter", letter) == f"outbox:{order_id}"
        await pm.until("SELECT attempts > 0 FROM ledger.orders WHERE order_id = $1", order_id)
        assert await call(pm.owner, "retry_dead_letter", letter) is None
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    assert len(pm.simulator.see("arrivals")) == 1
    await pm.check_against_venue()


async def test_two_workers_that_both_started_place_each_intent_once(pm: PolymarketRig) -> None:
    first, second = pm.start(), pm.start()
    await pm.until("SELECT count(*) = 2 FROM ledger.worker WHERE ready", tell=first.said)
    await pm.trading()
    for slug in ("m2", "m3", "m4"):
        await pm.new_market(slug)
    slugs = ("m1", "m2", "m3", "m4") * 3
    order_ids = [await pm.reserve(slug, cents=5) for slug in slugs]
    for order_id in order_ids:
        await pm.until_state(order_id, "LIVE")
    await pm.until_settled()
    for order_id in order_ids:
        assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()
    await first.stop()
    await second.stop()
