-- purpose: profit and loss by account, market, leg and strategy, marks of equity over time, and how near the loss limits are.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   fill_of_market, orders, book, limits and equity_mark by primary key.
-- fence:   as audit.sql.
-- Cost and proceeds are after fees. A leg is an outcome of a market; its counters are the ledger's own, those of a strategy
-- are sums over the fills of its orders. A BUY counts until it has failed, a SELL once it is confirmed.

CREATE VIEW audit.pnl AS
SELECT a.name AS account, m.condition_id AS market, m.slug, e.outcome, c.label AS outcome_label,
    e.bought AS bought_micros, e.cost AS cost_micros, e.sold AS sold_micros, e.proceeds AS proceeds_micros,
    f.fees AS fees_micros, e.bought - e.sold AS net_shares_micros,
    CASE WHEN e.bought > e.sold THEN floor(e.basis::numeric * 1000000 / (e.bought - e.sold)) END::bigint AS average_cost_micros,
    e.cost - e.basis AS cost_of_sold_micros, e.proceeds - (e.cost - e.basis) AS realized_micros,
    e.proceeds - e.cost AS cash_flow_micros, f.provisional AS provisional_fills,
    e.basis AS basis_micros, k.middle AS mark_micros, k.at AS marked_at,
    CASE WHEN e.bought = e.sold THEN 'closed' WHEN k.middle IS NULL THEN 'cost'
         WHEN k.at <= ledger.clock() - make_interval(secs => l.age_ms / 1000.0) OR NOT k.both THEN 'stale book' ELSE 'book' END AS marked_by,
    v.value AS value_micros, v.value - e.basis AS unrealized_micros, e.proceeds - e.cost + v.value AS total_micros,
    e.account_id, e.market_id
FROM (SELECT x.account_id, x.market_id, (i.n - 1)::smallint AS outcome, x.bought[i.n] AS bought, x.bought_cost[i.n] AS cost,
          x.sold[i.n] AS sold, x.sold_cost[i.n] AS proceeds, x.basis[i.n] AS basis
      FROM ledger.exposure x CROSS JOIN (VALUES (1), (2)) i (n)
      WHERE x.bought[i.n] <> 0 OR x.sold[i.n] <> 0) e
JOIN ledger.account a ON a.account_id = e.account_id
JOIN ledger.market m ON m.market_id = e.market_id
LEFT JOIN ledger.outcome c ON c.market_id = e.market_id AND c.outcome = e.outcome
CROSS JOIN LATERAL (
    SELECT coalesce(sum(q.fee_micros) FILTER (WHERE q.side = 'BUY' AND q.settlement <> 'failed'
               OR q.side = 'SELL' AND q.settlement = 'confirmed'), 0)::bigint AS fees,
        count(*) FILTER (WHERE q.settlement = 'provisional') AS provisional
    FROM ledger.fill q WHERE q.account_id = e.account_id AND q.market_id = e.market_id AND q.outcome = e.outcome) f
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT x.book_age_ms FROM ledger.limits x WHERE x.account_id = e.account_id AND x.market_id = e.market_id),
        (SELECT x.book_age_ms FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = e.market_id),
        (SELECT x.book_age_ms FROM ledger.limits x WHERE x.account_id = e.account_id AND x.market_id = 0),
        (SELECT x.book_age_ms FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = 0), 30000) AS age_ms) l
LEFT JOIN LATERAL (
    SELECT q.mark_micros AS middle, q.at, q.bids <> '{}' AND q.asks <> '{}' AS both FROM ledger.book q
    WHERE q.market_id = e.market_id AND q.outcome = e.outcome) k ON true
CROSS JOIN LATERAL (
    SELECT CASE WHEN k.middle IS NULL THEN e.basis
        ELSE floor((e.bought - e.sold)::numeric * k.middle / 1000000)::bigint END AS value) v;
