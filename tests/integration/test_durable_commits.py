"""A commit whose wait for the standby is cut short, on a real server whose standby never comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from app.db import embedded
from app.db.durable import call_durable
from app.errors import Code, DatabaseProblem
from tests.support.worker import until

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
INSERT = "INSERT INTO kept VALUES ($1) RETURNING n"


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    """A server that waits for a standby named ``absent``, with a table made before."""

    async def prepare(url: str) -> None:
        conn = await asyncpg.connect(url)
        await conn.execute("CREATE TABLE kept (n int PRIMARY KEY)")
        await conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        await conn.execute("SELECT pg_reload_conf()")
        await conn.close()

    with embedded.throwaway(fsync=False) as server:
        asyncio.run(prepare(server.url()))
        yield server.url()


async def cut_short(url: str, how: str, n: int) -> DatabaseProblem:
    """The problem of a call whose wait is ended by ``how``, a function of the waiting session's
    pid.
    """
    operator = await asyncpg.connect(url)
    conn = await asyncpg.connect(url)
    try:
        call = asyncio.get_running_loop().create_task(call_durable(conn, INSERT, n))
        async with asyncio.timeout(20):
            while (pid := await operator.fetchval(WAITING)) is None:
                assert not call.done()
            await operator.execute(f"SELECT {how}({pid})")
            with pytest.raises(DatabaseProblem) as caught:
                await call
        # the row is there: exactly what makes the silent version dangerous
        assert await operator.fetchval("SELECT count(*) FROM kept WHERE n = $1", n) == 1
    finally:
        conn.terminate()
        await operator.close()
    return caught.value


@pytest.mark.parametrize(("how", "n"), [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)])
async def test_a_commit_that_did_not_reach_its_standby_is_not_durable(
    url: str, how: str, n: int
) -> None:
    problem = await cut_short(url, how, n)
    assert problem.code is Code.NOT_DURABLE


async def test_a_commit_that_waits_for_no_standby_is_durable(url: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        await conn.execute("SET synchronous_commit = local")
        rows = await call_durable(conn, INSERT, 3)
        assert [row["n"] for row in rows] == [3]
    finally:
        await conn.close()


async def test_a_warning_raised_in_sql_leaves_the_commit_durable(url: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        await conn.execute("SET synchronous_commit = local")
        await call_durable(conn, "DO $$ BEGIN RAISE WARNING 'look'; END $$")
    finally:
        await conn.close()


async def test_a_statement_that_failed_passes_its_own_error_on(url: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.NotNullViolationError):
            await call_durable(conn, INSERT, None)
    finally:
        await conn.close()


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError, asyncpg.ConnectionDoesNotExistError]
)
async def test_a_session_that_ends_under_a_call_leaves_a_pool_that_can_be_closed(
    url: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is at a loss where the server ends a session between two of the driver's own questions."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
    operator = await asyncpg.connect(url)

    async def fetch(conn: asyncpg.Connection, *_args: object, **_options: object) -> None:
        await operator.execute(f"SELECT pg_terminate_backend({conn.get_server_pid()})")
        await until(conn.is_closed, "the driver has heard of it")
        raise error("in between")

    try:
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg.Connection, "fetch", fetch)
            async with pool.acquire() as conn:
                with pytest.raises(DatabaseProblem) as caught:
                    await call_durable(conn, "SELECT 1")
        assert caught.value.code is Code.NOT_DURABLE
        async with asyncio.timeout(20):
            assert await pool.fetchval("SELECT 1") == 1
            await pool.close()
    finally:
        pool.terminate()
        await operator.close()
