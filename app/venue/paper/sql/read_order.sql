-- purpose: look one order up by its id, live or ended.
-- locks:   none.
-- index:   venue_order_pkey.
-- fence:   an account sees its own orders only.
SELECT venue_order_id, token_id, side, price_micros, size_micros, matched_micros, status
FROM paper.venue_order
WHERE venue_order_id = $2::text AND account = $1::text;
