-- purpose: drop the levels of one book, before others take their place.
-- locks:   book_level rows of a book the caller holds.
-- index:   book_level_pkey.
-- fence:   the book row's lock.
DELETE FROM paper.book_level WHERE token_id = $1::text;
