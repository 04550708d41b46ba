"""Code and schema of different releases beside each other, as in a deployment that is under way.

Lesson 42: old code on the new schema broke. A program that begins says which of the two is behind; one that runs
already goes on, since every function keeps its name, its arguments and its answer, and keeps being granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.clock import Ports
from app.config import Settings
from app.db.credentials import set_role_password
from app.db.migrate import upgrade
from app.errors import Code, DatabaseProblem
from app.roles import RolePrefix
from tests.support.cli import Cli
from tests.support.clock import SettableClock
from tests.support.database import LOGIN_ROLES, TestDatabase
from tests.support.life import SHARE, Life, call
from tests.support.worker import SETTINGS
from workers.worker.main import open_context

FUNCTIONS = """
SELECT p.proname AS name, p.proretset AS many, format_type(p.prorettype, NULL) AS answers,
       array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n) ORDER BY n) AS takes,
       p.pronargs - p.pronargdefaults AS needs,
       array(SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = ANY ($1)
             AND has_function_privilege(r.rolname, p.oid, 'EXECUTE') ORDER BY 1) AS granted
FROM pg_proc p WHERE p.pronamespace = 'ledger'::regnamespace AND p.proname NOT LIKE '\\_%' ORDER BY 1
"""


@dataclass(frozen=True)
class Function:
    name: str
    many: bool
    answers: str
    takes: tuple[str, ...]
    needs: int
    granted: frozenset[str]

    def serves(self, old: Function) -> bool:
        """Whether every call of ``old`` finds this one, may make it, and gets an answer of the same type."""
        enough = self.needs <= old.needs and self.takes[: len(old.takes)] == old.takes
        # who was answered nothing looks at no answer
        answers = old.answers in (self.answers, "void")
        same = (self.name, self.many) == (old.name, old.many) and answers
        return same and enough and old.granted <= self.granted


async def functions(conn: asyncpg.Connection, database: TestDatabase) -> list[Function]:
    roles = [database.server.role_prefix + role for role in LOGIN_ROLES]
    return [
        Function(
            row["name"],
            row["many"],
            row["answers"],
            tuple(row["takes"]),
            row["needs"],
            frozenset(row["granted"]),
        )
        for row in await conn.fetch(FUNCTIONS, roles)
    ]


@pytest.fixture(name="first")
async def _first(blank_database: TestDatabase) -> TestDatabase:
    """A database of revision 0001, as release 0.1.0 left it."""
    prefix = RolePrefix(blank_database.server.role_prefix)
    upgrade(blank_database.url, "0001", prefix=prefix)
    conn = await blank_database.connect()
    for role in LOGIN_ROLES:
        full = prefix.role(role)
        await set_role_password(conn, full, blank_database.server.credentials.password(full))
    return blank_database


def newest(database: TestDatabase) -> None:
    upgrade(database.url, prefix=RolePrefix(database.server.role_prefix))


async def test_this_release_on_the_schema_before_says_so_and_writes_nothing(
    first: TestDatabase, tmp_path: Path
) -> None:
    chosen: dict[str, Any] = SETTINGS | {
        "database_url": first.url_for("worker"),
        "role_prefix": first.server.role_prefix,
    }
    settings = Settings(**chosen)
    with pytest.raises(DatabaseProblem) as caught:
        async with open_context(settings, Ports.system(), first.url_for("worker")):
            pass
    problem = caught.value
    assert problem.code == Code.SCHEMA_OLD
    assert "0001" in problem.wrong
    assert problem.not_done
    assert "alembic upgrade head" in problem.next_step
    cli = Cli(first, tmp_path)
    before = cli.counts()
    for arguments in (
        ("status",),
        ("audit",),
        ("reconcile",),
        ("adopt",),
        ("account", "open", "main"),
        ("cancel", "--all"),
    ):
        done = cli.run(*arguments, "--json")
        assert (done.code, done.error["code"]) == (2, "SCHEMA_OLD"), arguments
        assert "alembic upgrade head" in done.error["next"]
    started = cli.process("start", "--json")
    assert (started.code, started.error["code"]) == (2, "SCHEMA_OLD")
    assert cli.counts() == before


async def test_every_function_of_the_schema_before_is_served_by_this_one(
    first: TestDatabase,
) -> None:
    conn = await first.connect()
    old = await functions(conn, first)
    assert len(old) > 50
    newest(first)
    new = await functions(conn, first)
    missing = [one for one in old if not any(other.serves(one) for other in new)]
    assert missing == []


async def test_every_column_that_was_read_is_still_there(first: TestDatabase) -> None:
    conn = await first.connect()
    query = (
        "SELECT a.attrelid::regclass::text || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace IN ('ledger'::regnamespace, 'paper'::regnamespace) "
        "AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    )
    before = {row[0] for row in await conn.fetch(query)}
    newest(first)
    assert before - {row[0] for row in await conn.fetch(query)} == set()


async def test_sessions_of_before_take_their_orders_through_the_migration(
    first: TestDatabase,
) -> None:
    """What a worker does that was not stopped: the same calls over the same sessions, each made before as well."""
    life = await Life.begin(first)
    worker = life.on(await first.connect("worker"))
    ended, live, sending = await life.cancelled(), await life.live(), await life.sending()
    waiting = await life.reserved()
    calls: dict[str, Any] = {
        "beat": (life.worker, 5_000, None, None),
        "sweep_lapsed": (),
        "sweep_expired": (),
        "sweep_cancels": (),
        "sweep_breaches": (),
        "end_lock_holders": (500,),
        "held_tokens": ("main",),
        "waiting_events": ("main", 10, 1_000),
    }
    known = {one.name for one in await functions(life.conn, first)}
    for name, arguments in calls.items():
        if name in known:
            await call(worker.conn, name, *arguments)

    newest(first)
    # The test's own clock is a function, and was replaced with the others.
    await SettableClock.install(life.conn, life.clock.now)

    for name, arguments in calls.items():
        if name in known:
            await call(worker.conn, name, *arguments)
    assert await life.state(ended) == "CANCELLED"
    assert await life.state(live) == "LIVE"
    (asked,) = await call(worker.conn, "request_cancel", [{"order_id": live, "reason": "x"}])
    assert asked["status"] == "ok"
    (late,) = await call(
        worker.conn,
        "mark_unknown",
        [
            {
                "order_id": sending,
                "attempt": 1,
                "incarnation": str(life.worker),
                "code": "T",
                "raw": "",
            }
        ],
    )
    assert late["state"] == "UNKNOWN"
    (gone,) = await call(
        worker.conn, "release_pending", [{"order_id": waiting, "cause": "x", "reason": "x"}]
    )
    assert gone["status"] == "ok", gone
    (admitted,) = await call(worker.conn, "reserve_pending", [life.request(size_micros=5 * SHARE)])
    assert admitted["status"] == "admitted"
    rows = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert [dict(row) for row in rows] == []
