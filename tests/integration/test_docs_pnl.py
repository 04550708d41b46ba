"""docs/pnl.md: its queries run as the auditor, its Python says what it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.database import TestDatabase
from tests.support.life import Life
from tests.support.profit import lose, sweep

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "pnl.md").read_text(encoding="utf-8")


async def test_every_query_answers_the_auditor(module_database: TestDatabase, life: Life) -> None:
    await lose(life, 1)
    await sweep(life)
    auditor = await module_database.connect("auditor")
    examples = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(examples) == 2
    assert all([await auditor.fetch(example) for example in examples])


def test_the_sizing_example_is_true() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert "assert" in example
    exec(compile(example, "docs/pnl.md", "exec"), {})  # noqa: S102 - the document is ours


async def test_what_it_says_is_kept_is_the_setting(life: Life) -> None:
    kept = await life.conn.fetchval(
        "SELECT value FROM ledger.setting WHERE name = 'keep_equity_minutes_days'"
    )
    assert f"`keep_equity_minutes_days` days ({kept}," in DOCUMENT
