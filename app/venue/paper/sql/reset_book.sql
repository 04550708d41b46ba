-- purpose: a book starts anew from given levels, where it was not moved yet.
-- locks:   the book row, held since lock_books.
-- index:   book_pkey.
-- fence:   the row lock.
UPDATE paper.book SET shift_micros = 0, seq = seq + $2::bigint WHERE token_id = $1::text RETURNING seq;
