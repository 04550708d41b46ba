-- purpose: who changed which limit, newest first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT c.changed_at, c.changed_by, CASE c.scope WHEN '' THEN 'market' ELSE c.scope END AS scope, a.name AS account,
       CASE c.scope WHEN 'group' THEN nullif(c.scope_id, '') END AS "group", m.condition_id AS market, m.slug, c.name,
       c.before, c.after, c.why
FROM ledger.limit_change c
LEFT JOIN ledger.account a ON a.account_id = c.account_id OR c.scope = 'account' AND a.account_id::text = c.scope_id
LEFT JOIN ledger.market m ON m.market_id = c.market_id
ORDER BY c.change_id DESC LIMIT $1
