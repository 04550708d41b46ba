"""Writes the frozen SQL of the newest revision from the files. Only while that revision is unreleased.

python -m app.db.freeze

A revision after the first is made of three parts. What changes tables is written by hand
(``NNNN_tables.sql`` and its way back), since rows must live through it. New tables come from their files. All
code (functions, triggers, views, grants) is dropped where nothing hangs on it and made anew, in one
transaction: then nobody has to think of which function changed, and a changed signature leaves no ghost.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from app.db.revisions import MIGRATIONS
from app.db.schema import APP, FILES

SQL: Final = MIGRATIONS / "sql"
NEWEST: Final = "0003"
BEFORE: Final = "0002"
NEW_TABLES: Final = (
    "ledger/sql/tables/risk.sql",
    "ledger/sql/tables/pnl.sql",
    "ledger/sql/tables/withdrawal.sql",
    "withdrawal/sql/tables/paper.sql",
)
"""Made by this revision; in the order in which they are made."""

NO_CODE: Final = re.compile(r"/tables/|/defaults\.sql|roles\.sql|paper/sql/schema\.sql")
_BEGIN: Final = "SET LOCAL ROLE ${role_owner};\n"
_END: Final = "RESET ROLE;\n"

_DROP_CODE: Final = """
DO $$
DECLARE
    v_name text;
BEGIN
    -- All names first: one that went with another would be read as its number.
    FOREACH v_name IN ARRAY array(SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'v') LOOP
        EXECUTE 'DROP VIEW IF EXISTS ' || v_name || ' CASCADE';
    END LOOP;
    FOREACH v_name IN ARRAY array(SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace IN ('audit'::regnamespace, 'ledger'::regnamespace)) LOOP
        BEGIN
            EXECUTE 'DROP FUNCTION IF EXISTS ' || v_name;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            NULL; -- a trigger's or a default's: replaced in place below
        END;
    END LOOP;
    FOREACH v_name IN ARRAY array(SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = 'c') LOOP
        EXECUTE 'DROP TYPE ' || v_name;
    END LOOP;
END $$;
"""


def main() -> None:
    """Write upgrade and downgrade of `NEWEST`."""
    (SQL / f"{NEWEST}_upgrade.sql").write_text(upgrade_sql(), "utf-8")
    (SQL / f"{NEWEST}_downgrade.sql").write_text(downgrade_sql(), "utf-8")


def upgrade_sql() -> str:
    """From the revision before to what the files say."""
    code = [_file(name) for name in FILES if not NO_CODE.search(name)]
    return "\n".join(
        [
            _BEGIN,
            _by_hand(f"{NEWEST}_tables.sql"),
            *(_file(name) for name in NEW_TABLES),
            _by_hand(f"{NEWEST}_rows.sql"),
            _DROP_CODE,
            *map(replacing, code),
            _END,
        ]
    )


def downgrade_sql() -> str:
    """Back to the revision before: its own frozen code, without the new tables."""
    frozen = (SQL / f"{BEFORE}_upgrade.sql").read_text("utf-8").removesuffix(_END)
    sections = re.split(r"(?m)^(?=-- file: )", frozen)
    code = [
        one
        for one in sections
        if one.startswith("-- file: ") and not NO_CODE.search(one.split("\n", 1)[0])
    ]
    return "\n".join(
        [
            _BEGIN,
            _DROP_CODE,
            _by_hand(f"{NEWEST}_tables_back.sql"),
            *map(replacing, code),
            _END,
        ]
    )


def replacing(sql: str) -> str:
    """Code that may be there already."""
    sql = re.sub(r"(?m)^CREATE (FUNCTION|TRIGGER|VIEW) ", r"CREATE OR REPLACE \1 ", sql)
    return re.sub(r"(?m)^CREATE SEQUENCE (?!IF )", "CREATE SEQUENCE IF NOT EXISTS ", sql)


def _file(name: str) -> str:
    return f"-- file: {name}\n{(APP / name).read_text('utf-8')}"


def _by_hand(name: str) -> str:
    path: Path = SQL / name
    return f"-- by hand: {name}\n{path.read_text('utf-8')}"


if __name__ == "__main__":
    main()
