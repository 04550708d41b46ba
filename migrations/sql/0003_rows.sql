INSERT INTO ledger.total_limits (scope, scope_id, max_cost_micros) VALUES
    ('account', '', NULL), ('group', '', NULL), ('global', '', NULL), ('live', '', 500000000);
INSERT INTO ledger.group_state (account_id, group_key, at_risk, shares)
SELECT e.account_id, e.group_key, sum(e.at_risk), sum(e.shares) FROM ledger.exposure e
WHERE e.group_key IS NOT NULL GROUP BY e.account_id, e.group_key;
INSERT INTO ledger.loan (account_id, scope, scope_id, cost_micros, shares_micros)
SELECT s.account_id, 'live', '', s.at_risk, s.shares FROM ledger.account_state s JOIN ledger.account a USING (account_id)
WHERE a.venue <> 'paper';
INSERT INTO ledger.pool (scope, scope_id, lent_cost_micros, lent_shares_micros)
SELECT l.scope, l.scope_id, sum(l.cost_micros), sum(l.shares_micros) FROM ledger.loan l GROUP BY l.scope, l.scope_id;
