"""What Alembic runs. The URL comes from the caller, else from the settings, else from the embedded server.

Alembic's command line has words for its own errors only. For all others a person who types ``alembic``
gets what `ledger-worker` would say, and with ``-x debug`` the traceback; a program gets the exception.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.connect import check_version, open_connection
from app.db.migrate import problem_of
from app.db.revisions import VERSION_TABLE, known_revisions, schema_is_newer
from app.db.tables import belongs, metadata
from app.db.url import parse
from app.errors import LedgerError, Refused
from app.roles import RolePrefix

ONE_AT_A_TIME: Final = 0x6C6564676572
"""Advisory lock of a database's migrations. The second of two finds the work of the first done."""


async def _nothing_more() -> None:
    """A configured server keeps its own passwords."""


def _target() -> tuple[str, RolePrefix, Callable[[], Awaitable[None]]]:
    """The owner's address, the role prefix, and what is left to do after the migration."""
    attributes = context.config.attributes
    if "url" in attributes:
        return attributes["url"], attributes.get("prefix") or RolePrefix(), _nothing_more
    from app.config import load_settings
    from app.db.access import let_embedded_roles_log_in, owner_url

    settings = load_settings()
    return (
        owner_url(settings, _tell),
        RolePrefix(settings.role_prefix),
        lambda: let_embedded_roles_log_in(settings),
    )


def _configure(prefix: RolePrefix, **options: object) -> None:
    context.configure(
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema="public",
        include_schemas=True,
        include_object=belongs,
        **options,  # type: ignore[arg-type]
    )
    context.config.attributes["prefix"] = prefix


def _run(connection: Connection, prefix: RolePrefix) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
    _configure(prefix, connection=connection)
    _refuse_newer()
    with context.begin_transaction():
        context.run_migrations()


def _refuse_newer() -> None:
    known = known_revisions()
    for revision in context.get_context().get_current_heads():
        if revision not in known:
            raise schema_is_newer(revision, not_done="the schema was not changed")


async def _online() -> None:
    url, prefix, afterwards = _target()
    # SQLAlchemy wraps what goes wrong while it connects in several ways, this in one
    first = await open_connection(url, role_hint="migration")
    try:
        await check_version(first)
    finally:
        await first.close()
    engine = create_async_engine(parse(url).sqlalchemy(), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run, prefix)
            await connection.commit()
    finally:
        await engine.dispose()
    await afterwards()


def _for_a_person() -> None:
    try:
        asyncio.run(_online())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was not committed was undone\n")
        sys.exit(130)
    except Exception as error:
        problem = problem_of(error)
        if problem is None or "debug" in context.get_x_argument():
            raise
        _end(problem)


def _end(problem: LedgerError) -> NoReturn:
    lines = [f"{problem.code}: {problem.wrong}"]
    lines += [f"  not done: {problem.not_done}"] if problem.not_done else []
    lines += [f"  next: {problem.next_step}"] if problem.next_step else []
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(1 if isinstance(problem, Refused) else 2)


def _tell(step: str, seconds: float) -> None:
    if seconds >= 1 and step not in _TOLD:
        _TOLD.add(step)
        sys.stderr.write(f"{step} ...\n")


_TOLD: Final[set[str]] = set()

if context.is_offline_mode():
    _configure(RolePrefix(), dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif "url" in context.config.attributes:
    asyncio.run(_online())
else:
    _for_a_person()
