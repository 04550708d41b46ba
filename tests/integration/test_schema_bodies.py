"""Every statement of every function is one that the server can plan: also in branches that no test comes through."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database import TestDatabase

CHECK = """
SELECT p.oid::regprocedure || ': ' || c.message || ' in: ' || coalesce(c.query, '')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
CROSS JOIN LATERAL plpgsql_check_function_tb(p.oid, fatal_errors => false) c
WHERE l.lanname = 'plpgsql' AND p.prorettype <> 'trigger'::regtype AND c.level = 'error'
  AND p.pronamespace::regnamespace::text IN ('ledger', 'audit', 'paper')
"""


async def checking(database: TestDatabase) -> asyncpg.Connection:
    conn = await database.connect()
    if not await conn.fetchval(
        "SELECT true FROM pg_available_extensions WHERE name = 'plpgsql_check'"
    ):
        pytest.skip("the server has no plpgsql_check (package postgresql-15-plpgsql-check)")
    await conn.execute("CREATE EXTENSION plpgsql_check")
    return conn


async def test_no_branch_of_a_function_names_what_is_not_there_or_is_ambiguous(
    debian_database: TestDatabase,
) -> None:
    conn = await checking(debian_database)
    assert [row[0] for row in await conn.fetch(CHECK)] == []


async def test_an_alias_that_a_variable_hides_is_found(debian_database: TestDatabase) -> None:
    conn = await checking(debian_database)
    await conn.execute(
        """
        CREATE FUNCTION ledger.planted() RETURNS void LANGUAGE plpgsql AS $$
        DECLARE b ledger.breaker;
        BEGIN
            IF b.until IS NOT NULL THEN
                UPDATE ledger.outbox b SET status = 'ready' WHERE b.account_id = 1;
            END IF;
        END $$
        """
    )
    (found,) = [row[0] for row in await conn.fetch(CHECK)]
    assert "ambiguous" in found
