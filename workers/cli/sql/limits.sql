-- purpose: caps and burst limits as they are set, the general ones first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT a.name AS account, m.condition_id AS market, m.slug, l.max_outcome_micros, l.max_market_micros,
       l.burst_per_minute, l.burst_gap_ms, l.burst_counts_sells
FROM ledger.limits l
LEFT JOIN ledger.account a ON a.account_id = l.account_id
LEFT JOIN ledger.market m ON m.market_id = l.market_id
ORDER BY l.account_id, l.market_id
