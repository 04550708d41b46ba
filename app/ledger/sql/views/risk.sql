-- purpose: risk as it stands, for people and scripts: what is used of every limit, totals, loans, breakers, books, other sides.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   exposure, account_state, group_state, loan, pool, breaker, book, limits and total_limits by primary key.
-- fence:   as audit.sql.

CREATE VIEW audit.total_limits AS
SELECT t.scope, CASE t.scope WHEN 'account' THEN coalesce(a.name, t.scope_id) ELSE t.scope_id END AS subject,
    t.scope IN ('account', 'group') AND t.scope_id = '' AS is_default, t.max_cost_micros, t.max_shares_micros, t.max_open_orders,
    t.changes_per_minute, t.max_daily_loss_micros, t.max_rolling_loss_micros, t.drawdown_from_micros, t.drawdown_to_micros
FROM ledger.total_limits t LEFT JOIN ledger.account a ON t.scope = 'account' AND a.account_id::text = t.scope_id;
COMMENT ON VIEW audit.total_limits IS
    'Limits on totals as they are set: of accounts, groups, all together (global) and all live accounts (live). A default holds '
    'where the account or group has no value of its own; NULL there means no limit.';

CREATE VIEW audit.loans AS
SELECT p.scope, p.scope_id AS subject, a.name AS account, coalesce(l.cost_micros, 0) AS lent_cost_micros, u.cost AS used_cost_micros,
    coalesce(l.shares_micros, 0) AS lent_shares_micros, u.shares AS used_shares_micros,
    p.lent_cost_micros AS pool_cost_micros, p.lent_shares_micros AS pool_shares_micros
FROM ledger.pool p
CROSS JOIN ledger.account a
LEFT JOIN ledger.loan l ON l.account_id = a.account_id AND l.scope = p.scope AND l.scope_id = p.scope_id
LEFT JOIN ledger.account_state s ON s.account_id = a.account_id
LEFT JOIN ledger.group_state g ON g.account_id = a.account_id AND g.group_key = p.scope_id AND p.scope = 'group'
CROSS JOIN LATERAL (
    SELECT greatest(CASE p.scope WHEN 'group' THEN coalesce(g.at_risk, 0) ELSE coalesce(s.at_risk, 0) END, 0) AS cost,
        greatest(CASE p.scope WHEN 'group' THEN coalesce(g.shares, 0) ELSE coalesce(s.shares, 0) END, 0) AS shares) u
WHERE (p.scope <> 'live' OR a.venue <> 'paper') AND (l.account_id IS NOT NULL OR u.cost <> 0 OR u.shares <> 0);
COMMENT ON VIEW audit.loans IS
    'How the caps that accounts share are lent out: what each was lent and uses of it, and what the pool has lent in all. What is '
    'lent and not used goes back to whoever asks.';

CREATE VIEW audit.breakers AS
SELECT a.name AS account, m.condition_id AS market, m.slug, b.kind,
    CASE WHEN b.until > ledger.clock() THEN 'open' WHEN b.until IS NOT NULL THEN 'half open'
         WHEN b.slow_until > ledger.clock() THEN 'slowed' ELSE 'closed' END AS state,
    b.count, b.until, b.slow_until, (SELECT o.order_id FROM ledger.orders o WHERE o.account_id = b.account_id
        AND o.order_id = b.probe_order_id AND o.state IN ('SENDING', 'UNKNOWN')) AS probe_order_id,
    b.why, b.changed_at, b.account_id, nullif(b.market_id, 0) AS market_id
FROM ledger.breaker b
JOIN ledger.account a ON a.account_id = b.account_id
LEFT JOIN ledger.market m ON m.market_id = b.market_id;
COMMENT ON VIEW audit.breakers IS
    'Breakers that ever counted a failure: open (nothing is placed until then), half open (one order goes as a probe), slowed (half '
    'as many a minute) or closed. market NULL: for the whole account, the venue''s own faults and credentials it refuses. '
    'Nothing of it stops a cancel.';

