"""Turns what the driver raises into errors with a code and a next step.

The ledger's functions raise with SQLSTATE ``LG...`` and a message ``CODE: text``; everything else is the
server's or the network's trouble.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from app.errors import BadInput, Code, DatabaseProblem, LedgerError


@contextmanager
def translated() -> Iterator[None]:
    """Wrap a database call. `DatabaseProblem` means the outcome is not known unless its text says so."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise of_server(error) from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseProblem(
            Code.DATABASE_UNREACHABLE,
            f"the connection to the database was lost: {type(error).__name__}",
            not_done="whether the last statement was committed is not known",
            next_step="repeat with the same key: what was committed is answered as a replay",
        ) from error


def of_server(error: asyncpg.PostgresError) -> LedgerError:
    """The error behind what the server answered to a statement."""
    state = error.sqlstate or ""
    text = error.args[0] if error.args else str(error)  # str() would add detail and hint
    if state.startswith("LG"):
        code, _, rest = text.partition(": ")
        known = Code(code) if code in Code.__members__ else Code.BAD_REQUEST
        return BadInput(
            known,
            rest if code in Code.__members__ else text,
            next_step=getattr(error, "hint", None) or "",
        )
    if state == "42501":
        return DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            text,
            not_done="nothing was changed",
            next_step="connect as a role that may do this (docs/audit.md lists the roles)",
        )
    if state in ("3F000", "42P01", "42883"):
        return DatabaseProblem(
            Code.SCHEMA_MISSING,
            text,
            not_done="nothing was changed",
            next_step="run: alembic upgrade head",
        )
    if state.startswith(("22", "23")):
        return BadInput(
            Code.BAD_REQUEST,
            f"the database refused a value: {text}",
            not_done="nothing was written",
        )
    return DatabaseProblem(
        Code.DATABASE_UNREACHABLE,
        f"the database answered {state}: {text}",
        not_done="whether the statement was committed is not known",
        next_step="repeat with the same key once the database is well",
    )
