-- purpose: the venue's whole memory of orders, to count duplicates from.
-- locks:   none.
-- index:   none; reads the table.
-- fence:   none.
SELECT o.venue_order_id, o.account, o.token_id, b.condition_id, o.side, o.price_micros, o.size_micros,
       o.matched_micros, o.order_type, o.status, o.salt, o.timestamp_ms, o.times_received,
       o.received_at_ms, o.body
FROM paper.venue_order o
LEFT JOIN paper.book b USING (token_id)
ORDER BY o.received_at_ms, o.token_id, o.seq, o.venue_order_id;
