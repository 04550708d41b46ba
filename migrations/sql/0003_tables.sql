-- Limits of more kinds.
ALTER TABLE ledger.limits
    ADD COLUMN max_order_micros bigint CHECK (max_order_micros >= 0),
    ADD COLUMN max_order_cost_micros bigint CHECK (max_order_cost_micros >= 0),
    ADD COLUMN max_market_cost_micros bigint CHECK (max_market_cost_micros >= 0),
    ADD COLUMN max_imbalance_micros bigint CHECK (max_imbalance_micros >= 0),
    ADD COLUMN max_open_orders integer CHECK (max_open_orders >= 0),
    ADD COLUMN cooldown_ms integer CHECK (cooldown_ms BETWEEN 0 AND 86400000),
    ADD COLUMN changes_per_minute integer CHECK (changes_per_minute BETWEEN 0 AND 600),
    ADD COLUMN collar_micros bigint CHECK (collar_micros BETWEEN 0 AND 1000000),
    ADD COLUMN max_slippage_bps integer CHECK (max_slippage_bps BETWEEN 0 AND 1000000),
    ADD COLUMN book_age_ms integer CHECK (book_age_ms BETWEEN 1 AND 86400000),
    ADD COLUMN self_match_allowed boolean,
    ADD COLUMN duplicate_window_ms integer CHECK (duplicate_window_ms BETWEEN 0 AND 86400000),
    ADD COLUMN duplicate_refused boolean,
    ADD COLUMN open_buffer_ms bigint CHECK (open_buffer_ms BETWEEN 0 AND 31536000000),
    ADD COLUMN close_buffer_ms bigint CHECK (close_buffer_ms BETWEEN 0 AND 31536000000),
    ADD COLUMN weekend_allowed boolean,
    ADD COLUMN breaker_rejects integer CHECK (breaker_rejects BETWEEN 1 AND 1000),
    ADD COLUMN breaker_cancels integer CHECK (breaker_cancels BETWEEN 1 AND 1000),
    ADD COLUMN slow_ms integer CHECK (slow_ms BETWEEN 1 AND 3600000),
    ADD COLUMN stop_ms integer CHECK (stop_ms BETWEEN 1 AND 3600000);
UPDATE ledger.limits SET book_age_ms = 30000, self_match_allowed = false, duplicate_window_ms = 1000, duplicate_refused = false,
    weekend_allowed = true, breaker_rejects = 3, breaker_cancels = 3, slow_ms = 2000, stop_ms = 5000
WHERE account_id = 0 AND market_id = 0;
ALTER TABLE ledger.limit_change ADD COLUMN scope text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN scope_id text COLLATE "C" NOT NULL DEFAULT '';
UPDATE ledger.setting SET value = '0.3.0' WHERE name = 'schema_version';
INSERT INTO ledger.setting (name, value) VALUES ('keep_equity_minutes_days', '7');

-- What positions cost, and the totals over it.
ALTER TABLE ledger.exposure
    ADD COLUMN bought bigint[] NOT NULL DEFAULT '{0,0}',
    ADD COLUMN bought_cost bigint[] NOT NULL DEFAULT '{0,0}',
    ADD COLUMN sold bigint[] NOT NULL DEFAULT '{0,0}',
    ADD COLUMN sold_cost bigint[] NOT NULL DEFAULT '{0,0}',
    ADD COLUMN held_cost bigint NOT NULL DEFAULT 0,
    ADD COLUMN open_orders integer NOT NULL DEFAULT 0,
    ADD COLUMN at_risk bigint NOT NULL DEFAULT 0,
    ADD COLUMN shares bigint NOT NULL DEFAULT 0,
    ADD COLUMN group_key text COLLATE "C",
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN change_tokens bigint,
    ADD COLUMN change_tokens_at timestamptz,
    ADD COLUMN basis bigint[] NOT NULL DEFAULT '{0,0}';
ALTER TABLE ledger.account_state
    ADD COLUMN at_risk bigint NOT NULL DEFAULT 0,
    ADD COLUMN shares bigint NOT NULL DEFAULT 0,
    ADD COLUMN open_orders integer NOT NULL DEFAULT 0,
    ADD COLUMN size_factor_ppm integer NOT NULL DEFAULT 1000000 CHECK (size_factor_ppm BETWEEN 0 AND 1000000),
    ADD COLUMN change_tokens bigint,
    ADD COLUMN change_tokens_at timestamptz,
    ADD COLUMN traded_net bigint NOT NULL DEFAULT 0;
