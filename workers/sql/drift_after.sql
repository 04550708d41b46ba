-- $1 account, $2 subjects of a comparison: venue order ids, and trades as trade id/venue order id
SELECT o.venue_order_id AS subject, o.state, greatest(o.size_matched_micros, o.traded_micros) AS matched, 0 AS fee
FROM ledger.orders o
JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND o.venue_order_id = ANY ($2)
UNION ALL
SELECT f.trade_id || '/' || o.venue_order_id, f.settlement, f.size_micros, f.fee_micros
FROM ledger.orders o
JOIN ledger.account a USING (account_id)
JOIN ledger.fill f USING (account_id, order_id)
WHERE a.name = $1 AND o.venue_order_id IN (SELECT regexp_replace(s, '^.*/', '') FROM unnest($2::text[]) s WHERE s LIKE '%/%')
  AND f.trade_id || '/' || o.venue_order_id = ANY ($2)
