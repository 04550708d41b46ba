-- purpose: which of the ledger's roles there are, and which of them this login may act as.
-- locks:   none.
-- index:   none.
-- fence:   none; it only reads.

SELECT w.name AS role, r.oid IS NOT NULL AS present, coalesce(r.rolcanlogin, false) AS can_log_in,
       coalesce(pg_has_role(session_user, r.oid, 'MEMBER'), false) AS ours
FROM unnest($1::text[]) w (name) LEFT JOIN pg_roles r ON r.rolname = w.name
