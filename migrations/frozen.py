"""Runs a revision's frozen SQL: many statements in one script, through the driver's simple protocol."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op
from sqlalchemy.util import await_only

from app.db.schema import render
from app.roles import RolePrefix

_FOLDER = Path(__file__).resolve().parent / "sql"


def run(name: str) -> None:
    """Execute ``migrations/sql/<name>`` in the migration's transaction, role names filled in."""
    prefix = (
        op.get_context().opts.get("prefix")
        or context.config.attributes.get("prefix")
        or RolePrefix()
    )
    sql = render((_FOLDER / name).read_text("utf-8"), prefix)
    if context.is_offline_mode():
        op.execute(sql)
        return
    bind = op.get_bind()
    bind.exec_driver_sql("SELECT 1")  # the driver's transaction begins with its first statement
    driver = bind.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(sql))


def let_roles_read_the_version() -> None:
    """Every role checks that its release and the schema fit; only the migrating login could otherwise."""
    run("version_grants.sql")
