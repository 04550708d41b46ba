-- purpose: which of these tokens have no book yet.
-- locks:   none.
-- index:   book_pkey.
-- fence:   none; upsert_book settles races.
SELECT n.token_id
FROM unnest($1::text[]) AS n (token_id)
WHERE NOT EXISTS (SELECT 1 FROM paper.book b WHERE b.token_id = n.token_id);
