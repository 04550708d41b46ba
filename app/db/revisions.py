"""Which revisions this release ships, and the check that it and the database fit together.

Apart from the migrations themselves: every worker and bot asks this at its start, and none of them needs Alembic
for it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from app.errors import Code, DatabaseProblem

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
VERSION_TABLE: Final = "ledger_alembic_version"
_NAMED: Final = re.compile(r'(?m)^(down_revision|revision) = "?([^"\n]+)"?$')


@cache
def chain() -> dict[str, str]:
    """Each revision this release ships, and the one it follows ("None" for the first)."""
    found = {}
    for path in sorted((MIGRATIONS / "versions").glob("r*.py")):
        names = dict(_NAMED.findall(path.read_text("utf-8")))
        found[names["revision"]] = names["down_revision"]
    return found


def known_revisions() -> set[str]:
    """The revisions this release ships."""
    return set(chain())


def head() -> str:
    """The newest revision this release knows: the one that no other follows."""
    (newest,) = chain().keys() - set(chain().values())
    return newest


class _Fetches(Protocol):
    async def fetchval(self, query: str, *args: Any) -> Any: ...


async def check_schema(connection: _Fetches) -> None:
    """Raise SCHEMA_MISSING, SCHEMA_OLD or SCHEMA_NEW if this release and the database do not fit."""
    table = await connection.fetchval("SELECT to_regclass($1)::text", f"public.{VERSION_TABLE}")
    exists = await connection.fetchval("SELECT to_regnamespace('ledger') IS NOT NULL")
    if table is None or not exists:
        raise DatabaseProblem(
            Code.SCHEMA_MISSING,
            "the database has no ledger schema",
            not_done="nothing was read or written",
            next_step="run: alembic upgrade head",
        )
    current = await connection.fetchval("SELECT version_num FROM public.ledger_alembic_version")
    if current == head():
        return
    if current in known_revisions():
        raise DatabaseProblem(
            Code.SCHEMA_OLD,
            f"the schema is at revision {current}, this release needs {head()}",
            not_done="nothing was read or written",
            next_step="run: alembic upgrade head",
        )
    raise schema_is_newer(current, not_done="nothing was read or written")


def schema_is_newer(revision: str, *, not_done: str) -> DatabaseProblem:
    """The error for a database of a later release."""
    return DatabaseProblem(
        Code.SCHEMA_NEW,
        f"the schema is at revision {revision}, which this release does not know",
        not_done=not_done,
        next_step="install the release that made it, or a newer one",
    )
