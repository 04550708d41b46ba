"""The hot statements stay on their indexes: with 20,000 rows done and one lane blocked by 2,000.

What a call really read is taken from the transaction's own statistics, so whatever plan the server
caches is measured, the generic one after some calls included. An anti-join for lane heads once fell
from 29,000 a second to 592 with one blocked lane; a sequential scan would do the same to all lanes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.database import TestDatabase, empty_database
from tests.support.life import SHARE, Life, call, incarnation, venue_id
from tests.support.servers import TestServer

DONE = 20_000
BLOCKED = 2_000
LANES = 40
CALLS = 8
BIG = (
    "orders",
    "reservation",
    "outbox",
    "idempotency_key",
    "cancel_request",
    "journal",
    "balance_entry",
)

_FILL = """
WITH made AS (
    INSERT INTO ledger.orders (account_id, order_id, market_id, outcome, token_id, side, price_micros,
        size_micros, tick_micros, fee_rate_micros, fee_exponent, order_type, post_only, class, key, salt,
        signed_at_ms, valid_until, state, venue_order_id, created_at, state_at)
    SELECT 1, n, CASE WHEN n <= $2 THEN 1 + n % $1 ELSE 1 END,
        0, 't', 'BUY', 400000, 10000000, 10000, 0, 1, 'GTC', false, 'entry',
        'old ' || n, n, 0, ledger.clock() + interval '1 day',
        CASE WHEN n <= $2 THEN 'NOT_PLACED' ELSE 'RESERVED' END,
        CASE WHEN n <= $2 THEN '0x' || encode(sha256(n::text::bytea), 'hex') END,
        ledger.clock(), ledger.clock()
    FROM generate_series(2, $2::int + $3::int) n RETURNING *
), held AS (
    INSERT INTO ledger.reservation (account_id, order_id, market_id, outcome, side, phase, shares_micros,
        awaiting_micros, asset, held_micros, created_at, released_at)
    SELECT 1, order_id, market_id, 0, 'BUY', CASE state WHEN 'RESERVED' THEN 'pending' ELSE 'released' END, 0, 0,
        'collateral', 0, created_at, CASE state WHEN 'RESERVED' THEN NULL ELSE created_at END FROM made
), keyed AS (
    INSERT INTO ledger.idempotency_key (account_id, key, fingerprint, kind, subject_id, bound_at)
    SELECT 1, key, sha256(key::bytea), 'order', order_id, created_at FROM made
), queued AS (
    INSERT INTO ledger.outbox (account_id, market_id, order_id, passes_block, status, not_before)
    SELECT 1, market_id, order_id, false, CASE state WHEN 'RESERVED' THEN 'ready' ELSE 'done' END, created_at FROM made
)
INSERT INTO ledger.cancel_request (account_id, order_id, market_id, reason, asked_by, asked_at, status, next_at)
SELECT 1, order_id, market_id, 'r', 'me', created_at, 'done', created_at FROM made WHERE state <> 'RESERVED'
"""


@pytest.fixture(scope="module", name="big_database")
def _big_database(database_server: TestServer, template_database: str) -> Iterator[TestDatabase]:
    """Filled once for the tests of this module."""
    with empty_database(database_server, template_database) as database:
        yield database


@pytest.fixture(name="big")
async def _big(big_database: TestDatabase) -> AsyncIterator[Life]:
    try:
        conn = await big_database.connect()
        if await conn.fetchval("SELECT count(*) FROM ledger.orders") == 0:
            await fill(await Life.begin(big_database))
        yield Life(conn, None)  # type: ignore[arg-type]
    finally:
        await big_database.disconnect()
        big_database._opened.clear()


async def fill(life: Life) -> None:
    """All that is done, a lane with an unknown head and 2,000 behind it, and lanes that can go on."""
    for n in range(2, LANES + 1):
        await life.add_market(f"m{n}")
    await life.unknown(valid_for_ms=86_400_000)
    await life.conn.execute(_FILL, LANES, DONE, BLOCKED)
    await life.conn.execute("SELECT setval('ledger.order_id_seq', $1)", DONE + BLOCKED)
    for n in range(2, LANES + 1):
        await life.reserved(market=f"m{n}", size_micros=5 * SHARE, valid_for_ms=86_400_000)
    await life.conn.execute("ANALYZE")


async def reads(
    life: Life, function: str, *arguments: Any, tables: tuple[str, ...] = BIG
) -> dict[str, tuple[int, int]]:
    """Rows read by sequential scans and by index, of the big tables, in the last of some calls."""
    query = (
        "SELECT relname, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE schemaname = 'ledger' AND relname = ANY ($1)"
    )
    found: dict[str, tuple[int, int]] = {}
    for _ in range(CALLS):
        transaction = life.conn.transaction()
        await transaction.start()
        # not yet reported numbers of earlier transactions are among them: the difference counts
        before = {row[0]: row for row in await life.conn.fetch(query, tables)}
        await call(life.conn, function, *arguments)
        after = await life.conn.fetch(query, tables)
        found = {row[0]: (row[1] - before[row[0]][1], row[2] - before[row[0]][2]) for row in after}
        await transaction.rollback()
    return found


SOME = incarnation(1)
ORDER = {"order_id": DONE + 5, "incarnation": str(SOME), "claim_no": 1, "attempt": 1}
FACT = {"account": "main", "venue_order_id": venue_id(DONE + 2), "size_matched_micros": 0,
        "status": "LIVE", "source": "read", "trade_id": "t", "size_micros": SHARE,
        "price_micros": 400_000}  # fmt: skip
REQUEST = {"account": "main", "market": "m3", "outcome": "Up", "side": "BUY",
           "price_micros": 400_000, "size_micros": 5 * SHARE, "key": "new"}  # fmt: skip

HOT: list[tuple[str, list[Any], int]] = [
    # function, arguments, rows of the outbox it may read
    ("claim_placements", [SOME, ("main",), 10_000, 15], 4 * LANES + 60),
    ("claim_placements", [SOME, ("main",), 10_000, 100], 4 * LANES + 400),
    ("claim_look_ups", [SOME, ("main",), 10_000, 15], 20),
    ("claim_cancels", [SOME, ("main",), 15], 20),
    ("reserve_pending", [[REQUEST]], 20),
    ("reserve_pending", [[REQUEST | {"key": "old 7"}]], 20),
    (
        "reserve_pending",
        [[REQUEST | {"key": f"k{n}", "market": f"m{n}"} for n in range(2, 30)]],
        60,
    ),
    ("renew_claims", [SOME, 10_000, (DONE + 1, DONE + 5)], 20),
    ("drop_claims", [[ORDER]], 20),
    ("fail_placement", [DONE + 5, SOME, 1, "p"], 20),
    ("prepare", [[ORDER]], 20),
    ("open_attempt", [[ORDER]], 20),
    ("acknowledge", [[ORDER]], 20),
    ("request_cancel", [[ORDER]], 20),
    ("record_cancel_answers", [[ORDER | {"answer": "refused"}]], 20),
    ("record_evidence", [[ORDER | {"kind": "order_absent"}]], 20),
    ("prove_absent", [[ORDER]], 20),
    ("observe_orders", [[FACT]], 20),
    ("record_fills", [[FACT]], 20),
    ("get_orders", [(DONE + 5,)], 20),
    ("find_by_key", ["main", "old 7"], 20),
    ("sweep_lapsed", [], 20),
    ("sweep_expired", [], 20),
    ("sweep_breaches", [], 20),
]


@pytest.mark.parametrize(
    ("function", "arguments", "outbox_rows"),
    HOT,
    ids=[f"{n} {row[0]}" for n, row in enumerate(HOT)],
)
async def test_it_reads_by_index_only(
    big: Life, function: str, arguments: list[Any], outbox_rows: int
) -> None:
    found = await reads(big, function, *arguments)
    assert {table: rows[0] for table, rows in found.items() if rows[0]} == {}
    assert found.get("outbox", (0, 0))[1] <= outbox_rows
    assert found.get("idempotency_key", (0, 0))[1] <= 4 * LANES


async def test_a_blocked_lane_hides_no_other(big: Life) -> None:
    transaction = big.conn.transaction()
    await transaction.start()
    assert len(await big.claim(limit=100)) == LANES - 1
    await transaction.rollback()


FEW_ROWS = (
    *(
        "account_state",
        "exposure",
        "balance",
        "contra_balance",
        "group_state",
        "limits",
        "total_limits",
    ),
    *(
        "loan",
        "pool",
        "breaker",
        "book",
        "market",
        "outcome",
        "idempotency_key",
        "orders",
        "reservation",
    ),
)


async def test_a_table_of_few_rows_is_read_by_index_too(database: TestDatabase) -> None:
    """Where it changes all the time it is many times as large between two vacuums as when the plan was made."""
    life = await Life.begin(database)
    await life.add_market("m1", group_key="g")
    await life.limit("duplicate_window_ms", 1_000)
    await life.limit("breaker_rejects", 3)
    for scope in ("account", "group", "global"):
        await life.call("set_total_limit", scope, "", "max_cost_micros", "1000000000", "test")
    order_id = await life.live(price_micros=500_000)
    await life.conn.execute("VACUUM ANALYZE")
    fresh = life.on(await database.connect())
    for function, arguments in (
        ("reserve_pending", [life.request(price_micros=100_000)]),
        ("request_cancel", [{"order_id": order_id, "reason": "test"}]),
        ("observe_orders", [FACT]),
    ):
        found = await reads(fresh, function, arguments, tables=FEW_ROWS)
        assert {table: rows[0] for table, rows in found.items() if rows[0]} == {}, function


IDLE = 3_000


async def test_the_sweep_for_breaches_reads_the_lanes_that_hold_something(
    database: TestDatabase,
) -> None:
    """It runs on every pass, and the lanes of all markets there ever were are many."""
    life = await Life.begin(database)
    await life.limit("max_outcome_micros", 100 * SHARE)
    bought = await life.live()
    await life.fill(bought, 10 * SHARE)
    await life.conn.execute(
        "WITH made AS (INSERT INTO ledger.market (condition_id, slug, question, group_key, tick_micros, "
        "min_size_micros, fee_rate_micros, fee_exponent, fee_taker_only, neg_risk, neg_risk_augmented, "
        "protocol_version, tradable, untradable_reasons, created_at, updated_at) "
        "SELECT '0x' || encode(sha256(n::text::bytea), 'hex'), 'idle ' || n, '', NULL, 10000, 5000000, 0, 1, "
        "false, false, false, 'v1', true, '{}', ledger.clock(), ledger.clock() "
        "FROM generate_series(1, $1::int) n RETURNING market_id) "
        "INSERT INTO ledger.exposure (account_id, market_id, clock_at) SELECT 1, market_id, ledger.clock() FROM made",
        IDLE,
    )
    await life.add_market("m2")
    await life.reserved(market="m2")
    await life.conn.execute("VACUUM ANALYZE ledger.exposure, ledger.reservation, ledger.fill")
    fresh = life.on(await database.connect())
    found = await reads(
        fresh, "sweep_breaches", tables=("exposure", "limits", "reservation", "fill")
    )
    assert {table: rows[0] for table, rows in found.items()} == dict.fromkeys(found, 0)
    assert found["exposure"][1] <= 20
    assert found["limits"][1] <= 20
    # and it finds what is too much in either of them
    await life.limit("max_outcome_micros", 5 * SHARE)
    assert await fresh.call("sweep_breaches") == 2
    assert await fresh.call("sweep_breaches") == 0
