-- purpose: limits of orders and markets as they are set, the general ones first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT 'market' AS scope, a.name AS account, NULL AS "group", m.condition_id AS market, m.slug, l.max_outcome_micros, l.max_market_micros,
       l.burst_per_minute, l.burst_gap_ms, l.burst_counts_sells, l.max_order_micros, l.max_order_cost_micros,
       l.max_market_cost_micros, l.max_imbalance_micros, l.max_open_orders, l.cooldown_ms, l.changes_per_minute, l.collar_micros,
       l.max_slippage_bps, l.book_age_ms, l.self_match_allowed, l.duplicate_window_ms, l.duplicate_refused, l.open_buffer_ms,
       l.close_buffer_ms, l.weekend_allowed, l.breaker_rejects, l.breaker_cancels, l.slow_ms, l.stop_ms
FROM ledger.limits l
LEFT JOIN ledger.account a ON a.account_id = l.account_id
LEFT JOIN ledger.market m ON m.market_id = l.market_id
ORDER BY l.account_id, l.market_id
