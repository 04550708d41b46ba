"""The worker sends and cannot loosen anything; risk loosens and cannot send. On Postgres 18 and 15."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import Life, call

WRITES = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"


@pytest.mark.parametrize("role", ["worker", "trader", "risk", "auditor"])
async def test_no_role_writes_a_table_of_the_ledger(database: TestDatabase, role: str) -> None:
    owner = await database.connect()
    rows = await owner.fetch(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('ledger', 'audit') AND c.relkind IN ('r', 'p', 'v', 'm') "
        "AND has_table_privilege($1, c.oid, $2)",
        database.server.role_prefix + role,
        WRITES,
    )
    assert rows == []


async def test_the_worker_cannot_clear_halts_or_set_limits(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    worker = await any_database.connect("worker")
    version = await call(worker, "set_halt", "global", "", "stop")
    for statement in (
        f"SELECT ledger.clear_halt('global', '', {version})",
        "SELECT ledger.set_limit(NULL, NULL, 'max_outcome_micros', NULL, 'more')",
        "SELECT ledger.resolve_order(1, 'cancelled', NULL, 'x', 'x')",
        "SELECT ledger.release_lane('main', 'm1', 'x', 'x')",
        "SELECT ledger.grant_account('main', 'x')",
        "SELECT ledger.book_movement('main', 'collateral', 1, 'deposit', 'k', '')",
        "SELECT ledger._halt_once('global', '', 'x', now())",
        "UPDATE ledger.halt SET cleared_at = now(), cleared_by = current_user",
        "DELETE FROM ledger.limits",
        "INSERT INTO ledger.account_grant VALUES (1, current_user, current_user, now())",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(statement)
    assert await life.halts() == ["stop"]


async def test_the_worker_cannot_change_history(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    await life.live()
    worker = await any_database.connect("worker")
    for table in ("journal", "journal_rest", "balance_entry", "signed_order", "limit_change"):
        for statement in (f"DELETE FROM ledger.{table}", f"TRUNCATE ledger.{table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await worker.execute(statement)


async def test_not_even_the_owner_changes_history_by_accident(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    await life.live()
    for statement in (
        "DELETE FROM ledger.journal",
        "UPDATE ledger.journal SET event = 'x'",
        "TRUNCATE ledger.journal",
        "DELETE FROM ledger.balance_entry",
        "TRUNCATE ledger.balance_entry",
        "UPDATE ledger.signed_order SET body = ''",
        "DELETE FROM ledger.limit_change",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await life.conn.execute(statement)
        assert refused.value.sqlstate == "LG002"


async def test_risk_clears_and_sets_and_sends_nothing(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    risk = await any_database.connect("risk")
    version = await call(risk, "set_halt", "market", "m1", "stop")
    assert await call(risk, "clear_halt", "market", "m1", version, "looked", "me") == 1
    await call(risk, "set_limit", "main", "m1", "burst_gap_ms", "5", "slower")
    changes = await risk.fetch(
        "SELECT kind, who FROM audit.changes WHERE why IN ('slower', 'looked')"
    )
    login = any_database.server.role_prefix + "risk"
    assert {(row["kind"], row["who"]) for row in changes} == {("limit", login), ("resume", login)}
    await life.reserved()
    for statement in (
        "SELECT ledger.reserve_pending('[]')",
        "SELECT ledger.prepare('[]')",
        "SELECT ledger.open_attempt('[]')",
        "SELECT ledger.record_fills('[]')",
        "SELECT ledger.claim_placements('00000000-0000-0000-0000-000000000001', '{main}', 1000, 1)",
        "SELECT * FROM ledger.orders",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await risk.execute(statement)


async def test_a_login_without_a_role_reaches_nothing(any_database: TestDatabase) -> None:
    owner = await any_database.connect()
    await owner.execute("CREATE ROLE ledger_test_stranger")
    try:
        await owner.execute("SET ROLE ledger_test_stranger")
        for statement in (
            "SELECT * FROM audit.orders",
            "SELECT * FROM ledger.orders",
            "SELECT ledger.clock()",
            "SELECT ledger.reserve_pending('[]')",
            "SELECT * FROM audit.checks()",
            "SELECT * FROM paper.venue_order",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)
    finally:
        await owner.execute("RESET ROLE")
        await owner.execute("DROP ROLE ledger_test_stranger")


async def test_risk_resolves_an_order_of_any_account_without_a_grant(
    life: Life, module_database: TestDatabase
) -> None:
    order_id = await life.unknown()
    risk = await module_database.connect("risk")
    answer = await call(risk, "resolve_order", order_id, "not_placed", None, "looked", "me")
    assert answer["status"] == "ok"
    assert await life.state(order_id) == "NOT_PLACED"
