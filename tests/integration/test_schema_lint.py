"""Rules of the schema that a query can check."""

from __future__ import annotations

from tests.support.database import TestDatabase

PURE = {"ledger.clock()"}
"""Public functions that run with the caller's rights, beside the IMMUTABLE ones: they read no row."""

ACCOUNT_DIRECTORY = "ledger.account"
"""The list of accounts itself: its names are unique over all accounts."""


async def _lines(database: TestDatabase, query: str) -> list[str]:
    conn = await database.connect()
    return [row[0] for row in await conn.fetch(query)]


async def test_every_key_of_a_per_account_table_carries_the_account(database: TestDatabase) -> None:
    wrong = await _lines(
        database,
        f"""
        SELECT i.indexrelid::regclass::text FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'ledger'::regnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id'
        WHERE i.indisunique AND a.attnum <> ALL (i.indkey::int2[])
          AND c.oid <> '{ACCOUNT_DIRECTORY}'::regclass""",
    )
    assert wrong == []


async def test_every_per_account_table_has_a_primary_key(database: TestDatabase) -> None:
    wrong = await _lines(
        database,
        """
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace IN ('ledger'::regnamespace, 'paper'::regnamespace) AND c.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')""",
    )
    assert wrong == []


async def test_every_foreign_key_between_per_account_tables_carries_the_account(
    database: TestDatabase,
) -> None:
    wrong = await _lines(
        database,
        """
        SELECT k.conrelid::regclass || ' ' || k.conname FROM pg_constraint k
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = 'account_id'
        JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attname = 'account_id'
        WHERE k.contype = 'f' AND k.connamespace = 'ledger'::regnamespace
          AND coalesce(array_position(k.conkey, a.attnum), 0)
              IS DISTINCT FROM coalesce(array_position(k.confkey, b.attnum), -1)""",
    )
    assert wrong == []


async def test_no_foreign_key_points_at_a_hot_row(database: TestDatabase) -> None:
    wrong = await _lines(
        database,
        """
        SELECT k.conrelid::regclass || ' ' || k.conname FROM pg_constraint k WHERE k.contype = 'f'
          AND k.confrelid IN ('ledger.exposure'::regclass, 'ledger.account_state'::regclass,
                              'ledger.balance'::regclass)""",
    )
    assert wrong == []


async def test_nothing_is_left_to_public(database: TestDatabase) -> None:
    wrong = await _lines(
        database,
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('ledger', 'audit', 'paper'))
          AND has_function_privilege('public', p.oid, 'EXECUTE')
        UNION ALL
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('ledger', 'audit', 'paper'))
          AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege('public', c.oid,
              'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        UNION ALL
        SELECT nspname FROM pg_namespace WHERE nspname IN ('ledger', 'audit', 'paper')
          AND (has_schema_privilege('public', oid, 'USAGE') OR has_schema_privilege('public', oid, 'CREATE'))""",
    )
    assert wrong == []


async def test_every_definer_function_has_a_fixed_search_path_that_ends_in_pg_temp(
    database: TestDatabase,
) -> None:
    wrong = await _lines(
        database,
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace IN ('ledger'::regnamespace, 'audit'::regnamespace) AND p.prosecdef
          AND NOT coalesce(p.proconfig::text ~ 'search_path=pg_catalog, (ledger, )?pg_temp"', false)""",
    )
    assert wrong == []


async def test_every_public_function_runs_with_its_owners_rights_or_reads_nothing(
    database: TestDatabase,
) -> None:
    caller_rights = await _lines(
        database,
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace IN ('ledger'::regnamespace, 'audit'::regnamespace)
          AND p.proname NOT LIKE '\\_%' AND NOT p.prosecdef AND p.provolatile <> 'i'""",
    )
    assert set(caller_rights) == PURE


async def test_everything_belongs_to_the_owner_role(database: TestDatabase) -> None:
    owner = database.server.role_prefix + "owner"
    wrong = await _lines(
        database,
        f"""
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('ledger', 'audit') AND pg_get_userbyid(c.relowner) <> '{owner}'
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('ledger', 'audit') AND pg_get_userbyid(p.proowner) <> '{owner}'""",
    )
    assert wrong == []


async def test_every_view_and_every_function_for_callers_says_what_it_is(
    database: TestDatabase,
) -> None:
    wrong = await _lines(
        database,
        """
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = 'audit'::regnamespace AND p.proname ~ '^(_check|_notice|[^_])'
          AND obj_description(p.oid, 'pg_proc') IS NULL""",
    )
    assert wrong == []


async def test_views_read_with_their_owners_rights(database: TestDatabase) -> None:
    wrong = await _lines(
        database,
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'audit'::regnamespace "
        "AND c.reloptions::text LIKE '%security_invoker%'",
    )
    assert wrong == []
