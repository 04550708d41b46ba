"""A ledger that has lived: orders in every state, both sides, fees, failures, replacements, and rows in
every table, each written by the functions that write it in earnest.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.support.database import TestDatabase
from tests.support.life import LEASE_MS, SHARE, Life, incarnation, token, venue_id
from tests.support.servers import in_thread
from tests.support.withdrawals import Saga


@dataclass(frozen=True)
class Orders:
    """Ids of the orders that tests speak of, by what became of them."""

    partly_filled: int
    filled: int
    cancelled: int
    absent: int
    rejected: int
    held_back_once: int
    awaiting: int
    cancel_asked: int
    failed_trade: int
    selling: int
    sold: int
    replaced: int
    replacement: int
    sending: int
    unknown: int
    waiting: int
    resolved: int
    late: int
    faster: int
    duplicated: int
    hedge: int
    released: int
    dead: int


MAKER = "0x" + "ab" * 20


class Writer(Life):
    """As `Life`, but what it signs are bodies as the venue takes them."""

    async def prepare(self, order_id: int, body: bytes = b"") -> dict[str, Any]:
        row = await self.row("orders", order_id)
        return await super().prepare(order_id, body or body_of(row))


def body_of(order: dict[str, Any]) -> bytes:
    """The bytes to send for an order row, without a true signature."""
    shares = order["size_micros"]
    collateral = order["price_micros"] * shares // 1_000_000
    maker, taker = (collateral, shares) if order["side"] == "BUY" else (shares, collateral)
    signed = {
        "salt": order["salt"],
        "maker": MAKER,
        "timestamp": str(order["signed_at_ms"]),
        "tokenId": order["token_id"],
        "makerAmount": str(maker),
        "takerAmount": str(taker),
        "side": order["side"],
        "expiration": str(order["expires_at_s"]),
        "signature": "0x00",
    }
    message = {
        "order": signed,
        "owner": "",
        "orderType": order["order_type"],
        "deferExec": False,
        "postOnly": order["post_only"],
    }
    return json.dumps(message).encode()


def build(database: TestDatabase) -> Orders:
    """Fill an empty migrated database, from any thread. It keeps the settable clock."""

    async def work() -> Orders:
        life = await Writer.begin(database)
        try:
            return await live(life)
        finally:
            await life.conn.close()
            database._opened.remove(life.conn)

    return in_thread(lambda: asyncio.run(work()))


async def live(life: Life) -> Orders:
    """What happens: some minutes of trading in six markets by one account, and little by another."""
    await life.call("sign_as", life.account, MAKER, MAKER)
    await life.add_market("m2", fee_rate_micros=50_000)
    await life.add_tokens(0, 100 * SHARE)
    await life.limit("max_outcome_micros", 500 * SHARE)
    await life.limit("max_market_micros", 900 * SHARE)
    absent = await life.absent()
    await life.clock.advance(60_000)
    bought = await _buy(life)
    sold = await _sell(life)
    replaced, replacement = await _replace(life)
    fates = await _fates(life)
    queues = await _queues(life)
    await _suspend(life)
    await _surroundings(life)
    await _risk(life)
    await _withdraw(life)
    life.market = "m2"
    await life.call("set_limit", None, "m2", "burst_per_minute", "60", "test")
    await life.clock.advance(120_000)
    await life.call("set_halt", "market", "m2", "a look", "ops")
    version = await life.conn.fetchval("SELECT max(halt_id) FROM ledger.halt")
    await life.call("clear_halt", "market", "m2", version, "looked", "ops")
    await life.call("release_pending", [{"order_id": await life.reserved(), "cause": "withdrawn"}])
    failed = await _fail(life)
    sending = await life.sending(valid_for_ms=86_400_000)
    life.market = "m1"
    unknown = await life.unknown(size_micros=7 * SHARE)
    waiting = await life.reserved(valid_for_ms=86_400_000)
    await life.call("sweep_losses")
    return Orders(
        absent=absent,
        failed_trade=failed,
        sending=sending,
        unknown=unknown,
        waiting=waiting,
        replaced=replaced,
        replacement=replacement,
        **bought,
        **sold,
        **fates,
        **queues,
    )


async def _buy(life: Life) -> dict[str, int]:
    partly = await life.live(size_micros=12 * SHARE)
    await life.fill(partly, 4 * SHARE, trade_id="part 1", fee_micros=1_500)
    await life.fill(partly, 4 * SHARE, "CONFIRMED", trade_id="part 1", fee_micros=1_500)
    await life.fill(partly, 2 * SHARE, trade_id="part 2")
    filled = await life.live()
    await life.fill(filled, 10 * SHARE, trade_id="whole", price_micros=390_000)
    await life.fill(filled, 10 * SHARE, "CONFIRMED", trade_id="whole", price_micros=390_000)
    cancelled = await life.live()
    await life.fill(cancelled, 3 * SHARE, trade_id="before the cancel")
    await life.cancel(cancelled)
    await life.claim_cancels()
    await life.cancel_answered(cancelled, "accepted")
    await life.read(cancelled, "CANCELLED", 3 * SHARE)
    rejected = await life.sending()
    await life.complete("reject", rejected)
    held_back = await life.held_back()
    await life.clock.advance(5_000)
    await life.claim()
    await life.open_attempt(held_back)
    await life.complete("acknowledge", held_back, 2)
    awaiting = await life.live()
    await life.read(awaiting, "LIVE", 5 * SHARE)
    asked = await life.live()
    await life.cancel(asked)
    return {
        "partly_filled": partly,
        "filled": filled,
        "cancelled": cancelled,
        "rejected": rejected,
        "held_back_once": held_back,
        "awaiting": awaiting,
        "cancel_asked": asked,
    }


async def _sell(life: Life) -> dict[str, int]:
    terms: dict[str, Any] = {"side": "SELL", "price_micros": 600_000}
    selling = await life.live(size_micros=20 * SHARE, **terms)
    await life.fill(selling, 8 * SHARE, trade_id="sale 1", price_micros=600_000)
    sold = await life.live(size_micros=15 * SHARE, **terms)
    whole: dict[str, Any] = {"trade_id": "sale 2", "price_micros": 610_000, "fee_micros": 900}
    await life.fill(sold, 15 * SHARE, **whole)
    await life.fill(sold, 15 * SHARE, "CONFIRMED", **whole)
    return {"selling": selling, "sold": sold}


async def _replace(life: Life) -> tuple[int, int]:
    old = await life.live(outcome="Down", size_micros=20 * SHARE)
    request = life.request(outcome="Down", size_micros=20 * SHARE, price_micros=410_000)
    asked = await life.call("replace_order", old, request)
    assert asked["status"] == "asked", asked
    await life.fill(old, 6 * SHARE, trade_id="while replaced")
    await life.read(old, "CANCELLED", 6 * SHARE)
    new = await life.conn.fetchval(
        "SELECT new_order_id FROM ledger.replacement WHERE replacement_id = $1",
        asked["replacement_id"],
    )
    await life.claim()
    await life.prepare(new)
    await life.open_attempt(new)
    await life.complete("acknowledge", new)
    return old, int(new)


async def _fail(life: Life) -> int:
    order_id = await life.live(price_micros=500_000, size_micros=30 * SHARE)
    trade: dict[str, Any] = {"price_micros": 480_000, "fee_micros": 250_000}
    await life.fill(order_id, 20 * SHARE, trade_id="fails", **trade)
    await life.fill(order_id, 20 * SHARE, "FAILED", trade_id="fails", **trade)
    await life.fill(order_id, 5 * SHARE, trade_id="holds", **trade)
    return order_id


async def _fates(life: Life) -> dict[str, int]:
    """Answers that came late, twice or not at all."""
    life.market = "m3"
    await life.add_market("m3")
    resolved = await life.unknown()
    await life.call("resolve_order", resolved, "not_placed", None, "asked support", "ann")
    late = await life.sending()
    await life.clock.advance(LEASE_MS)
    await life.call("sweep_lapsed")
    assert (await life.complete("acknowledge", late))["code"] == "STALE_ATTEMPT"
    await life.read(late, "CANCELLED", 2 * SHARE)
    faster = await life.sending()
    await life.stream(faster, "LIVE")
    await life.complete("mark_unknown", faster)
    again: dict[str, Any] = {"valid_for_ms": 86_400_000}
    duplicated = await life.unknown(**again)
    await life.claim_look_ups()
    await life.clock.advance(1_000)
    await life.open_attempt(duplicated)
    assert (await life.complete("mark_seen", duplicated, 2))["state"] == "UNKNOWN"
    await life.evidence(duplicated, "late_answer", detail="from the stream")
    hedge = await life.reserved(**{"class": "hedge", "strategy": "s", "context": {"a": 1}} | again)
    return {
        "resolved": resolved,
        "late": late,
        "faster": faster,
        "duplicated": duplicated,
        "hedge": hedge,
    }


async def _queues(life: Life) -> dict[str, int]:
    """A lane that an operator released, and one whose head failed five times in our own hands."""
    life.market = "m5"
    await life.add_market("m5")
    released = await life.unknown()
    await life.call("release_lane", life.account, "m5", "it may take hours", "ann")
    life.market = "m6"
    await life.add_market("m6")
    dead = await life.reserved(valid_for_ms=86_400_000)
    for _ in range(5):
        await life.clock.advance(30_000)
        await life.claim()
        await life.call("fail_placement", dead, life.worker, life.claims[dead], "no key")
    return {"released": released, "dead": dead}


async def _suspend(life: Life) -> None:
    """Tokens over the cap of their market."""
    life.market = "m4"
    await life.add_market("m4")
    await life.call("set_limit", life.account, "m4", "max_outcome_micros", str(SHARE), "test")
    await life.add_tokens(0, 2 * SHARE)
    assert (await life.exposure())["suspended_until"] is not None


async def _risk(life: Life) -> None:
    """Totals that are capped and lent, books, a budget of changes, breakers open, slow and at rest."""
    for scope, name, column, value in (
        ("global", None, "max_cost_micros", 5_000 * SHARE),
        ("group", None, "max_shares_micros", 5_000 * SHARE),
        ("account", life.account, "changes_per_minute", 100),
        ("account", None, "max_open_orders", 100),
        ("live", None, "max_cost_micros", 400 * SHARE),
    ):
        await life.call("set_total_limit", scope, name, column, str(value), "test")
    levels = {"bids": [[390_000, SHARE]], "asks": [[410_000, SHARE], [420_000, SHARE]]}
    await life.call("note_books", [levels | {"token_id": token("m1", 0), "age_ms": 0}])
    life.market = "m7"
    await life.add_market("m7", group_key="seven")
    for price in (400_000, 390_000, 380_000):
        rejected = await life.sending(price_micros=price)
        await life.complete("reject", rejected)
    life.market = "m8"
    await life.add_market("m8", group_key="seven")
    await life.complete("reject", await life.sending())
    slow = await life.sending(price_micros=390_000)
    await life.clock.advance(2_500)
    await life.complete("acknowledge", slow)
    await life.reserved(price_micros=380_000, valid_for_ms=86_400_000)


async def _surroundings(life: Life) -> None:
    """What is kept beside orders: grants, events, runs, leases, a strange order of a second account."""
    bot = await life.conn.fetchval("SELECT session_user::text")
    await life.call("grant_account", life.account, bot)
    await life.open_account("second")
    second = Writer(life.conn, life.clock, "second", life.market, incarnation(2))
    await second.observe(4_711, "LIVE")
    version = await life.conn.fetchval("SELECT max(halt_id) FROM ledger.halt")
    await life.call("clear_halt", "account", "second", version, "an order from the web page", "ann")
    stranger = (venue_id(4_711), "cancelled", "by hand", "ann")
    assert await life.call("resolve_foreign", "second", *stranger)
    await life.call("note_mode", "second", "POST_ONLY", None, "said so")
    await life.call("note_mode", "second", "RESTARTING", 1_000, "425")
    await life.call("end_mode", "second", "RESTARTING", "answers again")
    await life.call("record_exchanges", [_EXCHANGE | {"account": life.account}])
    await life.call("record_holdings", life.account, 10_000 * SHARE, {})
    reward = {"reward_key": "r", "earned_on": "2026-03-01", "amount_micros": SHARE}
    await life.call("record_rewards", life.account, [reward])
    await life.call("allocate_reward", life.account, "r", "s", SHARE)
    await life.call("store_events", life.account, [{"event_id": "e1", "raw": "{}"}])
    await life.call("store_events", life.account, [{"event_id": "e2", "raw": "?"}])
    await life.call("mark_events", life.account, ("e1",), None)
    await life.call("mark_events", life.account, ("e2",), "unreadable")
    for result, drift in (("clean", []), ("drift", [dict.fromkeys(_DRIFT, "text")])):
        run = await life.call("start_run", life.account, "periodic", life.worker)
        await life.call("end_run", run, result, {}, drift)
    await life.call("worker_started", life.worker, "worker", "1")
    await life.call("take_lease", "stream", life.worker, 1_000)
    await life.call("move_cursor", life.account, "trades", 1_770_000_000_000)
    await life.call("take_receipt", life.account, "a consumer", "a key")


async def _withdraw(life: Life) -> None:
    """One withdrawal that went through at the second try, one given back on proof, one not begun."""
    await life.open_account("third")
    third = Saga(Writer(life.conn, life.clock, "third", life.market, incarnation(3)))
    await third.to("UNLOCKED")
    await third.debit()
    await third.record(await third.open(), "unsure")
    await third.note("pending", False)
    await third.record(await third.open(), "done")
    assert await third.state() == "DONE"
    await third.to("UNLOCKED", key="w2", amount=7 * SHARE)
    await third.debit(hash="0x" + "2" * 64)
    await third.record(await third.open(), "refused")
    assert await third.state() == "FAILED"
    await third.step("compensate_withdrawal")
    assert await third.state() == "COMPENSATED"
    await third.start(key="w3", amount=9 * SHARE)


_EXCHANGE: dict[str, Any] = {"method": "GET", "path": "/", "query": "", "request": ""} | {
    "phase": "answered",
    "status": 200,
    "answer": "{}",
    "problem": "",
    "took_ms": 5,
}
_DRIFT = ("kind", "subject", "ours", "theirs", "after", "action")
