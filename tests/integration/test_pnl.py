"""Profit after fees, realised and unrealised, by account, market, leg and strategy (P1)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life
from tests.support.profit import CENT, book, sweep, trade, view

SUMS = (
    "bought_micros", "cost_micros", "sold_micros", "proceeds_micros", "fees_micros", "net_shares_micros",
    "basis_micros", "value_micros", "realized_micros", "unrealized_micros", "total_micros",
)  # fmt: skip
SHARED = SUMS[:6]
"""Of these a strategy's part is a sum over its fills and nothing else."""


async def leg(life: Life, outcome: int = 0) -> dict[str, Any]:
    (row,) = await view(life, "pnl", f"outcome = {outcome}")
    return row


async def test_profit_is_after_fees_and_split_at_the_average_of_all_buys(life: Life) -> None:
    await trade(life, "BUY", 10, 40, fee=20_000)
    await trade(life, "BUY", 10, 60, fee=40_000)
    await trade(life, "SELL", 5, 70, fee=10_000)
    await book(life, 65, 67)
    row = await leg(life)
    average = (4_000_000 + 6_000_000 + 60_000) // 20  # of one share
    assert row["average_cost_micros"] == average
    assert row["basis_micros"] == 15 * average
    assert row["realized_micros"] == 3_500_000 - 10_000 - 5 * average
    assert (row["mark_micros"], row["marked_by"]) == (660_000, "book")
    assert row["unrealized_micros"] == 15 * 660_000 - 15 * average
    assert row["fees_micros"] == 70_000
    assert row["total_micros"] == row["realized_micros"] + row["unrealized_micros"]


async def test_a_position_without_a_book_is_marked_at_cost(life: Life) -> None:
    await trade(life, "BUY", 10, 40, fee=20_000)
    row = await leg(life)
    assert (row["marked_by"], row["mark_micros"], row["unrealized_micros"]) == ("cost", None, 0)
    await book(life, None, None)
    assert (await leg(life))["marked_by"] == "cost"


async def test_an_old_book_still_marks_and_says_that_it_is_old(life: Life) -> None:
    await trade(life, "BUY", 10, 40)
    await book(life, 49, 51)
    await life.clock.advance(30_000)
    row = await leg(life)
    assert (row["marked_by"], row["unrealized_micros"]) == ("stale book", 1_000_000)
    await life.call("set_limit", None, "m1", "book_age_ms", "60000", "slow market")
    assert (await leg(life))["marked_by"] == "book"


@pytest.mark.parametrize(("bid", "ask", "mark"), [(30, None, 300_000), (None, 70, None)])
async def test_a_book_with_one_side_marks_at_its_bid_and_a_lone_offer_at_nothing(
    life: Life, bid: int | None, ask: int | None, mark: int | None
) -> None:
    await trade(life, "BUY", 10, 40)
    await book(life, bid, ask)
    assert (await leg(life))["mark_micros"] == mark


async def test_a_failed_buy_and_an_unconfirmed_sell_earn_and_cost_nothing(life: Life) -> None:
    await trade(life, "BUY", 10, 40, status="MATCHED", trade_id="a")
    before = await leg(life)
    assert before["cost_micros"] == 4_000_000
    order_id = await trade(life, "BUY", 10, 50, status="MATCHED", trade_id="b")
    await life.fill(order_id, 10 * SHARE, "FAILED", price_micros=50 * CENT, trade_id="b")
    after = await leg(life)
    assert {name: after[name] for name in SUMS} == {name: before[name] for name in SUMS}
    await life.add_tokens(1, 10 * SHARE)
    await trade(life, "SELL", 10, 50, outcome="Down", status="MATCHED", trade_id="c")
    other = await leg(life, 1)
    assert (other["sold_micros"], other["realized_micros"], other["provisional_fills"]) == (0, 0, 1)


async def test_what_a_redemption_paid_is_realised(life: Life) -> None:
    await trade(life, "BUY", 10, 40, fee=100_000)
    token_id = await life.conn.fetchval("SELECT token_id FROM ledger.outcome WHERE outcome = 0")
    await life.call(
        "book_movement", "main", token_id, -10 * SHARE, "redemption", "won", "", 10 * SHARE
    )
    row = await leg(life)
    assert (row["realized_micros"], row["marked_by"]) == (10_000_000 - 4_100_000, "closed")
    (account,) = await view(life, "pnl_by_account")
    assert (account["total_micros"], account["stale_markets"]) == (5_900_000, 0)


async def test_a_strategy_earns_at_its_own_average(life: Life) -> None:
    await trade(life, "BUY", 10, 40, strategy="early")
    await trade(life, "BUY", 10, 60, strategy="late")
    await trade(life, "SELL", 10, 70, strategy="early")
    await book(life, 59, 61)
    found = {row["strategy"]: row for row in await view(life, "pnl_by_strategy")}
    assert (found["early"]["realized_micros"], found["early"]["unrealized_micros"]) == (
        3_000_000,
        0,
    )
    assert (found["late"]["realized_micros"], found["late"]["unrealized_micros"]) == (0, 0)
    whole = await leg(life)
    assert (whole["realized_micros"], whole["unrealized_micros"]) == (2_000_000, 1_000_000)
    assert found[None]["source"] == "rest"
    assert (found[None]["realized_micros"], found[None]["total_micros"]) == (-1_000_000, 0)


