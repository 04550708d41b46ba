"""The tables of the schema ``ledger`` as SQLAlchemy metadata, for programs that query with it and for
Alembic's comparison.

The SQL files are the truth; a test compares a migrated database with what stands here. Check
constraints, triggers, functions, storage settings and collations are in the files alone.
"""

from __future__ import annotations

from typing import Any

from app.db.tables import (
    exposure,
    journal,
    orders,
    outbox,
    pnl,
    reference,
    risk,
    state_machine,
    venue,
    withdrawal,
)
from app.db.tables.base import metadata

__all__ = [
    "belongs",
    "exposure",
    "journal",
    "metadata",
    "orders",
    "outbox",
    "pnl",
    "reference",
    "risk",
    "state_machine",
    "venue",
    "withdrawal",
]


def belongs(
    item: Any, name: str | None, kind: str, reflected: bool, compared_to: Any | None
) -> bool:
    """Alembic's ``include_object``: what a comparison looks at.

    Schema ``ledger`` alone, and of it no partitions of the journal: they come and go with the months.
    """
    table = item if kind == "table" else getattr(item, "table", None)
    if table is None:
        return True
    return table.schema == "ledger" and not table.name.startswith("journal_")
