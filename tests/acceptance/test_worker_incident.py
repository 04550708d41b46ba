"""200 shares on one outcome of a 15-minute market with a cap of 100: it happened once, and must not again.

Ticks of several processes want more of an outcome whenever they see no position; workers are killed
and fills come late. What counts at the end is the venue's own book.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.support.life import SHARE
from tests.support.worker import ROOT, Rig, rig_fixture  # noqa: F401
from workers.worker.points import POINTS

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

CAP: Final = 100 * SHARE

TICKS = """
import asyncio, json, random, sys
import asyncpg

async def main(url, name, seed, gap_ms):
    chance = random.Random(int(seed))
    conn = await asyncpg.connect(url)
    n = 0
    while True:
        n += 1
        side, cents = chance.choice([("BUY", 90), ("BUY", 90), ("BUY", 5), ("SELL", 95)])
        request = {"account": "main", "market": "btc-15m", "outcome": chance.choice(["Up", "Down"]),
                   "side": side, "price_micros": cents * 10000, "size_micros": chance.choice([7, 20, 50]) * 1000000,
                   "key": f"{name} {n // 2}", "valid_for_ms": chance.choice([300, 3000, 30000]),
                   "clamp": chance.random() < 0.5}
        answer = json.loads(await conn.fetchval("SELECT ledger.reserve_pending($1)", json.dumps([request])))
        if chance.random() < 0.02:
            await conn.fetchval("SELECT ledger.request_cancel_all('main', 'btc-15m', 'tick')")
        await conn.fetchval("SELECT pg_sleep($1)", int(gap_ms) / 1000)

asyncio.run(main(*sys.argv[1:3], sys.argv[3], sys.argv[4]))
"""

GATEWAY = """
import asyncio, random, sys
from app.errors import LedgerError
from app.gateway import DesiredOrder, Gateway
from app.ledger import Intent, Ledger

async def main(url, name, seed, gap_ms):
    chance = random.Random(int(seed))
    async with Ledger.open(url, account="main") as ledger:
        gateway = Gateway(ledger, ttl_ms=500)
        n = 0
        while True:
            n += 1
            try:
                if chance.random() < 0.5:
                    size = chance.choice([20, 50]) * 1_000_000
                    await gateway.place_order_with_guards(Intent(
                        market="btc-15m", outcome="Up", side="BUY", price_micros=900_000, size_micros=size,
                        key=f"{name} {n}", clamp=True))
                else:
                    await gateway.set_desired_orders("btc-15m", [
                        DesiredOrder(outcome="Up", side="BUY", size_micros=30_000_000,
                                     price_micros=chance.choice([900_000, 50_000])),
                        DesiredOrder(outcome="Down", side="BUY", price_micros=50_000, size_micros=30_000_000)],
                        tick_micros=10_000, revision=f"{name} {n}")
            except LedgerError:
                pass
            await ledger.calls.rows("SELECT pg_sleep($1)", int(gap_ms) / 1000)

asyncio.run(main(*sys.argv[1:3], sys.argv[3], sys.argv[4]))
"""


async def bought(rig: Rig) -> dict[str, int]:
    """Per outcome, by the venue's book: what was bought and what could still be bought there, less what
    a confirmed sale gave away."""
    rows = await rig.owner.fetch(
        "SELECT v.token_id, sum(CASE WHEN v.side = 'SELL' THEN 0 WHEN v.status = 'LIVE' THEN v.size_micros "
        "ELSE v.matched_micros END) - coalesce((SELECT sum(p.size_micros) FROM paper.trade_part p "
        "JOIN paper.trade t USING (trade_id) WHERE p.side = 'SELL' AND t.status = 'CONFIRMED' "
        "AND t.token_id = v.token_id), 0) AS shares "
        "FROM paper.venue_order v GROUP BY v.token_id"
    )
    return {row["token_id"]: int(row["shares"]) for row in rows}


@asynccontextmanager
async def watched(rig: Rig) -> AsyncIterator[None]:
    """Read the venue's book again and again: at no moment may it hold more than the cap."""
    over: list[dict[str, int]] = []

    async def watch() -> None:
        while not over:
            over.extend(
                [found] if max((found := await bought(rig)).values(), default=0) > CAP else []
            )

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert over == [], "over the cap at the venue"


