"""The auditor can read every audit view, run the audit, and do nothing else. On Postgres 18 and 15."""

from __future__ import annotations

import asyncpg
import pytest

from app.ledger.audit import audit
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life
from tests.support.lived_in import Writer, live

VIEWS = {
    "exposure", "orders", "order_timeline", "unresolved", "intents_without_order",
    "orders_without_intent", "double_counted", "cap_breaches", "fills", "balances", "drift", "halts",
    "idempotency", "outbox", "changes", "pnl",
}  # fmt: skip
"""Views that must exist."""

FUNCTIONS = {
    "audit.as_of(timestamp with time zone)",
    "audit.exposure_as_of(timestamp with time zone)",
    "audit.check_list()",
    "audit.check_scopes()",
    "audit.check_market(bigint,bigint)",
    "audit.check_account(bigint)",
    "audit.check_ledger()",
    "audit.checks(text,text)",
}


SCHEMA_VERSION = "ledger_alembic_version"
"""Every command compares it with its release before it does anything."""

REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.WrongObjectTypeError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a view that nobody could write through
)


async def _views(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'audit' ORDER BY 1")
    return [row["viewname"] for row in rows]


async def _relations(owner: asyncpg.Connection) -> list[str]:
    """Everything with rows that is not the server's own: tables, partitions, sequences, views."""
    rows = await owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    return [row["name"] for row in rows]


async def test_the_auditor_reads_every_audit_view(any_database: TestDatabase) -> None:
    await live(await Writer.begin(any_database))
    owner, auditor = await any_database.connect(), await any_database.connect("auditor")
    views = await _views(owner)
    assert set(views) >= VIEWS
    empty = [view for view in views if not await auditor.fetch(f"SELECT * FROM audit.{view}")]
    # this ledger has lived through everything, and has counted nothing twice
    assert set(empty) == {"clock_steps", "double_counted"}


async def test_the_auditor_runs_the_audit_and_looks_into_the_past(
    any_database: TestDatabase,
) -> None:
    life = await Writer.begin(any_database)
    orders = await live(life)
    auditor = await any_database.connect("auditor")
    report = await audit(auditor)
    assert report.ok, report.differences
    now = await auditor.fetch(
        "SELECT order_id, state, filled_micros FROM audit.as_of($1)", life.clock.now
    )
    assert {row["order_id"]: row["state"] for row in now} == {
        row["order_id"]: row["state"] for row in await auditor.fetch("SELECT * FROM audit.orders")
    }
    exposure = await auditor.fetchrow(
        "SELECT * FROM audit.exposure_as_of($1) WHERE slug = 'm1' AND outcome = 0", life.clock.now
    )
    counters = await auditor.fetchrow(
        "SELECT * FROM audit.exposure WHERE slug = 'm1' AND outcome = 0"
    )
    assert exposure["position_micros"] == counters["position_micros"]
    assert exposure["provisional_buy_micros"] == counters["provisional_buy_micros"]
    assert (
        exposure["reserved_buy_micros"]
        == counters["open_buy_micros"] + counters["pending_buy_micros"]
    )
    assert orders.unknown in {row["order_id"] for row in now}


async def test_the_past_is_what_it_was(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    order_id = await life.live()
    before = life.clock.now
    await life.clock.advance(60_000)
    await life.fill(order_id, 10 * SHARE)
    auditor = await any_database.connect("auditor")
    query = "SELECT state, filled_micros FROM audit.as_of($1)"
    assert tuple(await auditor.fetchrow(query, before)) == ("LIVE", 0)
    assert tuple(await auditor.fetchrow(query, life.clock.now)) == ("FILLED", 10 * SHARE)
    assert await auditor.fetch(query, before.replace(year=before.year - 1)) == []


async def test_the_auditor_reads_nothing_else(any_database: TestDatabase) -> None:
    owner, auditor = await any_database.connect(), await any_database.connect("auditor")
    readable = {f"audit.{view}" for view in await _views(owner)} | {SCHEMA_VERSION}
    others = [name for name in await _relations(owner) if name not in readable]
    assert len(others) > 40
    for name in others:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.fetch(f"SELECT * FROM {name}")


async def test_the_auditor_writes_nothing(any_database: TestDatabase) -> None:
    owner, auditor = await any_database.connect(), await any_database.connect("auditor")
    for name in await _relations(owner):
        for statement in (f"DELETE FROM {name}", f"TRUNCATE {name}", f"DROP TABLE {name}"):
            with pytest.raises(REFUSED):
                await auditor.execute(statement)
    may = await owner.fetch(
        "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('ledger', 'audit', 'paper', 'public') AND c.relkind <> 'S' "
        "AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege($1, c.oid, "
        "'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')",
        any_database.server.role_prefix + "auditor",
    )
    assert may == []


async def test_the_auditor_makes_nothing(any_database: TestDatabase) -> None:
    auditor = await any_database.connect("auditor")
    for statement in (
        "CREATE TABLE public.mine (a integer)",
        "CREATE TABLE audit.mine (a integer)",
        "CREATE VIEW audit.mine AS SELECT 1",
        "CREATE FUNCTION audit.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "COMMENT ON VIEW audit.orders IS 'mine'",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.execute(statement)


async def test_the_auditor_runs_only_the_functions_for_it(any_database: TestDatabase) -> None:
    owner = await any_database.connect()
    rows = await owner.fetch(
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n "
        "ON n.oid = p.pronamespace WHERE n.nspname IN ('ledger', 'audit', 'paper', 'public') "
        "AND has_schema_privilege($1, n.oid, 'USAGE') AND has_function_privilege($1, p.oid, 'EXECUTE')",
        any_database.server.role_prefix + "auditor",
    )
    assert {row["name"] for row in rows} == FUNCTIONS
    auditor = await any_database.connect("auditor")
    for call in (
        "ledger.clock()",
        "ledger.reserve_pending('[]')",
        "ledger.set_halt('global', '', 'x')",
        "audit._check_journal(1)",
        "audit._json('x')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.execute(f"SELECT {call}")


async def test_the_auditor_becomes_nobody_else(any_database: TestDatabase) -> None:
    auditor = await any_database.connect("auditor")
    for role in ("owner", "worker", "trader", "risk"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.execute(f"SET ROLE {any_database.server.role_prefix}{role}")


async def test_temporary_objects_of_the_auditor_change_no_answer(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    await life.live()
    await life.conn.execute("UPDATE ledger.exposure SET open_buy[1] = open_buy[1] + 1")
    auditor = await any_database.connect("auditor")
    honest = await auditor.fetch("SELECT * FROM audit.checks()")
    assert {row["name"] for row in honest if not row["is_notice"]} == {"costs", "exposure"}
    await auditor.execute("""
        CREATE TEMP TABLE orders (account_id bigint, order_id bigint, market_id bigint);
        CREATE TEMP TABLE exposure (account_id bigint, market_id bigint);
        CREATE TEMP TABLE check_list (name text);
        CREATE TEMP VIEW journal AS SELECT 1 AS seq;
        CREATE FUNCTION pg_temp.check_scopes() RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION pg_temp.generate_series(integer, integer) RETURNS SETOF integer
            LANGUAGE sql AS 'SELECT 1 WHERE false';
        SET search_path = pg_temp, audit, pg_catalog;
        """)
    assert await auditor.fetch("SELECT * FROM audit.checks()") == honest
