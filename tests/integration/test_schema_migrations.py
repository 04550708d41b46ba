"""``downgrade base`` takes everything away but roles, unless orders may be live; ``upgrade head`` brings it back."""

from __future__ import annotations

import re

import pytest

from app.db.freeze import BEFORE, NEWEST
from app.db.migrate import downgrade, upgrade
from app.db.revisions import check_schema, head
from app.errors import Code, DatabaseProblem
from app.roles import ROLES, RolePrefix
from tests.support.catalog import catalog, foreign_leftovers
from tests.support.database import TestDatabase, empty_database
from tests.support.life import Life


def _prefix(database: TestDatabase) -> RolePrefix:
    return RolePrefix(database.server.role_prefix)


async def test_downgrade_leaves_nothing_and_upgrade_brings_the_same_back(
    any_database: TestDatabase,
) -> None:
    conn = await any_database.connect()
    before = await catalog(conn)
    downgrade(any_database.url, prefix=_prefix(any_database))
    assert await foreign_leftovers(conn) == []
    with pytest.raises(DatabaseProblem) as missing:
        await check_schema(conn)
    assert missing.value.code == Code.SCHEMA_MISSING
    upgrade(any_database.url, prefix=_prefix(any_database))
    await check_schema(conn)
    assert await catalog(conn) == before


async def test_roles_survive_a_downgrade_and_can_still_log_in(database: TestDatabase) -> None:
    downgrade(database.url, prefix=_prefix(database))
    conn = await database.connect("auditor")
    rows = await conn.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)",
        [_prefix(database).role(name) for name in ROLES],
    )
    assert len(rows) == len(ROLES)


@pytest.mark.parametrize("state", ["SENDING", "UNKNOWN", "LIVE"])
async def test_downgrade_is_refused_while_an_order_may_be_live(
    database: TestDatabase, state: str
) -> None:
    life = await Life.begin(database)
    order_id = await {"SENDING": life.sending, "UNKNOWN": life.unknown, "LIVE": life.live}[state]()
    with pytest.raises(Exception, match="orders may be live"):
        downgrade(database.url, prefix=_prefix(database))
    assert await life.state(order_id) == state
    await check_schema(life.conn)


async def test_downgrade_takes_ended_orders_with_it(database: TestDatabase) -> None:
    life = await Life.begin(database)
    await life.cancelled()
    downgrade(database.url, prefix=_prefix(database))
    assert await life.conn.fetchval("SELECT to_regnamespace('ledger')") is None


async def test_upgrading_twice_changes_nothing(database: TestDatabase) -> None:
    conn = await database.connect()
    before = await catalog(conn)
    upgrade(database.url, prefix=_prefix(database))
    assert await catalog(conn) == before


async def test_the_newest_revision_can_be_taken_back_and_put_on_again(
    any_database: TestDatabase,
) -> None:
    """Rows live through both, and the code is the older revision's own in between."""
    conn = await any_database.connect()
    before = await catalog(conn)
    life = await Life.begin(any_database)
    order_id = await life.live()
    downgrade(any_database.url, "-1", prefix=_prefix(any_database))
    version = await conn.fetchval("SELECT version_num FROM public.ledger_alembic_version")
    assert (version, head()) == (BEFORE, NEWEST)
    older = await catalog(conn)
    assert older["functions"] != before["functions"]
    with empty_database(any_database.server) as other:
        upgrade(other.url, BEFORE, prefix=_prefix(any_database))
        fresh = await catalog(await other.connect())
        await other.disconnect()
    _same(older, fresh)
    upgrade(any_database.url, prefix=_prefix(any_database))
    _same(await catalog(conn), before)
    assert await life.state(order_id) == "LIVE"


def _same(found: dict[str, list[str]], wanted: dict[str, list[str]]) -> None:
    """But for limits, which are rows that the test has changed, and for the numbers of columns: one that was
    dropped leaves its number behind.
    """

    def told(section: str, lines: list[str]) -> list[str]:
        if section != "columns":
            return lines
        return sorted(re.sub(r"^\(([^,]+),\d+,", r"(\1,", line) for line in lines)

    for section, lines in wanted.items():
        if section != "limits":
            assert told(section, found[section]) == told(section, lines), section
