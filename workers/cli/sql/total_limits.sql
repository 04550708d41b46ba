-- purpose: limits on totals as they are set, the general ones first.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT t.scope, a.name AS account, CASE t.scope WHEN 'group' THEN nullif(t.scope_id, '') END AS "group", NULL AS market, NULL AS slug,
       t.max_cost_micros, t.max_shares_micros, t.max_open_orders, t.changes_per_minute, t.max_daily_loss_micros,
       t.max_rolling_loss_micros, t.drawdown_from_micros, t.drawdown_to_micros
FROM ledger.total_limits t
LEFT JOIN ledger.account a ON t.scope = 'account' AND a.account_id::text = t.scope_id
ORDER BY array_position(ARRAY['live', 'global', 'group', 'account'], t.scope::text), t.scope_id
