-- purpose: how far a book's levels have moved.
-- locks:   none.
-- index:   book_pkey.
-- fence:   none; the answer may be old as soon as it is read.
SELECT shift_micros FROM paper.book WHERE token_id = $1::text;