CREATE INDEX exposure_open_positions ON ledger.exposure (account_id, market_id) WHERE bought <> sold;

-- Who made and who took. Nobody noted the books of old orders, unless this revision was taken back in between.
ALTER TABLE ledger.orders ADD COLUMN crossed boolean;
UPDATE ledger.orders o SET crossed = (j.detail ->> 'crossed')::boolean FROM ledger.journal j
WHERE j.account_id = o.account_id AND j.order_id = o.order_id AND j.event = 'RESERVE' AND j.detail ? 'crossed';
ALTER TABLE ledger.fill
    ADD COLUMN liquidity text COLLATE "C" CHECK (liquidity IN ('maker', 'taker')),
    ADD COLUMN liquidity_source text COLLATE "C" CHECK (liquidity_source IN ('post_only', 'crossing', 'venue_flag')),
    ADD COLUMN basis_micros bigint NOT NULL DEFAULT 0;
UPDATE ledger.fill f SET
    liquidity_source = CASE WHEN o.post_only THEN 'post_only' WHEN o.order_type IN ('FOK', 'FAK') THEN 'crossing'
        WHEN o.crossed AND (NOT f.is_maker OR CASE o.side WHEN 'BUY' THEN f.price_micros < o.price_micros
                                                          ELSE f.price_micros > o.price_micros END) THEN 'crossing'
        ELSE 'venue_flag' END
FROM ledger.orders o WHERE o.account_id = f.account_id AND o.order_id = f.order_id;
UPDATE ledger.fill f SET liquidity = CASE
    WHEN f.liquidity_source = 'post_only' OR f.liquidity_source = 'venue_flag' AND f.is_maker THEN 'maker' ELSE 'taker' END;
ALTER TABLE ledger.fill ALTER COLUMN liquidity SET NOT NULL, ALTER COLUMN liquidity_source SET NOT NULL;
COMMENT ON COLUMN ledger.orders.crossed IS
    'Whether it would have traded at once with the last good book when it was admitted; NULL without one.';
COMMENT ON COLUMN ledger.fill.liquidity_source IS
    'How liquidity is known: the order was post-only, it crossed the book or could not rest, or the venue said so.';
COMMENT ON COLUMN ledger.fill.basis_micros IS
    'Collateral micros it added to what the position cost: a BUY its cost, a SELL, below zero, its part of the average.';
COMMENT ON COLUMN ledger.account_state.traded_net IS
    'The sum of sold_cost - bought_cost over the account''s exposure rows: profit needs no closed market to be read.';

-- Both sides of every movement.
ALTER TABLE ledger.balance_entry
    ADD COLUMN contra text COLLATE "C" NOT NULL DEFAULT 'venue',
    ADD COLUMN contra_delta bigint NOT NULL DEFAULT 0,
    ADD COLUMN fee_delta bigint NOT NULL DEFAULT 0,
    ADD COLUMN value_micros bigint,
    ADD COLUMN basis_micros bigint;
COMMENT ON COLUMN ledger.balance_entry.basis_micros IS
    'What a movement of tokens added to what the position cost (basis of exposure); NULL for everything else.';
COMMENT ON COLUMN ledger.balance_entry.value_micros IS
    'Of tokens that moved without a trade: what they were worth in collateral micros.';
CREATE TABLE ledger.contra_balance (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    asset           text COLLATE "C" NOT NULL,
    contra          text COLLATE "C" NOT NULL CHECK (contra IN ('venue', 'fees', 'outside', 'chain', 'correction')),
    amount          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, asset, contra)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

COMMENT ON COLUMN ledger.exposure.bought IS
    'Share micros of all buys that have not failed and of movements in; bought - sold is the position.';
COMMENT ON COLUMN ledger.exposure.bought_cost IS 'Collateral micros they cost, fees included.';
COMMENT ON COLUMN ledger.exposure.sold IS 'Share micros of confirmed sells and of movements out.';
COMMENT ON COLUMN ledger.exposure.sold_cost IS 'Collateral micros they brought, after fees.';
COMMENT ON COLUMN ledger.exposure.basis IS
    'Collateral micros that what is held cost: the sum of basis_micros over fills and movements. 0 where nothing is held.';
