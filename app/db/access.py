"""Which address each part of the product connects to: the configured database, or the embedded server by role.

On the embedded server every command connects as the role it needs: the worker as worker, ``halt`` and
``limits`` as risk, ``audit`` as auditor. With ``LEDGER_DATABASE_URL`` the login given there is used.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from app.config import Settings
from app.db import embedded
from app.db.connect import open_connection
from app.db.credentials import Credentials, set_role_password
from app.db.embedded import EmbeddedConfig, Progress
from app.db.embedded.folder import no_progress
from app.db.url import parse

Role = Literal["worker", "trader", "risk", "auditor"]
LOGIN_ROLES: tuple[Role, ...] = ("worker", "trader", "risk", "auditor")


def embedded_config(settings: Settings) -> EmbeddedConfig:
    """The embedded server of these settings."""
    config = EmbeddedConfig.from_environment()
    return (
        replace(config, home=Path(settings.data_dir).expanduser().absolute())
        if settings.data_dir
        else config
    )


def owner_url(settings: Settings, progress: Progress = no_progress) -> str:
    """Where the schema is made and changed. Starts the embedded server if that is the one to use."""
    if settings.database_url is not None:
        return parse(settings.database_url.get_secret_value()).dsn()
    return embedded.start(embedded_config(settings), progress=progress).url()


def role_url(settings: Settings, role: Role, progress: Progress = no_progress) -> str:
    """Where a part of the product connects in the role it needs."""
    if settings.database_url is not None:
        return parse(settings.database_url.get_secret_value()).dsn()
    server = embedded.start(embedded_config(settings), progress=progress)
    return server.url(settings.role_prefix + role)


async def let_embedded_roles_log_in(settings: Settings) -> None:
    """Give the roles of the embedded server their generated passwords. Elsewhere passwords are the administrator's."""
    if settings.database_url is not None:
        return
    config = embedded_config(settings)
    credentials = Credentials(config.credentials_file)
    connection = await open_connection(embedded.start(config).url())
    try:
        for role in LOGIN_ROLES:
            name = settings.role_prefix + role
            if await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
                await set_role_password(connection, name, credentials.password(name))
    finally:
        await connection.close()
