"""docs/audit.md says what the audit cannot see: column by column, no more and no less than that.

Each column of each row of a ledger that has lived is changed by hand, with constraints and triggers
off, and each row deleted. What the audit does not notice has to stand in the document's table, and
what stands there has to go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.support.database import TestDatabase, empty_database
from tests.support.lived_in import build
from tests.support.servers import TestServer

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
SAMPLE: Final = 2
"""Rows tried of a column that the audit should notice. A blind one is tried until it is."""

ROWS: Final = "rows"
"""Stands in the document for: a row can be deleted unnoticed."""

_ANOTHER: Final = {
    "bigint": "@ + 1", "integer": "@ + 1", "smallint": "@ + 1", "text": "@ || 'x'",
    "name": "'x'", "boolean": "NOT @", "timestamp with time zone": "@ + interval '1 hour'",
    "jsonb": "@ || '{\"x\": 1}'", "uuid": "gen_random_uuid()", "bytea": "@ || '\\x00'",
    "bigint[]": "array_append(@[2:], 7::bigint)", "text[]": "@ || 'x'::text",
    "timestamp with time zone[]": "@ || now()", "date": "@ + 1",
}  # fmt: skip
_SOME: Final = {
    "bigint": "1", "integer": "1", "smallint": "1", "text": "'x'", "name": "'x'",
    "boolean": "true", "timestamp with time zone": "now()", "jsonb": "'{}'",
    "uuid": "gen_random_uuid()", "bytea": "'x'", "date": "now()",
}  # fmt: skip


def documented() -> set[tuple[str, str]]:
    """(table, column) and (table, `ROWS`) of the table below the last heading."""
    text = DOCUMENT.read_text(encoding="utf-8").split("## What the audit cannot see", 1)[1]
    lines = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
    return {
        (table, what)
        for table, cell in lines
        for what in re.findall(r"`(\w+)`", cell) + [ROWS] * cell.startswith(ROWS)
    }


@dataclass(frozen=True)
class Ledger:
    """A ledger that has lived, without constraints and with its triggers off."""

    conn: asyncpg.Connection
    red: int
    """Rows of the audit by that alone."""

    async def columns(self) -> dict[tuple[str, str], str]:
        """(table, column) to type, of tables that have rows."""
        found = await self.conn.fetch(
            "SELECT c.relname, a.attname, format_type(a.atttypid, NULL) AS type "
            "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped "
            "AND a.attidentity <> 'a' ORDER BY 1, a.attnum"
        )
        return {(row["relname"], row["attname"]): row["type"] for row in found}

    async def rows(self, table: str) -> list[str]:
        """A condition for each row."""
        found = await self.conn.fetch(
            f"SELECT format('ctid = %L::tid AND tableoid = %s', ctid, tableoid) FROM ledger.{table}"
        )
        return [row[0] for row in found]

    async def notices(self, statement: str) -> bool:
        """Whether the audit is redder after a statement, which is undone. Impossible ones count."""
        transaction = self.conn.transaction()
        await transaction.start()
        try:
            await self.conn.execute(statement)
            found = await self.conn.fetchval(
                "SELECT count(*) FROM audit.checks() WHERE NOT is_notice"
            )
        except asyncpg.IntegrityConstraintViolationError:
            return True
        finally:
            await transaction.rollback()
        return bool(found > self.red)

    async def is_blind(self, change: str, rows: list[str]) -> bool:
        """Whether a change of one of the rows goes unnoticed."""
        for row in rows:
            if not await self.notices(f"{change} WHERE {row}"):
                return True
        return False


@pytest.fixture(scope="module", name="lived_in")
def _lived_in(database_server: TestServer, template_database: str) -> Iterator[TestDatabase]:
    with empty_database(database_server, template_database) as database:
        build(database)
        yield database


@pytest.fixture(name="ledger")
async def _ledger(lived_in: TestDatabase) -> AsyncIterator[Ledger]:
    conn = await asyncpg.connect(lived_in.url)
    outer = conn.transaction()
    await outer.start()
    constraints = await conn.fetch(
        "SELECT conrelid::regclass::text AS name, quote_ident(conname) AS of FROM pg_constraint "
        "WHERE connamespace = 'ledger'::regnamespace AND contype IN ('c', 'f') AND conparentid = 0 "
        "AND conislocal"
    )
    for one in constraints:
        await conn.execute(f"ALTER TABLE {one['name']} DROP CONSTRAINT {one['of']}")
    await conn.execute("SET LOCAL session_replication_role = replica; SET LOCAL jit = off")
    red = await conn.fetchval("SELECT count(*) FROM audit.checks() WHERE NOT is_notice")
    yield Ledger(conn, red)
    await outer.rollback()
    await conn.close()


async def test_what_the_audit_does_not_notice_is_what_the_document_says(ledger: Ledger) -> None:
    told, blind, tried = documented(), set(), set()
    changes = {
        (table, column): f"UPDATE ledger.{table} SET {column} = CASE WHEN {column} IS NULL THEN "
        f"{_SOME.get(type_, 'NULL')} ELSE {_ANOTHER[type_].replace('@', column)} END"
        for (table, column), type_ in (await ledger.columns()).items()
    }
    for table in {table for table, _ in changes}:
        changes[table, ROWS] = f"DELETE FROM ledger.{table}"
    for key, change in sorted(changes.items()):
        rows = await ledger.rows(key[0])
        if rows:
            tried.add(key)
            sample = rows if key in told else rows[:: max(1, (len(rows) - 1) // (SAMPLE - 1))]
            if await ledger.is_blind(change, sample):
                blind.add(key)
    assert sorted(blind - told) == [], "not noticed, and not in docs/audit.md"
    assert sorted((told & tried) - blind) == [], "noticed, though docs/audit.md says otherwise"
    assert {"orders", "fill", "attempt", "evidence", "signed_order", "journal"} <= {
        table for table, _ in tried - blind
    }
