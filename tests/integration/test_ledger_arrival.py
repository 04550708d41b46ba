"""All orders of arrival give the same rows (lesson 24): trades before the answer, an update before
the trade, a partial fill after the cancel, everything twice.

A history is what really happened to one order at the venue, made up from a seed. Its facts are told
to the ledger in several orders; what is left in the rows must be the same.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, empty_ledger

PERMUTATIONS = 6
SIZE = 10 * SHARE
SETTLEMENTS = (
    ("MATCHED",),
    ("MATCHED", "MINED"),
    ("MATCHED", "MINED", "CONFIRMED"),
    ("CONFIRMED",),
    ("MATCHED", "RETRYING", "FAILED"),
    ("MATCHED", "FAILED", "CONFIRMED"),
)
FEES = {"MINED": 1_300, "RETRYING": 900, "FAILED": 700, "CONFIRMED": 1_000}
"""Matched says none, and each later status another one."""
ANSWERS = ("acknowledge", "acknowledge_delayed", "mark_unknown", "mark_seen")
ENDS = ("live", "cancelled", "expired", "filled", "overfilled")

Fact = Callable[[Life, int], Awaitable[Any]]


def trade(name: str, size: int, status: str, price: int) -> Fact:
    return lambda life, order_id: life.fill(
        order_id, size, status, trade_id=name, price_micros=price, fee_micros=FEES.get(status, 0)
    )


def seen(status: str, matched: int, source: str) -> Fact:
    return lambda life, order_id: life.observe(order_id, status, matched, source)


def answer(how: str) -> Fact:
    return lambda life, order_id: life.complete(how, order_id)


def history(rng: random.Random) -> list[Fact]:
    """The facts of one order that lived at the venue."""
    end = rng.choice(ENDS)
    total = {"filled": SIZE, "overfilled": SIZE + 3}.get(
        end, rng.randrange(0, SIZE // 10_000) * 10_000
    )
    facts = [answer(rng.choice(ANSWERS)), seen("LIVE", 0, "stream"), seen("LIVE", 0, "read")]
    matched = 0
    while matched < total:
        size = min(total - matched, rng.randrange(1, SIZE))
        matched += size
        name, price = f"t{matched}", rng.randrange(300_000, 410_000)
        facts += [trade(name, size, status, price) for status in rng.choice(SETTLEMENTS)]
        facts += [seen("LIVE", matched, rng.choice(("stream", "read")))] * rng.randrange(2)
    if end in ("cancelled", "expired"):
        facts += [seen(end.upper(), total, source) for source in ("stream", "read")]
    if end == "filled":
        facts += [seen("MATCHED", total, "read")] * rng.randrange(2)
    return facts + rng.choices(facts, k=rng.randrange(4))


async def rows(life: Life, order_id: int) -> dict[str, Any]:
    """What is left, but for times, causes and the order of bookings."""
    order = await life.row("orders", order_id)
    # a delayed order is open as a live one is: which of the two words came first is no difference
    order["state"] = order["state"].replace("DELAYED", "LIVE")
    reservation = await life.row("reservation", order_id)
    fills = await life.conn.fetch(
        "SELECT trade_id, size_micros, price_micros, cash_micros, fee_micros, side, outcome, "
        "settlement FROM ledger.fill ORDER BY trade_id"
    )
    booked = await life.conn.fetch(
        "SELECT asset, sum(available_delta), sum(locked_delta) FROM ledger.balance_entry "
        "GROUP BY asset HAVING sum(available_delta) <> 0 OR sum(locked_delta) <> 0 ORDER BY asset"
    )
    balances = await life.conn.fetch(
        "SELECT asset, available, locked FROM ledger.balance "
        "WHERE available <> 0 OR locked <> 0 ORDER BY asset"
    )
    assert [tuple(row) for row in booked] == [tuple(row) for row in balances]
    outbox = await life.row("outbox", order_id)
    without = ("cause", "state_at", "released_at", "awaiting_since", "journal_seq", "clock_at")
    return {
        "fills": [tuple(row) for row in fills],
        "balances": [tuple(row) for row in balances],
        "outbox": (outbox["status"], outbox["claimed_by"]),
        "halts": sorted(set(await life.halts())),
        "order": {k: v for k, v in order.items() if k not in without},
        "reservation": {k: v for k, v in reservation.items() if k not in without},
        "exposure": {k: v for k, v in (await life.exposure()).items() if k not in without},
        "cancels": await life.claim_cancels(),
    }


async def told(life: Life, side: str, facts: list[Fact]) -> dict[str, Any]:
    await empty_ledger(life.conn)
    await life.open_account(life.account)
    await life.add_market(life.market, fee_rate_micros=10_000)
    await life.add_tokens(0, 50 * SHARE)
    order_id = await life.sending(side=side, key="k")
    for fact in facts:
        await fact(life, order_id)
    return await rows(life, order_id)


@pytest.mark.parametrize("seed", range(24))
async def test_all_orders_of_arrival_give_the_same_rows(
    module_database: TestDatabase, seed: int
) -> None:
    life = await Life.begin(module_database)
    rng = random.Random(seed)
    side = rng.choice(("BUY", "BUY", "SELL"))
    facts = history(rng)
    expected = await told(life, side, facts)
    for _ in range(PERMUTATIONS):
        shuffled = rng.sample(facts, len(facts))
        assert await told(life, side, shuffled) == expected
    await life.conn.close()
