"""What Alembic runs. The URL comes from the caller, else from the settings, else from the embedded server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.migrate import VERSION_TABLE
from app.db.tables import belongs, metadata
from app.db.url import parse
from app.roles import RolePrefix


async def _nothing_more() -> None:
    """A configured server keeps its own passwords."""


def _target() -> tuple[str, RolePrefix, Callable[[], Awaitable[None]]]:
    """The owner's address, the role prefix, and what is left to do after the migration."""
    attributes = context.config.attributes
    if "url" in attributes:
        return attributes["url"], attributes.get("prefix") or RolePrefix(), _nothing_more
    from app.config import load_settings
    from app.db.access import let_embedded_roles_log_in, owner_url

    settings = load_settings()
    return (
        owner_url(settings),
        RolePrefix(settings.role_prefix),
        lambda: let_embedded_roles_log_in(settings),
    )


def _configure(prefix: RolePrefix, **options: object) -> None:
    context.configure(
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema="public",
        include_schemas=True,
        include_object=belongs,
        **options,  # type: ignore[arg-type]
    )
    context.config.attributes["prefix"] = prefix


def _run(connection: Connection, prefix: RolePrefix) -> None:
    _configure(prefix, connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def _online() -> None:
    url, prefix, afterwards = _target()
    engine = create_async_engine(parse(url).sqlalchemy(), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run, prefix)
            await connection.commit()
    finally:
        await engine.dispose()
    await afterwards()


if context.is_offline_mode():
    _configure(RolePrefix(), dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_online())
