-- purpose: the limits of markets of which most is used, fullest first.
-- locks:   none.
-- index:   as audit.risk.
-- fence:   none; it only reads.

SELECT r.account, r.market, r.slug, r.name, r.used, r.cap, r.used_ppm
FROM audit.risk r
WHERE r.scope = 'market' AND r.used > 0 AND ($1::text IS NULL OR r.account = $1)
ORDER BY r.used_ppm DESC, r.account, r.market, r.name LIMIT $2
