"""What the counters must be, recomputed from orders, fills and entries, without the ledger's functions.

For tests: `differences` is empty when nothing is counted twice or not at all.
"""

from __future__ import annotations

from typing import Final

import asyncpg

# From the definitions: what an order could still fill, what was matched and not yet traded, what it
# holds. A BUY's price and fee are rounded up; the worst fee lies at a price of one half or below.
_ORDERS: Final = """
WITH o AS (
    SELECT o.*, s.ended, greatest(o.size_matched_micros, o.traded_micros) AS matched,
           coalesce(f.traded, 0) AS f_traded, coalesce(f.confirmed, 0) AS f_confirmed,
           coalesce(f.failed, 0) AS f_failed
    FROM ledger.orders o JOIN ledger.order_state s USING (state)
    LEFT JOIN (SELECT account_id, order_id, sum(size_micros)::bigint AS traded,
                   coalesce(sum(size_micros) FILTER (WHERE settlement = 'confirmed'), 0)::bigint AS confirmed,
                   coalesce(sum(size_micros) FILTER (WHERE settlement = 'failed'), 0)::bigint AS failed
               FROM ledger.fill GROUP BY 1, 2) f USING (account_id, order_id)
), p AS (
    SELECT o.*, CASE WHEN ended THEN 0 ELSE greatest(size_micros - matched, 0) END AS shares,
           matched - traded_micros AS awaiting,
           CASE WHEN state IN ('LIVE', 'DELAYED') THEN 'open' WHEN NOT ended THEN 'pending' END AS phase,
           least(price_micros, 500000)::numeric / 1000000 AS p
    FROM o
), q AS (
    SELECT p.*, CASE side
        WHEN 'SELL' THEN shares + awaiting + traded_micros - confirmed_micros - failed_micros
        ELSE ceil(price_micros::numeric * (shares + awaiting) / 1000000)
             + CASE WHEN fee_rate_micros = 0 THEN 0 ELSE
               ceil((shares + awaiting) * fee_rate_micros / 1000000.0 * power(p * (1 - p), fee_exponent))
               END END::bigint AS held
    FROM p
)
"""

