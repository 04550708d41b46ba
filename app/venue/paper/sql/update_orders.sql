-- purpose: the new state of known orders.
-- locks:   venue_order rows, all of them of books the caller holds.
-- index:   venue_order_pkey.
-- fence:   only a live order changes, and what has matched never shrinks.
UPDATE paper.venue_order o
SET matched_micros = n.matched_micros, status = n.status
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n (venue_order_id, matched_micros, status)
WHERE o.venue_order_id = n.venue_order_id AND o.status = 'LIVE' AND o.matched_micros <= n.matched_micros;
