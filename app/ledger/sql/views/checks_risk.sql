-- purpose: recompute what risk counts: costs of positions, totals of accounts and groups, loans, the other side of entries.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   fill and reservation by account and market; balance_entry_moved; primary keys.
-- fence:   as checks_orders.sql.

CREATE FUNCTION audit._check_costs(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH moved AS (
        SELECT f.outcome, f.basis_micros AS basis,
            CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN f.size_micros ELSE 0 END AS bought,
            CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN f.cash_micros + f.fee_micros ELSE 0 END AS bought_cost,
            CASE WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.size_micros ELSE 0 END AS sold,
            CASE WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END AS sold_cost
        FROM ledger.fill f WHERE f.account_id = p_account_id AND f.market_id = p_market_id
        UNION ALL
        SELECT c.outcome, coalesce(b.basis_micros, 0), greatest(b.available_delta, 0), CASE WHEN b.available_delta > 0 THEN b.value_micros ELSE 0 END,
            greatest(-b.available_delta, 0), CASE WHEN b.available_delta < 0 THEN b.value_micros ELSE 0 END
        FROM ledger.outcome c JOIN ledger.balance_entry b ON b.account_id = p_account_id AND b.asset = c.token_id AND b.order_id IS NULL
        WHERE c.market_id = p_market_id),
    sums AS (
        SELECT i, coalesce(sum(w.bought), 0) AS bought, coalesce(sum(w.bought_cost), 0) AS bought_cost,
            coalesce(sum(w.sold), 0) AS sold, coalesce(sum(w.sold_cost), 0) AS sold_cost, coalesce(sum(w.basis), 0) AS basis
        FROM generate_series(1, 2) i LEFT JOIN moved w ON w.outcome + 1 = i GROUP BY i),
    e AS (SELECT * FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id),
    whole AS (
        SELECT (SELECT coalesce(sum(r.held_micros), 0) FROM ledger.reservation r
                WHERE r.account_id = p_account_id AND r.market_id = p_market_id AND r.side = 'BUY') AS held,
            (SELECT count(*) FROM ledger.orders o WHERE o.account_id = p_account_id AND o.market_id = p_market_id
             AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')) AS open)
    SELECT q.what, q.wanted::text, q.counted::text FROM (
        SELECT format('outcome %s, bought', s.i - 1) AS what, s.bought::numeric AS wanted, e.bought[s.i]::numeric AS counted FROM sums s CROSS JOIN e
        UNION ALL SELECT format('outcome %s, bought for', s.i - 1), s.bought_cost, e.bought_cost[s.i] FROM sums s CROSS JOIN e
        UNION ALL SELECT format('outcome %s, sold', s.i - 1), s.sold, e.sold[s.i] FROM sums s CROSS JOIN e
        UNION ALL SELECT format('outcome %s, sold for', s.i - 1), s.sold_cost, e.sold_cost[s.i] FROM sums s CROSS JOIN e
        UNION ALL SELECT format('outcome %s, what is held cost', s.i - 1), s.basis, e.basis[s.i] FROM sums s CROSS JOIN e
        UNION ALL SELECT format('outcome %s, nothing is held, and it cost', s.i - 1), 0, s.basis FROM sums s WHERE s.bought <= s.sold
        UNION ALL SELECT format('outcome %s, cost of what is held, at least', s.i - 1), 0, least(s.basis, 0) FROM sums s
        UNION ALL SELECT 'collateral held', w.held, e.held_cost FROM whole w CROSS JOIN e
        UNION ALL SELECT 'orders that have not ended', w.open, e.open_orders FROM whole w CROSS JOIN e
        UNION ALL SELECT 'at risk', w.held + b.cost, e.at_risk FROM whole w CROSS JOIN (SELECT sum(s.basis) AS cost FROM sums s) b CROSS JOIN e
        UNION ALL SELECT 'effective shares', greatest(ledger._effective(x, 1), 0) + greatest(ledger._effective(x, 2), 0), x.shares
        FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id) q
    WHERE q.wanted <> q.counted
$$;
COMMENT ON FUNCTION audit._check_costs(bigint, bigint) IS
    'What positions cost and brought, what is held, at risk and open: the sums over fills, movements, reservations and orders.';

CREATE FUNCTION audit._check_risk_totals(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT q.what, q.wanted::text, q.counted::text FROM (
        SELECT x.what, x.wanted, x.counted FROM ledger.account_state s
        CROSS JOIN LATERAL (SELECT coalesce(sum(e.at_risk), 0) AS at_risk, coalesce(sum(e.shares), 0) AS shares,
            coalesce(sum(e.open_orders), 0) AS open FROM ledger.exposure e WHERE e.account_id = s.account_id) e
        CROSS JOIN LATERAL (VALUES ('at risk', e.at_risk, s.at_risk::numeric), ('effective shares', e.shares, s.shares),
            ('orders that have not ended', e.open, s.open_orders)) x (what, wanted, counted)
        WHERE s.account_id = p_account_id
        UNION ALL
        SELECT format('group %s, %s', coalesce(g.group_key, e.group_key), x.what), x.wanted, x.counted
        FROM (SELECT e.group_key, sum(e.at_risk) AS at_risk, sum(e.shares) AS shares FROM ledger.exposure e
              WHERE e.account_id = p_account_id AND e.group_key IS NOT NULL GROUP BY e.group_key) e
        FULL JOIN (SELECT * FROM ledger.group_state x WHERE x.account_id = p_account_id) g ON g.group_key = e.group_key
        CROSS JOIN LATERAL (VALUES ('at risk', coalesce(e.at_risk, 0), coalesce(g.at_risk, 0)::numeric),
            ('effective shares', coalesce(e.shares, 0), coalesce(g.shares, 0))) x (what, wanted, counted)) q
    WHERE q.wanted <> q.counted
$$;
COMMENT ON FUNCTION audit._check_risk_totals(bigint) IS 'What account and groups have in use is the sum over their markets.';

CREATE FUNCTION audit._check_contra(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH entries AS MATERIALIZED (
        SELECT b.entry_seq, b.asset, b.contra, b.contra_delta, b.fee_delta,
            b.available_delta + b.locked_delta + b.contra_delta + b.fee_delta AS rest, b.order_id, b.cause, b.value_micros, b.basis_micros
        FROM ledger.balance_entry b WHERE b.account_id = p_account_id),
    sides AS (
        SELECT q.asset, q.contra, sum(q.amount) AS amount FROM (
            SELECT e.asset, e.contra, e.contra_delta AS amount FROM entries e
            UNION ALL SELECT e.asset, 'fees', e.fee_delta FROM entries e) q
        GROUP BY q.asset, q.contra HAVING sum(q.amount) <> 0)
    SELECT 'entry ' || e.entry_seq, 'its twin: a sum of zero', e.rest::text FROM entries e WHERE e.rest <> 0
    UNION ALL
    SELECT 'entry ' || e.entry_seq, x.wanted, e.contra FROM entries e
    CROSS JOIN LATERAL (SELECT CASE WHEN e.order_id IS NOT NULL THEN 'venue' WHEN e.cause LIKE 'withdraw%' THEN 'outside'
                               ELSE ledger._contra_of(e.cause) END) x (wanted)
    WHERE e.contra <> x.wanted
    UNION ALL
    -- The value of tokens that moved without a trade is held against the counters by the check of costs.
    SELECT 'entry ' || e.entry_seq, CASE WHEN e.value_micros IS NULL THEN 'the value of its tokens' ELSE 'no value' END,
        coalesce('value ' || e.value_micros, 'none') FROM entries e
    WHERE (e.order_id IS NULL AND e.asset <> 'collateral') <> (e.value_micros IS NOT NULL)
       OR (e.value_micros IS NULL) <> (e.basis_micros IS NULL)
    UNION ALL
    SELECT format('%s of %s', coalesce(s.contra, c.contra), coalesce(s.asset, c.asset)), coalesce(s.amount, 0)::text, coalesce(c.amount, 0)::text
    FROM sides s FULL JOIN (SELECT * FROM ledger.contra_balance x WHERE x.account_id = p_account_id AND x.amount <> 0) c
        ON c.asset = s.asset AND c.contra = s.contra
    WHERE coalesce(s.amount, 0) <> coalesce(c.amount, 0)
    UNION ALL
    SELECT 'all of ' || q.asset, 'a sum of zero', sum(q.amount)::text FROM (
        SELECT b.asset, b.available + b.locked AS amount FROM ledger.balance b WHERE b.account_id = p_account_id
        UNION ALL SELECT c.asset, c.amount FROM ledger.contra_balance c WHERE c.account_id = p_account_id) q
    GROUP BY q.asset HAVING sum(q.amount) <> 0
$$;
COMMENT ON FUNCTION audit._check_contra(bigint) IS
    'Double entry: every entry has its other side, the sides add up, and balances and other sides are zero together per asset.';

CREATE FUNCTION audit._check_breakers(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH last AS (
        SELECT DISTINCT ON (coalesce(j.market_id, 0), j.detail ->> 'kind') coalesce(j.market_id, 0) AS market_id,
            j.detail ->> 'kind' AS kind, j.event, j.detail, j.order_id
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.event IN ('BREAKER_OPENED', 'BREAKER_CLOSED', 'BREAKER_RESET')
        ORDER BY coalesce(j.market_id, 0), j.detail ->> 'kind', j.seq DESC)
    SELECT format('%s of %s', coalesce(l.kind, b.kind), coalesce(m.slug, m.condition_id, 'the account')),
        coalesce(CASE WHEN l.event = 'BREAKER_OPENED' THEN format('open until %s after %s', audit._time(l.detail ->> 'until'), l.detail ->> 'count') END, 'closed'),
        coalesce(format('open until %s after %s', b.until, b.count), 'closed')
    FROM last l FULL JOIN (SELECT * FROM ledger.breaker x WHERE x.account_id = p_account_id AND x.until IS NOT NULL) b
        ON b.market_id = l.market_id AND b.kind = l.kind
    LEFT JOIN ledger.market m ON m.market_id = coalesce(l.market_id, b.market_id)
    WHERE (l.event = 'BREAKER_OPENED', audit._time(l.detail ->> 'until'), l.detail ->> 'count')
        IS DISTINCT FROM (b.until IS NOT NULL, b.until, b.count::text)
      AND NOT (coalesce(l.event, '') <> 'BREAKER_OPENED' AND b.until IS NULL)
      AND NOT (l.event IS NULL AND audit._archived_between(b.changed_at, NULL))
$$;
COMMENT ON FUNCTION audit._check_breakers(bigint) IS 'A breaker is open exactly when the journal''s last word of it is that it opened.';

CREATE FUNCTION audit._check_loans()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT trim(trailing ' ' FROM format('pool %s %s', coalesce(p.scope, l.scope), coalesce(p.scope_id, l.scope_id))),
        format('%s and %s lent', coalesce(l.cost, 0), coalesce(l.shares, 0)),
        format('%s and %s lent', coalesce(p.lent_cost_micros, 0), coalesce(p.lent_shares_micros, 0))
    FROM ledger.pool p FULL JOIN (
        SELECT x.scope, x.scope_id, sum(x.cost_micros) AS cost, sum(x.shares_micros) AS shares FROM ledger.loan x GROUP BY 1, 2) l
        ON l.scope = p.scope AND l.scope_id = p.scope_id
    WHERE (coalesce(l.cost, 0), coalesce(l.shares, 0)) <> (coalesce(p.lent_cost_micros, 0)::numeric, coalesce(p.lent_shares_micros, 0)::numeric)
    UNION ALL
    SELECT trim(trailing ' ' FROM format('loan of %s from %s %s', a.name, p.scope, p.scope_id)),
        format('at least %s and %s, which are in use', u.cost, u.shares), format('%s and %s', coalesce(l.cost_micros, 0), coalesce(l.shares_micros, 0))
    FROM ledger.pool p CROSS JOIN ledger.account a
    CROSS JOIN LATERAL (
        SELECT CASE p.scope WHEN 'group' THEN g.at_risk ELSE s.at_risk END AS cost, CASE p.scope WHEN 'group' THEN g.shares ELSE s.shares END AS shares
        FROM ledger.account_state s LEFT JOIN ledger.group_state g ON g.account_id = s.account_id AND g.group_key = p.scope_id
        WHERE s.account_id = a.account_id) u
    LEFT JOIN ledger.loan l ON l.account_id = a.account_id AND l.scope = p.scope AND l.scope_id = p.scope_id
    CROSS JOIN LATERAL (SELECT t.max_cost_micros IS NOT NULL AS cost, t.max_shares_micros IS NOT NULL AS shares FROM ledger._totals(p.scope, p.scope_id) t) t
    WHERE (p.scope <> 'live' OR a.venue <> 'paper')
      AND (t.cost AND u.cost > coalesce(l.cost_micros, 0) OR t.shares AND u.shares > coalesce(l.shares_micros, 0))
$$;
COMMENT ON FUNCTION audit._check_loans() IS
    'What a pool lent is the sum of its loans, and every account''s use of a capped total lies within its loan.';

CREATE FUNCTION audit._check_total_limits()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH begin (scope, scope_id, name, value) AS (VALUES ('live', '', 'max_cost_micros', '500000000')),
    changes AS MATERIALIZED (
        SELECT c.scope, c.scope_id, c.name, c.change_id, c.before, c.after,
            CASE WHEN lag(c.change_id) OVER w IS NULL THEN b.value ELSE lag(c.after) OVER w END AS previous,
            lead(c.change_id) OVER w IS NULL AS is_last
        FROM ledger.limit_change c LEFT JOIN begin b ON b.scope = c.scope AND b.scope_id = c.scope_id AND b.name = c.name
        WHERE c.scope <> ''
        WINDOW w AS (PARTITION BY c.scope, c.scope_id, c.name ORDER BY c.change_id)),
    stands AS (
        SELECT t.scope, t.scope_id, v.key AS name, v.value FROM ledger.total_limits t
        CROSS JOIN LATERAL jsonb_each_text(to_jsonb(t) - 'scope' - 'scope_id') v),
    wanted AS (
        SELECT c.scope, c.scope_id, c.name, c.after AS value FROM changes c WHERE c.is_last
        UNION ALL
        SELECT b.* FROM begin b WHERE NOT EXISTS (SELECT FROM changes c WHERE c.scope = b.scope AND c.scope_id = b.scope_id AND c.name = b.name))
    SELECT trim(trailing ' ' FROM format('%s %s', x.scope, x.scope_id)) || ': ' || x.what, x.expected, x.found FROM (
        SELECT coalesce(w.scope, s.scope) AS scope, coalesce(w.scope_id, s.scope_id) AS scope_id, coalesce(w.name, s.name) AS what,
            coalesce(w.value, 'not set') AS expected, coalesce(s.value, 'not set') AS found
        FROM wanted w FULL JOIN stands s ON s.scope = w.scope AND s.scope_id = w.scope_id AND s.name = w.name
        WHERE w.value IS DISTINCT FROM s.value
        UNION ALL
        SELECT c.scope, c.scope_id, format('%s, change %s', c.name, c.change_id), 'from ' || coalesce(c.previous, 'not set'),
            'from ' || coalesce(c.before, 'not set')
        FROM changes c WHERE c.previous IS DISTINCT FROM c.before
        UNION ALL
        SELECT coalesce(w.scope, t.scope), coalesce(w.scope_id, t.scope_id), 'its row',
            CASE WHEN w.scope IS NULL THEN 'none' ELSE 'there' END, CASE WHEN w.scope IS NULL THEN 'there' ELSE 'none' END
        FROM (SELECT DISTINCT c.scope, c.scope_id FROM changes c
              UNION VALUES ('account', ''), ('group', ''), ('global', ''), ('live', '')) w
        FULL JOIN ledger.total_limits t ON t.scope = w.scope AND t.scope_id = w.scope_id
        WHERE w.scope IS NULL OR t.scope IS NULL
        UNION ALL
        SELECT c.scope, c.scope_id, format('%s, change %s', c.name, c.change_id), 'of a total, or of an account and a market', 'of both'
        FROM ledger.limit_change c
        WHERE c.scope = '' AND c.scope_id <> '' OR c.scope <> '' AND (c.account_id <> 0 OR c.market_id <> 0)) x
$$;
COMMENT ON FUNCTION audit._check_total_limits() IS 'Each limit on a total is what its last change says, and each change begins where the one before ended.';

CREATE FUNCTION audit._notice_open_breakers(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s of %s', b.kind, coalesce(m.slug, m.condition_id, 'the account')), 'closed',
        CASE WHEN b.until > ledger.clock() THEN format('open until %s after %s in a row: %s', b.until, b.count, b.why)
             ELSE format('half open since %s: %s', b.until, b.why) END
    FROM ledger.breaker b LEFT JOIN ledger.market m ON m.market_id = b.market_id
    WHERE b.account_id = p_account_id AND b.until IS NOT NULL
$$;
COMMENT ON FUNCTION audit._notice_open_breakers(bigint) IS 'Breakers that are open or wait for a probe.';