CREATE VIEW audit.books AS
SELECT m.condition_id AS market, m.slug, b.outcome, c.label AS outcome_label, c.token_id, b.bids[1] AS best_bid_micros,
    b.asks[1] AS best_ask_micros, coalesce((b.bids[1] + b.asks[1]) / 2, b.bids[1], b.asks[1]) AS middle_micros,
    cardinality(b.bids) / 2 AS bid_levels, cardinality(b.asks) / 2 AS ask_levels, b.at,
    floor(extract(epoch FROM ledger.clock() - b.at) * 1000)::bigint AS age_ms, b.market_id
FROM ledger.book b
JOIN ledger.market m ON m.market_id = b.market_id
LEFT JOIN ledger.outcome c ON c.market_id = b.market_id AND c.outcome = b.outcome;
COMMENT ON VIEW audit.books IS 'The last good book of each outcome: best prices, middle and age. Collar, slippage and marks go by it.';

CREATE VIEW audit.contra AS
SELECT a.name AS account, c.asset, m.slug, o.label AS outcome_label, c.contra, c.amount AS amount_micros
FROM ledger.contra_balance c
JOIN ledger.account a ON a.account_id = c.account_id
LEFT JOIN ledger.outcome o ON o.token_id = c.asset
LEFT JOIN ledger.market m ON m.market_id = o.market_id;
COMMENT ON VIEW audit.contra IS
    'The other side of the balances: counterparties (venue), fees, deposits and transfers (outside), split and redemption (chain), '
    'corrections. With audit.balances the sum is zero for each asset.';

CREATE VIEW audit.risk AS
WITH totals AS (
    SELECT 'account'::text AS scope, a.name AS subject, a.name AS account, s.at_risk AS cost, s.shares, s.open_orders,
        s.change_tokens, s.change_tokens_at, NULL::bigint AS lent_cost, NULL::bigint AS lent_shares,
        coalesce(t.max_cost_micros, d.max_cost_micros) AS max_cost, coalesce(t.max_shares_micros, d.max_shares_micros) AS max_shares,
        coalesce(t.max_open_orders, d.max_open_orders) AS max_open, coalesce(t.changes_per_minute, d.changes_per_minute) AS changes,
        coalesce(t.drawdown_to_micros, d.drawdown_to_micros) AS drawdown_to,
        (SELECT max(q.equity_micros) - (SELECT y.equity_micros FROM ledger.equity_mark y WHERE y.account_id = s.account_id
                                        ORDER BY y.at DESC LIMIT 1)
         FROM ledger.equity_mark q WHERE q.account_id = s.account_id) AS drawdown
    FROM ledger.account_state s JOIN ledger.account a ON a.account_id = s.account_id
    LEFT JOIN ledger.total_limits t ON t.scope = 'account' AND t.scope_id = a.account_id::text
    LEFT JOIN ledger.total_limits d ON d.scope = 'account' AND d.scope_id = ''
    UNION ALL
    SELECT 'group', g.group_key, NULL, g.cost, g.shares, NULL, NULL, NULL, p.lent_cost_micros, p.lent_shares_micros,
        coalesce(t.max_cost_micros, d.max_cost_micros), coalesce(t.max_shares_micros, d.max_shares_micros), NULL, NULL, NULL, NULL
    FROM (SELECT x.group_key, sum(greatest(x.at_risk, 0))::bigint AS cost, sum(greatest(x.shares, 0))::bigint AS shares
          FROM ledger.group_state x GROUP BY x.group_key) g
    LEFT JOIN ledger.total_limits t ON t.scope = 'group' AND t.scope_id = g.group_key
    LEFT JOIN ledger.total_limits d ON d.scope = 'group' AND d.scope_id = ''
    LEFT JOIN ledger.pool p ON p.scope = 'group' AND p.scope_id = g.group_key
    UNION ALL
    SELECT t.scope, '', NULL, u.cost, u.shares, NULL, NULL, NULL, p.lent_cost_micros, p.lent_shares_micros, t.max_cost_micros,
        t.max_shares_micros, NULL, NULL, NULL, NULL
    FROM ledger.total_limits t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(greatest(s.at_risk, 0)), 0)::bigint AS cost, coalesce(sum(greatest(s.shares, 0)), 0)::bigint AS shares
        FROM ledger.account_state s JOIN ledger.account a ON a.account_id = s.account_id
        WHERE t.scope = 'global' OR a.venue <> 'paper') u
    LEFT JOIN ledger.pool p ON p.scope = t.scope AND p.scope_id = ''
    WHERE t.scope IN ('global', 'live')),
