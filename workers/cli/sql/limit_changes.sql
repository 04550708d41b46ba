-- purpose: who changed which limit, newest first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT c.changed_at, c.changed_by, a.name AS account, m.condition_id AS market, m.slug, c.name, c.before, c.after, c.why
FROM ledger.limit_change c
LEFT JOIN ledger.account a ON a.account_id = c.account_id
LEFT JOIN ledger.market m ON m.market_id = c.market_id
ORDER BY c.change_id DESC LIMIT $1
