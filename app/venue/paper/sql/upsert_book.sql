-- purpose: make a token's book, or take over new terms of its market. Answers whether it was made.
-- locks:   the book row; a market's two are asked for in the order of token_id.
-- index:   book_pkey.
-- fence:   the primary key; the levels are written by whoever made the row.
INSERT INTO paper.book AS b (
    token_id, condition_id, tick_micros, min_size_micros, fee_rate_ppm, seed, seq)
VALUES ($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint)
ON CONFLICT (token_id) DO UPDATE
SET tick_micros = excluded.tick_micros, min_size_micros = excluded.min_size_micros,
    fee_rate_ppm = excluded.fee_rate_ppm
WHERE (b.tick_micros, b.min_size_micros, b.fee_rate_ppm)
      IS DISTINCT FROM (excluded.tick_micros, excluded.min_size_micros, excluded.fee_rate_ppm)
RETURNING (xmax = 0) AS made;
