-- purpose: what is known about an order whose fate was or is open.
-- locks:   none.
-- index:   evidence_of_order.
-- fence:   none; it only reads.

SELECT v.kind, v.at, v.detail
FROM ledger.orders o JOIN ledger.evidence v ON v.account_id = o.account_id AND v.order_id = o.order_id
WHERE o.order_id = $1 ORDER BY v.evidence_id
