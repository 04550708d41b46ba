-- purpose: orders at the venue under an account of ours that no intent explains.
-- locks:   none.
-- index:   primary key.
-- fence:   none; it only reads.

SELECT a.name AS account, f.venue_order_id, f.first_seen_at, f.last_seen_at, f.detail::text AS detail,
       greatest(floor(extract(epoch FROM ledger.clock() - f.first_seen_at)), 0)::bigint AS age_s
FROM ledger.foreign_order f JOIN ledger.account a USING (account_id)
WHERE f.resolved_at IS NULL AND ($1::text IS NULL OR a.name = $1)
ORDER BY a.name, f.first_seen_at
