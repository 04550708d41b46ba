-- purpose: all live orders of an account.
-- locks:   none.
-- index:   venue_order_live_account.
-- fence:   an account sees its own orders only.
SELECT venue_order_id, token_id, side, price_micros, size_micros, matched_micros, status
FROM paper.venue_order
WHERE account = $1::text AND status = 'LIVE'
ORDER BY token_id, seq;
