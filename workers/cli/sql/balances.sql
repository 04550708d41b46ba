-- purpose: what accounts own: available and locked, collateral first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT a.name AS account, b.asset, m.condition_id AS market, m.slug, c.label AS outcome,
       b.available AS available_micros, b.locked AS locked_micros
FROM ledger.balance b
JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.outcome c ON c.token_id = b.asset
LEFT JOIN ledger.market m ON m.market_id = c.market_id
WHERE ($1::text IS NULL OR a.name = $1) AND (b.available <> 0 OR b.locked <> 0 OR b.asset = 'collateral')
ORDER BY a.name, b.asset = 'collateral' DESC, m.slug, c.outcome
