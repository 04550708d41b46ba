"""docs/audit.md describes every view as it is, and each example runs as the auditor."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.database import TestDatabase
from tests.support.lived_in import Writer, live

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """Heading of the third level to the text below it."""
    parts = re.split(r"^#{2,3} (.*)$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def examples(text: str) -> list[str]:
    return re.findall(r"```sql\n(.*?)```", text, re.DOTALL)


async def test_every_example_runs_as_the_auditor(any_database: TestDatabase) -> None:
    await live(await Writer.begin(any_database))
    auditor = await any_database.connect("auditor")
    ran = [await auditor.fetch(example) for example in examples(DOCUMENT)]
    assert len(ran) >= 25
    assert sum(1 for rows in ran if rows) > len(ran) // 2


async def test_every_view_has_a_section_with_all_its_columns_and_an_example(
    database: TestDatabase,
) -> None:
    conn = await database.connect()
    columns = await conn.fetch(
        "SELECT c.relname AS view, a.attname AS name FROM pg_class c JOIN pg_attribute a "
        "ON a.attrelid = c.oid WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'v' "
        "AND a.attnum > 0"
    )
    documented = sections()
    for view in {row["view"] for row in columns}:
        text = documented[f"audit.{view}"]
        assert examples(text), view
        missing = [
            row["name"] for row in columns if row["view"] == view and f"`{row['name']}`" not in text
        ]
        assert missing == [], view
    views = {
        heading for heading in documented if heading.startswith("audit.") and "(" not in heading
    }
    assert views == {f"audit.{row['view']}" for row in columns}


async def test_every_function_for_the_auditor_has_an_example(database: TestDatabase) -> None:
    conn = await database.connect()
    functions = await conn.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace "
        "AND proname NOT LIKE '\\_%'"
    )
    used = "\n".join(examples(DOCUMENT))
    assert [row["proname"] for row in functions if f"audit.{row['proname']}(" not in used] == []


async def test_the_tables_of_checks_are_the_database_s(database: TestDatabase) -> None:
    conn = await database.connect()
    listed = await conn.fetch("SELECT * FROM audit.check_list()")
    rows = [f"| `{row['name']}` | {row['scope']} | {row['meaning']} |" for row in listed]
    assert [row for row in rows if row not in DOCUMENT] == []
    assert DOCUMENT.count("| market | ") == sum(row["scope"] == "market" for row in listed)