async def test_a_strategy_may_sell_what_another_bought(life: Life) -> None:
    await trade(life, "BUY", 10, 40, strategy="maker")
    await trade(life, "SELL", 10, 50, strategy="closer")
    found = {row["strategy"]: row["total_micros"] for row in await view(life, "pnl_by_strategy")}
    # Marked at what the leg's shares cost: the closer earned ten cents a share, the maker nothing.
    assert found == {"maker": 0, "closer": 1_000_000, None: 0}


@pytest.mark.parametrize("seed", range(6))
async def test_the_parts_of_all_strategies_and_the_movements_are_the_leg(
    life: Life, seed: int
) -> None:
    """Against a recount of its own, in whatever order, with books and without."""
    rng = random.Random(seed)
    await life.call("book_movement", "main", "collateral", 10**12, "deposit", "much", "")
    wanted: dict[tuple[int, str | None], list[int]] = {}
    held = [0, 0]
    tokens = [
        await life.conn.fetchval("SELECT token_id FROM ledger.outcome WHERE outcome = $1", i)
        for i in (0, 1)
    ]
    for n in range(40):
        i, strategy = rng.randrange(2), rng.choice(["a", "b", ""])
        shares, cents, fee = rng.randrange(5, 40), rng.randrange(1, 99), rng.randrange(0, 30_001)
        settled = rng.random() < 0.8
        kind = rng.choice(["BUY", "BUY", "SELL", "MOVE"])
        if kind == "MOVE":
            amount = rng.choice([shares, -min(shares, held[i])]) * SHARE
            if amount == 0:
                continue
            value = rng.randrange(0, abs(amount))
            await life.call(
                "book_movement", "main", tokens[i], amount, "resolution", f"{n}", "", value
            )
            row = wanted.setdefault((i, None), [0] * 5)
            row[0 if amount > 0 else 2] += abs(amount)
            row[1 if amount > 0 else 3] += value
            held[i] += amount // SHARE
            continue
        if kind == "SELL" and held[i] < shares:
            continue
        status = (
            rng.choice(["MATCHED", "CONFIRMED"])
            if kind == "BUY"
            else ("CONFIRMED" if settled else "MATCHED")
        )
        order_id = await trade(
            life,
            kind,
            shares,
            cents,
            fee=fee,
            status=status,
            trade_id=f"t{n}",
            strategy=strategy,
            outcome=str(i),
        )
        if kind == "BUY" and status == "MATCHED" and not settled:
            await life.fill(
                order_id,
                shares * SHARE,
                "FAILED",
                price_micros=cents * CENT,
                trade_id=f"t{n}",
                fee_micros=fee,
            )
            continue
        row = wanted.setdefault((i, strategy), [0] * 5)
        if kind == "BUY":
            row[0] += shares * SHARE
            row[1] += shares * cents * CENT + fee
            row[4] += fee
            held[i] += shares if status == "CONFIRMED" else 0
        else:
            held[i] -= shares
            if status == "CONFIRMED":
                row[2] += shares * SHARE
                row[3] += shares * cents * CENT - fee
                row[4] += fee
    for outcome in (0, 1):
        if rng.random() < 0.7:
            bid = rng.randrange(1, 50)
            await book(life, bid, bid + rng.randrange(1, 50), outcome=outcome)
    legs = await view(life, "pnl")
    parts = await view(life, "pnl_by_strategy")
    for one in legs:
        of_it = [part for part in parts if part["outcome"] == one["outcome"]]
        assert {name: sum(part[name] for part in of_it) for name in SUMS} == {
            name: one[name] for name in SUMS
        }
    found = {
        (part["outcome"], part["strategy"]): [part[name] for name in SHARED[:5]] for part in parts
    }
    assert {key: row for key, row in found.items() if any(row)} == {
        key: row for key, row in wanted.items() if any(row)
    }
    (account,) = await view(life, "pnl_by_account")
    assert account["total_micros"] == sum(one["total_micros"] for one in legs)
    await sweep(life)
    mark = await life.conn.fetchrow("SELECT * FROM ledger.equity_mark ORDER BY at DESC LIMIT 1")
    assert mark is not None
    assert (mark["equity_micros"], mark["realised_micros"]) == (
        account["total_micros"],
        account["realized_micros"],
    )
    assert (mark["fees_micros"], mark["stale_markets"]) == (
        account["fees_micros"],
        account["stale_markets"],
    )
    assert [
        row
        for row in await life.conn.fetch("SELECT * FROM audit.checks()")
        if row["name"] in ("pnl", "liquidity")
    ] == []


async def test_a_net_that_is_not_the_sum_of_the_markets_is_found(life: Life) -> None:
    await trade(life, "BUY", 10, 40)
    await life.conn.execute("UPDATE ledger.account_state SET traded_net = traded_net + 1")
    found = await life.conn.fetch(
        "SELECT name, expected, found FROM audit.checks() WHERE name = 'pnl'"
    )
    assert [tuple(row) for row in found] == [("pnl", "-4000000", "-3999999")]


async def test_the_auditor_reads_profit(module_database: TestDatabase, life: Life) -> None:
    await trade(life, "BUY", 10, 40)
    await sweep(life)
    auditor = await module_database.connect("auditor")
    for name in ("pnl", "pnl_by_strategy", "pnl_by_account", "equity", "losses"):
        assert await auditor.fetch(f"SELECT * FROM audit.{name}"), name
