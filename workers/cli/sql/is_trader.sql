-- purpose: whether a login may call the functions of a bot, once an account is granted to it.
-- locks:   none.
-- index:   pg_authid by name.
-- fence:   none; it only reads.

SELECT EXISTS (SELECT FROM pg_roles t WHERE t.rolname = $2 AND pg_has_role(r.oid, t.oid, 'MEMBER')) AS is_trader
FROM pg_roles r WHERE r.rolname = $1
