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
from tests.support.database import TestDatabase, empty_database
from tests.support.lived_in import Orders, build
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
    assert [check["name"] for check in red] == ["exposure"]
    assert set(red[0]) == {"name", "ok", "rows"}
    assert red[0]["rows"][0]["subject"] == "outcome 0 open_buy"
    assert all(check["rows"] == [] for check in report["checks"] if check["ok"])


CORRUPTIONS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "a counter off by one": (
        ("UPDATE ledger.exposure SET pending_buy[1] = pending_buy[1] + 1 WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 pending_buy",
    ),
    "a position off by one": (
        ("UPDATE ledger.exposure SET confirmed[1] = confirmed[1] - 1 WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 confirmed",
    ),
    "a lost market row": (
        ("DELETE FROM ledger.exposure WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 open_buy",
    ),
    "a reservation released by hand": (
        (
            ("UPDATE ledger.reservation SET phase = 'released', shares_micros = 0, held_micros = 0, "
            "awaiting_micros = 0, released_at = now() WHERE order_id = {partly_filled}"),
        ),
        "reservations",
        "main m1: order {partly_filled}",
    ),
    "a reservation released twice": (
        (
            ("INSERT INTO ledger.balance_entry (account_id, entry_seq, asset, cause, entry_key, "
            "available_delta, locked_delta, order_id, at) SELECT account_id, entry_seq + 1, "
            "'collateral', 'END_CANCELLED', 'again', 2800000, -2800000, {cancelled}, now() "
            "FROM ledger.account_state"),
            "UPDATE ledger.account_state SET entry_seq = entry_seq + 1",
            ("UPDATE ledger.balance SET available = available + 2800000, locked = locked - 2800000 "
            "WHERE asset = 'collateral'"),
        ),
        "booked",
        "main m1: order {cancelled}",
    ),
    "a hold one micro short": (
        (
            ("UPDATE ledger.reservation SET held_micros = held_micros - 1 "
            "WHERE order_id = {failed_trade}"),
        ),
        "reservations",
        "main m2: order {failed_trade}",
    ),
    "an order without its reservation": (
        ("DELETE FROM ledger.reservation WHERE order_id = {waiting}",),
        "reservations",
        "main m1: order {waiting}",
    ),
    "a fill without order": (
        (
            ("INSERT INTO ledger.fill (account_id, trade_id, order_id, market_id, outcome, side, "
            "size_micros, price_micros, cash_micros, settlement, raw_status, is_maker, matched_at) "
            "VALUES (1, 'stray', 999999, 1, 0, 'BUY', 1000000, 400000, 400000, 'confirmed', "
            "'CONFIRMED', false, now())"),
        ),
        "fills",
        "main m1: fill stray of order 999999",
    ),
    "a lost fill": (
        ("DELETE FROM ledger.fill WHERE trade_id = 'part 1'",),
        "fill_journal",
        "main m1: fill part 1 of order {partly_filled}",
    ),
    "a fill of another size": (
        ("UPDATE ledger.fill SET size_micros = size_micros + 10000 WHERE trade_id = 'whole'",),
        "orders",
        "main m1: order {filled}",
    ),
    "a fill on the other outcome": (
        ("UPDATE ledger.fill SET outcome = 1 WHERE trade_id = 'whole'",),
        "fills",
        "main m1: fill whole of order {filled}",
    ),
    "a sale that was paid too well": (
        ("UPDATE ledger.fill SET cash_micros = cash_micros + 1 WHERE trade_id = 'sale 2'",),
        "totals",
        "main: collateral",
    ),
    "a journal gap": (
        ("DELETE FROM ledger.journal WHERE account_id = 1 AND seq = 20",),
        "journal",
        "main: seq 21",
    ),
    "a lost end of the journal": (
        (
            ("DELETE FROM ledger.journal WHERE account_id = 1 "
            "AND seq = (SELECT max(seq) FROM ledger.journal)"),
        ),
        "market_journal",
        "main m1: last market_seq",
    ),
    "a forged journal row": (
        (
            ("UPDATE ledger.journal SET to_state = 'FILLED' WHERE order_id = {cancelled} "
            "AND event = 'END_CANCELLED'"),
        ),
        "order_journal",
        "main m1: order {cancelled}",
    ),
    "a state that no transition led to": (
        ("UPDATE ledger.orders SET state = 'CANCELLED' WHERE order_id = {held_back_once}",),
        "order_journal",
        "main m1: order {held_back_once}",
    ),
    "an order of another size than was asked": (
        (
            ("UPDATE ledger.orders SET size_micros = size_micros + 10000 "
            "WHERE order_id = {rejected}"),
        ),
        "order_journal",
        "main m1: order {rejected}",
    ),
    "a balance off by one": (
        ("UPDATE ledger.balance SET available = available + 1 WHERE asset = 'collateral'",),
        "balances",
        "main: collateral",
    ),
    "a lost entry": (
        ("DELETE FROM ledger.balance_entry WHERE entry_seq = 5",),
        "entries",
        "main: entry 6",
    ),
    "collateral moved from locked to available": (
        (
            ("UPDATE ledger.balance SET available = available + 5, locked = locked - 5 "
            "WHERE asset = 'collateral'"),
        ),
        "locked",
        "main: collateral",
    ),
    "signed bytes for more shares than intended": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            '\'"takerAmount": "12000000"\', \'"takerAmount": "12000001"\'), \'UTF8\') '
            "WHERE order_id = {partly_filled}"),
        ),
        "sent_as_intended",
        "main m1: order {partly_filled}",
    ),
    "signed bytes at a worse price": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            '\'"makerAmount": "4800000"\', \'"makerAmount": "4800001"\'), \'UTF8\') '
            "WHERE order_id = {partly_filled}"),
        ),
        "sent_as_intended",
        "main m1: order {partly_filled}",
    ),
    "another id at the venue": (
        (
            ("UPDATE ledger.signed_order SET venue_order_id = '0x' || repeat('f', 64) "
            "WHERE order_id = {filled}"),
        ),
        "one_venue_order",
        "main m1: order {filled}",
    ),
    "one venue order for two intents": (
        (
            "DROP INDEX ledger.orders_by_venue_id",
            ("UPDATE ledger.orders SET venue_order_id = (SELECT venue_order_id FROM ledger.orders "
            "WHERE order_id = {filled}) WHERE order_id = {cancelled}"),
        ),
        "venue_ids",
        "orders",
    ),
    "signed bytes of no order": (
        (
            ("INSERT INTO ledger.signed_order SELECT account_id, 999999, '0x' || repeat('e', 64), "
            "body, fields, signed_at, signed_by FROM ledger.signed_order WHERE order_id = {filled}"),
        ),
        "rows_of_no_order",
        "main: signed bytes of order 999999",
    ),
    "an attempt before signing": (
        (
            ("INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, opened_at, "
            "send_by, deadline) SELECT 1, {waiting}, 1, incarnation, opened_at, send_by, deadline "
            "FROM ledger.attempt WHERE order_id = {sending}"),
        ),
        "attempts",
        "main m1: order {waiting}",
    ),
    "two open attempts": (
        (
            "DROP INDEX ledger.attempt_one_open",
            ("INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, opened_at, "
            "send_by, deadline) SELECT 1, order_id, 2, incarnation, opened_at, send_by, deadline "
            "FROM ledger.attempt WHERE order_id = {sending}"),
            "UPDATE ledger.orders SET attempts = 2 WHERE order_id = {sending}",
        ),
        "attempts",
        "main m2: order {sending}",
    ),
    "a lost attempt": (
        ("DELETE FROM ledger.attempt WHERE order_id = {held_back_once} AND attempt = 1",),
        "attempts",
        "main m1: order {held_back_once}",
    ),
    "a lost outbox row": (
        ("DELETE FROM ledger.outbox WHERE order_id = {waiting}",),
        "outbox",
        "main m1: order {waiting}",
    ),
    "a live order queued to be placed again": (
        ("UPDATE ledger.outbox SET status = 'ready' WHERE order_id = {partly_filled}",),
        "outbox",
        "main m1: order {partly_filled}",
    ),
    "a forgotten cancel": (
        ("DELETE FROM ledger.cancel_request WHERE order_id = {cancel_asked}",),
        "cancels",
        "main m1: order {cancel_asked}",
    ),
    "a cancel due for an ended order": (
        ("UPDATE ledger.cancel_request SET status = 'due' WHERE order_id = {cancelled}",),
        "cancels",
        "main m1: order {cancelled}",
    ),
    "a lost key": (
        (
            ("DELETE FROM ledger.idempotency_key WHERE key = (SELECT key FROM ledger.orders "
            "WHERE order_id = {partly_filled})"),
        ),
        "keys",
        "main m1: order {partly_filled}",
    ),
    "a key bound to another order": (
        (
            ("UPDATE ledger.idempotency_key SET subject_id = {filled} "
            "WHERE subject_id = {partly_filled}"),
        ),
        "keys",
        "main m1: order {partly_filled}",
    ),
    "a key of no order": (
        ("UPDATE ledger.idempotency_key SET subject_id = 999999 WHERE subject_id = {filled}",),
        "rows_of_no_order",
        "of order 999999",
    ),
    "a replacement of another order": (
        ("UPDATE ledger.replacement SET old_order_id = {filled}",),
        "replacements",
        "order {filled}",
    ),
    "a fill beyond the size": (
        (
            ("UPDATE ledger.fill SET size_micros = 10100000, cash_micros = 3939000 "
            "WHERE trade_id = 'whole'"),
        ),
        "filled_within_size",
        "main m1: order {filled}",
    ),
    "a purchase over the cap": (
        (
            "UPDATE ledger.limit_change SET after = '40000000' WHERE name = 'max_outcome_micros'",
            "UPDATE ledger.limits SET max_outcome_micros = 40000000 WHERE account_id = 0",
        ),
        "caps",
        "main m1: outcome 0",
    ),
    "an order of the venue that no intent explains": (
        (
            ("INSERT INTO ledger.foreign_order (account_id, venue_order_id, first_seen_at, "
            "last_seen_at, detail) VALUES (1, '0xabc', now(), now(), '{{}}')"),
        ),
        "foreign_orders",
        "main: 0xabc",
    ),
    "collateral below zero without a halt": (
        (
            "UPDATE ledger.balance SET available = -1 WHERE asset = 'collateral'",
        ),
        "negative",
        "main: collateral",
    ),
    "a hole in the table of transitions": (
        ("DELETE FROM ledger.transition WHERE from_state = 'UNKNOWN' AND event = 'SEE'",),
        "transitions",
        "UNKNOWN, SEE",
    ),
    "a way out of FILLED": (
        (
            ("UPDATE ledger.transition SET to_state = 'LIVE' WHERE from_state = 'FILLED' "
            "AND event = 'REOPEN'"),
        ),
        "transitions",
        "FILLED, REOPEN",
    ),
}  # fmt: skip


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
