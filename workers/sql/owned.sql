-- purpose: what our rows say an account owns of these assets, what of it is on its way, and whether it was opened before.
-- locks:   none.
-- index:   balance by primary key; fill_unsettled; reservation_standing; balance_entry_moved; outcome by token.
-- fence:   none; a snapshot.

SELECT t.asset, m.condition_id AS market, m.slug, c.label AS outcome, t.asset = 'collateral' OR c.token_id IS NOT NULL AS known,
       coalesce(b.available + b.locked, 0)::bigint AS ours_micros,
       (EXISTS (SELECT FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id)
                WHERE f.account_id = a.account_id AND f.settlement = 'provisional'
                  AND (t.asset = 'collateral' OR o.token_id = t.asset))
        OR EXISTS (SELECT FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id)
                   -- What stands may have filled unseen.
                   WHERE r.account_id = a.account_id AND r.phase <> 'released'
                     AND (t.asset = 'collateral' OR o.token_id = t.asset))) AS on_its_way,
       EXISTS (SELECT FROM ledger.balance_entry e WHERE e.account_id = a.account_id AND e.asset = t.asset
               AND e.order_id IS NULL AND e.cause = 'opening') AS opened
FROM unnest($2::text[]) t (asset)
CROSS JOIN (SELECT x.account_id FROM ledger.account x WHERE x.name = $1) a
LEFT JOIN ledger.balance b ON b.account_id = a.account_id AND b.asset = t.asset
LEFT JOIN ledger.outcome c ON c.token_id = t.asset
LEFT JOIN ledger.market m ON m.market_id = c.market_id
ORDER BY t.asset = 'collateral' DESC, m.slug, c.outcome, t.asset
