"""A handle on an embedded server: its addresses and the passwords of its roles."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import asyncpg

from app.db.credentials import Credentials, set_role_password
from app.db.embedded.config import ADMIN_ROLE, PORT, EmbeddedConfig
from app.db.embedded.probe import Liveness, probe
from app.errors import Code, DatabaseProblem


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded server. Holds no secret itself; `url` of a password role does."""

    config: EmbeddedConfig

    def url(self, role: str | None = None, database: str | None = None) -> str:
        """An address for asyncpg. Without a role: the owner, by ``peer`` (only the run user and
        root become it).
        """
        name = database or self.config.database
        secret = "" if role is None else ":" + quote(self.role_password(role), safe="")
        user = quote(role or ADMIN_ROLE, safe="")
        folder = quote(str(self.config.socket_dir), safe="/")
        return f"postgresql://{user}{secret}@/{quote(name, safe='')}?host={folder}&port={PORT}"

    def role_password(self, role: str) -> str:
        """The generated password of a login role, made on first use and kept in the home (mode
        0600).
        """
        return Credentials(self.config.credentials_file).password(role)

    async def ensure_login_role(self, conn: asyncpg.Connection, role: str) -> None:
        """Let an existing role log in with its generated password. Idempotent; ``conn`` is the
        owner's.
        """
        await set_role_password(conn, role, self.role_password(role))


def create_database(server: Server) -> None:
    """Make the server's own database where it is missing. Needs no event loop, since alembic has
    none.
    """
    quoted = server.config.database.replace('"', '""')
    answer = probe(
        server.config.socket_file,
        user=ADMIN_ROLE,
        database="postgres",
        statement=f'CREATE DATABASE "{quoted}"',
    )
    if answer.state is not Liveness.UP:
        raise DatabaseProblem(
            Code.DATABASE_UNREACHABLE,
            f"the database {server.config.database!r} could not be made: {answer.detail}",
            not_done="the server runs, but without that database",
            next_step=f"read {server.config.log_file}",
        )
