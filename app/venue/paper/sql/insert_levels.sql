-- purpose: the levels a book starts with.
-- locks:   none beyond the new rows.
-- index:   book_level_pkey.
-- fence:   the caller has just made the book row, or holds it.
INSERT INTO paper.book_level (token_id, side, base_price_micros, base_size_micros, size_micros, seq)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]);
