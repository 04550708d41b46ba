"""Transactions that sit still: ended by their roles' time-outs or the worker, and the oldest snapshot is told.

Lesson 37: one idle transaction stopped the queue, and a pinned xmin took it from 8 k/s to 1 k/s.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from app.db.migrate import downgrade, upgrade
from app.roles import RolePrefix
from tests.support.cli import Cli
from tests.support.database import LOGIN_ROLES, TestDatabase
from tests.support.life import Life, call
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker import horizon

SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"


async def oldest(conn: asyncpg.Connection) -> dict[str, Any] | None:
    row = await conn.fetchrow("SELECT * FROM ledger.horizon()")
    return dict(row) if row else None


# the roles belong to the server and get their passwords with the template
@pytest.mark.usefixtures("template_database")
@pytest.mark.parametrize("revision", ["head", "0001"])
async def test_every_role_has_its_time_outs_after_a_migration(
    blank_database: TestDatabase, revision: str
) -> None:
    prefix = RolePrefix(blank_database.server.role_prefix)
    upgrade(blank_database.url, revision, prefix=prefix)
    upgrade(blank_database.url, prefix=prefix)
    for role in LOGIN_ROLES:
        conn = await blank_database.connect(role)
        assert await conn.fetchval("SHOW idle_in_transaction_session_timeout") == "1min", role
        limit = "15min" if role == "auditor" else "0"
        # None that could cut a commit: one that waits for its standby must not be cancelled.
        assert await conn.fetchval("SHOW statement_timeout") == limit, role
        assert await conn.fetchval("SHOW lock_timeout") == "0", role
    owner = await blank_database.connect()
    assert await owner.fetchval("SHOW idle_in_transaction_session_timeout") == "0"
    downgrade(blank_database.url, prefix=prefix)


@pytest.mark.usefixtures("template_database")
async def test_a_session_of_a_role_that_sits_in_a_transaction_is_ended_by_the_server(
    blank_database: TestDatabase,
) -> None:
    prefix = RolePrefix(blank_database.server.role_prefix)
    upgrade(blank_database.url, prefix=prefix)
    owner = await blank_database.connect()
    role = prefix.role("trader")
    # The same setting, shorter, where the migration has put it.
    await owner.execute(
        f"ALTER ROLE {role} IN DATABASE {blank_database.name} "
        "SET idle_in_transaction_session_timeout = '100ms'"
    )
    trader = await blank_database.connect("trader")
    await trader.execute(SNAPSHOT)
    pid = trader.get_server_pid()
    await until(
        lambda: owner.fetchval(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid
        ),
        "the server ends it",
    )
    assert await oldest(owner) is None


async def test_the_oldest_snapshot_is_named_with_its_age_and_what_happened_since(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    worker = await any_database.connect("worker")
    assert await oldest(worker) is None
    sitting = await any_database.connect("auditor", server_settings={"application_name": "a page"})
    await sitting.execute(SNAPSHOT)
    for _ in range(5):
        await life.reserved()
    found = await oldest(worker)
    assert found is not None
    assert (found["kind"], found["subject"]) == ("session", str(sitting.get_server_pid()))
    assert found["login"] == any_database.server.role_prefix + "auditor"
    assert (found["application"], found["state"]) == ("a page", "idle in transaction")
    assert found["transactions"] >= 5
    assert found["age_ms"] >= 0
    await sitting.execute("COMMIT")
    assert await oldest(worker) is None


async def test_an_idle_transaction_of_a_member_of_a_role_is_ended_and_a_busy_one_is_not(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    server = any_database.server
    bot, password = f"ledger_test_bot_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    await life.conn.execute(
        f"CREATE ROLE {bot} LOGIN PASSWORD '{password}' IN ROLE {server.role_prefix}trader"
    )
    try:
        url = server.admin.for_database(any_database.name).for_role(bot, password).dsn()
        idle, busy = await asyncpg.connect(url), await asyncpg.connect(url)
        worker = await any_database.connect("worker")
        await idle.execute(SNAPSHOT)
        await life.conn.execute("SELECT pg_advisory_lock(7)")
        await busy.execute("BEGIN")
        waiting = asyncio.ensure_future(busy.execute("SELECT pg_advisory_xact_lock(7)"))
        pid = busy.get_server_pid()
        active = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        await until(lambda: life.conn.fetchval(active, pid), "it is busy")
        assert await call(worker, "end_idle_transactions", 600_000) == 0
        assert await call(worker, "end_idle_transactions", 0) == 1
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
        await until(lambda: life.conn.fetchval(gone, idle.get_server_pid()), "it is ended")
        await life.conn.execute("SELECT pg_advisory_unlock(7)")
        await waiting
        for conn in (idle, busy):
            conn.terminate()
        await until(
            lambda: life.conn.fetchval(
                "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1)", bot
            ),
            "its sessions are gone",
        )
    finally:
        await life.conn.execute(f"DROP ROLE {bot}")


async def test_an_owner_that_looks_around_in_a_transaction_is_told_of_and_not_ended(
    any_database: TestDatabase,
) -> None:
    person = await any_database.connect()
    await person.execute(SNAPSHOT)
    worker = await any_database.connect("worker")
    await call(worker, "end_idle_transactions", 0)
    assert await person.fetchval("SELECT 1") == 1
    found = await oldest(worker)
    assert found is not None
    assert found["subject"] == str(person.get_server_pid())


async def test_a_worker_logs_an_old_snapshot_once_in_a_while_and_status_shows_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "ALARM_MS", 0)
    person = await rig.database.connect()
    await person.execute(SNAPSHOT)
    pid = str(person.get_server_pid())
    said: list[tuple[str, dict[str, Any]]] = []

    class Heard:
        def bind(self, **_fields: Any) -> Heard:
            return self

        def error(self, event: str, **fields: Any) -> None:
            said.append((event, fields))

    async with rig.inside() as context:
        watch = horizon.Horizon(context)
        watch._log = Heard()
        await until(lambda: rig.owner.fetchval(_AGED, int(pid)), "it has an age")
        for _ in range(3):
            assert await watch.one_pass() is False
    [(event, fields)] = said
    assert (event, fields["subject"], fields["kind"]) == ("SNAPSHOT_HELD", pid, "session")

    cli = Cli(rig.database, rig.folder)
    [shown] = cli.good("status")["oldest_snapshot"]
    assert (shown["subject"], shown["too_old"]) == (pid, False)
    assert "oldest_snapshot" not in cli.run("status").out
    # As it would stand there a minute later.
    monkeypatch.setattr("workers.cli.connect.statement", _impatient)
    text = cli.run("status").out
    assert "oldest snapshot" in text or "oldest_snapshot" in text
    assert pid in text
    await person.execute("COMMIT")


_AGED = (
    "SELECT xact_start < clock_timestamp() - interval '5 milliseconds' "
    "FROM pg_stat_activity WHERE pid = $1"
)


def _impatient(name: str) -> str:
    from workers.cli.connect import _SQL

    return (_SQL / f"{name}.sql").read_text("utf-8").replace("> 60000", "> 0")
