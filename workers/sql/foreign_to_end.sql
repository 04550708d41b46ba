-- $1 account: foreign orders to end at the venue, seen last first (what is not seen any more is over). What a clean
-- read has shown ended needs no cancel.
SELECT f.venue_order_id FROM ledger.foreign_order f
JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND f.resolved_at IS NULL
  AND NOT (f.detail ->> 'source' = 'read' AND f.detail ->> 'status' IN ('CANCELLED', 'EXPIRED', 'MATCHED', 'REJECTED'))
ORDER BY f.last_seen_at DESC, f.venue_order_id
