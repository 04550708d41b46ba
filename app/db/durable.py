"""Statements whose commit must be durable before a byte leaves for the venue.

With synchronous replication a commit first lands locally and then waits for its standby. When that
wait is cancelled (an operator, a driver's time-out, a shutdown) Postgres answers *success* with a
warning: the row is visible, and a failover may still lose it. Sent on the strength of it, an order
would exist that no row knows.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import asyncpg

from app.db.connect import Connection
from app.errors import Code, DatabaseProblem

_WARNING: Final = "01000"
_GOING_DOWN: Final = ("57P01", "57P02")
_RAISED_IN_SQL: Final = "exec_stmt_raise"
"""The server's routine behind RAISE WARNING. That warning bears the same code but says nothing of
the commit.
"""


async def call_durable(conn: Connection, sql: str, *args: Any) -> list[asyncpg.Record]:
    """Run one statement in a transaction of its own; return its rows once the commit is durable.

    Raises `DatabaseProblem` with ``NOT_DURABLE`` when the wait for the standby was cut short or the
    session was lost: the change may or may not be there, so nothing may be sent on it until a
    further commit on that row succeeds. Other errors of the server mean that it did not commit, and
    pass through. There is no time-out.
    """
    if conn.is_in_transaction():
        raise DatabaseProblem(
            Code.ISOLATION,
            "a durable call was made inside a transaction, so its commit would be another's",
            not_done="the statement was not run",
            next_step="make the call on a session without an open transaction",
        )
    doubts: list[str] = []

    def listen(_conn: Any, message: asyncpg.PostgresLogMessage) -> None:
        if _casts_doubt(message):
            doubts.append(str(message))

    conn.add_log_listener(listen)
    try:
        rows: list[asyncpg.Record] = await conn.fetch(sql, *args, timeout=None)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.InterfaceError) and not _gone(conn):
            raise  # wrong arguments or a busy connection: nothing was sent
        raise _not_durable("the session was lost during the commit") from error
    except asyncpg.InternalClientError as error:
        # A session that was ended between two of the driver's own questions leaves it at a loss.
        with suppress(asyncpg.InterfaceError):
            conn.terminate()
        raise _not_durable("the driver lost track of the session") from error
    except asyncpg.OperatorInterventionError as error:
        if not isinstance(error, asyncpg.QueryCanceledError):
            raise _not_durable("the server went down during the commit") from error
        raise
    finally:
        # Of a closed one too: a pool that takes it back complains of listeners first, and asks afterwards.
        with suppress(asyncpg.InterfaceError):
            conn.remove_log_listener(listen)
    # the warning comes before the end of the statement on the same wire, so its listener has run by
    # now
    if doubts:
        raise _not_durable(doubts[0])
    return rows


def _gone(conn: Connection) -> bool:
    """Closed, or given back to its pool by its own end: then it answers nothing any more."""
    try:
        return bool(conn.is_closed())
    except asyncpg.InterfaceError:
        return True


def _casts_doubt(message: asyncpg.PostgresLogMessage) -> bool:
    """By code and routine, since the words are in the server's language. An unknown routine counts
    as doubt.
    """
    if (message.severity_en or message.severity) != "WARNING":
        return False
    if message.sqlstate in _GOING_DOWN:
        return True
    return bool(message.sqlstate == _WARNING and message.server_source_function != _RAISED_IN_SQL)


def _not_durable(said: str) -> DatabaseProblem:
    return DatabaseProblem(
        Code.NOT_DURABLE,
        f"the commit is not known to be durable: {said}",
        not_done="nothing may be sent to the venue on the strength of it",
        next_step="see that the synchronous standby is connected, then repeat the step",
    )
