"""The paper venue's SQL, read from the files beside it, and what it needs of a database driver."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Final, Protocol

from app.errors import Code, DatabaseProblem


class Connection(Protocol):
    """The part of an asyncpg connection that is used here."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]: ...

    async def fetchrow(self, query: str, *args: Any) -> Any: ...

    async def execute(self, query: str, *args: Any) -> Any: ...

    def transaction(self, *, isolation: str) -> AbstractAsyncContextManager[Any]: ...


class Pool(Protocol):
    """The part of an asyncpg pool that is used here. It must not be in anybody's transaction."""

    def acquire(self) -> AbstractAsyncContextManager[Any]: ...


def _load() -> dict[str, str]:
    folder = files("app.venue.paper").joinpath("sql")
    return {
        path.name.removesuffix(".sql"): path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.name.endswith(".sql")
    }


SQL: Final = _load()
"""Statement text by file name without its ending."""

_SCHEMA_MISSING = {"3F000", "42P01", "42703"}
_OUTAGE_CLASSES = {"08", "25", "40", "53", "55", "57", "58"}


def outage_of(error: Exception) -> str | None:
    """What to say when the venue's database did not answer; None where the error is a fault of the
    code.

    A schema or privilege that is missing raises `DatabaseProblem`: as an outage it would be retried
    for ever.
    """
    state = getattr(error, "sqlstate", None)
    if state in _SCHEMA_MISSING:
        raise DatabaseProblem(
            Code.SCHEMA_MISSING,
            "the schema of the paper venue is missing or old",
            not_done="the paper venue was not reached",
            next_step="run: alembic upgrade head",
        ) from error
    if state == "42501":
        raise DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            "the database role may not use the schema paper",
            not_done="the paper venue was not reached",
            next_step="grant it the worker role, or run: alembic upgrade head as the owner",
        ) from error
    if isinstance(state, str):
        return f"paper database: {state}" if state[:2] in _OUTAGE_CLASSES else None
    lost = isinstance(error, (OSError, TimeoutError)) or type(error).__name__ == "InterfaceError"
    return f"paper database: {type(error).__name__}" if lost else None