COMMENT ON COLUMN ledger.exposure.held_cost IS 'Collateral micros locked by the BUY orders of this market.';
COMMENT ON COLUMN ledger.exposure.at_risk IS
    'basis plus held_cost: what was last added to the totals of account and group.';
COMMENT ON COLUMN ledger.exposure.shares IS 'Effective shares of both outcomes, as last added to the totals.';
COMMENT ON COLUMN ledger.exposure.group_key IS 'The group these numbers were added to; follows the market''s.';
COMMENT ON COLUMN ledger.exposure.changed_at IS
    'When an order of this market was last placed, replaced or asked to be cancelled by whoever trades.';
COMMENT ON COLUMN ledger.exposure.change_tokens IS 'What was left of the budget of changes at change_tokens_at, in millionths; NULL: all of it.';
COMMENT ON COLUMN ledger.account_state.at_risk IS 'The sum of at_risk over the account''s exposure rows.';
COMMENT ON COLUMN ledger.account_state.size_factor_ppm IS
    'How much of the largest order is allowed, in millionths: drawdown makes it smaller.';
COMMENT ON COLUMN ledger.balance_entry.contra IS
    'Where the rest of the movement stands: venue (counterparties), outside (deposits, transfers), chain (split, redemption ...), correction.';
COMMENT ON COLUMN ledger.limits.max_market_cost_micros IS
    'Collateral at risk in one market: what its position cost and what its BUY orders hold.';
COMMENT ON COLUMN ledger.limits.max_imbalance_micros IS 'Effective shares of one outcome above those of the other.';
COMMENT ON COLUMN ledger.limits.cooldown_ms IS
    'Between two changes of a market (placements, replacements, cancels asked for by whoever trades). A cancel is never refused.';
COMMENT ON COLUMN ledger.limits.collar_micros IS
    'A BUY may not lie further above the middle of the last good book than this, a SELL not further below it.';
COMMENT ON COLUMN ledger.limits.book_age_ms IS 'A book older than this is none. NULL counts as 30000.';
COMMENT ON COLUMN ledger.limit_change.scope IS 'Empty for a row of limits; else whose total was changed (account, group, global, live).';

-- From the rows that are there: history has both sides, and the counters are the sums they always will be.
ALTER TABLE ledger.balance_entry DISABLE TRIGGER balance_entry_append_only;
UPDATE ledger.balance_entry b SET
    fee_delta = CASE WHEN b.asset = 'collateral' AND b.trade_id IS NOT NULL THEN coalesce(q.fee, 0) ELSE 0 END,
    contra_delta = -(b.available_delta + b.locked_delta)
        - CASE WHEN b.asset = 'collateral' AND b.trade_id IS NOT NULL THEN coalesce(q.fee, 0) ELSE 0 END,
    -- What came or went without a trade was not valued then: one for each token that came, nothing for what went.
    value_micros = CASE WHEN b.order_id IS NULL AND b.asset <> 'collateral' THEN greatest(b.available_delta, 0) END,
    contra = CASE WHEN b.order_id IS NOT NULL THEN 'venue'
        WHEN b.cause IN ('resolution', 'redemption', 'split', 'merge', 'conversion') THEN 'chain'
        WHEN b.cause = 'correction' THEN 'correction' ELSE 'outside' END
FROM (SELECT e.account_id, e.entry_seq,
        -- A fill's fee goes with the last of its entries that moved collateral; together they are the fee that is booked.
        CASE WHEN row_number() OVER (PARTITION BY e.account_id, e.order_id, e.trade_id, e.asset ORDER BY e.entry_seq DESC) = 1
             THEN (SELECT CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
                               THEN f.fee_micros ELSE 0 END
                   FROM ledger.fill f WHERE f.account_id = e.account_id AND f.trade_id = e.trade_id AND f.order_id = e.order_id) END AS fee
      FROM ledger.balance_entry e) q
WHERE q.account_id = b.account_id AND q.entry_seq = b.entry_seq;
ALTER TABLE ledger.balance_entry ENABLE TRIGGER balance_entry_append_only;
ALTER TABLE ledger.balance_entry ADD CONSTRAINT balance_entry_balances
    CHECK (available_delta + locked_delta + contra_delta + fee_delta = 0);
