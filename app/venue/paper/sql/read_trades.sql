-- purpose: an account's parts of trades matched since a time.
-- locks:   none.
-- index:   trade_part_account, trade_pkey.
-- fence:   an account sees its own parts only.
SELECT p.trade_id, p.venue_order_id, t.token_id, p.size_micros, t.price_micros, t.status, p.is_maker,
       p.matched_at_ms, p.fee_micros
FROM paper.trade_part p
JOIN paper.trade t USING (trade_id)
WHERE p.account = $1::text AND p.matched_at_ms >= $2::bigint
ORDER BY p.matched_at_ms, p.trade_id, p.venue_order_id;