lanes AS (
    SELECT e.account, e.market, e.slug, e.group_key, max(e.effective_micros) AS outcome, max(e.market_effective_micros) AS both_outcomes,
        max(e.effective_micros) - min(e.effective_micros) AS imbalance, max(e.at_risk_micros) AS at_risk, max(e.open_orders) AS open_orders,
        e.account_id, e.market_id
    FROM audit.exposure e GROUP BY e.account, e.market, e.slug, e.group_key, e.account_id, e.market_id),
rows AS (
    SELECT t.scope, t.subject, t.account, NULL::text AS market, NULL::text AS slug, x.name, x.used, x.cap, x.lent
    FROM totals t CROSS JOIN LATERAL (VALUES
        ('max_cost_micros', t.cost, t.max_cost, t.lent_cost), ('max_shares_micros', t.shares, t.max_shares, t.lent_shares),
        ('max_open_orders', t.open_orders, t.max_open, NULL),
        ('changes_per_minute', CASE WHEN t.changes IS NOT NULL THEN t.changes - least(t.changes, coalesce(
            floor((t.change_tokens + greatest(extract(epoch FROM ledger.clock() - t.change_tokens_at), 0) * t.changes / 60 * 1000000) / 1000000)
            ::bigint, t.changes)) END, t.changes, NULL),
        ('drawdown_to_micros', t.drawdown, t.drawdown_to, NULL)) x (name, used, cap, lent)
    WHERE x.cap IS NOT NULL OR x.name IN ('max_cost_micros', 'max_shares_micros')
    UNION ALL
    SELECT l.scope, coalesce(l.account, ''), l.account, NULL, NULL, x.name, x.used, x.cap, NULL
    FROM audit.losses l CROSS JOIN LATERAL (VALUES
        ('max_daily_loss_micros', greatest(l.daily_loss_micros, 0), l.max_daily_loss_micros),
        ('max_rolling_loss_micros', greatest(l.rolling_loss_micros, 0), l.max_rolling_loss_micros)) x (name, used, cap)
    WHERE x.cap IS NOT NULL
    UNION ALL
    SELECT 'market', coalesce(e.slug, e.market), e.account, e.market, e.slug, x.name, x.used, x.cap, NULL
    FROM lanes e JOIN audit.limits l ON l.account_id = e.account_id AND l.market_id = e.market_id
    CROSS JOIN LATERAL (VALUES
        ('max_outcome_micros', e.outcome, l.max_outcome_micros), ('max_market_micros', e.both_outcomes, l.max_market_micros),
        ('max_market_cost_micros', e.at_risk, l.max_market_cost_micros), ('max_imbalance_micros', e.imbalance, l.max_imbalance_micros),
        ('max_open_orders', e.open_orders, l.max_open_orders)) x (name, used, cap)
    WHERE x.cap IS NOT NULL)
SELECT r.scope, r.subject, r.account, r.market, r.slug, r.name, r.used, r.cap,
    CASE WHEN r.cap > 0 THEN least(floor(r.used::numeric * 1000000 / r.cap), 1000000000)::bigint
         WHEN r.used > 0 THEN 1000000000 WHEN r.cap = 0 THEN 1000000 END AS used_ppm, r.lent
FROM rows r;
COMMENT ON VIEW audit.risk IS
    'What is used of every limit that is in force, by scope (market, account, group, global, live). used_ppm: of the cap, in millionths; '
    'lent: what the accounts that share the cap were lent of it. What is at risk is shown without a cap too.';
