-- purpose: the live orders of books.
-- locks:   none; the caller holds the book rows.
-- index:   venue_order_live_token.
-- fence:   the book rows' locks.
SELECT venue_order_id, account, token_id, side, price_micros, size_micros, matched_micros,
       order_type, post_only, expiration_ms, status, seq, received_at_ms
FROM paper.venue_order
WHERE token_id = ANY ($1::text[]) AND status = 'LIVE'
ORDER BY token_id, seq;