COMMENT ON VIEW audit.pnl IS
    'Profit per account, market and leg, after fees, at the average cost of what was held when it was sold: realized, and unrealized by what '
    'the last good book says a share is worth (marked_by: book, or stale book where it is old or has not both sides), or at cost where there is none.';

CREATE VIEW audit.pnl_by_strategy AS
WITH strategy AS (
    SELECT q.account_id, q.market_id, q.outcome, q.strategy, q.bought, q.cost, q.sold, q.proceeds, q.fees,
        CASE WHEN q.bought <= 0 THEN 0
             ELSE ceil(q.cost::numeric * greatest(q.bought - q.sold, 0) / q.bought)::bigint END AS basis,
        -- Without a book at what a share of the leg cost: what one strategy bought another may have sold.
        floor((q.bought - q.sold)::numeric * coalesce(p.mark_micros / 1000000.0, p.cost_micros::numeric / nullif(p.bought_micros, 0), 0))
            ::bigint AS value
    FROM (
        SELECT f.account_id, f.market_id, f.outcome, coalesce(o.strategy, '') AS strategy,
            coalesce(sum(f.size_micros) FILTER (WHERE f.side = 'BUY'), 0)::bigint AS bought,
            coalesce(sum(f.cash_micros + f.fee_micros) FILTER (WHERE f.side = 'BUY'), 0)::bigint AS cost,
            coalesce(sum(f.size_micros) FILTER (WHERE f.side = 'SELL'), 0)::bigint AS sold,
            coalesce(sum(f.cash_micros - f.fee_micros) FILTER (WHERE f.side = 'SELL'), 0)::bigint AS proceeds,
            coalesce(sum(f.fee_micros), 0)::bigint AS fees
        FROM ledger.fill f LEFT JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
        WHERE f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
        GROUP BY f.account_id, f.market_id, f.outcome, coalesce(o.strategy, '')) q
    JOIN audit.pnl p ON p.account_id = q.account_id AND p.market_id = q.market_id AND p.outcome = q.outcome),
rest AS (
    SELECT p.account_id, p.market_id, p.outcome, p.bought_micros - coalesce(sum(s.bought), 0) AS bought,
        p.cost_micros - coalesce(sum(s.cost), 0) AS cost, p.sold_micros - coalesce(sum(s.sold), 0) AS sold,
        p.proceeds_micros - coalesce(sum(s.proceeds), 0) AS proceeds, p.fees_micros - coalesce(sum(s.fees), 0) AS fees,
        p.basis_micros - coalesce(sum(s.basis), 0) AS basis, p.value_micros - coalesce(sum(s.value), 0) AS value
    FROM audit.pnl p LEFT JOIN strategy s ON s.account_id = p.account_id AND s.market_id = p.market_id AND s.outcome = p.outcome
    GROUP BY p.account_id, p.market_id, p.outcome, p.bought_micros, p.cost_micros, p.sold_micros, p.proceeds_micros, p.fees_micros,
        p.basis_micros, p.value_micros)
SELECT p.account, p.market, p.slug, p.outcome, p.outcome_label, s.source, s.strategy, s.bought AS bought_micros,
    s.cost AS cost_micros, s.sold AS sold_micros, s.proceeds AS proceeds_micros, s.fees AS fees_micros,
    s.bought - s.sold AS net_shares_micros, s.basis AS basis_micros, s.value AS value_micros,
    s.proceeds - (s.cost - s.basis) AS realized_micros, s.value - s.basis AS unrealized_micros,
    s.proceeds - s.cost + s.value AS total_micros, p.marked_by, p.account_id, p.market_id
