-- purpose: the attempts to send an order.
-- locks:   none.
-- index:   attempt by primary key.
-- fence:   none; it only reads.

SELECT t.attempt, t.outcome, t.code, t.opened_at, t.send_by, t.deadline, t.ended_at, t.incarnation
FROM ledger.orders o JOIN ledger.attempt t ON t.account_id = o.account_id AND t.order_id = o.order_id
WHERE o.order_id = $1 ORDER BY t.attempt
