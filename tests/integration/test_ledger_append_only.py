"""The order's life as data, and the journal nobody changes: enforced by the database itself."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.life import Life

STATES = (
    "RESERVED", "PREPARED", "SENDING", "HELD_BACK", "UNKNOWN", "DELAYED", "LIVE",
    "FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED",
)  # fmt: skip


async def test_the_transition_table_is_total(life: Life) -> None:
    row = await life.conn.fetchrow(
        "SELECT (SELECT count(*) FROM ledger.order_state) AS states, "
        "(SELECT count(*) FROM ledger.order_event) AS events, "
        "(SELECT count(*) FROM ledger.transition) AS rows"
    )
    assert row["states"] == len(STATES)
    assert row["rows"] == row["states"] * row["events"]


async def test_an_ended_order_lives_again_only_by_facts(life: Life) -> None:
    found = await life.conn.fetch(
        "SELECT DISTINCT event FROM ledger.transition t JOIN ledger.order_state a "
        "ON a.state = t.from_state JOIN ledger.order_state b ON b.state = t.to_state "
        "WHERE a.ended AND NOT b.ended ORDER BY event"
    )
    assert [row["event"] for row in found] == ["FILL_PART", "REOPEN", "SEE"]
    # of what was filled nothing remains to live again, and what a read ended only REOPEN revives
    found = await life.conn.fetch(
        "SELECT DISTINCT from_state, event FROM ledger.transition t JOIN ledger.order_state b "
        "ON b.state = t.to_state WHERE from_state IN ('FILLED', 'CANCELLED', 'EXPIRED') "
        "AND NOT b.ended ORDER BY 1"
    )
    assert [tuple(row) for row in found] == [("CANCELLED", "REOPEN"), ("EXPIRED", "REOPEN")]


async def test_bytes_leave_only_from_three_states(life: Life) -> None:
    found = await life.conn.fetch(
        "SELECT from_state FROM ledger.transition WHERE to_state = 'SENDING' "
        "AND from_state <> 'SENDING' ORDER BY 1"
    )
    assert [row[0] for row in found] == ["HELD_BACK", "PREPARED", "UNKNOWN"]


async def test_an_unknown_order_never_ends_by_a_refusal(life: Life) -> None:
    found = await life.conn.fetch(
        "SELECT event, to_state FROM ledger.transition WHERE from_state = 'UNKNOWN' "
        "AND event IN ('REJECT', 'HOLD_BACK', 'WITHDRAW')"
    )
    assert [row["to_state"] for row in found] == [None] * 3


@pytest.mark.parametrize("to_state", STATES)
async def test_no_update_takes_an_order_where_the_table_does_not_lead(
    life: Life, to_state: str
) -> None:
    order_id = await life.live()
    legal = await life.conn.fetchval(
        "SELECT count(*) FROM ledger.transition WHERE from_state = 'LIVE' AND to_state = $1",
        to_state,
    )
    update = life.conn.execute(
        "UPDATE ledger.orders SET state = $1 WHERE order_id = $2", to_state, order_id
    )
    if legal:
        await update
        return
    with pytest.raises(asyncpg.PostgresError, match="ILLEGAL_TRANSITION") as caught:
        await update
    assert caught.value.sqlstate == "LG003"


@pytest.mark.parametrize("table", ["journal", "balance_entry", "limit_change", "signed_order"])
@pytest.mark.parametrize("change", ["UPDATE ledger.{} SET account_id = 7", "DELETE FROM ledger.{}"])
async def test_what_is_written_stays(life: Life, table: str, change: str) -> None:
    await life.live()
    await life.limit("burst_gap_ms", 1)
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await life.conn.execute(change.format(table))


@pytest.mark.parametrize(
    "statement",
    ["TRUNCATE ledger.journal", "TRUNCATE ledger.journal_rest", "TRUNCATE ledger.balance_entry",
     "UPDATE ledger.journal_rest SET event = 'x'", "DELETE FROM ledger.journal_rest"],
)  # fmt: skip
async def test_the_journal_is_not_emptied_either(life: Life, statement: str) -> None:
    await life.live()
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await life.conn.execute(statement)


async def test_numbers_of_the_journal_have_no_gap(life: Life) -> None:
    await life.add_market("m2")
    await life.live()
    await life.cancelled(market="m2")
    await life.absent(market="m2")
    gaps = await life.conn.fetchval(
        "SELECT count(*) FROM (SELECT seq, row_number() OVER (PARTITION BY account_id ORDER BY seq) "
        "AS n FROM ledger.journal) q WHERE seq <> n"
    )
    market_gaps = await life.conn.fetchval(
        "SELECT count(*) FROM (SELECT market_seq, row_number() OVER (PARTITION BY account_id, "
        "market_id ORDER BY seq) AS n FROM ledger.journal WHERE market_id IS NOT NULL) q "
        "WHERE market_seq <> n"
    )
    assert (gaps, market_gaps) == (0, 0)


async def test_history_leaves_only_as_a_whole_partition_with_its_digest(life: Life) -> None:
    await life.limit("duplicate_window_ms", "0")
    assert await life.conn.fetchval("SELECT ledger.make_partitions(2)") == 2
    assert await life.conn.fetchval("SELECT ledger.make_partitions(2)") == 0
    await life.reserved()
    await life.clock.advance(31 * 86_400_000)
    await life.reserved()
    await life.reserved()
    rows = await life.conn.fetchval("SELECT count(*) FROM ledger.journal_2026_04")
    assert rows == 2
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await life.conn.execute("TRUNCATE ledger.journal_2026_04")
    digest = await life.conn.fetchval("SELECT ledger.archive_partition('journal_2026_04')")
    kept = await life.conn.fetchrow("SELECT * FROM ledger.archived_partition")
    assert (kept["row_count"], kept["digest"]) == (2, digest)
    assert kept["first_at"] == kept["last_at"] == life.clock.now
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.journal_2026_04") == 2
    left = await life.conn.fetchval(
        "SELECT count(*) FROM ledger.journal WHERE at = $1", kept["last_at"]
    )
    assert left == 0
    # numbers go on behind what has left
    await life.reserved()
    assert await life.conn.fetchval("SELECT max(seq) FROM ledger.journal") > 3
    await life.conn.execute("DROP TABLE ledger.journal_2026_04")


@pytest.mark.parametrize("name", ["journal_rest", "orders", "nothing", "journal"])
async def test_nothing_else_can_be_archived(life: Life, name: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match="not a monthly partition"):
        await life.conn.execute("SELECT ledger.archive_partition($1)", name)


async def test_an_accounts_venue_never_changes(life: Life) -> None:
    with pytest.raises(asyncpg.PostgresError, match="never change"):
        await life.conn.execute("UPDATE ledger.account SET venue = 'polymarket'")
    with pytest.raises(asyncpg.PostgresError, match="paper and live never mix"):
        await life.conn.execute("SELECT ledger.open_account('main', 'polymarket')")
