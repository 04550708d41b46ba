"""A migrated database is what the SQL files say and what the SQLAlchemy metadata says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.migrate import upgrade
from app.db.schema import render, schema_sql
from app.db.tables import belongs, metadata
from app.db.url import parse
from app.roles import RolePrefix
from tests.support.catalog import catalog
from tests.support.database import TestDatabase, empty_database
from tests.support.servers import TestServer, in_thread


@pytest.fixture(params=["database_server", "debian_server"], name="server")
def _server(request: pytest.FixtureRequest) -> TestServer:
    found: TestServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(name="two_blank")
def _two_blank(server: TestServer) -> Iterator[tuple[TestDatabase, TestDatabase]]:
    with empty_database(server) as first, empty_database(server) as second:
        yield first, second


async def test_a_migrated_database_equals_one_built_from_the_files(
    two_blank: tuple[TestDatabase, TestDatabase],
) -> None:
    migrated, built = two_blank
    prefix = RolePrefix(migrated.server.role_prefix)
    in_thread(lambda: upgrade(migrated.url, prefix=prefix))
    files = await built.connect()
    async with files.transaction():
        await files.execute(render(schema_sql(), prefix))
    ours, theirs = await catalog(await migrated.connect()), await catalog(files)
    await migrated.disconnect()
    await built.disconnect()
    for section, lines in theirs.items():
        assert ours[section] == lines, section
    assert all(theirs[section] for section in ("columns", "functions", "views", "triggers"))


async def test_the_comparison_sees_a_difference_in_each_section(database: TestDatabase) -> None:
    conn = await database.connect()
    before = await catalog(conn)
    await conn.execute("""
        GRANT USAGE ON SCHEMA ledger TO PUBLIC;
        GRANT SELECT ON ledger.orders TO PUBLIC;
        COMMENT ON COLUMN ledger.orders.key IS 'changed';
        ALTER TABLE ledger.orders ADD CHECK (size_micros > 1);
        CREATE INDEX odd ON ledger.orders (size_micros);
        GRANT EXECUTE ON FUNCTION ledger.clock() TO PUBLIC;
        CREATE OR REPLACE VIEW audit.journal AS SELECT a.name AS account, j.seq, NULL::text COLLATE "C" AS market,
            NULL::text COLLATE "C" AS slug, j.market_seq, j.at, j.event, j.order_id, j.attempt, j.from_state,
            j.to_state, j.actor::text AS actor, j.detail, NULL::text AS digest
            FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id;
        ALTER TABLE ledger.journal DISABLE TRIGGER journal_no_truncate;
        CREATE TYPE ledger.odd_type AS (a integer);
        ALTER DEFAULT PRIVILEGES IN SCHEMA ledger GRANT SELECT ON TABLES TO PUBLIC;
        CREATE POLICY odd ON ledger.orders USING (true);
        UPDATE ledger.transition SET to_state = NULL WHERE from_state = 'FILLED';
        UPDATE ledger.order_state SET meaning = '';
        UPDATE ledger.order_event SET meaning = '';
        UPDATE ledger.limits SET burst_gap_ms = 1;
        UPDATE ledger.setting SET value = '';
        """)
    after = await catalog(conn)
    assert [section for section in before if before[section] == after[section]] == []


async def test_autogenerate_finds_no_difference_from_the_metadata(
    any_database: TestDatabase,
) -> None:
    engine = create_async_engine(parse(any_database.url).sqlalchemy(), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_compare)
    finally:
        await engine.dispose()
    assert found == []


def _compare(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_object": belongs,
            "compare_type": True,
            "compare_server_default": True,
        },
    )
    found: list[object] = []
    for one in compare_metadata(context, metadata):
        found += [part for part in one if not _same_sequence(part)] if type(one) is list else [one]
    return found


def _same_sequence(difference: tuple[Any, ...]) -> bool:
    """Alembic runs both defaults and compares, and a sequence never answers the same twice."""
    kind, *_, read, written = difference
    return (
        kind == "modify_default"
        and str(read.arg) == str(written.arg)
        and "nextval" in str(read.arg)
    )


async def test_every_table_of_the_ledger_is_in_the_metadata(database: TestDatabase) -> None:
    conn = await database.connect()
    rows = await conn.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'ledger'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    assert {row["relname"] for row in rows} == {table.name for table in metadata.tables.values()}
