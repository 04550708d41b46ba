"""Sessions against each other: no pair of public functions deadlocks in any order, races end one
way or the other, and the sums hold. Lessons 12, 40 and 46.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Item, Life, call, incarnation, market_row, token, venue_id
from tests.support.recount import differences

SESSIONS = 4
OPERATIONS = 220
MARKETS = ("m1", "m2", "m3")
ACCOUNTS = ("main", "other")


@dataclass
class Hammer:
    """One session that calls everything, with batches in any order."""

    conn: asyncpg.Connection
    rng: random.Random
    admitted: list[int]

    async def __call__(self, function: str, *arguments: Any) -> Any:
        try:
            return await call(self.conn, function, *arguments)
        except asyncpg.PostgresError as problem:
            # a misuse is answered with an exception of ours; anything else fails the test
            # (40001: an order appeared while the call waited; it asks to be made again)
            if not (problem.sqlstate or "").startswith(("LG", "40001")):
                raise
            return []

    def worker(self) -> str:
        return str(incarnation(self.rng.randrange(1, 4)))

    def orders(self) -> list[int]:
        known = self.admitted[-25:] or [1]
        return self.rng.sample(known, min(len(known), self.rng.randrange(1, 6)))

    def market(self) -> str:
        return self.rng.choice(MARKETS)

    def account(self) -> str:
        return self.rng.choice(ACCOUNTS)

    def request(self) -> Item:
        rng = self.rng
        return {
            "account": self.account(),
            "market": self.market(),
            "outcome": rng.choice(("Up", "Down")),
            "side": rng.choice(("BUY", "BUY", "SELL")),
            "price_micros": rng.randrange(1, 100) * 10_000,
            "size_micros": rng.randrange(5, 20) * SHARE,
            "key": f"key {rng.randrange(2_000)}",
            "clamp": rng.random() < 0.3,
            "class": rng.choice(("entry", "entry", "hedge")),
            "valid_for_ms": rng.choice((1_000, 60_000)),
        }

    # ---- one method per public function or group of them

    async def reserve(self) -> None:
        requests = [self.request() for _ in range(self.rng.randrange(1, 7))]
        for answer in await self("reserve_pending", requests):
            if answer["status"] == "admitted":
                self.admitted.append(answer["order_id"])

    async def send(self) -> None:
        me = self.worker()
        claim = self.rng.choice(("claim_placements", "claim_look_ups"))
        work = await self(claim, me, ACCOUNTS, 2_000, self.rng.randrange(1, 8))
        self.rng.shuffle(work)
        ids = [{k: w[k] for k in ("order_id", "claim_no")} | {"incarnation": me} for w in work]
        step = self.rng.random()
        if step < 0.1:
            await self("drop_claims", ids)
            return
        bytes_ = {"body": base64.b64encode(b"x").decode(), "fields": {}}
        await self(
            "prepare", [i | bytes_ | {"venue_order_id": venue_id(i["order_id"])} for i in ids]
        )
        if step < 0.2:
            for item in ids[:1]:
                await self("fail_placement", item["order_id"], me, item["claim_no"], "p")
            return
        opened = await self("open_attempt", [i | {"owner": "o"} for i in ids])
        if step < 0.3:
            return  # the process dies here
        done = [
            {"order_id": a["order_id"], "attempt": a["attempt"], "incarnation": me}
            for a in opened
            if a["status"] == "ok"
        ]
        self.rng.shuffle(done)
        await self(self.answer(), done)

    def answer(self) -> str:
        return self.rng.choice(
            ("acknowledge", "acknowledge", "acknowledge_delayed", "reject", "hold_back",
             "mark_seen", "mark_unknown")
        )  # fmt: skip

    async def complete_any(self) -> None:
        me = self.worker()
        items = [{"order_id": o, "attempt": 1, "incarnation": me} for o in self.orders()]
        await self(self.answer(), items)

    async def renew(self) -> None:
        await self("renew_claims", self.worker(), 2_000, tuple(self.orders()))

    async def cancel(self) -> None:
        await self("request_cancel", [{"order_id": o, "reason": "r"} for o in self.orders()])

    async def cancel_all(self) -> None:
        market = self.rng.choice((None, *MARKETS))
        await self("request_cancel_all", self.account(), market, "r")

    async def claim_cancels(self) -> None:
        work = await self("claim_cancels", self.worker(), ACCOUNTS, 5)
        self.rng.shuffle(work)
        answer = self.rng.choice(("accepted", "refused", "not_sent", "unknown"))
        await self(
            "record_cancel_answers", [{"order_id": w["order_id"], "answer": answer} for w in work]
        )

    async def release(self) -> None:
        await self("release_pending", [{"order_id": o} for o in self.orders()])

    async def evidence(self) -> None:
        kind = self.rng.choice(("order_absent", "trades_absent", "late_answer"))
        items = [{"order_id": o, "kind": kind, "owner": "o"} for o in self.orders()]
        await self("record_evidence", items)
        await self("prove_absent", self.rng.sample(items, len(items)))

    async def accounts_of(self) -> list[tuple[int, str, int]]:
        found = await self.conn.fetch(
            "SELECT o.order_id, a.name, o.size_micros FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) WHERE o.order_id = ANY ($1) "
            "AND o.venue_order_id IS NOT NULL ORDER BY random()",
            self.orders(),
        )
        return [tuple(row) for row in found]

    async def fills(self) -> None:
        rng = self.rng
        items = [
            {
                "account": account,
                "venue_order_id": venue_id(order_id),
                "trade_id": f"t{rng.randrange(5)}",
                "size_micros": size // 4,
                "price_micros": 400_000,
                "status": rng.choice(("MATCHED", "CONFIRMED", "FAILED")),
            }
            for order_id, account, size in await self.accounts_of()
        ]
        await self("record_fills", items)

    async def observe(self) -> None:
        rng = self.rng
        items = [
            {
                "account": account,
                "venue_order_id": venue_id(order_id),
                "size_matched_micros": rng.choice((0, 0, size // 2)),
                "status": rng.choice(("LIVE", "LIVE", "CANCELLED", "EXPIRED", "MATCHED")),
                "source": rng.choice(("read", "stream")),
                "took_ms": 0,
            }
            for order_id, account, size in await self.accounts_of()
        ]
        if rng.random() < 0.2:
            stranger: Item = {"account": self.account(), "venue_order_id": venue_id(10**6)}
            items.insert(rng.randrange(len(items) + 1), stranger)
        await self("observe_orders", items)

    async def replace(self) -> None:
        for order_id in self.orders()[:2]:
            found = await self.conn.fetchrow(
                "SELECT a.name, m.slug, o.outcome, o.side FROM ledger.orders o "
                "JOIN ledger.account a USING (account_id) JOIN ledger.market m USING (market_id) "
                "WHERE order_id = $1",
                order_id,
            )
            if found:
                change = dict(zip(("account", "market", "outcome", "side"), found, strict=True))
                await self(
                    "replace_order", order_id, self.request() | change | {"outcome": str(found[2])}
                )

    async def sweep(self) -> None:
        for name in ("sweep_lapsed", "sweep_expired", "sweep_cancels", "sweep_breaches"):
            await self(name)

    async def move(self) -> None:
        asset = self.rng.choice(("collateral", token(self.market(), self.rng.randrange(2))))
        key = f"m{self.rng.randrange(10**6)}"
        await self("book_movement", self.account(), asset, 5 * SHARE, "deposit", key, "")

    async def mutex(self) -> None:
        market, account = self.market(), self.account()
        taken = await self("take_mutex", account, market, incarnation(9), 1_000, True)
        if taken and taken.get("term"):
            await self("renew_mutex", account, market, taken["term"], 1_000)
            await self("release_mutex", account, market, taken["term"])

    async def halt(self) -> None:
        scope, name = self.rng.choice((("global", None), ("account", "main"), ("market", "m2")))
        version = await self("set_halt", scope, name, "w", "me")
        await self("clear_halt", scope, name, version)
        # what facts have halted is resumed too, or the hammer would soon hit nothing
        standing = await self.conn.fetch(
            "SELECT h.scope, coalesce(a.name, m.slug) AS name, max(h.halt_id) AS version "
            "FROM ledger.halt h LEFT JOIN ledger.account a "
            "ON h.scope = 'account' AND a.account_id::text = h.scope_id LEFT JOIN ledger.market m "
            "ON h.scope = 'market' AND m.market_id::text = h.scope_id "
            "WHERE h.cleared_at IS NULL GROUP BY 1, 2"
        )
        for row in standing:
            await self("clear_halt", row["scope"], row["name"], row["version"])

    async def mend(self) -> None:
        await self("release_lane", self.account(), self.market(), "w", "me")
        letter = await self.conn.fetchval("SELECT max(dead_letter_id) FROM ledger.dead_letter")
        await self("retry_dead_letter", letter)
        await self("resolve_order", self.orders()[0], "cancelled", None, "w", "me")

    async def limits(self) -> None:
        value = str(self.rng.randrange(500, 2_000) * SHARE)
        await self("set_limit", None, self.market(), "max_outcome_micros", value, "w")
        scope = self.rng.choice(("account", "group", "global"))
        total = self.rng.choice((value, value, None))
        await self("set_total_limit", scope, "", "max_cost_micros", total, "w")
        await self("reset_breaker", self.account(), self.rng.choice((None, self.market())), "w")
        await self("sweep_groups")

    async def regroup(self) -> None:
        group = self.rng.choice(("g", "h", None))
        markets = self.rng.sample(MARKETS, 2)
        await self("import_markets", [market_row(market, group_key=group) for market in markets])

    async def books(self) -> None:
        side = [[300_000, SHARE]]
        item = {"token_id": token(self.market(), 0), "bids": side, "asks": [], "age_ms": 0}
        await self("note_books", [item])

    async def housekeeping(self) -> None:
        events = [{"event_id": f"e{self.rng.randrange(50)}", "raw": ""} for _ in range(4)]
        await self("store_events", self.account(), events)
        await self("take_receipt", self.account(), "c", f"k{self.rng.randrange(9)}")
        await self("take_lease", "l", incarnation(self.rng.randrange(3)), 10)
        await self("move_cursor", self.account(), "c", self.rng.randrange(99))

    async def tick(self) -> None:
        step = self.rng.choice((100, 1_000, 3_000)) * 1_000
        await self.conn.execute(
            "SELECT setval('test_clock.micros', last_value + $1) FROM test_clock.micros", step
        )

    async def run(self, operations: int) -> None:
        steps: Sequence[Callable[[], Awaitable[None]]] = (
            [self.reserve] * 5 + [self.send] * 5 + [self.fills, self.observe, self.cancel] * 2
            + [self.complete_any, self.renew, self.cancel_all, self.claim_cancels, self.release,
               self.evidence, self.replace, self.sweep, self.move, self.mutex, self.halt,
               self.mend, self.limits, self.regroup, self.books, self.housekeeping, self.tick]
        )  # fmt: skip
        for _ in range(operations):
            await self.rng.choice(steps)()


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_functions_deadlock_and_the_sums_hold(
    life: Life, module_database: TestDatabase, seed: int
) -> None:
    for account in ACCOUNTS[1:]:
        await life.open_account(account)
    for market in MARKETS[1:]:
        await life.add_market(market)
    admitted: list[int] = []
    hammers = [
        Hammer(await module_database.connect(), random.Random(f"{seed}/{n}"), admitted)
        for n in range(SESSIONS)
    ]
    async with asyncio.timeout(60):
        await asyncio.gather(*(hammer.run(OPERATIONS) for hammer in hammers))
    assert len(admitted) > 40
    states = await life.conn.fetch("SELECT state, count(*) FROM ledger.orders GROUP BY 1")
    assert len(states) >= 5, states
    assert await differences(life.conn) == {}
