-- purpose: which of these ids the engine has processed before.
-- locks:   none; the caller holds the rows of their books.
-- index:   venue_order_pkey.
-- fence:   the book rows' locks; the primary key behind them.
SELECT venue_order_id FROM paper.venue_order WHERE venue_order_id = ANY ($1::text[]);
