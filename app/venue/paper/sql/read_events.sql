-- purpose: the user stream of one account after a cursor.
-- locks:   none.
-- index:   event_account.
-- fence:   none needed: see lock_accounts.
SELECT seq, payload::text AS payload
FROM paper.event
WHERE account = $1::text AND seq > $2::bigint
ORDER BY seq
LIMIT 500;
