-- purpose: the life of an order as it was journaled.
-- locks:   none.
-- index:   journal_of_order.
-- fence:   none; it only reads.

SELECT j.seq, j.at, j.event, j.from_state, j.to_state, j.attempt, j.actor, j.detail::text AS detail
FROM ledger.orders o JOIN ledger.journal j ON j.account_id = o.account_id AND j.order_id = o.order_id
WHERE o.order_id = $1 ORDER BY j.seq
