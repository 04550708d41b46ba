-- purpose: on which day an account was opened, and up to which day its rewards were read, as days since 1970.
-- locks:   none.
-- index:   account by name, cursor by primary key.
-- fence:   none; it only reads.

SELECT floor(extract(epoch FROM a.created_at) / 86400)::bigint AS opened, coalesce(c.position, 0) AS read_to
FROM ledger.account a LEFT JOIN ledger.cursor c ON c.account_id = a.account_id AND c.name = 'rewards'
WHERE a.name = $1
