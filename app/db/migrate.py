"""The schema's life: upgrade and downgrade.

Alembic does the bookkeeping; this module gives it a URL and turns its failures into errors with a next step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from app.db.failures import of_server
from app.db.revisions import MIGRATIONS
from app.errors import BadInput, Code, DatabaseProblem, LedgerError, Refused
from app.roles import RolePrefix


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


def problem_of(error: BaseException) -> LedgerError | None:
    """What stopped a migration, in words a person can act upon; None for an error of our own making.

    A migration is one transaction, so that whatever fails before its commit leaves the schema as it was.
    """
    if isinstance(error, LedgerError):
        return error
    if isinstance(error, CommandError):
        return BadInput(
            Code.BAD_REQUEST,
            f"the migration cannot run: {error}",
            not_done=_UNCHANGED,
            next_step="alembic history shows the revisions there are",
        )
    for cause in _causes(error):
        if isinstance(cause, asyncpg.PostgresError):
            return _of_statement(cause)
        if isinstance(cause, OSError | asyncpg.InterfaceError):
            return DatabaseProblem(
                Code.DATABASE_UNREACHABLE,
                f"the connection to the database was lost: {type(cause).__name__}",
                not_done="whether the migration was committed is not known",
                next_step="alembic current shows where the schema is; then repeat",
            )
    return None


_UNCHANGED: Final = "the schema was not changed"


def _of_statement(error: asyncpg.PostgresError) -> LedgerError:
    known = of_server(error)
    if known.code == Code.DOWNGRADE_REFUSED:
        return Refused(known.code, known.wrong, not_done=_UNCHANGED, next_step=known.next_step)
    if known.code == Code.DATABASE_PRIVILEGE:
        return DatabaseProblem(
            known.code,
            known.wrong,
            not_done=_UNCHANGED,
            next_step="run it with the login that owns the database and may create roles",
        )
    return DatabaseProblem(
        Code.MIGRATION_FAILED,
        f"the database answered {error.sqlstate}: {error.args[0] if error.args else error}",
        not_done=_UNCHANGED,
        next_step="put right what it names (the server's log says more), then repeat",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from: between the driver and us stands SQLAlchemy."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


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
    except Exception as error:
        problem = problem_of(error)
        if problem is None or problem is error:
            raise
        raise problem from error
