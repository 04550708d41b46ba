-- purpose: take some books in which something happens by itself by now; busy ones are left to who has them.
-- locks:   book rows, skipping locked ones, so it never waits and several workers share the work.
-- index:   book_due.
-- fence:   the row lock; due_at_ms is checked again under it.
SELECT token_id, condition_id, tick_micros, min_size_micros, fee_rate_ppm, seed, shift_micros, seq,
       draws, at_ms, tape_at_ms, due_at_ms, is_open
FROM paper.book
WHERE due_at_ms <= $1::bigint
ORDER BY due_at_ms
LIMIT 64
FOR UPDATE SKIP LOCKED;
