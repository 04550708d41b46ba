"""The audit is clean on a ledger that has lived, and turns red for anything changed by hand.

Each corruption is made with triggers off, as a mistaken repair or a damaged restore would leave it,
in a transaction that is rolled back; the audit runs in it as the auditor role.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from app.ledger.audit import AuditReport, audit
from tests.support.corruptions import BROKEN
from tests.support.corruptions_of_risk import MISCOUNTED
from tests.support.database import TestDatabase, empty_database
from tests.support.lived_in import Orders, build
from tests.support.manipulated_rules import UNDONE
from tests.support.manipulations import REWRITTEN
from tests.support.servers import TestServer


@dataclass(frozen=True)
class Scene:
    """The lived-in ledger in an open transaction of the owner."""

    conn: asyncpg.Connection
    orders: Orders
    auditor: str

    async def corrupt(self, *statements: str) -> None:
        """Change rows as no function would. ``{name}`` stands for the id of an order."""
        await self.conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            done = await self.conn.execute(statement.format(**vars(self.orders)))
            assert not done.endswith(" 0"), f"nothing was corrupted by {statement}"

    async def audit(self) -> AuditReport:
        await self.conn.execute(f"SET LOCAL ROLE {self.auditor}")
        return await audit(self.conn)


@pytest.fixture(scope="module", name="lived_in")
def _lived_in(
    database_server: TestServer, template_database: str
) -> Iterator[tuple[TestDatabase, Orders]]:
    with empty_database(database_server, template_database) as database:
        yield database, build(database)


@pytest.fixture(name="scene")
async def _scene(lived_in: tuple[TestDatabase, Orders]) -> AsyncIterator[Scene]:
    database, orders = lived_in
    conn = await asyncpg.connect(database.url)
    transaction = conn.transaction()
    await transaction.start()
    yield Scene(conn, orders, database.server.role_prefix + "auditor")
    await transaction.rollback()
    await conn.close()


async def test_a_ledger_that_has_lived_is_clean(scene: Scene) -> None:
    states = await scene.conn.fetch("SELECT state, count(*) FROM ledger.orders GROUP BY state")
    assert {row["state"] for row in states} >= {
        "RESERVED", "SENDING", "UNKNOWN", "LIVE", "FILLED", "CANCELLED", "REJECTED", "NOT_PLACED",
    }  # fmt: skip
    report = await scene.audit()
    assert report.differences == ()
    assert report.ok
    assert len(report.checks) >= 25


async def test_the_report_as_json_has_the_documented_shape(scene: Scene) -> None:
    await scene.corrupt("UPDATE ledger.exposure SET open_buy[1] = open_buy[1] + 1")
    report = json.loads(json.dumps((await scene.audit()).to_json()))
    assert report["ok"] is False
    red = [check for check in report["checks"] if not check["ok"]]
    assert [check["name"] for check in red] == ["costs", "exposure"], "effective shares count it"
    assert all(set(check) == {"name", "ok", "rows"} for check in red)
    assert red[1]["rows"][0]["subject"] == "outcome 0 open_buy"
    assert all(check["rows"] == [] for check in report["checks"] if check["ok"])


CORRUPTIONS = BROKEN | REWRITTEN | UNDONE | MISCOUNTED


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_the_audit_names_a_corrupted_row(scene: Scene, what: str) -> None:
    statements, check, subject = CORRUPTIONS[what]
    await scene.corrupt(*statements)
    report = await scene.audit()
    assert not report.ok
    rows = [str(row) for name, row in report.differences if name == check]
    wanted = subject.format(**vars(scene.orders))
    assert any(wanted in row for row in rows), report.differences


async def test_every_check_that_is_listed_is_run_and_every_one_can_fail(scene: Scene) -> None:
    listed = {check.name for check in (await scene.audit()).checks}
    assert listed == {check for _, check, _ in CORRUPTIONS.values()}


async def test_one_call_for_people_finds_the_same(scene: Scene) -> None:
    await scene.corrupt(*CORRUPTIONS["a lost outbox row"][0])
    report = await scene.audit()
    rows = await scene.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert [(row["name"], row["subject"]) for row in rows] == [
        (name, row.subject) for name, row in report.differences
    ]
    assert (
        await scene.conn.fetch("SELECT FROM audit.checks('main', 'm2') WHERE NOT is_notice") == []
    )


async def test_what_needs_a_look_is_a_notice_and_not_a_difference(scene: Scene) -> None:
    await scene.conn.execute("SELECT ledger.set_halt('account', 'main', 'a look')")
    await scene.conn.execute(
        "SELECT setval('test_clock.micros', last_value + 3600000000) FROM test_clock.micros"
    )
    report = await scene.audit()
    assert report.ok
    noticed = {notice.name: [row.subject for row in notice.rows] for notice in report.notices}
    assert noticed["halts"] == ["account 1"]
    assert f"order {scene.orders.unknown}" in noticed["unresolved"]
