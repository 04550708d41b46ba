-- purpose: what stands at the venue under an account, or in our rows, and no intent explains.
-- locks:   none.
-- index:   foreign_order by primary key.
-- fence:   none; it only reads.

SELECT w.account, w.kind, w.venue_order_id, w.order_id, w.first_seen_at, w.last_seen_at, w.detail::text AS detail,
       greatest(floor(extract(epoch FROM ledger.clock() - w.first_seen_at)), 0)::bigint AS age_s
FROM audit.orders_without_intent w WHERE w.standing AND w.account = $1
ORDER BY w.kind, w.first_seen_at, w.venue_order_id
