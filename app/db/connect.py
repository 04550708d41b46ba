"""Opens sessions and pools, and turns every way in which that fails into one error that names the
next step.

No error, log or traceback of this module holds a password: drivers quote parts of an address they
cannot read, so their words about the address itself are not passed on.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final, TypeAlias

import asyncpg

from app.db.url import DatabaseUrl, parse
from app.errors import BadInput, Code, DatabaseProblem, LedgerError

Connection: TypeAlias = asyncpg.Connection
Pool: TypeAlias = asyncpg.Pool

OLDEST_VERSION: Final = 150_000
"""``server_version_num`` of Postgres 15."""

CONNECT_S: Final = 10.0
"""Per host. Statements have no time-out of the driver: it would cancel a commit that waits for its
standby.
"""

_STATEMENT_CACHE: Final = 256

DRIVER_ERRORS: Final = (
    OSError,
    TimeoutError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""All that a driver raises while it connects."""


async def open_connection(
    url: str, *, role_hint: str = "session", statement_cache: bool = True
) -> Connection:
    """One session. Raises `BadInput` for the address and `DatabaseProblem` for the rest.

    ``role_hint`` is what ``pg_stat_activity`` shows behind ``ledger``. ``statement_cache=False`` is
    for PgBouncer in transaction mode.
    """
    target = parse(url)
    try:
        return await asyncpg.connect(target.dsn(), **_options(role_hint, statement_cache))
    except DRIVER_ERRORS as error:
        raise explain(target, error) from _fit_to_show(error)


async def open_pool(
    url: str,
    *,
    role_hint: str = "pool",
    min_size: int = 1,
    max_size: int = 10,
    statement_cache: bool = True,
) -> Pool:
    """A pool of sessions, the first ``min_size`` of them open. Raises as `open_connection` does."""
    target = parse(url)
    try:
        return await asyncpg.create_pool(
            target.dsn(),
            min_size=min_size,
            max_size=max_size,
            init=notice_dead_peers,
            **_options(role_hint, statement_cache),
        )
    except DRIVER_ERRORS as error:
        raise explain(target, error) from _fit_to_show(error)


async def check_version(conn: Connection) -> None:
    """Raise ``DATABASE_UNREACHABLE`` for a server older than Postgres 15."""
    number = int(await conn.fetchval("SHOW server_version_num"))
    if number < OLDEST_VERSION:
        raise DatabaseProblem(
            Code.DATABASE_UNREACHABLE,
            f"the server is Postgres {number // 10_000}, and the ledger needs 15 or newer",
            not_done="nothing was read or written",
            next_step="upgrade the server, or leave LEDGER_DATABASE_URL empty for the embedded one",
        )


KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
UNACKNOWLEDGED_MS: Final = 10_000


async def notice_dead_peers(conn: Any) -> None:
    """A connection whose other end has gone without a word ends within seconds, and not after hours.

    No time-out of a statement: a server that lives and is slow keeps its connection (a commit that waits for its
    standby must not be cut). Only a machine that no longer acknowledges anything loses it.
    """
    # Of a pool's session, the connection itself; the driver offers no other way to the socket.
    inner = getattr(conn, "_con", conn)
    channel = inner._transport.get_extra_info("socket")
    if channel is None or channel.family not in (socket.AF_INET, socket.AF_INET6):
        return
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            channel.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def _options(role_hint: str, statement_cache: bool) -> dict[str, Any]:
    # application_name is the one startup setting that every pooler lets through
    return {
        "timeout": CONNECT_S,
        "command_timeout": None,
        "statement_cache_size": _STATEMENT_CACHE if statement_cache else 0,
        "server_settings": {"application_name": f"ledger {role_hint}"[:63]},
    }


def _fit_to_show(error: BaseException) -> BaseException | None:
    """The cause to keep in the traceback: nothing where its text may quote the address."""
    return None if isinstance(error, ValueError | asyncpg.InterfaceError) else error


def explain(target: DatabaseUrl, error: BaseException) -> LedgerError:
    """The problem behind a failed connection to ``target``."""
    if isinstance(error, asyncpg.PostgresError):
        return _explain_refusal(target, error)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return _problem(
            target,
            Code.DATABASE_UNREACHABLE,
            "none of the hosts is of the kind that target_session_attrs asks for",
            "see which server is the primary; a failover may still be under way",
        )
    if isinstance(error, ssl.SSLError) or "SSL" in str(error):
        return _problem(
            target,
            Code.DATABASE_UNREACHABLE,
            "TLS could not be agreed with it",
            "see sslmode and sslrootcert in the address, and the server's certificate",
        )
    if isinstance(error, ValueError | asyncpg.InterfaceError):
        return BadInput(
            Code.BAD_SETTING,
            f"the driver cannot use the database address {target.masked()}",
            not_done="no connection was made",
            next_step="see its parameters and the files they name (sslcert, sslkey, passfile)",
        )
    if isinstance(error, TimeoutError):
        return _problem(
            target,
            Code.DATABASE_BUSY,
            f"it did not answer within {CONNECT_S:.0f} s",
            "see that the server is not paused or overloaded, and that host and port are right; "
            "then repeat",
        )
    return _problem(
        target,
        Code.DATABASE_UNREACHABLE,
        _network_words(error),
        "see that the server runs and the host and port are right",
    )


def _explain_refusal(target: DatabaseUrl, error: asyncpg.PostgresError) -> DatabaseProblem:
    said = str(error)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return _problem(
            target,
            Code.DATABASE_PRIVILEGE,
            said,
            "see the user name and the password in the address",
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _problem(
            target,
            Code.DATABASE_PRIVILEGE,
            said,
            "let the role connect: GRANT CONNECT ON DATABASE … TO …",
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return _problem(
            target,
            Code.DATABASE_UNREACHABLE,
            said,
            "create that database, then run: alembic upgrade head",
        )
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return _problem(
            target,
            Code.DATABASE_BUSY,
            said,
            "close other sessions, lower the pools, or raise max_connections",
        )
    if isinstance(error, asyncpg.CannotConnectNowError):
        return _problem(target, Code.DATABASE_BUSY, said, "wait until it has started, then repeat")
    return _problem(target, Code.DATABASE_UNREACHABLE, said, "read the server's log")


def _network_words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, FileNotFoundError):
        return "there is no socket of a server in that folder"
    if isinstance(error, PermissionError):
        return "its socket is closed to this user"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _problem(target: DatabaseUrl, code: Code, said: str, next_step: str) -> DatabaseProblem:
    return DatabaseProblem(
        code,
        f"no connection to {target.masked()}: {said}",
        not_done="nothing was read or written",
        next_step=next_step,
    )
