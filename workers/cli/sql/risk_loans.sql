-- purpose: how the caps that accounts share are lent out.
-- locks:   none.
-- index:   as audit.loans.
-- fence:   none; it only reads.

SELECT l.scope, nullif(l.subject, '') AS subject, l.account, l.lent_cost_micros, l.used_cost_micros, l.lent_shares_micros, l.used_shares_micros
FROM audit.loans l
WHERE $1::text IS NULL OR l.account = $1
ORDER BY l.scope, l.subject, l.account
