-- purpose: which of these tokens have a book, and how far its levels have moved.
-- locks:   none.
-- index:   book_pkey.
-- fence:   none; read in one snapshot with the levels and orders.
SELECT token_id, shift_micros FROM paper.book WHERE token_id = ANY ($1::text[]);
