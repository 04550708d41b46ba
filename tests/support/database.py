"""Fixtures: one server per session, one migrated template per server, one clone of it per test.

A clone does not carry what belongs to the database as a whole: ``GRANT … ON DATABASE`` and
``ALTER DATABASE … SET`` of the template are not in it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg
import pytest

from app.db.credentials import set_role_password
from app.db.url import DatabaseUrl
from tests.support.servers import TestServer, debian_server, find_server, in_thread
from tests.support.sessions import Session

PREFIX = "ledger_test_"
LOGIN_ROLES = ("worker", "trader", "risk", "auditor")


@dataclass(frozen=True)
class TestDatabase:
    """A migrated database of one test's own, dropped after it with whatever is still connected."""

    __test__: ClassVar[bool] = False

    name: str
    server: TestServer
    _opened: list[asyncpg.Connection] = field(default_factory=list, repr=False, compare=False)
    _sessions: list[Session] = field(default_factory=list, repr=False, compare=False)

    @property
    def url(self) -> str:
        """The owner's address."""
        return self._owner().dsn()

    def url_for(self, role: str) -> str:
        """The address of a role, given without prefix: ``worker``, ``trader``, ``risk`` or
        ``auditor``.
        """
        full = self.server.role_prefix + role
        return self._owner().for_role(full, self.server.credentials.password(full)).dsn()

    @property
    def session(self) -> Session:
        """The owner's session for questions of whoever has no event loop, closed with the database."""
        if not self._sessions:
            self._sessions.append(Session(self.url))
        return self._sessions[0]

    async def connect(self, role: str | None = None, **options: Any) -> asyncpg.Connection:
        """A connection of the running test's event loop, closed at the end of the test."""
        url = self.url if role is None else self.url_for(role)
        conn = await asyncpg.connect(url, **options)
        self._opened.append(conn)
        return conn

    async def disconnect(self) -> None:
        """End what `connect` opened, also in the middle of a statement."""
        for conn in self._opened:
            conn.terminate()
        # an aborted transport closes its socket in a later turn of the loop
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _owner(self) -> DatabaseUrl:
        return self.server.admin.for_database(self.name)


def refuse_foreign(name: str) -> None:
    """Tests make and drop only what bears their name, whatever server they were pointed at."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name!r} is not a test's database (they begin with {PREFIX!r})")


def new_name(kind: str = "") -> str:
    return f"{PREFIX}{kind}{uuid.uuid4().hex[:12]}"


@contextmanager
def empty_database(
    server: TestServer, template: str = "template0", kind: str = ""
) -> Iterator[TestDatabase]:
    """A new database, dropped at the end."""
    name = new_name(kind)
    refuse_foreign(name)
    # copied as files: its checkpoints cost nothing where nobody waits for the disk
    how = "STRATEGY FILE_COPY" if server.embedded else ""
    server.run(f"CREATE DATABASE {name} TEMPLATE {template} {how}")
    database = TestDatabase(name, server)
    try:
        yield database
    finally:
        for session in database._sessions:
            session.close()
        server.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def migrated_template(server: TestServer) -> Iterator[str]:
    """A migrated database to clone from; the login roles get the session's passwords."""
    from app.db.migrate import upgrade
    from app.roles import RolePrefix

    with empty_database(server, kind="template_") as template:
        prefix = RolePrefix(server.role_prefix)
        in_thread(lambda: upgrade(template.url, prefix=prefix))
        in_thread(lambda: asyncio.run(_let_roles_log_in(template)))
        server.run(f"ALTER DATABASE {template.name} ALLOW_CONNECTIONS false")
        yield template.name


async def _let_roles_log_in(database: TestDatabase) -> None:
    conn = await database.connect()
    try:
        for role in LOGIN_ROLES:
            full = database.server.role_prefix + role
            if await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", full):
                await set_role_password(conn, full, database.server.credentials.password(full))
    finally:
        try:
            await conn.close(timeout=10)
        except TimeoutError:
            conn.terminate()  # whoever ended its session may have left it waiting for an answer


@pytest.fixture(scope="session", name="database_server")
def _database_server() -> Iterator[TestServer]:
    """The session's server."""
    with find_server() as server:
        yield server
        server.close()


@pytest.fixture(scope="session", name="template_database")
def _template_database(database_server: TestServer) -> Iterator[str]:
    """Name of the migrated template on the session's server."""
    with migrated_template(database_server) as name:
        yield name


@pytest.fixture(name="database")
async def _database(
    database_server: TestServer, template_database: str
) -> AsyncIterator[TestDatabase]:
    """A migrated database of the test's own."""
    with empty_database(database_server, template_database) as database:
        yield database
        await database.disconnect()


@pytest.fixture(name="blank_database")
async def _blank_database(database_server: TestServer) -> AsyncIterator[TestDatabase]:
    """An empty database of the test's own, without the schema."""
    with empty_database(database_server) as database:
        yield database
        await database.disconnect()


@pytest.fixture(scope="session", name="debian_server")
def _debian_server() -> Iterator[TestServer]:
    """Debian's Postgres 15, the oldest version supported."""
    with debian_server() as server:
        if server is None:
            pytest.skip("no Postgres server of the system found (package postgresql-15)")
        yield server
        server.close()


@pytest.fixture(scope="session", name="debian_template")
def _debian_template(debian_server: TestServer) -> Iterator[str]:
    with migrated_template(debian_server) as name:
        yield name


@pytest.fixture(name="debian_database")
async def _debian_database(
    debian_server: TestServer, debian_template: str
) -> AsyncIterator[TestDatabase]:
    """A migrated database of the test's own on Debian's Postgres."""
    with empty_database(debian_server, debian_template) as database:
        yield database
        await database.disconnect()


@pytest.fixture(params=["database", "debian_database"], name="any_database")
def _any_database(request: pytest.FixtureRequest) -> TestDatabase:
    """The test runs once on each server: the session's and Debian's Postgres 15."""
    found: TestDatabase = request.getfixturevalue(request.param)
    return found