FROM (SELECT x.account_id, x.market_id, x.outcome, 'fills'::text AS source, x.strategy, x.bought, x.cost, x.sold, x.proceeds, x.fees,
          x.basis, x.value FROM strategy x
      UNION ALL
      SELECT r.account_id, r.market_id, r.outcome, 'rest', NULL, r.bought::bigint, r.cost::bigint, r.sold::bigint, r.proceeds::bigint,
          r.fees::bigint, r.basis::bigint, r.value::bigint
      FROM rest r WHERE (r.bought, r.cost, r.sold, r.proceeds, r.fees, r.basis, r.value) <> (0, 0, 0, 0, 0, 0, 0)) s
JOIN audit.pnl p ON p.account_id = s.account_id AND p.market_id = s.market_id AND p.outcome = s.outcome;
COMMENT ON VIEW audit.pnl_by_strategy IS
    'Each leg by the strategies whose orders filled (source fills), each at the average cost of all its own buys; and what is left of '
    'the leg (source rest): what came and went without a trade, what those averages differ from the leg''s, and micros of rounding. '
    'The sum is the leg.';

CREATE VIEW audit.pnl_by_account AS
SELECT p.account, count(DISTINCT p.market_id) AS markets, sum(p.cost_micros)::bigint AS cost_micros,
    sum(p.proceeds_micros)::bigint AS proceeds_micros, sum(p.fees_micros)::bigint AS fees_micros,
    sum(p.basis_micros)::bigint AS basis_micros, sum(p.value_micros)::bigint AS value_micros,
    sum(p.realized_micros)::bigint AS realized_micros, sum(p.unrealized_micros)::bigint AS unrealized_micros,
    sum(p.total_micros)::bigint AS total_micros,
    count(DISTINCT p.market_id) FILTER (WHERE p.marked_by IN ('cost', 'stale book')) AS stale_markets, p.account_id
FROM audit.pnl p GROUP BY p.account, p.account_id;
COMMENT ON VIEW audit.pnl_by_account IS 'audit.pnl summed up per account. total_micros is its equity: what trading has brought so far.';

CREATE VIEW audit.equity AS
SELECT a.name AS account, q.at, q.equity_micros, q.realised_micros AS realized_micros, q.unrealised_micros AS unrealized_micros,
    q.fees_micros, q.stale_markets
FROM ledger.equity_mark q JOIN ledger.account a ON a.account_id = q.account_id
UNION ALL
SELECT NULL, t.at, t.equity_micros, NULL, NULL, NULL, NULL FROM ledger.total_mark t;
COMMENT ON VIEW audit.equity IS
    'Equity over time, per account and (account NULL) of all together: a row per minute in which it changed, and one at midnight UTC. '
    'A value stands until the next one.';

CREATE VIEW audit.losses AS
SELECT s.scope, s.account, n.at, n.equity_micros, d.equity_micros - n.equity_micros AS daily_loss_micros,
    p.peak - n.equity_micros AS rolling_loss_micros, s.max_daily AS max_daily_loss_micros, s.max_rolling AS max_rolling_loss_micros,
    s.size_factor_ppm, w.daily AS told_daily_micros, w.rolling AS told_rolling_micros
FROM (
    SELECT 'account'::text AS scope, a.name AS account, a.account_id, a.account_id::text AS scope_id, x.size_factor_ppm,
        coalesce(t.max_daily_loss_micros, u.max_daily_loss_micros) AS max_daily,
        coalesce(t.max_rolling_loss_micros, u.max_rolling_loss_micros) AS max_rolling
    FROM ledger.account a JOIN ledger.account_state x ON x.account_id = a.account_id
    LEFT JOIN ledger.total_limits t ON t.scope = 'account' AND t.scope_id = a.account_id::text
    LEFT JOIN ledger.total_limits u ON u.scope = 'account' AND u.scope_id = ''
    UNION ALL
    SELECT 'global', NULL, NULL, '', NULL, t.max_daily_loss_micros, t.max_rolling_loss_micros
    FROM ledger.total_limits t WHERE t.scope = 'global' AND t.scope_id = '') s
CROSS JOIN LATERAL (
    SELECT date_trunc('day', ledger.clock(), 'UTC') AS midnight, ledger.clock() - interval '24 hours' AS yesterday) c
