-- purpose: the fills of an order.
-- locks:   none.
-- index:   fill_of_order.
-- fence:   none; it only reads.

SELECT f.trade_id, f.size_micros, f.price_micros, f.cash_micros, f.fee_micros, f.settlement, f.raw_status, f.is_maker,
       f.matched_at
FROM ledger.orders o JOIN ledger.fill f ON f.account_id = o.account_id AND f.order_id = o.order_id
WHERE o.order_id = $1 ORDER BY f.matched_at, f.trade_id