INSERT INTO ledger.contra_balance (account_id, asset, contra, amount)
SELECT b.account_id, b.asset, b.contra, sum(b.contra_delta) FROM ledger.balance_entry b
WHERE b.contra_delta <> 0 GROUP BY 1, 2, 3
UNION ALL
SELECT b.account_id, b.asset, 'fees', sum(b.fee_delta) FROM ledger.balance_entry b WHERE b.fee_delta <> 0 GROUP BY 1, 2;

UPDATE ledger.exposure e SET
    group_key = (SELECT m.group_key FROM ledger.market m WHERE m.market_id = e.market_id),
    bought = ARRAY[q.bought_0, q.bought_1], bought_cost = ARRAY[q.cost_0, q.cost_1],
    sold = ARRAY[q.sold_0, q.sold_1], sold_cost = ARRAY[q.sold_cost_0, q.sold_cost_1],
    held_cost = (SELECT coalesce(sum(r.held_micros), 0) FROM ledger.reservation r
                 WHERE r.account_id = e.account_id AND r.market_id = e.market_id AND r.side = 'BUY'),
    open_orders = (SELECT count(*) FROM ledger.orders o WHERE o.account_id = e.account_id AND o.market_id = e.market_id
                   AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')),
    shares = greatest(e.confirmed[1] + e.provisional_buy[1] + e.awaiting_buy[1] + e.open_buy[1] + e.pending_buy[1], 0)
           + greatest(e.confirmed[2] + e.provisional_buy[2] + e.awaiting_buy[2] + e.open_buy[2] + e.pending_buy[2], 0)
FROM (
    SELECT x.account_id, x.market_id,
        coalesce(sum(w.bought) FILTER (WHERE w.outcome = 0), 0)::bigint AS bought_0, coalesce(sum(w.bought) FILTER (WHERE w.outcome = 1), 0)::bigint AS bought_1,
        coalesce(sum(w.cost) FILTER (WHERE w.outcome = 0), 0)::bigint AS cost_0, coalesce(sum(w.cost) FILTER (WHERE w.outcome = 1), 0)::bigint AS cost_1,
        coalesce(sum(w.sold) FILTER (WHERE w.outcome = 0), 0)::bigint AS sold_0, coalesce(sum(w.sold) FILTER (WHERE w.outcome = 1), 0)::bigint AS sold_1,
        coalesce(sum(w.sold_cost) FILTER (WHERE w.outcome = 0), 0)::bigint AS sold_cost_0, coalesce(sum(w.sold_cost) FILTER (WHERE w.outcome = 1), 0)::bigint AS sold_cost_1
    FROM ledger.exposure x LEFT JOIN (
        SELECT f.account_id, f.market_id, f.outcome,
            CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN f.size_micros ELSE 0 END AS bought,
            CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN f.cash_micros + f.fee_micros ELSE 0 END AS cost,
            CASE WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.size_micros ELSE 0 END AS sold,
            CASE WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END AS sold_cost
        FROM ledger.fill f
        UNION ALL
        SELECT b.account_id, c.market_id, c.outcome, greatest(b.available_delta, 0),
            CASE WHEN b.available_delta > 0 THEN b.value_micros ELSE 0 END,
            greatest(-b.available_delta, 0), CASE WHEN b.available_delta < 0 THEN b.value_micros ELSE 0 END
        FROM ledger.balance_entry b JOIN ledger.outcome c ON c.token_id = b.asset WHERE b.order_id IS NULL) w
        ON w.account_id = x.account_id AND w.market_id = x.market_id
    GROUP BY x.account_id, x.market_id) q
WHERE q.account_id = e.account_id AND q.market_id = e.market_id;
-- What is held cost the average of all buys so far: each row takes its part, so that the rows come to it exactly. From now on
-- each keeps what it added or took when it was booked.
CREATE TEMPORARY TABLE part ON COMMIT DROP AS
SELECT w.*, CASE WHEN w.way > 0 THEN w.cost ELSE
    -- Where nothing was bought nothing was paid for what went.
    coalesce(floor(q.cost::numeric * (sum(w.size) OVER sold - w.size) / nullif(q.bought, 0))
             - floor(q.cost::numeric * sum(w.size) OVER sold / nullif(q.bought, 0)), 0)::bigint END AS basis
FROM (
    SELECT f.account_id, f.market_id, f.outcome, CASE f.side WHEN 'BUY' THEN 1 ELSE -1 END AS way, f.size_micros AS size,
        CASE f.side WHEN 'BUY' THEN f.cash_micros + f.fee_micros ELSE 0 END AS cost, f.trade_id, f.order_id, NULL::bigint AS entry_seq
    FROM ledger.fill f WHERE f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
    UNION ALL
    SELECT b.account_id, c.market_id, c.outcome, sign(b.available_delta)::integer, abs(b.available_delta),
        CASE WHEN b.available_delta > 0 THEN b.value_micros ELSE 0 END, NULL, NULL, b.entry_seq
    FROM ledger.balance_entry b JOIN ledger.outcome c ON c.token_id = b.asset WHERE b.order_id IS NULL) w
CROSS JOIN LATERAL (SELECT e.bought_cost[w.outcome + 1] AS cost, e.bought[w.outcome + 1] AS bought, e.sold[w.outcome + 1] AS sold
    FROM ledger.exposure e WHERE e.account_id = w.account_id AND e.market_id = w.market_id) q
WINDOW sold AS (PARTITION BY w.account_id, w.market_id, w.outcome, w.way ORDER BY w.entry_seq, w.order_id, w.trade_id);
-- More sold than ever came in: nothing is held, and the last row that took something took what was left.
UPDATE part p SET basis = p.basis - q.left_over
FROM (SELECT DISTINCT ON (x.account_id, x.market_id, x.outcome) x.account_id, x.market_id, x.outcome, x.entry_seq, x.order_id, x.trade_id,
          sum(x.basis) OVER (PARTITION BY x.account_id, x.market_id, x.outcome) AS left_over
      FROM part x ORDER BY x.account_id, x.market_id, x.outcome, x.way, x.entry_seq DESC NULLS LAST, x.order_id DESC, x.trade_id DESC) q
JOIN ledger.exposure e ON e.account_id = q.account_id AND e.market_id = q.market_id
WHERE e.bought[q.outcome + 1] <= e.sold[q.outcome + 1] AND q.left_over <> 0
  AND (p.account_id, p.market_id, p.outcome) = (q.account_id, q.market_id, q.outcome)
  AND (p.entry_seq, p.order_id, p.trade_id) IS NOT DISTINCT FROM (q.entry_seq, q.order_id, q.trade_id);
UPDATE ledger.fill f SET basis_micros = p.basis FROM part p
WHERE f.account_id = p.account_id AND f.trade_id = p.trade_id AND f.order_id = p.order_id;
ALTER TABLE ledger.balance_entry DISABLE TRIGGER balance_entry_append_only;
UPDATE ledger.balance_entry b SET basis_micros = p.basis FROM part p
WHERE b.account_id = p.account_id AND b.entry_seq = p.entry_seq;
ALTER TABLE ledger.balance_entry ENABLE TRIGGER balance_entry_append_only;
UPDATE ledger.exposure e SET basis = ARRAY[q.basis_0, q.basis_1], at_risk = e.held_cost + q.basis_0 + q.basis_1
FROM (SELECT x.account_id, x.market_id, coalesce(sum(p.basis) FILTER (WHERE p.outcome = 0), 0)::bigint AS basis_0,
          coalesce(sum(p.basis) FILTER (WHERE p.outcome = 1), 0)::bigint AS basis_1
      FROM ledger.exposure x LEFT JOIN part p ON p.account_id = x.account_id AND p.market_id = x.market_id
      GROUP BY x.account_id, x.market_id) q
WHERE q.account_id = e.account_id AND q.market_id = e.market_id;
DROP TABLE part;
UPDATE ledger.account_state s SET at_risk = q.at_risk, shares = q.shares, open_orders = q.open_orders, traded_net = q.traded_net
FROM (SELECT e.account_id, sum(e.sold_cost[1] + e.sold_cost[2] - e.bought_cost[1] - e.bought_cost[2])::bigint AS traded_net, sum(e.at_risk)::bigint AS at_risk, sum(e.shares)::bigint AS shares, sum(e.open_orders)::integer AS open_orders
      FROM ledger.exposure e GROUP BY e.account_id) q
WHERE q.account_id = s.account_id;
