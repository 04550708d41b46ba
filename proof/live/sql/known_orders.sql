-- purpose: which of these orders the ledger has, with their keys.
-- locks:   none.
-- index:   none; orders are kept by account, and this asks for all.
-- fence:   none.
SELECT o.order_id, o.key FROM ledger.orders o WHERE o.order_id = ANY ($1::bigint[]);
