"""The schema's life: upgrade, downgrade, and the check that this release and the database fit together.

Alembic does the bookkeeping; this module gives it a URL and turns its failures into errors with a next step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from app.errors import Code, DatabaseProblem
from app.roles import RolePrefix

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
VERSION_TABLE: Final = "ledger_alembic_version"


def alembic_config(url: str | None, prefix: RolePrefix | None = None) -> Config:
    """The configuration that ``alembic`` itself reads from alembic.ini, with the URL of this process."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    if url is not None:
        config.attributes["url"] = url
    if prefix is not None:
        config.attributes["prefix"] = prefix
    return config


def upgrade(url: str, revision: str = "head", prefix: RolePrefix | None = None) -> None:
    """Bring the database at ``url`` to ``revision``. Safe to repeat. One transaction: all of it or nothing."""
    _outside_the_loop(lambda: command.upgrade(alembic_config(url, prefix), revision))


def downgrade(url: str, revision: str = "base", prefix: RolePrefix | None = None) -> None:
    """Take the schema back. Refused while orders may be live at a venue; roles stay."""
    _outside_the_loop(lambda: command.downgrade(alembic_config(url, prefix), revision))


def head() -> str:
    """The newest revision this release knows."""
    revision = ScriptDirectory.from_config(alembic_config(None)).get_current_head()
    assert revision is not None, "the release ships at least one revision"
    return revision


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
    known = {
        script.revision
        for script in ScriptDirectory.from_config(alembic_config(None)).walk_revisions()
    }
    if current in known:
        raise DatabaseProblem(
            Code.SCHEMA_OLD,
            f"the schema is at revision {current}, this release needs {head()}",
            not_done="nothing was read or written",
            next_step="run: alembic upgrade head",
        )
    raise DatabaseProblem(
        Code.SCHEMA_NEW,
        f"the schema is at revision {current}, which this release does not know",
        not_done="nothing was read or written",
        next_step="install the release that made it, or a newer one",
    )


def _outside_the_loop(work: Callable[[], None]) -> None:
    """Alembic's environment starts its own event loop, so it cannot run on a thread that already has one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _translated(work)
        return
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _translated(work)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="migrate")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _translated(work: Callable[[], None]) -> None:
    try:
        work()
    except CommandError as error:
        raise DatabaseProblem(
            Code.SCHEMA_NEW,
            f"the migration cannot run: {error}",
            not_done="the schema was not changed",
            next_step="install the release that knows the database's revision",
        ) from error
