-- purpose: every fill of the ledger, for the judgement.
-- locks:   none.
-- index:   none; reads the table.
-- fence:   none.
SELECT f.trade_id, o.venue_order_id, f.size_micros, f.price_micros, f.settlement
FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id)
ORDER BY f.trade_id, o.venue_order_id;
