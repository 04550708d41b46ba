-- purpose: take the accounts about which events will be written, making their rows where missing.
-- locks:   account rows in the order of account (the callers hold book rows; nobody takes a book after an account).
-- index:   account_pkey.
-- fence:   the row lock until commit: an account's events become visible in the order of their numbers, so a reader
--          with a cursor misses none.
INSERT INTO paper.account AS a (account, events)
SELECT * FROM unnest($1::text[], $2::bigint[]) AS n (account, events)
ORDER BY n.account
ON CONFLICT (account) DO UPDATE SET events = a.events + excluded.events;
