-- purpose: what is used of limits on totals: of accounts, groups, all together and all live accounts. Shared ones always.
-- locks:   none.
-- index:   as audit.risk.
-- fence:   none; it only reads.

SELECT r.scope, nullif(r.subject, '') AS subject, r.name, r.used, r.cap, r.used_ppm, r.lent
FROM audit.risk r
WHERE r.scope <> 'market' AND ($1::text IS NULL OR r.scope <> 'account' OR r.account = $1)
ORDER BY array_position(ARRAY['live', 'global', 'account', 'group'], r.scope), r.subject, r.name
