"""Two sessions at one market: races end one way or the other, and opposite orders never deadlock.

Lessons 40 and 46.
"""

from __future__ import annotations

import asyncio

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Item, Life
from tests.support.recount import differences

MARKETS = ("m1", "m2", "m3")


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
            items = [
                {k: work[k] for k in ("order_id", "claim_no")} | {"incarnation": str(life.worker)}
                for work in reversed(await first.claim())
            ]
            assert await first.call("drop_claims", items) == len(items)

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
