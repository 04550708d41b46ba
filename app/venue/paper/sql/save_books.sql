-- purpose: the new state of books.
-- locks:   book rows, held since lock_books or lock_due_books.
-- index:   book_pkey.
-- fence:   the row locks.
UPDATE paper.book b
SET shift_micros = n.shift_micros, seq = n.seq, draws = n.draws, at_ms = n.at_ms,
    tape_at_ms = n.tape_at_ms, due_at_ms = n.due_at_ms
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
     AS n (token_id, shift_micros, seq, draws, at_ms, tape_at_ms, due_at_ms)
WHERE b.token_id = n.token_id;
