"""From a command to the database: as which role, whether the schema fits, and what is read.

Every read is a file in ``sql/``. Whatever decides is a function of the ledger.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from app.errors import BadInput, Code, DatabaseProblem
from workers.cli.output import progress
from workers.cli.state import state

if TYPE_CHECKING:
    from app.db.access import Role
    from app.ledger.calls import LedgerCalls

T = TypeVar("T")

_SQL: Final = Path(__file__).resolve().parent / "sql"
_REVISIONS: Final = Path(__file__).resolve().parents[2] / "migrations" / "versions"


PATIENCE_S = 30.0
"""How long a command waits for the answer to one statement."""

LONG_PATIENCE_S = 600.0
"""The same where a statement works through much: an import, an audit."""


def with_ledger(
    role: Role,
    work: Callable[[LedgerCalls], Awaitable[T]],
    *,
    patience_s: float | None = None,
) -> T:
    """Connect in ``role`` (on the embedded server; else with the login configured), check the
    schema, and run ``work``. Starts the embedded server if that is the one to use.

    Raises `BadInput` and `DatabaseProblem`, the latter with DATABASE_BUSY where a statement is not
    answered within ``patience_s``.
    """
    from app.db.access import role_url

    settings = state().settings
    with progress("connecting to the database") as tell:
        url = role_url(settings, role, tell)
    return asyncio.run(_with_pool(url, work, patience_s or PATIENCE_S))


async def _with_pool(url: str, work: Callable[[LedgerCalls], Awaitable[T]], patience_s: float) -> T:
    from app.db.connect import open_pool
    from workers.cli.patience import patient_calls

    try:
        pool = await open_pool(url, role_hint="command", min_size=1, max_size=1)
    except DatabaseProblem as problem:
        await _explain_missing_role(problem)
        raise
    try:
        calls = patient_calls(pool, patience_s)
        await check_fits(calls)
        return await work(calls)
    finally:
        # close() waits for ever on a connection that an interrupt left in the middle of a statement
        pool.terminate()


def explaining_missing_roles(work: Callable[[], T]) -> T:
    """Run what connects by itself, with the errors that `with_ledger` has before there is a schema."""
    try:
        return work()
    except DatabaseProblem as problem:
        asyncio.run(_explain_missing_role(problem))
        raise


async def _explain_missing_role(problem: DatabaseProblem) -> None:
    """On an embedded server without schema the roles are missing too, as they are under another
    prefix, and a login that fails would send its reader looking for a password.
    """
    settings = state().settings
    if settings.database_url is not None or problem.code != Code.DATABASE_PRIVILEGE:
        return
    from app.db.access import owner_url
    from app.db.connect import open_connection
    from app.db.revisions import check_schema

    owner = await open_connection(owner_url(settings), role_hint="command")
    try:
        await check_schema(owner)
        role = settings.role_prefix + "worker"
        there = await owner.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    finally:
        await owner.close()
    if not there:
        raise BadInput(
            Code.BAD_SETTING,
            f"LEDGER_ROLE_PREFIX is {settings.role_prefix}, and the server has no role {role}",
            not_done="nothing was read or written",
            next_step="set it as it was when the schema was made, or run: alembic upgrade head on a "
            "server of its own (LEDGER_DATA_DIR)",
        )


async def check_fits(calls: LedgerCalls) -> None:
    """Raise SCHEMA_MISSING, SCHEMA_OLD or SCHEMA_NEW where release and database do not fit.

    Alembic takes longer to import than most commands to run, so it is asked only for the words of
    a refusal.
    """
    try:
        found = await read(calls, "schema_version")
    except DatabaseProblem as problem:
        if problem.code == Code.DATABASE_PRIVILEGE:
            # a login without a right to the bookkeeping of migrations: if the schema does not fit,
            # the call itself says so
            return
        if problem.code != Code.SCHEMA_MISSING:
            raise
        found = []
    if found and found[0]["version_num"] == newest_revision():
        return
    from app.db.failures import translated
    from app.db.revisions import check_schema

    async with calls.pool.acquire() as connection:
        with translated():
            await check_schema(connection)


@cache
def newest_revision() -> str:
    """The newest revision this release ships, read from the names of the files."""
    names = (re.match(r"r(\d{4})_", path.name) for path in _REVISIONS.glob("r*.py"))
    return max(match[1] for match in names if match)


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (_SQL / f"{name}.sql").read_text("utf-8")


async def read(calls: LedgerCalls, name: str, *arguments: Any) -> list[dict[str, Any]]:
    """Rows of a read, by the name of its file."""
    return await calls.rows(statement(name), *arguments)


async def check_filters(calls: LedgerCalls, account: str | None, market: str | None) -> None:
    """Raise for an account or market that does not exist: an empty list would look like good news."""
    if account is None and market is None:
        return
    (known,) = await read(calls, "known", account, market)
    if not known["account"]:
        raise BadInput(
            Code.UNKNOWN_ACCOUNT,
            f"there is no account {account!r}",
            not_done="nothing was read",
            next_step="ledger-worker account list shows the names",
        )
    if not known["market"]:
        raise BadInput(
            Code.UNKNOWN_MARKET,
            f"there is no market {market!r}",
            not_done="nothing was read",
            next_step="ledger-worker markets list shows condition ids and slugs",
        )
