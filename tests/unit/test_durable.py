"""What counts as a durable commit, on a connection made of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from app.db.durable import call_durable
from app.errors import Code, DatabaseProblem


def message(
    code: str, routine: str | None, severity: str = "WARNING"
) -> asyncpg.PostgresLogMessage:
    """As a server in Germany sends it: only code, routine and plain severity tell anything."""
    fields = {"S": "WARNUNG", "V": severity, "C": code, "M": "Warten auf Standby abgebrochen"}
    if routine:
        fields["R"] = routine
    return asyncpg.PostgresLogMessage.new(fields)


class FakeConnection:
    """Answers one statement with these messages and then this outcome."""

    def __init__(self, *messages: Any, outcome: BaseException | None = None) -> None:
        self.messages = messages
        self.outcome = outcome
        self.listeners: list[Callable[[Any, Any], None]] = []
        self.closed = False
        self.inside = False
        self.ran: list[str] = []

    def is_in_transaction(self) -> bool:
        return self.inside

    def is_closed(self) -> bool:
        return self.closed

    def add_log_listener(self, listener: Callable[[Any, Any], None]) -> None:
        self.listeners.append(listener)

    def remove_log_listener(self, listener: Callable[[Any, Any], None]) -> None:
        self.listeners.remove(listener)

    async def fetch(self, sql: str, *_args: Any, timeout: float | None) -> list[Any]:
        assert timeout is None
        self.ran.append(sql)
        for one in self.messages:
            for listener in self.listeners:
                listener(self, one)
        if self.outcome is not None:
            raise self.outcome
        return ["row"]


SYNC = "SyncRepWaitForLSN"


@pytest.mark.parametrize(
    "said",
    [
        message("01000", SYNC),
        message("01000", None),
        message("57P01", SYNC),
        message("57P02", None),
    ],
)
async def test_a_warning_during_the_commit_means_not_durable(said: Any) -> None:
    conn = FakeConnection(said)
    with pytest.raises(DatabaseProblem) as caught:
        await call_durable(conn, "SELECT 1")
    assert caught.value.code is Code.NOT_DURABLE
    assert conn.listeners == []


@pytest.mark.parametrize(
    "said",
    [
        message("01000", "exec_stmt_raise"),
        message("00000", None, "NOTICE"),
        message("01000", SYNC, "NOTICE"),
        message("42P07", None, "NOTICE"),
    ],
)
async def test_what_says_nothing_of_the_commit_is_ignored(said: Any) -> None:
    conn = FakeConnection(said)
    assert await call_durable(conn, "SELECT 1") == ["row"]
    assert conn.listeners == []


@pytest.mark.parametrize(
    "lost",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionResetError(104, "reset"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.CrashShutdownError("terminating connection because of crash"),
    ],
)
async def test_a_session_lost_during_the_call_means_not_durable(lost: BaseException) -> None:
    conn = FakeConnection(outcome=lost)
    conn.closed = True
    with pytest.raises(DatabaseProblem) as caught:
        await call_durable(conn, "SELECT 1")
    assert caught.value.code is Code.NOT_DURABLE


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.QueryCanceledError("canceling statement due to user request"),
        asyncpg.InterfaceError("the server expects 1 argument for this query"),
    ],
)
async def test_an_error_that_rolled_back_passes_through(error: Exception) -> None:
    conn = FakeConnection(outcome=error)
    with pytest.raises(type(error)):
        await call_durable(conn, "SELECT 1")
    assert conn.listeners == []


async def test_a_call_inside_a_transaction_is_refused_before_it_runs() -> None:
    conn = FakeConnection()
    conn.inside = True
    with pytest.raises(DatabaseProblem) as caught:
        await call_durable(conn, "SELECT 1")
    assert caught.value.code is Code.ISOLATION
    assert conn.ran == []
