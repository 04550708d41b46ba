-- purpose: our accounts' parts of the venue's trades, for the judgement.
-- locks:   none.
-- index:   none; reads the table.
-- fence:   none.
SELECT p.trade_id, p.venue_order_id, p.size_micros, t.price_micros, t.status
FROM paper.trade_part p JOIN paper.trade t USING (trade_id)
WHERE p.account <> ''
ORDER BY p.trade_id, p.venue_order_id;
