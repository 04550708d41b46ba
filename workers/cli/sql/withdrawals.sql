-- purpose: withdrawals, newest first; one of them where a number is given.
-- locks:   none.
-- index:   primary key.
-- fence:   none; it only reads.

SELECT w.withdrawal_id, a.name AS account, w.state, w.amount_micros, w.destination, w.key, w.why, w.cause, w.asked_at,
       w.asked_by, w.asked_as AS operator, w.state_at,
       greatest(floor(extract(epoch FROM ledger.clock() - w.state_at)), 0)::bigint AS age_s,
       w.state IN ('DONE', 'COMPENSATED', 'CANCELLED') AS ended, w.needs_person_since IS NOT NULL AS needs_person,
       w.needs_person_why, w.attempts, w.last_deadline AS may_arrive_until, w.reference, b.treasury, b.hash,
       (SELECT count(*) FROM ledger.orders o WHERE o.account_id = w.account_id AND w.state IN ('STOPPING', 'DRAINING')
            AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')) AS open_orders
FROM ledger.withdrawal w JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.withdrawal_transfer b USING (account_id, withdrawal_id)
WHERE ($1::bigint IS NULL OR w.withdrawal_id = $1) AND ($2::text IS NULL OR a.name = $2)
  AND ($3::boolean OR w.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED'))
ORDER BY w.withdrawal_id DESC LIMIT 500