async def break_the_venue(rig: Rig, chance: random.Random) -> None:
    """Answers get lost, orders appear late, look-ups lie, the stream goes silent; all bounded."""
    kinds = ("drop_answer", "lost_request", "appear_late", "delay", "http")
    for n in range(60):
        kind = chance.choice(kinds)
        more: dict[str, Any] = {
            "delay": {"before_ms": 200, "after_ms": 300},
            "appear_late": {"late_ms": chance.choice([300, 1_500])},
            "http": {"http_status": chance.choice([425, 429, 500]), "retry_after_ms": 200},
        }.get(kind, {})
        await rig.fault("place", kind, skip=n * 3 + chance.randrange(3), **more)
        await rig.fault("order", chance.choice(["null", "unread", "delay"]), skip=n * 4)
    await rig.fault("events", "silent", skip=5, times=10)


def start_writers(rig: Rig, seed: int) -> list[subprocess.Popen[bytes]]:
    """Three processes that tick every 15 ms, one of them through the gateway."""
    url = rig.database.url_for("worker")
    writers = []
    for n, script in enumerate((TICKS, TICKS, GATEWAY)):
        with (rig.folder / f"writer-{n}.log").open("wb") as log:
            writers.append(
                subprocess.Popen(
                    [sys.executable, "-c", script, url, f"{seed}-{n}", str(seed * 10 + n), "15"],
                    env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                    cwd=rig.folder,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
            )
    return writers


async def run_workers_that_die(rig: Rig, chance: random.Random) -> None:
    """One after the other, each killed at some point of its work, or after three seconds."""
    for _ in range(4):
        worker = rig.start(
            stop_at=f"{chance.choice(POINTS)}:{chance.randint(1, 4)}", reconcile_every_s=1
        )
        with suppress(AssertionError):
            await worker.ended(within_s=3)
        await worker.kill()


@pytest.mark.parametrize("seed", [11, 12])
async def test_no_mixture_of_ticks_kills_and_late_fills_buys_more_than_the_cap(
    rig: Rig, seed: int
) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    ends = datetime.now(UTC) + timedelta(minutes=15)
    await rig.markets("btc-15m", window_end_ms=int(ends.timestamp() * 1000))
    await rig.limit("max_outcome_micros", CAP)
    await break_the_venue(rig, chance)
    async with watched(rig):
        writers = start_writers(rig, seed)
        try:
            await run_workers_that_die(rig, chance)
            await rig.venue.faults.clear()
            clean = rig.start(reconcile_every_s=1)
            await rig.until("SELECT max(matched_micros) > 0 FROM paper.venue_order")
            gone = [n for n, writer in enumerate(writers) if writer.poll() is not None]
            said = [(rig.folder / f"writer-{n}.log").read_text() for n in gone]
            assert not gone, "\n".join(said)
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        await rig.owner.fetchval("SELECT ledger.request_cancel_all('main', NULL, 'the end')")
        await rig.until_resolved(within_s=40)
        await clean.stop()
    asked = "SELECT count(*) FILTER (WHERE key LIKE '%-2%' = $1) FROM ledger.orders"
    by_ticks, by_gateway = [await rig.owner.fetchval(asked, way) for way in (False, True)]
    got = await bought(rig)
    print(f"orders by ticks {by_ticks}, by the gateway {by_gateway}; bought {json.dumps(got)}")
    assert min(by_ticks, by_gateway) > 0
    assert max(got.values()) <= CAP
    assert await rig.owner.fetch("SELECT * FROM audit.cap_breaches") == []
    await rig.check_sound()
