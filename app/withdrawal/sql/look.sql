-- purpose: what became of a transfer; one whose time has come is carried out by the look.
-- locks:   the transfer row.
-- index:   transfer_pkey.
-- fence:   a state that is final stays.
UPDATE paper.transfer t SET state = CASE WHEN t.state = 'PENDING' AND t.due_ms <= $2::bigint THEN 'DONE' ELSE t.state END
WHERE t.hash = $1::text
RETURNING t.state, t.account, t.amount_micros;