_CHECKS: Final = {
    "an order's sums of its fills": _ORDERS
    + "SELECT order_id FROM q WHERE (traded_micros, confirmed_micros, failed_micros) "
    "<> (f_traded, f_confirmed, f_failed)",
    "a reservation against its order": _ORDERS
    + """SELECT q.order_id FROM q FULL JOIN ledger.reservation r USING (account_id, order_id)
    WHERE (q.shares, q.awaiting, q.held) IS DISTINCT FROM (r.shares_micros, r.awaiting_micros, r.held_micros)
       OR r.phase <> coalesce(q.phase, CASE WHEN q.awaiting > 0 OR q.held > 0 THEN 'settling' ELSE 'released' END)""",
    "exposure against orders, fills and movements": _ORDERS
    + """, side AS (
        SELECT e.account_id, e.market_id, i, s.side,
            CASE s.side WHEN 'BUY' THEN e.pending_buy[i] ELSE e.pending_sell[i] END AS pending,
            CASE s.side WHEN 'BUY' THEN e.open_buy[i] ELSE e.open_sell[i] END AS open,
            CASE s.side WHEN 'BUY' THEN e.awaiting_buy[i] ELSE e.awaiting_sell[i] END AS awaiting,
            CASE s.side WHEN 'BUY' THEN e.provisional_buy[i] ELSE e.provisional_sell[i] END AS provisional
        FROM ledger.exposure e, generate_series(1, 2) i, (VALUES ('BUY'), ('SELL')) s (side)
    ), counted AS (
        SELECT account_id, market_id, outcome + 1 AS i, side,
            coalesce(sum(shares) FILTER (WHERE phase = 'pending'), 0) AS pending,
            coalesce(sum(shares) FILTER (WHERE phase = 'open'), 0) AS open,
            sum(awaiting) AS awaiting, sum(f_traded - f_confirmed - f_failed) AS provisional
        FROM q GROUP BY 1, 2, 3, 4
    )
    SELECT account_id, market_id FROM side LEFT JOIN counted c USING (account_id, market_id, i, side)
    WHERE (side.pending, side.open, side.awaiting, side.provisional) <> (coalesce(c.pending, 0),
        coalesce(c.open, 0), coalesce(c.awaiting, 0), coalesce(c.provisional, 0))""",
    "confirmed position against token balance": """
    SELECT e.account_id, e.market_id FROM ledger.exposure e
    JOIN ledger.outcome x USING (market_id)
    LEFT JOIN ledger.balance b ON b.account_id = e.account_id AND b.asset = x.token_id
    WHERE e.confirmed[x.outcome + 1] <> coalesce(b.available + b.locked, 0)""",
    "balances against entries": """
    SELECT b.asset FROM ledger.balance b FULL JOIN (
        SELECT account_id, asset, sum(available_delta) AS a, sum(locked_delta) AS l
        FROM ledger.balance_entry GROUP BY 1, 2) s USING (account_id, asset)
    WHERE (b.available, b.locked) IS DISTINCT FROM (s.a, s.l)""",
    "locked balances against holds": _ORDERS
    + """SELECT b.asset FROM ledger.balance b FULL JOIN (
        SELECT account_id, CASE side WHEN 'BUY' THEN 'collateral' ELSE token_id END AS asset, sum(held) AS held
        FROM q GROUP BY 1, 2) h USING (account_id, asset)
    WHERE coalesce(b.locked, 0) <> coalesce(h.held, 0)""",
    "collateral against deposits and fills": """
    SELECT b.account_id FROM ledger.balance b
    LEFT JOIN (SELECT account_id, sum(available_delta) AS moved FROM ledger.balance_entry
               WHERE asset = 'collateral' AND order_id IS NULL GROUP BY 1) m USING (account_id)
    LEFT JOIN (SELECT account_id, sum(CASE WHEN side = 'BUY' AND settlement <> 'failed' THEN -(cash_micros + fee_micros)
                   WHEN side = 'SELL' AND settlement = 'confirmed' THEN cash_micros - fee_micros ELSE 0 END) AS cash
               FROM ledger.fill GROUP BY 1) f USING (account_id)
    WHERE b.asset = 'collateral' AND b.available + b.locked <> coalesce(m.moved, 0) + coalesce(f.cash, 0)""",
    "gaps in the journal": """
    SELECT account_id FROM (SELECT account_id, seq, row_number() OVER (PARTITION BY account_id ORDER BY seq) AS n
                            FROM ledger.journal) q WHERE seq <> n
    UNION ALL SELECT account_id FROM ledger.account_state s
    WHERE journal_seq <> (SELECT count(*) FROM ledger.journal j WHERE j.account_id = s.account_id)
       OR entry_seq <> (SELECT count(*) FROM ledger.balance_entry b WHERE b.account_id = s.account_id)
    UNION ALL SELECT account_id FROM ledger.exposure e
    WHERE journal_seq <> (SELECT count(*) FROM ledger.journal j WHERE j.account_id = e.account_id
                          AND j.market_id = e.market_id)""",
    "an order's place in the outbox": """
    SELECT o.order_id, o.state, b.status FROM ledger.orders o
    LEFT JOIN ledger.outbox b USING (account_id, order_id) JOIN ledger.order_state s USING (state)
    WHERE coalesce(b.status, '') NOT IN (SELECT unnest(CASE
        WHEN s.ended OR o.state IN ('LIVE', 'DELAYED') THEN ARRAY['done']
        WHEN o.state = 'SENDING' THEN ARRAY['claimed']
        WHEN o.state = 'UNKNOWN' THEN ARRAY['blocked', 'released']
        ELSE ARRAY['ready', 'claimed', 'dead', 'released'] END))""",
    "an open attempt of an order that is not being sent, or none": """
    SELECT o.order_id FROM ledger.orders o
    LEFT JOIN ledger.attempt t ON t.account_id = o.account_id AND t.order_id = o.order_id AND t.outcome = 'open'
    WHERE (o.state = 'SENDING' AND t.order_id IS NULL)
       OR (o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'UNKNOWN', 'NOT_PLACED') AND t.order_id IS NOT NULL)""",
    "a cancel that is due for an ended order, or missing for one that is not": """
    SELECT o.order_id FROM ledger.orders o JOIN ledger.order_state s USING (state)
    LEFT JOIN ledger.cancel_request c USING (account_id, order_id)
    WHERE s.ended AND c.status = 'due' OR NOT s.ended AND o.cancel_asked_at IS NOT NULL
          AND c.status IS DISTINCT FROM 'due'""",
    "a waiting replacement of an ended order": """
    SELECT q.old_order_id FROM ledger.replacement q
    JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
    JOIN ledger.order_state s ON s.state = o.state WHERE q.state = 'waiting' AND s.ended""",
    "an admitted order without key, or a key without order": """
    SELECT o.order_id FROM ledger.orders o
    LEFT JOIN ledger.idempotency_key k ON k.account_id = o.account_id AND k.key = o.key
    WHERE k.key IS NULL OR k.kind = 'order' AND k.subject_id <> o.order_id""",
}


async def differences(conn: asyncpg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """The checks that failed, with their rows."""
    found = {name: await conn.fetch(query) for name, query in _CHECKS.items()}
    return {name: [tuple(row) for row in rows] for name, rows in found.items() if rows}
