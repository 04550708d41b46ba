-- purpose: orders whose fate is not known, oldest first.
-- locks:   none.
-- index:   orders_unresolved.
-- fence:   none; it only reads.

SELECT o.order_id, a.name AS account, m.condition_id AS market, m.slug, o.state, o.cause, o.side, o.price_micros,
       o.size_micros, o.venue_order_id, o.attempts, o.state_at,
       greatest(floor(extract(epoch FROM ledger.clock() - o.state_at)), 0)::bigint AS age_s
FROM ledger.orders o JOIN ledger.account a USING (account_id) JOIN ledger.market m USING (market_id)
WHERE o.state IN ('SENDING', 'UNKNOWN', 'DELAYED') AND (o.state <> 'SENDING' OR o.state_at < ledger.clock() - interval '5 seconds')
ORDER BY o.state_at LIMIT 200
