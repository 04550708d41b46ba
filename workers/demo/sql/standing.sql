-- purpose: orders that have not ended and are not being cancelled, for the demo's last cancels.
-- locks:   none.
-- index:   orders_not_ended.
-- fence:   none.
SELECT o.order_id, o.key
FROM ledger.orders o
WHERE o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED') AND o.cancel_asked_at IS NULL
ORDER BY o.order_id;
