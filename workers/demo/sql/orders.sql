-- purpose: every order of the ledger, for the judgement.
-- locks:   none.
-- index:   none; reads the table.
-- fence:   none.
SELECT o.order_id, a.name AS account, o.key, o.state, o.cause, coalesce(o.venue_order_id, '') AS venue_order_id,
    o.salt::text AS salt, o.token_id, o.side, o.size_micros,
    greatest(o.size_matched_micros, o.traded_micros) AS matched_micros,
    floor(extract(epoch FROM o.state_at) * 1000)::bigint AS state_at_ms,
    s.ended, s.state IN ('LIVE', 'FILLED', 'CANCELLED', 'EXPIRED') AS at_venue
FROM ledger.orders o
JOIN ledger.account a USING (account_id)
JOIN ledger.order_state s ON s.state = o.state
ORDER BY o.order_id;
