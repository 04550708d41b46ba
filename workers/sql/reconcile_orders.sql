-- $1 account, $2 venue order ids of the venue's list: those orders, and all that may be at the venue
SELECT o.order_id, o.venue_order_id, o.state, greatest(o.size_matched_micros, o.traded_micros) AS matched
FROM ledger.orders o
JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND o.venue_order_id IS NOT NULL
  AND (o.state IN ('SENDING', 'UNKNOWN', 'DELAYED', 'LIVE') OR o.venue_order_id = ANY ($2))
ORDER BY o.order_id
