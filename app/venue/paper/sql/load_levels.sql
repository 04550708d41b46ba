-- purpose: the outside liquidity of books.
-- locks:   none; the caller holds the book rows, or only looks.
-- index:   book_level_pkey.
-- fence:   the book rows' locks.
SELECT token_id, side, base_price_micros, base_size_micros, size_micros, seq
FROM paper.book_level
WHERE token_id = ANY ($1::text[])
ORDER BY token_id, side, base_price_micros;
