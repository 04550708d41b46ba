"""Sessions against each other: no pair of public functions deadlocks in any order, races end one
way or the other, and the sums hold. Lessons 12, 40 and 46.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Item, Life, call, incarnation, token, venue_id
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
            stranger = {"account": self.account(), "venue_order_id": venue_id(10**6)}
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
        for row in await self.conn.fetch("SELECT max(halt_id) AS v FROM ledger.halt"):
            for account in ACCOUNTS:
                await self("clear_halt", "account", account, row["v"])
            for market in MARKETS:
                await self("clear_halt", "market", market, row["v"])

    async def mend(self) -> None:
        await self("release_lane", self.account(), self.market(), "w", "me")
        letter = await self.conn.fetchval("SELECT max(dead_letter_id) FROM ledger.dead_letter")
        await self("retry_dead_letter", letter)
        await self("resolve_order", self.orders()[0], "cancelled", None, "w", "me")

    async def limits(self) -> None:
        value = str(self.rng.randrange(500, 2_000) * SHARE)
        await self("set_limit", None, self.market(), "max_outcome_micros", value, "w")

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
        steps: list[Callable[[], Awaitable[None]]] = (
            [self.reserve] * 5 + [self.send] * 5 + [self.fills, self.observe, self.cancel] * 2
            + [self.complete_any, self.renew, self.cancel_all, self.claim_cancels, self.release,
               self.evidence, self.replace, self.sweep, self.move, self.mutex, self.halt,
               self.mend, self.limits, self.housekeeping, self.tick]
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
    assert len(states) >= 6, states
    assert await differences(life.conn) == {}


# ---- two sessions, one market


async def blocked(life: Life) -> None:
    """Until some session of this database waits for a lock."""
    async with asyncio.timeout(20):
        while not await life.conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        ):
            # inside a transaction the view is a snapshot until it is told otherwise
            await life.conn.execute("SELECT pg_stat_clear_snapshot()")


async def test_two_batches_in_opposite_order_both_end(
    life: Life, module_database: TestDatabase
) -> None:
    for market in MARKETS[1:]:
        await life.add_market(market)
    sessions = [life.on(await module_database.connect()) for _ in range(2)]

    async def batches(session: Life, n: int) -> int:
        admitted = 0
        for turn in range(30):
            markets = MARKETS if n == 0 else MARKETS[::-1]
            requests = [
                session.request(market=m, key=f"{n} {turn} {m}", size_micros=5 * SHARE)
                for m in markets
            ]
            answers = await session.call("reserve_pending", requests)
            codes = {a.get("code", "admitted") for a in answers}
            assert codes <= {"admitted", "BUSY"}
            admitted += sum(a["status"] == "admitted" for a in answers)
        return admitted

    counts = await asyncio.gather(*(batches(s, n) for n, s in enumerate(sessions)))
    assert sum(counts) == await life.conn.fetchval("SELECT count(*) FROM ledger.orders")
    assert await differences(life.conn) == {}


async def test_evidence_and_cancels_in_opposite_order_both_end(
    life: Life, module_database: TestDatabase
) -> None:
    await life.add_market("m2")
    ids = [await life.live(), await life.live(market="m2")]
    first, other = [life.on(await module_database.connect()) for _ in range(2)]

    async def work(session: Life, function: str, order: list[int], item: Item) -> None:
        for _ in range(60):
            await session.call(function, [{"order_id": o} | item for o in order])

    await asyncio.gather(
        work(first, "record_evidence", ids[::-1], {"kind": "order_absent"}),
        work(other, "request_cancel", ids, {"reason": "r"}),
    )


async def test_renewed_claims_and_completions_in_opposite_order_both_end(
    life: Life, module_database: TestDatabase
) -> None:
    ids = []
    for n in range(8):
        await life.add_market(f"lane {n}")
        ids.append(await life.reserved(market=f"lane {n}", valid_for_ms=86_400_000))
    first, other = [life.on(await module_database.connect()) for _ in range(2)]

    async def turns() -> None:
        for _ in range(25):
            await first.claim()
            items = [
                {"order_id": o, "incarnation": str(life.worker), "claim_no": first.claims[o]}
                for o in reversed(ids)
            ]
            assert await first.call("drop_claims", items) == len(ids)

    async def beats() -> None:
        for _ in range(150):
            await other.call("renew_claims", life.worker, 10_000, tuple(ids))

    await asyncio.gather(turns(), beats())


async def test_a_racing_key_is_one_order_whoever_comes_first(life: Life, second: Life) -> None:
    await life.add_market("m2")
    request = life.request(key="the same")
    async with life.conn.transaction():
        (mine,) = await life.call("reserve_pending", [request])
        racing = asyncio.get_running_loop().create_task(second.call("reserve_pending", [request]))
        await blocked(life)
    (theirs,) = await racing
    assert theirs == mine | {"replay": True}


async def test_a_key_that_was_rolled_back_is_free(life: Life, second: Life) -> None:
    request = life.request(key="the same")
    transaction = life.conn.transaction()
    await transaction.start()
    await life.call("reserve_pending", [request])
    racing = asyncio.get_running_loop().create_task(second.call("reserve_pending", [request]))
    await blocked(life)
    await transaction.rollback()
    (theirs,) = await racing
    assert theirs["replay"] is False
    assert await differences(life.conn) == {}


async def test_a_halt_is_seen_by_who_waited_for_the_lock(life: Life, second: Life) -> None:
    async with life.conn.transaction():
        await life.reserved()
        waiting = asyncio.get_running_loop().create_task(second.reserve())
        await blocked(life)
        await life.call("set_halt", "global", None, "test", "tester")
    assert (await waiting)["code"] == "HALTED"


async def test_a_busy_market_does_not_hold_up_a_batch(life: Life, second: Life) -> None:
    await life.add_market("m2")
    await life.reserved()
    async with life.conn.transaction():
        await life.conn.execute("SELECT * FROM ledger.exposure FOR UPDATE")
        answers = await second.call(
            "reserve_pending", [second.request(market="m2"), second.request(market="m1")]
        )
    assert [a.get("code", a["status"]) for a in answers] == ["admitted", "BUSY"]


async def test_an_order_committed_while_a_call_waits_is_left_alone_by_it(
    life: Life, second: Life
) -> None:
    held = await life.reserved()
    await life.add_market("m2")
    async with life.conn.transaction():
        await life.conn.execute("SELECT * FROM ledger.exposure FOR UPDATE")
        (late,) = await life.call("reserve_pending", [life.request(market="m2")])
        items = [{"order_id": one, "reason": "r"} for one in (late["order_id"], held)]
        waiting = asyncio.get_running_loop().create_task(second.call("request_cancel", items))
        await blocked(life)
    answers = await waiting
    assert [one.get("code", one["status"]) for one in answers] == ["UNKNOWN_ORDER", "ok"]
    assert await life.state(late["order_id"]) == "RESERVED"
    assert await life.state(held) == "NOT_PLACED"
    assert await differences(life.conn) == {}
