-- purpose: withdrawals, newest first; one of them where a number is given.
-- locks:   none.
-- index:   primary key.
-- fence:   none; it only reads.

SELECT * FROM audit.withdrawals w
WHERE ($1::bigint IS NULL OR w.withdrawal_id = $1) AND ($2::text IS NULL OR w.account = $2) AND ($3::boolean OR NOT w.ended)
ORDER BY w.withdrawal_id DESC LIMIT 500
