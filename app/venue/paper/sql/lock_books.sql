-- purpose: take the books of these tokens, to change anything of them.
-- locks:   book rows in the order of token_id.
-- index:   book_pkey.
-- fence:   the row lock; everything else of the token is read in later statements, never in this one.
SELECT token_id, condition_id, tick_micros, min_size_micros, fee_rate_ppm, seed, shift_micros, seq,
       draws, at_ms, tape_at_ms, due_at_ms, is_open
FROM paper.book
WHERE token_id = ANY ($1::text[])
ORDER BY token_id
FOR UPDATE;
