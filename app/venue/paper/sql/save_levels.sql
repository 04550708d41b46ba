-- purpose: the new state of background levels.
-- locks:   book_level rows of books the caller holds.
-- index:   book_level_pkey.
-- fence:   the book rows' locks.
UPDATE paper.book_level v
SET size_micros = n.size_micros, seq = n.seq
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
     AS n (token_id, side, base_price_micros, size_micros, seq)
WHERE v.token_id = n.token_id AND v.side = n.side AND v.base_price_micros = n.base_price_micros;
