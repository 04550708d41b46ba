-- purpose: the books in which these orders stand.
-- locks:   none; an order never changes its book.
-- index:   venue_order_pkey.
-- fence:   none needed.
SELECT venue_order_id, token_id FROM paper.venue_order WHERE venue_order_id = ANY ($1::text[]);
