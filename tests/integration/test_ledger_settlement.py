"""What changes about a trade after it was booked: its fee, and an end that was thought final.

Each change is a fact. It is booked once, as the difference, and in whatever order the reports come
the same stands in the end.
"""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, token, venue_id
from tests.support.recount import differences

START = 10_000 * SHARE


# ---- final, and not so


async def test_a_final_trade_that_ends_the_other_way_is_journaled_and_told_once(life: Life) -> None:
    order_id = await life.live()
    for status in ("MATCHED", "CONFIRMED", "FAILED", "FAILED", "CONFIRMED"):
        await life.clock.advance(1)
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    (row,) = await life.events("SETTLEMENT_CONTRADICTED")
    assert (row["order_id"], row["from_state"], row["to_state"]) == (order_id, "FILLED", "FILLED")
    told = {
        "trade": "t", "size": 10 * SHARE, "price": 400_000, "fee": 0, "settlement": "confirmed",
        "status": "CONFIRMED", "maker": False, "ours": "confirmed", "theirs": "failed",
    }  # fmt: skip
    assert {key: row["detail"].get(key) for key in told} == told
    (drift,) = await life.conn.fetch("SELECT * FROM ledger.drift")
    assert (drift["kind"], drift["ours"], drift["theirs"], drift["run_id"]) == (
        "settlement_contradicted", "confirmed", "failed", None,
    )  # fmt: skip
    assert drift["subject"] == f"t/{venue_id(order_id)}"
    assert "market is halted" in drift["action"]
    assert await differences(life.conn) == {}
    wrong = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert wrong == []


async def test_a_person_who_has_looked_at_a_contradiction_is_not_halted_again_by_its_echo(
    life: Life,
) -> None:
    order_id = await life.live()
    for status in ("MATCHED", "FAILED", "CONFIRMED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    halt = await life.conn.fetchval("SELECT halt_id FROM ledger.halt")
    await life.call("clear_halt", "market", "m1", halt)
    for status in ("FAILED", "CONFIRMED"):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t")
    assert await life.halts() == []
    # another trade is another matter
    other = await life.live()
    for status in ("CONFIRMED", "FAILED"):
        await life.fill(other, 10 * SHARE, status, trade_id="another")
    assert await life.halts() == ["CONFIRMED_AFTER_FAILED"]
    assert len(await life.events("SETTLEMENT_CONTRADICTED")) == 2


# ---- fees


REPORTS: list[tuple[list[tuple[str, int | None]], int]] = [
    # what is said, status by status, and the fee that stands
    ([("MATCHED", 0), ("CONFIRMED", 50_000)], 50_000),
    ([("MATCHED", None), ("MINED", None), ("CONFIRMED", 50_000)], 50_000),
    ([("MATCHED", 0), ("CONFIRMED", 0), ("CONFIRMED", 50_000)], 50_000),
    ([("MATCHED", 20_000), ("CONFIRMED", 50_000)], 50_000),
    ([("MATCHED", 50_000), ("CONFIRMED", 20_000)], 20_000),
    ([("MATCHED", 50_000), ("MINED", 30_000), ("RETRYING", 40_000)], 40_000),
    ([("MATCHED", 50_000), ("CONFIRMED", 0)], 50_000),
    ([("MATCHED", 50_000), ("CONFIRMED", None)], 50_000),
    ([("CONFIRMED", 20_000), ("CONFIRMED", 50_000)], 50_000),
]


async def books(life: Life) -> list[object]:
    """Amounts alone: in which order they were booked is no matter."""
    fills = await life.conn.fetch("SELECT trade_id, fee_micros, settlement FROM ledger.fill")
    exposure = await life.exposure()
    return [
        await life.balance(), await life.balance(token("m1", 0)), [tuple(row) for row in fills],
        {k: v for k, v in exposure.items() if k not in ("journal_seq", "clock_at")},
    ]  # fmt: skip


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(("reports", "fee"), REPORTS)
async def test_a_fee_is_booked_once_whenever_it_is_said(
    module_database: TestDatabase, reports: list[tuple[str, int | None]], fee: int, side: str
) -> None:
    found = []
    for order in sorted(set(permutations(reports)), key=str):
        life = await Life.begin(module_database)
        await life.add_tokens(0, 10 * SHARE)
        order_id = await life.live(side=side)
        for status, said in (*order, *order):
            await life.fill(order_id, 10 * SHARE, status, trade_id="t", fee_micros=said)
        found.append(await books(life))
        assert await differences(life.conn) == {}
        assert (await life.row("fill", order_id))["fee_micros"] == fee
        if "CONFIRMED" in dict(reports):
            paid = START - 4 * SHARE - fee if side == "BUY" else START + 4 * SHARE - fee
            assert await life.balance() == (paid, 0)
        rows = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
        assert rows == []
        await life.conn.close()
    assert all(one == found[0] for one in found)


async def test_a_late_fee_is_a_journaled_fact_of_an_ended_order_and_of_its_balance(
    life: Life,
) -> None:
    order_id = await life.live()
    await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t")
    await life.read(order_id, "CANCELLED", 4 * SHARE)
    before = await life.conn.fetchval("SELECT count(*) FROM ledger.balance_entry")
    for _ in range(2):
        await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id="t", fee_micros=7_000)
    assert await life.state(order_id) == "CANCELLED"
    assert await life.balance() == (START - 1_600_000 - 7_000, 0)
    entries = await life.conn.fetch("SELECT * FROM ledger.balance_entry ORDER BY entry_seq")
    assert len(entries) == before + 1
    assert (entries[-1]["available_delta"], entries[-1]["trade_id"]) == (-7_000, "t")
    said = [row["detail"]["fee"] for row in await life.events("FILL_PART")]
    assert said == [0, 7_000]


async def test_a_failed_trade_costs_no_fee_whenever_it_is_said(life: Life) -> None:
    order_id = await life.live()
    for status, fee in (("MATCHED", 0), ("FAILED", 9_000), ("MATCHED", 8_000), ("FAILED", 9_500)):
        await life.fill(order_id, 10 * SHARE, status, trade_id="t", fee_micros=fee)
    assert await life.balance() == (START, 0)
    assert await differences(life.conn) == {}


async def test_a_fee_that_leaves_nothing_is_booked_and_halts(life: Life) -> None:
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, trade_id="t")
    await life.call("book_movement", "main", "collateral", -9_996 * SHARE, "withdrawal", "w", "")
    await life.fill(order_id, 10 * SHARE, "CONFIRMED", trade_id="t", fee_micros=1)
    assert await life.balance() == (-1, 0)
    assert await life.halts() == ["NEGATIVE_BALANCE"]
