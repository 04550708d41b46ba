"""The audit may run at any moment, beside writers and after history was archived."""

from __future__ import annotations

import asyncio

from app.ledger.audit import audit
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, incarnation
from tests.support.lived_in import Writer

WRITERS = 4
ORDERS = 12


async def _trade(life: Writer) -> None:
    """Orders through their whole lives, each lane by its own worker."""
    for n in range(ORDERS):
        order_id = await life.live(key=f"{life.market} {n}")
        trade = f"{life.market} {n}"
        await life.fill(order_id, 4 * SHARE, trade_id=trade)
        if n % 3 == 0:
            await life.fill(order_id, 4 * SHARE, "FAILED", trade_id=trade)
        else:
            await life.fill(order_id, 4 * SHARE, "CONFIRMED", trade_id=trade)
        if n % 2 == 0:
            await life.cancel(order_id)
            await life.read(order_id, "CANCELLED", 4 * SHARE)


async def test_an_audit_beside_writers_finds_nothing(database: TestDatabase) -> None:
    life = await Life.begin(database)
    writers = []
    for n in range(WRITERS):
        account = f"account {n}".replace(" ", "-")
        await life.open_account(account)
        await life.add_market(f"lane-{n}")
        conn = await database.connect()
        writers.append(
            Writer(conn, life.clock, account, "m1" if n % 2 else f"lane-{n}", incarnation(n + 1))
        )
    auditor = await database.connect("auditor")
    trading = asyncio.gather(*(_trade(writer) for writer in writers))
    audits = 0
    while not trading.done():
        report = await audit(auditor)
        assert report.differences == ()
        audits += 1
    await trading
    assert audits >= 2
    report = await audit(auditor)
    assert report.ok
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.orders") == WRITERS * ORDERS


async def test_history_that_was_archived_is_not_missed_and_a_gap_elsewhere_is(
    database: TestDatabase,
) -> None:
    life = await Life.begin(database)
    month_ms = 31 * 86_400_000
    assert await life.call("make_partitions", 2) == 2
    await life.live()
    await life.clock.advance(month_ms)
    order_id = await life.live()
    await life.fill(order_id, 10 * SHARE, "CONFIRMED")
    await life.clock.advance(month_ms)
    await life.live()
    await life.conn.execute("SELECT ledger.archive_partition('journal_2026_04')")
    report = await audit(life.conn)
    assert report.differences == ()
    await life.conn.execute("SET session_replication_role = replica")
    await life.conn.execute(
        "DELETE FROM ledger.journal WHERE seq = (SELECT max(seq) - 1 FROM ledger.journal)"
    )
    red = {name for name, _ in (await audit(life.conn)).differences}
    assert red >= {"journal", "market_journal", "order_journal"}
