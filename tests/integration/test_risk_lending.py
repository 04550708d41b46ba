"""Who borrows from what accounts share never waits in a circle; who changes a limit holds up only whom it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, market_row, token

COST = 4_000_000  # of the ordinary request: 10 shares at 0.4
MUCH: dict[str, Any] = {"price_micros": 400_000, "size_micros": 200 * SHARE}
WHO_SITS_S = 20.0


async def total(life: Life, scope: str, name: str, value: int | None, scope_id: str = "") -> None:
    text = None if value is None else str(value)
    await life.call("set_total_limit", scope, scope_id, name, text, "test")


async def code(life: Life, **changes: Any) -> str:
    answer = await life.reserve(**changes)
    return str(answer.get("code", answer["status"]))


async def sound(life: Life) -> None:
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def waiting(life: Life, sessions: int) -> None:
    """Until so many sessions of this database wait for a lock."""
    async with asyncio.timeout(WHO_SITS_S):
        while sessions != await life.conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await life.conn.execute("SELECT pg_stat_clear_snapshot()")


def begin(asked: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(asked)


@pytest.fixture(name="many")
async def _many(life: Life) -> Life:
    """Accounts main and second; markets of two groups and of none."""
    await life.open_account("second")
    for name, group in (("a1", "a"), ("b1", "b")):
        await life.add_market(name, group_key=group)
    return life


async def test_batches_over_the_same_groups_in_opposite_order_both_end(
    many: Life, module_database: TestDatabase
) -> None:
    await total(many, "group", "max_cost_micros", 1_000 * SHARE)
    for account in ("main", "second"):
        for market in ("a1", "b1"):
            assert await code(many, account=account, market=market) == "admitted"
    first, other = [many.on(await module_database.connect()) for _ in range(2)]
    keeper = await module_database.connect()
    await keeper.execute("BEGIN")
    await keeper.execute("SELECT FROM ledger.pool WHERE scope_id = 'b' FOR UPDATE")
    asked = [
        begin(
            life.call(
                "reserve_pending",
                [
                    life.request(account=account, market=market, key=f"{account} {market}", **MUCH)
                    for market in markets
                ],
            )
        )
        for life, account, markets in (
            (first, "second", ("b1", "a1")),
            (other, "main", ("a1", "b1")),
        )
    ]
    await waiting(many, 2)
    await keeper.execute("COMMIT")
    answers = await asyncio.gather(*asked)
    assert {answer["status"] for batch in answers for answer in batch} == {"admitted"}
    await sound(many)


async def test_two_accounts_that_borrow_from_many_pools_at_once_never_deadlock(
    many: Life, module_database: TestDatabase
) -> None:
    for group in "ab":
        for n in range(2, 8):
            await many.add_market(f"{group}{n}", group_key=group)
    await total(many, "group", "max_cost_micros", 100_000 * SHARE)

    async def run(account: str, groups: str) -> int:
        life = many.on(await module_database.connect())
        admitted = 0
        for turn in range(25):
            requests = [
                life.request(
                    account=account,
                    market=f"{group}{1 + (turn + k) % 7}",
                    key=f"{account} {turn} {group} {k}",
                    price_micros=100_000,
                    size_micros=(20 + 10 * turn) * SHARE,
                )
                for group in groups
                for k in range(4)
            ]
            answers = await life.call("reserve_pending", requests)
            admitted += sum(answer["status"] == "admitted" for answer in answers)
        return admitted

    assert all(await asyncio.gather(run("main", "ab"), run("second", "ba")))
    await sound(many)


async def test_a_fact_and_a_reservation_that_need_the_same_pools_both_end(
    many: Life, module_database: TestDatabase
) -> None:
    await total(many, "group", "max_cost_micros", 100 * SHARE)
    await total(many, "global", "max_cost_micros", 100_000 * SHARE)
    for _ in range(2):  # a loan in the group that is not used, and one of all accounts that is
        order_id = await many.reserved(
            account="second", market="a1", price_micros=900_000, size_micros=100 * SHARE
        )
        await many.item("release_pending", order_id=order_id)
    fact, ask = [many.on(await module_database.connect()) for _ in range(2)]
    keeper = await module_database.connect()
    await keeper.execute("BEGIN")
    await keeper.execute("SELECT FROM ledger.pool WHERE scope = 'global' FOR UPDATE")
    booked = begin(
        fact.call(
            *("book_movement", "second", token("a1", 0), 10_000 * SHARE, "transfer_in", "t", ""),
            9_000 * SHARE,
        )
    )
    await waiting(many, 1)
    asked = begin(code(ask, market="a1", price_micros=900_000, size_micros=100 * SHARE))
    await waiting(many, 2)
    await keeper.execute("COMMIT")
    assert await booked is True
    assert await asked == "CAP_GROUP"
    await sound(many)


# ------------------------------------------------------------------------------ changing a limit


async def test_the_limit_of_one_account_holds_up_that_account_only(
    many: Life, module_database: TestDatabase
) -> None:
    await many.open_account("third")
    busy, risk = [many.on(await module_database.connect()) for _ in range(2)]
    await busy.conn.execute("BEGIN")
    assert await code(busy, account="third") == "admitted"
    changed = begin(total(risk, "account", "max_open_orders", 5, "third"))
    await waiting(many, 1)
    async with asyncio.timeout(WHO_SITS_S):
        assert await code(many, key="main") == "admitted"
        assert await code(many, account="second", key="second") == "admitted"
    assert not changed.done()
    await busy.conn.execute("ROLLBACK")
    await changed
    # and the default of all waits for nobody: it is effective for the next decision
    await busy.conn.execute("BEGIN")
    assert await code(busy, account="third") == "admitted"
    async with asyncio.timeout(WHO_SITS_S):
        await total(risk, "account", "max_open_orders", 50)
    await busy.conn.execute("ROLLBACK")


async def test_a_first_cap_over_all_accounts_waits_for_a_busy_one_and_holds_no_other_up(
    many: Life, module_database: TestDatabase
) -> None:
    busy, risk = [many.on(await module_database.connect()) for _ in range(2)]
    await busy.conn.execute("BEGIN")
    assert await code(busy, account="second", market="b1") == "admitted"
    changed = begin(total(risk, "global", "max_cost_micros", 3 * COST))
    await waiting(many, 1)
    async with asyncio.timeout(WHO_SITS_S):
        assert await code(many, market="a1") == "admitted"
    await busy.conn.execute("COMMIT")
    await changed
    assert await code(many, market="m1") == "admitted"
    assert await code(many, market="b1") == "CAP_GLOBAL", "both orders from before are counted"
    await sound(many)


async def test_a_first_cap_gives_up_where_somebody_stays_busy_and_changes_nothing(
    many: Life, module_database: TestDatabase
) -> None:
    busy, risk = [many.on(await module_database.connect()) for _ in range(2)]
    await busy.conn.execute("BEGIN")
    assert await code(busy, account="second") == "admitted"
    with pytest.raises(asyncpg.PostgresError, match="BUSY"):
        await total(risk, "global", "max_cost_micros", 3 * COST)
    await busy.conn.execute("ROLLBACK")
    assert await code(many, market="a1", **MUCH) == "admitted"
    assert (
        await many.conn.fetchval("SELECT count(*) FROM ledger.limit_change WHERE scope <> ''") == 0
    )


async def test_a_cap_that_is_changed_while_somebody_borrows_binds_who_borrows(
    many: Life, module_database: TestDatabase
) -> None:
    """It has read the old cap, and waits for the pools behind who lowers it."""
    await total(many, "global", "max_cost_micros", 1_000 * COST)
    borrower, risk = [many.on(await module_database.connect()) for _ in range(2)]
    await risk.conn.execute("BEGIN")
    await total(risk, "global", "max_cost_micros", COST)
    asked = begin(code(borrower, market="a1", **MUCH))
    await waiting(many, 1)
    await risk.conn.execute("COMMIT")
    assert await asked == "CAP_GLOBAL"
    assert await code(many, market="a1") == "admitted"
    await sound(many)


async def test_a_cap_that_was_taken_away_and_set_again_counts_what_came_in_between(
    many: Life,
) -> None:
    await total(many, "group", "max_cost_micros", 3 * COST, "a")
    assert await code(many, market="a1") == "admitted"
    await total(many, "group", "max_cost_micros", None, "a")
    for price in (390_000, 380_000):
        assert await code(many, market="a1", account="second", price_micros=price) == "admitted"
    await sound(many)
    await total(many, "group", "max_cost_micros", 3 * COST, "a")
    await sound(many)
    assert await code(many, market="a1", price_micros=300_000) == "CAP_GROUP"


# ------------------------------------------------------------------------- markets that change group


async def test_a_market_that_joins_a_group_counts_there_from_its_import_on(many: Life) -> None:
    await total(many, "group", "max_cost_micros", 5 * SHARE)
    assert await code(many, market="m1") == "admitted"
    assert await code(many, account="second", market="b1") == "admitted"
    await many.call(
        "import_markets", [market_row(name, group_key="a") for name in ("m1", "b1", "new")]
    )
    assert await code(many, market="a1") == "CAP_GROUP"
    assert await many.conn.fetchval("SELECT ledger.sweep_groups()") == 0
    await sound(many)


async def test_an_import_waits_for_who_reserves_in_a_market_that_it_moves(
    many: Life, module_database: TestDatabase
) -> None:
    await total(many, "group", "max_cost_micros", 2 * COST)
    assert await code(many, market="m1") == "admitted"
    busy, importer = [many.on(await module_database.connect()) for _ in range(2)]
    await busy.conn.execute("BEGIN")
    assert await code(busy, market="m1", price_micros=390_000) == "admitted"
    moved = begin(importer.add_market("m1", group_key="a"))
    await waiting(many, 1)
    await busy.conn.execute("COMMIT")
    await moved
    assert await code(many, market="a1") == "CAP_GROUP"
    await sound(many)


@pytest.mark.parametrize("group", ["b", None])
async def test_no_import_takes_a_market_out_of_a_halt_of_its_group(
    many: Life, group: str | None
) -> None:
    await many.live(market="a1")
    await many.call("set_halt", "group", "a", "stop", "jo")
    await many.add_market("a1", group_key=group)
    assert await many.call("sweep_cancels") == 1
    assert await code(many, market="a1") == "HALTED"
    version = await many.conn.fetchval("SELECT max(halt_id) FROM ledger.halt")
    for back in ("a", group):  # one halt, however often it moves
        await many.add_market("a1", group_key=back)
    assert await many.halts() == ["stop", "GROUP_LEFT"]
    await many.call("clear_halt", "market", "a1", version, "looked at", "jo")
    assert await code(many, market="a1", price_micros=300_000) == "admitted"