LEFT JOIN LATERAL (
    SELECT q.at, q.equity_micros FROM ledger.equity_mark q WHERE q.account_id = s.account_id
    UNION ALL SELECT q.at, q.equity_micros FROM ledger.total_mark q WHERE s.scope = 'global'
    ORDER BY at DESC LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT q.equity_micros FROM ledger.equity_mark q WHERE q.account_id = s.account_id AND q.at = c.midnight
    UNION ALL SELECT q.equity_micros FROM ledger.total_mark q WHERE s.scope = 'global' AND q.at = c.midnight) d ON true
LEFT JOIN LATERAL (
    SELECT max(q.equity_micros) AS peak FROM (
        SELECT x.at, x.equity_micros FROM ledger.equity_mark x WHERE x.account_id = s.account_id
          AND x.at >= coalesce((SELECT max(y.at) FROM ledger.equity_mark y WHERE y.account_id = s.account_id AND y.at <= c.yesterday), '-infinity')
        UNION ALL
        SELECT x.at, x.equity_micros FROM ledger.total_mark x WHERE s.scope = 'global'
          AND x.at >= coalesce((SELECT max(y.at) FROM ledger.total_mark y WHERE y.at <= c.yesterday), '-infinity')) q) p ON true
LEFT JOIN LATERAL (
    SELECT max(x.told_micros) FILTER (WHERE x.kind = 'DAILY_LOSS' AND x.told_at >= c.midnight) AS daily,
        max(x.told_micros) FILTER (WHERE x.kind = 'ROLLING_LOSS' AND x.told_at >= c.yesterday) AS rolling
    FROM ledger.loss_watch x WHERE x.scope = s.scope AND x.scope_id = s.scope_id) w ON true;
COMMENT ON VIEW audit.losses IS
    'How near the loss limits are, by the last mark: losses since midnight UTC and from the highest point of 24 hours, the limits, '
    'how much of the largest order drawdown leaves, and the losses that were told by a halt.';

CREATE FUNCTION audit._check_pnl(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT 'net of all trades', q.net::text, s.traded_net::text
    FROM ledger.account_state s CROSS JOIN (
        SELECT coalesce(sum(e.sold_cost[1] + e.sold_cost[2] - e.bought_cost[1] - e.bought_cost[2]), 0) AS net
        FROM ledger.exposure e WHERE e.account_id = p_account_id) q
    WHERE s.account_id = p_account_id AND s.traded_net <> q.net
$$;
COMMENT ON FUNCTION audit._check_pnl(bigint) IS
    'What the account''s trading brought and cost is the sum over its markets: profit is counted from there.';

CREATE FUNCTION audit._check_liquidity(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('fill %s of order %s', f.trade_id, f.order_id), format('%s by %s', w.liquidity, w.liquidity_source),
        format('%s by %s', f.liquidity, f.liquidity_source)
    FROM ledger.fill f JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
    CROSS JOIN LATERAL ledger._classified(f, o) w
    WHERE f.account_id = p_account_id AND f.market_id = p_market_id
      AND (f.liquidity, f.liquidity_source) IS DISTINCT FROM (w.liquidity, w.liquidity_source)
    UNION ALL
    SELECT format('order %s', o.order_id), format('crossed: %s', coalesce(j.detail ->> 'crossed', 'not known')),
        format('crossed: %s', coalesce(o.crossed::text, 'not known'))
    FROM ledger.orders o JOIN ledger.journal j ON j.account_id = o.account_id AND j.order_id = o.order_id AND j.event = 'RESERVE'
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND o.crossed IS DISTINCT FROM (j.detail ->> 'crossed')::boolean
$$;
COMMENT ON FUNCTION audit._check_liquidity(bigint, bigint) IS
    'Each fill made or took liquidity by the rule, and each order crossed the book as its journal says.';
