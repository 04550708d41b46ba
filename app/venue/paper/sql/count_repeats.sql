-- purpose: count that the same signed orders came again.
-- locks:   venue_order rows, all of them of books the caller holds.
-- index:   venue_order_pkey.
-- fence:   the book rows' locks.
UPDATE paper.venue_order o
SET times_received = o.times_received + n.repeats
FROM unnest($1::text[], $2::bigint[]) AS n (venue_order_id, repeats)
WHERE o.venue_order_id = n.venue_order_id;
