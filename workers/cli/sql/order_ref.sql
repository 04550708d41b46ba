-- purpose: the number of an order from its venue id.
-- locks:   none.
-- index:   orders_by_venue_id, once per account.
-- fence:   none; it only reads.

SELECT o.order_id FROM ledger.account a
JOIN ledger.orders o ON o.account_id = a.account_id AND o.venue_order_id = lower($1)
