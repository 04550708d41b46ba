SET LOCAL ROLE ${role_owner};

-- by hand: 0003_tables.sql
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

-- file: ledger/sql/tables/risk.sql
-- purpose: what risk remembers: limits on totals and how they are shared out, the last good books, breakers, marks of equity.
-- locks:   group_state and loan of an account follow its account_state row; the row of the global pool, for all of them, after the
--          own loan; others' loans are only ever taken with SKIP LOCKED while that row is held. breaker follows the exposure row, or account_state for market 0.
-- index:   primary keys; equity_mark by account and time.
-- fence:   a loan is spent only under its own row lock; what is lent never exceeds the cap but by facts.

-- Limits on totals. scope_id '' is the default of its scope; a value that is NULL there means no limit.
CREATE TABLE ledger.total_limits (
    scope                   text COLLATE "C" NOT NULL CHECK (scope IN ('account', 'group', 'global', 'live')),
    scope_id                text COLLATE "C" NOT NULL,
    max_cost_micros         bigint CHECK (max_cost_micros >= 0),
    max_shares_micros       bigint CHECK (max_shares_micros >= 0),
    max_open_orders         integer CHECK (max_open_orders >= 0),
    changes_per_minute      integer CHECK (changes_per_minute BETWEEN 0 AND 100000),
    max_daily_loss_micros   bigint CHECK (max_daily_loss_micros >= 0),
    max_rolling_loss_micros bigint CHECK (max_rolling_loss_micros >= 0),
    drawdown_from_micros    bigint CHECK (drawdown_from_micros >= 0),
    drawdown_to_micros      bigint CHECK (drawdown_to_micros >= 0),
    PRIMARY KEY (scope, scope_id),
    CHECK (scope IN ('account', 'group') OR scope_id = ''),
    CHECK (scope = 'account' OR (max_open_orders IS NULL AND changes_per_minute IS NULL AND drawdown_from_micros IS NULL
                                 AND drawdown_to_micros IS NULL)),
    CHECK (scope IN ('account', 'global') OR (max_daily_loss_micros IS NULL AND max_rolling_loss_micros IS NULL)),
    CHECK (drawdown_from_micros < drawdown_to_micros)
);
COMMENT ON TABLE ledger.total_limits IS
    'live covers all accounts of the real venue together: the canary cap, which only a person lifts.';
COMMENT ON COLUMN ledger.total_limits.drawdown_from_micros IS
    'From this distance below the highest equity on, order sizes shrink evenly; at drawdown_to_micros nothing but unwinding is left.';

CREATE TABLE ledger.group_state (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    group_key       text COLLATE "C" NOT NULL,
    at_risk         bigint NOT NULL DEFAULT 0,
    shares          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, group_key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger.group_state IS
    'What an account has at risk in a correlation group: the sum over its exposure rows of that group.';

-- A cap over several accounts would be a row that everybody needs. It is lent to the accounts in slices instead: inside its
-- loan an account reserves alone.
CREATE TABLE ledger.pool (
    scope           text COLLATE "C" NOT NULL CHECK (scope IN ('group', 'global', 'live')),
    scope_id        text COLLATE "C" NOT NULL,
    lent_cost_micros    bigint NOT NULL DEFAULT 0,
    lent_shares_micros  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, scope_id)
) WITH (fillfactor = 50);
CREATE TABLE ledger.loan (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    scope           text COLLATE "C" NOT NULL,
    scope_id        text COLLATE "C" NOT NULL,
    cost_micros     bigint NOT NULL DEFAULT 0 CHECK (cost_micros >= 0),
    shares_micros   bigint NOT NULL DEFAULT 0 CHECK (shares_micros >= 0),
    PRIMARY KEY (account_id, scope, scope_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX loan_of_pool ON ledger.loan (scope, scope_id);

CREATE TABLE ledger.book (
    market_id       bigint NOT NULL REFERENCES ledger.market,
    outcome         smallint NOT NULL CHECK (outcome IN (0, 1)),
    bids            bigint[] NOT NULL,
    asks            bigint[] NOT NULL,
    at              timestamptz NOT NULL,
    mark_micros     bigint,
    PRIMARY KEY (market_id, outcome)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger.book IS
    'The last good book of each outcome: price and size in micros alternating, best price first, at most 20 levels a side.';
COMMENT ON COLUMN ledger.book.mark_micros IS
    'What a share is taken to be worth: the middle of the last book with both sides; its bid while nobody offers; never more than '
    'the ask while nobody bids. An empty book says nothing. NULL until something said so.';

CREATE TABLE ledger.breaker (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    market_id       bigint NOT NULL,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('reject', 'cancel', 'latency', 'venue', 'credentials')),
    count           integer NOT NULL DEFAULT 0 CHECK (count >= 0),
    until           timestamptz,
    slow_until      timestamptz,
    probe_order_id  bigint,
    why             text NOT NULL DEFAULT '',
    changed_at      timestamptz NOT NULL,
    PRIMARY KEY (account_id, market_id, kind),
    CHECK ((market_id = 0) = (kind IN ('venue', 'credentials')))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON COLUMN ledger.breaker.count IS 'Failures in a row; a success makes it zero.';
COMMENT ON COLUMN ledger.breaker.until IS
    'Nothing is placed before; after it one order goes as a probe (half-open). NULL: closed.';
COMMENT ON COLUMN ledger.breaker.probe_order_id IS 'The order let through after until; while its fate is open no other follows.';

CREATE TABLE ledger.equity_mark (
    account_id          bigint NOT NULL REFERENCES ledger.account,
    at                  timestamptz NOT NULL,
    equity_micros       bigint NOT NULL,
    realised_micros     bigint NOT NULL,
    unrealised_micros   bigint NOT NULL,
    fees_micros         bigint NOT NULL,
    stale_markets       integer NOT NULL,
    PRIMARY KEY (account_id, at)
);
CREATE INDEX equity_mark_highest ON ledger.equity_mark (account_id, equity_micros);
COMMENT ON TABLE ledger.equity_mark IS
    'What trading has brought since the start (realised + unrealised; deposits are not in it), each minute in which it changed and at midnight UTC.';
COMMENT ON COLUMN ledger.equity_mark.stale_markets IS
    'Markets with a position whose last book is old or missing: marked at that book, or at cost where there is none.';

-- file: ledger/sql/tables/pnl.sql
-- purpose: what the loss limits remember: the sum of all accounts over time, and which loss was already told.
-- locks:   the row (global, '', DAILY_LOSS) of loss_watch lets one sweep run at a time; nobody waits for it.
-- index:   primary keys.
-- fence:   a loss that was told halts again only once it has grown by the limit.

CREATE TABLE ledger.total_mark (
    at              timestamptz PRIMARY KEY,
    equity_micros   bigint NOT NULL,
    accounts        integer NOT NULL
);
COMMENT ON TABLE ledger.total_mark IS
    'The equity of all accounts together. As in equity_mark a value stands until the next one.';

CREATE TABLE ledger.loss_watch (
    scope           text COLLATE "C" NOT NULL CHECK (scope IN ('account', 'global')),
    scope_id        text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('DAILY_LOSS', 'ROLLING_LOSS')),
    told_micros     bigint,
    told_at         timestamptz,
    PRIMARY KEY (scope, scope_id, kind),
    CHECK ((told_micros IS NULL) = (told_at IS NULL))
) WITH (fillfactor = 50);
COMMENT ON COLUMN ledger.loss_watch.told_micros IS
    'The loss that the last halt of this kind stood for. It counts for the UTC day, or for 24 hours, from told_at on.';

-- file: ledger/sql/tables/withdrawal.sql
-- purpose: withdrawals as durable sagas: what is asked, how far it came, the transfer's bytes, each attempt and what was seen of it.
-- locks:   withdrawal follows account_state (claims lock it alone, with SKIP LOCKED); attempt and evidence follow withdrawal.
-- index:   withdrawal_running, withdrawal_due; the rest by primary key.
-- fence:   one unfinished withdrawal per account; claim_no: a step of an older claim is refused; bytes are stored once.

CREATE TABLE ledger.withdrawal (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    withdrawal_id   bigint GENERATED ALWAYS AS IDENTITY,
    key             text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 200),
    amount_micros   bigint NOT NULL CHECK (amount_micros > 0),
    destination     text COLLATE "C" NOT NULL CHECK (destination ~ '^0x[0-9a-f]{40}$'),
    why             text NOT NULL CHECK (why <> ''),
    asked_by        name NOT NULL,
    asked_as        text NOT NULL DEFAULT '',
    asked_at        timestamptz NOT NULL,
    drain_ms        bigint NOT NULL CHECK (drain_ms BETWEEN 1000 AND 86400000),
    alarm_ms        bigint NOT NULL CHECK (alarm_ms BETWEEN 1000 AND 86400000),
    state           text COLLATE "C" NOT NULL CHECK (state IN ('REQUESTED', 'STOPPING', 'DRAINING', 'UNLOCKED', 'DEBITED',
                        'SENDING', 'UNKNOWN', 'FAILED', 'DONE', 'COMPENSATED', 'CANCELLED')),
    state_at        timestamptz NOT NULL,
    cause           text NOT NULL DEFAULT '',
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    fate_open       boolean NOT NULL DEFAULT false,
    last_deadline   timestamptz,
    reference       text,
    alarm_at        timestamptz,
    needs_person_since timestamptz,
    needs_person_why   text,
    claimed_by      uuid,
    claimed_until   timestamptz,
    claim_no        bigint NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL,
    PRIMARY KEY (account_id, withdrawal_id),
    UNIQUE (account_id, key),
    CHECK ((needs_person_since IS NULL) = (needs_person_why IS NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX withdrawal_running ON ledger.withdrawal (account_id) WHERE state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED');
CREATE INDEX withdrawal_due ON ledger.withdrawal (next_at) WHERE state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED');
COMMENT ON TABLE ledger.withdrawal IS
    'From STOPPING until its end a withdrawal pauses its account: nothing is reserved or sent, and what stands is cancelled.';
COMMENT ON COLUMN ledger.withdrawal.fate_open IS 'Some attempt may have moved the money: no refusal of a later one proves that none has.';
COMMENT ON COLUMN ledger.withdrawal.last_deadline IS 'After it no copy sent so far can be carried out any more.';
COMMENT ON COLUMN ledger.withdrawal.reference IS 'How whoever carries it out calls the transfer.';
COMMENT ON COLUMN ledger.withdrawal.alarm_at IS 'When a person is called if nothing has moved on by then.';
COMMENT ON COLUMN ledger.withdrawal.needs_person_since IS
    'Since then it goes no step further by itself; what is seen of a transfer under way still counts.';

CREATE TABLE ledger.withdrawal_transfer (
    account_id      bigint NOT NULL,
    withdrawal_id   bigint NOT NULL,
    treasury        text COLLATE "C" NOT NULL,
    repeatable      boolean NOT NULL,
    hash            text COLLATE "C" NOT NULL CHECK (hash ~ '^0x[0-9a-f]{64}$'),
    body            bytea NOT NULL,
    prepared_at     timestamptz NOT NULL,
    prepared_by     uuid NOT NULL,
    PRIMARY KEY (account_id, withdrawal_id),
    FOREIGN KEY (account_id, withdrawal_id) REFERENCES ledger.withdrawal
);
COMMENT ON TABLE ledger.withdrawal_transfer IS 'The bytes of the one transfer, stored with the debit and before anything is sent. Never changed.';
COMMENT ON COLUMN ledger.withdrawal_transfer.repeatable IS 'The same bytes move the money once, however often they are sent.';

CREATE TABLE ledger.withdrawal_attempt (
    account_id      bigint NOT NULL,
    withdrawal_id   bigint NOT NULL,
    attempt         integer NOT NULL CHECK (attempt > 0),
    incarnation     uuid NOT NULL,
    opened_at       timestamptz NOT NULL,
    send_by         timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    outcome         text COLLATE "C" NOT NULL DEFAULT 'open' CHECK (outcome IN (
                        'open', 'done', 'accepted', 'refused', 'not_sent', 'unsure', 'lapsed')),
    code            text NOT NULL DEFAULT '',
    answer          text NOT NULL DEFAULT '',
    ended_at        timestamptz,
    PRIMARY KEY (account_id, withdrawal_id, attempt),
    FOREIGN KEY (account_id, withdrawal_id) REFERENCES ledger.withdrawal,
    CHECK ((outcome = 'open') = (ended_at IS NULL))
);

CREATE TABLE ledger.withdrawal_evidence (
    account_id      bigint NOT NULL,
    withdrawal_id   bigint NOT NULL,
    evidence_id     bigint GENERATED ALWAYS AS IDENTITY,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('done', 'failed', 'pending', 'absent', 'unread', 'late_answer', 'operator')),
    detail          text NOT NULL DEFAULT '',
    seen_at         timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    times           bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (account_id, withdrawal_id, evidence_id),
    FOREIGN KEY (account_id, withdrawal_id) REFERENCES ledger.withdrawal
);
COMMENT ON TABLE ledger.withdrawal_evidence IS 'What was read of a transfer. The same finding in a row is counted, not repeated.';

-- file: withdrawal/sql/tables/paper.sql
-- purpose: the paper treasury's own truth: transfers that arrived there, and misbehaviour ordered by a test. Its commits are its own.
-- locks:   transfer rows by hash; transfer_fault rows alone.
-- index:   primary keys.
-- fence:   a transfer's hash is its primary key: the same bytes move money once, however often they arrive.

CREATE TABLE paper.transfer (
    hash            text COLLATE "C" PRIMARY KEY CHECK (hash ~ '^0x[0-9a-f]{64}$'),
    account         text COLLATE "C" NOT NULL CHECK (account <> ''),
    destination     text COLLATE "C" NOT NULL,
    amount_micros   bigint NOT NULL CHECK (amount_micros > 0),
    state           text COLLATE "C" NOT NULL CHECK (state IN ('PENDING', 'DONE', 'FAILED')),
    due_ms          bigint NOT NULL,
    times_received  bigint NOT NULL DEFAULT 1 CHECK (times_received > 0),
    received_at_ms  bigint NOT NULL
);
CREATE TABLE paper.transfer_fault (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account         text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('drop_answer', 'lost', 'fail', 'refuse', 'late', 'unread')),
    late_ms         bigint NOT NULL DEFAULT 0 CHECK (late_ms >= 0),
    times           bigint NOT NULL DEFAULT 1 CHECK (times >= 0)
);
COMMENT ON TABLE paper.transfer IS 'Every transfer the paper treasury has received. PENDING ones are carried out at due_ms.';
COMMENT ON TABLE paper.transfer_fault IS 'Misbehaviour ordered by a test: of the next sends (unread: of the next look-ups), times times.';

-- by hand: 0003_rows.sql
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


DO $$
DECLARE
    v_name text;
BEGIN
    -- All names first: one that went with another would be read as its number.
    FOREACH v_name IN ARRAY array(SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'v') LOOP
        EXECUTE 'DROP VIEW IF EXISTS ' || v_name || ' CASCADE';
    END LOOP;
    FOREACH v_name IN ARRAY array(SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace IN ('audit'::regnamespace, 'ledger'::regnamespace)) LOOP
        BEGIN
            EXECUTE 'DROP FUNCTION IF EXISTS ' || v_name;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            NULL; -- a trigger's or a default's: replaced in place below
        END;
    END LOOP;
    FOREACH v_name IN ARRAY array(SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = 'c') LOOP
        EXECUTE 'DROP TYPE ' || v_name;
    END LOOP;
END $$;

-- file: db/sql/timeouts.sql
-- purpose: how long a session of each role may sit in a transaction, and how long the auditor may read.
-- locks:   none.
-- index:   none.
-- fence:   none of it cuts a commit: one that waits for its standby is not idle, and no role that writes has a time-out
--          of statements. A login that is only a member of a role inherits none of this: the worker's watch ends it.

RESET ROLE;
DO $timeouts$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['${role_worker}', '${role_trader}', '${role_risk}', '${role_auditor}'] LOOP
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET idle_in_transaction_session_timeout = %L', v_role, current_database(), '60s');
    END LOOP;
    -- Only reads, and each statement of the audit is far shorter.
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET statement_timeout = %L', '${role_auditor}', current_database(), '15min');
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the time-outs of the roles could not be set: see docs/running.md';
END $timeouts$;
SET LOCAL ROLE ${role_owner};

-- file: ledger/sql/functions/base.sql
-- purpose: small words every other function uses: the clock, the entry check, who may act for an account, arithmetic.
-- locks:   none.
-- index:   account_grant by primary key.
-- fence:   _enter refuses every isolation level but READ COMMITTED: under REPEATABLE READ a caller was admitted
--          under a halt that had been committed before it took its lock.

CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;
COMMENT ON FUNCTION ledger.clock() IS
    'The only clock of limits and leases. The owner replaces it in test databases; no session setting can.';

CREATE OR REPLACE FUNCTION ledger._enter() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'ISOLATION: ledger functions need READ COMMITTED, this transaction is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'LG001', HINT = 'Start the transaction with ISOLATION LEVEL READ COMMITTED.';
    END IF;
    -- The venue acts on what is committed here: it must not be lost by a crash of ours.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A table of few rows that changes all the time is small when a plan is made and kept, and many times as large between
    -- two vacuums: read as a whole, each reservation took longer than the one before.
    IF current_setting('enable_seqscan') = 'on' THEN
        PERFORM set_config('enable_seqscan', 'off', true);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._may_act_for(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    -- session_user, since SET ROLE and SECURITY DEFINER change current_user only.
    RETURN pg_has_role(session_user, '${role_worker}', 'MEMBER')
        OR EXISTS (SELECT FROM ledger.account_grant g
                   WHERE g.account_id = p_account_id AND g.role_name = session_user);
END $$;

CREATE OR REPLACE FUNCTION ledger._ended(p_state text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT p_state IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED') $$;

CREATE OR REPLACE FUNCTION ledger._whole(p_value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN jsonb_typeof(p_value) = 'number' AND (p_value #>> '{}') ~ '^-?[0-9]{1,18}$'
                  THEN (p_value #>> '{}')::bigint END $$;
COMMENT ON FUNCTION ledger._whole(jsonb) IS 'An integer, or NULL for anything else (1.5, "1", 1e3, null).';

CREATE OR REPLACE FUNCTION ledger.cost_of(p_price_micros bigint, p_shares_micros bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ceil(p_price_micros::numeric * p_shares_micros / 1000000)::bigint $$;
COMMENT ON FUNCTION ledger.cost_of(bigint, bigint) IS
    'Collateral micros for shares at a price, rounded up: a hold one micro short is an overdraft.';

CREATE OR REPLACE FUNCTION ledger.highest_fee(
    p_price_micros bigint, p_shares_micros bigint, p_rate_micros bigint, p_exponent smallint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- fee = shares * rate * (p * (1 - p)) ^ exponent; a BUY fills at its limit or below, and p * (1 - p) peaks at one half.
    SELECT CASE WHEN p_rate_micros = 0 OR p_shares_micros = 0 THEN 0::bigint ELSE
        ceil(p_shares_micros::numeric * p_rate_micros / 1000000 * power(
            least(p_price_micros, 500000)::numeric * (1000000 - least(p_price_micros, 500000)) / 1000000000000,
            p_exponent::numeric))::bigint END
$$;
COMMENT ON FUNCTION ledger.highest_fee(bigint, bigint, bigint, smallint) IS
    'The most a BUY could pay in fees, in collateral micros, rounded up.';

CREATE OR REPLACE FUNCTION ledger._held_by(o ledger.orders, p_shares bigint, p_awaiting bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE o.side
        WHEN 'BUY' THEN ledger.cost_of(o.price_micros, p_shares + p_awaiting)
            + ledger.highest_fee(o.price_micros, p_shares + p_awaiting, o.fee_rate_micros, o.fee_exponent)
        ELSE p_shares + p_awaiting + (o.traded_micros - o.confirmed_micros - o.failed_micros) END
$$;
COMMENT ON FUNCTION ledger._held_by(ledger.orders, bigint, bigint) IS
    'What an order holds: collateral for a BUY; tokens for a SELL, those sold but not yet settled included.';

-- file: ledger/sql/functions/journal.sql
-- purpose: write the journal and keep it from being changed.
-- locks:   the caller holds the exposure row (market number) and account_state (account number).
-- index:   primary keys.
-- fence:   numbers are taken from the locked rows: no gaps, no repeats, also under concurrent writers.

CREATE OR REPLACE FUNCTION ledger._journal(
    p_account_id bigint, p_market_id bigint, p_at timestamptz, p_event text,
    p_order_id bigint DEFAULT NULL, p_attempt integer DEFAULT NULL,
    p_from text DEFAULT NULL, p_to text DEFAULT NULL, p_detail jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_seq bigint;
    v_market_seq bigint;
    v_digest bytea;
BEGIN
    IF p_market_id IS NOT NULL THEN
        UPDATE ledger.exposure SET journal_seq = journal_seq + 1
        WHERE account_id = p_account_id AND market_id = p_market_id
        RETURNING journal_seq INTO v_market_seq;
    END IF;
    UPDATE ledger.account_state s SET journal_seq = s.journal_seq + 1, journal_digest = sha256(s.journal_digest
        || convert_to(jsonb_build_array(p_account_id, s.journal_seq + 1, p_market_id, v_market_seq, extract(epoch FROM p_at),
               p_event, p_order_id, p_attempt, p_from, p_to, session_user, p_detail)::text, 'UTF8'))
    WHERE s.account_id = p_account_id RETURNING s.journal_seq, s.journal_digest INTO v_seq, v_digest;
    INSERT INTO ledger.journal (account_id, seq, market_id, market_seq, at, event, order_id, attempt,
                                from_state, to_state, actor, detail, digest)
    VALUES (p_account_id, v_seq, p_market_id, v_market_seq, p_at, p_event, p_order_id, p_attempt,
            p_from, p_to, session_user, p_detail, v_digest);
END $$;

CREATE OR REPLACE FUNCTION ledger._refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'LG002', HINT = 'History leaves only as a whole partition: ledger.archive_partition().';
END $$;

CREATE OR REPLACE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON ledger.journal
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER journal_no_truncate BEFORE TRUNCATE ON ledger.journal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER journal_rest_no_truncate BEFORE TRUNCATE ON ledger.journal_rest
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER balance_entry_append_only BEFORE UPDATE OR DELETE ON ledger.balance_entry
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER balance_entry_no_truncate BEFORE TRUNCATE ON ledger.balance_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER limit_change_append_only BEFORE UPDATE OR DELETE ON ledger.limit_change
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER halt_change_append_only BEFORE UPDATE OR DELETE ON ledger.halt_change
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER signed_order_append_only BEFORE UPDATE OR DELETE ON ledger.signed_order
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();

CREATE OR REPLACE FUNCTION ledger._account_is_fixed() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.venue <> OLD.venue OR NEW.name <> OLD.name
       OR NEW.maker IS DISTINCT FROM OLD.maker AND OLD.maker IS NOT NULL
       OR NEW.signer IS DISTINCT FROM OLD.signer AND OLD.signer IS NOT NULL THEN
        RAISE EXCEPTION 'account %: name, venue, maker and signer never change', OLD.name
            USING ERRCODE = 'LG002', HINT = 'Open another account; paper and live never mix.';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER account_is_fixed BEFORE UPDATE ON ledger.account
    FOR EACH ROW EXECUTE FUNCTION ledger._account_is_fixed();

CREATE OR REPLACE FUNCTION ledger._order_moves_legally() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.transition t
                   WHERE t.from_state = OLD.state AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'ILLEGAL_TRANSITION: order % cannot go from % to %', OLD.order_id, OLD.state, NEW.state
            USING ERRCODE = 'LG003';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER order_moves_legally BEFORE UPDATE OF state ON ledger.orders
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION ledger._order_moves_legally();

CREATE OR REPLACE FUNCTION ledger.make_partitions(p_months_ahead integer DEFAULT 2) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_from timestamptz;
    v_name text;
    v_made integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7316040) THEN
        RETURN 0;  -- somebody else is at it; anybody may hold this lock, so nobody waits for it
    END IF;
    FOR i IN 1 .. least(p_months_ahead, 24) LOOP
        v_from := date_trunc('month', ledger.clock() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
                  + make_interval(months => i);
        v_name := format('journal_%s', to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM'));
        CONTINUE WHEN to_regclass('ledger.' || v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE ledger.%I PARTITION OF ledger.journal FOR VALUES FROM (%L) TO (%L)',
            v_name, v_from,
            (date_trunc('month', v_from AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON ledger.%I '
            'FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change()', v_name || '_no_truncate', v_name);
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;
COMMENT ON FUNCTION ledger.make_partitions(integer) IS 'Journal partitions for the coming months; safe to repeat.';

CREATE OR REPLACE FUNCTION ledger.archive_partition(p_name text) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
-- The digest is of rows as text: it must be the same from every session.
SET timezone = 'UTC' SET datestyle = 'ISO'
AS $$
DECLARE
    v_count bigint;
    v_first timestamptz;
    v_last timestamptz;
    v_digest bytea;
BEGIN
    PERFORM ledger._enter();
    IF NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = 'ledger.journal'::regclass AND c.relname = p_name)
       OR p_name = 'journal_rest' THEN
        RAISE EXCEPTION '% is not a monthly partition of the journal; nothing was archived', p_name
            USING ERRCODE = 'LG004';
    END IF;
    EXECUTE format('LOCK TABLE ledger.%I IN SHARE ROW EXCLUSIVE MODE', p_name);
    EXECUTE format($q$ SELECT count(*), min(at), max(at),
            sha256(convert_to(coalesce(string_agg(j::text, E'\n' ORDER BY account_id, seq), ''), 'UTF8'))
        FROM ledger.%I j $q$, p_name) INTO v_count, v_first, v_last, v_digest;
    INSERT INTO ledger.archived_partition VALUES
        (p_name, v_count, v_first, v_last, v_digest, session_user, ledger.clock());
    EXECUTE format('ALTER TABLE ledger.journal DETACH PARTITION ledger.%I', p_name);
    RETURN v_digest;
END $$;
COMMENT ON FUNCTION ledger.archive_partition(text) IS
    'Records count, range and digest of a whole partition and detaches it; the table stays until its owner drops it.';

-- file: ledger/sql/functions/limits.sql
-- purpose: effective limits, and the only way to change one, with who, when, why, before and after.
-- locks:   the limits row being changed.
-- index:   limits by primary key, four probes.
-- fence:   none; a change is effective for the next decision in every process.

CREATE OR REPLACE FUNCTION ledger._effective_limits(p_account_id bigint, p_market_id bigint) RETURNS ledger.limits
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- plpgsql keeps the plan; as a plain SQL function it was planned anew at each of three calls per reservation.
    d ledger.limits;
    a ledger.limits;
    m ledger.limits;
    am ledger.limits;
BEGIN
    SELECT * INTO d FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = 0;
    SELECT * INTO a FROM ledger.limits x WHERE x.account_id = p_account_id AND x.market_id = 0;
    SELECT * INTO m FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = p_market_id;
    SELECT * INTO am FROM ledger.limits x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    RETURN ROW(p_account_id, p_market_id,
        coalesce(am.max_outcome_micros, m.max_outcome_micros, a.max_outcome_micros, d.max_outcome_micros),
        coalesce(am.max_market_micros, m.max_market_micros, a.max_market_micros, d.max_market_micros),
        coalesce(am.burst_per_minute, m.burst_per_minute, a.burst_per_minute, d.burst_per_minute),
        coalesce(am.burst_gap_ms, m.burst_gap_ms, a.burst_gap_ms, d.burst_gap_ms),
        coalesce(am.burst_counts_sells, m.burst_counts_sells, a.burst_counts_sells, d.burst_counts_sells, false),
        coalesce(am.max_order_micros, m.max_order_micros, a.max_order_micros, d.max_order_micros),
        coalesce(am.max_order_cost_micros, m.max_order_cost_micros, a.max_order_cost_micros, d.max_order_cost_micros),
        coalesce(am.max_market_cost_micros, m.max_market_cost_micros, a.max_market_cost_micros, d.max_market_cost_micros),
        coalesce(am.max_imbalance_micros, m.max_imbalance_micros, a.max_imbalance_micros, d.max_imbalance_micros),
        coalesce(am.max_open_orders, m.max_open_orders, a.max_open_orders, d.max_open_orders),
        coalesce(am.cooldown_ms, m.cooldown_ms, a.cooldown_ms, d.cooldown_ms),
        coalesce(am.changes_per_minute, m.changes_per_minute, a.changes_per_minute, d.changes_per_minute),
        coalesce(am.collar_micros, m.collar_micros, a.collar_micros, d.collar_micros),
        coalesce(am.max_slippage_bps, m.max_slippage_bps, a.max_slippage_bps, d.max_slippage_bps),
        coalesce(am.book_age_ms, m.book_age_ms, a.book_age_ms, d.book_age_ms, 30000),
        coalesce(am.self_match_allowed, m.self_match_allowed, a.self_match_allowed, d.self_match_allowed, false),
        coalesce(am.duplicate_window_ms, m.duplicate_window_ms, a.duplicate_window_ms, d.duplicate_window_ms),
        coalesce(am.duplicate_refused, m.duplicate_refused, a.duplicate_refused, d.duplicate_refused, false),
        coalesce(am.open_buffer_ms, m.open_buffer_ms, a.open_buffer_ms, d.open_buffer_ms),
        coalesce(am.close_buffer_ms, m.close_buffer_ms, a.close_buffer_ms, d.close_buffer_ms),
        coalesce(am.weekend_allowed, m.weekend_allowed, a.weekend_allowed, d.weekend_allowed, true),
        coalesce(am.breaker_rejects, m.breaker_rejects, a.breaker_rejects, d.breaker_rejects),
        coalesce(am.breaker_cancels, m.breaker_cancels, a.breaker_cancels, d.breaker_cancels),
        coalesce(am.slow_ms, m.slow_ms, a.slow_ms, d.slow_ms),
        coalesce(am.stop_ms, m.stop_ms, a.stop_ms, d.stop_ms)
    )::ledger.limits;
END $$;
COMMENT ON FUNCTION ledger._effective_limits(bigint, bigint) IS
    'The most specific value that is set: account and market, then market, then account, then default.';

CREATE OR REPLACE FUNCTION ledger.set_limit(p_account text, p_market text, p_name text, p_value text, p_why text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := 0;
    v_market_id bigint := 0;
    v_before text;
BEGIN
    PERFORM ledger._enter();
    IF p_account IS NOT NULL THEN
        SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
        IF v_account_id IS NULL THEN
            RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was changed', p_account USING ERRCODE = 'LG004';
        END IF;
    END IF;
    IF p_market IS NOT NULL THEN
        v_market_id := ledger._market_id(p_market);
        IF v_market_id IS NULL THEN
            RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was changed', p_market USING ERRCODE = 'LG004';
        END IF;
    END IF;
    PERFORM ledger._check_limit_name('limits', p_name, p_why);
    INSERT INTO ledger.limits (account_id, market_id) VALUES (v_account_id, v_market_id) ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.limits WHERE account_id = v_account_id AND market_id = v_market_id FOR UPDATE;
    v_before := ledger._set_column('limits', p_name, p_value, format('account_id = %s AND market_id = %s', v_account_id, v_market_id));
    INSERT INTO ledger.limit_change (account_id, market_id, name, before, after, why, changed_by, changed_at)
    SELECT v_account_id, v_market_id, p_name, v_before, to_jsonb(l) ->> p_name, left(p_why, 500), session_user, ledger.clock()
    FROM ledger.limits l WHERE l.account_id = v_account_id AND l.market_id = v_market_id;
    RETURN v_before;
END $$;
COMMENT ON FUNCTION ledger.set_limit(text, text, text, text, text) IS
    'Account and market NULL mean all; value NULL means not set at this level. Returns the value before.';

CREATE OR REPLACE FUNCTION ledger._check_limit_name(p_table text, p_name text, p_why text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ('ledger.' || p_table)::regclass AND a.attname = p_name
                   AND a.attnum > 2 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'BAD_REQUEST: there is no limit named %; nothing was changed', p_name USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: a changed limit needs a reason; nothing was changed' USING ERRCODE = 'LG004';
    END IF;
END $$;
COMMENT ON FUNCTION ledger._check_limit_name(text, text, text) IS 'The first two columns of both tables say whose limit it is.';

CREATE OR REPLACE FUNCTION ledger._set_column(p_table text, p_name text, p_value text, p_where text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_before text;
BEGIN
    EXECUTE format('SELECT %I::text FROM ledger.%I WHERE %s', p_name, p_table, p_where) INTO v_before;
    EXECUTE format('UPDATE ledger.%I SET %I = $1::%s WHERE %s', p_table, p_name,
        (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
         WHERE a.attrelid = ('ledger.' || p_table)::regclass AND a.attname = p_name), p_where) USING p_value;
    RETURN v_before;
END $$;

-- file: ledger/sql/functions/reserve.sql
-- purpose: admit an intent: reservation, order, outbox row, key, balance entry and journal in one commit, or a refusal.
-- locks:   exposure rows of the batch (ordered; busy ones are skipped in a batch of several lanes and answered BUSY),
--          then account_state rows (ordered). Keys of an account are serialised by its account_state row.
-- index:   idempotency_key, exposure, account_state, market, outcome, limits, balance by primary key.
-- fence:   mutex_term: a caller that names a term must still hold the market mutex.

CREATE SEQUENCE IF NOT EXISTS ledger.set_id_seq;

CREATE TYPE ledger.request AS (
    item integer, account_id bigint, market_id bigint, outcome smallint, token_id text, side text,
    price_micros bigint, size_micros bigint, order_type text, post_only boolean, expires_at_s bigint,
    class text, origin text, strategy text, context jsonb, key text, valid_for_ms bigint, clamp boolean,
    mutex_term bigint, set_id bigint, replaces_order_id bigint, fingerprint bytea, answer jsonb, asked_price bigint);

CREATE OR REPLACE FUNCTION ledger._refusal(p_item integer, p_code text, p_detail text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT jsonb_build_object('item', p_item, 'status', 'refused', 'code', p_code, 'detail', p_detail) $$;

CREATE OR REPLACE FUNCTION ledger._market_id(p_market text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT m.market_id INTO v_id FROM ledger.market m WHERE m.condition_id = lower(p_market);
    IF NOT FOUND THEN
        SELECT m.market_id INTO v_id FROM ledger.market m WHERE m.slug = p_market
        ORDER BY m.tradable DESC, m.market_id DESC LIMIT 1;
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger._market_id(text) IS
    'By condition id, else by slug: the tradable one, else the newest. NULL if there is none.';

CREATE OR REPLACE FUNCTION ledger._parse_request(p jsonb, p_item integer) RETURNS ledger.request
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    r ledger.request;
    v_wrong text;
    v_code text := 'BAD_REQUEST';
    v_outcome text;
BEGIN
    r.item := p_item;
    IF jsonb_typeof(p) IS DISTINCT FROM 'object' THEN
        r.answer := ledger._refusal(p_item, 'BAD_REQUEST', 'a request is a JSON object');
        RETURN r;
    END IF;
    r.side := p ->> 'side';
    r.order_type := coalesce(p ->> 'order_type', 'GTC');
    r.class := coalesce(p ->> 'class', 'entry');
    r.origin := coalesce(p ->> 'origin', 'other');
    r.strategy := coalesce(p ->> 'strategy', '');
    r.context := coalesce(p -> 'context', '{}');
    r.key := p ->> 'key';
    r.price_micros := ledger._whole(p -> 'price_micros');
    r.asked_price := r.price_micros;
    r.size_micros := ledger._whole(p -> 'size_micros');
    r.valid_for_ms := CASE WHEN p ? 'valid_for_ms' THEN ledger._whole(p -> 'valid_for_ms') ELSE 30000 END;
    r.expires_at_s := CASE WHEN p ? 'expires_at_s' THEN ledger._whole(p -> 'expires_at_s') ELSE 0 END;
    r.mutex_term := ledger._whole(p -> 'mutex_term');
    r.set_id := ledger._whole(p -> 'set_id');
    r.replaces_order_id := ledger._whole(p -> 'replaces_order_id');
    v_outcome := p ->> 'outcome';
    v_wrong := CASE
        WHEN EXISTS (SELECT FROM jsonb_object_keys(p) k WHERE k <> ALL (ARRAY[
            'account', 'market', 'outcome', 'side', 'price_micros', 'size_micros', 'order_type', 'post_only',
            'expires_at_s', 'class', 'origin', 'strategy', 'context', 'key', 'valid_for_ms', 'clamp',
            'mutex_term', 'set_id', 'replaces_order_id']))
            THEN 'unknown field ' || (SELECT left(min(k), 60) FROM jsonb_object_keys(p) k WHERE k <> ALL (ARRAY[
            'account', 'market', 'outcome', 'side', 'price_micros', 'size_micros', 'order_type', 'post_only',
            'expires_at_s', 'class', 'origin', 'strategy', 'context', 'key', 'valid_for_ms', 'clamp',
            'mutex_term', 'set_id', 'replaces_order_id']))
        WHEN r.side IS NULL OR r.side NOT IN ('BUY', 'SELL') THEN 'side must be BUY or SELL'
        WHEN r.order_type NOT IN ('GTC', 'GTD', 'FOK', 'FAK') THEN 'order_type must be GTC, GTD, FOK or FAK'
        WHEN r.class NOT IN ('entry', 'hedge', 'micro_hedge', 'unwind', 'emergency')
            THEN 'class must be entry, hedge, micro_hedge, unwind or emergency'
        WHEN jsonb_typeof(p -> 'post_only') <> 'boolean' OR jsonb_typeof(p -> 'clamp') <> 'boolean'
            THEN 'post_only and clamp are true or false'
        WHEN jsonb_typeof(r.context) <> 'object' OR octet_length(r.context::text) > 8192
            THEN 'context is a JSON object of at most 8192 bytes'
        WHEN octet_length(r.origin) > 100 OR octet_length(r.strategy) > 100 THEN 'origin and strategy are at most 100 bytes'
        WHEN p ? 'mutex_term' AND r.mutex_term IS NULL OR p ? 'set_id' AND r.set_id IS NULL
            THEN 'mutex_term and set_id are whole numbers' END;
    IF v_wrong IS NULL THEN
        r.post_only := coalesce((p ->> 'post_only')::boolean, false);
        r.clamp := coalesce((p ->> 'clamp')::boolean, false);
        v_code := CASE
            WHEN r.key IS NULL OR jsonb_typeof(p -> 'key') <> 'string' OR octet_length(r.key) NOT BETWEEN 1 AND 200
                THEN 'BAD_KEY'
            WHEN r.price_micros IS NULL OR r.price_micros <= 0 OR r.price_micros >= 1000000 THEN 'BAD_PRICE'
            WHEN r.size_micros IS NULL OR r.size_micros <= 0 OR r.size_micros > 1000000000000000
                 OR r.size_micros % 10000 <> 0 THEN 'BAD_SIZE'
            WHEN r.valid_for_ms IS NULL OR r.valid_for_ms NOT BETWEEN 1 AND 86400000 THEN 'BAD_VALIDITY'
            WHEN r.expires_at_s IS NULL OR (r.order_type = 'GTD') <> (r.expires_at_s > 0)
                 OR r.expires_at_s NOT BETWEEN 0 AND 253402300799 THEN 'BAD_VALIDITY'
            WHEN r.post_only AND r.order_type IN ('FOK', 'FAK') THEN 'BAD_REQUEST' END;
        v_wrong := CASE v_code
            WHEN 'BAD_KEY' THEN 'the key must be text of 1 to 200 bytes'
            WHEN 'BAD_PRICE' THEN 'price_micros must be a whole number between 0 and 1000000, exclusive'
            WHEN 'BAD_SIZE' THEN 'size_micros must be a positive whole number of hundredths of a share (10000)'
            WHEN 'BAD_VALIDITY' THEN 'valid_for_ms is 1 to 86400000; expires_at_s is given with GTD and only then'
            WHEN 'BAD_REQUEST' THEN 'post_only goes with GTC and GTD only' END;
    END IF;
    IF v_wrong IS NULL THEN
        SELECT a.account_id INTO r.account_id FROM ledger.account a WHERE a.name = p ->> 'account';
        r.market_id := ledger._market_id(p ->> 'market');
        SELECT x.outcome, x.token_id INTO r.outcome, r.token_id FROM ledger.outcome x
        WHERE x.market_id = r.market_id
          AND (x.outcome::text = v_outcome OR lower(x.label) = lower(v_outcome) OR x.token_id = v_outcome)
        ORDER BY (x.outcome::text = v_outcome) DESC LIMIT 1;
        v_code := CASE
            WHEN r.account_id IS NULL THEN 'UNKNOWN_ACCOUNT'
            WHEN NOT ledger._may_act_for(r.account_id) THEN 'NOT_GRANTED'
            WHEN r.market_id IS NULL THEN 'UNKNOWN_MARKET'
            WHEN r.outcome IS NULL THEN
                CASE WHEN EXISTS (SELECT FROM ledger.outcome x WHERE x.market_id = r.market_id)
                     THEN 'UNKNOWN_OUTCOME' ELSE 'NOT_TRADABLE' END END;
        v_wrong := CASE v_code
            WHEN 'UNKNOWN_ACCOUNT' THEN 'there is no such account'
            WHEN 'NOT_GRANTED' THEN 'this login was not granted the account'
            WHEN 'UNKNOWN_MARKET' THEN 'there is no such market; import it first'
            WHEN 'NOT_TRADABLE' THEN 'the market has no outcomes that can be traded'
            WHEN 'UNKNOWN_OUTCOME' THEN 'the market has no such outcome' END;
    END IF;
    IF v_wrong IS NOT NULL THEN
        r.answer := ledger._refusal(p_item, coalesce(v_code, 'BAD_REQUEST'), v_wrong);
        RETURN r;
    END IF;
    -- What defines the trade, as asked: two requests with this digest are the same request.
    r.fingerprint := sha256(convert_to(concat_ws('|', r.market_id, r.outcome, r.side, r.price_micros, r.size_micros,
        r.order_type, r.post_only, r.expires_at_s, r.class, r.valid_for_ms, r.clamp, r.replaces_order_id), 'UTF8'));
    RETURN r;
END $$;

CREATE OR REPLACE FUNCTION ledger._replay(r ledger.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    k ledger.idempotency_key;
BEGIN
    SELECT * INTO k FROM ledger.idempotency_key x WHERE x.account_id = r.account_id AND x.key = r.key;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF k.fingerprint <> r.fingerprint THEN
        RETURN ledger._refusal(r.item, 'KEY_REUSED', 'the key belongs to another request; nothing was reserved');
    END IF;
    -- What was read may wait for its standby still, and die with this server. An answer is as good as the commit behind it: with
    -- something written, that one waits for the standby as well, and behind the first.
    PERFORM pg_logical_emit_message(true, 'ledger', 'replay');
    IF k.kind = 'replacement' THEN
        RETURN jsonb_build_object('item', r.item, 'status', 'asked', 'replay', true, 'replacement_id', k.subject_id);
    END IF;
    RETURN (SELECT jsonb_build_object('item', r.item, 'status', 'admitted', 'replay', true, 'order_id', o.order_id,
                'price_micros', o.price_micros, 'size_micros', o.size_micros, 'clamped', o.size_micros < r.size_micros)
            FROM ledger.orders o WHERE o.account_id = k.account_id AND o.order_id = k.subject_id);
END $$;

CREATE OR REPLACE FUNCTION ledger._market_refusal(r ledger.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m ledger.market;
    v_now timestamptz := ledger.clock();
    v_code text;
    v_detail text;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF NOT m.tradable THEN
        v_code := 'NOT_TRADABLE'; v_detail := 'the market is not tradable: ' || array_to_string(m.untradable_reasons, ', ');
    ELSIF m.window_end <= v_now THEN
        v_code := 'NOT_TRADABLE'; v_detail := 'the market''s window ended at ' || m.window_end::text;
    ELSIF r.price_micros % m.tick_micros <> 0 THEN
        v_code := 'OFF_TICK'; v_detail := format('price_micros must be a multiple of the tick %s', m.tick_micros);
    ELSIF r.price_micros < m.tick_micros OR r.price_micros > 1000000 - m.tick_micros THEN
        v_code := 'BAD_PRICE'; v_detail := format('price_micros must lie within %s and %s', m.tick_micros, 1000000 - m.tick_micros);
    ELSIF r.size_micros < m.min_size_micros THEN
        v_code := 'BELOW_MINIMUM'; v_detail := format('size_micros must be at least %s', m.min_size_micros);
    ELSIF r.order_type IN ('FOK', 'FAK') AND r.side = 'BUY'
          AND EXISTS (SELECT FROM ledger.account a WHERE a.account_id = r.account_id AND a.venue = 'polymarket') THEN
        -- It spends its collateral whatever the price: at a better one it brings more shares than any hold or cap counts.
        v_code := 'TAKER_BUY_UNBOUNDED';
        v_detail := 'there a FOK or FAK BUY spends its amount and may bring more shares than its size; '
            'send a GTC at the same price with a short validity, and cancel what rests';
    ELSIF r.order_type IN ('FOK', 'FAK') AND r.side = 'BUY' AND r.price_micros::numeric * r.size_micros % 10000000000 <> 0 THEN
        -- The venue takes such an order as an amount to spend, and that has two decimals (docs/venue.md 3.5).
        v_code := 'BAD_SIZE'; v_detail := 'a FOK or FAK BUY must cost a whole number of hundredths of collateral';
    ELSIF r.expires_at_s > 0 AND to_timestamp(r.expires_at_s) < v_now + interval '180 seconds' THEN
        v_code := 'BAD_VALIDITY'; v_detail := 'expires_at_s must lie at least 180 s ahead: the venue refuses less';
    END IF;
    RETURN CASE WHEN v_code IS NOT NULL THEN ledger._refusal(r.item, v_code, v_detail) END;
END $$;
COMMENT ON FUNCTION ledger._market_refusal(ledger.request) IS
    'What the market''s own terms forbid. Judged before any lock is taken, so that such a request writes nothing at all.';

CREATE OR REPLACE FUNCTION ledger._limiter_refusal(
    r ledger.request, e ledger.exposure, l ledger.limits, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_recent integer;
BEGIN
    IF l.burst_per_minute IS NOT NULL AND ledger._slowed(r.account_id, r.market_id) THEN
        l.burst_per_minute := (l.burst_per_minute + 1) / 2;
    END IF;
    v_recent := (SELECT count(*) FROM unnest(e.admitted_at) t WHERE t > p_now - interval '1 minute');
    IF r.side = 'SELL' AND NOT l.burst_counts_sells THEN
        RETURN NULL;
    ELSIF v_recent >= l.burst_per_minute THEN
        RETURN ledger._refusal(r.item,
            CASE WHEN r.set_id IS NOT NULL AND r.set_id = e.last_set_id THEN 'DEFERRED' ELSE 'BURST_MINUTE' END,
            format('%s orders were admitted in the last minute, %s allowed', v_recent, l.burst_per_minute));
    ELSIF r.set_id IS DISTINCT FROM coalesce(e.last_set_id, -1)
          AND e.last_admitted_at > p_now - make_interval(secs => coalesce(l.burst_gap_ms, 0) / 1000.0) THEN
        RETURN ledger._refusal(r.item, 'BURST_GAP', format('the last order was admitted less than %s ms ago', l.burst_gap_ms));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger._count_admission(r ledger.request, l ledger.limits, t ledger.total_limits, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM ledger._count_change(r.account_id, r.market_id, l, t, p_now);
    IF r.side = 'SELL' AND NOT l.burst_counts_sells THEN
        -- The bursts do not count it; the cooldown has to know its set.
        UPDATE ledger.exposure e SET last_set_id = r.set_id
        WHERE e.account_id = r.account_id AND e.market_id = r.market_id AND l.cooldown_ms IS NOT NULL;
    ELSE
        UPDATE ledger.exposure e SET last_admitted_at = p_now, last_set_id = r.set_id,
            -- Only what the limit can count is remembered: at most 600 a minute, nothing where there is no limit.
            admitted_at = CASE WHEN l.burst_per_minute IS NULL THEN '{}' ELSE array(
                SELECT q FROM unnest(e.admitted_at) q WHERE q > p_now - interval '1 minute' ORDER BY q DESC LIMIT 599) || p_now END
        WHERE e.account_id = r.account_id AND e.market_id = r.market_id;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._count_admission(ledger.request, ledger.limits, ledger.total_limits, timestamptz) IS
    'What was admitted counts, also if it is later rejected or not placed. A replacement counts once, when it is asked for.';

CREATE OR REPLACE FUNCTION ledger._judge(
    INOUT r ledger.request, e ledger.exposure, l ledger.limits, t ledger.total_limits, p_now timestamptz) LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m ledger.market;
    v_room bigint;
    v_code text;
    v_detail text;
    v_available bigint;
    v_needed bigint;
    v_halt text;
    v_limited jsonb;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF e.group_key IS DISTINCT FROM m.group_key THEN
        PERFORM ledger._regroup(r.account_id, r.market_id);
        e.group_key := m.group_key;
    END IF;
    r.price_micros := ledger._uncross(r, l, m.tick_micros);
    v_halt := ledger._halted_by(r.account_id, r.market_id);
    v_limited := CASE WHEN r.replaces_order_id IS NULL THEN ledger._limiter_refusal(r, e, l, p_now) END;
    v_room := CASE r.side WHEN 'SELL' THEN r.size_micros ELSE least(
        coalesce(l.max_outcome_micros - ledger._effective(e, r.outcome + 1), r.size_micros),
        coalesce(l.max_market_micros - ledger._effective(e, 1) - ledger._effective(e, 2), r.size_micros)) END;

    IF r.replaces_order_id IS NULL AND r.mutex_term IS NOT NULL
       AND (r.mutex_term <> e.mutex_term OR NOT ledger._mutex_held(e)) THEN
        v_code := 'MUTEX_LOST'; v_detail := 'the market mutex ran out or was taken over; nothing was reserved';
    ELSIF r.replaces_order_id IS NULL AND r.mutex_term IS NULL AND ledger._mutex_held(e) THEN
        v_code := 'LOCKED'; v_detail := 'another evaluation of this market is under way';
    ELSIF v_halt IS NOT NULL THEN
        v_code := 'HALTED'; v_detail := 'halted: ' || v_halt;
    ELSIF e.suspended_until > p_now THEN
        v_code := 'SUSPENDED'; v_detail := format('suspended until %s: %s', e.suspended_until, e.suspended_why);
    ELSIF v_limited IS NOT NULL THEN
        r.answer := v_limited;
        RETURN;
    ELSIF v_room < r.size_micros AND NOT (r.clamp AND r.order_type IN ('GTC', 'GTD') AND v_room / 10000 * 10000 >= m.min_size_micros) THEN
        v_code := CASE WHEN v_room = l.max_outcome_micros - ledger._effective(e, r.outcome + 1) THEN 'CAP_OUTCOME' ELSE 'CAP_MARKET' END;
        v_detail := format('%s share micros are left under the cap', greatest(v_room, 0));
    END IF;
    IF v_code IS NOT NULL THEN
        r.answer := ledger._refusal(r.item, v_code, v_detail);
        RETURN;
    END IF;

    r.size_micros := least(r.size_micros, v_room / 10000 * 10000);
    SELECT b.available INTO v_available FROM ledger.balance b
    WHERE b.account_id = r.account_id AND b.asset = CASE r.side WHEN 'BUY' THEN 'collateral' ELSE r.token_id END;
    v_needed := CASE r.side WHEN 'SELL' THEN r.size_micros ELSE
        ledger.cost_of(r.price_micros, r.size_micros) + ledger.highest_fee(r.price_micros, r.size_micros,
            CASE WHEN r.post_only AND m.fee_taker_only THEN 0 ELSE m.fee_rate_micros END, m.fee_exponent) END;
    r := ledger._risk_refusal(r, e, l, t, m, v_needed, p_now);
    IF r.answer IS NULL AND v_needed > coalesce(v_available, 0) THEN
        r.answer := ledger._refusal(r.item,
            CASE r.side WHEN 'BUY' THEN 'INSUFFICIENT_COLLATERAL' ELSE 'INSUFFICIENT_TOKENS' END,
            format('%s needed, %s available', v_needed, coalesce(v_available, 0)));
    END IF;
END $$;
COMMENT ON FUNCTION ledger._judge(ledger.request, ledger.exposure, ledger.limits, ledger.total_limits, timestamptz) IS
    'Every check that needs the locks: mutex, halts, limiter, caps, risk, balance. Sets answer if refused; clamps size and '
    'the price of a post-only order if asked to.';

CREATE OR REPLACE FUNCTION ledger._admit(
    r ledger.request, l ledger.limits, t ledger.total_limits, p_asked_size bigint, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    o ledger.orders;
    m ledger.market;
    v_held bigint;
    v_same bigint;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF l.duplicate_window_ms > 0 AND NOT l.duplicate_refused THEN
        v_same := ledger._duplicate(r, l.duplicate_window_ms, p_now);
    END IF;
    o.account_id := r.account_id;
    o.order_id := nextval('ledger.order_id_seq');
    o.market_id := r.market_id; o.outcome := r.outcome; o.token_id := r.token_id; o.side := r.side;
    o.price_micros := r.price_micros; o.size_micros := r.size_micros; o.tick_micros := m.tick_micros;
    o.fee_rate_micros := CASE WHEN r.post_only AND m.fee_taker_only THEN 0 ELSE m.fee_rate_micros END;
    o.fee_exponent := m.fee_exponent;
    o.order_type := r.order_type; o.post_only := r.post_only; o.expires_at_s := r.expires_at_s;
    o.class := r.class; o.origin := r.origin; o.strategy := r.strategy; o.context := r.context; o.key := r.key;
    o.set_id := r.set_id; o.replaces_order_id := r.replaces_order_id;
    o.signed_at_ms := floor(extract(epoch FROM p_now) * 1000);
    -- 52 bits that no second intent shares: with signed_at_ms fixed too, whoever signs makes the same bytes.
    o.salt := ('x' || substr(encode(sha256(convert_to(concat_ws('|', o.account_id, o.order_id, r.key, p_now), 'UTF8')),
                             'hex'), 1, 13))::bit(52)::bigint;
    -- By the clock itself: the market's time stands still while the clock is behind it, and nobody is to wait for that.
    o.created_at := least(p_now, ledger.clock());
    o.valid_until := o.created_at + make_interval(secs => r.valid_for_ms / 1000.0);
    o.state := 'RESERVED'; o.cause := '';
    o.size_matched_micros := 0; o.traded_micros := 0; o.confirmed_micros := 0; o.failed_micros := 0; o.attempts := 0;
    o.fate_open := false; o.seen_at_venue := false; o.state_at := p_now;
    o.crossed := ledger._crosses(r, l);
    v_held := ledger._held_by(o, o.size_micros, 0);

    INSERT INTO ledger.orders SELECT o.*;
    INSERT INTO ledger.reservation (account_id, order_id, market_id, outcome, side, phase, shares_micros,
                                    awaiting_micros, asset, held_micros, created_at)
    VALUES (o.account_id, o.order_id, o.market_id, o.outcome, o.side, 'pending', o.size_micros, 0,
            CASE o.side WHEN 'BUY' THEN 'collateral' ELSE o.token_id END, v_held, p_now);
    INSERT INTO ledger.outbox (account_id, market_id, order_id, set_id, passes_block, status, not_before)
    VALUES (o.account_id, o.market_id, o.order_id, o.set_id, o.class IN ('hedge', 'micro_hedge', 'unwind', 'emergency'), 'ready',
            o.created_at);
    IF r.replaces_order_id IS NULL THEN
        INSERT INTO ledger.idempotency_key (account_id, key, fingerprint, kind, subject_id, bound_at)
        VALUES (o.account_id, r.key, r.fingerprint, 'order', o.order_id, p_now);
    END IF;
    IF o.side = 'BUY' THEN
        UPDATE ledger.exposure e SET clock_at = p_now, held_cost = e.held_cost + v_held,
            pending_buy[r.outcome + 1] = e.pending_buy[r.outcome + 1] + o.size_micros
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    ELSE
        UPDATE ledger.exposure e SET clock_at = p_now,
            pending_sell[r.outcome + 1] = e.pending_sell[r.outcome + 1] + o.size_micros
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    END IF;
    PERFORM ledger._carry_risk(o.account_id, o.market_id, 1, false);
    IF r.replaces_order_id IS NULL THEN
        PERFORM ledger._count_admission(r, l, t, p_now);
    END IF;
    PERFORM ledger._book(o.account_id, CASE o.side WHEN 'BUY' THEN 'collateral' ELSE o.token_id END,
        -v_held, v_held, 'RESERVE', format('order:%s:reserve', o.order_id), p_now, o.order_id);
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'RESERVE', o.order_id, NULL, NULL, 'RESERVED',
        jsonb_build_object('side', o.side, 'outcome', o.outcome, 'price', o.price_micros, 'size', o.size_micros,
                           'asked', p_asked_size, 'key', r.key,
                           -- Of what is fixed with the intent and told nowhere else: the audit compares the row with it.
                           'terms', encode(sha256(convert_to(jsonb_build_array(o.token_id, o.tick_micros, o.fee_rate_micros,
                               o.fee_exponent, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin, o.strategy,
                               o.context, o.set_id, o.replaces_order_id, o.salt, extract(epoch FROM o.created_at))::text, 'UTF8')), 'hex'))
            || CASE WHEN o.crossed IS NULL THEN '{}' ELSE jsonb_build_object('crossed', o.crossed) END
            || CASE WHEN o.price_micros = r.asked_price THEN '{}' ELSE jsonb_build_object('asked_price', r.asked_price) END);
    IF v_same IS NOT NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'DUPLICATE_SUSPECTED', o.order_id, NULL, NULL, NULL,
                                jsonb_build_object('same_as', v_same));
    END IF;
    RETURN jsonb_build_object('item', r.item, 'status', 'admitted', 'replay', false, 'order_id', o.order_id,
                              'price_micros', o.price_micros, 'size_micros', o.size_micros, 'clamped', o.size_micros < p_asked_size)
        || CASE WHEN v_same IS NULL THEN '{}' ELSE jsonb_build_object('duplicate_of', v_same) END;
END $$;

CREATE OR REPLACE FUNCTION ledger.reserve_pending(p_requests jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_requests ledger.request[] := '{}';
    v_answers jsonb[] := '{}';
    v_lanes integer;
    r ledger.request;
    e ledger.exposure;
    l ledger.limits;
    t ledger.total_limits;
    v_now timestamptz;
    v_asked bigint;
    v_sets jsonb := '{}';
BEGIN
    PERFORM ledger._enter();
    IF jsonb_typeof(p_requests) IS DISTINCT FROM 'array' OR jsonb_array_length(p_requests) > 256 THEN
        RAISE EXCEPTION 'BAD_REQUEST: reserve_pending takes an array of at most 256 requests; nothing was reserved'
            USING ERRCODE = 'LG004';
    END IF;
    FOR i IN 1 .. jsonb_array_length(p_requests) LOOP
        r := ledger._parse_request(p_requests -> (i - 1), i - 1);
        IF (p_requests -> (i - 1)) ? 'replaces_order_id' THEN
            r.answer := ledger._refusal(i - 1, 'BAD_REQUEST', 'replacing goes through ledger.replace_order');
        END IF;
        -- A binding never changes, so a replay needs no lock. It is answered first, also under a halt.
        IF r.answer IS NULL THEN
            r.answer := coalesce(ledger._replay(r), ledger._market_refusal(r));
        END IF;
        -- Sets are numbered here, per call: a caller that repeated its own number would escape the gap.
        IF r.set_id IS NOT NULL THEN
            v_sets := v_sets || jsonb_build_object(r.set_id::text,
                coalesce(v_sets -> r.set_id::text, to_jsonb(nextval('ledger.set_id_seq'))));
            r.set_id := (v_sets ->> r.set_id::text)::bigint;
        END IF;
        v_requests[i] := r;
        v_answers[i] := r.answer;
    END LOOP;

    INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
    SELECT DISTINCT q.account_id, q.market_id, ledger.clock(), m.group_key
    FROM unnest(v_requests) q JOIN ledger.market m USING (market_id)
    WHERE q.answer IS NULL AND NOT EXISTS (
        SELECT FROM ledger.exposure x WHERE x.account_id = q.account_id AND x.market_id = q.market_id)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    SELECT count(DISTINCT (q.account_id, q.market_id)) INTO v_lanes FROM unnest(v_requests) q WHERE q.answer IS NULL;
    IF v_lanes = 0 THEN
        RETURN to_jsonb(v_answers);
    END IF;
    IF v_lanes = 1 THEN
        PERFORM FROM ledger.exposure x WHERE (x.account_id, x.market_id) IN (
            SELECT q.account_id, q.market_id FROM unnest(v_requests) q WHERE q.answer IS NULL) FOR UPDATE;
    ELSE
        -- A busy market must not hold up the others of the batch: it is answered BUSY, and the caller asks singly.
        v_requests := ledger._lock_free_lanes(v_requests);
    END IF;
    PERFORM FROM ledger.account_state s
    WHERE s.account_id IN (SELECT q.account_id FROM unnest(v_requests) q WHERE q.answer IS NULL)
    ORDER BY s.account_id FOR UPDATE;

    FOR i IN 1 .. cardinality(v_requests) LOOP
        r := v_requests[i];
        IF r.answer IS NULL OR r.fingerprint IS NOT NULL AND EXISTS (
            SELECT FROM unnest(v_requests[1:i - 1]) q WHERE q.account_id = r.account_id AND q.key = r.key) THEN
            -- An item before it may have bound the key meanwhile: that is said first, whatever else is wrong with it.
            r.answer := coalesce(ledger._replay(r), r.answer);
        END IF;
        IF r.answer IS NULL THEN
            SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = r.account_id AND x.market_id = r.market_id;
            -- Read after the lock and never behind a time already used here; stored only if something is admitted.
            v_now := greatest(ledger.clock(), e.clock_at);
            v_asked := r.size_micros;
            -- Once for everything that follows: each is several probes.
            l := ledger._effective_limits(r.account_id, r.market_id);
            t := ledger._totals('account', r.account_id::text);
            r := ledger._judge(r, e, l, t, v_now);
            IF r.answer IS NULL THEN
                r.answer := ledger._admit(r, l, t, v_asked, v_now);
            END IF;
        END IF;
        v_answers[i] := r.answer;
    END LOOP;
    RETURN to_jsonb(v_answers);
END $$;
COMMENT ON FUNCTION ledger.reserve_pending(jsonb) IS
    'Array of requests in, array of answers out, in order. After it returns, what was admitted counts for every other '
    'process. A refusal writes nothing. Set items (equal set_id) count once for the gap and each for the minute.';

CREATE OR REPLACE FUNCTION ledger._lock_free_lanes(p_requests ledger.request[]) RETURNS ledger.request[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_locked record;
    v_lanes text[] := '{}';
    r ledger.request;
    v_out ledger.request[] := '{}';
BEGIN
    FOR v_locked IN
        SELECT x.account_id, x.market_id FROM ledger.exposure x WHERE (x.account_id, x.market_id) IN (
            SELECT q.account_id, q.market_id FROM unnest(p_requests) q WHERE q.answer IS NULL)
        ORDER BY x.account_id, x.market_id FOR UPDATE SKIP LOCKED
    LOOP
        v_lanes := v_lanes || (v_locked.account_id || ':' || v_locked.market_id);
    END LOOP;
    FOREACH r IN ARRAY p_requests LOOP
        IF r.answer IS NULL AND (r.account_id || ':' || r.market_id) <> ALL (v_lanes) THEN
            r.answer := ledger._refusal(r.item, 'BUSY', 'another transaction holds the market; ask for it singly');
        END IF;
        v_out := v_out || r;
    END LOOP;
    RETURN v_out;
END $$;

-- file: ledger/sql/functions/withdraw.sql
-- purpose: the steps of a withdrawal, each one commit: stop, drain, debit with the transfer's bytes, send, end or give back.
-- locks:   (drain: exposure, account_state, orders as _lock_lanes;) account_state, then the withdrawal, its attempt and evidence.
-- index:   withdrawal_running, withdrawal_due, orders_not_ended; else primary keys.
-- fence:   the claim (incarnation, claim_no) for steps, the open attempt of an incarnation for its answer, entry keys for money.

CREATE OR REPLACE FUNCTION ledger._paused_by(p_account_id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT format('account (WITHDRAWAL: %s is under way)', w.withdrawal_id) FROM ledger.withdrawal w
            WHERE w.account_id = p_account_id AND w.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED') AND w.state <> 'REQUESTED');
END $$;
COMMENT ON FUNCTION ledger._paused_by(bigint) IS
    'The withdrawal that pauses the account, or NULL. No halt, which only a person ends: it is over with the withdrawal.';

CREATE OR REPLACE FUNCTION ledger._withdrawal_moves_legally() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF (NEW.account_id, NEW.withdrawal_id, NEW.key, NEW.amount_micros, NEW.destination)
       IS DISTINCT FROM (OLD.account_id, OLD.withdrawal_id, OLD.key, OLD.amount_micros, OLD.destination) THEN
        RAISE EXCEPTION 'withdrawal %: key, amount and destination never change', OLD.withdrawal_id USING ERRCODE = 'LG002';
    ELSIF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('REQUESTED', 'STOPPING'), ('STOPPING', 'DRAINING'), ('DRAINING', 'UNLOCKED'), ('UNLOCKED', 'DEBITED'),
        -- Orders that a read brought back to life after the drain.
        ('UNLOCKED', 'DRAINING'),
        ('DEBITED', 'SENDING'), ('UNKNOWN', 'SENDING'), ('SENDING', 'DEBITED'), ('SENDING', 'UNKNOWN'), ('SENDING', 'DONE'),
        ('SENDING', 'FAILED'), ('DEBITED', 'FAILED'), ('UNKNOWN', 'DONE'), ('UNKNOWN', 'FAILED'), ('FAILED', 'COMPENSATED'),
        -- What is known to have happened wins over whatever was concluded before.
        ('DEBITED', 'DONE'), ('FAILED', 'DONE'), ('COMPENSATED', 'DONE'),
        ('REQUESTED', 'CANCELLED'), ('STOPPING', 'CANCELLED'), ('DRAINING', 'CANCELLED'), ('UNLOCKED', 'CANCELLED')) THEN
        RAISE EXCEPTION 'ILLEGAL_TRANSITION: withdrawal % cannot go from % to %', OLD.withdrawal_id, OLD.state, NEW.state
            USING ERRCODE = 'LG003';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER withdrawal_moves_legally BEFORE UPDATE ON ledger.withdrawal
    FOR EACH ROW EXECUTE FUNCTION ledger._withdrawal_moves_legally();
CREATE OR REPLACE TRIGGER withdrawal_stays BEFORE DELETE ON ledger.withdrawal
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE OR REPLACE TRIGGER withdrawal_transfer_append_only BEFORE UPDATE OR DELETE ON ledger.withdrawal_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();

CREATE OR REPLACE FUNCTION ledger._withdrawal(p_id bigint, p_incarnation uuid DEFAULT NULL, p_claim_no bigint DEFAULT NULL)
RETURNS ledger.withdrawal
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    w ledger.withdrawal;
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.account_state s WHERE s.account_id =
        (SELECT q.account_id FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id) FOR UPDATE;
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id FOR UPDATE;
    IF p_claim_no IS NOT NULL AND (w.claimed_by IS DISTINCT FROM p_incarnation OR w.claim_no <> p_claim_no
                                   OR coalesce(w.claimed_until <= ledger.clock(), true)) THEN
        RETURN NULL;
    END IF;
    RETURN w;
END $$;
COMMENT ON FUNCTION ledger._withdrawal(bigint, uuid, bigint) IS
    'The row under its locks; nothing if the claim that was named is not this worker''s any more.';

CREATE OR REPLACE FUNCTION ledger._withdrawal_is(w ledger.withdrawal, p_state text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT jsonb_build_object('status', 'ok', 'withdrawal_id', w.withdrawal_id, 'state', p_state) $$;

CREATE OR REPLACE FUNCTION ledger._not_claimed() RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT ledger._refusal(0, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; nothing was done') $$;

CREATE OR REPLACE FUNCTION ledger._withdrawal_cannot(w ledger.withdrawal) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT ledger._refusal(0, 'ILLEGAL_TRANSITION', format('withdrawal %s is %s%s; nothing was done', w.withdrawal_id, w.state,
        CASE WHEN w.needs_person_since IS NOT NULL THEN ' and waits for a person' ELSE '' END))
$$;

CREATE OR REPLACE FUNCTION ledger._withdrawal_move(w ledger.withdrawal, p_to text, p_cause text, p_now timestamptz, p_detail jsonb DEFAULT '{}')
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.withdrawal q SET state = p_to, state_at = p_now, cause = left(p_cause, 500), attempts = w.attempts,
        fate_open = w.fate_open AND p_to IN ('SENDING', 'UNKNOWN'), last_deadline = w.last_deadline, reference = w.reference,
        alarm_at = CASE WHEN p_to = 'DRAINING' THEN p_now + make_interval(secs => w.drain_ms / 1000.0)
                        WHEN p_to = 'UNLOCKED' OR p_to = 'DEBITED' AND w.state = 'UNLOCKED'
                            THEN p_now + make_interval(secs => w.alarm_ms / 1000.0)
                        WHEN p_to IN ('DEBITED', 'SENDING', 'UNKNOWN') THEN w.alarm_at END,
        needs_person_since = NULL, needs_person_why = NULL, next_at = p_now,
        -- Each step is claimed anew; only a send keeps its claim until it is answered.
        claimed_until = CASE WHEN p_to = 'SENDING' THEN w.claimed_until END
    WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    PERFORM ledger._journal(w.account_id, NULL, p_now, 'WITHDRAWAL_MOVED', NULL, NULL, w.state, p_to,
        p_detail || jsonb_build_object('withdrawal', w.withdrawal_id, 'cause', left(p_cause, 500)));
    RETURN ledger._withdrawal_is(w, p_to);
END $$;

CREATE OR REPLACE FUNCTION ledger._withdrawal_book(w ledger.withdrawal, p_amount bigint, p_step text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_key text := format('withdrawal:%s:%s', w.withdrawal_id, p_step);
    v_note text := format('withdrawal %s to %s', w.withdrawal_id, w.destination);
BEGIN
    PERFORM ledger._book(w.account_id, 'collateral', p_amount, 0, 'withdrawal', v_key, p_now, NULL, NULL, v_note, 'outside');
    PERFORM ledger._journal(w.account_id, NULL, p_now, 'MOVEMENT', p_detail => jsonb_build_object('asset', 'collateral',
        'amount', p_amount, 'cause', 'withdrawal', 'key', v_key, 'note', v_note, 'value', NULL, 'withdrawal', w.withdrawal_id));
END $$;
COMMENT ON FUNCTION ledger._withdrawal_book(ledger.withdrawal, bigint, text, timestamptz) IS
    'A movement between the account and the outside; its key is of the withdrawal and the step, so that it is booked once. '
    'Nobody else can take that key: book_movement writes under movement: alone.';

CREATE OR REPLACE FUNCTION ledger._drained(p_account_id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN jsonb_build_object(
        'open', (SELECT count(*) FROM ledger.orders o WHERE o.account_id = p_account_id
                 AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')),
        'locked', coalesce((SELECT b.locked FROM ledger.balance b WHERE b.account_id = p_account_id AND b.asset = 'collateral'), 0),
        'available', coalesce((SELECT b.available FROM ledger.balance b
                               WHERE b.account_id = p_account_id AND b.asset = 'collateral'), 0));
END $$;

CREATE OR REPLACE FUNCTION ledger.start_withdrawal(
    p_account text, p_amount bigint, p_destination text, p_key text, p_why text, p_as text,
    p_drain_ms bigint DEFAULT 120000, p_alarm_ms bigint DEFAULT 600000) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    a ledger.account;
    w ledger.withdrawal;
    v_now timestamptz;
    v_there jsonb;
BEGIN
    PERFORM ledger._enter();
    SELECT * INTO a FROM ledger.account q WHERE q.name = p_account;
    IF a.account_id IS NULL THEN
        RETURN ledger._refusal(0, 'UNKNOWN_ACCOUNT', 'there is no such account');
    ELSIF p_key IS NULL OR octet_length(p_key) NOT BETWEEN 1 AND 200 THEN
        RETURN ledger._refusal(0, 'BAD_KEY', 'the key must be text of 1 to 200 bytes');
    ELSIF coalesce(p_amount, 0) <= 0 OR coalesce(p_why, '') !~ '\S' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a withdrawal needs an amount above zero and a reason');
    ELSIF coalesce(p_destination, '') !~ '^0x[0-9a-fA-F]{40}$' OR p_destination ~ '^0x0{40}$'
          OR lower(p_destination) = lower(a.maker) THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'the destination must be the address of another wallet (0x and 40 hex digits)');
    ELSIF p_drain_ms IS NULL OR p_drain_ms NOT BETWEEN 1000 AND 86400000 OR p_alarm_ms IS NULL
          OR p_alarm_ms NOT BETWEEN 1000 AND 86400000 THEN
        RETURN ledger._refusal(0, 'BAD_VALIDITY', 'a person is called after 1 s to 24 h');
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = a.account_id FOR UPDATE;
    v_now := ledger.clock();
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.account_id = a.account_id AND q.key = p_key;
    IF FOUND THEN
        RETURN CASE WHEN (w.amount_micros, w.destination) = (p_amount, lower(p_destination))
            THEN ledger._withdrawal_is(w, w.state) || jsonb_build_object('replay', true)
            ELSE ledger._refusal(0, 'KEY_REUSED', 'the key belongs to another withdrawal; nothing was started') END;
    END IF;
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.account_id = a.account_id AND q.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED');
    v_there := ledger._drained(a.account_id);
    IF w.withdrawal_id IS NOT NULL THEN
        RETURN ledger._refusal(0, 'BUSY', format('withdrawal %s of this account is %s; nothing was started', w.withdrawal_id, w.state));
    ELSIF (v_there ->> 'available')::bigint + (v_there ->> 'locked')::bigint < p_amount THEN
        RETURN ledger._refusal(0, 'INSUFFICIENT_COLLATERAL', format('%s needed, %s available when everything is cancelled', p_amount,
            (v_there ->> 'available')::bigint + (v_there ->> 'locked')::bigint));
    END IF;
    INSERT INTO ledger.withdrawal (account_id, key, amount_micros, destination, why, asked_by, asked_as, asked_at, drain_ms, alarm_ms,
                                   state, state_at, next_at)
    VALUES (a.account_id, p_key, p_amount, lower(p_destination), left(p_why, 500), session_user, left(coalesce(p_as, ''), 200), v_now,
            p_drain_ms, p_alarm_ms, 'REQUESTED', v_now, v_now)
    RETURNING * INTO w;
    PERFORM ledger._journal(a.account_id, NULL, v_now, 'WITHDRAWAL_ASKED', NULL, NULL, NULL, 'REQUESTED', jsonb_build_object(
        'withdrawal', w.withdrawal_id, 'amount', w.amount_micros, 'destination', w.destination, 'key', w.key, 'why', w.why,
        'operator', w.asked_as));
    RETURN ledger._withdrawal_is(w, 'REQUESTED') || jsonb_build_object('replay', false);
END $$;
COMMENT ON FUNCTION ledger.start_withdrawal(text, bigint, text, text, text, text, bigint, bigint) IS
    'Asked once per key: the same key with the same amount and destination is a replay, with others it is refused.';

CREATE OR REPLACE FUNCTION ledger.claim_withdrawals(p_incarnation uuid, p_accounts text[], p_lease_ms integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT q.account_id, q.withdrawal_id FROM ledger.withdrawal q
        WHERE q.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED')
          -- Further ahead than any of these times reaches, it was set before the clock went back.
          AND (q.next_at <= v_now OR q.next_at > v_now + interval '61 seconds')
          AND (q.claimed_until IS NULL OR q.claimed_until <= v_now OR q.claimed_until > v_now + interval '616 seconds')
          AND q.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY q.next_at LIMIT 16 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.withdrawal q SET claimed_by = p_incarnation, claim_no = q.claim_no + 1,
            -- Only a look-up lasts; a send has its claim prolonged when its attempt is opened. Whoever dies at any other
            -- step holds it up for no longer than this.
            claimed_until = v_now + make_interval(secs => least(greatest(p_lease_ms, 100),
                CASE q.state WHEN 'UNKNOWN' THEN 600000 ELSE 3000 END) / 1000.0)
        FROM due WHERE q.account_id = due.account_id AND q.withdrawal_id = due.withdrawal_id
        RETURNING q.*)
    SELECT coalesce(jsonb_agg(jsonb_build_object('withdrawal_id', w.withdrawal_id, 'account', a.name, 'claim_no', w.claim_no,
        'state', w.state, 'amount_micros', w.amount_micros, 'destination', w.destination, 'attempts', w.attempts,
        'reference', w.reference, 'needs_person', w.needs_person_since IS NOT NULL, 'alarm_due', coalesce(w.alarm_at <= v_now, false),
        'since_attempt_ms', (SELECT floor(extract(epoch FROM v_now - max(t.ended_at)) * 1000)::bigint FROM ledger.withdrawal_attempt t
                             WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id),
        'treasury', b.treasury, 'repeatable', b.repeatable, 'hash', b.hash,
        'body', replace(encode(b.body, 'base64'), E'\n', '')) || ledger._drained(w.account_id)
        ORDER BY w.withdrawal_id), '[]') INTO v_out
    FROM claimed w JOIN ledger.account a USING (account_id)
    LEFT JOIN ledger.withdrawal_transfer b USING (account_id, withdrawal_id);
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_withdrawals(uuid, text[], integer) IS
    'What is due and nobody''s: claimed by a guarded update, for p_lease_ms where it is to be looked up and for 3 s at '
    'most elsewhere. Each step that is done gives the claim back.';

CREATE OR REPLACE FUNCTION ledger.stop_for_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
BEGIN
    RETURN CASE WHEN w.withdrawal_id IS NULL THEN ledger._not_claimed()
        WHEN w.state <> 'REQUESTED' THEN ledger._withdrawal_cannot(w)
        ELSE ledger._withdrawal_move(w, 'STOPPING', '', ledger.clock()) END;
END $$;
COMMENT ON FUNCTION ledger.stop_for_withdrawal(bigint, uuid, bigint) IS
    'From its commit on no intent of the account is admitted or sent: both are decided under the account_state lock that this takes.';

CREATE OR REPLACE FUNCTION ledger.drain_for_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := (SELECT q.account_id FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id AND q.state <> 'REQUESTED');
    v_locked bigint[];
    w ledger.withdrawal;
    o ledger.orders;
    v_now timestamptz;
    v_left jsonb;
BEGIN
    -- By condition, as the sweep: repeated until nothing is left that no cancel was asked of.
    v_locked := ledger._lock_lanes(array(
        SELECT q.order_id FROM ledger.orders q WHERE q.account_id = v_account_id AND q.cancel_asked_at IS NULL
        AND q.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED') ORDER BY q.order_id LIMIT 200));
    w := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state NOT IN ('STOPPING', 'DRAINING') THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_locked) AND q.cancel_asked_at IS NULL LOOP
        PERFORM ledger._cancel_one(o, format('withdrawal %s', p_id), ledger._lane_time(o.account_id, o.market_id));
    END LOOP;
    v_now := ledger.clock();
    v_left := ledger._drained(w.account_id);
    IF w.state = 'STOPPING' THEN
        RETURN ledger._withdrawal_move(w, 'DRAINING', '', v_now, v_left) || v_left;
    ELSIF w.needs_person_since IS NULL AND (v_left ->> 'open')::bigint = 0 AND (v_left ->> 'locked')::bigint = 0
          AND (v_left ->> 'available')::bigint >= w.amount_micros AND w.alarm_at > v_now THEN
        RETURN ledger._withdrawal_move(w, 'UNLOCKED', '', v_now, v_left) || v_left;
    END IF;
    RETURN ledger._withdrawal_is(w, w.state) || v_left;
END $$;
COMMENT ON FUNCTION ledger.drain_for_withdrawal(bigint, uuid, bigint) IS
    'Asks for every cancel, and goes on only when no order is open, no collateral is locked, the amount is there, and in time.';

CREATE OR REPLACE FUNCTION ledger.debit_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_transfer jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
    v_left jsonb;
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'UNLOCKED' OR w.needs_person_since IS NOT NULL THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    v_left := ledger._drained(w.account_id);
    IF (v_left ->> 'open')::bigint > 0 OR (v_left ->> 'locked')::bigint > 0 OR (v_left ->> 'available')::bigint < w.amount_micros THEN
        -- A fact has come in since: an order that was thought ended lives, or a fill took its price.
        RETURN ledger._withdrawal_move(w, 'DRAINING', 'NOT_DRAINED', v_now, v_left);
    END IF;
    INSERT INTO ledger.withdrawal_transfer (account_id, withdrawal_id, treasury, repeatable, hash, body, prepared_at, prepared_by)
    VALUES (w.account_id, w.withdrawal_id, p_transfer ->> 'treasury', (p_transfer ->> 'repeatable')::boolean, p_transfer ->> 'hash',
            decode(p_transfer ->> 'body', 'base64'), v_now, p_incarnation);
    PERFORM ledger._withdrawal_book(w, -w.amount_micros, 'debit', v_now);
    RETURN ledger._withdrawal_move(w, 'DEBITED', '', v_now, jsonb_build_object('hash', p_transfer ->> 'hash',
        'treasury', p_transfer ->> 'treasury', 'body', encode(sha256(decode(p_transfer ->> 'body', 'base64')), 'hex')));
END $$;
COMMENT ON FUNCTION ledger.debit_withdrawal(bigint, uuid, bigint, jsonb) IS
    'The debit and the bytes {treasury, repeatable, hash, body (base64)} in one commit. Nothing has been sent by then.';

CREATE OR REPLACE FUNCTION ledger.put_off_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_ms bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.withdrawal q SET claimed_until = NULL,
        next_at = ledger.clock() + make_interval(secs => least(greatest(p_ms, 0), 60000) / 1000.0)
    WHERE q.withdrawal_id = p_id AND q.claimed_by = p_incarnation AND q.claim_no = p_claim_no AND q.claimed_until IS NOT NULL;
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION ledger.escalate_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_why text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.needs_person_since IS NULL THEN
        UPDATE ledger.withdrawal q SET needs_person_since = v_now, needs_person_why = left(p_why, 500), next_at = v_now, claimed_until = NULL
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        PERFORM ledger._journal(w.account_id, NULL, v_now, 'WITHDRAWAL_ESCALATED', NULL, NULL, w.state, w.state,
            jsonb_build_object('withdrawal', w.withdrawal_id, 'why', left(p_why, 500)));
    END IF;
    RETURN ledger._withdrawal_is(w, w.state);
END $$;
COMMENT ON FUNCTION ledger.escalate_withdrawal(bigint, uuid, bigint, text) IS
    'Calls a person. Until one answers it goes no step further, and the account stays paused.';

-- file: ledger/sql/functions/transfer.sql
-- purpose: the transfer of a withdrawal: attempts, answers, what is seen of it, proof of failure, and the word of a person.
-- locks:   account_state, the withdrawal, then its attempt and evidence.
-- index:   primary keys.
-- fence:   an answer needs the open attempt of its incarnation; a failure is believed only when no copy can be carried out any more.

CREATE OR REPLACE FUNCTION ledger.open_transfer(
    p_id bigint, p_incarnation uuid, p_claim_no bigint, p_request_ms bigint, p_valid_ms bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    b ledger.withdrawal_transfer;
    v_now timestamptz := ledger.clock();
    v_send_by timestamptz := v_now + interval '2 seconds';
BEGIN
    SELECT * INTO b FROM ledger.withdrawal_transfer q WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state NOT IN ('DEBITED', 'UNKNOWN') OR w.needs_person_since IS NOT NULL OR b.body IS NULL THEN
        RETURN ledger._withdrawal_cannot(w);
    ELSIF NOT b.repeatable AND EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = w.account_id
              AND t.withdrawal_id = w.withdrawal_id AND t.outcome <> 'not_sent') THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', 'a copy may have left, and a second one could move the money twice; send nothing');
    ELSIF coalesce(p_request_ms, 0) NOT BETWEEN 1 AND 600000 OR coalesce(p_valid_ms, -1) NOT BETWEEN 0 AND 86400000 THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'how long a request and its bytes live is needed; send nothing');
    END IF;
    w.attempts := w.attempts + 1;
    w.last_deadline := greatest(w.last_deadline, v_send_by + make_interval(secs => (p_request_ms + p_valid_ms) / 1000.0));
    -- The claim outlives the request, so that what is sent under it is recorded under it.
    w.claimed_until := v_now + make_interval(secs => (p_request_ms + 15000) / 1000.0);
    INSERT INTO ledger.withdrawal_attempt (account_id, withdrawal_id, attempt, incarnation, opened_at, send_by, deadline)
    VALUES (w.account_id, w.withdrawal_id, w.attempts, p_incarnation, v_now, v_send_by, w.last_deadline);
    RETURN ledger._withdrawal_move(w, 'SENDING', '', v_now, jsonb_build_object('attempt', w.attempts, 'deadline', w.last_deadline))
        || jsonb_build_object('attempt', w.attempts, 'send_within_ms', 2000);
END $$;
COMMENT ON FUNCTION ledger.open_transfer(bigint, uuid, bigint, bigint, bigint) IS
    'The stored bytes may leave only after this has returned ok, and only until send_within_ms after a monotonic clock reading '
    'taken before the call. p_request_ms, p_valid_ms: how long the request lasts, and how long after it a copy may still be '
    'carried out.';

CREATE OR REPLACE FUNCTION ledger._transfer_evidence(w ledger.withdrawal, p_kind text, p_detail text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.withdrawal_evidence e SET times = e.times + 1, last_seen_at = p_now
    WHERE e.account_id = w.account_id AND e.withdrawal_id = w.withdrawal_id AND e.kind = p_kind AND e.detail = left(p_detail, 2000)
      AND e.evidence_id = (SELECT max(q.evidence_id) FROM ledger.withdrawal_evidence q
                           WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id);
    IF NOT FOUND THEN
        INSERT INTO ledger.withdrawal_evidence (account_id, withdrawal_id, kind, detail, seen_at, last_seen_at)
        VALUES (w.account_id, w.withdrawal_id, p_kind, left(p_detail, 2000), p_now, p_now);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._transfer_done(w ledger.withdrawal, p_cause text, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF w.state = 'DONE' THEN
        RETURN ledger._withdrawal_is(w, 'DONE');
    ELSIF w.state = 'COMPENSATED' THEN
        -- A fact is always booked. Somebody concluded what was not so: trading stops until a person has looked.
        PERFORM ledger._withdrawal_book(w, -w.amount_micros, 'debit_again', p_now);
    END IF;
    IF w.state IN ('FAILED', 'COMPENSATED') THEN
        PERFORM ledger._halt_once('account', w.account_id::text,
            format('WITHDRAWAL_CAME_LATE: %s was carried out after it had been given up', w.withdrawal_id), p_now);
    END IF;
    RETURN ledger._withdrawal_move(w, 'DONE', p_cause, p_now);
END $$;

CREATE OR REPLACE FUNCTION ledger.record_transfer(
    p_id bigint, p_incarnation uuid, p_attempt integer, p_outcome text, p_code text, p_answer text, p_reference text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_code text := left(coalesce(p_code, ''), 200);
BEGIN
    IF w.withdrawal_id IS NULL OR p_outcome NOT IN ('done', 'accepted', 'refused', 'not_sent', 'unsure') THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'no such withdrawal or outcome; nothing was recorded');
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = p_outcome, code = v_code, answer = left(coalesce(p_answer, ''), 8192), ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.attempt = p_attempt
      AND t.incarnation = p_incarnation AND t.outcome = 'open';
    IF NOT FOUND OR w.state <> 'SENDING' THEN
        PERFORM ledger._transfer_evidence(w, 'late_answer', format('attempt %s: %s %s %s', p_attempt, p_outcome, v_code, p_answer), v_now);
        UPDATE ledger.withdrawal q SET reference = coalesce(q.reference, left(p_reference, 200))
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        IF p_outcome = 'done' AND w.attempts > 0 THEN
            w.reference := coalesce(w.reference, left(p_reference, 200));
            RETURN ledger._transfer_done(w, 'LATE_ANSWER', v_now);
        END IF;
        RETURN ledger._refusal(0, 'STALE_ATTEMPT', 'this attempt is not open for this worker; kept as evidence');
    END IF;
    w.reference := coalesce(left(p_reference, 200), w.reference);
    w.fate_open := w.fate_open OR p_outcome IN ('accepted', 'unsure');
    RETURN CASE
        WHEN p_outcome = 'done' THEN ledger._transfer_done(w, v_code, v_now)
        -- A refusal of this copy proves nothing about an earlier one.
        WHEN w.fate_open THEN ledger._withdrawal_move(w, 'UNKNOWN', v_code, v_now, jsonb_build_object('outcome', p_outcome))
        WHEN p_outcome = 'refused' THEN ledger._withdrawal_move(w, 'FAILED', v_code, v_now, jsonb_build_object('proof', 'refused'))
        ELSE ledger._withdrawal_move(w, 'DEBITED', v_code, v_now, jsonb_build_object('outcome', p_outcome)) END;
END $$;
COMMENT ON FUNCTION ledger.record_transfer(bigint, uuid, integer, text, text, text, text) IS
    'How an attempt ended: done, accepted (not carried out yet), refused (proof that this copy moves nothing), not_sent, unsure. '
    'Whatever is in doubt becomes UNKNOWN and stays debited.';

CREATE OR REPLACE FUNCTION ledger.lapse_transfer(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'SENDING' THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = 'lapsed', ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open';
    w.fate_open := true;
    RETURN ledger._withdrawal_move(w, 'UNKNOWN', 'CLAIM_LAPSED', v_now);
END $$;
COMMENT ON FUNCTION ledger.lapse_transfer(bigint, uuid, bigint) IS
    'Whoever was sending has lost its claim without an answer: the transfer may have left or not.';

CREATE OR REPLACE FUNCTION ledger._may_still_arrive(w ledger.withdrawal, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN coalesce(w.last_deadline >= p_now, false) OR EXISTS (SELECT FROM ledger.withdrawal_attempt t
        WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open' AND t.deadline >= p_now);
END $$;

CREATE OR REPLACE FUNCTION ledger.note_transfer(
    p_id bigint, p_incarnation uuid, p_claim_no bigint, p_finding text, p_proof boolean, p_detail text, p_reference text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'UNKNOWN' OR p_finding NOT IN ('done', 'failed', 'pending', 'absent', 'unread') THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    PERFORM ledger._transfer_evidence(w, p_finding, coalesce(p_detail, ''), v_now);
    w.reference := coalesce(w.reference, left(p_reference, 200));
    IF p_finding = 'done' THEN
        RETURN ledger._transfer_done(w, 'SEEN', v_now);
    ELSIF p_finding IN ('failed', 'absent') AND p_proof AND NOT ledger._may_still_arrive(w, v_now) THEN
        RETURN ledger._withdrawal_move(w, 'FAILED', 'PROVEN_' || upper(p_finding), v_now, jsonb_build_object('proof', p_finding));
    END IF;
    UPDATE ledger.withdrawal q SET reference = w.reference WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    RETURN ledger._withdrawal_is(w, w.state);
END $$;
COMMENT ON FUNCTION ledger.note_transfer(bigint, uuid, bigint, text, boolean, text, text) IS
    'What a look-up found. failed and absent end it only where the read is proof (p_proof) and no copy can still be carried out.';

CREATE OR REPLACE FUNCTION ledger._compensate(w ledger.withdrawal, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    w.state := 'FAILED';
    PERFORM ledger._withdrawal_book(w, w.amount_micros, 'credit', p_now);
    RETURN ledger._withdrawal_move(w, 'COMPENSATED', '', p_now);
END $$;

CREATE OR REPLACE FUNCTION ledger.compensate_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
BEGIN
    RETURN CASE WHEN w.withdrawal_id IS NULL THEN ledger._not_claimed()
        WHEN w.state <> 'FAILED' THEN ledger._withdrawal_cannot(w) ELSE ledger._compensate(w, ledger.clock()) END;
END $$;
COMMENT ON FUNCTION ledger.compensate_withdrawal(bigint, uuid, bigint) IS 'Gives the money back, once: FAILED is reached by proof alone.';

CREATE OR REPLACE FUNCTION ledger.cancel_withdrawal(p_id bigint, p_why text, p_as text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_who jsonb := jsonb_build_object('why', left(p_why, 500), 'operator', left(coalesce(p_as, ''), 200));
BEGIN
    IF w.withdrawal_id IS NULL OR coalesce(p_why, '') !~ '\S' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', CASE WHEN w.withdrawal_id IS NULL THEN 'there is no such withdrawal'
            ELSE 'cancelling needs a reason' END || '; nothing was changed');
    ELSIF w.state = 'CANCELLED' THEN
        RETURN ledger._withdrawal_is(w, 'CANCELLED');
    ELSIF w.state IN ('DONE', 'COMPENSATED') THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('withdrawal %s is %s; nothing was changed', p_id, w.state));
    ELSIF w.state IN ('REQUESTED', 'STOPPING', 'DRAINING', 'UNLOCKED') THEN
        RETURN ledger._withdrawal_move(w, 'CANCELLED', 'CANCEL_ASKED', v_now, v_who);
    ELSIF w.state = 'DEBITED' THEN
        -- No attempt was opened, or each is known not to have left: that is proof.
        PERFORM ledger._withdrawal_move(w, 'FAILED', 'CANCEL_ASKED', v_now, v_who || '{"proof": "not_sent"}');
        RETURN ledger._compensate(w, v_now);
    ELSIF w.state = 'FAILED' THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    RETURN ledger._refusal(0, 'NOT_PROVEN', format('withdrawal %s is %s: its transfer may have left; nothing was changed', p_id, w.state));
END $$;
COMMENT ON FUNCTION ledger.cancel_withdrawal(bigint, text, text) IS
    'Before anything was sent. The pause ends with it; a debit is given back in the same commit. Safe to repeat.';

CREATE OR REPLACE FUNCTION ledger.resolve_withdrawal(p_id bigint, p_as text, p_why text, p_operator text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_who jsonb := jsonb_build_object('as', p_as, 'why', left(p_why, 500), 'operator', left(coalesce(p_operator, ''), 200));
BEGIN
    IF w.withdrawal_id IS NULL OR coalesce(p_why, '') !~ '\S' OR coalesce(p_as, '') NOT IN ('done', 'failed', 'continue') THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', CASE WHEN w.withdrawal_id IS NULL THEN 'there is no such withdrawal'
            ELSE 'resolve as done, failed or continue, and say why' END || '; nothing was changed');
    ELSIF w.state IN ('DONE', 'COMPENSATED', 'CANCELLED') THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('withdrawal %s is %s; nothing was changed', p_id, w.state));
    ELSIF p_as = 'continue' AND w.needs_person_since IS NULL OR p_as <> 'continue' AND w.state NOT IN ('UNKNOWN', 'SENDING', 'FAILED') THEN
        RETURN ledger._withdrawal_cannot(w);
    ELSIF p_as <> 'continue' AND (w.state = 'SENDING' OR w.state = 'UNKNOWN' AND p_as = 'failed') AND ledger._may_still_arrive(w, v_now) THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', format('a copy may still be carried out until %s; nothing was changed', w.last_deadline));
    END IF;
    PERFORM ledger._transfer_evidence(w, 'operator', format('%s: %s: %s', p_operator, p_as, p_why), v_now);
    IF p_as = 'continue' THEN
        UPDATE ledger.withdrawal q SET needs_person_since = NULL, needs_person_why = NULL, next_at = v_now,
            alarm_at = v_now + make_interval(secs => CASE w.state WHEN 'DRAINING' THEN w.drain_ms ELSE w.alarm_ms END / 1000.0)
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        PERFORM ledger._journal(w.account_id, NULL, v_now, 'WITHDRAWAL_CONTINUED', NULL, NULL, w.state, w.state,
            v_who || jsonb_build_object('withdrawal', w.withdrawal_id));
        RETURN ledger._withdrawal_is(w, w.state);
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = 'lapsed', ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open';
    IF p_as = 'done' THEN
        RETURN ledger._withdrawal_move(w, 'DONE', 'OPERATOR', v_now, v_who);
    ELSIF w.state = 'FAILED' THEN
        RETURN ledger._compensate(w, v_now);
    END IF;
    PERFORM ledger._withdrawal_move(w, 'FAILED', 'OPERATOR', v_now, v_who || '{"proof": "operator"}');
    RETURN ledger._compensate(w, v_now);
END $$;
COMMENT ON FUNCTION ledger.resolve_withdrawal(bigint, text, text, text) IS
    'A person who has looked says it is done, or that it failed (the money is given back: once that is proven, or no copy '
    'can be carried out any more), or lets what waits for a person go on with its time anew.';

-- file: ledger/sql/functions/risk.sql
-- purpose: every limit of a reservation beyond caps and bursts: what it costs, when, how often, at which price, against whom.
-- locks:   the caller holds exposure and account_state; loans and pools follow (totals.sql).
-- index:   orders_not_ended and orders_of_market for the lane's own orders; book, breaker, total_limits by primary key.
-- fence:   judged under the locks that the admission needs, in the same call.

CREATE OR REPLACE FUNCTION ledger._basis_after(
    p_basis bigint, p_held bigint, p_moved bigint, p_cost bigint, p_undone boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    v_left bigint := p_held + p_moved;
BEGIN
    RETURN CASE WHEN v_left <= 0 THEN 0
        -- What comes in adds what it cost and not a micro more; of what fills a gap below zero only the shares above it.
        WHEN p_moved > 0 AND p_held < 0 THEN ceil(p_cost::numeric * v_left / p_moved)
        -- Part of what a failed buy cost has gone with sales since: all of it taken off would be more than is there of it.
        WHEN p_undone THEN least(p_basis, greatest(p_basis + p_cost, ceil(p_basis::numeric * v_left / p_held)))
        WHEN p_moved >= 0 THEN greatest(p_basis + p_cost, 0)
        -- What goes out takes its part of the average.
        ELSE p_basis - floor(p_basis::numeric * -p_moved / p_held) END::bigint;
END $$;
COMMENT ON FUNCTION ledger._basis_after(bigint, bigint, bigint, bigint, boolean) IS
    'What a position cost, after p_moved shares came (p_cost: theirs) or went. An average over all buys, whenever they were, would '
    'let a cheap buy after a sale raise what is at risk by more than it cost: beyond a cap that admitted it. p_undone: a buy failed.';

CREATE OR REPLACE FUNCTION ledger._carry_risk(
    p_account_id bigint, p_market_id bigint, p_opened integer DEFAULT 0, p_fact boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    v_cost bigint;
    v_shares bigint;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_cost := e.held_cost + e.basis[1] + e.basis[2] - e.at_risk;
    v_shares := greatest(ledger._effective(e, 1), 0) + greatest(ledger._effective(e, 2), 0) - e.shares;
    IF v_cost = 0 AND v_shares = 0 AND p_opened = 0 THEN
        RETURN;
    END IF;
    UPDATE ledger.exposure x SET at_risk = x.at_risk + v_cost, shares = x.shares + v_shares,
        open_orders = x.open_orders + p_opened
    WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    UPDATE ledger.account_state s SET at_risk = s.at_risk + v_cost, shares = s.shares + v_shares,
        open_orders = s.open_orders + p_opened
    WHERE s.account_id = p_account_id;
    IF e.group_key IS NOT NULL AND (v_cost <> 0 OR v_shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, e.group_key, v_cost, v_shares);
    END IF;
    IF p_fact AND (v_cost > 0 OR v_shares > 0) THEN
        PERFORM ledger._owe(p_account_id, e.group_key);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._carry_risk(bigint, bigint, integer, boolean) IS
    'After any change of a lane''s counters: the difference goes on to the totals of its account and group. p_fact: it was '
    'not admitted within a loan, so what is lent follows it.';

CREATE OR REPLACE FUNCTION ledger._add_to_group(p_account_id bigint, p_group text, p_cost bigint, p_shares bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.group_state AS g (account_id, group_key, at_risk, shares)
    VALUES (p_account_id, p_group, p_cost, p_shares)
    ON CONFLICT (account_id, group_key) DO UPDATE SET at_risk = g.at_risk + p_cost, shares = g.shares + p_shares;
END $$;

CREATE OR REPLACE FUNCTION ledger._regroup(p_account_id bigint, p_market_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    v_group text;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    SELECT m.group_key INTO v_group FROM ledger.market m WHERE m.market_id = p_market_id;
    IF e.group_key IS NOT DISTINCT FROM v_group THEN
        RETURN;
    END IF;
    UPDATE ledger.exposure SET group_key = v_group WHERE account_id = p_account_id AND market_id = p_market_id;
    IF e.group_key IS NOT NULL AND (e.at_risk <> 0 OR e.shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, e.group_key, -e.at_risk, -e.shares);
    END IF;
    IF v_group IS NOT NULL AND (e.at_risk <> 0 OR e.shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, v_group, e.at_risk, e.shares);
        PERFORM ledger._owe(p_account_id, v_group);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._regroup(bigint, bigint) IS
    'A market that was imported into another group takes what is at risk in it along. Under the lane''s and account''s locks.';

CREATE OR REPLACE FUNCTION ledger.sweep_groups() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x record;
    v_moved integer := 0;
BEGIN
    PERFORM ledger._enter();
    FOR x IN
        SELECT e.account_id, e.market_id FROM ledger.exposure e JOIN ledger.market m USING (market_id)
        WHERE e.group_key IS DISTINCT FROM m.group_key ORDER BY e.account_id, e.market_id LIMIT 500
    LOOP
        PERFORM FROM ledger.exposure e WHERE e.account_id = x.account_id AND e.market_id = x.market_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM ledger._regroup(x.account_id, x.market_id);
        v_moved := v_moved + 1;
    END LOOP;
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION ledger.sweep_groups() IS 'Lanes whose market changed its group since. A reservation does it for its own lane at once.';

CREATE OR REPLACE FUNCTION ledger._unwinds(r ledger.request) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT r.side = 'SELL' AND r.class IN ('unwind', 'emergency') $$;
COMMENT ON FUNCTION ledger._unwinds(ledger.request) IS
    'Sells only what is confirmed and not offered yet: it can only make the position smaller. A class alone opens no door.';

CREATE OR REPLACE FUNCTION ledger._time_refusal(r ledger.request, l ledger.limits, m ledger.market, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_opens timestamptz := m.window_start + make_interval(secs => l.open_buffer_ms / 1000.0);
    v_closes timestamptz := m.window_end - make_interval(secs => l.close_buffer_ms / 1000.0);
BEGIN
    RETURN CASE
        WHEN v_opens > p_now THEN ledger._refusal(r.item, 'TOO_EARLY', format('this market is traded from %s on', v_opens))
        WHEN v_closes <= p_now THEN ledger._refusal(r.item, 'TOO_LATE', format('this market was traded until %s', v_closes))
        WHEN NOT l.weekend_allowed AND extract(isodow FROM p_now AT TIME ZONE 'UTC') >= 6
            THEN ledger._refusal(r.item, 'WEEKEND', 'nothing is opened on Saturdays and Sundays (UTC)') END;
END $$;

CREATE OR REPLACE FUNCTION ledger._tokens_left(p_tokens bigint, p_at timestamptz, p_per_minute integer, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF p_tokens IS NULL THEN
        RETURN p_per_minute::bigint * 1000000;
    ELSIF p_now < p_at THEN
        -- The clock went back: what was used up stays used up until it has passed there again.
        RETURN least(p_tokens, p_per_minute::bigint * 1000000);
    END IF;
    RETURN least(p_per_minute::bigint * 1000000,
        p_tokens + (extract(epoch FROM least(p_now - p_at, interval '1 minute')) * p_per_minute / 60 * 1000000)::bigint);
END $$;
COMMENT ON FUNCTION ledger._tokens_left(bigint, timestamptz, integer, timestamptz) IS
    'Changes that may still be made, in millionths: a bucket of one minute''s worth that fills evenly.';

CREATE OR REPLACE FUNCTION ledger._lane_budget(l ledger.limits, t ledger.total_limits) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- Where only the account has a budget a market may use a quarter of it: one busy market must not starve the others.
    RETURN coalesce(l.changes_per_minute, (t.changes_per_minute + 3) / 4);
END $$;

CREATE OR REPLACE FUNCTION ledger._change_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, l ledger.limits, t ledger.total_limits, p_now timestamptz)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN CASE
        WHEN e.changed_at > p_now - make_interval(secs => coalesce(l.cooldown_ms, 0) / 1000.0)
             AND NOT (r.set_id IS NOT NULL AND r.set_id IS NOT DISTINCT FROM e.last_set_id)
            THEN ledger._refusal(r.item, 'COOLDOWN', format('the market was changed less than %s ms ago', l.cooldown_ms))
        WHEN ledger._tokens_left(e.change_tokens, e.change_tokens_at, ledger._lane_budget(l, t), p_now) < 1000000
            THEN ledger._refusal(r.item, 'CHANGES_MINUTE', format('the market''s budget of %s changes a minute is used up',
                ledger._lane_budget(l, t)))
        WHEN ledger._tokens_left(s.change_tokens, s.change_tokens_at, t.changes_per_minute, p_now) < 1000000
            THEN ledger._refusal(r.item, 'CHANGES_MINUTE', format('the account''s budget of %s changes a minute is used up',
                t.changes_per_minute)) END;
END $$;

CREATE OR REPLACE FUNCTION ledger._count_change(
    p_account_id bigint, p_market_id bigint, l ledger.limits, t ledger.total_limits, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_lane integer := ledger._lane_budget(l, t);
BEGIN
    -- A cancel may overdraw: it is never refused, and what follows it waits.
    UPDATE ledger.exposure e SET changed_at = p_now,
        change_tokens = ledger._tokens_left(e.change_tokens, e.change_tokens_at, v_lane, p_now) - 1000000,
        change_tokens_at = CASE WHEN v_lane IS NOT NULL THEN p_now END
    WHERE e.account_id = p_account_id AND e.market_id = p_market_id AND (l.cooldown_ms IS NOT NULL OR v_lane IS NOT NULL);
    IF t.changes_per_minute IS NOT NULL THEN
        UPDATE ledger.account_state s SET change_tokens_at = p_now,
            change_tokens = ledger._tokens_left(s.change_tokens, s.change_tokens_at, t.changes_per_minute, p_now) - 1000000
        WHERE s.account_id = p_account_id;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._count_change(bigint, bigint, ledger.limits, ledger.total_limits, timestamptz) IS
    'A placement, a replacement or a cancel asked for by whoever trades. Protective cancels are none.';

CREATE OR REPLACE FUNCTION ledger._self_match(r ledger.request) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Two bids that cost a whole together are matched by minting a pair, two offers by merging one.
    RETURN (SELECT o.order_id FROM ledger.orders o
        WHERE o.account_id = r.account_id AND o.market_id = r.market_id
          AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND o.order_id IS DISTINCT FROM r.replaces_order_id
          AND CASE WHEN o.side <> r.side THEN o.outcome = r.outcome AND CASE r.side WHEN 'BUY' THEN o.price_micros <= r.price_micros
                                                                                ELSE o.price_micros >= r.price_micros END
                   ELSE o.outcome <> r.outcome AND CASE r.side WHEN 'BUY' THEN o.price_micros + r.price_micros >= 1000000
                                                               ELSE o.price_micros + r.price_micros <= 1000000 END END
        ORDER BY o.order_id LIMIT 1);
END $$;
COMMENT ON FUNCTION ledger._self_match(ledger.request) IS
    'An order of our own that this one could trade with, the complementary outcome included; NULL if there is none.';

CREATE OR REPLACE FUNCTION ledger._duplicate(r ledger.request, p_window_ms integer, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    q record;
BEGIN
    -- From the latest backwards, as far as the window reaches. By the market's time, which never runs backwards.
    FOR q IN SELECT o.order_id, o.outcome, o.side, o.price_micros, o.size_micros, v.created_at FROM ledger.orders o
             JOIN ledger.reservation v ON v.account_id = o.account_id AND v.order_id = o.order_id
             WHERE o.account_id = r.account_id AND o.market_id = r.market_id ORDER BY o.order_id DESC LOOP
        EXIT WHEN q.created_at <= p_now - make_interval(secs => p_window_ms / 1000.0);
        IF (q.outcome, q.side, q.price_micros, q.size_micros) = (r.outcome, r.side, r.price_micros, r.size_micros)
           AND q.order_id IS DISTINCT FROM r.replaces_order_id THEN
            RETURN q.order_id;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ledger._duplicate(ledger.request, integer, timestamptz) IS
    'The same order under another key a moment ago, or NULL.';

CREATE OR REPLACE FUNCTION ledger._leaving(e ledger.exposure, i integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT e.pending_sell[i] + e.open_sell[i] + e.awaiting_sell[i] + e.provisional_sell[i] $$;
COMMENT ON FUNCTION ledger._leaving(ledger.exposure, integer) IS 'Shares offered or sold that the position still counts.';

CREATE OR REPLACE FUNCTION ledger._size_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, l ledger.limits, t ledger.total_limits, p_cost bigint)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_largest bigint := l.max_order_micros;
    v_lead bigint;
BEGIN
    IF r.side = 'BUY' AND s.size_factor_ppm < 1000000 THEN
        v_largest := (v_largest::numeric * s.size_factor_ppm / 1000000)::bigint;
        IF s.size_factor_ppm = 0 THEN
            RETURN ledger._refusal(r.item, 'DRAWDOWN', 'the drawdown of the account has reached its end: nothing is opened');
        END IF;
    END IF;
    -- What this order would make one outcome lead by, if all buys of that one and all sells of the other trade.
    v_lead := r.size_micros + CASE r.side
        WHEN 'BUY' THEN ledger._effective(e, r.outcome + 1) - ledger._effective(e, 2 - r.outcome) + ledger._leaving(e, 2 - r.outcome)
        ELSE ledger._effective(e, 2 - r.outcome) - ledger._effective(e, r.outcome + 1) + ledger._leaving(e, r.outcome + 1) END;
    RETURN CASE
        WHEN r.size_micros > v_largest THEN ledger._refusal(r.item, 'ORDER_SIZE', format('at most %s share micros an order', v_largest))
        WHEN p_cost > l.max_order_cost_micros AND r.side = 'BUY'
            THEN ledger._refusal(r.item, 'ORDER_COST', format('it costs up to %s, %s allowed an order', p_cost, l.max_order_cost_micros))
        WHEN e.open_orders >= l.max_open_orders
            THEN ledger._refusal(r.item, 'OPEN_ORDERS', format('%s orders of this market have not ended', e.open_orders))
        WHEN s.open_orders >= t.max_open_orders
            THEN ledger._refusal(r.item, 'OPEN_ORDERS', format('%s orders of the account have not ended', s.open_orders))
        WHEN v_lead > l.max_imbalance_micros AND NOT ledger._unwinds(r)
            THEN ledger._refusal(r.item, 'IMBALANCE', format('one outcome would lead by %s share micros, %s allowed', v_lead,
                l.max_imbalance_micros))
        WHEN r.side = 'BUY' AND e.at_risk + p_cost > l.max_market_cost_micros
            THEN ledger._refusal(r.item, 'CAP_MARKET_COST', format('%s collateral micros are left for this market',
                greatest(l.max_market_cost_micros - e.at_risk, 0))) END;
END $$;

CREATE OR REPLACE FUNCTION ledger._risk_refusal(
    INOUT r ledger.request, e ledger.exposure, l ledger.limits, t ledger.total_limits, m ledger.market, p_cost bigint,
    p_now timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    s ledger.account_state;
    v_other bigint;
BEGIN
    SELECT * INTO s FROM ledger.account_state x WHERE x.account_id = r.account_id;
    IF NOT ledger._unwinds(r) THEN
        r.answer := ledger._time_refusal(r, l, m, p_now);
        IF r.answer IS NULL AND r.replaces_order_id IS NULL THEN
            r.answer := ledger._change_refusal(r, e, s, l, t, p_now);
        END IF;
    END IF;
    r.answer := coalesce(r.answer, ledger._breaker_refusal(r, p_now), ledger._size_refusal(r, e, s, l, t, p_cost));
    IF r.answer IS NULL AND NOT l.self_match_allowed THEN
        v_other := ledger._self_match(r);
        IF v_other IS NOT NULL THEN
            r.answer := ledger._refusal(r.item, 'SELF_MATCH', format('it could trade with order %s of the same account', v_other));
        END IF;
    END IF;
    IF r.answer IS NULL AND l.duplicate_refused AND l.duplicate_window_ms > 0 THEN
        v_other := ledger._duplicate(r, l.duplicate_window_ms, p_now);
        IF v_other IS NOT NULL THEN
            r.answer := ledger._refusal(r.item, 'DUPLICATE', format('order %s of %s ms ago is the same under another key', v_other,
                (SELECT floor(extract(epoch FROM p_now - o.created_at) * 1000) FROM ledger.orders o
                 WHERE o.account_id = r.account_id AND o.order_id = v_other)));
        END IF;
    END IF;
    IF r.answer IS NULL THEN
        r.answer := ledger._book_refusal(r, l, p_now);
    END IF;
    IF r.answer IS NULL AND r.side = 'BUY' THEN
        r.answer := ledger._total_refusal(r, e, s, t, p_cost);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._risk_refusal(
    ledger.request, ledger.exposure, ledger.limits, ledger.total_limits, ledger.market, bigint, timestamptz) IS
    'Everything docs/risk.md lists beyond caps, bursts and balances; the totals last, since they may borrow.';

-- file: ledger/sql/functions/totals.sql
-- purpose: limits on totals (account, group, all accounts, all live accounts) and how those of several accounts are lent out.
-- locks:   account_state, then the account's own loans, then one lock for all pools (_hold_pools), then others' loans with SKIP
--          LOCKED. Others' loans are locked under it only, and who has it waits for nothing that anybody else may have: so in
--          whatever order a batch meets its pools, there is no circle.
--          set_total_limit: the row of the limit, then that account, or (a first cap over several) all of them, then the pools.
-- index:   total_limits, pool and loan by primary key; loan_of_pool.
-- fence:   an account reserves inside its loan, under the loan's row lock; the pool never lends more than the cap.

CREATE OR REPLACE FUNCTION ledger._totals(p_scope text, p_scope_id text) RETURNS ledger.total_limits
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    d ledger.total_limits;
    t ledger.total_limits;
BEGIN
    SELECT * INTO d FROM ledger.total_limits x WHERE x.scope = p_scope AND x.scope_id = '';
    IF p_scope_id = '' THEN
        RETURN d;
    END IF;
    SELECT * INTO t FROM ledger.total_limits x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    IF NOT FOUND THEN
        RETURN d;
    END IF;
    t.max_cost_micros := coalesce(t.max_cost_micros, d.max_cost_micros);
    t.max_shares_micros := coalesce(t.max_shares_micros, d.max_shares_micros);
    t.max_open_orders := coalesce(t.max_open_orders, d.max_open_orders);
    t.changes_per_minute := coalesce(t.changes_per_minute, d.changes_per_minute);
    t.max_daily_loss_micros := coalesce(t.max_daily_loss_micros, d.max_daily_loss_micros);
    t.max_rolling_loss_micros := coalesce(t.max_rolling_loss_micros, d.max_rolling_loss_micros);
    t.drawdown_from_micros := coalesce(t.drawdown_from_micros, d.drawdown_from_micros);
    t.drawdown_to_micros := coalesce(t.drawdown_to_micros, d.drawdown_to_micros);
    RETURN t;
END $$;
COMMENT ON FUNCTION ledger._totals(text, text) IS 'The limits of a scope: its own values, else those of the scope''s default.';

CREATE OR REPLACE FUNCTION ledger._used(
    p_account_id bigint, p_scope text, p_scope_id text, OUT cost bigint, OUT shares bigint)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_scope = 'group' THEN
        SELECT g.at_risk, g.shares INTO cost, shares FROM ledger.group_state g
        WHERE g.account_id = p_account_id AND g.group_key = p_scope_id;
    ELSE
        SELECT s.at_risk, s.shares INTO cost, shares FROM ledger.account_state s WHERE s.account_id = p_account_id;
    END IF;
    cost := greatest(coalesce(cost, 0), 0);
    shares := greatest(coalesce(shares, 0), 0);
END $$;

CREATE OR REPLACE FUNCTION ledger._hold_pools() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.pool (scope, scope_id) VALUES ('global', '') ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.pool x WHERE x.scope = 'global' AND x.scope_id = '' FOR UPDATE;
END $$;
COMMENT ON FUNCTION ledger._hold_pools() IS
    'The row of the global pool stands for all of them, and is never deleted. Taken only where a loan does not do.';

CREATE OR REPLACE FUNCTION ledger._lend(
    p_account_id bigint, p_scope text, p_scope_id text, p_cost bigint, p_shares bigint, t ledger.total_limits) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.loan;
    p ledger.pool;
    v_cost bigint;
    v_shares bigint;
    v_over boolean;
BEGIN
    SELECT * INTO l FROM ledger.loan x
    WHERE x.account_id = p_account_id AND x.scope = p_scope AND x.scope_id = p_scope_id FOR UPDATE;
    IF NOT FOUND THEN
        -- Nobody else makes it: this account's rows are made under its account_state lock.
        INSERT INTO ledger.loan (account_id, scope, scope_id) VALUES (p_account_id, p_scope, p_scope_id) RETURNING * INTO l;
    END IF;
    SELECT * INTO p FROM ledger.pool x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    v_over := coalesce(p.lent_cost_micros > t.max_cost_micros, false) OR coalesce(p.lent_shares_micros > t.max_shares_micros, false);
    IF NOT v_over AND (t.max_cost_micros IS NULL OR p_cost <= l.cost_micros)
       AND (t.max_shares_micros IS NULL OR p_shares <= l.shares_micros) THEN
        RETURN true;
    END IF;
    PERFORM ledger._hold_pools();
    -- Both as they are now: what was read before may have been changed while this waited.
    t := ledger._totals(p_scope, p_scope_id);
    INSERT INTO ledger.pool (scope, scope_id) VALUES (p_scope, p_scope_id) ON CONFLICT DO NOTHING;
    SELECT * INTO p FROM ledger.pool x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    v_over := coalesce(p.lent_cost_micros > t.max_cost_micros, false) OR coalesce(p.lent_shares_micros > t.max_shares_micros, false);
    -- Where facts took more than the cap, what is lent and not used is no room either.
    v_cost := CASE WHEN v_over THEN p_cost - l.cost_micros ELSE greatest(p_cost - l.cost_micros, 0) END;
    v_shares := CASE WHEN v_over THEN p_shares - l.shares_micros ELSE greatest(p_shares - l.shares_micros, 0) END;
    IF p.lent_cost_micros + v_cost > t.max_cost_micros OR p.lent_shares_micros + v_shares > t.max_shares_micros THEN
        p := ledger._call_in(p, p_account_id);
    END IF;
    IF p.lent_cost_micros + v_cost > t.max_cost_micros OR p.lent_shares_micros + v_shares > t.max_shares_micros THEN
        RETURN false;
    END IF;
    -- A slice more than is needed, so that not every order asks again: a part of what is left, so that however many accounts
    -- there are, slices alone never use the cap up and nobody has to call them in.
    v_cost := v_cost + coalesce((t.max_cost_micros - p.lent_cost_micros - v_cost) / 32, 0);
    v_shares := v_shares + coalesce((t.max_shares_micros - p.lent_shares_micros - v_shares) / 32, 0);
    UPDATE ledger.pool SET lent_cost_micros = p.lent_cost_micros + v_cost, lent_shares_micros = p.lent_shares_micros + v_shares
    WHERE scope = p_scope AND scope_id = p_scope_id;
    UPDATE ledger.loan SET cost_micros = l.cost_micros + v_cost, shares_micros = l.shares_micros + v_shares
    WHERE account_id = p_account_id AND scope = p_scope AND scope_id = p_scope_id;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger._lend(bigint, text, text, bigint, bigint, ledger.total_limits) IS
    'Whether the account may have so much in use under the cap; borrows what its loan lacks. Under its account_state lock.';

CREATE OR REPLACE FUNCTION ledger._call_in(p ledger.pool, p_but bigint) RETURNS ledger.pool
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.loan;
    u record;
    v_back boolean := false;
BEGIN
    -- Whoever is in the middle of a reservation keeps what it was lent: waiting for it could be a circle.
    FOR l IN SELECT * FROM ledger.loan x WHERE x.scope = p.scope AND x.scope_id = p.scope_id AND x.account_id <> p_but
        ORDER BY x.account_id FOR UPDATE SKIP LOCKED
    LOOP
        u := ledger._used(l.account_id, l.scope, l.scope_id);
        IF u.cost < l.cost_micros OR u.shares < l.shares_micros THEN
            UPDATE ledger.loan x SET cost_micros = least(x.cost_micros, u.cost), shares_micros = least(x.shares_micros, u.shares)
            WHERE x.account_id = l.account_id AND x.scope = l.scope AND x.scope_id = l.scope_id;
            p.lent_cost_micros := p.lent_cost_micros - greatest(l.cost_micros - u.cost, 0);
            p.lent_shares_micros := p.lent_shares_micros - greatest(l.shares_micros - u.shares, 0);
            v_back := true;
        END IF;
    END LOOP;
    -- A refusal under a cap that is used up writes nothing.
    UPDATE ledger.pool x SET lent_cost_micros = p.lent_cost_micros, lent_shares_micros = p.lent_shares_micros
    WHERE v_back AND x.scope = p.scope AND x.scope_id = p.scope_id;
    RETURN p;
END $$;
COMMENT ON FUNCTION ledger._call_in(ledger.pool, bigint) IS
    'Takes back what others were lent and do not use. Under _hold_pools; their use can only grow under their loan''s lock.';

CREATE OR REPLACE FUNCTION ledger._owe(p_account_id bigint, p_group text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    x record;
    l ledger.loan;
    t ledger.total_limits;
    u record;
BEGIN
    FOR x IN SELECT q.scope, q.scope_id FROM (VALUES ('global', ''), ('group', p_group),
            ('live', CASE WHEN ledger._is_live(p_account_id) THEN '' END)) q (scope, scope_id)
        WHERE q.scope_id IS NOT NULL ORDER BY q.scope, q.scope_id
    LOOP
        t := ledger._totals(x.scope, x.scope_id);
        CONTINUE WHEN t.max_cost_micros IS NULL AND t.max_shares_micros IS NULL;
        u := ledger._used(p_account_id, x.scope, x.scope_id);
        INSERT INTO ledger.loan (account_id, scope, scope_id) VALUES (p_account_id, x.scope, x.scope_id) ON CONFLICT DO NOTHING;
        SELECT * INTO l FROM ledger.loan q
        WHERE q.account_id = p_account_id AND q.scope = x.scope AND q.scope_id = x.scope_id FOR UPDATE;
        CONTINUE WHEN l.cost_micros >= u.cost AND l.shares_micros >= u.shares;
        PERFORM ledger._hold_pools();
        INSERT INTO ledger.pool (scope, scope_id) VALUES (x.scope, x.scope_id) ON CONFLICT DO NOTHING;
        UPDATE ledger.pool q SET lent_cost_micros = q.lent_cost_micros + greatest(u.cost - l.cost_micros, 0),
            lent_shares_micros = q.lent_shares_micros + greatest(u.shares - l.shares_micros, 0)
        WHERE q.scope = x.scope AND q.scope_id = x.scope_id;
        UPDATE ledger.loan q SET cost_micros = greatest(q.cost_micros, u.cost), shares_micros = greatest(q.shares_micros, u.shares)
        WHERE q.account_id = p_account_id AND q.scope = x.scope AND q.scope_id = x.scope_id;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._owe(bigint, text) IS
    'A fact took more than was lent: it is booked whatever the cap says, and the others have that much less.';

CREATE OR REPLACE FUNCTION ledger._is_live(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM ledger.account a WHERE a.account_id = p_account_id AND a.venue <> 'paper');
END $$;

CREATE OR REPLACE FUNCTION ledger._total_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, t ledger.total_limits, p_cost bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    g ledger.total_limits;
    u record;
BEGIN
    IF s.at_risk + p_cost > t.max_cost_micros OR s.shares + r.size_micros > t.max_shares_micros THEN
        RETURN ledger._refusal(r.item, 'CAP_ACCOUNT', format('the account has %s collateral micros and %s share micros in use',
            s.at_risk, s.shares));
    END IF;
    IF e.group_key IS NOT NULL THEN
        g := ledger._totals('group', e.group_key);
        IF g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL THEN
            u := ledger._used(r.account_id, 'group', e.group_key);
            IF NOT ledger._lend(r.account_id, 'group', e.group_key, u.cost + p_cost, u.shares + r.size_micros, g) THEN
                RETURN ledger._refusal(r.item, 'CAP_GROUP', format('the cap of group %s is used up', e.group_key));
            END IF;
        END IF;
    END IF;
    g := ledger._totals('live', '');
    IF (g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL) AND ledger._is_live(r.account_id)
       AND NOT ledger._lend(r.account_id, 'live', '', s.at_risk + p_cost, s.shares + r.size_micros, g) THEN
        RETURN ledger._refusal(r.item, 'CAP_LIVE', 'the cap of all live accounts together is used up; a person may lift it');
    END IF;
    g := ledger._totals('global', '');
    IF (g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL)
       AND NOT ledger._lend(r.account_id, 'global', '', s.at_risk + p_cost, s.shares + r.size_micros, g) THEN
        RETURN ledger._refusal(r.item, 'CAP_GLOBAL', 'the cap of all accounts together is used up');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger.set_total_limit(p_scope text, p_id text, p_name text, p_value text, p_why text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id text := coalesce(p_id, '');
    v_before text;
    v_first boolean;
BEGIN
    PERFORM ledger._enter();
    IF p_scope NOT IN ('account', 'group', 'global', 'live') OR p_scope IN ('global', 'live') AND v_id <> '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: the scope is account, group, global or live, the last two without a name; nothing was changed'
            USING ERRCODE = 'LG004';
    ELSIF p_scope = 'account' AND v_id <> '' THEN
        v_id := ledger._scope_id('account', v_id);
    END IF;
    PERFORM ledger._check_limit_name('total_limits', p_name, p_why);
    INSERT INTO ledger.total_limits (scope, scope_id) VALUES (p_scope, v_id) ON CONFLICT DO NOTHING;
    SELECT p_scope <> 'account' AND p_name IN ('max_cost_micros', 'max_shares_micros') AND p_value IS NOT NULL
        AND to_jsonb(t) ->> p_name IS NULL INTO v_first
    FROM ledger.total_limits t WHERE t.scope = p_scope AND t.scope_id = v_id FOR UPDATE;
    IF v_first THEN
        PERFORM ledger._hold_all_accounts();
    ELSIF p_scope = 'account' THEN
        PERFORM FROM ledger.account_state s WHERE s.account_id::text = v_id FOR UPDATE;
    END IF;
    IF p_scope <> 'account' THEN
        PERFORM ledger._hold_pools();
    END IF;
    v_before := ledger._set_column('total_limits', p_name, p_value, format('scope = %L AND scope_id = %L', p_scope, v_id));
    INSERT INTO ledger.limit_change (account_id, market_id, name, before, after, why, changed_by, changed_at, scope, scope_id)
    SELECT 0, 0, p_name, v_before, to_jsonb(t) ->> p_name, left(p_why, 500), session_user, ledger.clock(), p_scope, v_id
    FROM ledger.total_limits t WHERE t.scope = p_scope AND t.scope_id = v_id;
    IF v_first THEN
        PERFORM ledger._lend_anew(p_scope);
    END IF;
    RETURN v_before;
END $$;
COMMENT ON FUNCTION ledger.set_total_limit(text, text, text, text, text) IS
    'Scope and name (NULL: the default of account or group, or global and live themselves). Returns the value before.';

CREATE OR REPLACE FUNCTION ledger._hold_all_accounts() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_before text := current_setting('lock_timeout');
    v_account_id bigint;
BEGIN
    FOR n IN 1 .. 20 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            -- An account that is being opened has nothing in use, and will read the cap: one way or the other.
            LOCK TABLE ledger.account IN SHARE ROW EXCLUSIVE MODE;
            PERFORM FROM ledger.account_state s ORDER BY s.account_id FOR UPDATE;
            PERFORM set_config('lock_timeout', v_before, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            -- Somebody is busy for long. With the block what was locked in it is let go, and the setting is as it was.
            NULL;
        END;
        FOR v_account_id IN SELECT s.account_id FROM ledger.account_state s ORDER BY s.account_id LOOP
            PERFORM ledger._wait_for_account(v_account_id);
        END LOOP;
    END LOOP;
    RAISE EXCEPTION 'BUSY: somebody keeps an account locked; nothing was changed' USING ERRCODE = 'LG004',
        HINT = 'Ask again; ledger-worker status shows whether the watchdog ends who sits on a lock.';
END $$;
COMMENT ON FUNCTION ledger._hold_all_accounts() IS
    'Every account_state, so that nobody reserves while sums are taken. Who waits for a busy one holds nobody else up meanwhile.';

CREATE OR REPLACE FUNCTION ledger._wait_for_account(p_account_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM FROM ledger.account_state s WHERE s.account_id = p_account_id FOR UPDATE;
    -- It is let go with this block.
    RAISE EXCEPTION USING ERRCODE = 'LG000';
EXCEPTION WHEN lock_not_available OR SQLSTATE 'LG000' THEN
    NULL;
END $$;
COMMENT ON FUNCTION ledger._wait_for_account(bigint) IS 'Until nobody is in the middle of something there, for half a second at most.';

CREATE OR REPLACE FUNCTION ledger._lend_anew(p_scope text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Every account_state is locked: nobody uses a loan now. What is in use stays lent, and nothing else.
    DELETE FROM ledger.loan WHERE scope = p_scope;
    UPDATE ledger.pool SET lent_cost_micros = 0, lent_shares_micros = 0 WHERE scope = p_scope;
    INSERT INTO ledger.loan (account_id, scope, scope_id, cost_micros, shares_micros)
    SELECT q.account_id, p_scope, q.scope_id, greatest(q.cost, 0), greatest(q.shares, 0) FROM (
        SELECT g.account_id, g.group_key AS scope_id, g.at_risk AS cost, g.shares FROM ledger.group_state g WHERE p_scope = 'group'
        UNION ALL
        SELECT s.account_id, '', s.at_risk, s.shares FROM ledger.account_state s
        WHERE p_scope = 'global' OR p_scope = 'live' AND ledger._is_live(s.account_id)) q
    CROSS JOIN LATERAL ledger._totals(p_scope, q.scope_id) t
    WHERE t.max_cost_micros IS NOT NULL OR t.max_shares_micros IS NOT NULL;
    INSERT INTO ledger.pool AS p (scope, scope_id, lent_cost_micros, lent_shares_micros)
    SELECT l.scope, l.scope_id, sum(l.cost_micros), sum(l.shares_micros) FROM ledger.loan l
    WHERE l.scope = p_scope GROUP BY l.scope, l.scope_id
    ON CONFLICT (scope, scope_id) DO UPDATE SET lent_cost_micros = excluded.lent_cost_micros,
        lent_shares_micros = excluded.lent_shares_micros;
END $$;
COMMENT ON FUNCTION ledger._lend_anew(text) IS
    'A first cap: until now nobody had to borrow. Where there is one already, loans cover what is in use whatever it is changed to.';

-- file: ledger/sql/functions/books.sql
-- purpose: the last good books, and what they say of a price: collar, slippage, a post-only order that would cross.
-- locks:   note_books: the book rows, in order. Judging locks nothing: a book is what it was.
-- index:   book by primary key.
-- fence:   a book older than the one that is stored is not stored.

CREATE OR REPLACE FUNCTION ledger.note_books(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    IF jsonb_typeof(p_items) IS DISTINCT FROM 'array' OR jsonb_array_length(p_items) > 1024 THEN
        RAISE EXCEPTION 'BAD_REQUEST: an array of at most 1024 books is needed; nothing was stored' USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.book AS b (market_id, outcome, bids, asks, at, mark_micros)
    SELECT DISTINCT ON (o.market_id, o.outcome) o.market_id, o.outcome, k.bids, k.asks,
        ledger.clock() - make_interval(secs => ledger._whole(x -> 'age_ms') / 1000.0), ledger._mark(k.bids[1], k.asks[1], NULL)
    FROM jsonb_array_elements(p_items) x JOIN ledger.outcome o ON o.token_id = x ->> 'token_id'
    CROSS JOIN LATERAL (SELECT ledger._levels(x -> 'bids', false) AS bids, ledger._levels(x -> 'asks', true) AS asks) k
    WHERE ledger._whole(x -> 'age_ms') BETWEEN 0 AND 86400000
      AND k.bids IS NOT NULL AND k.asks IS NOT NULL AND coalesce(k.bids[1] < k.asks[1], true)
    ORDER BY o.market_id, o.outcome, ledger._whole(x -> 'age_ms')
    -- One from the future was stored before the clock went back.
    ON CONFLICT (market_id, outcome) DO UPDATE SET bids = excluded.bids, asks = excluded.asks, at = excluded.at,
            mark_micros = ledger._mark(excluded.bids[1], excluded.asks[1], b.mark_micros)
        WHERE b.at <= excluded.at OR b.at > ledger.clock();
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.note_books(jsonb) IS
    'Items {token_id, bids, asks (each [[price_micros, size_micros], ...]), age_ms}. Crossed, unsorted or unreadable books are not stored.';

CREATE OR REPLACE FUNCTION ledger._levels(p_side jsonb, p_rising boolean) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    x jsonb;
    v_price bigint;
    v_size bigint;
    v_last bigint;
    v_out bigint[] := '{}';
BEGIN
    IF jsonb_typeof(p_side) IS DISTINCT FROM 'array' THEN
        RETURN NULL;
    END IF;
    FOR x IN SELECT q FROM jsonb_array_elements(p_side) q LIMIT 20 LOOP
        v_price := ledger._whole(x -> 0);
        v_size := ledger._whole(x -> 1);
        IF v_price IS NULL OR v_size IS NULL OR v_size <= 0 OR v_price <= 0 OR v_price >= 1000000
           OR p_rising AND v_price <= v_last OR NOT p_rising AND v_price >= v_last THEN
            RETURN NULL;
        END IF;
        v_out := v_out || v_price || v_size;
        v_last := v_price;
    END LOOP;
    RETURN v_out;
END $$;

CREATE OR REPLACE FUNCTION ledger._book_of(p_market_id bigint, p_outcome smallint, p_age_ms integer) RETURNS ledger.book
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
    v_clock timestamptz := ledger.clock();
BEGIN
    SELECT * INTO b FROM ledger.book x WHERE x.market_id = p_market_id AND x.outcome = p_outcome
       AND x.at > v_clock - make_interval(secs => p_age_ms / 1000.0) AND x.at <= v_clock
       AND coalesce(x.bids[1] < x.asks[1], true);
    RETURN b;
END $$;
COMMENT ON FUNCTION ledger._book_of(bigint, smallint, integer) IS 'The book if it is good and young enough; else a row of NULLs.';

CREATE OR REPLACE FUNCTION ledger._middle(b ledger.book) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (b.bids[1] + b.asks[1]) / 2 $$;
COMMENT ON FUNCTION ledger._middle(ledger.book) IS
    'Between the best prices; NULL unless there are both: a lone offer would be its own middle, and any price near it would pass.';

CREATE OR REPLACE FUNCTION ledger._mark(p_bid bigint, p_ask bigint, p_before bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN CASE WHEN p_bid IS NOT NULL THEN (p_bid + coalesce(p_ask, p_bid)) / 2
        -- Nobody bids: an offer says what a share is not worth more than.
        WHEN p_before IS NOT NULL THEN least(p_before, p_ask) END;
END $$;
COMMENT ON FUNCTION ledger._mark(bigint, bigint, bigint) IS 'See mark_micros of ledger.book. A book that was emptied hides no loss.';

CREATE OR REPLACE FUNCTION ledger._uncross(r ledger.request, l ledger.limits, p_tick bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
BEGIN
    IF NOT r.post_only OR NOT r.clamp THEN
        RETURN r.price_micros;
    END IF;
    b := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
    -- On the tick, one tick behind the other side's best: a maker order stays one, at the first try.
    RETURN CASE r.side
        WHEN 'BUY' THEN least(r.price_micros, coalesce((b.asks[1] - 1) / p_tick * p_tick, r.price_micros))
        ELSE greatest(r.price_micros, coalesce((b.bids[1] / p_tick + 1) * p_tick, r.price_micros)) END;
END $$;
COMMENT ON FUNCTION ledger._uncross(ledger.request, ledger.limits, bigint) IS
    'The price of a post-only order that asks to be clamped: as asked, or the nearest that does not cross the last good book.';

CREATE OR REPLACE FUNCTION ledger._slippage_bps(r ledger.request, b ledger.book) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_levels bigint[] := CASE r.side WHEN 'BUY' THEN b.asks ELSE b.bids END;
    v_left bigint := r.size_micros;
    v_part bigint;
    v_paid numeric := 0;
    v_middle bigint := ledger._middle(b);
    v_average numeric;
    v_known integer := coalesce(cardinality(v_levels), 0) / 2;
BEGIN
    FOR i IN 1 .. v_known LOOP
        EXIT WHEN v_left = 0 OR r.side = 'BUY' AND v_levels[2 * i - 1] > r.price_micros
                  OR r.side = 'SELL' AND v_levels[2 * i - 1] < r.price_micros;
        v_part := least(v_left, v_levels[2 * i]);
        v_paid := v_paid + v_part::numeric * v_levels[2 * i - 1];
        v_left := v_left - v_part;
    END LOOP;
    -- No more than 20 levels are kept: what reaches past them may trade at the order's own price.
    IF v_left > 0 AND v_known = 20 AND (v_levels[39] < r.price_micros) = (r.side = 'BUY') AND v_levels[39] <> r.price_micros THEN
        v_paid := v_paid + v_left::numeric * r.price_micros;
        v_left := 0;
    END IF;
    IF v_left = r.size_micros OR v_middle IS NULL THEN
        RETURN 0;
    END IF;
    v_average := v_paid / (r.size_micros - v_left);
    RETURN ceil(CASE r.side WHEN 'BUY' THEN v_average - v_middle ELSE v_middle - v_average END * 10000 / v_middle)::bigint;
END $$;
COMMENT ON FUNCTION ledger._slippage_bps(ledger.request, ledger.book) IS
    'How much worse than the middle the part that trades at once would be on average, in basis points, rounded up; 0 if nothing does.';

CREATE OR REPLACE FUNCTION ledger._book_refusal(r ledger.request, l ledger.limits, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
    v_middle bigint;
    v_slip bigint;
BEGIN
    IF l.collar_micros IS NULL AND l.max_slippage_bps IS NULL AND NOT r.post_only THEN
        RETURN NULL;
    END IF;
    b := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
    v_middle := ledger._middle(b);
    IF r.post_only AND (r.side = 'BUY' AND r.price_micros >= b.asks[1] OR r.side = 'SELL' AND r.price_micros <= b.bids[1]) THEN
        RETURN ledger._refusal(r.item, 'WOULD_CROSS', format('post-only, and the other side''s best is %s',
            CASE r.side WHEN 'BUY' THEN b.asks[1] ELSE b.bids[1] END));
    ELSIF l.collar_micros IS NULL AND l.max_slippage_bps IS NULL THEN
        RETURN NULL;
    ELSIF v_middle IS NULL THEN
        RETURN CASE WHEN NOT ledger._unwinds(r) THEN
            ledger._refusal(r.item, 'NO_BOOK', format('there is no good book of both sides younger than %s ms to judge the price by', l.book_age_ms)) END;
    ELSIF r.side = 'BUY' AND r.price_micros > v_middle + l.collar_micros
          OR r.side = 'SELL' AND r.price_micros < v_middle - l.collar_micros THEN
        RETURN ledger._refusal(r.item, 'COLLAR', format('the middle of the book is %s; at most %s from it', v_middle, l.collar_micros));
    END IF;
    IF l.max_slippage_bps IS NOT NULL AND NOT r.post_only THEN
        v_slip := ledger._slippage_bps(r, b);
        IF v_slip > l.max_slippage_bps THEN
            RETURN ledger._refusal(r.item, 'SLIPPAGE', format('it would trade %s basis points worse than the middle, %s allowed',
                v_slip, l.max_slippage_bps));
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- file: ledger/sql/functions/breakers.sql
-- purpose: breakers and pauses per market and, for what is no market's fault, per account: rejects, failed cancels, slow answers.
-- locks:   the caller holds exposure and account_state; breaker rows follow. reset_breaker takes the same two first.
-- index:   breaker by primary key, two probes.
-- fence:   one probe at a time: appointed in the commit that opens its attempt, under account_state; while a copy of it may
--          live unseen no other order follows. No cancel ever asks here.

CREATE OR REPLACE FUNCTION ledger._paused(p_until timestamptz, p_clock timestamptz) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    -- Further ahead than any pause reaches, it was set before the clock went back.
    RETURN p_until > p_clock AND p_until <= p_clock + interval '121 minutes';
END $$;
COMMENT ON FUNCTION ledger._paused(timestamptz, timestamptz) IS 'Whether a breaker''s pause (two hours at most) still runs.';

CREATE OR REPLACE FUNCTION ledger._pause_after(p_count integer, p_threshold integer, p_of_account boolean) RETURNS interval
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- 60 s at the threshold and for the first probe that fails, then 5, 10, 20, 40 ... minutes to two hours. What is the
    -- whole account's matter pauses twice as long: asking again does not mend it.
    RETURN least(interval '2 hours', CASE WHEN p_count <= p_threshold + 1 THEN interval '60 seconds'
        ELSE interval '5 minutes' * (2 ^ least(p_count - p_threshold - 2, 10)) END * CASE WHEN p_of_account THEN 2 ELSE 1 END);
END $$;

CREATE OR REPLACE FUNCTION ledger._breaker_fails(
    p_account_id bigint, p_market_id bigint, p_kind text, p_order_id bigint, p_threshold integer, p_why text, p_now timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    IF p_threshold IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO ledger.breaker (account_id, market_id, kind, changed_at)
    VALUES (p_account_id, p_market_id, p_kind, p_now) ON CONFLICT DO NOTHING;
    SELECT * INTO b FROM ledger.breaker x
    WHERE x.account_id = p_account_id AND x.market_id = p_market_id AND x.kind = p_kind FOR UPDATE;
    IF ledger._paused(b.until, v_clock) OR b.until IS NOT NULL AND p_order_id IS NOT NULL AND b.probe_order_id IS DISTINCT FROM p_order_id THEN
        -- What was on its way when it opened tells nothing new: one burst is one step. Cancels go on all the time: of them
        -- one that fails after the pause is news.
        RETURN;
    END IF;
    b.count := b.count + 1;
    IF b.count >= p_threshold THEN
        -- By the clock, as it is asked for: the market's time may be ahead of it.
        b.until := v_clock + ledger._pause_after(b.count, p_threshold, p_market_id = 0);
        PERFORM ledger._journal(p_account_id, nullif(p_market_id, 0), p_now, 'BREAKER_OPENED', p_order_id, NULL, NULL, NULL,
            jsonb_build_object('kind', p_kind, 'count', b.count, 'until', b.until, 'why', left(p_why, 200)));
    END IF;
    -- The probe stays: should its fate still be open after the pause, the next waits for that.
    UPDATE ledger.breaker SET count = b.count, until = b.until, why = coalesce(left(p_why, 200), ''), changed_at = p_now
    WHERE account_id = p_account_id AND market_id = p_market_id AND kind = p_kind;
END $$;
COMMENT ON FUNCTION ledger._breaker_fails(bigint, bigint, text, bigint, integer, text, timestamptz) IS
    'One more failure in a row. At the threshold it opens; the failure of its probe, or of a cancel (no order) after the pause, '
    'counts on and opens it for longer. While it is open nothing counts.';

CREATE OR REPLACE FUNCTION ledger._breakers_succeed(
    p_account_id bigint, p_market_id bigint, p_kinds text[], p_order_id bigint, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    FOR b IN SELECT * FROM ledger.breaker x
        WHERE x.account_id = p_account_id AND x.market_id IN (0, p_market_id) AND x.kind = ANY (p_kinds)
          AND (x.count > 0 OR x.until IS NOT NULL)
        ORDER BY x.market_id, x.kind
    LOOP
        -- Of placements only the probe, which left after the pause, tells that it works again. An answered cancel is what was
        -- missed, whenever it comes; an order that is accepted says nothing about cancels, unless it was let through to close it.
        CONTINUE WHEN p_order_id IS NOT NULL AND CASE WHEN b.until IS NULL THEN b.kind = 'cancel'
            ELSE ledger._paused(b.until, v_clock) OR b.probe_order_id IS DISTINCT FROM p_order_id END;
        IF b.until IS NOT NULL THEN
            PERFORM ledger._journal(p_account_id, nullif(b.market_id, 0), p_now, 'BREAKER_CLOSED', p_order_id, NULL, NULL, NULL,
                jsonb_build_object('kind', b.kind, 'count', b.count));
        END IF;
        UPDATE ledger.breaker SET count = 0, until = NULL, probe_order_id = NULL, why = '', changed_at = p_now
        WHERE account_id = b.account_id AND market_id = b.market_id AND kind = b.kind;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._breakers_succeed(bigint, bigint, text[], bigint, timestamptz) IS
    'A success of that order (NULL: an answered cancel) ends the row of failures, and closes a breaker whose probe it was.';

CREATE OR REPLACE FUNCTION ledger._breaker_says(p_account_id bigint, p_market_id bigint, p_order_id bigint) RETURNS ledger.breaker
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    FOR b IN SELECT * FROM ledger.breaker x
        WHERE x.account_id = p_account_id AND x.market_id IN (0, p_market_id) AND x.until IS NOT NULL
        ORDER BY x.until DESC
    LOOP
        IF ledger._paused(b.until, v_clock) OR b.probe_order_id IS NOT NULL AND b.probe_order_id IS DISTINCT FROM p_order_id
           AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = p_account_id AND o.order_id = b.probe_order_id
                       AND o.state IN ('SENDING', 'UNKNOWN')) THEN
            RETURN b;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ledger._breaker_says(bigint, bigint, bigint) IS
    'The breaker that keeps the order back, or a row of NULLs. A probe that is known not to be under way makes room for the '
    'next, also one that was held back: it may stand behind an order that waits for it.';

CREATE OR REPLACE FUNCTION ledger._breaker_refusal(r ledger.request, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker := ledger._breaker_says(r.account_id, r.market_id, NULL);
BEGIN
    RETURN CASE WHEN ledger._paused(b.until, ledger.clock()) THEN ledger._refusal(r.item, 'BREAKER',
            format('paused until %s after %s (%s in a row): %s', b.until, b.kind, b.count, b.why))
        WHEN b.until IS NOT NULL THEN ledger._refusal(r.item, 'BREAKER',
            format('order %s goes first, to find out whether it works again', b.probe_order_id)) END;
END $$;

CREATE OR REPLACE FUNCTION ledger._probe(p_account_id bigint, p_market_id bigint, p_order_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.breaker SET probe_order_id = p_order_id
    WHERE account_id = p_account_id AND market_id IN (0, p_market_id) AND until IS NOT NULL;
END $$;
COMMENT ON FUNCTION ledger._probe(bigint, bigint, bigint) IS
    'The order that leaves where a breaker is half open. Not one that is merely admitted: it might wait in its lane behind '
    'another, and that one for it.';

CREATE OR REPLACE FUNCTION ledger._slowed(p_account_id bigint, p_market_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM ledger.breaker b WHERE b.account_id = p_account_id AND b.market_id = p_market_id
                   AND b.kind = 'latency' AND b.slow_until > ledger.clock());
END $$;

CREATE OR REPLACE FUNCTION ledger._note_answer(
    o ledger.orders, p_outcome text, p_class text, p_code text, p_opened_at timestamptz, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.limits := ledger._effective_limits(o.account_id, o.market_id);
    v_ms bigint := extract(epoch FROM p_now - p_opened_at) * 1000;
    v_took text := format(CASE p_outcome WHEN 'unknown' THEN 'no answer for %s ms' ELSE 'an answer took %s ms' END, v_ms);
    v_well text[] := '{}';
BEGIN
    IF p_outcome = 'rejected' AND p_class IN ('venue', 'credentials') THEN
        PERFORM ledger._breaker_fails(o.account_id, 0, p_class, o.order_id, l.breaker_rejects, p_code, p_now);
    ELSIF p_outcome = 'rejected' THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'reject', o.order_id, l.breaker_rejects, p_code, p_now);
    ELSIF p_outcome = 'accepted' THEN
        v_well := '{reject,venue,credentials,cancel}';
    END IF;
    IF p_outcome IN ('held_back', 'seen') THEN
        -- May be of our own making: an order dropped before sending waited for us.
        NULL;
    ELSIF v_ms >= l.stop_ms THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'latency', o.order_id, 1, v_took, p_now);
    ELSIF v_ms >= l.slow_ms THEN
        INSERT INTO ledger.breaker (account_id, market_id, kind, slow_until, why, changed_at)
        VALUES (o.account_id, o.market_id, 'latency', p_now + interval '60 seconds', v_took, p_now)
        ON CONFLICT (account_id, market_id, kind) DO UPDATE SET slow_until = excluded.slow_until;
    ELSIF p_outcome IN ('accepted', 'rejected') THEN
        v_well := v_well || 'latency'::text;
    END IF;
    IF v_well <> '{}' THEN
        PERFORM ledger._breakers_succeed(o.account_id, o.market_id, v_well, o.order_id, p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_answer(ledger.orders, text, text, text, timestamptz, timestamptz) IS
    'What an answer to a placement, or that none came, means for the breakers. From slow_ms on half as many orders are admitted '
    'for a minute, from stop_ms on none until a probe is answered in time.';

CREATE OR REPLACE FUNCTION ledger._note_cancel(o ledger.orders, p_answer text, p_raw text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_answer IN ('accepted', 'refused', 'not_listed') THEN
        -- A no is an answer, too.
        PERFORM ledger._breakers_succeed(o.account_id, o.market_id, '{cancel}', NULL, p_now);
    ELSIF p_answer = 'unknown' THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'cancel', NULL,
            (ledger._effective_limits(o.account_id, o.market_id)).breaker_cancels, p_raw, p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_cancel(ledger.orders, text, text, timestamptz) IS
    'Cancels that nobody answers stop new placements of the market. The cancels themselves go on.';

CREATE OR REPLACE FUNCTION ledger.reset_breaker(p_account text, p_market text, p_why text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_market_id bigint := ledger._market_id(p_market);
    b ledger.breaker;
    v_count integer := 0;
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF p_market IS NOT NULL AND v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was reset', p_market USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: resetting a breaker needs a reason; nothing was reset' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id
        AND (v_market_id IS NULL OR e.market_id = v_market_id) ORDER BY e.market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    FOR b IN SELECT * FROM ledger.breaker x WHERE x.account_id = v_account_id
        AND (v_market_id IS NULL OR x.market_id IN (0, v_market_id)) AND (x.until IS NOT NULL OR x.count > 0 OR x.slow_until > v_now)
        ORDER BY x.market_id, x.kind
    LOOP
        UPDATE ledger.breaker SET count = 0, until = NULL, slow_until = NULL, probe_order_id = NULL, why = '', changed_at = v_now
        WHERE account_id = b.account_id AND market_id = b.market_id AND kind = b.kind;
        PERFORM ledger._journal(b.account_id, nullif(b.market_id, 0), v_now, 'BREAKER_RESET', NULL, NULL, NULL, NULL,
            jsonb_build_object('kind', b.kind, 'count', b.count, 'until', b.until, 'why', left(p_why, 500)));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.reset_breaker(text, text, text) IS
    'A person closes the breakers of a market (NULL: of the whole account). Returns how many were not at rest.';

-- file: ledger/sql/functions/breach.sql
-- purpose: halts, suspensions and the invariant breach: what stops trading, who may end it.
-- locks:   _check_breach runs under the exposure and account_state locks of its market; halts lock nothing of the send path.
--          _hold_moving_lanes takes exposure, then account_state, of the lanes whose market an import moves.
-- index:   halt_standing; exposure by primary key; exposure_open_positions, reservation_standing, fill_unsettled for the sweep.
-- fence:   resume names a version and is refused while a newer halt of the same scope stands.

CREATE OR REPLACE FUNCTION ledger._halted_by(p_account_id bigint, p_market_id bigint) RETURNS text
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce((SELECT h.scope || CASE WHEN h.scope_id = '' THEN '' ELSE ':' || h.scope_id END || ' (' || h.why || ')'
    FROM ledger.halt h
    WHERE h.cleared_at IS NULL
      AND (h.scope = 'global'
           OR h.scope = 'account' AND h.scope_id = p_account_id::text
           OR h.scope = 'market' AND h.scope_id = p_market_id::text
           OR h.scope = 'group' AND h.scope_id =
              (SELECT m.group_key FROM ledger.market m WHERE m.market_id = p_market_id))
    ORDER BY h.halt_id LIMIT 1), ledger._paused_by(p_account_id))
$$;
COMMENT ON FUNCTION ledger._halted_by(bigint, bigint) IS
    'The first standing halt that covers the market for the account, else the withdrawal that pauses the account, as text, or '
    'NULL. VOLATILE: it must see what was committed while the caller waited for its lock.';

CREATE OR REPLACE FUNCTION ledger._add_halt(p_scope text, p_scope_id text, p_why text, p_as text, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_id bigint;
BEGIN
    INSERT INTO ledger.halt (scope, scope_id, why, set_by, set_as, set_at)
    VALUES (p_scope, p_scope_id, left(p_why, 500), session_user, left(p_as, 200), p_now)
    RETURNING halt_id INTO v_id;
    INSERT INTO ledger.halt_change (halt_id, change, scope, scope_id, why, changed_by, changed_as, changed_at)
    SELECT h.halt_id, 'set', h.scope, h.scope_id, h.why, h.set_by, h.set_as, h.set_at
    FROM ledger.halt h WHERE h.halt_id = v_id;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger._add_halt(text, text, text, text, timestamptz) IS
    'A halt and its row in halt_change, which is what the audit holds the halt against.';

CREATE OR REPLACE FUNCTION ledger._halt_once(p_scope text, p_scope_id text, p_why text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = p_scope_id
                   -- What a person or a trader has set under that word is not ours, and ends when they like.
                   AND h.set_as = 'ledger' AND h.cleared_at IS NULL
                   AND split_part(h.why, ':', 1) = split_part(p_why, ':', 1)) THEN
        PERFORM ledger._add_halt(p_scope, p_scope_id, p_why, 'ledger', p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._halt_once(text, text, text, timestamptz) IS
    'Sets a halt unless the ledger itself has set one of the same kind (the word before the colon) that stands.';

CREATE OR REPLACE FUNCTION ledger._check_breach(
    p_account_id bigint, p_market_id bigint, p_now timestamptz, p_overfill boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    l ledger.limits := ledger._effective_limits(p_account_id, p_market_id);
    v_up bigint;
    v_down bigint;
    v_why text;
    v_until timestamptz;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_up := ledger._effective(e, 1);
    v_down := ledger._effective(e, 2);
    v_why := CASE
        WHEN greatest(v_up, v_down) > l.max_outcome_micros THEN 'CAP_OUTCOME'
        WHEN v_up + v_down > l.max_market_micros THEN 'CAP_MARKET'
        WHEN least(e.confirmed[1], e.confirmed[2]) < 0 THEN 'NEGATIVE_POSITION'
        WHEN p_overfill THEN 'OVERFILL'
        END;
    IF v_why IS NULL THEN
        RETURN false;
    END IF;
    IF e.suspended_until > p_now AND e.suspended_why LIKE 'INVARIANT_BREACH_HALT%' THEN
        RETURN true;
    END IF;
    SELECT greatest(m.window_end, p_now + interval '15 minutes', e.suspended_until) INTO v_until
    FROM ledger.market m WHERE m.market_id = p_market_id;
    UPDATE ledger.exposure SET suspended_until = v_until, suspended_why = 'INVARIANT_BREACH_HALT ' || v_why
    WHERE account_id = p_account_id AND market_id = p_market_id;
    PERFORM ledger._journal(p_account_id, p_market_id, p_now, 'INVARIANT_BREACH_HALT', NULL, NULL, NULL, NULL,
        jsonb_build_object('why', v_why, 'up', v_up, 'down', v_down, 'total', v_up + v_down,
            'cap_outcome', l.max_outcome_micros, 'cap_market', l.max_market_micros, 'until', v_until));
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION ledger._effective(e ledger.exposure, i integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT e.confirmed[i] + e.provisional_buy[i] + e.awaiting_buy[i] + e.open_buy[i] + e.pending_buy[i] $$;
COMMENT ON FUNCTION ledger._effective(ledger.exposure, integer) IS
    'Exposure that counts against caps: buys from the moment they are reserved, sells only once confirmed.';

CREATE OR REPLACE FUNCTION ledger.sweep_breaches() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x record;
    v_found integer := 0;
BEGIN
    PERFORM ledger._enter();
    -- Finds again a breach whose own transaction was rolled back. Candidates are read without locks, then judged under them.
    FOR x IN
        SELECT n.account_id, n.market_id FROM (
            -- Lanes that hold something or ask for it: what there ever was besides has nothing that could be too much. Each by
            -- an index that is there anyway; one on what counts itself would make every reservation write it.
            SELECT q.account_id, q.market_id FROM ledger.exposure q WHERE q.bought <> q.sold
            UNION SELECT r.account_id, r.market_id FROM ledger.reservation r WHERE r.phase <> 'released'
            UNION SELECT f.account_id, f.market_id FROM ledger.fill f WHERE f.settlement = 'provisional') n
        -- One by one (OFFSET): the planner takes arrays for hardly ever equal and would read every lane to join them.
        CROSS JOIN LATERAL (SELECT q AS e FROM ledger.exposure q WHERE q.account_id = n.account_id AND q.market_id = n.market_id
              AND (q.suspended_until IS NULL OR q.suspended_until <= ledger.clock()) OFFSET 0) lane
        CROSS JOIN LATERAL ledger._effective_limits(n.account_id, n.market_id) l
        WHERE greatest(ledger._effective(lane.e, 1), ledger._effective(lane.e, 2)) > l.max_outcome_micros
           OR ledger._effective(lane.e, 1) + ledger._effective(lane.e, 2) > l.max_market_micros
           OR least((lane.e).confirmed[1], (lane.e).confirmed[2]) < 0
        ORDER BY n.account_id, n.market_id LIMIT 100
    LOOP
        PERFORM FROM ledger.exposure e WHERE e.account_id = x.account_id AND e.market_id = x.market_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        IF ledger._check_breach(x.account_id, x.market_id, ledger._lane_time(x.account_id, x.market_id)) THEN
            v_found := v_found + 1;
        END IF;
    END LOOP;
    RETURN v_found;
END $$;

CREATE OR REPLACE FUNCTION ledger._scope_id(p_scope text, p_id text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_id text;
BEGIN
    IF p_scope = 'global' THEN
        RETURN '';
    ELSIF p_scope = 'account' THEN
        SELECT a.account_id::text INTO v_id FROM ledger.account a WHERE a.name = p_id;
    ELSIF p_scope = 'market' THEN
        SELECT ledger._market_id(p_id)::text INTO v_id;
    ELSIF p_scope = 'group' THEN
        -- A group may be halted before its first market is imported.
        v_id := nullif(p_id, '');
    ELSE
        RAISE EXCEPTION 'BAD_REQUEST: scope must be global, account, group or market, not %', p_scope
            USING ERRCODE = 'LG004';
    END IF;
    IF coalesce(p_id, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: the scope % has a name; nothing was changed', p_scope USING ERRCODE = 'LG004';
    ELSIF v_id IS NULL THEN
        RAISE EXCEPTION '%: %; nothing was changed',
            CASE p_scope WHEN 'account' THEN 'UNKNOWN_ACCOUNT' ELSE 'UNKNOWN_MARKET' END, p_id USING ERRCODE = 'LG004';
    END IF;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION ledger._own_reasons() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ARRAY['DAILY_LOSS', 'ROLLING_LOSS', 'NEGATIVE_BALANCE', 'FOREIGN_ORDER', 'ID_MISMATCH', 'UNCONFIRMED_TOO_LONG',
        'CONFIRMED_AFTER_FAILED', 'TRADE_CHANGED', 'WITHDRAWAL_CAME_LATE', 'BANNED', 'BAD_CREDENTIALS', 'GROUP_LEFT',
        -- and of workers
        'NEG_RISK_ON', 'POSITION_DIFFERS', 'COLLATERAL_DIFFERS']
$$;
COMMENT ON FUNCTION ledger._own_reasons() IS 'The words with which reasons begin that the ledger and its workers give.';

CREATE OR REPLACE FUNCTION ledger.set_halt(p_scope text, p_id text, p_why text, p_as text DEFAULT '') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_scope_id text;
BEGIN
    PERFORM ledger._enter();
    IF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: a halt needs a reason; nothing was halted' USING ERRCODE = 'LG004';
    ELSIF lower(trim(p_as)) = 'ledger' THEN
        RAISE EXCEPTION 'BAD_REQUEST: ledger is no name to halt by; nothing was halted' USING ERRCODE = 'LG004',
            HINT = 'It marks the halts that the ledger sets itself. Give another name, or none.';
    ELSIF trim(split_part(p_why, ':', 1)) = ANY (ledger._own_reasons())
          AND NOT pg_has_role(session_user, '${role_worker}', 'MEMBER') THEN
        -- One that stands under such a word keeps the ledger or a worker from setting its own.
        RAISE EXCEPTION 'BAD_REQUEST: a reason that begins with % is the ledger''s own; nothing was halted',
            trim(split_part(p_why, ':', 1)) USING ERRCODE = 'LG004', HINT = 'Say it in other words.';
    END IF;
    v_scope_id := ledger._scope_id(p_scope, p_id);
    RETURN ledger._add_halt(p_scope, v_scope_id, p_why, p_as, ledger.clock());
END $$;
COMMENT ON FUNCTION ledger.set_halt(text, text, text, text) IS
    'Anyone may halt, in words of their own (not _own_reasons). Returns the version that resume must name. Effective for the next '
    'decision in every process.';

CREATE OR REPLACE FUNCTION ledger.clear_halt(p_scope text, p_id text, p_version bigint, p_why text DEFAULT '', p_as text DEFAULT '')
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_scope_id text;
    v_newest bigint;
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    v_scope_id := ledger._scope_id(p_scope, p_id);
    IF p_version IS NULL THEN
        RAISE EXCEPTION 'BAD_REQUEST: resuming names the version that is ended; nothing was resumed' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = v_scope_id AND h.cleared_at IS NULL
    ORDER BY h.halt_id FOR UPDATE;
    SELECT max(h.halt_id) INTO v_newest FROM ledger.halt h
    WHERE h.scope = p_scope AND h.scope_id = v_scope_id AND h.cleared_at IS NULL;
    IF v_newest IS NULL OR v_newest < p_version THEN
        RAISE EXCEPTION 'STALE_VERSION: no halt of this scope with version % stands; nothing was resumed', p_version
            USING ERRCODE = 'LG005', HINT = 'ledger-worker status lists the standing halts with their versions.';
    ELSIF v_newest > p_version THEN
        RAISE EXCEPTION 'STALE_VERSION: a newer halt (version %) of this scope stands; nothing was resumed', v_newest
            USING ERRCODE = 'LG005', HINT = 'Read its reason with ledger-worker status, then name that version.';
    END IF;
    WITH cleared AS (
        UPDATE ledger.halt SET cleared_at = ledger.clock(), cleared_by = session_user,
                               cleared_as = left(p_as, 200), cleared_why = left(p_why, 500)
        -- By version: one that was committed since the look above stands.
        WHERE scope = p_scope AND scope_id = v_scope_id AND cleared_at IS NULL AND halt_id <= p_version
        RETURNING *)
    INSERT INTO ledger.halt_change (halt_id, change, scope, scope_id, why, changed_by, changed_as, changed_at)
    SELECT c.halt_id, 'cleared', c.scope, c.scope_id, c.cleared_why, c.cleared_by, c.cleared_as, c.cleared_at FROM cleared c;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION ledger._hold_moving_lanes(p_rows jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_markets bigint[] := array(
        SELECT m.market_id FROM jsonb_array_elements(p_rows) x JOIN ledger.market m ON m.condition_id = x ->> 'condition_id'
        WHERE m.group_key IS DISTINCT FROM x ->> 'group_key');
BEGIN
    IF v_markets <> '{}' THEN
        PERFORM FROM ledger.exposure e
        WHERE (e.account_id, e.market_id) IN (SELECT a.account_id, q FROM ledger.account a CROSS JOIN unnest(v_markets) q)
        ORDER BY e.account_id, e.market_id FOR UPDATE;
        PERFORM FROM ledger.account_state s
        WHERE EXISTS (SELECT FROM ledger.exposure e WHERE e.account_id = s.account_id AND e.market_id = ANY (v_markets))
        ORDER BY s.account_id FOR UPDATE;
        PERFORM ledger._halt_leavers(v_markets);
    END IF;
    RETURN v_markets;
END $$;
COMMENT ON FUNCTION ledger._hold_moving_lanes(jsonb) IS
    'Locks the lanes of markets that an import moves to another group, before it does. Returns those markets.';

CREATE OR REPLACE FUNCTION ledger._halt_leavers(p_markets bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT q.market_id, q.group_key FROM ledger.market q WHERE q.market_id = ANY (p_markets)
        AND EXISTS (SELECT FROM ledger.halt h WHERE h.scope = 'group' AND h.scope_id = q.group_key AND h.cleared_at IS NULL)
        ORDER BY q.market_id
    LOOP
        PERFORM ledger._halt_once('market', m.market_id::text,
            format('GROUP_LEFT: it was halted with the group %s, which it has left', m.group_key), ledger.clock());
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._halt_leavers(bigint[]) IS
    'Only a person ends a halt: what the venue says of a market''s group takes the market out of none.';

CREATE OR REPLACE FUNCTION ledger._regroup_lanes(p_markets bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e record;
BEGIN
    FOR e IN SELECT q.account_id, q.market_id FROM ledger.exposure q
        WHERE (q.account_id, q.market_id) IN (SELECT a.account_id, n FROM ledger.account a CROSS JOIN unnest(p_markets) n)
        ORDER BY q.account_id, q.market_id FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM FROM ledger.account_state s WHERE s.account_id = e.account_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM ledger._regroup(e.account_id, e.market_id);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._regroup_lanes(bigint[]) IS
    'In the commit of the import, so that no cap of the group is judged without them. A lane that is made at this very moment is '
    'left to its own next reservation or to sweep_groups.';

-- file: ledger/sql/functions/settle.sql
-- purpose: the one place where an order changes: state, reservation, counters, balances, outbox, journal, breach check.
-- locks:   the caller holds exposure, account_state and the order (see _lock_lanes); nothing further is locked first.
-- index:   primary keys.
-- fence:   ledger.transition; a refused event changes nothing but the journal.
-- Everything an order contributes to a counter or balance is a function of its row, so each change books the
-- difference between what it contributed before and after: nothing is counted twice or not at all.

CREATE OR REPLACE FUNCTION ledger._lock_lanes(
    p_order_ids bigint[], p_accounts text[] DEFAULT '{}', p_mending boolean DEFAULT false) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_ids bigint[];
BEGIN
    PERFORM ledger._enter();
    -- What the caller may not touch is not locked either: naming other people's orders must not hold them up.
    v_ids := array(SELECT o.order_id FROM ledger.orders o
                   WHERE o.order_id = ANY (p_order_ids) AND (p_mending OR ledger._may_act_for(o.account_id)));
    PERFORM FROM ledger.exposure e
    WHERE (e.account_id, e.market_id) IN (
        SELECT o.account_id, o.market_id FROM ledger.orders o WHERE o.order_id = ANY (v_ids))
    ORDER BY e.account_id, e.market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s
    WHERE s.account_id IN (SELECT o.account_id FROM ledger.orders o WHERE o.order_id = ANY (v_ids)
                           UNION SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
    ORDER BY s.account_id FOR UPDATE;
    PERFORM FROM ledger.orders o WHERE o.order_id = ANY (v_ids)
    ORDER BY o.account_id, o.order_id FOR UPDATE;
    RETURN v_ids;
END $$;
COMMENT ON FUNCTION ledger._lock_lanes(bigint[], text[], boolean) IS
    'Takes every lock a set of orders (and of accounts by name) needs, in the fixed order, before anything is decided. '
    'Returns the orders it locked: one that is committed a moment later is visible then, and must be left alone.';

CREATE OR REPLACE FUNCTION ledger._order(p_order_id bigint, p_locked bigint[]) RETURNS ledger.orders
LANGUAGE sql VOLATILE
AS $$ SELECT o FROM ledger.orders o WHERE o.order_id = p_order_id AND p_order_id = ANY (p_locked) $$;

CREATE OR REPLACE FUNCTION ledger._no_order(p_item integer, p_order_id bigint) RETURNS jsonb
LANGUAGE sql VOLATILE
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM ledger.orders o WHERE o.order_id = p_order_id
                             AND NOT ledger._may_act_for(o.account_id))
        THEN ledger._refusal(p_item, 'NOT_GRANTED', 'this login was not granted the account')
        ELSE ledger._refusal(p_item, 'UNKNOWN_ORDER', 'there is no such order') END
$$;

CREATE OR REPLACE FUNCTION ledger._lane_time(p_account_id bigint, p_market_id bigint) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Read after the lock; never behind a time already used here, should the machine's clock step back.
    UPDATE ledger.exposure SET clock_at = greatest(clock_at, ledger.clock())
    WHERE account_id = p_account_id AND market_id = p_market_id
    RETURNING clock_at INTO v_now;
    RETURN v_now;
END $$;

CREATE OR REPLACE FUNCTION ledger._book(
    p_account_id bigint, p_asset text, p_available bigint, p_locked bigint, p_cause text, p_key text,
    p_at timestamptz, p_order_id bigint DEFAULT NULL, p_trade_id text DEFAULT NULL, p_note text DEFAULT NULL,
    p_contra text DEFAULT 'venue', p_fee bigint DEFAULT 0, p_value bigint DEFAULT NULL, p_basis bigint DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_seq bigint;
    v_available bigint;
    v_contra bigint := -(p_available + p_locked + p_fee);
BEGIN
    IF p_available = 0 AND p_locked = 0 THEN
        RETURN;
    END IF;
    INSERT INTO ledger.balance AS b (account_id, asset, available, locked)
    VALUES (p_account_id, p_asset, p_available, p_locked)
    ON CONFLICT (account_id, asset) DO UPDATE
        SET available = b.available + excluded.available, locked = b.locked + excluded.locked
    RETURNING available INTO v_available;
    -- A hold moves within the account; all else comes from somewhere or goes there.
    IF v_contra <> 0 OR p_fee <> 0 THEN
        PERFORM ledger._book_contra(p_account_id, p_asset, p_contra, v_contra);
        PERFORM ledger._book_contra(p_account_id, p_asset, 'fees', p_fee);
    END IF;
    UPDATE ledger.account_state SET entry_seq = entry_seq + 1
    WHERE account_id = p_account_id RETURNING entry_seq INTO v_seq;
    INSERT INTO ledger.balance_entry (account_id, entry_seq, asset, cause, entry_key, available_delta, locked_delta,
                                      order_id, trade_id, note, at, contra, contra_delta, fee_delta, value_micros, basis_micros)
    VALUES (p_account_id, v_seq, p_asset, p_cause, p_key, p_available, p_locked,
            p_order_id, p_trade_id, p_note, p_at, p_contra, v_contra, p_fee, p_value, p_basis);
    IF v_available < 0 AND p_available < 0 THEN
        -- Holds are checked before they are taken, so only a fact leads here: it is booked, and trading stops.
        PERFORM ledger._halt_once('account', p_account_id::text,
            format('NEGATIVE_BALANCE: %s of %s after %s', v_available, p_asset, p_cause), p_at);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._book(bigint, text, bigint, bigint, text, text, timestamptz, bigint, text, text, text, bigint, bigint, bigint) IS
    'One movement, once: both sides of it in one row, whose deltas are zero together. p_fee is the part that went to fees.';

CREATE OR REPLACE FUNCTION ledger._book_contra(p_account_id bigint, p_asset text, p_contra text, p_amount bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_amount <> 0 THEN
        INSERT INTO ledger.contra_balance AS c (account_id, asset, contra, amount)
        VALUES (p_account_id, p_asset, p_contra, p_amount)
        ON CONFLICT (account_id, asset, contra) DO UPDATE SET amount = c.amount + excluded.amount;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._settle(
    o ledger.orders, p_event text, p_cause text, p_now timestamptz, p_detail jsonb DEFAULT '{}',
    p_provisional bigint DEFAULT 0, p_confirmed bigint DEFAULT 0, p_cash bigint DEFAULT 0,
    p_attempt integer DEFAULT NULL, p_trade_id text DEFAULT NULL, p_fee bigint DEFAULT 0) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_from text := o.state;
    v_to text;
    v_old ledger.reservation;
    v_new ledger.reservation;
    v_matched bigint := greatest(o.size_matched_micros, o.traded_micros);
    v_held bigint;
    v_key text;
BEGIN
    SELECT t.to_state INTO v_to FROM ledger.transition t WHERE t.from_state = o.state AND t.event = p_event;
    IF v_to IS NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'ILLEGAL_TRANSITION', o.order_id, p_attempt,
                                o.state, NULL, p_detail || jsonb_build_object('event', p_event));
        RETURN NULL;
    END IF;
    IF v_to <> v_from THEN
        o.state := v_to;
        o.state_at := p_now;
        o.cause := p_cause;
    END IF;
    IF v_to NOT IN ('SENDING', 'UNKNOWN', 'RESERVED', 'PREPARED', 'HELD_BACK') THEN
        o.fate_open := false;
    END IF;

    SELECT * INTO v_old FROM ledger.reservation r WHERE r.account_id = o.account_id AND r.order_id = o.order_id;
    v_new := v_old;
    v_new.shares_micros := CASE WHEN ledger._ended(v_to) THEN 0 ELSE greatest(o.size_micros - v_matched, 0) END;
    v_new.awaiting_micros := v_matched - o.traded_micros;
    v_new.held_micros := ledger._held_by(o, v_new.shares_micros, v_new.awaiting_micros);
    v_new.phase := CASE
        WHEN v_to IN ('LIVE', 'DELAYED') THEN 'open'
        WHEN NOT ledger._ended(v_to) THEN 'pending'
        WHEN v_new.awaiting_micros > 0 OR v_new.held_micros > 0 THEN 'settling'
        ELSE 'released' END;
    v_new.released_at := CASE v_new.phase WHEN 'released' THEN coalesce(v_old.released_at, p_now) END;
    v_new.awaiting_since := CASE WHEN v_new.awaiting_micros > 0 THEN coalesce(v_old.awaiting_since, p_now) END;

    UPDATE ledger.orders SET
        state = o.state, state_at = o.state_at, cause = o.cause, venue_order_id = o.venue_order_id,
        size_matched_micros = o.size_matched_micros, traded_micros = o.traded_micros,
        confirmed_micros = o.confirmed_micros, failed_micros = o.failed_micros, attempts = o.attempts,
        fate_open = o.fate_open, seen_at_venue = o.seen_at_venue, last_deadline = o.last_deadline,
        cancel_asked_at = o.cancel_asked_at, cancel_reason = o.cancel_reason
    WHERE account_id = o.account_id AND order_id = o.order_id;

    IF v_new IS DISTINCT FROM v_old THEN
        UPDATE ledger.reservation SET
            phase = v_new.phase, shares_micros = v_new.shares_micros, awaiting_micros = v_new.awaiting_micros,
            held_micros = v_new.held_micros, awaiting_since = v_new.awaiting_since, released_at = v_new.released_at
        WHERE account_id = o.account_id AND order_id = o.order_id;
    END IF;
    PERFORM ledger._shift_exposure(o, v_old, v_new, p_provisional, p_confirmed);
    PERFORM ledger._carry_risk(o.account_id, o.market_id, ledger._ended(v_from)::integer - ledger._ended(v_to)::integer);

    v_held := v_new.held_micros - v_old.held_micros;
    v_key := format('order:%s:%s', o.order_id,
        (SELECT journal_seq + 1 FROM ledger.account_state s WHERE s.account_id = o.account_id));
    IF o.side = 'BUY' THEN
        PERFORM ledger._book(o.account_id, 'collateral', p_cash - v_held, v_held, p_event, v_key || ':c',
                             p_now, o.order_id, p_trade_id, p_fee => p_fee);
        PERFORM ledger._book(o.account_id, o.token_id, p_confirmed, 0, p_event, v_key || ':t',
                             p_now, o.order_id, p_trade_id);
    ELSE
        PERFORM ledger._book(o.account_id, o.token_id, -v_held - p_confirmed, v_held, p_event, v_key || ':t',
                             p_now, o.order_id, p_trade_id);
        PERFORM ledger._book(o.account_id, 'collateral', p_cash, 0, p_event, v_key || ':c',
                             p_now, o.order_id, p_trade_id, p_fee => p_fee);
    END IF;

    PERFORM ledger._follow_queues(o, v_from, p_now);
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, p_event, o.order_id, p_attempt, v_from, v_to,
        CASE WHEN v_to <> v_from AND p_cause <> '' THEN p_detail || jsonb_build_object('cause', p_cause) ELSE p_detail END);
    IF p_event IN ('SEE', 'FILL_PART', 'FILL_ALL', 'END_CANCELLED', 'END_EXPIRED', 'REOPEN') THEN
        PERFORM ledger._check_breach(o.account_id, o.market_id, p_now, v_matched > o.size_micros);
    END IF;
    IF ledger._ended(v_to) AND NOT ledger._ended(v_from) THEN
        PERFORM ledger._finish_replacement(o, p_now);
    END IF;
    RETURN v_to;
END $$;

CREATE OR REPLACE FUNCTION ledger._shift_exposure(
    o ledger.orders, p_old ledger.reservation, p_new ledger.reservation, p_provisional bigint, p_confirmed bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := o.outcome + 1;
    v_pending bigint := CASE p_new.phase WHEN 'pending' THEN p_new.shares_micros ELSE 0 END
                      - CASE p_old.phase WHEN 'pending' THEN p_old.shares_micros ELSE 0 END;
    v_open bigint := CASE p_new.phase WHEN 'open' THEN p_new.shares_micros ELSE 0 END
                   - CASE p_old.phase WHEN 'open' THEN p_old.shares_micros ELSE 0 END;
    v_awaiting bigint := p_new.awaiting_micros - p_old.awaiting_micros;
    v_held bigint := p_new.held_micros - p_old.held_micros;
BEGIN
    IF v_pending = 0 AND v_open = 0 AND v_awaiting = 0 AND v_held = 0 AND p_provisional = 0 AND p_confirmed = 0 THEN
        RETURN;
    END IF;
    IF o.side = 'BUY' THEN
        UPDATE ledger.exposure e SET
            pending_buy[i] = e.pending_buy[i] + v_pending, open_buy[i] = e.open_buy[i] + v_open,
            awaiting_buy[i] = e.awaiting_buy[i] + v_awaiting,
            held_cost = e.held_cost + v_held,
            provisional_buy[i] = e.provisional_buy[i] + p_provisional,
            confirmed[i] = e.confirmed[i] + p_confirmed
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    ELSE
        UPDATE ledger.exposure e SET
            pending_sell[i] = e.pending_sell[i] + v_pending, open_sell[i] = e.open_sell[i] + v_open,
            awaiting_sell[i] = e.awaiting_sell[i] + v_awaiting,
            provisional_sell[i] = e.provisional_sell[i] + p_provisional,
            confirmed[i] = e.confirmed[i] - p_confirmed
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._follow_queues(o ledger.orders, p_from text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF o.state = p_from THEN
        RETURN;
    END IF;
    IF o.state = 'UNKNOWN' THEN
        UPDATE ledger.outbox SET claimed_by = NULL, claimed_until = NULL,
            status = CASE WHEN released_at IS NULL THEN 'blocked' ELSE 'released' END
        WHERE account_id = o.account_id AND order_id = o.order_id;
    ELSIF o.state IN ('LIVE', 'DELAYED') OR ledger._ended(o.state) THEN
        -- Evidence cancels a retry that is still scheduled.
        UPDATE ledger.outbox SET status = 'done', claimed_by = NULL, claimed_until = NULL
        WHERE account_id = o.account_id AND order_id = o.order_id;
    END IF;
    IF ledger._ended(o.state) THEN
        UPDATE ledger.cancel_request SET status = 'done', claimed_by = NULL
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due';
    ELSIF ledger._ended(p_from) THEN
        PERFORM ledger._queue_cancel(o, 'reopened: seen alive after it was believed ended', p_now);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._queue_cancel(o ledger.orders, p_reason text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.cancel_request AS c
        (account_id, order_id, market_id, reason, asked_by, asked_at, status, next_at)
    -- Due by the clock that claims go by: the market's time may be ahead of it, and a cancel waits for nothing.
    VALUES (o.account_id, o.order_id, o.market_id, left(p_reason, 500), session_user, p_now, 'due', least(p_now, ledger.clock()))
    ON CONFLICT (account_id, order_id) DO UPDATE
        SET status = 'due', next_at = CASE WHEN c.status = 'due' THEN least(c.next_at, excluded.next_at)
                                           ELSE excluded.next_at END;
    UPDATE ledger.orders SET cancel_asked_at = coalesce(cancel_asked_at, p_now),
                             cancel_reason = coalesce(cancel_reason, left(p_reason, 500))
    WHERE account_id = o.account_id AND order_id = o.order_id;
END $$;

-- file: ledger/sql/functions/attempts.sql
-- purpose: the send path: sign, open an attempt, record how it ended.
-- locks:   exposure, account_state, orders of the batch (_lock_lanes), then attempt and outbox rows.
-- index:   orders_by_id, attempt and outbox by primary or unique key.
-- fence:   prepare and open_attempt need the live claim (incarnation, claim_no); a completion needs the open attempt
--          of that incarnation. No row updated means: I am the zombie. Its answer is kept as evidence only.

CREATE OR REPLACE FUNCTION ledger._claim_holds(o ledger.orders, p_incarnation uuid, p_claim_no bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    SELECT EXISTS (SELECT FROM ledger.outbox b WHERE b.account_id = o.account_id AND b.order_id = o.order_id
        AND b.status IN ('claimed', 'blocked', 'released') AND b.claimed_by = p_incarnation AND b.claim_no = p_claim_no
        AND b.claimed_until > ledger.clock())
$$;

CREATE OR REPLACE FUNCTION ledger._ids(p_items jsonb) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF jsonb_typeof(p_items) IS DISTINCT FROM 'array' OR jsonb_array_length(p_items) > 1024 THEN
        RAISE EXCEPTION 'BAD_REQUEST: an array of at most 1024 items is needed; nothing was done' USING ERRCODE = 'LG004';
    END IF;
    RETURN array(SELECT ledger._whole(x -> 'order_id') FROM jsonb_array_elements(p_items) x
                 WHERE ledger._whole(x -> 'order_id') IS NOT NULL);
END $$;

CREATE OR REPLACE FUNCTION ledger._ok(p_item integer, o ledger.orders, p_state text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT jsonb_build_object('item', p_item, 'status', 'ok', 'order_id', o.order_id, 'state', p_state) $$;

CREATE OR REPLACE FUNCTION ledger.prepare(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    s ledger.signed_order;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF NOT ledger._claim_holds(o, (x ->> 'incarnation')::uuid, ledger._whole(x -> 'claim_no')) THEN
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; nothing was stored');
        ELSIF o.state <> 'RESERVED' THEN
            -- The transition table refuses it and journals that; nothing else changes.
            PERFORM ledger._settle(o, 'PREPARE', '', ledger._lane_time(o.account_id, o.market_id));
            v_answer := ledger._refusal(i, 'ILLEGAL_TRANSITION', format('order %s is %s', o.order_id, o.state));
        ELSE
            INSERT INTO ledger.signed_order (account_id, order_id, venue_order_id, body, fields, signed_at, signed_by)
            VALUES (o.account_id, o.order_id, x ->> 'venue_order_id', decode(x ->> 'body', 'base64'),
                    x -> 'fields', ledger._lane_time(o.account_id, o.market_id), (x ->> 'incarnation')::uuid)
            RETURNING * INTO s;
            o.venue_order_id := s.venue_order_id;
            v_answer := ledger._ok(i, o, ledger._settle(o, 'PREPARE', '', s.signed_at,
                jsonb_build_object('venue_order_id', s.venue_order_id, 'signed_by', s.signed_by,
                    'body', encode(sha256(s.body), 'hex'),
                    'fields', encode(sha256(convert_to(s.fields::text, 'UTF8')), 'hex'))));
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.prepare(jsonb) IS
    'Items {order_id, incarnation, claim_no, venue_order_id, body (base64), fields}: RESERVED to PREPARED.';

CREATE OR REPLACE FUNCTION ledger.open_attempt(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    e ledger.exposure;
    b ledger.breaker;
    v_now timestamptz;
    v_left interval;
    v_code text;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF NOT ledger._claim_holds(o, (x ->> 'incarnation')::uuid, ledger._whole(x -> 'claim_no')) THEN
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; send nothing');
        ELSIF o.state NOT IN ('PREPARED', 'HELD_BACK', 'UNKNOWN') THEN
            PERFORM ledger._settle(o, 'OPEN', '', ledger._lane_time(o.account_id, o.market_id));
            v_answer := ledger._refusal(i, 'ILLEGAL_TRANSITION', format('order %s is %s; send nothing', o.order_id, o.state));
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
            v_left := ledger._validity_left(o);
            v_code := ledger._no_longer_wanted(o, e, v_left, v_now);
            b := ledger._breaker_says(o.account_id, o.market_id, o.order_id);
            IF v_code IS NULL AND b.until IS NOT NULL THEN
                -- What was admitted before it opened waits for it, or for the probe.
                UPDATE ledger.outbox q SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    not_before = greatest(q.not_before, least(b.until, ledger.clock() + interval '5 seconds'),
                                          ledger.clock() + interval '500 milliseconds')
                WHERE q.account_id = o.account_id AND q.order_id = o.order_id AND q.status = 'claimed';
                v_answer := ledger._refusal(i, 'BREAKER', format('a breaker (%s) is open; nothing was sent, it goes later', b.kind));
            ELSIF v_code IS NULL AND ledger._gate(o.account_id, o.post_only) IS NOT NULL THEN
                -- Wanted, and not now: back to its lane. A resend of an unknown order keeps its place.
                UPDATE ledger.outbox q SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    not_before = greatest(q.not_before, ledger.clock() + interval '500 milliseconds')
                WHERE q.account_id = o.account_id AND q.order_id = o.order_id AND q.status = 'claimed';
                v_answer := ledger._refusal(i, 'VENUE_MODE', format('the venue is %s; nothing was sent, it goes later',
                    ledger._gate(o.account_id, o.post_only)));
            ELSIF v_code IS NULL THEN
                PERFORM ledger._probe(o.account_id, o.market_id, o.order_id);
                v_answer := ledger._open(i, o, x, v_left, v_now);
            ELSIF o.state = 'UNKNOWN' THEN
                -- A copy may live: only look-ups and DELETE from here on.
                PERFORM ledger._queue_cancel(o, v_code, v_now);
                v_answer := ledger._refusal(i, v_code, 'the order is not wanted any more; it is not sent again');
            ELSE
                PERFORM ledger._settle(o, 'WITHDRAW', v_code, v_now);
                v_answer := ledger._refusal(i, v_code, 'the order is not wanted any more; it was never placed');
            END IF;
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.open_attempt(jsonb) IS
    'Items {order_id, incarnation, claim_no, owner, request_timeout_ms}. Bytes may leave only after this has returned '
    'ok, and only until send_within_ms after a monotonic clock reading taken before the call (2 s, or what remains of '
    'valid_until).';

CREATE OR REPLACE FUNCTION ledger._no_longer_wanted(
    o ledger.orders, e ledger.exposure, p_left interval, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN CASE
        WHEN o.cancel_asked_at IS NOT NULL THEN 'CANCEL_ASKED'
        WHEN p_left <= interval '0' THEN 'EXPIRED'
        WHEN e.suspended_until > p_now THEN 'SUSPENDED'
        WHEN ledger._halted_by(o.account_id, o.market_id) IS NOT NULL THEN 'HALTED' END;
END $$;

CREATE OR REPLACE FUNCTION ledger._validity_left(o ledger.orders) RETURNS interval
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- Not the market's time, which stands still while the clock is behind it: standing still, it would lengthen validity.
    v_clock timestamptz := ledger.clock();
BEGIN
    IF v_clock < o.created_at OR o.order_id <= (SELECT max(s.last_order_id) FROM ledger.clock_step s) THEN
        RETURN interval '0';
    END IF;
    RETURN least(o.valid_until, CASE WHEN o.expires_at_s > 0 THEN to_timestamp(o.expires_at_s) END) - v_clock;
END $$;
COMMENT ON FUNCTION ledger._validity_left(ledger.orders) IS
    'How long the order may still be sent; nothing once the clock is known to have gone back since it was reserved: how '
    'long ago that was cannot be told then, and an intent is not sent late.';

CREATE OR REPLACE FUNCTION ledger._open(p_item integer, o ledger.orders, x jsonb, p_left interval, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- An intent is not sent late: what remains of its validity may be less than the two seconds.
    v_within interval := least(interval '2 seconds', p_left);
    v_send_by timestamptz := p_now + v_within;
BEGIN
    o.attempts := o.attempts + 1;
    o.last_deadline := greatest(o.last_deadline,
        v_send_by + make_interval(secs => coalesce(ledger._whole(x -> 'request_timeout_ms'), 10000) / 1000.0));
    INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, owner, opened_at, send_by, deadline)
    VALUES (o.account_id, o.order_id, o.attempts, (x ->> 'incarnation')::uuid, coalesce(x ->> 'owner', ''),
            p_now, v_send_by, o.last_deadline);
    UPDATE ledger.outbox SET status = 'claimed' WHERE account_id = o.account_id AND order_id = o.order_id;
    RETURN ledger._ok(p_item, o, ledger._settle(o, 'OPEN', '', p_now, jsonb_build_object('send_by', v_send_by,
            'deadline', o.last_deadline,            'incarnation', x ->> 'incarnation', 'owner', coalesce(x ->> 'owner', '')), p_attempt => o.attempts))
        || jsonb_build_object('attempt', o.attempts,
            'send_within_ms', floor(extract(epoch FROM v_within) * 1000)::bigint);
END $$;

CREATE OR REPLACE FUNCTION ledger._answer(p_outcome text, p_code text, p_raw text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object('outcome', p_outcome, 'code', p_code,
                              'answer', encode(sha256(convert_to(left(p_raw, 8192), 'UTF8')), 'hex'))
$$;
COMMENT ON FUNCTION ledger._answer(text, text, text) IS 'How an attempt ended, for the journal; of the venue''s answer its digest.';

CREATE OR REPLACE FUNCTION ledger._complete(
    p_items jsonb, p_outcome text, p_event text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_event text;
    v_code text;
    v_state text;
    v_opened timestamptz;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        v_opened := NULL;
        v_code := left(coalesce(x ->> 'code', ''), 200);
        IF o.order_id IS NULL THEN
            v_answers := v_answers || ledger._no_order(i, ledger._whole(x -> 'order_id'));
            i := i + 1;
            CONTINUE;
        END IF;
        v_now := ledger._lane_time(o.account_id, o.market_id);
        IF v_code = 'ID_MISMATCH' THEN
            -- What is at the venue under our bytes has another name: in this very commit, or a death would lose the halt.
            PERFORM ledger._halt_once('account', o.account_id::text,
                'ID_MISMATCH: the venue answered with another order id than ours', v_now);
        END IF;
        UPDATE ledger.attempt SET outcome = p_outcome, code = v_code, answer = left(x ->> 'raw', 8192), ended_at = v_now
        WHERE account_id = o.account_id AND order_id = o.order_id AND attempt = ledger._whole(x -> 'attempt')
          AND incarnation = (x ->> 'incarnation')::uuid AND outcome = 'open'
        RETURNING opened_at INTO v_opened;
        IF FOUND THEN
            PERFORM ledger._note_answer(o, p_outcome, x ->> 'reason_class', v_code, v_opened, v_now);
        END IF;
        IF v_opened IS NULL THEN
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'REFUSED_COMPLETION', o.order_id,
                ledger._whole(x -> 'attempt')::integer, o.state, NULL, jsonb_build_object('outcome', p_outcome, 'code', v_code)
                || ledger._keep_evidence(o, 'refused_completion', v_now, v_now, (x ->> 'incarnation')::uuid, NULL,
                    left(format('attempt %s: %s %s %s', x ->> 'attempt', p_outcome, v_code, x ->> 'raw'), 8192)));
            IF p_outcome IN ('accepted', 'seen') THEN
                PERFORM ledger._late_sighting(o, x, v_now);
            END IF;
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'this attempt is not open for this worker; kept as evidence');
        ELSIF o.state <> 'SENDING' THEN
            -- The stream was faster: the order already stands on better evidence than this answer.
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id,
                ledger._whole(x -> 'attempt')::integer, o.state, o.state, ledger._answer(p_outcome, v_code, x ->> 'raw'));
            v_answer := ledger._ok(i, o, o.state);
        ELSE
            v_event := p_event;
            IF p_event IN ('REJECT', 'HOLD_BACK') AND (o.fate_open OR o.seen_at_venue) THEN
                -- A refusal of this copy proves nothing about an earlier one.
                v_event := 'LOSE';
            END IF;
            IF v_event = 'LOSE' THEN
                o.fate_open := true;
            END IF;
            IF p_outcome IN ('accepted', 'seen') THEN
                o.seen_at_venue := true;
            END IF;
            v_state := ledger._settle(o, v_event, v_code, v_now, ledger._answer(p_outcome, v_code, x ->> 'raw'),
                                      p_attempt => ledger._whole(x -> 'attempt')::integer);
            IF v_state = 'HELD_BACK' THEN
                UPDATE ledger.outbox SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    -- By the clock that claims go by: the market's time may be ahead of it, and this would wait for that.
                    not_before = ledger.clock() + make_interval(secs => coalesce(ledger._whole(x -> 'retry_after_ms'), 1000) / 1000.0)
                WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'claimed';
                IF o.cancel_asked_at IS NOT NULL THEN
                    -- Known unsent again: the cancel that had to wait for this answer ends it here.
                    v_state := ledger._settle(ledger._order(o.order_id, v_locked), 'WITHDRAW', 'CANCEL_ASKED', v_now);
                END IF;
            END IF;
            v_answer := ledger._ok(i, o, v_state);
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;

CREATE OR REPLACE FUNCTION ledger._sighted(o ledger.orders, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.orders SET seen_at_venue = true
    WHERE account_id = o.account_id AND order_id = o.order_id AND NOT seen_at_venue;
    IF FOUND THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'SIGHTED', o.order_id, NULL, o.state, o.state);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._sighted(ledger.orders, timestamptz) IS
    'The venue knows the id, and nothing else follows from it: from now on the order is never absent.';

CREATE OR REPLACE FUNCTION ledger._late_sighting(o ledger.orders, x jsonb, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Refused as a completion, but the venue did tell the zombie that it knows the id.
    IF NOT EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                   AND t.attempt = ledger._whole(x -> 'attempt') AND t.incarnation = (x ->> 'incarnation')::uuid) THEN
        RETURN;
    END IF;
    o.seen_at_venue := true;
    IF o.state IN ('REJECTED', 'NOT_PLACED') THEN
        PERFORM ledger._settle(o, 'SEE', 'LATE_ANSWER', p_now);
    ELSE
        PERFORM ledger._sighted(o, p_now);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger.acknowledge(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'accepted', 'ACCEPT'); END $$;
COMMENT ON FUNCTION ledger.acknowledge(jsonb) IS
    'Items {order_id, attempt, incarnation, code (raw status), raw}: pending becomes open in this commit.';

CREATE OR REPLACE FUNCTION ledger.acknowledge_delayed(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'accepted', 'DELAY'); END $$;

CREATE OR REPLACE FUNCTION ledger.reject(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'rejected', 'REJECT'); END $$;
COMMENT ON FUNCTION ledger.reject(jsonb) IS
    'A definite refusal. Ends the order only if no earlier attempt of it is unknown and the id was never seen.';

CREATE OR REPLACE FUNCTION ledger.hold_back(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'held_back', 'HOLD_BACK'); END $$;
COMMENT ON FUNCTION ledger.hold_back(jsonb) IS
    'Known not processed (425, 429, 503, not ready, dropped before sending): the same bytes go again after retry_after_ms.';

CREATE OR REPLACE FUNCTION ledger.mark_seen(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'seen', 'LOSE'); END $$;
COMMENT ON FUNCTION ledger.mark_seen(jsonb) IS
    'Duplicated: the venue knows the id. Neither live nor filled nor dead: UNKNOWN until a read, and never absent.';

CREATE OR REPLACE FUNCTION ledger.mark_unknown(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'unknown', 'LOSE'); END $$;

CREATE OR REPLACE FUNCTION ledger.release_pending(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        v_answer := CASE
            WHEN o.order_id IS NULL THEN ledger._no_order(i, ledger._whole(x -> 'order_id'))
            WHEN ledger._ended(o.state) THEN ledger._ok(i, o, o.state) || '{"replay": true}'
            WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN ledger._ok(i, o, ledger._settle(o, 'WITHDRAW',
                left(coalesce(x ->> 'cause', 'RELEASED'), 200), ledger._lane_time(o.account_id, o.market_id)))
            ELSE ledger._refusal(i, 'NOT_PROVEN', format('order %s is %s: a copy may be at the venue, so its hold stays; '
                'ask for a cancel instead', o.order_id, o.state)) END;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.release_pending(jsonb) IS
    'Items {order_id, cause}. Releases what was never sent; repeating it changes nothing; refuses what may be at the venue.';

-- file: ledger/sql/functions/liquidity.sql
-- purpose: whether a fill made or took liquidity, and how that is known.
-- locks:   none; the caller holds the lane. A book is what it was.
-- index:   book by primary key.
-- fence:   a function of the order as admitted and of the fill as first booked: any order of arrival gives the same.

CREATE OR REPLACE FUNCTION ledger._crosses(r ledger.request, l ledger.limits) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
BEGIN
    -- An empty side cannot be crossed; without a good book nobody knows.
    RETURN CASE WHEN b.market_id IS NULL THEN NULL
        WHEN r.side = 'BUY' THEN coalesce(r.price_micros >= b.asks[1], false)
        ELSE coalesce(r.price_micros <= b.bids[1], false) END;
END $$;
COMMENT ON FUNCTION ledger._crosses(ledger.request, ledger.limits) IS
    'Whether the order would trade at once with the last good book; NULL without one.';

CREATE OR REPLACE FUNCTION ledger._classified(INOUT f ledger.fill, o ledger.orders)
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- What rests of an order that crossed makes liquidity later. Of its fills those took for certain that got a better price
    -- than the order's own (a maker trades at its own price), and those that not even the venue calls a maker's.
    f.liquidity_source := CASE
        WHEN o.post_only THEN 'post_only'
        WHEN o.order_type IN ('FOK', 'FAK') THEN 'crossing'
        WHEN o.crossed AND (NOT f.is_maker OR CASE o.side WHEN 'BUY' THEN f.price_micros < o.price_micros
                                                          ELSE f.price_micros > o.price_micros END) THEN 'crossing'
        ELSE 'venue_flag' END;
    f.liquidity := CASE WHEN f.liquidity_source = 'post_only' OR f.liquidity_source = 'venue_flag' AND f.is_maker THEN 'maker'
        ELSE 'taker' END;
END $$;
COMMENT ON FUNCTION ledger._classified(ledger.fill, ledger.orders) IS
    'The fill with its liquidity, by the first of these that tells: a post-only order only makes; an order that cannot rest, or '
    'crossed the last good book, takes; the venue''s flag.';

-- file: ledger/sql/functions/facts.sql
-- purpose: book what happened at the venue: what an order looks like there, and our part of each trade.
-- locks:   exposure, account_state, orders (_lock_lanes), then the fill row. Facts about ids nobody knows lock only account_state.
-- index:   orders_by_venue_id, fill by primary key.
-- fence:   matched size is a monotone maximum, settlement and fee have a rank: any order of arrival gives the same rows.

CREATE OR REPLACE FUNCTION ledger._orders_of_facts(p_items jsonb) RETURNS bigint[]
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce(array_agg(DISTINCT o.order_id), '{}') FROM jsonb_array_elements(p_items) x
    JOIN ledger.account a ON a.name = x ->> 'account'
    JOIN ledger.orders o ON o.account_id = a.account_id AND o.venue_order_id = lower(x ->> 'venue_order_id')
$$;

CREATE OR REPLACE FUNCTION ledger._named_accounts(p_items jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
AS $$ SELECT array_agg(DISTINCT x ->> 'account') FROM jsonb_array_elements(p_items) x $$;

CREATE OR REPLACE FUNCTION ledger._unplaceable(x jsonb) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(x ->> 'venue_order_id', '') = '' OR NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = x ->> 'account')
$$;
COMMENT ON FUNCTION ledger._unplaceable(jsonb) IS
    'Whether a fact names no order of a known account. One unreadable item must not void the rest of a batch.';

CREATE OR REPLACE FUNCTION ledger._foreign(p_account text, p_venue_order_id text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_account_id bigint;
    v_now timestamptz := ledger.clock();
    v_new boolean;
BEGIN
    SELECT a.account_id INTO STRICT v_account_id FROM ledger.account a WHERE a.name = p_account;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    INSERT INTO ledger.foreign_order AS f (account_id, venue_order_id, first_seen_at, last_seen_at, detail)
    VALUES (v_account_id, p_venue_order_id, v_now, v_now, p_detail)
    ON CONFLICT (account_id, venue_order_id) DO UPDATE SET last_seen_at = v_now, detail = f.detail || excluded.detail
    RETURNING first_seen_at = v_now INTO v_new;
    IF v_new THEN
        PERFORM ledger._journal(v_account_id, NULL, v_now, 'FOREIGN_ORDER', NULL, NULL, NULL, NULL,
                                p_detail || jsonb_build_object('venue_order_id', p_venue_order_id));
        -- What is at the venue under our account and not in the ledger means that something else trades here.
        PERFORM ledger._halt_once('account', v_account_id::text, 'FOREIGN_ORDER: ' || p_venue_order_id, v_now);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger.observe_orders(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_entered timestamptz := ledger.clock();
    v_event text;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    PERFORM ledger._ids(p_items);
    v_locked := ledger._lock_lanes(ledger._orders_of_facts(p_items), ledger._named_accounts(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        SELECT q.* INTO o FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = x ->> 'account' AND q.venue_order_id = lower(x ->> 'venue_order_id');
        IF o.order_id IS NOT NULL AND o.order_id <> ALL (v_locked) THEN
            -- Its id was stored after the locks were taken: neither a stranger nor ours to touch without them.
            RAISE EXCEPTION 'order % appeared meanwhile; nothing was booked', o.order_id USING ERRCODE = '40001';
        END IF;
        IF ledger._unplaceable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'an observation names a known account and an order');
        ELSIF o.order_id IS NULL THEN
            PERFORM ledger._foreign(x ->> 'account', lower(x ->> 'venue_order_id'), x - 'account');
            v_answer := ledger._refusal(i, 'UNKNOWN_ORDER', 'no intent explains this order; the account is halted');
        ELSIF coalesce(ledger._whole(x -> 'size_matched_micros'), -1) < 0 THEN
            -- Taken for nothing matched, it would free a hold that is spent.
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'size_matched_micros must be a whole number; nothing was changed');
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            o.size_matched_micros := greatest(o.size_matched_micros, coalesce(ledger._whole(x -> 'size_matched_micros'), 0));
            o.seen_at_venue := true;
            PERFORM ledger._hasten_cancel(o);
            v_event := ledger._event_of(o, x, v_entered);
            IF v_event IS NULL THEN
                IF x ->> 'status' <> 'REJECTED' THEN
                    PERFORM ledger._sighted(o, v_now);
                END IF;
                v_answer := ledger._ok(i, o, o.state);
            ELSE
                v_answer := ledger._ok(i, o, ledger._settle(o, v_event, coalesce(x ->> 'raw_status', ''), v_now,
                    jsonb_build_object('source', x ->> 'source', 'status', x ->> 'raw_status', 'matched', o.size_matched_micros)));
            END IF;
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.observe_orders(jsonb) IS
    'Items {account, venue_order_id, status (LIVE, DELAYED, MATCHED, CANCELLED, EXPIRED, REJECTED, OTHER), raw_status, '
    'size_matched_micros, source (read, stream), took_ms (of a read)}. Only a read by id ends an order; the stream only shows that it lives or fills.';

CREATE OR REPLACE FUNCTION ledger._event_of(o ledger.orders, x jsonb, p_entered timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status text := x ->> 'status';
    v_read boolean := x ->> 'source' = 'read';
    v_matched bigint := greatest(o.size_matched_micros, o.traded_micros);
    v_before ledger.orders := ledger._order(o.order_id, ARRAY[o.order_id]);
    v_news boolean;
    v_dead boolean := x ->> 'status' IN ('CANCELLED', 'EXPIRED', 'REJECTED');
    -- From before the wait for the lock: a read that queued does not grow younger by it.
    v_since timestamptz := p_entered - make_interval(secs => ledger._whole(x -> 'took_ms') / 1000.0);
BEGIN
    v_news := o.size_matched_micros <> v_before.size_matched_micros OR NOT v_before.seen_at_venue
              OR o.state IN ('PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'REJECTED', 'NOT_PLACED');
    RETURN CASE
        -- Refused, and the venue shows it as dead: the same thing said twice.
        WHEN o.state = 'REJECTED' AND v_dead AND v_matched = 0 THEN NULL
        WHEN v_matched >= o.size_micros THEN CASE WHEN v_news OR o.state <> 'FILLED' THEN 'FILL_ALL' END
        -- 99.997714 of 100 was reported MATCHED: dust below a hundredth of a share ends as filled, more as cancelled.
        WHEN v_read AND v_status = 'MATCHED' AND o.size_micros - v_matched < 10000
            THEN CASE WHEN v_news OR o.state <> 'FILLED' THEN 'FILL_ALL' END
        WHEN v_read AND v_status IN ('CANCELLED', 'REJECTED', 'MATCHED')
            THEN CASE WHEN v_news OR o.state NOT IN ('CANCELLED', 'EXPIRED', 'FILLED') THEN 'END_CANCELLED' END
        WHEN v_read AND v_status = 'EXPIRED'
            THEN CASE WHEN v_news OR o.state NOT IN ('CANCELLED', 'EXPIRED', 'FILLED') THEN 'END_EXPIRED' END
        -- Only a look-up that began after the end was recorded may contradict it; an older one is merely late.
        WHEN v_read AND v_status = 'LIVE' AND o.state IN ('CANCELLED', 'EXPIRED') AND v_since > o.state_at THEN 'REOPEN'
        -- The stream says it is over: no proof of the final size, and no sign of life either. A read follows.
        WHEN NOT v_read AND v_dead AND o.size_matched_micros = v_before.size_matched_micros THEN NULL
        WHEN v_news THEN 'SEE'
        WHEN v_status = 'LIVE' AND o.state = 'DELAYED' THEN 'SEE' END;
END $$;
COMMENT ON FUNCTION ledger._event_of(ledger.orders, jsonb, timestamptz) IS
    'Which event an observation is, or NULL if it says nothing new: repeating a read changes no row.';

CREATE OR REPLACE FUNCTION ledger.record_fills(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    PERFORM ledger._ids(p_items);
    v_locked := ledger._lock_lanes(ledger._orders_of_facts(p_items), ledger._named_accounts(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        SELECT q.* INTO o FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = x ->> 'account' AND q.venue_order_id = lower(x ->> 'venue_order_id');
        IF o.order_id IS NOT NULL AND o.order_id <> ALL (v_locked) THEN
            -- Its id was stored after the locks were taken: neither a stranger nor ours to touch without them.
            RAISE EXCEPTION 'order % appeared meanwhile; nothing was booked', o.order_id USING ERRCODE = '40001';
        END IF;
        IF ledger._unplaceable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'a trade names a known account and an order');
        ELSIF o.order_id IS NULL THEN
            PERFORM ledger._foreign(x ->> 'account', lower(x ->> 'venue_order_id'), x - 'account');
            v_answer := ledger._refusal(i, 'UNKNOWN_ORDER', 'no intent explains this trade; the account is halted');
        ELSIF NOT ledger._bookable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'a trade has an id, a size, a price of 0 to 1000000 and a fee, '
                'whole numbers; nothing was booked');
        ELSE
            v_answer := ledger._fill(i, o, x);
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_fills(jsonb) IS
    'Items {account, trade_id, venue_order_id, size_micros, price_micros, fee_micros, status (MATCHED, MINED, RETRYING, '
    'CONFIRMED, FAILED), raw_status, is_maker, matched_at_ms}. Side and token come from our own order, never from the trade.';

CREATE OR REPLACE FUNCTION ledger._bookable(x jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(octet_length(x ->> 'trade_id') BETWEEN 1 AND 200 AND ledger._whole(x -> 'size_micros') > 0
        AND ledger._whole(x -> 'price_micros') BETWEEN 0 AND 1000000
        AND CASE WHEN coalesce(x -> 'fee_micros', 'null') = 'null' THEN 0 ELSE ledger._whole(x -> 'fee_micros') END >= 0, false)
$$;
COMMENT ON FUNCTION ledger._bookable(jsonb) IS
    'Whether the numbers of a trade can be read. What else is missing or unheard of (its time, its status) never keeps one out.';

CREATE OR REPLACE FUNCTION ledger._cash_of(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- A BUY pays when matched and gets it back when failed; a SELL is paid when confirmed.
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN -(f.cash_micros + f.fee_micros)
                WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._cash_of(ledger.fill) IS
    'What a fill moves in collateral: a function of its row, so that each change books the difference, once.';

CREATE OR REPLACE FUNCTION ledger._fee_of(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
                THEN f.fee_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._fee_of(ledger.fill) IS 'The part of _cash_of that goes to fees.';

CREATE OR REPLACE FUNCTION ledger._counted_size(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
                THEN f.size_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._counted_size(ledger.fill) IS 'The shares by which a fill counts as bought or as sold.';

CREATE OR REPLACE FUNCTION ledger._count_cost(o ledger.orders, p_old ledger.fill, p_new ledger.fill) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := o.outcome + 1;
    e ledger.exposure;
    v_cash bigint := ledger._cash_of(p_new) - coalesce(ledger._cash_of(p_old), 0);
    v_size bigint := ledger._counted_size(p_new) - coalesce(ledger._counted_size(p_old), 0);
    v_basis bigint;
BEGIN
    IF v_cash = 0 AND v_size = 0 THEN
        RETURN 0;
    END IF;
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    IF o.side = 'BUY' THEN
        -- Where nothing was sold all of its cost is still there.
        v_basis := CASE WHEN v_size < 0 AND e.sold[i] = 0 THEN greatest(-v_cash, -e.basis[i])
            ELSE ledger._basis_after(e.basis[i], e.bought[i] - e.sold[i], v_size, -v_cash, v_size < 0) - e.basis[i] END;
        UPDATE ledger.exposure x SET bought[i] = e.bought[i] + v_size, bought_cost[i] = e.bought_cost[i] - v_cash,
            basis[i] = e.basis[i] + v_basis
        WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    ELSE
        v_basis := ledger._basis_after(e.basis[i], e.bought[i] - e.sold[i], -v_size, 0) - e.basis[i];
        UPDATE ledger.exposure x SET sold[i] = e.sold[i] + v_size, sold_cost[i] = e.sold_cost[i] + v_cash,
            basis[i] = e.basis[i] + v_basis
        WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    END IF;
    UPDATE ledger.account_state s SET traded_net = s.traded_net + v_cash WHERE s.account_id = o.account_id AND v_cash <> 0;
    RETURN v_basis;
END $$;
COMMENT ON FUNCTION ledger._count_cost(ledger.orders, ledger.fill, ledger.fill) IS
    'What a fill contributes to the cost counters is a function of its row: the difference is counted. A new one has no old. '
    'Returns what was added to what the position cost, for the row to keep.';

CREATE OR REPLACE FUNCTION ledger._new_fill(o ledger.orders, x jsonb, p_now timestamptz) RETURNS ledger.fill
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    f ledger.fill;
BEGIN
    f.account_id := o.account_id; f.trade_id := x ->> 'trade_id'; f.order_id := o.order_id;
    f.market_id := o.market_id; f.outcome := o.outcome; f.side := o.side;
    f.size_micros := ledger._whole(x -> 'size_micros'); f.price_micros := ledger._whole(x -> 'price_micros');
    f.fee_micros := 0; f.fee_rank := 0; f.basis_micros := 0;
    f.cash_micros := CASE o.side WHEN 'BUY' THEN ledger.cost_of(f.price_micros, f.size_micros)
        ELSE floor(f.price_micros::numeric * f.size_micros / 1000000)::bigint END;
    f.is_maker := coalesce(x -> 'is_maker' = 'true', false);
    f.matched_at := coalesce(CASE WHEN ledger._whole(x -> 'matched_at_ms') BETWEEN 0 AND 4102444800000
        THEN to_timestamp(ledger._whole(x -> 'matched_at_ms') / 1000.0) END, p_now);
    f.settlement := 'provisional';
    f.raw_status := coalesce(x ->> 'raw_status', x ->> 'status', '');
    RETURN ledger._classified(f, o);
END $$;

CREATE OR REPLACE FUNCTION ledger._hear(INOUT f ledger.fill, x jsonb, p_now timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status text := coalesce(x ->> 'status', '');
    v_fee bigint := coalesce(ledger._whole(x -> 'fee_micros'), 0);
    v_rank smallint := CASE v_status WHEN 'CONFIRMED' THEN 4 WHEN 'FAILED' THEN 3
        WHEN 'MINED' THEN 2 WHEN 'RETRYING' THEN 2 ELSE 1 END;
BEGIN
    -- No fee may mean that it was not said: it takes back none that was.
    IF v_fee > 0 AND (v_rank > f.fee_rank OR v_rank = f.fee_rank AND v_fee > f.fee_micros) THEN
        f.fee_micros := v_fee;
        f.fee_rank := v_rank;
    END IF;
    IF v_status = 'CONFIRMED' AND f.settlement = 'failed' OR v_status = 'FAILED' AND f.settlement = 'confirmed' THEN
        f.contradicted_at := coalesce(f.contradicted_at, p_now);
    END IF;
    -- Confirmed outranks failed: tokens moved.
    IF v_status = 'CONFIRMED' AND f.settlement <> 'confirmed' THEN
        f.settlement := 'confirmed';
        f.settled_at := p_now;
        f.raw_status := coalesce(x ->> 'raw_status', v_status);
    ELSIF v_status = 'FAILED' AND f.settlement = 'provisional' THEN
        f.settlement := 'failed';
        f.settled_at := p_now;
        f.raw_status := coalesce(x ->> 'raw_status', v_status);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._hear(ledger.fill, jsonb, timestamptz) IS
    'The fill after one more report of its trade. Reports may come in any order and any number: the last state is the same.';

CREATE OR REPLACE FUNCTION ledger._contradicted(o ledger.orders, f ledger.fill, p_ours text, p_theirs text, p_now timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'SETTLEMENT_CONTRADICTED', o.order_id, NULL, o.state, o.state,
        ledger._told(f) || jsonb_build_object('ours', p_ours, 'theirs', p_theirs));
    INSERT INTO ledger.drift (account_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
    VALUES (o.account_id, 'settlement_contradicted', f.trade_id || '/' || o.venue_order_id, p_ours, p_theirs,
            format('booked as %s; the market is halted', f.settlement), p_now, 'halt', f.settlement, ledger._told(f));
    PERFORM ledger._halt_once('market', o.market_id::text, 'CONFIRMED_AFTER_FAILED: ' || f.trade_id, p_now);
END $$;
COMMENT ON FUNCTION ledger._contradicted(ledger.orders, ledger.fill, text, text, timestamptz) IS
    'A trade that was final has ended the other way: tokens moved and did not. Whatever is booked, a person has to look.';

CREATE OR REPLACE FUNCTION ledger._told(f ledger.fill) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN jsonb_build_object('trade', f.trade_id, 'size', f.size_micros, 'price', f.price_micros, 'fee', f.fee_micros,
                              'settlement', f.settlement, 'status', f.raw_status, 'maker', f.is_maker,
                              'matched_at', f.matched_at, 'contradicted_at', f.contradicted_at);
END $$;

CREATE OR REPLACE FUNCTION ledger._fill(p_item integer, o ledger.orders, x jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    f ledger.fill;
    v_old ledger.fill;
    v_now timestamptz := ledger._lane_time(o.account_id, o.market_id);
    v_new boolean;
    v_cash bigint := 0;
    v_fee bigint;
    v_provisional bigint := 0;
    v_confirmed bigint;
    v_failed bigint;
BEGIN
    SELECT * INTO v_old FROM ledger.fill q
    WHERE q.account_id = o.account_id AND q.trade_id = x ->> 'trade_id' AND q.order_id = o.order_id;
    v_new := NOT FOUND;
    IF v_new THEN
        v_old := ledger._new_fill(o, x, v_now);
        o.traded_micros := o.traded_micros + v_old.size_micros;
    ELSE
        v_cash := -ledger._cash_of(v_old);
        v_provisional := CASE v_old.settlement WHEN 'provisional' THEN -v_old.size_micros ELSE 0 END;
        IF v_old.size_micros <> ledger._whole(x -> 'size_micros') OR v_old.price_micros <> ledger._whole(x -> 'price_micros') THEN
            -- The first booking stands; a trade that changes its numbers is for a person to look at.
            PERFORM ledger._halt_once('market', o.market_id::text, 'TRADE_CHANGED: ' || v_old.trade_id, v_now);
        END IF;
    END IF;
    f := ledger._hear(v_old, x, v_now);
    IF f.contradicted_at IS DISTINCT FROM v_old.contradicted_at THEN
        PERFORM ledger._contradicted(o, f, v_old.settlement, lower(x ->> 'status'), v_now);
    END IF;
    f.basis_micros := f.basis_micros + ledger._count_cost(o, CASE WHEN v_new THEN NULL ELSE v_old END, f);
    IF v_new THEN
        IF o.post_only AND NOT f.is_maker THEN
            -- A post-only order only makes, by the venue's own rule: booked so, and told, for one of the two is not true.
            INSERT INTO ledger.drift (account_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
            VALUES (o.account_id, 'post_only_took', f.trade_id || '/' || o.venue_order_id, 'maker', 'taker',
                    'booked as maker; compare the fee with the venue', v_now, 'resync', 'maker', ledger._told(f));
        END IF;
        INSERT INTO ledger.fill SELECT f.*;
    ELSIF f IS DISTINCT FROM v_old THEN
        UPDATE ledger.fill SET settlement = f.settlement, raw_status = f.raw_status, fee_micros = f.fee_micros,
            fee_rank = f.fee_rank, contradicted_at = f.contradicted_at, settled_at = f.settled_at, basis_micros = f.basis_micros
        WHERE account_id = f.account_id AND trade_id = f.trade_id AND order_id = f.order_id;
    END IF;
    IF NOT v_new AND f.settlement = v_old.settlement AND f.fee_micros = v_old.fee_micros THEN
        RETURN ledger._ok(p_item, o, o.state) || '{"replay": true}';
    END IF;

    v_cash := v_cash + ledger._cash_of(f);
    v_fee := ledger._fee_of(f) - CASE WHEN v_new THEN 0 ELSE ledger._fee_of(v_old) END;
    v_provisional := v_provisional + CASE f.settlement WHEN 'provisional' THEN f.size_micros ELSE 0 END;
    v_confirmed := CASE WHEN f.settlement = 'confirmed' AND v_old.settlement <> 'confirmed' THEN f.size_micros ELSE 0 END;
    v_failed := CASE f.settlement WHEN 'failed' THEN f.size_micros ELSE 0 END
              - CASE v_old.settlement WHEN 'failed' THEN f.size_micros ELSE 0 END;
    o.confirmed_micros := o.confirmed_micros + v_confirmed;
    o.failed_micros := o.failed_micros + v_failed;
    o.seen_at_venue := true;
    PERFORM ledger._hasten_cancel(o);
    RETURN ledger._ok(p_item, o, ledger._settle(o,
        CASE WHEN greatest(o.size_matched_micros, o.traded_micros) >= o.size_micros THEN 'FILL_ALL' ELSE 'FILL_PART' END,
        f.raw_status, v_now, ledger._told(f), v_provisional, v_confirmed, v_cash, NULL, f.trade_id, v_fee));
END $$;

-- file: ledger/sql/functions/evidence.sql
-- purpose: what may be concluded about an order whose fate is unknown, and from what.
-- locks:   exposure, account_state, orders (_lock_lanes), then evidence rows.
-- index:   evidence_of_order.
-- fence:   absence needs every kind of evidence, begun after the quarantine; the ledger checks, not the caller.

CREATE OR REPLACE FUNCTION ledger._keep_evidence(
    o ledger.orders, p_kind text, p_started_at timestamptz, p_at timestamptz, p_incarnation uuid, p_owner text, p_detail text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v ledger.evidence;
BEGIN
    INSERT INTO ledger.evidence (account_id, order_id, kind, started_at, at, incarnation, owner, detail)
    VALUES (o.account_id, o.order_id, p_kind, p_started_at, p_at, p_incarnation, coalesce(p_owner, ''), coalesce(p_detail, ''))
    RETURNING * INTO v;
    RETURN jsonb_build_object('evidence', encode(sha256(convert_to(ledger._evidence_text(v), 'UTF8')), 'hex'));
END $$;
COMMENT ON FUNCTION ledger._keep_evidence(ledger.orders, text, timestamptz, timestamptz, uuid, text, text) IS
    'Stores a piece of evidence and returns its digest, for the journal.';

CREATE OR REPLACE FUNCTION ledger._evidence_text(v ledger.evidence) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_array(v.evidence_id, v.kind, extract(epoch FROM v.started_at), extract(epoch FROM v.at),
                             v.incarnation, v.owner, v.detail)::text
$$;
COMMENT ON FUNCTION ledger._evidence_text(ledger.evidence) IS 'A piece of evidence as it is digested.';

CREATE OR REPLACE FUNCTION ledger._shown_before(o ledger.orders, p_kind text, p_owner text, p_started_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_quarantine_end timestamptz;
BEGIN
    SELECT o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) INTO v_quarantine_end
    FROM ledger.account a WHERE a.account_id = o.account_id;
    RETURN p_kind IN ('order_absent', 'trades_absent') AND EXISTS (
        SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id AND v.kind = p_kind
          AND v.owner = p_owner AND v.started_at <= p_started_at
          -- Before the quarantine's end none of them counts, behind it the first counts as much as the hundredth.
          AND (v.started_at > v_quarantine_end) IS NOT DISTINCT FROM (p_started_at > v_quarantine_end));
END $$;
COMMENT ON FUNCTION ledger._shown_before(ledger.orders, text, text, timestamptz) IS
    'Whether a look-up that found nothing only says again what is evidence already: an order may stay unknown for hours.';

CREATE OR REPLACE FUNCTION ledger.record_evidence(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_entered timestamptz := ledger.clock();
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_started timestamptz;
    v_kept jsonb;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    -- Each row checks that its order exists, which locks the order: without the fixed order first, two batches deadlock.
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL OR coalesce(x ->> 'kind', '') NOT IN ('order_absent', 'trades_absent', 'late_answer', 'sighting') THEN
            v_answers := v_answers || ledger._refusal(i, 'BAD_REQUEST', 'unknown order or kind of evidence');
        ELSE
            -- The look-up's own duration is subtracted on the database's clock: no other clock is compared with it.
            v_started := v_entered - make_interval(secs => greatest(coalesce(ledger._whole(x -> 'took_ms'), 0), 0) / 1000.0);
            v_kept := CASE WHEN NOT ledger._shown_before(o, x ->> 'kind', coalesce(x ->> 'owner', ''), v_started)
                THEN ledger._keep_evidence(o, x ->> 'kind', v_started, ledger.clock(), (x ->> 'incarnation')::uuid,
                                           x ->> 'owner', left(x ->> 'detail', 2000)) END;
            IF x ->> 'kind' IN ('late_answer', 'sighting') THEN
                -- Look-ups that find nothing are many; their digest is taken when absence is concluded from them.
                PERFORM ledger._journal(o.account_id, o.market_id, ledger._lane_time(o.account_id, o.market_id), 'EVIDENCE',
                    o.order_id, NULL, o.state, o.state, v_kept || jsonb_build_object('kind', x ->> 'kind'));
            END IF;
            v_answers := v_answers || ledger._ok(i, o, o.state);
        END IF;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_evidence(jsonb) IS
    'Items {order_id, kind (order_absent, trades_absent, late_answer, sighting), took_ms, incarnation, owner, detail}.';

CREATE OR REPLACE FUNCTION ledger._missing_proof(o ledger.orders, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_quarantine_end timestamptz;
BEGIN
    SELECT o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) INTO v_quarantine_end
    FROM ledger.account a WHERE a.account_id = o.account_id;
    RETURN CASE
        WHEN o.state <> 'UNKNOWN' THEN 'the order is ' || o.state
        WHEN o.seen_at_venue OR EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id
                 AND v.order_id = o.order_id AND v.kind IN ('sighting', 'duplicated')) THEN 'the venue has shown that it knows the id'
        WHEN EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                     AND t.outcome = 'open') THEN 'an attempt is open'
        WHEN p_now <= v_quarantine_end THEN 'the quarantine lasts until ' || v_quarantine_end::text
        WHEN NOT EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
                         AND v.kind = 'delete_answered' AND v.started_at > o.last_deadline)
            THEN 'no DELETE was answered since the last attempt could have arrived'
        WHEN EXISTS (
            SELECT FROM ledger.attempt t CROSS JOIN (VALUES ('order_absent'), ('trades_absent')) k (kind)
            WHERE t.account_id = o.account_id AND t.order_id = o.order_id AND t.outcome IN ('unknown', 'lapsed')
              AND NOT EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
                              AND v.kind = k.kind AND v.owner = t.owner AND v.started_at > v_quarantine_end))
            THEN 'no complete look-up of order and trades, with the attempt''s own key, was begun after the quarantine'
        END;
END $$;

CREATE OR REPLACE FUNCTION ledger._proof(o ledger.orders) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('deadline', o.last_deadline, 'quarantine_ms', a.quarantine_ms,
        'pieces', count(*), 'through', max(v.evidence_id),
        'digest', encode(sha256(convert_to(string_agg(ledger._evidence_text(v), E'\n' ORDER BY v.evidence_id), 'UTF8')), 'hex'))
        FROM ledger.account a LEFT JOIN ledger.evidence v ON v.account_id = o.account_id AND v.order_id = o.order_id
        WHERE a.account_id = o.account_id GROUP BY a.quarantine_ms);
END $$;
COMMENT ON FUNCTION ledger._proof(ledger.orders) IS
    'From what absence is concluded, for the journal: the quarantine, and count, last id and digest of the evidence.';

CREATE OR REPLACE FUNCTION ledger.prove_absent(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_missing text;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answers := v_answers || ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            v_missing := ledger._missing_proof(o, v_now);
            v_answers := v_answers || CASE WHEN v_missing IS NOT NULL THEN ledger._refusal(i, 'NOT_PROVEN', v_missing)
                ELSE ledger._ok(i, o, ledger._settle(o, 'ABSENT', 'PROVEN_ABSENT', v_now, ledger._proof(o))) END;
        END IF;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.prove_absent(jsonb) IS
    'Items {order_id}. Ends an unknown order as NOT_PLACED if, and only if, the stored evidence proves absence.';

CREATE OR REPLACE FUNCTION ledger.resolve_order(p_order_id bigint, p_as text, p_final_size_micros bigint, p_why text, p_operator text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_now timestamptz;
    v_kept jsonb;
    v_event text := CASE p_as WHEN 'not_placed' THEN 'ABSENT' WHEN 'cancelled' THEN 'END_CANCELLED' WHEN 'live' THEN 'SEE' END;
BEGIN
    -- Only risk may call this at all, and it mends the orders of every account.
    v_locked := ledger._lock_lanes(ARRAY[p_order_id], p_mending => true);
    o := ledger._order(p_order_id, v_locked);
    IF o.order_id IS NULL THEN
        RETURN ledger._no_order(0, p_order_id);
    ELSIF v_event IS NULL OR coalesce(p_why, '') = '' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'resolve as not_placed, cancelled or live, and say why; nothing was changed');
    ELSIF p_final_size_micros IS NOT NULL AND (p_as <> 'cancelled' OR p_final_size_micros NOT BETWEEN 0 AND o.size_micros) THEN
        RETURN ledger._refusal(0, 'BAD_SIZE', 'a final size goes with cancelled and lies within the order; nothing was changed');
    ELSIF o.state <> 'UNKNOWN' AND NOT (o.state IN ('LIVE', 'DELAYED') AND p_as = 'cancelled') THEN
        RETURN ledger._refusal(0, 'ILLEGAL_TRANSITION', format('order %s is %s; nothing was changed', o.order_id, o.state));
    ELSIF p_as = 'not_placed' AND (o.seen_at_venue OR o.traded_micros > 0) THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', 'the venue has shown this order: resolve it as cancelled or live');
    END IF;
    v_now := ledger._lane_time(o.account_id, o.market_id);
    v_kept := ledger._keep_evidence(o, 'operator', v_now, v_now, NULL, NULL, left(format('%s: %s', p_operator, p_why), 2000));
    UPDATE ledger.attempt SET outcome = 'lapsed', ended_at = v_now
    WHERE account_id = o.account_id AND order_id = o.order_id AND outcome = 'open';
    IF FOUND THEN
        PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id, o.attempts, o.state, o.state);
    END IF;
    o.size_matched_micros := greatest(o.size_matched_micros, coalesce(p_final_size_micros, 0));
    o.seen_at_venue := o.seen_at_venue OR p_as = 'live';
    RETURN ledger._ok(0, o, ledger._settle(o, v_event, 'OPERATOR', v_now,
        v_kept || jsonb_build_object('as', p_as, 'why', left(p_why, 500), 'operator', left(p_operator, 200),
                           'matched', o.size_matched_micros)));
END $$;

-- file: ledger/sql/functions/cancel.sql
-- purpose: the cancel path: ask, claim, record the answer, sweep by standing condition.
-- locks:   request and record: exposure, account_state, orders (_lock_lanes), then cancel_request. claim: cancel_request only.
-- index:   cancel_due, cancel_wide, orders_not_ended.
-- fence:   none needed: a cancel may be repeated freely. Nothing of ours delays one: no mutex, halt, pause or lane is asked.

CREATE OR REPLACE FUNCTION ledger._cancel_one(o ledger.orders, p_reason text, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF ledger._ended(o.state) THEN
        RETURN o.state;
    ELSIF o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN
        -- Never at the venue: it ends here, under the same lock that open_attempt needs.
        o.cancel_asked_at := coalesce(o.cancel_asked_at, p_now);
        o.cancel_reason := coalesce(o.cancel_reason, left(p_reason, 500));
        RETURN ledger._settle(o, 'WITHDRAW', 'CANCEL_ASKED', p_now, jsonb_build_object('reason', left(p_reason, 500)));
    END IF;
    IF o.cancel_asked_at IS NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'CANCEL_ASKED', o.order_id, NULL, o.state, o.state,
                                jsonb_build_object('reason', left(p_reason, 500)));
    END IF;
    PERFORM ledger._queue_cancel(o, p_reason, p_now);
    RETURN o.state;
END $$;

CREATE OR REPLACE FUNCTION ledger.request_cancel(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    e ledger.exposure;
    v_now timestamptz;
    v_answers jsonb := '[]';
    v_answer jsonb;
    v_protective boolean;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        -- A worker's own cancel uses up no budget of whoever trades; a trader cannot call its own one protective.
        v_protective := coalesce(x -> 'protective' = 'true', false) AND pg_has_role(session_user, '${role_worker}', 'MEMBER');
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF x ? 'mutex_term' AND (ledger._whole(x -> 'mutex_term') IS DISTINCT FROM e.mutex_term
              OR NOT ledger._mutex_held(e)) THEN
            -- Only a cancel that belongs to an evaluation names a term; a protective one never does.
            v_answer := ledger._refusal(i, 'MUTEX_LOST', 'the evaluation lost its market; nothing was cancelled');
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            IF NOT ledger._ended(o.state) AND o.cancel_asked_at IS NULL AND NOT v_protective THEN
                PERFORM ledger._count_change(o.account_id, o.market_id, ledger._effective_limits(o.account_id, o.market_id),
                                             ledger._totals('account', o.account_id::text), v_now);
            END IF;
            v_answer := ledger._ok(i, o, ledger._cancel_one(o, coalesce(x ->> 'reason', 'asked'), v_now));
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.request_cancel(jsonb) IS
    'Items {order_id, reason, mutex_term (only inside an evaluation), protective (a worker''s own: no change is counted)}. What was never sent ends at once; the rest is queued.';

CREATE OR REPLACE FUNCTION ledger.request_cancel_all(p_account text, p_market text, p_reason text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_market_id bigint := ledger._market_id(p_market);
    v_account_id bigint;
BEGIN
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL OR NOT ledger._may_act_for(v_account_id) THEN
        -- One answer for both: a login learns nothing about accounts it was not granted.
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: % is not an account of this login; nothing was cancelled', p_account
            USING ERRCODE = 'LG004';
    ELSIF p_market IS NOT NULL AND v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was cancelled', p_market USING ERRCODE = 'LG004';
    END IF;
    RETURN ledger.request_cancel((
        SELECT coalesce(jsonb_agg(jsonb_build_object('order_id', q.order_id, 'reason', p_reason, 'protective', true)), '[]')
        FROM (SELECT o.order_id FROM ledger.orders o
              WHERE o.account_id = v_account_id AND (v_market_id IS NULL OR o.market_id = v_market_id)
                AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
                AND o.cancel_asked_at IS NULL
              ORDER BY o.order_id LIMIT 500) q));
END $$;
COMMENT ON FUNCTION ledger.request_cancel_all(text, text, text) IS
    'At most 500 orders a call; repeat until it answers an empty array.';

CREATE OR REPLACE FUNCTION ledger.sweep_cancels() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_ids bigint[];
    v_now timestamptz;
    v_count integer := 0;
BEGIN
    PERFORM ledger._enter();
    -- By condition, not by event: a reservation that raced the halt is found by the next pass.
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        SELECT n.order_id FROM ledger.orders n
        JOIN ledger.exposure e ON e.account_id = n.account_id AND e.market_id = n.market_id
        WHERE n.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND n.cancel_asked_at IS NULL
          AND (e.suspended_until > ledger.clock() OR ledger._halted_by(n.account_id, n.market_id) IS NOT NULL)
        LIMIT 200) q;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    v_locked := ledger._lock_lanes(v_ids);
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids) AND q.cancel_asked_at IS NULL LOOP
        v_now := ledger._lane_time(o.account_id, o.market_id);
        PERFORM ledger._cancel_one(o, coalesce('halted: ' || ledger._halted_by(o.account_id, o.market_id), 'suspended'), v_now);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION ledger._cancel_way(c ledger.cancel_request) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_way text := CASE WHEN c.futile_tries < 5 THEN 'id' WHEN c.futile_tries < 10 OR c.wide_to IS NULL THEN 'market' ELSE 'all' END;
    v_pause interval := make_interval(secs => least(greatest(least(c.wide_tries, c.futile_tries), 30), 600));
BEGIN
    IF v_way = 'id' THEN
        RETURN v_way;
    ELSIF c.wide_at <= v_now AND (c.futile_tries = c.wide_tries OR c.wide_at > v_now - interval '3 seconds') THEN
        -- After a wide one the tries by id say whether another is needed.
        RETURN 'id';
    ELSIF EXISTS (
        SELECT FROM ledger.cancel_request w WHERE w.account_id = c.account_id
          -- Later than now, it was sent before the clock went back.
          AND w.wide_at > v_now - v_pause AND w.wide_at <= v_now
          AND (w.wide_to = 'all' OR v_way = 'market' AND w.market_id = c.market_id)) THEN
        RETURN 'id';
    END IF;
    RETURN v_way;
END $$;
COMMENT ON FUNCTION ledger._cancel_way(ledger.cancel_request) IS
    'How it is sent now: by id; or, after five tries in vain, with its market; after ten with everything of the account. Each of the '
    'two ends orders that nobody wants cancelled, so after the first at most each 30 s, more and more seldom (600 s), and by id between. '
    'STABLE: all of one claim are judged alike, so that they leave in one request.';

CREATE OR REPLACE FUNCTION ledger.claim_cancels(p_incarnation uuid, p_accounts text[], p_limit integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT c.account_id, c.order_id, ledger._cancel_way(c) AS way FROM ledger.cancel_request c
        WHERE c.status = 'due'
          -- A first try waits for no time. Of the others: further ahead than any pause reaches, it was set before the clock went back.
          AND (c.tries = 0 OR c.next_at <= ledger.clock() OR c.next_at > ledger.clock() + interval '5 minutes')
          AND c.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY c.next_at LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.cancel_request c SET next_at = ledger.clock() + interval '3 seconds', tries = c.tries + 1,
            claimed_by = p_incarnation,
            wide_to = CASE WHEN due.way = 'id' THEN c.wide_to ELSE due.way END,
            wide_at = CASE WHEN due.way = 'id' THEN c.wide_at ELSE ledger.clock() END,
            wide_tries = CASE WHEN due.way = 'id' THEN c.wide_tries ELSE c.futile_tries END
        FROM due WHERE c.account_id = due.account_id AND c.order_id = due.order_id
        RETURNING c.account_id, c.order_id, c.tries, c.reason, due.way)
    SELECT coalesce(jsonb_agg(jsonb_build_object('account', a.name, 'order_id', k.order_id,
        'venue_order_id', o.venue_order_id, 'state', o.state, 'tries', k.tries, 'reason', k.reason, 'condition_id', m.condition_id,
        'way', k.way) ORDER BY k.order_id), '[]') INTO v_out
    FROM claimed k JOIN ledger.account a USING (account_id)
    JOIN ledger.orders o ON o.account_id = k.account_id AND o.order_id = k.order_id
    JOIN ledger.market m ON m.market_id = o.market_id
    WHERE o.venue_order_id IS NOT NULL;
    RETURN v_out;
END $$;

CREATE OR REPLACE FUNCTION ledger._answered_anew(o ledger.orders, p_answer text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c ledger.cancel_request;
BEGIN
    SELECT * INTO c FROM ledger.cancel_request q WHERE q.account_id = o.account_id AND q.order_id = o.order_id;
    IF c.status IS DISTINCT FROM 'due' OR c.last_answer IS DISTINCT FROM p_answer THEN
        RETURN true;
    END IF;
    -- What was answered before the last attempt could have arrived is no evidence for it.
    RETURN split_part(p_answer, ':', 1) IN ('accepted', 'refused') AND o.state = 'UNKNOWN' AND NOT EXISTS (
        SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
        AND v.kind = 'delete_answered' AND v.started_at > o.last_deadline);
END $$;
COMMENT ON FUNCTION ledger._answered_anew(ledger.orders, text) IS
    'Whether an answer to a DELETE belongs into the journal: another one than before, or the first that is evidence.';

CREATE OR REPLACE FUNCTION ledger.record_cancel_answers(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_entered timestamptz := ledger.clock();
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_answer text;
    v_told boolean;
    v_kept jsonb;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL OR coalesce(x ->> 'answer', '') NOT IN ('accepted', 'refused', 'not_sent', 'not_listed', 'unknown') THEN
            v_answers := v_answers || ledger._refusal(i, 'BAD_REQUEST', 'unknown order or answer');
            i := i + 1;
            CONTINUE;
        END IF;
        v_now := ledger._lane_time(o.account_id, o.market_id);
        PERFORM ledger._note_cancel(o, x ->> 'answer', x ->> 'raw', v_now);
        v_answer := left(format('%s: %s', x ->> 'answer', x ->> 'raw'), 2000);
        -- The same answer again is no news: a cancel that is repeated for hours must not fill the journal.
        v_told := ledger._answered_anew(o, v_answer);
        UPDATE ledger.cancel_request SET last_answer = v_answer,
            answered_at = CASE WHEN v_told THEN v_now ELSE answered_at END,
            futile_tries = futile_tries + CASE WHEN x ->> 'answer' = 'unknown' OR (x -> 'refused') = 'true' THEN 1 ELSE 0 END,
            -- What only put off a wide one has cancelled nothing: its pause has not begun.
            wide_at = CASE WHEN x ->> 'answer' = 'not_sent' AND (x -> 'wide') = 'true' AND (x -> 'refused') IS DISTINCT FROM 'true'
                THEN NULL ELSE wide_at END,
            -- At the time the venue states. Where it states none, soon, and then not so soon: a key or an address that
            -- hammers is shut out, and then no cancel arrives at all.
            next_at = ledger.clock() + make_interval(secs => CASE WHEN x ->> 'answer' = 'not_sent'
                THEN least(greatest(coalesce(ledger._whole(x -> 'retry_after_ms'), 0),
                    CASE WHEN coalesce(ledger._whole(x -> 'retry_after_ms'), 0) = 0 THEN least(50 * 2 ^ least(tries, 6), 2000) ELSE 0 END), 300000)
                ELSE 1000 END / 1000.0)
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due';
        v_kept := '{}';
        IF x ->> 'answer' = 'accepted' THEN
            -- It can list as cancelled only what it knows: such an id is never absent.
            UPDATE ledger.orders SET seen_at_venue = true
            WHERE account_id = o.account_id AND order_id = o.order_id AND NOT seen_at_venue;
        END IF;
        IF v_told AND x ->> 'answer' IN ('accepted', 'refused') THEN
            v_kept := ledger._keep_evidence(o, 'delete_answered',
                v_entered - make_interval(secs => greatest(coalesce(ledger._whole(x -> 'took_ms'), 0), 0) / 1000.0),
                v_now, (x ->> 'incarnation')::uuid, x ->> 'owner', left(x ->> 'raw', 2000));
        END IF;
        IF v_told THEN
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'CANCEL_ANSWERED', o.order_id, NULL, o.state, o.state,
                v_kept || jsonb_build_object('answer', x ->> 'answer', 'raw', left(x ->> 'raw', 500)));
        END IF;
        v_answers := v_answers || ledger._ok(i, o, o.state);
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_cancel_answers(jsonb) IS
    'Items {order_id, incarnation, answer (accepted, refused, not_sent, not_listed, unknown), refused (the request itself), '
    'wide (the whole market, or everything), retry_after_ms, took_ms, raw}. not_listed: a wide one was carried out and names it nowhere. '
    'No answer ends an order: a read does. Until then the cancel is repeated.';

CREATE OR REPLACE FUNCTION ledger.cancels_unseen(p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    WITH unseen AS (
        -- A copy that may yet appear is met as soon as it does.
        SELECT c.account_id, c.order_id, o.state = 'SENDING' OR o.state = 'UNKNOWN'
            AND ledger.clock() <= o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0)
            -- While the venue holds it back, a look-up by id may not show it.
            OR o.state = 'DELAYED' AND ledger.clock() <= o.state_at + interval '1 minute' AS may_appear,
            split_part(c.last_answer, ':', 1) IN ('accepted', 'refused', 'not_listed') AS answered
        FROM ledger.cancel_request c
        JOIN ledger.account a USING (account_id) JOIN ledger.orders o USING (account_id, order_id)
        WHERE c.order_id = ANY (p_order_ids) AND c.status = 'due' FOR UPDATE OF c SKIP LOCKED)
    UPDATE ledger.cancel_request c SET futile_tries = 0,
        absent_reads = c.absent_reads + CASE WHEN u.answered AND NOT u.may_appear THEN 1 ELSE 0 END,
        next_at = CASE WHEN u.answered AND NOT u.may_appear AND c.absent_reads >= 4 THEN greatest(c.next_at, ledger.clock() + interval '30 seconds') ELSE c.next_at END
    FROM unseen u WHERE c.account_id = u.account_id AND c.order_id = u.order_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.cancels_unseen(bigint[]) IS
    'The look-up behind their DELETE was clean and showed nothing: whatever the answer was, no try was in vain, and no wider cancel '
    'would end more. From the fifth answered one in a row on the DELETE goes each 30 s, unless it may yet appear; whatever shows the '
    'order makes it due at once (_hasten_cancel).';

CREATE OR REPLACE FUNCTION ledger.cancels_futile(p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    WITH standing AS (
        SELECT c.account_id, c.order_id FROM ledger.cancel_request c JOIN ledger.orders o USING (account_id, order_id)
        WHERE c.order_id = ANY (p_order_ids) AND c.status = 'due' AND o.state = 'LIVE'
        FOR UPDATE OF c SKIP LOCKED)
    UPDATE ledger.cancel_request c SET futile_tries = c.futile_tries + 1
    FROM standing s WHERE c.account_id = s.account_id AND c.order_id = s.order_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.cancels_futile(bigint[]) IS
    'Their DELETE was answered, and the look-up behind it showed them: those that still stand by now count one try in vain.';

CREATE OR REPLACE FUNCTION ledger._hasten_cancel(o ledger.orders) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF o.cancel_asked_at IS NOT NULL THEN
        UPDATE ledger.cancel_request SET absent_reads = 0,
            next_at = CASE WHEN absent_reads > 4 THEN least(next_at, ledger.clock()) ELSE next_at END
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due' AND absent_reads > 0;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._hasten_cancel(ledger.orders) IS 'The venue has shown the order: its cancel waits for nothing any more.';

-- file: ledger/sql/functions/replace.sql
-- purpose: replace an order: cancel the old one, wait for its proven final size, then reserve the new one in the same commit.
-- locks:   exposure, account_state, orders (_lock_lanes), then key, replacement and cancel rows.
-- index:   replacement_waiting, idempotency_key.
-- fence:   one waiting replacement per order. Two live orders would be two holds; here there is never more than one.

CREATE OR REPLACE FUNCTION ledger.replace_order(p_order_id bigint, p_request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    r ledger.request;
    e ledger.exposure;
    s ledger.account_state;
    l ledger.limits;
    t ledger.total_limits;
    v_now timestamptz;
    v_id bigint;
BEGIN
    v_locked := ledger._lock_lanes(ARRAY[p_order_id]);
    o := ledger._order(p_order_id, v_locked);
    IF o.order_id IS NULL THEN
        RETURN ledger._no_order(0, p_order_id);
    END IF;
    r := ledger._parse_request(p_request || jsonb_build_object('replaces_order_id', p_order_id), 0);
    -- Sets belong to reserve_pending, which numbers them itself; a caller's own number would escape the gap.
    r.set_id := NULL;
    IF r.answer IS NULL THEN
        r.answer := ledger._replay(r);
    END IF;
    IF r.answer IS NOT NULL THEN
        RETURN r.answer;
    END IF;
    SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
    v_now := greatest(ledger.clock(), e.clock_at);
    IF (r.account_id, r.market_id, r.outcome, r.side) <> (o.account_id, o.market_id, o.outcome, o.side) THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a replacement keeps account, market, outcome and side; nothing was changed');
    ELSIF ledger._ended(o.state) THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('order %s is %s; place a new one', o.order_id, o.state));
    ELSIF EXISTS (SELECT FROM ledger.replacement q WHERE q.account_id = o.account_id
                  AND q.old_order_id = o.order_id AND q.state = 'waiting') THEN
        RETURN ledger._refusal(0, 'BUSY', 'a replacement of this order is already waiting; nothing was changed');
    ELSIF r.mutex_term IS NOT NULL AND (r.mutex_term <> e.mutex_term OR NOT ledger._mutex_held(e)) THEN
        RETURN ledger._refusal(0, 'MUTEX_LOST', 'the evaluation lost its market; nothing was changed');
    ELSIF r.mutex_term IS NULL AND ledger._mutex_held(e) THEN
        RETURN ledger._refusal(0, 'LOCKED', 'another evaluation of this market is under way');
    END IF;
    SELECT * INTO s FROM ledger.account_state q WHERE q.account_id = o.account_id;
    l := ledger._effective_limits(o.account_id, o.market_id);
    t := ledger._totals('account', o.account_id::text);
    -- Judged now, while refusing costs nothing: once the old order is gone it is too late.
    r.answer := CASE
        WHEN ledger._halted_by(o.account_id, o.market_id) IS NOT NULL THEN ledger._refusal(0, 'HALTED',
            'halted: ' || ledger._halted_by(o.account_id, o.market_id) || '; the order was left alone')
        WHEN e.suspended_until > v_now THEN ledger._refusal(0, 'SUSPENDED', e.suspended_why || '; the order was left alone')
        ELSE coalesce(ledger._market_refusal(r), ledger._limiter_refusal(r, e, l, v_now),
            CASE WHEN NOT ledger._unwinds(r) THEN ledger._change_refusal(r, e, s, l, t, v_now) END) END;
    IF r.answer IS NOT NULL THEN
        RETURN r.answer;
    END IF;
    PERFORM ledger._count_admission(r, l, t, v_now);
    v_id := nextval('ledger.order_id_seq');
    INSERT INTO ledger.replacement (account_id, replacement_id, old_order_id, request, filled_at_ask, state, asked_at)
    VALUES (o.account_id, v_id, o.order_id,
            -- By identity, not by the name that was used: a slug may mean another market by the time the old order ends.
            (p_request - 'mutex_term' - 'set_id') || jsonb_build_object('outcome', o.outcome::text,
                'market', (SELECT m.condition_id FROM ledger.market m WHERE m.market_id = o.market_id)),
            greatest(o.size_matched_micros, o.traded_micros), 'waiting', v_now);
    INSERT INTO ledger.idempotency_key (account_id, key, fingerprint, kind, subject_id, bound_at)
    VALUES (o.account_id, r.key, r.fingerprint, 'replacement', v_id, v_now);
    PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'REPLACE_ASKED', o.order_id, NULL, o.state, o.state,
                            jsonb_build_object('replacement', v_id, 'key', r.key,
                                'filled', greatest(o.size_matched_micros, o.traded_micros),
                                'request', (SELECT encode(sha256(convert_to(q.request::text, 'UTF8')), 'hex')
                                            FROM ledger.replacement q
                                            WHERE q.account_id = o.account_id AND q.replacement_id = v_id)));
    PERFORM ledger._cancel_one(ledger._order(p_order_id, v_locked), 'replaced', v_now);
    RETURN jsonb_build_object('item', 0, 'status', 'asked', 'replay', false, 'replacement_id', v_id);
END $$;
COMMENT ON FUNCTION ledger.replace_order(bigint, jsonb) IS
    'Asks for the replacement. The new order is reserved in the commit that books the old one''s proven end, reduced by '
    'what the old one filled meanwhile; ledger.replacement shows what became of it.';

CREATE OR REPLACE FUNCTION ledger._finish_replacement(o ledger.orders, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    q ledger.replacement;
    r ledger.request;
    e ledger.exposure;
    l ledger.limits := ledger._effective_limits(o.account_id, o.market_id);
    t ledger.total_limits := ledger._totals('account', o.account_id::text);
    v_filled bigint;
    v_asked bigint;
    v_answer jsonb;
BEGIN
    SELECT * INTO q FROM ledger.replacement x
    WHERE x.account_id = o.account_id AND x.old_order_id = o.order_id AND x.state = 'waiting';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    r := ledger._parse_request(q.request || jsonb_build_object('replaces_order_id', o.order_id), 0);
    v_answer := CASE WHEN r.answer ->> 'code' = 'NOT_GRANTED' THEN NULL ELSE r.answer END;
    -- Who asked was granted the account; whoever books the end (an operator, say) need not be.
    r.answer := NULL;
    r.account_id := o.account_id; r.market_id := o.market_id; r.outcome := o.outcome; r.token_id := o.token_id;
    v_filled := greatest(o.size_matched_micros, o.traded_micros) - q.filled_at_ask;
    v_asked := r.size_micros;
    IF v_answer IS NULL AND o.state <> 'FILLED' THEN
        r.size_micros := (r.size_micros - v_filled) / 10000 * 10000;
        IF r.size_micros <= 0 THEN
            v_answer := ledger._refusal(0, 'ALREADY_ENDED', 'the old order filled what the new one asked for');
        ELSE
            SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
            BEGIN
                r.answer := ledger._market_refusal(r);
                IF r.answer IS NULL THEN
                    r := ledger._judge(r, e, l, t, p_now);
                END IF;
                v_answer := coalesce(r.answer, ledger._admit(r, l, t, v_asked, p_now));
            EXCEPTION WHEN OTHERS THEN
                -- The old order's end is a fact and must be booked whatever is wrong with what should follow it.
                v_answer := ledger._refusal(0, 'BAD_REQUEST', 'the new order could not be reserved: ' || SQLERRM);
            END;
        END IF;
    ELSIF v_answer IS NULL THEN
        v_answer := ledger._refusal(0, 'ALREADY_ENDED', 'the old order was filled');
    END IF;
    UPDATE ledger.replacement SET ended_at = p_now, code = coalesce(v_answer ->> 'code', ''),
        state = CASE v_answer ->> 'status' WHEN 'admitted' THEN 'done' ELSE 'refused' END,
        new_order_id = (v_answer ->> 'order_id')::bigint
    WHERE account_id = q.account_id AND replacement_id = q.replacement_id;
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'REPLACE_ENDED', o.order_id, NULL, NULL, NULL,
                            v_answer || jsonb_build_object('replacement', q.replacement_id));
END $$;

-- file: ledger/sql/functions/venue.sql
-- purpose: the venue's condition: note and end its modes, spend its rate budget, keep what must be alive, store exchanges.
-- locks:   note_mode and end_mode: account_state. spend and *_pulse: their own row only, and nothing after it.
-- index:   primary keys.
-- fence:   beat_pulse needs the term of the holder's lease.

CREATE OR REPLACE FUNCTION ledger._account_id(p_name text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT a.account_id INTO v_id FROM ledger.account a WHERE a.name = p_name;
    IF v_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was done', p_name USING ERRCODE = 'LG004';
    END IF;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION ledger.note_mode(p_account text, p_mode text, p_for_ms bigint, p_detail text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
    v_until timestamptz;
    m ledger.venue_mode;
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    v_until := v_now + make_interval(secs => p_for_ms / 1000.0);
    SELECT * INTO m FROM ledger.venue_mode q WHERE q.account_id = v_account_id AND q.mode = p_mode;
    IF m.mode IS NOT NULL AND m.ended_at IS NULL AND (m.until IS NULL OR m.until > v_now) THEN
        UPDATE ledger.venue_mode SET seen_at = v_now, signs = signs + 1, detail = left(p_detail, 500),
            until = CASE WHEN p_for_ms IS NULL OR m.until IS NULL THEN NULL ELSE greatest(m.until, v_until) END
        WHERE account_id = v_account_id AND mode = p_mode;
        RETURN false;
    END IF;
    INSERT INTO ledger.venue_mode AS q (account_id, mode, since, until, seen_at, detail)
    VALUES (v_account_id, p_mode, v_now, v_until, v_now, left(p_detail, 500))
    ON CONFLICT (account_id, mode) DO UPDATE SET since = v_now, until = v_until, seen_at = v_now, signs = q.signs + 1,
        detail = excluded.detail, ended_at = NULL;
    IF p_mode IN ('BANNED', 'BAD_CREDENTIALS') THEN
        -- Not a condition of the venue but of our account: a person must look. In this very commit, or a death would lose it.
        PERFORM ledger._halt_once('account', v_account_id::text, p_mode || ': the venue answered ' || left(p_detail, 200), v_now);
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'VENUE_MODE_BEGAN', p_detail => jsonb_build_object(
        'mode', p_mode, 'until', v_until, 'detail', left(p_detail, 500)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.note_mode(text, text, bigint, text) IS
    'A sign of a mode was seen. p_for_ms NULL: it stands until end_mode. True if this begins an episode.';

CREATE OR REPLACE FUNCTION ledger.end_mode(p_account text, p_mode text, p_detail text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF NOT EXISTS (SELECT FROM ledger.venue_mode q WHERE q.account_id = v_account_id AND q.mode = p_mode AND q.ended_at IS NULL) THEN
        RETURN false;
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    UPDATE ledger.venue_mode SET ended_at = v_now
    WHERE account_id = v_account_id AND mode = p_mode AND ended_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'VENUE_MODE_ENDED', p_detail => jsonb_build_object(
        'mode', p_mode, 'detail', left(p_detail, 500)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.end_mode(text, text, text) IS 'The mode was seen to be over. True if it stood.';

CREATE OR REPLACE FUNCTION ledger.end_lapsed_modes(p_account text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_mode text;
    v_ended jsonb := '[]';
BEGIN
    FOR v_mode IN SELECT q.mode FROM ledger.venue_mode q
        WHERE q.account_id = v_account_id AND q.ended_at IS NULL AND q.until <= ledger.clock() ORDER BY q.mode LOOP
        IF ledger.end_mode(p_account, v_mode, 'its time was over') THEN
            v_ended := v_ended || to_jsonb(v_mode);
        END IF;
    END LOOP;
    RETURN v_ended;
END $$;
COMMENT ON FUNCTION ledger.end_lapsed_modes(text) IS
    'Writes down what ended by its time and names it: after an episode the account is compared with the venue.';

CREATE OR REPLACE FUNCTION ledger._gate(p_account_id bigint, p_post_only boolean) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_mode text;
BEGIN
    SELECT q.mode INTO v_mode FROM ledger.venue_mode q
    WHERE q.account_id = p_account_id AND q.ended_at IS NULL AND (q.until IS NULL OR q.until > ledger.clock())
      AND (q.mode <> 'POST_ONLY' OR NOT p_post_only)
    ORDER BY q.mode LIMIT 1;
    IF v_mode IS NULL THEN
        SELECT CASE h.kind WHEN 'heartbeat' THEN 'HEARTBEAT_LOST' ELSE 'BLIND_STREAM' END INTO v_mode
        FROM ledger.pulse h WHERE h.account_id = p_account_id AND h.required
          AND (h.ok_at IS NULL OR h.ok_at <= ledger.clock() - make_interval(secs => h.grace_ms / 1000.0)
               -- Said before the clock went back: how old it is, nobody knows.
               OR h.ok_at > ledger.clock() + interval '1 second')
        ORDER BY h.kind LIMIT 1;
    END IF;
    RETURN v_mode;
END $$;
COMMENT ON FUNCTION ledger._gate(bigint, boolean) IS
    'The venue mode that keeps an order of this account from being sent now, or NULL. Never asked for cancels.';

CREATE OR REPLACE FUNCTION ledger.spend(
    p_signer text, p_kind text, p_count integer, p_per_second integer, p_burst integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz;
    v_have bigint;
    v_need bigint := p_count::bigint * 1000000;
    b ledger.venue_budget;
BEGIN
    PERFORM ledger._enter();
    IF p_count NOT BETWEEN 1 AND p_burst OR p_per_second < 1 THEN
        RAISE EXCEPTION 'BAD_REQUEST: % of at most % per request; nothing was spent', p_count, p_burst USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.venue_budget (signer, kind, tokens_micros, filled_at)
    VALUES (lower(p_signer), p_kind, p_burst::bigint * 1000000, ledger.clock()) ON CONFLICT DO NOTHING;
    SELECT * INTO b FROM ledger.venue_budget q WHERE q.signer = lower(p_signer) AND q.kind = p_kind FOR UPDATE;
    v_now := ledger.clock();
    IF b.paused_until > v_now AND b.filled_at <= v_now THEN
        RETURN ceil(extract(epoch FROM b.paused_until - v_now) * 1000)::bigint;
    END IF;
    v_have := least(p_burst::bigint * 1000000, b.tokens_micros
        + greatest(floor(extract(epoch FROM v_now - b.filled_at) * 1000000)::bigint, 0) * p_per_second);
    -- A pause that is not over yet was set before the clock went back: how long it still lasts, nobody knows.
    UPDATE ledger.venue_budget SET filled_at = v_now, paused_until = CASE WHEN b.paused_until > v_now THEN NULL ELSE b.paused_until END,
        tokens_micros = CASE WHEN v_have >= v_need THEN v_have - v_need ELSE v_have END
    WHERE signer = b.signer AND kind = b.kind;
    RETURN CASE WHEN v_have >= v_need THEN 0 ELSE ceil((v_need - v_have) / 1000.0 / p_per_second)::bigint END;
END $$;
COMMENT ON FUNCTION ledger.spend(text, text, integer, integer, integer) IS
    'Takes p_count from the signer''s bucket: 0 if taken, else how many milliseconds until that many will be there.';

CREATE OR REPLACE FUNCTION ledger.pause_budget(p_signer text, p_kind text, p_for_ms bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_budget AS b (signer, kind, tokens_micros, filled_at, paused_until)
    VALUES (lower(p_signer), p_kind, 0, ledger.clock(), ledger.clock() + make_interval(secs => least(p_for_ms, 3600000) / 1000.0))
    -- filled_at is the last moment at which somebody looked at the clock: see spend.
    ON CONFLICT (signer, kind) DO UPDATE SET tokens_micros = least(b.tokens_micros, 0), filled_at = excluded.filled_at,
        paused_until = CASE WHEN b.filled_at > excluded.filled_at THEN excluded.paused_until
            ELSE greatest(b.paused_until, excluded.paused_until) END;
END $$;
COMMENT ON FUNCTION ledger.pause_budget(text, text, bigint) IS
    'After a 429: nothing of this kind is sent before then, by no worker. At most an hour, as far as a stated time is believed.';

CREATE OR REPLACE FUNCTION ledger.owe_budget(p_signer text, p_kind text, p_count integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.venue_budget SET tokens_micros = tokens_micros - p_count::bigint * 1000000
    WHERE signer = lower(p_signer) AND kind = p_kind;
END $$;
COMMENT ON FUNCTION ledger.owe_budget(text, text, integer) IS
    'A cancel of everything costs one for each order that it cancelled, known afterwards. The bucket may go below zero.';

CREATE OR REPLACE FUNCTION ledger.require_pulse(p_account text, p_kind text, p_required boolean, p_grace_ms integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.pulse AS h (account_id, kind, required, grace_ms)
    VALUES (ledger._account_id(p_account), p_kind, p_required, p_grace_ms)
    -- A worker that does not ask for it must not take it from one that keeps it.
    ON CONFLICT (account_id, kind) DO UPDATE SET grace_ms = excluded.grace_ms,
        required = excluded.required OR h.required AND coalesce(h.ok_at > ledger.clock() - interval '1 minute', false);
END $$;
COMMENT ON FUNCTION ledger.require_pulse(text, text, boolean, integer) IS
    'From now on (not) a condition for placing. Written before the first order, so that none leaves without it.';

CREATE OR REPLACE FUNCTION ledger.take_pulse(p_account text, p_kind text, p_term bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_chain text;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.pulse SET term = greatest(term, p_term)
    WHERE account_id = ledger._account_id(p_account) AND kind = p_kind RETURNING chain_id INTO v_chain;
    RETURN jsonb_build_object('chain_id', v_chain, 'at_us', ledger._now_us());
END $$;
COMMENT ON FUNCTION ledger.take_pulse(text, text, bigint) IS
    'For the holder of the lease with this term: where the chain goes on, and the time here (see beat_pulse).';

CREATE OR REPLACE FUNCTION ledger._now_us() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT floor(extract(epoch FROM ledger.clock()) * 1000000)::bigint $$;

CREATE OR REPLACE FUNCTION ledger.beat_pulse(
    p_account text, p_kind text, p_term bigint, p_chain_id text, p_age_ms bigint, p_problem text, p_since_us bigint DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- p_age_ms: since just before it was tried. The venue's own ten seconds may count from then.
    UPDATE ledger.pulse h SET chain_id = coalesce(p_chain_id, h.chain_id), problem = left(p_problem, 500),
        ok_at = CASE WHEN p_problem IS NULL
            THEN least(ledger.clock() - make_interval(secs => greatest(p_age_ms, 0) / 1000.0), to_timestamp(p_since_us / 1000000.0))
            ELSE h.ok_at END
    WHERE h.account_id = ledger._account_id(p_account) AND h.kind = p_kind AND h.term = p_term;
    RETURN jsonb_build_object('mine', FOUND, 'at_us', ledger._now_us());
END $$;
COMMENT ON FUNCTION ledger.beat_pulse(text, text, bigint, text, bigint, text, bigint) IS
    'Alive p_age_ms ago (p_problem NULL), or not, with the reason. p_since_us: when that was by this clock, reckoned from the '
    'at_us of an earlier answer; a call that stood still on its way here counts by that. mine false: another holder has taken over.';

CREATE OR REPLACE FUNCTION ledger.untold_orders(p_account text, p_open_ms bigint, p_after_ms bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    -- Of the newest orders, in whatever state they are by now: one that was placed and cancelled was to be told of, too.
    SELECT count(*) FROM (
        SELECT q.* FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account ORDER BY q.account_id DESC, q.order_id DESC LIMIT 3000) o
    -- One that was filled at once may have been told of by its trade alone.
    WHERE o.state <> 'FILLED' AND EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                  AND t.outcome = 'accepted' AND t.ended_at < ledger.clock() - make_interval(secs => p_after_ms / 1000.0)
                  AND t.opened_at > ledger.clock() - make_interval(secs => p_open_ms / 1000.0))
      AND NOT EXISTS (SELECT FROM ledger.venue_event v WHERE v.account_id = o.account_id
                      AND v.event_id >= 'o:' || o.venue_order_id || ':' AND v.event_id < 'o:' || o.venue_order_id || ';')
$$;
COMMENT ON FUNCTION ledger.untold_orders(text, bigint, bigint) IS
    'Orders accepted since a stream opened p_open_ms ago, and longer than p_after_ms ago, of which it has not told. '
    'A stream may be silent because nothing happens; this is how it is found to be silent though something did.';

CREATE OR REPLACE FUNCTION ledger.record_exchanges(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_exchange (account_id, at, incarnation, method, path, query, request, phase, status, headers,
                                       answer, problem, took_ms)
    SELECT a.account_id, ledger.clock() - make_interval(secs => coalesce(ledger._whole(x -> 'age_ms'), 0) / 1000.0),
        (x ->> 'incarnation')::uuid, x ->> 'method', left(x ->> 'path', 300), left(x ->> 'query', 1000),
        left(x ->> 'request', 16384), x ->> 'phase', ledger._whole(x -> 'status')::integer, coalesce(x -> 'headers', '{}'),
        left(x ->> 'answer', 16384), left(x ->> 'problem', 500), ledger._whole(x -> 'took_ms')
    FROM jsonb_array_elements(p_items) x JOIN ledger.account a ON a.name = x ->> 'account';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.record_exchanges(jsonb) IS
    'Items {account, age_ms, incarnation, method, path, query, request, phase, status, headers, answer, problem, took_ms}.';

CREATE OR REPLACE FUNCTION ledger.prune_exchanges(p_keep_hours integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    DELETE FROM ledger.venue_exchange WHERE (account_id, exchange_id) IN (
        SELECT q.account_id, q.exchange_id FROM ledger.venue_exchange q
        WHERE q.at < ledger.clock() - make_interval(hours => p_keep_hours) ORDER BY q.at LIMIT 5000);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- file: ledger/sql/functions/holdings.sql
-- purpose: what the venue says is owned beside our rows; foreign orders resolved by a person; old unsettled fills.
-- locks:   resolve_foreign: account_state. The rest read.
-- index:   fill_unsettled, balance and foreign_order by primary key.
-- fence:   a foreign order is resolved once.

CREATE OR REPLACE FUNCTION ledger.record_holdings(p_account text, p_collateral bigint, p_tokens jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz := ledger.clock();
    -- The venue's balances are a cache of the chain: what was settled just now, however long ago it matched, may not be in it.
    v_lag interval := interval '10 minutes';
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.holding_seen (account_id, asset, theirs, ours, unsettled, seen_at, agreed_at)
    SELECT v_account_id, t.asset, t.theirs, coalesce(b.available + b.locked, 0),
        CASE WHEN t.asset = 'collateral' THEN
            -- Buys were taken off at once and sells are added when final: the venue may have moved either, or not yet.
            coalesce((SELECT sum(f.cash_micros + f.fee_micros) FROM ledger.fill f WHERE f.account_id = v_account_id
                      AND (f.settlement = 'provisional' OR greatest(f.matched_at, f.settled_at) > v_now - v_lag)), 0)
            -- And what stands may have filled unseen.
            + coalesce((SELECT sum(CASE o.side WHEN 'BUY' THEN r.held_micros ELSE ledger.cost_of(1000000, r.held_micros) END)
                        FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id)
                        WHERE r.account_id = v_account_id AND r.phase <> 'released'), 0)
            -- And what is withdrawn was taken off before it left, and may come back.
            + coalesce((SELECT sum(w.amount_micros) FROM ledger.withdrawal w WHERE w.account_id = v_account_id
                        AND (w.state IN ('DEBITED', 'SENDING', 'UNKNOWN', 'FAILED')
                             OR w.state IN ('DONE', 'COMPENSATED') AND w.state_at > v_now - v_lag)), 0)
        ELSE
            coalesce((SELECT sum(f.size_micros) FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id)
                      WHERE f.account_id = v_account_id AND o.token_id = t.asset
                        AND (f.settlement = 'provisional' OR greatest(f.matched_at, f.settled_at) > v_now - v_lag)), 0)
            + coalesce((SELECT sum(r.awaiting_micros + r.shares_micros) FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id)
                        WHERE r.account_id = v_account_id AND r.phase <> 'released' AND o.token_id = t.asset), 0) END,
        v_now,
        -- Whatever is on its way: that may hide a difference, and end none. Fees of collateral are computed, not told.
        CASE WHEN CASE WHEN t.asset = 'collateral' THEN coalesce(b.available + b.locked, 0) - t.theirs <= 1000000
                       ELSE t.theirs = coalesce(b.available + b.locked, 0) END THEN v_now END
    FROM (SELECT 'collateral'::text AS asset, p_collateral AS theirs
          UNION ALL SELECT k, ledger._whole(v) FROM jsonb_each(p_tokens) q (k, v)) t
    LEFT JOIN ledger.balance b ON b.account_id = v_account_id AND b.asset = t.asset
    WHERE t.theirs IS NOT NULL ORDER BY t.asset
    ON CONFLICT (account_id, asset) DO UPDATE SET theirs = excluded.theirs, ours = excluded.ours,
        unsettled = excluded.unsettled, seen_at = excluded.seen_at,
        agreed_at = coalesce(excluded.agreed_at, holding_seen.agreed_at);
    SELECT coalesce(jsonb_agg(jsonb_build_object('asset', h.asset, 'ours', h.ours, 'theirs', h.theirs, 'unsettled', h.unsettled)
                              ORDER BY h.asset), '[]') INTO v_out
    FROM ledger.holding_seen h WHERE h.account_id = v_account_id AND h.seen_at = v_now;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.record_holdings(text, bigint, jsonb) IS
    'Stores what the venue says is owned beside our rows and what is on its way, and returns that. Tokens as {token id: micros}. '
    'What differs, and what trading stops for, is the caller''s to say.';

CREATE OR REPLACE FUNCTION ledger.held_tokens(p_account text) RETURNS text[]
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT q.asset ORDER BY q.asset), '{}') FROM (
        SELECT b.asset FROM ledger.balance b JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND b.asset <> 'collateral' AND (b.available <> 0 OR b.locked <> 0)
        UNION ALL
        SELECT o.token_id FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id) JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND f.settlement = 'provisional') q
$$;
COMMENT ON FUNCTION ledger.held_tokens(text) IS 'Tokens that our rows say are owned or on their way.';

CREATE OR REPLACE FUNCTION ledger.resolve_foreign(p_account text, p_venue_order_id text, p_as text, p_why text, p_operator text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF coalesce(p_as, '') NOT IN ('cancelled', 'filled', 'not_ours') OR coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: resolve as cancelled, filled or not_ours, and say why; nothing was changed' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    UPDATE ledger.foreign_order SET resolution = left(p_as || ': ' || p_why, 500), resolved_by = session_user, resolved_at = v_now
    WHERE account_id = v_account_id AND venue_order_id = lower(p_venue_order_id) AND resolved_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'FOREIGN_ORDER_RESOLVED', p_detail => jsonb_build_object(
        'venue_order_id', lower(p_venue_order_id), 'as', p_as, 'why', left(p_why, 500), 'operator', left(p_operator, 200)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.resolve_foreign(text, text, text, text, text) IS
    'A person says what became of an order that no intent explains. What it traded is booked as movements, by the same person.';

CREATE OR REPLACE FUNCTION ledger.sweep_unconfirmed(p_accounts text[], p_alarm_s bigint, p_halt_s bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_row record;
    v_old bigint[] := '{}';
    v_halted integer := 0;
BEGIN
    PERFORM ledger._enter();
    FOR v_row IN
        -- The oldest of each market: no market stands behind another's.
        SELECT DISTINCT ON (f.account_id, f.market_id) f.market_id, f.trade_id, f.order_id, f.matched_at
        FROM ledger.fill f JOIN ledger.account a USING (account_id)
        WHERE a.name = ANY (p_accounts) AND f.settlement = 'provisional'
          AND f.matched_at <= v_now - make_interval(secs => p_alarm_s) ORDER BY f.account_id, f.market_id, f.matched_at, f.trade_id
    LOOP
        v_old := v_old || v_row.order_id;
        -- Once per trade: a person who resumed knows of it.
        IF v_row.matched_at <= v_now - make_interval(secs => p_halt_s) AND NOT EXISTS (
            SELECT FROM ledger.halt h WHERE h.scope = 'market' AND h.scope_id = v_row.market_id::text
            AND h.why = 'UNCONFIRMED_TOO_LONG: ' || v_row.trade_id) THEN
            PERFORM ledger._halt_once('market', v_row.market_id::text, 'UNCONFIRMED_TOO_LONG: ' || v_row.trade_id, v_now);
            v_halted := v_halted + 1;
        END IF;
    END LOOP;
    RETURN jsonb_build_object('old', to_jsonb(array(SELECT DISTINCT x FROM unnest(v_old) x ORDER BY x)), 'halted', v_halted);
END $$;
COMMENT ON FUNCTION ledger.sweep_unconfirmed(text[], bigint, bigint) IS
    'The oldest fill of each market that is not settled after p_alarm_s; one older than p_halt_s halts it, once per trade.';

-- file: ledger/sql/functions/rewards.sql
-- purpose: what the venue paid for resting orders, and to whose strategy it is counted.
-- locks:   record_rewards: the reward rows, by key. allocate_reward: the reward row.
-- index:   primary keys.
-- fence:   a reward is stored once and follows what the venue says of it; an allocation that would exceed it is refused.

CREATE OR REPLACE FUNCTION ledger.record_rewards(p_account text, p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.reward AS r (account_id, reward_key, condition_id, earned_on, amount_micros, detail, recorded_at)
    SELECT ledger._account_id(p_account), x ->> 'reward_key', x ->> 'condition_id', (x ->> 'earned_on')::date,
        ledger._whole(x -> 'amount_micros'), coalesce(x -> 'detail', '{}'), ledger.clock()
    FROM jsonb_array_elements(p_items) x ORDER BY x ->> 'reward_key'
    -- What was paid is a fact, and the venue corrects it: what was allocated before may be too much then, and shows as drift.
    ON CONFLICT (account_id, reward_key) DO UPDATE SET amount_micros = excluded.amount_micros, recorded_at = excluded.recorded_at,
        detail = excluded.detail || jsonb_build_object('before_micros', r.amount_micros)
    WHERE r.amount_micros <> excluded.amount_micros;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.record_rewards(text, jsonb) IS
    'Stores rewards by their keys; the number of those that are new or were corrected. The money itself is a movement.';

CREATE OR REPLACE FUNCTION ledger.allocate_reward(p_account text, p_reward_key text, p_strategy text, p_amount bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    r ledger.reward;
    v_used bigint;
BEGIN
    PERFORM ledger._enter();
    SELECT * INTO r FROM ledger.reward q
    WHERE q.account_id = ledger._account_id(p_account) AND q.reward_key = p_reward_key FOR UPDATE;
    IF r.reward_key IS NULL OR coalesce(p_amount, 0) <= 0 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a known reward and an amount above zero are needed; nothing was allocated' USING ERRCODE = 'LG004';
    END IF;
    SELECT coalesce(sum(x.amount_micros), 0) INTO v_used FROM ledger.reward_allocation x
    WHERE x.account_id = r.account_id AND x.reward_key = r.reward_key AND x.strategy <> p_strategy;
    IF v_used + p_amount > r.amount_micros THEN
        RAISE EXCEPTION 'OVER_ALLOCATED: % of % micros are allocated already; nothing was allocated', v_used, r.amount_micros
            USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.reward_allocation AS x (account_id, reward_key, strategy, amount_micros, allocated_by, allocated_at)
    VALUES (r.account_id, r.reward_key, p_strategy, p_amount, session_user, ledger.clock())
    -- Said again it is another amount: the only way out of an over-allocation.
    ON CONFLICT (account_id, reward_key, strategy) DO UPDATE SET amount_micros = excluded.amount_micros,
        allocated_by = excluded.allocated_by, allocated_at = excluded.allocated_at
    WHERE x.amount_micros <> excluded.amount_micros;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION ledger.allocate_reward(text, text, text, bigint) IS
    'A part of a reward for a strategy; said again, the new part. Refused where the parts would exceed the whole.';

-- file: ledger/sql/functions/outbox.sql
-- purpose: claim placements lane by lane, claim look-ups of unresolved orders, take back what a dead worker held.
-- locks:   claims lock outbox rows only (SKIP LOCKED); sweeps take the full order of locks through _lock_lanes.
-- index:   outbox_lane (lane heads by loose index scan: an anti-join fell from 29 k/s to 592/s with one blocked lane),
--          outbox_passing, outbox_released, outbox_looks, outbox_claimed.
-- fence:   a claim is (claimed_by, claim_no, claimed_until); prepare and open_attempt check all three.

CREATE OR REPLACE FUNCTION ledger._claim_end(p_lease_ms integer) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Never longer: a claim further ahead than that is known to be of a time before the clock went back.
    RETURN ledger.clock() + make_interval(secs => least(p_lease_ms, 120000) / 1000.0);
END $$;
COMMENT ON FUNCTION ledger._claim_end(integer) IS 'Until when a claim made or renewed now holds: two minutes at most.';

CREATE OR REPLACE FUNCTION ledger.claim_placements(p_incarnation uuid, p_accounts text[], p_lease_ms integer, p_limit integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account record;
    v_out jsonb := '[]';
    v_some jsonb;
BEGIN
    PERFORM ledger._enter();
    FOR v_account IN SELECT a.account_id, a.name FROM ledger.account a WHERE a.name = ANY (p_accounts) ORDER BY 1 LOOP
        -- Nothing may leave now: claimed, it would only be given back. What passes some modes is told by open_attempt.
        CONTINUE WHEN ledger._gate(v_account.account_id, true) IS NOT NULL;
        WITH RECURSIVE lane AS (
            (SELECT b.market_id, b.outbox_id, b.status, b.not_before, b.set_id FROM ledger.outbox b
             WHERE b.account_id = v_account.account_id AND b.status IN ('ready', 'claimed', 'blocked', 'dead')
               AND b.released_at IS NULL
             ORDER BY b.account_id, b.market_id, b.outbox_id LIMIT 1)
            UNION ALL
            SELECT n.* FROM lane l CROSS JOIN LATERAL (
                SELECT b.market_id, b.outbox_id, b.status, b.not_before, b.set_id FROM ledger.outbox b
                WHERE b.account_id = v_account.account_id AND b.status IN ('ready', 'claimed', 'blocked', 'dead')
                  AND b.released_at IS NULL AND b.market_id > l.market_id
                ORDER BY b.account_id, b.market_id, b.outbox_id LIMIT 1) n
        ), head AS (
            SELECT * FROM lane WHERE status = 'ready' AND not_before <= ledger.clock() LIMIT least(p_limit, 100)
        ), wanted AS (
            SELECT h.outbox_id FROM head h
            UNION
            -- The rest of a desired set travels with its head.
            SELECT b.outbox_id FROM head h JOIN ledger.outbox b ON b.account_id = v_account.account_id
                AND b.market_id = h.market_id AND b.outbox_id > h.outbox_id AND b.set_id = h.set_id
            WHERE h.set_id IS NOT NULL AND b.status = 'ready' AND b.not_before <= ledger.clock()
            UNION
            -- Hedges and unwinds pass a blocked head: their own hold limits them.
            SELECT b.outbox_id FROM ledger.outbox b JOIN lane l ON l.market_id = b.market_id
            WHERE b.account_id = v_account.account_id AND b.passes_block AND b.status = 'ready'
              AND b.not_before <= ledger.clock() AND l.status IN ('blocked', 'dead')
            UNION
            -- An operator let the lane go on without them: they are nobody's head, and wait for none.
            SELECT b.outbox_id FROM ledger.outbox b
            WHERE b.account_id = v_account.account_id AND b.status = 'ready' AND b.released_at IS NOT NULL
              AND b.not_before <= ledger.clock()
        ), locked AS (
            SELECT b.account_id, b.outbox_id FROM ledger.outbox b
            WHERE b.account_id = v_account.account_id AND b.outbox_id IN (SELECT w.outbox_id FROM wanted w)
              AND b.status = 'ready'
            ORDER BY b.outbox_id LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE ledger.outbox b SET status = 'claimed', claimed_by = p_incarnation, claim_no = b.claim_no + 1,
                claimed_until = ledger._claim_end(p_lease_ms)
            FROM locked k WHERE b.account_id = k.account_id AND b.outbox_id = k.outbox_id
            RETURNING b.account_id, b.outbox_id, b.order_id, b.claim_no)
        SELECT coalesce(jsonb_agg(ledger._work(v_account.name, o, c.claim_no) ORDER BY c.outbox_id), '[]') INTO v_some
        FROM claimed c JOIN ledger.orders o ON o.account_id = c.account_id AND o.order_id = c.order_id;
        v_out := v_out || v_some;
    END LOOP;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_placements(uuid, text[], integer, integer) IS
    'The ready heads of lanes, the rest of their sets, what may pass a blocked head, and what an operator has released; '
    'claimed for p_lease_ms.';

CREATE OR REPLACE FUNCTION ledger._work(p_account text, o ledger.orders, p_claim_no integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_left interval := ledger._validity_left(o);
BEGIN
    RETURN (SELECT jsonb_build_object('account', p_account, 'order_id', o.order_id, 'claim_no', p_claim_no, 'state', o.state,
        'market_id', o.market_id, 'token_id', o.token_id, 'side', o.side, 'price_micros', o.price_micros,
        'size_micros', o.size_micros, 'tick_micros', o.tick_micros, 'order_type', o.order_type,
        'post_only', o.post_only, 'expires_at_s', o.expires_at_s, 'salt', o.salt, 'signed_at_ms', o.signed_at_ms,
        'neg_risk', m.neg_risk, 'venue_order_id', o.venue_order_id, 'cancel_asked', o.cancel_asked_at IS NOT NULL,
        'wanted', o.cancel_asked_at IS NULL AND v_left > interval '0',
        'valid_for_ms', greatest(floor(extract(epoch FROM v_left) * 1000)::bigint, 0),
        'last_matched_ms', floor(extract(epoch FROM o.created_at) * 1000)::bigint,
        'fate_age_ms', floor(extract(epoch FROM ledger.clock() - o.state_at) * 1000)::bigint,
        'body', (SELECT encode(s.body, 'base64') FROM ledger.signed_order s
                 WHERE s.account_id = o.account_id AND s.order_id = o.order_id))
    FROM ledger.market m WHERE m.market_id = o.market_id);
END $$;

CREATE OR REPLACE FUNCTION ledger.claim_look_ups(p_incarnation uuid, p_accounts text[], p_lease_ms integer, p_limit integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b
        WHERE b.status IN ('blocked', 'released')
          -- Further ahead than any pause reaches, it was set before the clock went back.
          AND (b.not_before <= ledger.clock() OR b.not_before > ledger.clock() + interval '5 minutes')
          AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = b.account_id AND o.order_id = b.order_id
                      AND o.state = 'UNKNOWN')
          -- A claim of before that, too. Should its holder live, its look-up is a second one, and by its claim's number it
          -- sends nothing.
          AND (b.claimed_until IS NULL OR b.claimed_until <= ledger.clock()
               OR b.claimed_until > ledger.clock() + interval '121 seconds')
          AND b.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY b.not_before LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.outbox b SET claimed_by = p_incarnation, claim_no = b.claim_no + 1,
            claimed_until = ledger._claim_end(p_lease_ms),
            not_before = ledger.clock() + interval '1 second'
        FROM due WHERE b.account_id = due.account_id AND b.outbox_id = due.outbox_id
        RETURNING b.account_id, b.order_id, b.claim_no)
    SELECT coalesce(jsonb_agg(ledger._work(a.name, o, c.claim_no) ORDER BY o.order_id), '[]') INTO v_out
    FROM claimed c JOIN ledger.account a USING (account_id)
    JOIN ledger.orders o ON o.account_id = c.account_id AND o.order_id = c.order_id;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_look_ups(uuid, text[], integer, integer) IS
    'Orders whose fate is unknown and that are due for a look-up. The lane stays blocked meanwhile.';

CREATE OR REPLACE FUNCTION ledger.renew_claims(p_incarnation uuid, p_lease_ms integer, p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    -- A lapsed claim is not revived: somebody may already have judged the order by its lapse.
    -- Rows that somebody is just changing are left for the next beat: waiting for them, while holding others, deadlocked.
    WITH held AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b
        WHERE b.status = 'claimed' AND b.claimed_by = p_incarnation AND b.claimed_until > ledger.clock()
          AND b.order_id = ANY (p_order_ids) FOR UPDATE SKIP LOCKED)
    UPDATE ledger.outbox b SET claimed_until = ledger._claim_end(p_lease_ms)
    FROM held h WHERE b.account_id = h.account_id AND b.outbox_id = h.outbox_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.renew_claims(uuid, integer, bigint[]) IS
    'Only the orders that are really being worked on: a claim whose task has gone must lapse, though its process lives.';

CREATE OR REPLACE FUNCTION ledger.drop_claims(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    v_count integer;
BEGIN
    -- The full locks: an attempt opened meanwhile must be seen, or a claim on the wire would be given away.
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    UPDATE ledger.outbox b SET claimed_by = NULL, claimed_until = NULL,
        status = CASE b.status WHEN 'claimed' THEN 'ready' ELSE b.status END,
        not_before = greatest(b.not_before,
            ledger.clock() + make_interval(secs => coalesce(ledger._whole(x -> 'after_ms'), 0) / 1000.0))
    FROM jsonb_array_elements(p_items) x
    WHERE b.order_id = ledger._whole(x -> 'order_id') AND b.order_id = ANY (v_locked)
      AND b.claimed_by = (x ->> 'incarnation')::uuid
      AND b.claim_no = ledger._whole(x -> 'claim_no')
      AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = b.account_id AND o.order_id = b.order_id
                  AND o.state <> 'SENDING');
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.drop_claims(jsonb) IS
    'Items {order_id, incarnation, claim_no, after_ms}: gives back claims of orders that are not being sent.';

CREATE OR REPLACE FUNCTION ledger._note_claims_ahead() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_last timestamptz := (SELECT max(c.claimed_until) FROM ledger.outbox c WHERE c.status = 'claimed');
BEGIN
    IF v_last > v_now + interval '121 seconds' THEN
        -- By nobody's beat: the nil incarnation.
        PERFORM ledger._note_clock_step('00000000-0000-0000-0000-000000000000', v_last - v_now - interval '120 seconds', v_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_claims_ahead() IS
    'A claim further ahead than any lease was made before the clock went back. What it was sending is not sent again, '
    'whatever becomes of the claim: the step is noted in the commit that cuts it.';

CREATE OR REPLACE FUNCTION ledger.sweep_lapsed() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    b ledger.outbox;
    v_ids bigint[];
    v_now timestamptz;
    v_lapsed boolean;
    v_lost bigint[] := '{}';
    v_taken_back bigint[] := '{}';
BEGIN
    PERFORM ledger._enter();
    -- Before any lane is locked: two sweeps that find the same step wait for each other here.
    PERFORM ledger._note_claims_ahead();
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        (SELECT c.order_id FROM ledger.outbox c WHERE c.status = 'claimed'
         AND (c.claimed_until <= ledger.clock() OR c.claimed_until > ledger.clock() + interval '121 seconds') LIMIT 200)
        UNION
        -- Evidence was faster than the sender, who then died: its attempt would stand open for ever.
        (SELECT t.order_id FROM ledger.attempt t JOIN ledger.orders n USING (account_id, order_id)
         WHERE t.outcome = 'open' AND t.deadline <= ledger.clock() AND n.state <> 'SENDING' LIMIT 200)) q;
    IF v_ids IS NOT NULL THEN
        v_locked := ledger._lock_lanes(v_ids);
        FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids) ORDER BY q.order_id LOOP
            SELECT * INTO b FROM ledger.outbox c WHERE c.account_id = o.account_id AND c.order_id = o.order_id FOR UPDATE;
            v_now := ledger._lane_time(o.account_id, o.market_id);
            -- By the clock that claims go by: the market's time may be ahead of it, and a claim renewed meanwhile is alive.
            v_lapsed := b.status = 'claimed' AND b.claimed_until <= ledger.clock();
            UPDATE ledger.attempt SET outcome = 'lapsed', ended_at = v_now
            WHERE account_id = o.account_id AND order_id = o.order_id AND outcome = 'open'
              AND (v_lapsed OR o.state <> 'SENDING' AND deadline <= v_now);
            IF FOUND AND o.state <> 'SENDING' THEN
                PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id, o.attempts, o.state, o.state);
            END IF;
            IF b.status = 'claimed' AND b.claimed_until > ledger.clock() + interval '121 seconds' THEN
                -- Whoever lives renews each fifth of a lease, in 24 s at the latest, and loses nothing. Of the dead it lapses.
                UPDATE ledger.outbox SET claimed_until = ledger.clock() + interval '30 seconds'
                WHERE account_id = o.account_id AND order_id = o.order_id;
            END IF;
            CONTINUE WHEN NOT v_lapsed;
            IF o.state = 'SENDING' THEN
                o.fate_open := true;
                PERFORM ledger._settle(o, 'LOSE', 'LEASE_LAPSED', v_now, p_attempt => o.attempts);
                v_lost := v_lost || o.order_id;
            ELSE
                UPDATE ledger.outbox SET status = 'ready', claimed_by = NULL, claimed_until = NULL
                WHERE account_id = o.account_id AND order_id = o.order_id;
                v_taken_back := v_taken_back || o.order_id;
            END IF;
        END LOOP;
    END IF;
    RETURN jsonb_build_object('lost', to_jsonb(v_lost), 'taken_back', to_jsonb(v_taken_back));
END $$;
COMMENT ON FUNCTION ledger.sweep_lapsed() IS
    'Claims whose lease ran out: what was being sent becomes UNKNOWN, the rest is ready again. Live claims are left alone; '
    'those further ahead than any lease are of a time before the clock went back, and end in half a minute unless renewed.';

CREATE OR REPLACE FUNCTION ledger.sweep_expired() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_ids bigint[];
    v_step bigint := (SELECT max(s.last_order_id) FROM ledger.clock_step s);
    v_count integer := 0;
BEGIN
    PERFORM ledger._enter();
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        SELECT n.order_id FROM ledger.orders n
        WHERE n.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND n.state IN ('RESERVED', 'PREPARED', 'HELD_BACK')
          -- As ledger._validity_left judges, which is asked again under the locks.
          AND (n.valid_until <= ledger.clock() OR n.created_at > ledger.clock() OR n.order_id <= v_step) LIMIT 200) q;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    v_locked := ledger._lock_lanes(v_ids);
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids)
             AND q.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') ORDER BY q.order_id LOOP
        CONTINUE WHEN ledger._validity_left(o) > interval '0';
        PERFORM ledger._settle(o, 'WITHDRAW', 'EXPIRED', ledger._lane_time(o.account_id, o.market_id));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.sweep_expired() IS 'Intents whose time ran out before anything was sent end as NOT_PLACED.';

CREATE OR REPLACE FUNCTION ledger.fail_placement(p_order_id bigint, p_incarnation uuid, p_claim_no integer, p_problem text)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    b ledger.outbox;
BEGIN
    v_locked := ledger._lock_lanes(ARRAY[p_order_id]);
    UPDATE ledger.outbox c SET failures = c.failures + 1, claimed_by = NULL, claimed_until = NULL,
        status = CASE WHEN c.failures + 1 < 5 THEN 'ready' WHEN c.released_at IS NULL THEN 'dead' ELSE 'released' END,
        not_before = ledger.clock() + make_interval(secs => least(power(2, c.failures), 30))
    WHERE c.order_id = p_order_id AND c.status = 'claimed' AND c.claimed_by = p_incarnation AND c.claim_no = p_claim_no
      AND (ledger._order(p_order_id, v_locked)).state <> 'SENDING'
    RETURNING * INTO b;
    IF b.status IN ('dead', 'released') THEN
        INSERT INTO ledger.dead_letter (account_id, source, subject, problem, failures, at)
        VALUES (b.account_id, 'outbox', b.order_id::text, left(p_problem, 2000), b.failures, ledger.clock());
    END IF;
    RETURN b.status;
END $$;
COMMENT ON FUNCTION ledger.fail_placement(bigint, uuid, integer, text) IS
    'Our own side could not prepare it (signing failed, say). Retried with growing pauses; the fifth failure is a dead letter, '
    'which blocks the lane unless an operator has released it.';

CREATE OR REPLACE FUNCTION ledger.retry_dead_letter(p_dead_letter_id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    d ledger.dead_letter;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.dead_letter x SET retried_by = session_user, retried_at = ledger.clock()
    WHERE x.dead_letter_id = p_dead_letter_id AND x.retried_at IS NULL RETURNING * INTO d;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF d.source = 'outbox' THEN
        UPDATE ledger.outbox SET status = 'ready', failures = 0, not_before = ledger.clock()
        WHERE account_id = d.account_id AND order_id = d.subject::bigint AND status IN ('dead', 'released')
          AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = d.account_id AND o.order_id = d.subject::bigint
                      AND o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK'));
    ELSE
        UPDATE ledger.venue_event SET problem = NULL WHERE account_id = d.account_id AND event_id = d.subject;
    END IF;
    RETURN d.source || ':' || d.subject;
END $$;

CREATE OR REPLACE FUNCTION ledger.release_lane(p_account text, p_market text, p_why text, p_operator text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint := ledger._market_id(p_market);
    v_now timestamptz;
    v_ids bigint[];
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was released', p_account USING ERRCODE = 'LG004';
    ELSIF v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was released', p_market USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: releasing a lane needs a reason; nothing was released' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id AND e.market_id = v_market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    WITH blocking AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b JOIN ledger.orders o USING (account_id, order_id)
        WHERE b.account_id = v_account_id AND b.market_id = v_market_id AND b.released_at IS NULL
          -- An unknown order that is just being sent again blocks as it did a moment ago, and may do so in a moment.
          AND (b.status IN ('blocked', 'dead') OR b.status = 'claimed' AND o.state = 'SENDING' AND o.fate_open)
    ), released AS (
        UPDATE ledger.outbox b SET released_at = ledger.clock(),
            status = CASE b.status WHEN 'claimed' THEN 'claimed' ELSE 'released' END
        FROM blocking k WHERE b.account_id = k.account_id AND b.outbox_id = k.outbox_id
        RETURNING b.order_id)
    SELECT coalesce(array_agg(r.order_id ORDER BY r.order_id), '{}') INTO v_ids FROM released r;
    IF v_ids <> '{}' THEN
        v_now := ledger._lane_time(v_account_id, v_market_id);
        PERFORM ledger._journal(v_account_id, v_market_id, v_now, 'LANE_RELEASED', NULL, NULL, NULL, NULL,
            jsonb_build_object('rows', cardinality(v_ids), 'orders', to_jsonb(v_ids), 'why', left(p_why, 500),
                               'operator', left(p_operator, 200)));
    END IF;
    RETURN cardinality(v_ids);
END $$;
COMMENT ON FUNCTION ledger.release_lane(text, text, text, text) IS
    'Lets placements behind an unknown or dead head go on. The head keeps its hold and is looked up as before, and never '
    'blocks again, whatever becomes of it.';

-- file: ledger/sql/functions/mutex.sql
-- purpose: the market mutex and other leases: one holder at a time, with a term that grows.
-- locks:   the exposure row (mutex) or the lease row.
-- index:   primary keys.
-- fence:   the term: whoever lost the lease holds an old one and is refused by reserve_pending.

CREATE OR REPLACE FUNCTION ledger._mutex_held(e ledger.exposure) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- Not the market's time, which may be ahead of the clock: whoever asks by another time than the holder renews by, takes
    -- what is held.
    v_clock timestamptz := ledger.clock();
BEGIN
    RETURN coalesce(e.mutex_holder IS NOT NULL AND e.mutex_until > v_clock
        -- Further ahead than it is ever held, it was taken before the clock went back. A second for small corrections.
        AND e.mutex_until <= v_clock + interval '61 seconds', false);
END $$;
COMMENT ON FUNCTION ledger._mutex_held(ledger.exposure) IS
    'Whether somebody holds the market: one judgement for who takes, renews, and reserves with or without a term.';

CREATE OR REPLACE FUNCTION ledger.take_mutex(p_account text, p_market text, p_holder uuid, p_ttl_ms integer, p_remember boolean DEFAULT false)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint := ledger._market_id(p_market);
    e ledger.exposure;
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL OR v_market_id IS NULL THEN
        RETURN ledger._refusal(0, CASE WHEN v_account_id IS NULL THEN 'UNKNOWN_ACCOUNT' ELSE 'UNKNOWN_MARKET' END, 'there is none');
    ELSIF NOT ledger._may_act_for(v_account_id) THEN
        RETURN ledger._refusal(0, 'NOT_GRANTED', 'this login was not granted the account');
    ELSIF p_ttl_ms IS NULL OR p_ttl_ms NOT BETWEEN 10 AND 60000 THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a market mutex is held for 10 to 60000 ms at a time');
    END IF;
    INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
    SELECT v_account_id, m.market_id, ledger.clock(), m.group_key FROM ledger.market m WHERE m.market_id = v_market_id
    ON CONFLICT DO NOTHING;
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = v_account_id AND x.market_id = v_market_id FOR UPDATE;
    IF ledger._mutex_held(e) THEN
        IF p_remember AND NOT e.mutex_again THEN
            UPDATE ledger.exposure SET mutex_again = true WHERE account_id = v_account_id AND market_id = v_market_id;
        END IF;
        RETURN ledger._refusal(0, 'LOCKED', format('held until %s', e.mutex_until));
    END IF;
    UPDATE ledger.exposure SET mutex_holder = p_holder, mutex_term = e.mutex_term + 1, mutex_again = false,
        mutex_until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0)
    WHERE account_id = v_account_id AND market_id = v_market_id;
    RETURN jsonb_build_object('item', 0, 'status', 'ok', 'term', e.mutex_term + 1);
END $$;
COMMENT ON FUNCTION ledger.take_mutex(text, text, uuid, integer, boolean) IS
    'ok with the term, or LOCKED. p_remember asks the holder to run once more after it unlocks (one run, however often asked).';

CREATE OR REPLACE FUNCTION ledger.renew_mutex(p_account text, p_market text, p_term bigint, p_ttl_ms integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- False means "lost"; a caller that asks wrongly has lost nothing, and must not hold on to what it does not know either.
    IF p_ttl_ms IS NULL OR p_ttl_ms NOT BETWEEN 10 AND 60000 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a market mutex is held for 10 to 60000 ms at a time; nothing was renewed'
            USING ERRCODE = 'LG004', HINT = 'Give the time that take_mutex was given.';
    END IF;
    UPDATE ledger.exposure e SET mutex_until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0)
    FROM ledger.account a
    WHERE a.name = p_account AND e.account_id = a.account_id AND e.market_id = ledger._market_id(p_market)
      AND ledger._may_act_for(a.account_id)
      AND e.mutex_term = p_term AND ledger._mutex_held(e);
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION ledger.release_mutex(p_account text, p_market text, p_term bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_again boolean;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.exposure e SET mutex_holder = NULL, mutex_until = NULL, mutex_again = false
    FROM (SELECT x.account_id, x.market_id, x.mutex_again FROM ledger.exposure x JOIN ledger.account a USING (account_id)
          WHERE a.name = p_account AND x.market_id = ledger._market_id(p_market)
            AND ledger._may_act_for(a.account_id) FOR UPDATE OF x) old
    WHERE e.account_id = old.account_id AND e.market_id = old.market_id
      AND e.mutex_term = p_term AND e.mutex_holder IS NOT NULL
    RETURNING old.mutex_again INTO v_again;
    RETURN jsonb_build_object('released', v_again IS NOT NULL, 'again', coalesce(v_again, false));
END $$;
COMMENT ON FUNCTION ledger.release_mutex(text, text, bigint) IS
    'again: somebody found it locked and asked for one run after unlock.';

CREATE OR REPLACE FUNCTION ledger.take_lease(p_name text, p_holder uuid, p_ttl_ms integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_term bigint;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.lease AS l (name, holder, term, until, ttl_ms)
    VALUES (p_name, p_holder, 1, ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0), p_ttl_ms)
    ON CONFLICT (name) DO UPDATE SET
        term = CASE WHEN l.holder = p_holder AND l.until > ledger.clock() THEN l.term ELSE l.term + 1 END,
        holder = p_holder, until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0), ttl_ms = p_ttl_ms
    WHERE l.holder IS NULL OR l.holder = p_holder OR l.until <= ledger.clock()
    RETURNING l.term INTO v_term;
    IF v_term IS NULL THEN
        -- Further ahead than it was taken for: the clock went back. It is cut and not taken, so a holder that lives renews
        -- it and nobody else holds it meanwhile, and one that died stands in the way for one lease, not for the step.
        UPDATE ledger.lease l SET until = ledger.clock() + make_interval(secs => coalesce(l.ttl_ms, p_ttl_ms) / 1000.0)
        WHERE l.name = p_name AND l.until > ledger.clock() + make_interval(secs => coalesce(l.ttl_ms, p_ttl_ms) / 1000.0);
    END IF;
    RETURN v_term;
END $$;
COMMENT ON FUNCTION ledger.take_lease(text, uuid, integer) IS
    'Takes or renews. Returns the term, or NULL while another holds it: for one lease from now on at most, whatever the clock did.';

CREATE OR REPLACE FUNCTION ledger.drop_leases(p_holder uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.lease SET holder = NULL, until = ledger.clock() WHERE holder = p_holder;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION ledger._note_clock_step(p_found_by uuid, p_lost interval, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.clock_step (last_order_id, found_at, lost_ms, found_by)
    SELECT s.last_value, p_now, ceil(extract(epoch FROM p_lost) * 1000)::bigint, p_found_by FROM ledger.order_id_seq s
    -- Found by several, or again: no intent came in between.
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION ledger.worker_started(
    p_incarnation uuid, p_name text, p_version text, p_lease_ms integer DEFAULT 5000) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    -- First the beats, then the clock: a beat that was committed before is not ahead of it.
    v_last timestamptz := (SELECT max(w.seen_at) FROM ledger.worker w);
    v_now timestamptz := ledger.clock();
BEGIN
    PERFORM ledger._enter();
    IF v_now < v_last THEN
        PERFORM ledger._note_clock_step(p_incarnation, v_last - v_now, v_now);
    END IF;
    INSERT INTO ledger.worker (incarnation, name, version, started_at, seen_at, not_ready_why, alive_until)
    VALUES (p_incarnation, p_name, p_version, v_now, v_now, 'starting',
            v_now + 3 * make_interval(secs => p_lease_ms / 1000.0));
    PERFORM ledger._close_runs(NULL, p_incarnation);
END $$;
COMMENT ON FUNCTION ledger.worker_started(uuid, text, text, integer) IS
    'A worker''s row, from which on it beats. Ends the comparisons of workers that do not beat any more, and notes whether '
    'the clock is behind the last beat of anybody.';

CREATE OR REPLACE FUNCTION ledger.beat(p_incarnation uuid, p_lease_ms integer, p_last_us bigint, p_since_ms bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_now_us bigint := floor(extract(epoch FROM v_now) * 1000000)::bigint;
    v_lost interval := make_interval(secs => (p_last_us - v_now_us) / 1000000.0 + p_since_ms / 1000.0);
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.worker SET seen_at = v_now, alive_until = v_now + 3 * make_interval(secs => p_lease_ms / 1000.0)
    WHERE incarnation = p_incarnation;
    IF v_lost > interval '1 second' THEN
        PERFORM ledger._note_clock_step(p_incarnation, v_lost, v_now);
    END IF;
    RETURN jsonb_build_object('at_us', v_now_us,
        'lost_ms', CASE WHEN v_lost > interval '1 second' THEN ceil(extract(epoch FROM v_lost) * 1000)::bigint ELSE 0 END);
END $$;
COMMENT ON FUNCTION ledger.beat(uuid, integer, bigint, bigint) IS
    'A worker lives. p_last_us: what its last beat answered as at_us; p_since_ms: how much time has passed since, at least, by '
    'its monotonic clock (both NULL at first). Where the database''s clock went on by a second less than that, what was '
    'reserved is not sent any more (lost_ms > 0).';

CREATE OR REPLACE FUNCTION ledger.worker_ready(p_incarnation uuid, p_not_ready_why text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    UPDATE ledger.worker SET ready = p_not_ready_why IS NULL, not_ready_why = p_not_ready_why, seen_at = ledger.clock()
    WHERE incarnation = p_incarnation
$$;

CREATE OR REPLACE FUNCTION ledger._left(p_account_id bigint) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
    SELECT jsonb_build_object(
        'open', count(*) FILTER (WHERE o.state IN ('LIVE', 'DELAYED')),
        'waiting', count(*) FILTER (WHERE o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK')),
        'in_flight', coalesce((array_agg(o.order_id ORDER BY o.order_id) FILTER (WHERE o.state IN ('SENDING', 'UNKNOWN')))[1:100], '{}'),
        'cancels_due', (SELECT count(*) FROM ledger.cancel_request c WHERE c.account_id = p_account_id AND c.status = 'due'),
        'unsettled_fills', (SELECT count(*) FROM ledger.fill f WHERE f.account_id = p_account_id AND f.settlement = 'provisional'),
        'unapplied_events', (SELECT count(*) FROM ledger.venue_event v WHERE v.account_id = p_account_id AND v.applied_at IS NULL))
    FROM ledger.orders o WHERE o.account_id = p_account_id
      AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
$$;
COMMENT ON FUNCTION ledger._left(bigint) IS 'What of an account is not over; of orders whose fate is open the first hundred ids.';

CREATE OR REPLACE FUNCTION ledger.worker_stopped(p_incarnation uuid, p_accounts text[] DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_left jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(a.name, ledger._left(a.account_id)), '{}') INTO v_left
    FROM ledger.account a WHERE a.name = ANY (p_accounts);
    UPDATE ledger.worker SET ready = false, not_ready_why = 'stopped', stopped_at = ledger.clock(), seen_at = ledger.clock(),
        left_at_stop = v_left
    WHERE incarnation = p_incarnation;
    RETURN v_left;
END $$;
COMMENT ON FUNCTION ledger.worker_stopped(uuid, text[]) IS
    'A graceful end. What the worker leaves of its accounts to whoever runs next is kept in its row, and returned.';

CREATE OR REPLACE FUNCTION ledger._end_session(p_pid integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN pg_terminate_backend(p_pid)::integer;
EXCEPTION WHEN insufficient_privilege THEN
    -- A superuser's session is a person's to end; the others are ended all the same.
    RETURN 0;
END $$;

CREATE OR REPLACE FUNCTION ledger._locks_rows(p_pid integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_locks k JOIN pg_class c ON c.oid = k.relation JOIN pg_namespace n ON n.oid = c.relnamespace
        -- Databases that were copied from one another have the same numbers.
        WHERE k.pid = p_pid AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND n.nspname = 'ledger' AND k.granted
          AND k.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'));
END $$;
COMMENT ON FUNCTION ledger._locks_rows(integer) IS 'Whether a session may have locked rows of the ledger, so that others wait for it.';

CREATE OR REPLACE FUNCTION ledger._strangers_before(p_pid integer) RETURNS integer[]
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN array(SELECT b.pid FROM unnest(pg_blocking_pids(p_pid)) b (pid) WHERE NOT ledger._locks_rows(b.pid));
END $$;
COMMENT ON FUNCTION ledger._strangers_before(integer) IS
    'Sessions that a session waits for and that have no row of the ledger locked. Asked twice: one that committed between the look '
    'at who blocks and the look at what it has locked is no stranger, and blocks nobody the second time.';

CREATE OR REPLACE FUNCTION ledger.end_lock_holders(p_longer_than_ms integer DEFAULT 500) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_bound interval := make_interval(secs => p_longer_than_ms / 1000.0);
    s record;
    v_count integer := 0;
BEGIN
    -- A trader's session that sits in a transaction with a ledger row locked would stop everybody else. No time-out of its role
    -- or session is relied on: it can change each of its own.
    FOR s IN SELECT q.pid, q.state LIKE 'idle in transaction%'
            OR q.xact_start < clock_timestamp() - greatest(10 * v_bound, interval '5 seconds')
            OR q.wait_event_type IN ('Timeout', 'Client', 'Extension')
            OR q.wait_event_type = 'Lock' AND q.wait_event NOT IN ('transactionid', 'tuple')
            OR q.wait_event_type IS DISTINCT FROM 'Lock' AND EXISTS (SELECT FROM pg_locks w WHERE w.locktype = 'transactionid'
                AND NOT w.granted AND w.transactionid = q.backend_xid AND w.waitstart < clock_timestamp() - v_bound) AS sits
        FROM pg_stat_activity q
        WHERE q.datname = current_database() AND q.pid <> pg_backend_pid()
          -- A commit that waits for its standby holds its locks until then: ended, its row would stand here and nowhere else.
          AND q.wait_event IS DISTINCT FROM 'SyncRep'
          AND (q.state LIKE 'idle in transaction%' AND q.state_change < clock_timestamp() - v_bound
               -- A trader may also sit on a lock while busy (pg_sleep, an advisory lock of its own second session). What computes,
               -- reads or writes just now may have stood in the queue for most of its time: it is judged by how long others have
               -- waited for it, and not for whom it waited for.
               OR q.state = 'active' AND q.xact_start < clock_timestamp() - v_bound
                  AND NOT pg_has_role(q.usesysid, '${role_worker}', 'MEMBER'))
          AND ledger._locks_rows(q.pid)
    LOOP
        -- Every writer waits for a row now and then. It is left alone, not for ever, where everybody it waits for has rows of the
        -- ledger locked and so is judged here too, link by link to the head of the queue; what else it waits for (a row of a
        -- catalog, say, that its second session has written) nobody would end.
        IF coalesce(s.sits, false) OR ledger._strangers_before(s.pid) && ledger._strangers_before(s.pid) THEN
            v_count := v_count + ledger._end_session(s.pid);
        END IF;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.end_lock_holders(integer) IS
    'Ends who sits on rows of the ledger: idle in a transaction, or a trader''s that is busy with something else or waits for '
    'something else; and a trader''s that is ten times as old (5 s at least), whatever it waits for.';

-- file: ledger/sql/functions/pnl.sql
-- purpose: what trading has brought, marked by the book each minute; halts on daily and rolling loss; smaller sizes in a drawdown.
-- locks:   one row of loss_watch (SKIP LOCKED: a second sweep goes home), then marks; account_state rows last, with SKIP LOCKED:
--          a halt must not wait behind whoever sits on a hot row.
-- index:   exposure_open_positions, equity_mark by primary key and equity_mark_highest, book and limits by primary key.
-- fence:   a mark is written once per account and minute; a loss that was told halts again only when it has grown by the limit.
-- What is read grows with open positions and the marks of a day, not with history: closed lanes are in account_state.traded_net.

CREATE OR REPLACE FUNCTION ledger._equities() RETURNS TABLE (
    account_id bigint, realised bigint, unrealised bigint, fees bigint, stale integer)
LANGUAGE plpgsql VOLATILE
-- The planner takes two arrays for hardly ever equal and would read every lane there ever was.
SET enable_seqscan = off
AS $$
DECLARE
    v_clock timestamptz := ledger.clock();
BEGIN
    -- One statement, so one snapshot: what moved between two lanes or accounts is counted once.
    RETURN QUERY
    SELECT s.account_id, (s.traded_net + coalesce(sum(q.basis), 0))::bigint, coalesce(sum(q.value - q.basis), 0)::bigint,
        coalesce((SELECT c.amount FROM ledger.contra_balance c
                  WHERE c.account_id = s.account_id AND c.asset = 'collateral' AND c.contra = 'fees'), 0),
        (count(DISTINCT q.market_id) FILTER (WHERE q.stale))::integer
    FROM ledger.account_state s LEFT JOIN LATERAL (
        SELECT e.market_id, e.basis[i.n] AS basis,
            coalesce(floor((e.bought[i.n] - e.sold[i.n])::numeric * b.mark_micros / 1000000)::bigint, e.basis[i.n]) AS value,
            coalesce(b.at <= v_clock - make_interval(secs => l.book_age_ms / 1000.0) OR b.bids = '{}' OR b.asks = '{}', true) AS stale
        FROM ledger.exposure e CROSS JOIN (VALUES (1), (2)) i (n)
        CROSS JOIN LATERAL ledger._effective_limits(e.account_id, e.market_id) l
        LEFT JOIN ledger.book b ON b.market_id = e.market_id AND b.outcome = i.n - 1
        WHERE e.account_id = s.account_id AND e.bought <> e.sold AND e.bought[i.n] <> e.sold[i.n]) q ON true
    GROUP BY s.account_id, s.traded_net
    ORDER BY s.account_id;
END $$;
COMMENT ON FUNCTION ledger._equities() IS
    'Each account''s profit so far: realised, and unrealised by what the last good book says a share is worth (mark_micros), at cost where '
    'there is none. stale: markets whose book is old or has not both sides.';

CREATE OR REPLACE FUNCTION ledger._mark_account(
    p_account_id bigint, p_realised bigint, p_unrealised bigint, p_fees bigint, p_stale integer, p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_midnight timestamptz := date_trunc('day', p_now, 'UTC');
    v_last ledger.equity_mark;
    v_found integer := 0;
BEGIN
    -- The midnight of a day that has not come was written before the clock went back: it would stand as that day's opening.
    DELETE FROM ledger.equity_mark x
    WHERE x.account_id = p_account_id AND x.at > p_now AND x.at = date_trunc('day', x.at, 'UTC');
    IF NOT EXISTS (SELECT FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at = v_midnight) THEN
        SELECT * INTO v_last FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at < v_midnight ORDER BY x.at DESC LIMIT 1;
        IF p_now >= v_midnight + interval '2 minutes' AND NOT FOUND AND EXISTS (
            SELECT FROM ledger.account a WHERE a.account_id = p_account_id AND a.created_at > v_midnight) THEN
            -- It was opened today: it began with nothing, whatever it has lost before anybody looked.
            v_last := ROW(p_account_id, v_midnight, 0, 0, 0, 0, 0);
        ELSIF p_now < v_midnight + interval '2 minutes' OR v_last.account_id IS NULL THEN
            v_last := ROW(p_account_id, v_midnight, p_realised + p_unrealised, p_realised, p_unrealised, p_fees, p_stale);
        END IF;
        -- Nobody looked at midnight: what was seen last before it stands, so that a night without a worker hides no loss.
        v_last.at := v_midnight;
        INSERT INTO ledger.equity_mark SELECT v_last.*;
        PERFORM ledger._prune_marks(p_account_id, p_now);
        v_found := 1;
    END IF;
    SELECT * INTO v_last FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at <= p_now ORDER BY x.at DESC LIMIT 1;
    IF (v_last.equity_micros, v_last.realised_micros, v_last.fees_micros, v_last.stale_markets)
       IS DISTINCT FROM (p_realised + p_unrealised, p_realised, p_fees, p_stale) THEN
        INSERT INTO ledger.equity_mark (account_id, at, equity_micros, realised_micros, unrealised_micros, fees_micros, stale_markets)
        VALUES (p_account_id, date_trunc('minute', p_now, 'UTC'), p_realised + p_unrealised, p_realised, p_unrealised, p_fees, p_stale)
        ON CONFLICT DO NOTHING;
        v_found := v_found + FOUND::integer;
    END IF;
    RETURN v_found;
END $$;
COMMENT ON FUNCTION ledger._mark_account(bigint, bigint, bigint, bigint, integer, timestamptz) IS
    'Writes the mark of this minute, unless it is there or nothing has changed since the last, and that of midnight. The first '
    'mark of a minute stands, also if the clock steps back into it.';

CREATE OR REPLACE FUNCTION ledger._prune_marks(p_account_id bigint, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_days integer := coalesce((SELECT s.value::integer FROM ledger.setting s
        WHERE s.name = 'keep_equity_minutes_days' AND s.value ~ '^[0-9]{1,5}$'), 7);
    -- Two days at least: the rolling loss looks at the last one.
    v_before timestamptz := p_now - make_interval(days => greatest(v_days, 2));
BEGIN
    IF p_account_id IS NULL THEN
        DELETE FROM ledger.total_mark x WHERE x.at < v_before AND x.at <> date_trunc('day', x.at, 'UTC');
    ELSE
        DELETE FROM ledger.equity_mark x
        WHERE x.account_id = p_account_id AND x.at < v_before AND x.at <> date_trunc('day', x.at, 'UTC');
    END IF;
END $$;
COMMENT ON FUNCTION ledger._prune_marks(bigint, timestamptz) IS 'Once a day: of days long past only midnight is kept. NULL: of the sums.';

CREATE OR REPLACE FUNCTION ledger._rolling_peak(p_account_id bigint, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_peak bigint;
BEGIN
    -- Also what stood when the 24 hours began; also marks ahead of the clock, which has stepped back since.
    IF p_account_id IS NULL THEN
        SELECT max(x.equity_micros) INTO v_peak FROM ledger.total_mark x
        WHERE x.at BETWEEN coalesce((SELECT max(y.at) FROM ledger.total_mark y WHERE y.at <= p_now - interval '24 hours'), '-infinity')
          AND p_now + interval '24 hours';
    ELSE
        SELECT max(x.equity_micros) INTO v_peak FROM ledger.equity_mark x
        WHERE x.account_id = p_account_id
          AND x.at BETWEEN coalesce((SELECT max(y.at) FROM ledger.equity_mark y
                                     WHERE y.account_id = p_account_id AND y.at <= p_now - interval '24 hours'), '-infinity')
          AND p_now + interval '24 hours';
    END IF;
    RETURN v_peak;
END $$;
COMMENT ON FUNCTION ledger._rolling_peak(bigint, timestamptz) IS 'The highest equity of the last 24 hours; account NULL: of all together.';

CREATE OR REPLACE FUNCTION ledger._watch_loss(
    p_scope text, p_scope_id text, p_kind text, p_loss bigint, p_limit bigint, p_since timestamptz, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_told bigint;
    v_standing boolean;
BEGIN
    IF p_limit IS NULL OR p_loss <= p_limit THEN
        RETURN false;
    END IF;
    SELECT w.told_micros INTO v_told FROM ledger.loss_watch w
    WHERE w.scope = p_scope AND w.scope_id = p_scope_id AND w.kind = p_kind AND w.told_at >= p_since;
    v_standing := EXISTS (SELECT FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = p_scope_id AND h.cleared_at IS NULL
                          AND h.set_as = 'ledger' AND split_part(h.why, ':', 1) = p_kind);
    IF (CASE WHEN v_standing THEN p_loss <= v_told ELSE p_loss <= v_told + p_limit END) THEN
        RETURN false;
    END IF;
    INSERT INTO ledger.loss_watch AS w (scope, scope_id, kind, told_micros, told_at)
    VALUES (p_scope, p_scope_id, p_kind, p_loss, p_now)
    ON CONFLICT (scope, scope_id, kind) DO UPDATE SET told_micros = excluded.told_micros, told_at = excluded.told_at;
    IF NOT v_standing THEN
        PERFORM ledger._halt_once(p_scope, p_scope_id, format('%s: %s of collateral lost %s, %s allowed', p_kind,
            round(p_loss / 1000000.0, 2), CASE p_kind WHEN 'DAILY_LOSS' THEN 'since midnight UTC' ELSE 'within 24 hours' END,
            round(p_limit / 1000000.0, 2)), p_now);
    END IF;
    RETURN NOT v_standing;
END $$;
COMMENT ON FUNCTION ledger._watch_loss(text, text, text, bigint, bigint, timestamptz, timestamptz) IS
    'Halts if the loss is over the limit and was not told since then. A person who resumed has seen the loss as it was: it halts '
    'again once it has grown by the limit again, on the next UTC day, or (rolling) 24 hours after it was told. While the halt '
    'stands what is told follows the loss.';

CREATE OR REPLACE FUNCTION ledger._size_factor(p_drawdown bigint, t ledger.total_limits) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_from bigint := coalesce(t.drawdown_from_micros, 0);
BEGIN
    RETURN CASE WHEN t.drawdown_to_micros IS NULL OR p_drawdown <= v_from THEN 1000000
        WHEN p_drawdown >= t.drawdown_to_micros THEN 0
        ELSE floor((t.drawdown_to_micros - p_drawdown)::numeric * 1000000 / (t.drawdown_to_micros - v_from))::integer END;
END $$;
COMMENT ON FUNCTION ledger._size_factor(bigint, ledger.total_limits) IS
    'All of it down to drawdown_from, nothing from drawdown_to on, evenly between; drawdown_to NULL: no sizing by drawdown.';

CREATE OR REPLACE FUNCTION ledger.sweep_losses() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz;
    v_midnight timestamptz;
    q record;
    t ledger.total_limits;
    v_equity bigint;
    v_opening bigint;
    v_total bigint := 0;
    v_total_opening bigint := 0;
    v_accounts integer := 0;
    v_marks integer := 0;
    v_halted jsonb := '[]';
    v_ids bigint[] := '{}';
    v_factors integer[] := '{}';
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.loss_watch (scope, scope_id, kind) VALUES ('global', '', 'DAILY_LOSS') ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.loss_watch w WHERE w.scope = 'global' AND w.scope_id = '' AND w.kind = 'DAILY_LOSS' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('busy', true, 'marks', 0, 'halted', '[]'::jsonb);
    END IF;
    v_now := ledger.clock();
    v_midnight := date_trunc('day', v_now, 'UTC');
    FOR q IN SELECT * FROM ledger._equities() LOOP
        v_equity := q.realised + q.unrealised;
        v_marks := v_marks + ledger._mark_account(q.account_id, q.realised, q.unrealised, q.fees, q.stale, v_now);
        SELECT x.equity_micros INTO v_opening FROM ledger.equity_mark x WHERE x.account_id = q.account_id AND x.at = v_midnight;
        t := ledger._totals('account', q.account_id::text);
        IF ledger._watch_loss('account', q.account_id::text, 'DAILY_LOSS', v_opening - v_equity, t.max_daily_loss_micros,
                              v_midnight, v_now) THEN
            v_halted := v_halted || ledger._told_loss('account', q.account_id, 'DAILY_LOSS', v_opening - v_equity);
        END IF;
        IF t.max_rolling_loss_micros IS NOT NULL AND ledger._watch_loss('account', q.account_id::text, 'ROLLING_LOSS',
            ledger._rolling_peak(q.account_id, v_now) - v_equity, t.max_rolling_loss_micros, v_now - interval '24 hours', v_now) THEN
            v_halted := v_halted || ledger._told_loss('account', q.account_id, 'ROLLING_LOSS',
                                                      ledger._rolling_peak(q.account_id, v_now) - v_equity);
        END IF;
        v_ids := v_ids || q.account_id;
        v_factors := v_factors || ledger._size_factor(CASE WHEN t.drawdown_to_micros IS NOT NULL THEN
            (SELECT max(x.equity_micros) FROM ledger.equity_mark x WHERE x.account_id = q.account_id) - v_equity END, t);
        v_total := v_total + v_equity;
        v_total_opening := v_total_opening + v_opening;
        v_accounts := v_accounts + 1;
    END LOOP;
    PERFORM ledger._mark_total(v_total, v_total_opening, v_accounts, v_now);
    t := ledger._totals('global', '');
    IF ledger._watch_loss('global', '', 'DAILY_LOSS', v_total_opening - v_total, t.max_daily_loss_micros, v_midnight, v_now) THEN
        v_halted := v_halted || ledger._told_loss('global', NULL, 'DAILY_LOSS', v_total_opening - v_total);
    END IF;
    IF t.max_rolling_loss_micros IS NOT NULL AND ledger._watch_loss('global', '', 'ROLLING_LOSS',
        ledger._rolling_peak(NULL, v_now) - v_total, t.max_rolling_loss_micros, v_now - interval '24 hours', v_now) THEN
        v_halted := v_halted || ledger._told_loss('global', NULL, 'ROLLING_LOSS', ledger._rolling_peak(NULL, v_now) - v_total);
    END IF;
    PERFORM ledger._set_size_factors(v_ids, v_factors);
    RETURN jsonb_build_object('busy', false, 'marks', v_marks, 'halted', v_halted);
END $$;
COMMENT ON FUNCTION ledger.sweep_losses() IS
    'Marks every account, halts on daily and rolling loss (account, all together), sizes by drawdown. All it knows is in rows: any '
    'worker may run it at any time, any number of times.';

CREATE OR REPLACE FUNCTION ledger._told_loss(p_scope text, p_account_id bigint, p_kind text, p_loss bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN jsonb_build_object('scope', p_scope, 'kind', p_kind, 'loss_micros', p_loss,
        'account', coalesce((SELECT a.name FROM ledger.account a WHERE a.account_id = p_account_id), ''));
END $$;

CREATE OR REPLACE FUNCTION ledger._mark_total(p_equity bigint, p_opening bigint, p_accounts integer, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    DELETE FROM ledger.total_mark x WHERE x.at > p_now AND x.at = date_trunc('day', x.at, 'UTC');
    INSERT INTO ledger.total_mark (at, equity_micros, accounts)
    VALUES (date_trunc('day', p_now, 'UTC'), p_opening, p_accounts) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM ledger._prune_marks(NULL, p_now);
    END IF;
    IF p_equity IS DISTINCT FROM (SELECT x.equity_micros FROM ledger.total_mark x WHERE x.at <= p_now ORDER BY x.at DESC LIMIT 1) THEN
        INSERT INTO ledger.total_mark (at, equity_micros, accounts)
        VALUES (date_trunc('minute', p_now, 'UTC'), p_equity, p_accounts) ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger._set_size_factors(p_ids bigint[], p_factors integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    x record;
BEGIN
    FOR x IN SELECT s.account_id, u.factor FROM unnest(p_ids, p_factors) u (account_id, factor)
        JOIN ledger.account_state s ON s.account_id = u.account_id WHERE s.size_factor_ppm <> u.factor ORDER BY s.account_id
    LOOP
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE ledger.account_state SET size_factor_ppm = x.factor WHERE account_id = x.account_id;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._set_size_factors(bigint[], integer[]) IS 'An account that is busy just now is left to the next sweep.';

-- file: ledger/sql/functions/watch.sql
-- purpose: what keeps dead rows alive: the oldest transaction whose snapshot still needs them, and idle ones that are ended.
-- locks:   none.
-- index:   none; the server's own lists.
-- fence:   none; ends only idle sessions of the ledger's own roles, whose work is rolled back.

CREATE OR REPLACE FUNCTION ledger.horizon() RETURNS TABLE (
    kind text, subject text, login text, application text, state text, transactions bigint, age_ms bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    -- Real time, since it is the server's: ledger.clock() is of limits and leases.
    SELECT q.kind, q.subject, q.login, q.application, q.state, q.transactions,
        greatest(floor(extract(epoch FROM clock_timestamp() - q.since) * 1000), 0)::bigint
    FROM (
        SELECT 'session', s.pid::text, s.usename::text, s.application_name, s.state,
            greatest(age(s.backend_xmin), age(s.backend_xid))::bigint, coalesce(s.xact_start, s.backend_start)
        FROM pg_stat_activity s
        WHERE s.pid <> pg_backend_pid() AND (s.backend_xmin IS NOT NULL OR s.backend_xid IS NOT NULL)
          -- A standby that reports its own oldest snapshot belongs to no database.
          AND (s.datname = current_database() OR s.datname IS NULL)
          -- A vacuum holds back no other vacuum.
          AND s.backend_type <> 'autovacuum worker' AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = s.pid)
        UNION ALL
        SELECT 'prepared transaction', p.gid, p.owner::text, '', 'prepared', age(p.transaction)::bigint, p.prepared
        FROM pg_prepared_xacts p WHERE p.database = current_database()
        UNION ALL
        SELECT 'replication slot', r.slot_name::text, '', coalesce(r.plugin::text, ''), CASE WHEN r.active THEN 'active' ELSE 'inactive' END,
            age(r.xmin)::bigint, NULL
        FROM pg_replication_slots r WHERE r.xmin IS NOT NULL) q (kind, subject, login, application, state, transactions, since)
    ORDER BY q.transactions DESC, q.since LIMIT 1
$$;
COMMENT ON FUNCTION ledger.horizon() IS
    'Whose snapshot is the oldest, how many transactions and how long ago it was taken (no age for a slot); no row where nobody '
    'has one. Rows that were dead by then cannot be removed, and every queue grows slower.';

CREATE OR REPLACE FUNCTION ledger.end_idle_transactions(p_longer_than_ms integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_pid integer;
    v_count integer := 0;
BEGIN
    -- The roles have a time-out of their own, but a login that is only their member does not inherit it.
    FOR v_pid IN SELECT s.pid FROM pg_stat_activity s
    WHERE s.datname = current_database() AND s.pid <> pg_backend_pid() AND s.state LIKE 'idle in transaction%'
      AND s.state_change < clock_timestamp() - make_interval(secs => p_longer_than_ms / 1000.0)
      AND EXISTS (SELECT FROM unnest(ARRAY['${role_worker}', '${role_trader}', '${role_risk}', '${role_auditor}']) r (name)
                  WHERE pg_has_role(s.usesysid, r.name, 'MEMBER'))
    LOOP
        v_count := v_count + ledger._end_session(v_pid);
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.end_idle_transactions(integer) IS
    'Ends sessions of the ledger''s roles that sit in a transaction and do nothing. One that commits is not idle.';

-- file: ledger/sql/functions/setup.sql
-- purpose: accounts, grants, markets, movements with a cause: what a person or an importer sets up.
-- locks:   book_movement takes exposure (for tokens), then account_state.
--          import_markets takes the lanes of markets that change their group first (_hold_moving_lanes), then market rows.
-- index:   primary keys, market by condition id.
-- fence:   every movement has its own key and is booked once.

CREATE OR REPLACE FUNCTION ledger.open_account(
    p_name text, p_venue text, p_maker text DEFAULT NULL, p_signer text DEFAULT NULL,
    p_signature_type integer DEFAULT 0, p_quarantine_ms bigint DEFAULT 120000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint;
    v_venue text;
    v_new boolean;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.account (name, venue, maker, signer, signature_type, quarantine_ms, created_at)
    VALUES (p_name, p_venue, p_maker, p_signer, p_signature_type, p_quarantine_ms, ledger.clock())
    ON CONFLICT (name) DO NOTHING;
    v_new := FOUND;
    SELECT a.account_id, a.venue INTO v_id, v_venue FROM ledger.account a WHERE a.name = p_name;
    IF v_venue <> p_venue THEN
        RAISE EXCEPTION 'BAD_REQUEST: account % trades on %; paper and live never mix. Nothing was changed', p_name, v_venue
            USING ERRCODE = 'LG004', HINT = 'Open another account for the other venue.';
    END IF;
    INSERT INTO ledger.account_state (account_id) VALUES (v_id) ON CONFLICT DO NOTHING;
    IF v_new THEN
        PERFORM ledger._journal(v_id, NULL, a.created_at, 'ACCOUNT_OPENED', p_detail => jsonb_build_object('name', a.name,
            'venue', a.venue, 'maker', a.maker, 'signer', a.signer, 'signature_type', a.signature_type,
            'quarantine_ms', a.quarantine_ms))
        FROM ledger.account a WHERE a.account_id = v_id;
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger.open_account(text, text, text, text, integer, bigint) IS 'Safe to repeat; returns the account id.';

CREATE OR REPLACE FUNCTION ledger.open_paper_account(p_name text, p_collateral_micros bigint, p_quarantine_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint := ledger.open_account(p_name, 'paper', NULL, NULL, 0, p_quarantine_ms);
BEGIN
    IF p_collateral_micros > 0 THEN
        PERFORM ledger.book_movement(p_name, 'collateral', p_collateral_micros, 'opening', 'opening', 'paper money');
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger.open_paper_account(text, bigint, bigint) IS
    'The only account a worker may open by itself, since nothing in it is worth anything. Safe to repeat.';

CREATE OR REPLACE FUNCTION ledger.sign_as(p_account text, p_maker text, p_signer text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint;
    v_maker text;
    v_signer text;
BEGIN
    PERFORM ledger._enter();
    WITH signing AS (
        UPDATE ledger.account SET maker = coalesce(maker, p_maker), signer = coalesce(signer, p_signer)
        WHERE name = p_account AND (maker IS NULL AND p_maker IS NOT NULL OR signer IS NULL AND p_signer IS NOT NULL)
        RETURNING account_id, maker, signer)
    SELECT s.account_id, s.maker, s.signer INTO v_id, v_maker, v_signer FROM signing s;
    IF FOUND THEN
        PERFORM ledger._journal(v_id, NULL, ledger.clock(), 'SIGNS_AS',
            p_detail => jsonb_build_object('maker', v_maker, 'signer', v_signer));
    END IF;
    RETURN EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account
                   AND lower(a.maker) = lower(p_maker) AND lower(a.signer) = lower(p_signer));
END $$;
COMMENT ON FUNCTION ledger.sign_as(text, text, text) IS
    'The first worker writes the account''s addresses; false later means: this key is not the account''s key.';

CREATE OR REPLACE FUNCTION ledger.grant_account(p_account text, p_role name) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    g ledger.account_grant;
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account) THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was granted', p_account USING ERRCODE = 'LG004';
    ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        -- A grant to a misspelt name would wait for whoever makes a login of that name.
        RAISE EXCEPTION 'UNKNOWN_ROLE: %; nothing was granted', p_role USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.account_grant (account_id, role_name, granted_at)
    SELECT a.account_id, p_role, ledger.clock() FROM ledger.account a WHERE a.name = p_account
    ON CONFLICT DO NOTHING RETURNING * INTO g;
    IF FOUND THEN
        PERFORM ledger._journal(g.account_id, NULL, g.granted_at, 'GRANTED', p_detail => jsonb_build_object('role', g.role_name));
    END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger.revoke_account(p_account text, p_role name, p_why text, p_operator text DEFAULT '') RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was taken away', p_account USING ERRCODE = 'LG004';
    ELSIF coalesce(p_role, '') = '' OR coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: name the login and say why; nothing was taken away' USING ERRCODE = 'LG004';
    END IF;
    -- A login that was dropped since may be named as well: its grant would wait for the next of that name.
    DELETE FROM ledger.account_grant g WHERE g.account_id = v_account_id AND g.role_name = p_role;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, ledger.clock(), 'REVOKED', p_detail => jsonb_build_object(
        'role', p_role, 'why', left(p_why, 500), 'operator', left(p_operator, 200)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.revoke_account(text, name, text, text) IS
    'From its commit on the login admits nothing for the account; false if it had no grant. What it asked for before stands.';

CREATE OR REPLACE FUNCTION ledger.book_movement(
    p_account text, p_asset text, p_amount bigint, p_cause text, p_key text, p_note text, p_value bigint DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint;
    v_outcome smallint;
    v_basis bigint;
    v_now timestamptz := ledger.clock();
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was booked', p_account USING ERRCODE = 'LG004';
    ELSIF p_cause NOT IN ('opening', 'deposit', 'withdrawal', 'correction', 'resolution', 'redemption', 'split', 'merge',
                          'conversion', 'transfer_in', 'transfer_out') OR coalesce(p_key, '') = '' OR p_amount = 0 OR p_value < 0 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a movement needs a known cause, a key and an amount; nothing was booked' USING ERRCODE = 'LG004';
    ELSIF p_asset <> 'collateral' AND p_cause IN ('resolution', 'redemption', 'conversion') AND p_value IS NULL THEN
        RAISE EXCEPTION 'BAD_REQUEST: tokens that were resolved, redeemed or converted were worth something, or nothing (0); '
            'nothing was booked' USING ERRCODE = 'LG004', HINT = 'Give the value in collateral.';
    END IF;
    IF p_asset <> 'collateral' THEN
        SELECT x.market_id, x.outcome INTO v_market_id, v_outcome FROM ledger.outcome x WHERE x.token_id = p_asset;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'UNKNOWN_OUTCOME: token %; nothing was booked', left(p_asset, 80) USING ERRCODE = 'LG004';
        END IF;
        INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
        SELECT v_account_id, m.market_id, v_now, m.group_key FROM ledger.market m WHERE m.market_id = v_market_id
        ON CONFLICT DO NOTHING;
        PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id AND e.market_id = v_market_id FOR UPDATE;
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    IF EXISTS (SELECT FROM ledger.balance_entry b WHERE b.account_id = v_account_id AND b.entry_key = 'movement:' || p_key) THEN
        RETURN false;
    ELSIF p_key LIKE 'withdrawal:%' THEN
        RAISE EXCEPTION 'BAD_KEY: keys that begin with withdrawal: are those of withdrawals; nothing was booked' USING ERRCODE = 'LG004',
            HINT = 'Give another key.';
    END IF;
    IF p_asset <> 'collateral' THEN
        SELECT q.p_value, q.p_basis INTO p_value, v_basis
        FROM ledger._move_position(v_account_id, v_market_id, v_outcome, p_amount, p_cause, p_value) q;
    ELSE
        p_value := NULL;
    END IF;
    PERFORM ledger._book(v_account_id, p_asset, p_amount, 0, p_cause, 'movement:' || p_key, v_now, NULL, NULL, left(p_note, 500),
                         ledger._contra_of(p_cause), p_value => p_value, p_basis => v_basis);
    PERFORM ledger._journal(v_account_id, v_market_id, v_now, 'MOVEMENT',
        NULL, NULL, NULL, NULL, jsonb_build_object('asset', p_asset, 'amount', p_amount, 'cause', p_cause, 'key', p_key,
                                                   'note', left(p_note, 500), 'value', p_value));
    IF p_asset <> 'collateral' THEN
        PERFORM ledger._check_breach(v_account_id, v_market_id, ledger._lane_time(v_account_id, v_market_id));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.book_movement(text, text, bigint, text, text, text, bigint) IS
    'An entry with a cause; false if its key was booked before. asset is collateral or a token id; amount in micros. value: what '
    'the tokens were worth in collateral micros; see _move_position for what is taken where it is not known.';

CREATE OR REPLACE FUNCTION ledger._contra_of(p_cause text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN p_cause IN ('resolution', 'redemption', 'split', 'merge', 'conversion') THEN 'chain'
                WHEN p_cause = 'correction' THEN 'correction' ELSE 'outside' END
$$;

CREATE OR REPLACE FUNCTION ledger._move_position(
    p_account_id bigint, p_market_id bigint, p_outcome smallint, p_amount bigint, p_cause text, INOUT p_value bigint,
    OUT p_basis bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := p_outcome + 1;
    e ledger.exposure;
    v_held bigint;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_held := e.bought[i] - e.sold[i];
    IF p_value IS NULL AND p_cause IN ('split', 'merge') THEN
        p_value := abs(p_amount) / 2;
    ELSIF p_value IS NULL AND p_amount > 0 THEN
        -- At the last price known, however old; at the most they can be worth where none is: risk is not to be understated.
        p_value := ledger.cost_of(coalesce((SELECT b.mark_micros FROM ledger.book b
            WHERE b.market_id = p_market_id AND b.outcome = p_outcome), 1000000), p_amount);
    END IF;
    p_basis := ledger._basis_after(e.basis[i], v_held, p_amount, p_value) - e.basis[i];
    -- At what they cost: who carries tokens away neither wins nor loses by it.
    p_value := coalesce(p_value, -p_basis);
    IF p_amount > 0 THEN
        UPDATE ledger.exposure x SET confirmed[i] = x.confirmed[i] + p_amount, bought[i] = x.bought[i] + p_amount,
            bought_cost[i] = x.bought_cost[i] + p_value, basis[i] = x.basis[i] + p_basis
        WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    ELSE
        UPDATE ledger.exposure x SET confirmed[i] = x.confirmed[i] + p_amount, sold[i] = x.sold[i] - p_amount,
            sold_cost[i] = x.sold_cost[i] + p_value, basis[i] = x.basis[i] + p_basis
        WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    END IF;
    UPDATE ledger.account_state s SET traded_net = s.traded_net - sign(p_amount)::integer * p_value WHERE s.account_id = p_account_id;
    PERFORM ledger._carry_risk(p_account_id, p_market_id);
END $$;
COMMENT ON FUNCTION ledger._move_position(bigint, bigint, smallint, bigint, text, bigint) IS
    'Tokens that came or went without a trade, at their value in collateral micros. Gives the value taken, and what was added to '
    'what the position cost.';

CREATE OR REPLACE FUNCTION ledger.import_markets(p_rows jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x jsonb;
    v_id bigint;
    v_new boolean;
    v_now timestamptz := ledger.clock();
    v_created integer := 0;
    v_updated integer := 0;
    v_moving bigint[];
BEGIN
    PERFORM ledger._enter();
    v_moving := ledger._hold_moving_lanes(p_rows);
    FOR x IN SELECT q FROM jsonb_array_elements(p_rows) q ORDER BY q ->> 'condition_id' LOOP
        INSERT INTO ledger.market AS m (condition_id, slug, question, event_id, event_title, category, group_key,
            tick_micros, min_size_micros, fee_rate_micros, fee_exponent, fee_taker_only, neg_risk, neg_risk_augmented,
            protocol_version, window_start, window_end, tradable, untradable_reasons, source_digest, created_at, updated_at)
        VALUES (x ->> 'condition_id', x ->> 'slug', coalesce(x ->> 'question', ''), x ->> 'event_id', x ->> 'event_title',
            x ->> 'category', x ->> 'group_key', ledger._whole(x -> 'tick_micros'), ledger._whole(x -> 'min_size_micros'),
            coalesce(ledger._whole(x -> 'fee_rate_micros'), 0), coalesce(ledger._whole(x -> 'fee_exponent'), 1),
            coalesce((x ->> 'fee_taker_only')::boolean, false), coalesce((x ->> 'neg_risk')::boolean, false),
            coalesce((x ->> 'neg_risk_augmented')::boolean, false), coalesce(x ->> 'protocol_version', 'v1'),
            to_timestamp(ledger._whole(x -> 'window_start_ms') / 1000.0), to_timestamp(ledger._whole(x -> 'window_end_ms') / 1000.0),
            (x ->> 'tradable')::boolean, array(SELECT jsonb_array_elements_text(x -> 'untradable_reasons')),
            x ->> 'raw_digest', v_now, v_now)
        ON CONFLICT (condition_id) DO UPDATE SET
            slug = excluded.slug, question = excluded.question, event_id = excluded.event_id,
            event_title = excluded.event_title, category = excluded.category, group_key = excluded.group_key,
            tick_micros = excluded.tick_micros, min_size_micros = excluded.min_size_micros,
            fee_rate_micros = excluded.fee_rate_micros, fee_exponent = excluded.fee_exponent,
            fee_taker_only = excluded.fee_taker_only, neg_risk = excluded.neg_risk,
            neg_risk_augmented = excluded.neg_risk_augmented, protocol_version = excluded.protocol_version,
            window_start = excluded.window_start, window_end = excluded.window_end, tradable = excluded.tradable,
            untradable_reasons = excluded.untradable_reasons, source_digest = excluded.source_digest, updated_at = v_now
        RETURNING m.market_id, m.xmax = 0 INTO v_id, v_new;
        INSERT INTO ledger.outcome AS c (market_id, outcome, label, token_id)
        SELECT v_id, ledger._whole(q -> 'index'), q ->> 'label', q ->> 'token_id'
        FROM jsonb_array_elements(coalesce(x -> 'outcomes', '[]')) q
        WHERE NOT EXISTS (SELECT FROM ledger.outcome d WHERE d.token_id = q ->> 'token_id' AND d.market_id <> v_id)
        ON CONFLICT (market_id, outcome) DO UPDATE SET label = excluded.label WHERE c.token_id = excluded.token_id;
        -- Orders refer to these tokens: a market whose tokens change, or belong to another, is not the market it was.
        UPDATE ledger.market m SET tradable = false, untradable_reasons = array_append(m.untradable_reasons, 'OUTCOME_CONFLICT')
        WHERE m.market_id = v_id AND EXISTS (
            SELECT FROM jsonb_array_elements(coalesce(x -> 'outcomes', '[]')) q
            WHERE NOT EXISTS (SELECT FROM ledger.outcome c WHERE c.market_id = v_id
                AND c.outcome = ledger._whole(q -> 'index') AND c.token_id = q ->> 'token_id'));
        IF v_new THEN v_created := v_created + 1; ELSE v_updated := v_updated + 1; END IF;
    END LOOP;
    PERFORM ledger._regroup_lanes(v_moving);
    RETURN jsonb_build_object('created', v_created, 'updated', v_updated);
END $$;
COMMENT ON FUNCTION ledger.import_markets(jsonb) IS
    'Rows as app.markets.model writes them; all or nothing. Amounts in micros, times in unix milliseconds.';

-- file: ledger/sql/functions/events.sql
-- purpose: what comes from the venue is stored before it is applied; handlers leave receipts; readers keep cursors; runs and drift.
-- locks:   none of the send path.
-- index:   primary keys, venue_event_waiting.
-- fence:   an event id is stored once; a receipt is taken once.

CREATE OR REPLACE FUNCTION ledger.store_events(p_account text, p_events jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_event (account_id, event_id, raw, received_at)
    SELECT a.account_id, x ->> 'event_id', x ->> 'raw', ledger.clock()
    FROM ledger.account a CROSS JOIN jsonb_array_elements(p_events) x
    WHERE a.name = p_account ORDER BY x ->> 'event_id' ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.store_events(text, jsonb) IS 'Items {event_id, raw}. Returns how many were new.';

CREATE OR REPLACE FUNCTION ledger.mark_events(p_account text, p_event_ids text[], p_problem text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.venue_event v JOIN ledger.account a USING (account_id)
    WHERE a.name = p_account AND v.event_id = ANY (p_event_ids) ORDER BY v.event_id FOR UPDATE OF v;
    UPDATE ledger.venue_event v SET applied_at = CASE WHEN p_problem IS NULL THEN ledger.clock() END, problem = left(p_problem, 2000)
    FROM ledger.account a
    WHERE a.name = p_account AND v.account_id = a.account_id AND v.event_id = ANY (p_event_ids) AND v.applied_at IS NULL;
    IF p_problem IS NOT NULL THEN
        INSERT INTO ledger.dead_letter (account_id, source, subject, problem, failures, at)
        SELECT a.account_id, 'venue_event', e, left(p_problem, 2000), 1, ledger.clock()
        FROM ledger.account a CROSS JOIN unnest(p_event_ids) e
        WHERE a.name = p_account AND NOT EXISTS (
            SELECT FROM ledger.dead_letter d WHERE d.account_id = a.account_id AND d.source = 'venue_event'
            AND d.subject = e AND d.retried_at IS NULL);
    END IF;
END $$;
COMMENT ON FUNCTION ledger.mark_events(text, text[], text) IS
    'Applied, or with a problem: then they stay stored, unapplied, and a dead letter names them.';

CREATE OR REPLACE FUNCTION ledger.waiting_events(p_account text, p_limit integer, p_older_ms integer DEFAULT 0) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('event_id', q.event_id, 'raw', q.raw) ORDER BY q.received_at, q.event_id), '[]')
    FROM (SELECT v.event_id, v.raw, v.received_at FROM ledger.venue_event v JOIN ledger.account a USING (account_id)
          WHERE a.name = p_account AND v.applied_at IS NULL AND v.problem IS NULL
            AND v.received_at <= ledger.clock() - make_interval(secs => p_older_ms / 1000.0)
          ORDER BY v.received_at, v.event_id LIMIT least(p_limit, 1000)) q
$$;

CREATE OR REPLACE FUNCTION ledger.take_receipt(p_account text, p_consumer text, p_key text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- "Seen before" would make the caller skip its work: an account it may not use has to be an error.
    IF NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account AND ledger._may_act_for(a.account_id)) THEN
        RAISE EXCEPTION 'NOT_GRANTED: there is no account % for this login; no receipt was taken', p_account USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.receipt (account_id, consumer, key, at)
    SELECT a.account_id, p_consumer, p_key, ledger.clock() FROM ledger.account a
    WHERE a.name = p_account AND ledger._may_act_for(a.account_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        -- As in _replay: what was seen may wait for its standby still, and this answer has to be as durable.
        PERFORM pg_logical_emit_message(true, 'ledger', 'receipt');
        RETURN false;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.take_receipt(text, text, text) IS
    'true the first time (consumer, key) is seen. In the caller''s transaction: its work and the receipt stand or fall together.';

CREATE OR REPLACE FUNCTION ledger.move_cursor(p_account text, p_name text, p_position bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    INSERT INTO ledger.cursor AS c (account_id, name, position, moved_at)
    SELECT a.account_id, p_name, p_position, ledger.clock() FROM ledger.account a WHERE a.name = p_account
    ON CONFLICT (account_id, name) DO UPDATE SET position = greatest(c.position, excluded.position), moved_at = excluded.moved_at
    RETURNING position
$$;
COMMENT ON FUNCTION ledger.move_cursor(text, text, bigint) IS 'Only forward. Position 0 reads it.';

CREATE OR REPLACE FUNCTION ledger._close_runs(p_account_id bigint, p_incarnation uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
BEGIN
    WITH gone AS (
        SELECT r.account_id, r.run_id FROM ledger.reconcile_run r
        WHERE r.ended_at IS NULL AND (p_account_id IS NULL OR r.account_id = p_account_id)
          AND CASE WHEN r.kind = 'once' OR r.incarnation = p_incarnation THEN r.started_at < v_now - interval '15 minutes'
              ELSE NOT EXISTS (SELECT FROM ledger.worker w WHERE w.incarnation = r.incarnation
                               AND w.stopped_at IS NULL AND w.alive_until > v_now) END
        FOR UPDATE SKIP LOCKED)
    UPDATE ledger.reconcile_run r SET ended_at = v_now, result = 'incomplete',
        detail = '{"reason": "whoever compared was gone before it had ended", "lapsed": true}'
    FROM gone g WHERE r.account_id = g.account_id AND r.run_id = g.run_id;
END $$;
COMMENT ON FUNCTION ledger._close_runs(bigint, uuid) IS
    'Ends comparisons that nobody will end: of workers that stopped beating, and, begun a quarter of an hour ago, of this '
    'process itself and single ones (which do not beat). Whoever comes back all the same may still say how its own ended.';

CREATE OR REPLACE FUNCTION ledger.start_run(p_account text, p_kind text, p_incarnation uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := (SELECT a.account_id FROM ledger.account a WHERE a.name = p_account);
    v_run_id bigint;
BEGIN
    PERFORM ledger._enter();
    PERFORM ledger._close_runs(v_account_id, p_incarnation);
    INSERT INTO ledger.reconcile_run (account_id, kind, incarnation, started_at)
    SELECT v_account_id, p_kind, p_incarnation, ledger.clock() WHERE v_account_id IS NOT NULL
    RETURNING run_id INTO v_run_id;
    RETURN v_run_id;
END $$;

CREATE OR REPLACE FUNCTION ledger.end_run(p_run_id bigint, p_result text, p_detail jsonb, p_drift jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.drift (account_id, run_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
    SELECT r.account_id, r.run_id, x ->> 'kind', x ->> 'subject', x ->> 'ours', x ->> 'theirs', x ->> 'action', ledger.clock(),
        x ->> 'drift_class', x ->> 'after', x -> 'evidence'
    FROM ledger.reconcile_run r CROSS JOIN jsonb_array_elements(p_drift) x WHERE r.run_id = p_run_id;
    UPDATE ledger.reconcile_run SET ended_at = ledger.clock(), result = p_result, detail = p_detail
    WHERE run_id = p_run_id AND (ended_at IS NULL OR detail ? 'lapsed');
END $$;
COMMENT ON FUNCTION ledger.end_run(bigint, text, jsonb, jsonb) IS
    'result clean, drift or incomplete; drift items {kind, drift_class, subject, ours, theirs, after, '
    'action, evidence}.';

-- file: ledger/sql/functions/queries.sql
-- purpose: what a bot or the worker may read through functions: its orders, its live orders, what a key became.
-- locks:   none.
-- index:   orders_by_id, orders_not_ended, idempotency_key, reservation by primary key.
-- fence:   none; each checks that the caller may act for the account.

CREATE OR REPLACE FUNCTION ledger._show(o ledger.orders) RETURNS jsonb
LANGUAGE sql VOLATILE
AS $$
    SELECT jsonb_build_object('order_id', o.order_id, 'account', a.name, 'market', m.condition_id, 'slug', m.slug,
        'outcome', o.outcome, 'outcome_label', c.label, 'token_id', o.token_id, 'side', o.side, 'price_micros', o.price_micros,
        'size_micros', o.size_micros, 'order_type', o.order_type, 'post_only', o.post_only, 'class', o.class,
        'key', o.key, 'state', o.state, 'cause', o.cause, 'ended', ledger._ended(o.state),
        'settled', r.phase = 'released',
        'venue_order_id', o.venue_order_id, 'matched_micros', greatest(o.size_matched_micros, o.traded_micros),
        'traded_micros', o.traded_micros, 'confirmed_micros', o.confirmed_micros, 'failed_micros', o.failed_micros,
        'held_micros', r.held_micros, 'attempts', o.attempts, 'cancel_asked', o.cancel_asked_at IS NOT NULL,
        'seen_at_venue', o.seen_at_venue, 'valid_until', o.valid_until, 'created_at', o.created_at, 'state_at', o.state_at)
    FROM ledger.account a, ledger.market m, ledger.outcome c, ledger.reservation r
    WHERE a.account_id = o.account_id AND m.market_id = o.market_id
      AND c.market_id = o.market_id AND c.outcome = o.outcome
      AND r.account_id = o.account_id AND r.order_id = o.order_id
$$;

CREATE OR REPLACE FUNCTION ledger.get_orders(p_order_ids bigint[]) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(ledger._show(o) ORDER BY o.order_id), '[]') FROM ledger.orders o
    WHERE o.order_id = ANY (p_order_ids) AND ledger._may_act_for(o.account_id)
$$;

CREATE OR REPLACE FUNCTION ledger.find_by_key(p_account text, p_key text) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT CASE k.kind WHEN 'replacement' THEN (
            SELECT jsonb_build_object('kind', 'replacement', 'replacement_id', q.replacement_id, 'state', q.state,
                'old_order_id', q.old_order_id, 'new_order_id', q.new_order_id, 'code', q.code)
            FROM ledger.replacement q WHERE q.account_id = k.account_id AND q.replacement_id = k.subject_id)
        ELSE (SELECT ledger._show(o) || '{"kind": "order"}' FROM ledger.orders o
              WHERE o.account_id = k.account_id AND o.order_id = k.subject_id) END
    FROM ledger.account a JOIN ledger.idempotency_key k USING (account_id)
    WHERE a.name = p_account AND k.key = p_key AND ledger._may_act_for(a.account_id)
$$;

CREATE OR REPLACE FUNCTION ledger.standing_orders(p_account text, p_market text DEFAULT NULL, p_after bigint DEFAULT 0) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(ledger._show(q) ORDER BY q.order_id), '[]') FROM (
        SELECT o.* FROM ledger.orders o JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND ledger._may_act_for(a.account_id)
          AND (p_market IS NULL OR o.market_id = ledger._market_id(p_market))
          AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND o.order_id > p_after
        ORDER BY o.order_id LIMIT 1000) q
$$;
COMMENT ON FUNCTION ledger.standing_orders(text, text, bigint) IS
    'Orders not ended, at most 1000; continue after the last order_id.';

-- file: ledger/sql/views/audit.sql
-- purpose: what stands now, for people and scripts: limits, exposure, orders, what is unresolved, balances, fills, halts.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   orders_not_ended, orders_unresolved, reservation_standing, fill_of_order, balance, exposure by primary key.
-- fence:   views belong to the owner role and read with its rights: the auditor can see them and nothing under them.
-- A function in a view runs with the reader's rights, so the only one used here is ledger.clock().
-- Amounts end in _micros: millionths of a share, or of one unit of collateral. Outcomes are 0 and 1, with their labels.

CREATE OR REPLACE VIEW audit.limits AS
SELECT a.name AS account, m.condition_id AS market, m.slug,
    coalesce(am.max_outcome_micros, ma.max_outcome_micros, ac.max_outcome_micros, d.max_outcome_micros) AS max_outcome_micros,
    coalesce(am.max_market_micros, ma.max_market_micros, ac.max_market_micros, d.max_market_micros) AS max_market_micros,
    coalesce(am.burst_per_minute, ma.burst_per_minute, ac.burst_per_minute, d.burst_per_minute) AS burst_per_minute,
    coalesce(am.burst_gap_ms, ma.burst_gap_ms, ac.burst_gap_ms, d.burst_gap_ms) AS burst_gap_ms,
    coalesce(am.burst_counts_sells, ma.burst_counts_sells, ac.burst_counts_sells, d.burst_counts_sells, false)
        AS burst_counts_sells,
    coalesce(am.max_order_micros, ma.max_order_micros, ac.max_order_micros, d.max_order_micros) AS max_order_micros,
    coalesce(am.max_order_cost_micros, ma.max_order_cost_micros, ac.max_order_cost_micros, d.max_order_cost_micros)
        AS max_order_cost_micros,
    coalesce(am.max_market_cost_micros, ma.max_market_cost_micros, ac.max_market_cost_micros, d.max_market_cost_micros)
        AS max_market_cost_micros,
    coalesce(am.max_imbalance_micros, ma.max_imbalance_micros, ac.max_imbalance_micros, d.max_imbalance_micros)
        AS max_imbalance_micros,
    coalesce(am.max_open_orders, ma.max_open_orders, ac.max_open_orders, d.max_open_orders) AS max_open_orders,
    coalesce(am.cooldown_ms, ma.cooldown_ms, ac.cooldown_ms, d.cooldown_ms) AS cooldown_ms,
    coalesce(am.changes_per_minute, ma.changes_per_minute, ac.changes_per_minute, d.changes_per_minute) AS changes_per_minute,
    coalesce(am.collar_micros, ma.collar_micros, ac.collar_micros, d.collar_micros) AS collar_micros,
    coalesce(am.max_slippage_bps, ma.max_slippage_bps, ac.max_slippage_bps, d.max_slippage_bps) AS max_slippage_bps,
    coalesce(am.book_age_ms, ma.book_age_ms, ac.book_age_ms, d.book_age_ms, 30000) AS book_age_ms,
    coalesce(am.self_match_allowed, ma.self_match_allowed, ac.self_match_allowed, d.self_match_allowed, false)
        AS self_match_allowed,
    coalesce(am.duplicate_window_ms, ma.duplicate_window_ms, ac.duplicate_window_ms, d.duplicate_window_ms)
        AS duplicate_window_ms,
    coalesce(am.duplicate_refused, ma.duplicate_refused, ac.duplicate_refused, d.duplicate_refused, false) AS duplicate_refused,
    coalesce(am.open_buffer_ms, ma.open_buffer_ms, ac.open_buffer_ms, d.open_buffer_ms) AS open_buffer_ms,
    coalesce(am.close_buffer_ms, ma.close_buffer_ms, ac.close_buffer_ms, d.close_buffer_ms) AS close_buffer_ms,
    coalesce(am.weekend_allowed, ma.weekend_allowed, ac.weekend_allowed, d.weekend_allowed, true) AS weekend_allowed,
    coalesce(am.breaker_rejects, ma.breaker_rejects, ac.breaker_rejects, d.breaker_rejects) AS breaker_rejects,
    coalesce(am.breaker_cancels, ma.breaker_cancels, ac.breaker_cancels, d.breaker_cancels) AS breaker_cancels,
    coalesce(am.slow_ms, ma.slow_ms, ac.slow_ms, d.slow_ms) AS slow_ms,
    coalesce(am.stop_ms, ma.stop_ms, ac.stop_ms, d.stop_ms) AS stop_ms,
    x.account_id, x.market_id
FROM ledger.exposure x
JOIN ledger.account a ON a.account_id = x.account_id
JOIN ledger.market m ON m.market_id = x.market_id
LEFT JOIN ledger.limits d ON d.account_id = 0 AND d.market_id = 0
LEFT JOIN ledger.limits ac ON ac.account_id = x.account_id AND ac.market_id = 0
LEFT JOIN ledger.limits ma ON ma.account_id = 0 AND ma.market_id = x.market_id
LEFT JOIN ledger.limits am ON am.account_id = x.account_id AND am.market_id = x.market_id;
COMMENT ON VIEW audit.limits IS
    'The limits in force per account and market, after the most specific value that is set. NULL means no limit.';

CREATE OR REPLACE VIEW audit.exposure AS
SELECT a.name AS account, m.condition_id AS market, m.slug, c.outcome, c.label AS outcome_label, c.token_id,
    e.confirmed[i.n] AS position_micros,
    e.provisional_buy[i.n] AS provisional_buy_micros, e.awaiting_buy[i.n] AS awaiting_buy_micros,
    e.open_buy[i.n] AS open_buy_micros, e.pending_buy[i.n] AS pending_buy_micros,
    e.confirmed[i.n] + e.provisional_buy[i.n] + e.awaiting_buy[i.n] + e.open_buy[i.n] + e.pending_buy[i.n]
        AS effective_micros,
    l.max_outcome_micros AS cap_outcome_micros,
    sum(e.confirmed[i.n] + e.provisional_buy[i.n] + e.awaiting_buy[i.n] + e.open_buy[i.n] + e.pending_buy[i.n])
        OVER (PARTITION BY e.account_id, e.market_id)::bigint AS market_effective_micros,
    l.max_market_micros AS cap_market_micros,
    e.provisional_sell[i.n] AS provisional_sell_micros, e.awaiting_sell[i.n] AS awaiting_sell_micros,
    e.open_sell[i.n] AS open_sell_micros, e.pending_sell[i.n] AS pending_sell_micros,
    e.confirmed[i.n] - e.provisional_sell[i.n] - e.awaiting_sell[i.n] - e.open_sell[i.n] - e.pending_sell[i.n]
        AS sellable_micros,
    coalesce(e.suspended_until > ledger.clock(), false) AS suspended, e.suspended_until, e.suspended_why,
    e.mutex_holder, e.mutex_term, e.mutex_until, e.last_admitted_at, e.group_key,
    e.basis[i.n] AS basis_micros,
    e.held_cost AS held_cost_micros, e.at_risk AS at_risk_micros, l.max_market_cost_micros AS cap_market_cost_micros,
    e.open_orders, l.max_open_orders AS cap_open_orders, e.changed_at, e.account_id, e.market_id
FROM ledger.exposure e
JOIN ledger.account a ON a.account_id = e.account_id
JOIN ledger.market m ON m.market_id = e.market_id
JOIN ledger.outcome c ON c.market_id = e.market_id
CROSS JOIN LATERAL (SELECT c.outcome + 1 AS n) i
JOIN audit.limits l ON l.account_id = e.account_id AND l.market_id = e.market_id;
COMMENT ON VIEW audit.exposure IS
    'One row per account, market and outcome: position, what is bought, open and pending, what that comes to, and the caps.';

CREATE OR REPLACE VIEW audit.orders AS
SELECT a.name AS account, o.order_id, o.key, m.condition_id AS market, m.slug, o.outcome, c.label AS outcome_label,
    o.token_id, o.side, o.price_micros, o.size_micros, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin,
    o.strategy, o.context, o.state, s.ended, o.cause, o.state_at, o.created_at, o.valid_until, o.venue_order_id,
    greatest(o.size_matched_micros, o.traded_micros) AS matched_micros, o.traded_micros, o.confirmed_micros,
    o.failed_micros, r.phase, r.shares_micros AS remaining_micros, r.awaiting_micros, r.asset AS held_asset,
    r.held_micros, r.released_at, o.attempts, o.seen_at_venue, o.fate_open, o.cancel_asked_at, o.cancel_reason,
    o.replaces_order_id, o.set_id, o.account_id, o.market_id
FROM ledger.orders o
JOIN ledger.account a ON a.account_id = o.account_id
LEFT JOIN ledger.market m ON m.market_id = o.market_id
LEFT JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
LEFT JOIN ledger.order_state s ON s.state = o.state
LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id;
COMMENT ON VIEW audit.orders IS 'Every intent with its state, its id at the venue, what it filled and what it still holds.';

CREATE OR REPLACE VIEW audit.unresolved AS
SELECT o.account, o.market, o.slug, o.outcome_label, o.side, o.order_id, o.key, o.state,
    CASE WHEN o.ended THEN 'matched at the venue, its trades are not all seen'
         WHEN o.state = 'SENDING' THEN 'an attempt is open'
         WHEN o.state = 'UNKNOWN' THEN 'no definite answer; only evidence ends this'
         WHEN o.state = 'DELAYED' THEN 'held by the venue''s matching delay'
         ELSE 'matched at the venue, its trades are not all seen' END AS why,
    floor(extract(epoch FROM ledger.clock() - coalesce(r.awaiting_since, o.state_at)) * 1000)::bigint AS age_ms,
    o.venue_order_id, o.price_micros, o.size_micros, o.awaiting_micros, o.held_asset, o.held_micros, o.attempts,
    t.outcome AS last_attempt, t.code AS last_code,
    q.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) AS quarantine_until,
    array(SELECT DISTINCT v.kind FROM ledger.evidence v
          WHERE v.account_id = o.account_id AND v.order_id = o.order_id ORDER BY 1)::text[] AS evidence,
    b.status AS lane_status, o.cancel_asked_at, k.tries AS cancel_tries, k.last_answer AS cancel_answer
FROM audit.orders o
JOIN ledger.orders q ON q.account_id = o.account_id AND q.order_id = o.order_id
JOIN ledger.account a ON a.account_id = o.account_id
LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
LEFT JOIN ledger.attempt t ON t.account_id = o.account_id AND t.order_id = o.order_id AND t.attempt = o.attempts
LEFT JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
LEFT JOIN ledger.cancel_request k ON k.account_id = o.account_id AND k.order_id = o.order_id
WHERE q.state IN ('SENDING', 'UNKNOWN', 'DELAYED') OR r.awaiting_micros > 0;
COMMENT ON VIEW audit.unresolved IS
    'Orders whose fate is open, or whose matched size is not yet explained by trades, with age and the evidence so far.';

CREATE OR REPLACE VIEW audit.intents_without_order AS
SELECT o.account, o.market, o.slug, 'order'::text AS kind, o.order_id, o.key, o.state, s.meaning AS why, false AS anomaly,
    o.held_asset, o.held_micros, o.created_at AS since
FROM audit.orders o JOIN ledger.order_state s ON s.state = o.state
WHERE o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'SENDING', 'UNKNOWN') AND NOT o.seen_at_venue
UNION ALL
SELECT o.account, o.market, o.slug, 'replacement', q.old_order_id, k.key, q.state,
    'Waits for the proven end of the order it replaces.', o.ended, NULL, NULL, q.asked_at
FROM ledger.replacement q
JOIN audit.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
LEFT JOIN ledger.idempotency_key k
    ON k.account_id = q.account_id AND k.kind = 'replacement' AND k.subject_id = q.replacement_id
WHERE q.state = 'waiting'
UNION ALL
SELECT a.name, NULL, NULL, 'key', k.subject_id, k.key, NULL, 'The key is bound to an order that does not exist.', true,
    NULL, NULL, k.bound_at
FROM ledger.idempotency_key k JOIN ledger.account a ON a.account_id = k.account_id
WHERE k.kind = 'order' AND NOT EXISTS (
    SELECT FROM ledger.orders o WHERE o.account_id = k.account_id AND o.order_id = k.subject_id)
UNION ALL
SELECT a.name, m.condition_id, m.slug, 'reservation', r.order_id, NULL, NULL,
    'The reservation belongs to an order that does not exist.', true, r.asset, r.held_micros, r.created_at
FROM ledger.reservation r
JOIN ledger.account a ON a.account_id = r.account_id
LEFT JOIN ledger.market m ON m.market_id = r.market_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = r.account_id AND o.order_id = r.order_id);
COMMENT ON VIEW audit.intents_without_order IS
    'Intents for which no order is known at the venue: not sent yet, on the wire, unknown, waiting to replace; or an anomaly.';

CREATE OR REPLACE VIEW audit.orders_without_intent AS
SELECT a.name AS account, f.venue_order_id, 'foreign order'::text AS kind, f.resolved_at IS NULL AS standing,
    NULL::bigint AS order_id, f.first_seen_at, f.last_seen_at, f.detail, f.resolution, f.resolved_by, f.resolved_at
FROM ledger.foreign_order f JOIN ledger.account a ON a.account_id = f.account_id
UNION ALL
SELECT a.name, s.venue_order_id, 'signed bytes without intent', true, s.order_id, s.signed_at, s.signed_at, s.fields,
    NULL, NULL, NULL
FROM ledger.signed_order s JOIN ledger.account a ON a.account_id = s.account_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = s.account_id AND o.order_id = s.order_id)
UNION ALL
SELECT a.name, NULL, 'fill without intent', true, f.order_id, f.matched_at, f.matched_at,
    jsonb_build_object('trade', f.trade_id, 'size', f.size_micros, 'price', f.price_micros), NULL, NULL, NULL
FROM ledger.fill f JOIN ledger.account a ON a.account_id = f.account_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = f.account_id AND o.order_id = f.order_id);
COMMENT ON VIEW audit.orders_without_intent IS
    'What the venue shows under our accounts and no intent explains. A standing foreign order has halted its account.';

CREATE OR REPLACE VIEW audit.double_counted AS
SELECT min(a.name) AS account, 'venue order id of several orders'::text AS kind, o.venue_order_id AS subject,
    array_agg(o.order_id ORDER BY o.order_id) AS order_ids, sum(o.size_micros)::bigint AS counted_micros
FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
WHERE o.venue_order_id IS NOT NULL GROUP BY a.venue, o.venue_order_id HAVING count(*) > 1
UNION ALL
SELECT a.name, 'key of several orders', o.key, array_agg(o.order_id ORDER BY o.order_id), sum(o.size_micros)::bigint
FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
GROUP BY a.name, o.account_id, o.key HAVING count(*) > 1
UNION ALL
SELECT o.account, 'open and filled more than asked', 'order ' || o.order_id, ARRAY[o.order_id],
    o.remaining_micros + greatest(o.matched_micros, f.traded)
FROM audit.orders o CROSS JOIN LATERAL (
    SELECT coalesce(sum(q.size_micros), 0)::bigint AS traded FROM ledger.fill q
    WHERE q.account_id = o.account_id AND q.order_id = o.order_id) f
WHERE o.remaining_micros + greatest(o.matched_micros, f.traded) > o.size_micros
UNION ALL
SELECT n.account, 'replacement beside a live original', 'order ' || n.order_id, ARRAY[o.order_id, n.order_id],
    o.size_micros + n.size_micros
FROM audit.orders n JOIN audit.orders o ON o.account_id = n.account_id AND o.order_id = n.replaces_order_id
WHERE NOT n.ended AND NOT o.ended;
COMMENT ON VIEW audit.double_counted IS 'What is counted twice. Empty in a sound ledger, except after a venue filled more than was asked.';

CREATE OR REPLACE VIEW audit.cap_breaches AS
SELECT e.account, e.market, e.slug, e.outcome, e.outcome_label, b.kind, true AS standing, b.effective_micros, b.cap_micros,
    e.suspended, e.suspended_until, NULL::timestamptz AS at
FROM audit.exposure e CROSS JOIN LATERAL (VALUES
    ('CAP_OUTCOME', e.effective_micros, e.cap_outcome_micros),
    ('CAP_MARKET', CASE WHEN e.outcome = 0 THEN e.market_effective_micros END, e.cap_market_micros),
    ('NEGATIVE_POSITION', -e.position_micros, 0)) b (kind, effective_micros, cap_micros)
WHERE b.effective_micros > b.cap_micros
UNION ALL
SELECT a.name, m.condition_id, m.slug, NULL, NULL, j.detail ->> 'why', false, (j.detail ->> 'total')::bigint,
    CASE j.detail ->> 'why' WHEN 'CAP_OUTCOME' THEN (j.detail ->> 'cap_outcome')::bigint
                            WHEN 'CAP_MARKET' THEN (j.detail ->> 'cap_market')::bigint END,
    NULL, (j.detail ->> 'until')::timestamptz, j.at
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event = 'INVARIANT_BREACH_HALT';
COMMENT ON VIEW audit.cap_breaches IS
    'Markets over a cap or below zero now (standing), and every breach that was ever journaled (not standing, with its time).';

CREATE OR REPLACE VIEW audit.fills AS
SELECT a.name AS account, f.trade_id, f.order_id, o.key, o.strategy, o.origin, m.condition_id AS market, m.slug, f.outcome,
    c.label AS outcome_label, f.side, f.price_micros, f.size_micros, f.cash_micros, f.fee_micros, f.settlement,
    f.raw_status, f.is_maker, f.liquidity, f.liquidity_source, f.matched_at, o.venue_order_id, f.account_id, f.market_id
FROM ledger.fill f
JOIN ledger.account a ON a.account_id = f.account_id
LEFT JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
LEFT JOIN ledger.market m ON m.market_id = f.market_id
LEFT JOIN ledger.outcome c ON c.market_id = f.market_id AND c.outcome = f.outcome;
COMMENT ON VIEW audit.fills IS 'Our part of each trade: provisional, confirmed or failed, with the cash before the fee and the fee.';

CREATE OR REPLACE VIEW audit.balances AS
SELECT a.name AS account, b.asset, m.condition_id AS market, m.slug, c.outcome, c.label AS outcome_label,
    b.available AS available_micros, b.locked AS locked_micros, b.available + b.locked AS total_micros
FROM ledger.balance b
JOIN ledger.account a ON a.account_id = b.account_id
LEFT JOIN ledger.outcome c ON c.token_id = b.asset
LEFT JOIN ledger.market m ON m.market_id = c.market_id;
COMMENT ON VIEW audit.balances IS
    'Per account and asset (collateral, or a token id): what is available, what orders of all markets hold, and the sum.';

CREATE OR REPLACE VIEW audit.balance_entries AS
SELECT a.name AS account, b.entry_seq, b.at, b.asset, b.cause, b.available_delta AS available_delta_micros,
    b.locked_delta AS locked_delta_micros, b.order_id, b.trade_id, b.entry_key, b.note, b.contra,
    b.contra_delta AS contra_delta_micros, b.fee_delta AS fee_delta_micros, b.value_micros
FROM ledger.balance_entry b JOIN ledger.account a ON a.account_id = b.account_id;
COMMENT ON VIEW audit.balance_entries IS
    'Every movement of a balance with its cause and its other side (contra, fees); the balances are their sums.';

CREATE OR REPLACE VIEW audit.halts AS
SELECT 'halt'::text AS kind, h.scope,
    CASE h.scope WHEN 'account' THEN coalesce(a.name, h.scope_id) WHEN 'market' THEN coalesce(m.condition_id, h.scope_id)
                 ELSE h.scope_id END AS subject,
    m.slug, h.cleared_at IS NULL AS standing, h.why, h.halt_id AS version, h.set_by::text AS set_by, h.set_as, h.set_at,
    NULL::timestamptz AS until, h.cleared_by::text AS cleared_by, h.cleared_as, h.cleared_why, h.cleared_at,
    CASE h.scope WHEN 'group' THEN (SELECT count(*) FROM ledger.market g WHERE g.group_key = h.scope_id) END AS group_markets
FROM ledger.halt h
LEFT JOIN ledger.account a ON h.scope = 'account' AND a.account_id::text = h.scope_id
LEFT JOIN ledger.market m ON h.scope = 'market' AND m.market_id::text = h.scope_id
UNION ALL
SELECT 'suspension', 'market', m.condition_id, m.slug, e.suspended_until > ledger.clock(), e.suspended_why, NULL, NULL,
    a.name, NULL, e.suspended_until, NULL, NULL, NULL, NULL, NULL
FROM ledger.exposure e
JOIN ledger.account a ON a.account_id = e.account_id
JOIN ledger.market m ON m.market_id = e.market_id
WHERE e.suspended_until IS NOT NULL;
COMMENT ON VIEW audit.halts IS
    'Halts (a person ends them; version is what resume must name) and suspensions (they end by themselves; set_as is the account). '
    'group_markets: how many known markets a halted group has.';

-- file: ledger/sql/views/history.sql
-- purpose: what happened and who did it: timelines, journal, queues, drift, changes, state as of a time.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   journal_of_order, journal_of_market, fill_of_market, outbox and idempotency_key by primary key.
-- fence:   as audit.sql; as_of and exposure_as_of are SECURITY DEFINER, read only, with a search_path that ends in pg_temp.

CREATE OR REPLACE VIEW audit.journal AS
SELECT a.name AS account, j.seq, m.condition_id AS market, m.slug, j.market_seq, j.at, j.event, j.order_id, j.attempt,
    j.from_state, j.to_state, j.actor::text AS actor, j.detail, encode(j.digest, 'hex') AS digest
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id;
COMMENT ON VIEW audit.journal IS
    'The append-only journal as it stands: seq has no gaps per account, market_seq none per account and market; each digest '
    'is of the one before and of the row.';

CREATE OR REPLACE VIEW audit.order_timeline AS
SELECT a.name AS account, t.order_id, o.key, t.at, t.source, t.event, t.attempt, t.from_state, t.to_state, t.actor, t.detail,
    t.seq
FROM (
    SELECT j.account_id, j.order_id, j.at, 'journal' AS source, j.event, j.attempt, j.from_state, j.to_state,
        j.actor::text AS actor, j.detail, j.seq
    FROM ledger.journal j WHERE j.order_id IS NOT NULL
    UNION ALL
    SELECT v.account_id, v.order_id, v.at, 'evidence', v.kind, NULL, NULL, NULL, v.incarnation::text,
        jsonb_build_object('detail', v.detail, 'started_at', v.started_at), NULL
    FROM ledger.evidence v
    UNION ALL
    SELECT t.account_id, t.order_id, t.opened_at, 'attempt', 'opened', t.attempt, NULL, NULL, t.incarnation::text,
        jsonb_build_object('send_by', t.send_by, 'deadline', t.deadline), NULL
    FROM ledger.attempt t
    UNION ALL
    SELECT t.account_id, t.order_id, t.ended_at, 'attempt', t.outcome, t.attempt, NULL, NULL, t.incarnation::text,
        jsonb_build_object('code', t.code, 'answer', t.answer), NULL
    FROM ledger.attempt t WHERE t.ended_at IS NOT NULL) t
JOIN ledger.account a ON a.account_id = t.account_id
LEFT JOIN ledger.orders o ON o.account_id = t.account_id AND o.order_id = t.order_id;
COMMENT ON VIEW audit.order_timeline IS
    'An order''s life: journal rows (seq orders them), attempts with the venue''s answers, and evidence. Order by at, seq.';

CREATE OR REPLACE VIEW audit.idempotency AS
SELECT a.name AS account, k.key, k.kind, CASE k.kind WHEN 'replacement' THEN q.new_order_id ELSE k.subject_id END AS order_id,
    CASE k.kind WHEN 'replacement' THEN q.old_order_id END AS replaces_order_id,
    CASE k.kind WHEN 'replacement' THEN 'replacement ' || q.state ELSE o.state END AS state,
    encode(k.fingerprint, 'hex') AS fingerprint, k.bound_at
FROM ledger.idempotency_key k
JOIN ledger.account a ON a.account_id = k.account_id
LEFT JOIN ledger.replacement q ON k.kind = 'replacement' AND q.account_id = k.account_id AND q.replacement_id = k.subject_id
LEFT JOIN ledger.orders o ON k.kind = 'order' AND o.account_id = k.account_id AND o.order_id = k.subject_id;
COMMENT ON VIEW audit.idempotency IS 'Which key became which order. The fingerprint is the SHA-256 of the request as asked.';

CREATE OR REPLACE VIEW audit.outbox AS
SELECT a.name AS account, m.condition_id AS market, m.slug, b.outbox_id, b.order_id, o.key, o.state AS order_state, b.status,
    b.status <> 'done' AND b.outbox_id = (
        SELECT min(h.outbox_id) FROM ledger.outbox h WHERE h.account_id = b.account_id AND h.market_id = b.market_id
        AND h.status IN ('ready', 'claimed', 'blocked', 'dead') AND h.released_at IS NULL) AS lane_head,
    b.passes_block, b.set_id, b.not_before, b.released_at, b.claimed_by, w.name AS worker, b.claimed_until, b.claim_no, b.failures,
    floor(extract(epoch FROM ledger.clock() - o.created_at) * 1000)::bigint AS age_ms,
    c.status AS cancel_status, c.reason AS cancel_reason, c.asked_by::text AS cancel_asked_by, c.next_at AS cancel_next_at,
    c.tries AS cancel_tries, c.last_answer AS cancel_answer
FROM ledger.outbox b
JOIN ledger.account a ON a.account_id = b.account_id
LEFT JOIN ledger.market m ON m.market_id = b.market_id
LEFT JOIN ledger.orders o ON o.account_id = b.account_id AND o.order_id = b.order_id
LEFT JOIN ledger.worker w ON w.incarnation = b.claimed_by
LEFT JOIN ledger.cancel_request c ON c.account_id = b.account_id AND c.order_id = b.order_id;
COMMENT ON VIEW audit.outbox IS 'What is to be done at the venue: each placement with its lane, claim and failures, and the cancel beside it.';

CREATE OR REPLACE VIEW audit.dead_letters AS
SELECT a.name AS account, d.dead_letter_id, d.source, d.subject, d.problem, d.failures, d.at, d.retried_at IS NULL AS standing,
    d.retried_by::text AS retried_by, d.retried_at
FROM ledger.dead_letter d JOIN ledger.account a ON a.account_id = d.account_id;
COMMENT ON VIEW audit.dead_letters IS 'Placements and venue events that could not be handled, until somebody retries them.';

CREATE OR REPLACE VIEW audit.drift AS
SELECT a.name AS account, d.drift_id, d.run_id, r.kind AS run_kind, r.result AS run_result, d.kind, d.subject, d.ours,
    d.theirs, d.action, d.found_at, d.resolved_at, d.drift_class, d.after, d.evidence
FROM ledger.drift d
JOIN ledger.account a ON a.account_id = d.account_id
LEFT JOIN ledger.reconcile_run r ON r.account_id = d.account_id AND r.run_id = d.run_id;
COMMENT ON VIEW audit.drift IS 'Differences between the ledger and the venue that a comparison found, and what was done about each.';

CREATE OR REPLACE VIEW audit.reconcile_runs AS
SELECT a.name AS account, r.run_id, r.kind, r.incarnation, w.name AS worker, r.started_at, r.ended_at, r.result, r.detail
FROM ledger.reconcile_run r
JOIN ledger.account a ON a.account_id = r.account_id
LEFT JOIN ledger.worker w ON w.incarnation = r.incarnation;
COMMENT ON VIEW audit.reconcile_runs IS 'Comparisons with the venue: when, by whom, clean, drift or incomplete.';

CREATE OR REPLACE VIEW audit.changes AS
SELECT c.changed_at AS at, c.changed_by::text AS who, ''::text AS as_whom, 'limit'::text AS kind,
    a.name AS account, m.condition_id AS market, m.slug,
    CASE c.scope WHEN '' THEN c.name WHEN 'group' THEN c.name || ' of ' || coalesce('group ' || nullif(c.scope_id, ''), 'each group')
         WHEN 'account' THEN c.name || ' of ' || CASE c.scope_id WHEN '' THEN 'each account' ELSE 'the account' END
         ELSE c.name || ' of all ' || CASE c.scope WHEN 'live' THEN 'live ' ELSE '' END || 'accounts' END AS what,
    c.before, c.after, c.why
FROM ledger.limit_change c
LEFT JOIN ledger.account a ON a.account_id = c.account_id OR c.scope = 'account' AND a.account_id::text = c.scope_id
LEFT JOIN ledger.market m ON m.market_id = c.market_id
UNION ALL
SELECT h.set_at, h.set_by, h.set_as, 'halt', CASE h.scope WHEN 'account' THEN h.subject END,
    CASE h.scope WHEN 'market' THEN h.subject END, h.slug, h.scope, NULL, 'halted, version ' || h.version, h.why
FROM audit.halts h WHERE h.kind = 'halt'
UNION ALL
SELECT h.cleared_at, h.cleared_by, h.cleared_as, 'resume', CASE h.scope WHEN 'account' THEN h.subject END,
    CASE h.scope WHEN 'market' THEN h.subject END, h.slug, h.scope, 'halted, version ' || h.version, NULL, h.cleared_why
FROM audit.halts h WHERE h.kind = 'halt' AND NOT h.standing
UNION ALL
SELECT g.granted_at, g.granted_by::text, '', 'grant', a.name, NULL, NULL, 'account', NULL, g.role_name::text, ''
FROM ledger.account_grant g JOIN ledger.account a ON a.account_id = g.account_id
UNION ALL
-- What was taken away, and what had been granted until then.
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''), CASE j.event WHEN 'GRANTED' THEN 'grant' ELSE 'revoke' END,
    a.name, NULL, NULL, 'account', CASE j.event WHEN 'REVOKED' THEN j.detail ->> 'role' END,
    CASE j.event WHEN 'GRANTED' THEN j.detail ->> 'role' END, coalesce(j.detail ->> 'why', '')
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id
WHERE j.event = 'REVOKED' OR j.event = 'GRANTED' AND NOT EXISTS (
    SELECT FROM ledger.account_grant g
    WHERE g.account_id = j.account_id AND g.role_name = j.detail ->> 'role' AND g.granted_at = j.at)
UNION ALL
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''), 'foreign order', a.name, NULL, NULL,
    j.detail ->> 'venue_order_id', 'standing', j.detail ->> 'as', j.detail ->> 'why'
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id
WHERE j.event = 'FOREIGN_ORDER_RESOLVED'
UNION ALL
SELECT j.at, j.actor::text, '', 'breaker', a.name, m.condition_id, m.slug, 'breaker ' || (j.detail ->> 'kind'),
    CASE WHEN j.detail ->> 'until' IS NULL THEN 'closed, ' ELSE format('open until %s, ', j.detail ->> 'until') END
        || format('%s in a row', j.detail ->> 'count'), 'closed', j.detail ->> 'why'
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event = 'BREAKER_RESET'
UNION ALL
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''),
    CASE j.event WHEN 'MOVEMENT' THEN 'movement' WHEN 'LANE_RELEASED' THEN 'lane' ELSE 'resolve' END,
    a.name, m.condition_id, m.slug,
    CASE j.event WHEN 'MOVEMENT' THEN j.detail ->> 'asset' WHEN 'LANE_RELEASED' THEN 'outbox' ELSE 'order ' || j.order_id END,
    j.from_state, CASE j.event WHEN 'MOVEMENT' THEN j.detail ->> 'amount' WHEN 'LANE_RELEASED' THEN 'released' ELSE j.to_state END,
    coalesce(j.detail ->> 'why', j.detail ->> 'cause')
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event IN ('MOVEMENT', 'LANE_RELEASED') OR j.order_id IS NOT NULL AND j.detail ? 'operator';
COMMENT ON VIEW audit.changes IS
    'Who changed what and why: limits (before and after), halts, breakers reset, grants given and taken, movements with a cause, lanes '
    'released, orders resolved, foreign orders among them.';

CREATE OR REPLACE VIEW audit.clock_steps AS
SELECT s.found_at, s.lost_ms, s.last_order_id, s.found_by AS incarnation, w.name AS worker
FROM ledger.clock_step s LEFT JOIN ledger.worker w ON w.incarnation = s.found_by;
COMMENT ON VIEW audit.clock_steps IS
    'When a worker found that the database''s clock had gone back or stood still, by how much, and up to which order nothing '
    'is sent any more.';

CREATE OR REPLACE FUNCTION audit.as_of(p_at timestamptz) RETURNS TABLE (
    account text, market text, slug text, outcome smallint, outcome_label text, order_id bigint, key text, side text,
    price_micros bigint, size_micros bigint, state text, ended boolean, last_event_at timestamptz,
    matched_micros bigint, filled_micros bigint, confirmed_micros bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.name, m.condition_id, m.slug, o.outcome, c.label, o.order_id, o.key, o.side, o.price_micros, o.size_micros,
        s.to_state, t.ended, s.at, greatest(f.matched, f.traded), f.filled, f.confirmed
    FROM (SELECT DISTINCT ON (j.account_id, j.order_id) j.account_id, j.order_id, j.to_state, j.at
          FROM ledger.journal j
          WHERE j.at <= p_at AND j.order_id IS NOT NULL AND j.to_state IS NOT NULL
          ORDER BY j.account_id, j.order_id, j.seq DESC) s
    JOIN ledger.orders o ON o.account_id = s.account_id AND o.order_id = s.order_id
    JOIN ledger.account a ON a.account_id = s.account_id
    JOIN ledger.market m ON m.market_id = o.market_id
    JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
    JOIN ledger.order_state t ON t.state = s.to_state
    CROSS JOIN LATERAL (
        -- Each trade as its last row up to then says.
        SELECT coalesce(max(x.matched), 0) AS matched, coalesce(sum(x.size), 0)::bigint AS traded,
            coalesce(sum(x.size) FILTER (WHERE x.settlement <> 'failed'), 0)::bigint AS filled,
            coalesce(sum(x.size) FILTER (WHERE x.settlement = 'confirmed'), 0)::bigint AS confirmed
        FROM (SELECT DISTINCT ON (coalesce(j.detail ->> 'trade', 'seq ' || j.seq))
                  (j.detail ->> 'matched')::bigint AS matched, (j.detail ->> 'size')::bigint AS size,
                  j.detail ->> 'settlement' AS settlement
              FROM ledger.journal j
              WHERE j.account_id = s.account_id AND j.order_id = s.order_id AND j.at <= p_at
                AND (j.detail ? 'trade' OR j.detail ? 'matched')
              ORDER BY coalesce(j.detail ->> 'trade', 'seq ' || j.seq), j.seq DESC) x) f
$$;
COMMENT ON FUNCTION audit.as_of(timestamptz) IS
    'Every order as the journal says it stood at that time: state, matched, filled (failed trades left out), confirmed.';

CREATE OR REPLACE FUNCTION audit.exposure_as_of(p_at timestamptz) RETURNS TABLE (
    account text, market text, slug text, outcome smallint, outcome_label text, position_micros bigint,
    provisional_buy_micros bigint, reserved_buy_micros bigint, reserved_sell_micros bigint, effective_micros bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT q.account, q.market, q.slug, q.outcome, q.outcome_label, sum(q.position)::bigint, sum(q.provisional)::bigint,
        sum(q.reserved_buy)::bigint, sum(q.reserved_sell)::bigint, sum(q.position + q.provisional + q.reserved_buy)::bigint
    FROM (
        SELECT x.account, x.market, x.slug, x.outcome, x.outcome_label,
            CASE x.side WHEN 'BUY' THEN x.confirmed_micros ELSE -x.confirmed_micros END AS position,
            CASE x.side WHEN 'BUY' THEN x.filled_micros - x.confirmed_micros ELSE 0 END AS provisional,
            CASE x.side WHEN 'BUY' THEN r.left_micros ELSE 0 END AS reserved_buy,
            CASE x.side WHEN 'SELL' THEN r.left_micros ELSE 0 END AS reserved_sell
        FROM audit.as_of(p_at) x CROSS JOIN LATERAL (
            SELECT CASE WHEN x.ended THEN 0 ELSE greatest(x.size_micros - x.matched_micros, 0) END AS left_micros) r
        UNION ALL
        SELECT a.name, m.condition_id, m.slug, c.outcome, c.label, (j.detail ->> 'amount')::bigint, 0, 0, 0
        FROM ledger.journal j
        JOIN ledger.account a ON a.account_id = j.account_id
        JOIN ledger.outcome c ON c.token_id = j.detail ->> 'asset'
        JOIN ledger.market m ON m.market_id = c.market_id
        WHERE j.event = 'MOVEMENT' AND j.at <= p_at) q
    GROUP BY q.account, q.market, q.slug, q.outcome, q.outcome_label
$$;
COMMENT ON FUNCTION audit.exposure_as_of(timestamptz) IS
    'Position and reserved shares per outcome at that time, rebuilt from the journal. Size matched at the venue whose '
    'trades were not yet seen is in neither.';

-- file: ledger/sql/views/pnl.sql
-- purpose: profit and loss by account, market, leg and strategy, marks of equity over time, and how near the loss limits are.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   fill_of_market, orders, book, limits and equity_mark by primary key.
-- fence:   as audit.sql.
-- Cost and proceeds are after fees. A leg is an outcome of a market; its counters are the ledger's own, those of a strategy
-- are sums over the fills of its orders. A BUY counts until it has failed, a SELL once it is confirmed.

CREATE OR REPLACE VIEW audit.pnl AS
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

CREATE OR REPLACE VIEW audit.pnl_by_strategy AS
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

CREATE OR REPLACE VIEW audit.pnl_by_account AS
SELECT p.account, count(DISTINCT p.market_id) AS markets, sum(p.cost_micros)::bigint AS cost_micros,
    sum(p.proceeds_micros)::bigint AS proceeds_micros, sum(p.fees_micros)::bigint AS fees_micros,
    sum(p.basis_micros)::bigint AS basis_micros, sum(p.value_micros)::bigint AS value_micros,
    sum(p.realized_micros)::bigint AS realized_micros, sum(p.unrealized_micros)::bigint AS unrealized_micros,
    sum(p.total_micros)::bigint AS total_micros,
    count(DISTINCT p.market_id) FILTER (WHERE p.marked_by IN ('cost', 'stale book')) AS stale_markets, p.account_id
FROM audit.pnl p GROUP BY p.account, p.account_id;
COMMENT ON VIEW audit.pnl_by_account IS 'audit.pnl summed up per account. total_micros is its equity: what trading has brought so far.';

CREATE OR REPLACE VIEW audit.equity AS
SELECT a.name AS account, q.at, q.equity_micros, q.realised_micros AS realized_micros, q.unrealised_micros AS unrealized_micros,
    q.fees_micros, q.stale_markets
FROM ledger.equity_mark q JOIN ledger.account a ON a.account_id = q.account_id
UNION ALL
SELECT NULL, t.at, t.equity_micros, NULL, NULL, NULL, NULL FROM ledger.total_mark t;
COMMENT ON VIEW audit.equity IS
    'Equity over time, per account and (account NULL) of all together: a row per minute in which it changed, and one at midnight UTC. '
    'A value stands until the next one.';

CREATE OR REPLACE VIEW audit.losses AS
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

CREATE OR REPLACE FUNCTION audit._check_pnl(p_account_id bigint)
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

CREATE OR REPLACE FUNCTION audit._check_liquidity(p_account_id bigint, p_market_id bigint)
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

-- file: ledger/sql/views/risk.sql
-- purpose: risk as it stands, for people and scripts: what is used of every limit, totals, loans, breakers, books, other sides.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   exposure, account_state, group_state, loan, pool, breaker, book, limits and total_limits by primary key.
-- fence:   as audit.sql.

CREATE OR REPLACE VIEW audit.total_limits AS
SELECT t.scope, CASE t.scope WHEN 'account' THEN coalesce(a.name, t.scope_id) ELSE t.scope_id END AS subject,
    t.scope IN ('account', 'group') AND t.scope_id = '' AS is_default, t.max_cost_micros, t.max_shares_micros, t.max_open_orders,
    t.changes_per_minute, t.max_daily_loss_micros, t.max_rolling_loss_micros, t.drawdown_from_micros, t.drawdown_to_micros
FROM ledger.total_limits t LEFT JOIN ledger.account a ON t.scope = 'account' AND a.account_id::text = t.scope_id;
COMMENT ON VIEW audit.total_limits IS
    'Limits on totals as they are set: of accounts, groups, all together (global) and all live accounts (live). A default holds '
    'where the account or group has no value of its own; NULL there means no limit.';

CREATE OR REPLACE VIEW audit.loans AS
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

CREATE OR REPLACE VIEW audit.breakers AS
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

CREATE OR REPLACE VIEW audit.books AS
SELECT m.condition_id AS market, m.slug, b.outcome, c.label AS outcome_label, c.token_id, b.bids[1] AS best_bid_micros,
    b.asks[1] AS best_ask_micros, coalesce((b.bids[1] + b.asks[1]) / 2, b.bids[1], b.asks[1]) AS middle_micros,
    cardinality(b.bids) / 2 AS bid_levels, cardinality(b.asks) / 2 AS ask_levels, b.at,
    floor(extract(epoch FROM ledger.clock() - b.at) * 1000)::bigint AS age_ms, b.market_id
FROM ledger.book b
JOIN ledger.market m ON m.market_id = b.market_id
LEFT JOIN ledger.outcome c ON c.market_id = b.market_id AND c.outcome = b.outcome;
COMMENT ON VIEW audit.books IS 'The last good book of each outcome: best prices, middle and age. Collar, slippage and marks go by it.';

CREATE OR REPLACE VIEW audit.contra AS
SELECT a.name AS account, c.asset, m.slug, o.label AS outcome_label, c.contra, c.amount AS amount_micros
FROM ledger.contra_balance c
JOIN ledger.account a ON a.account_id = c.account_id
LEFT JOIN ledger.outcome o ON o.token_id = c.asset
LEFT JOIN ledger.market m ON m.market_id = o.market_id;
COMMENT ON VIEW audit.contra IS
    'The other side of the balances: counterparties (venue), fees, deposits and transfers (outside), split and redemption (chain), '
    'corrections. With audit.balances the sum is zero for each asset.';

CREATE OR REPLACE VIEW audit.risk AS
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

-- file: ledger/sql/views/venue.sql
-- purpose: the venue's condition, the requests made of it, and what it says is owned, for people and scripts.
-- locks:   none.
-- index:   venue_mode, pulse and holding_seen by primary key; venue_exchange_by_time.
-- fence:   as the other views: readable by the auditor, who sees nothing under them.

CREATE OR REPLACE VIEW audit.venue AS
SELECT a.name AS account, m.mode, m.ended_at IS NULL AND (m.until IS NULL OR m.until > ledger.clock()) AS standing,
    CASE m.mode WHEN 'POST_ONLY' THEN 'orders that are not post-only' ELSE 'placements' END AS gates,
    m.since, m.until, m.seen_at, m.signs, m.detail, m.ended_at
FROM ledger.venue_mode m JOIN ledger.account a USING (account_id)
UNION ALL
SELECT a.name, CASE p.kind WHEN 'heartbeat' THEN 'HEARTBEAT_LOST' ELSE 'BLIND_STREAM' END,
    p.required AND (p.ok_at IS NULL OR p.ok_at <= ledger.clock() - make_interval(secs => p.grace_ms / 1000.0)
        OR p.ok_at > ledger.clock() + interval '1 second'),
    'placements', p.ok_at, NULL, p.ok_at, NULL, coalesce(p.problem, ''), NULL
FROM ledger.pulse p JOIN ledger.account a USING (account_id) WHERE p.required
UNION ALL
-- Of a signer, whose accounts draw from one bucket; by its address where no account is known to sign as it.
SELECT coalesce(a.name, b.signer), 'RATE_LIMITED',
    b.paused_until > ledger.clock() AND b.filled_at <= ledger.clock(),
    CASE b.kind WHEN 'orders' THEN 'placements' ELSE 'cancels, which the venue refuses' END,
    NULL, b.paused_until, b.filled_at, NULL, 'the venue answered 429', NULL
FROM ledger.venue_budget b LEFT JOIN ledger.account a ON lower(a.signer) = b.signer WHERE b.paused_until IS NOT NULL;
COMMENT ON VIEW audit.venue IS
    'Conditions of the venue and of our account there. One that stands gates placements; nothing of ours gates cancels.';

CREATE OR REPLACE VIEW audit.exchanges AS
SELECT a.name AS account, x.exchange_id, x.at, x.method, x.path, x.query, x.phase, x.status, x.took_ms, x.problem,
    x.request, x.answer, x.headers, x.incarnation
FROM ledger.venue_exchange x JOIN ledger.account a USING (account_id);
COMMENT ON VIEW audit.exchanges IS
    'Every request to the venue and its raw answer, without authentication headers, for as long as they are kept.';

CREATE OR REPLACE VIEW audit.holdings AS
SELECT a.name AS account, h.asset, m.condition_id AS market, m.slug, c.label AS outcome_label,
    h.ours AS ours_micros, h.theirs AS theirs_micros, h.theirs - h.ours AS difference_micros, h.unsettled AS unsettled_micros,
    abs(h.theirs - h.ours) > h.unsettled AS differs, h.seen_at
FROM ledger.holding_seen h JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.outcome c ON c.token_id = h.asset LEFT JOIN ledger.market m ON m.market_id = c.market_id;
COMMENT ON VIEW audit.holdings IS
    'What the venue says an account owns beside our balances, as of the last comparison. A difference is explained up to what '
    'is unsettled.';

CREATE OR REPLACE VIEW audit.rewards AS
SELECT a.name AS account, r.reward_key, r.condition_id AS market, r.earned_on, r.amount_micros,
    coalesce(sum(x.amount_micros), 0)::bigint AS allocated_micros,
    coalesce(sum(x.amount_micros), 0) > r.amount_micros AS over_allocated, r.recorded_at
FROM ledger.reward r JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.reward_allocation x USING (account_id, reward_key)
GROUP BY a.name, r.account_id, r.reward_key, r.condition_id, r.earned_on, r.amount_micros, r.recorded_at;
COMMENT ON VIEW audit.rewards IS 'What the venue paid for resting orders, and how much of it was allocated to strategies.';

-- file: ledger/sql/views/withdrawals.sql
-- purpose: withdrawals and what happened to them, for people and scripts.
-- locks:   none.
-- index:   withdrawal by primary key; journal by account.
-- fence:   as the other views: readable by the auditor, who sees nothing under them.

CREATE OR REPLACE VIEW audit.withdrawals AS
SELECT w.withdrawal_id, a.name AS account, w.state, w.amount_micros, w.destination, w.key, w.why, w.cause, w.asked_at,
    w.asked_by, w.asked_as AS operator, w.state_at,
    greatest(floor(extract(epoch FROM ledger.clock() - w.state_at)), 0)::bigint AS age_s,
    w.state IN ('DONE', 'COMPENSATED', 'CANCELLED') AS ended, w.needs_person_since IS NOT NULL AS needs_person,
    w.needs_person_why, w.attempts, w.last_deadline AS may_arrive_until, w.reference, b.treasury, b.hash,
    CASE WHEN w.state IN ('STOPPING', 'DRAINING') THEN (SELECT count(*) FROM ledger.orders o WHERE o.account_id = w.account_id
        AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')) ELSE 0 END AS open_orders,
    w.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED')
        AND greatest(w.next_at, w.claimed_until) < ledger.clock() - interval '10 seconds' AS unattended
FROM ledger.withdrawal w JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.withdrawal_transfer b USING (account_id, withdrawal_id);
COMMENT ON VIEW audit.withdrawals IS
    'Every withdrawal: how far it is, whether it waits for a person, until when its transfer may still arrive, and whether '
    'it is due and no worker takes it up (unattended).';

CREATE OR REPLACE VIEW audit.withdrawal_history AS
SELECT w.withdrawal_id, a.name AS account, q.at, q.what, q.detail, q.n
FROM ledger.withdrawal w JOIN ledger.account a USING (account_id)
CROSS JOIN LATERAL (
    SELECT j.at, j.seq AS n, j.event || coalesce(' ' || j.from_state, '') || CASE WHEN j.to_state IS DISTINCT FROM j.from_state
        THEN ' -> ' || j.to_state ELSE '' END AS what, (j.detail - 'withdrawal')::text AS detail
    FROM ledger.journal j WHERE j.account_id = w.account_id AND j.at >= w.asked_at AND j.event LIKE 'WITHDRAWAL%'
      AND j.detail ->> 'withdrawal' = w.withdrawal_id::text
    UNION ALL
    SELECT b.at, b.entry_seq, 'booked', b.available_delta::text FROM ledger.balance_entry b
    WHERE b.account_id = w.account_id AND b.order_id IS NULL AND b.entry_key LIKE format('withdrawal:%s:%%', w.withdrawal_id)
    UNION ALL
    SELECT coalesce(t.ended_at, t.opened_at), t.attempt, format('attempt %s %s', t.attempt, t.outcome), t.code
    FROM ledger.withdrawal_attempt t WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id
    UNION ALL
    SELECT e.seen_at, e.evidence_id, format('seen: %s, %s times', e.kind, e.times), e.detail
    FROM ledger.withdrawal_evidence e WHERE e.account_id = w.account_id AND e.withdrawal_id = w.withdrawal_id) q;
COMMENT ON VIEW audit.withdrawal_history IS
    'What happened to each withdrawal: its moves, what was booked, its attempts, and what was seen of its transfer.';

-- file: ledger/sql/views/checks_base.sql
-- purpose: small words that the checks use: bytes as JSON, text as a time, and what has left the journal.
-- locks:   none.
-- index:   archived_partition is a handful of rows.
-- fence:   none of them fails on a forged row: an audit has to name it.

CREATE OR REPLACE FUNCTION audit._json(p_body bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN convert_from(p_body, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit._json(bytea) IS 'The bytes as JSON, or NULL if they are none.';

CREATE OR REPLACE FUNCTION audit._time(p_text text) RETURNS timestamptz
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN p_text::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit._time(text) IS 'The text as a time, or NULL: an audit names a forged row and does not fail on it.';

CREATE OR REPLACE FUNCTION audit._archived_between(p_from timestamptz, p_to timestamptz) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    -- A minute to spare: markets of one account need not agree on the time at the turn of a month.
    SELECT EXISTS (SELECT FROM ledger.archived_partition p
        WHERE p.row_count > 0 AND (p_from IS NULL OR p.last_at >= p_from - interval '1 minute')
          AND (p_to IS NULL OR p.first_at <= p_to + interval '1 minute'))
$$;
COMMENT ON FUNCTION audit._archived_between(timestamptz, timestamptz) IS
    'Whether a partition of the journal that has left held rows of that time. NULL means without bound.';

-- file: ledger/sql/views/checks_orders.sql
-- purpose: recompute what orders count for and hold: counters, reservations, entries, fills, caps of one account and market.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   orders_of_market, reservation by primary key, fill_of_order, balance_entry_of_order, balance_entry_moved.
-- fence:   nothing here calls the functions that keep the counters: each formula is written a second time, so that a
--          mistake in one of the two shows. All functions begin with _check_ and answer (subject, expected, found).

CREATE OR REPLACE FUNCTION audit._orders_recomputed(p_account_id bigint, p_market_id bigint) RETURNS TABLE (
    order_id bigint, outcome smallint, side text, size_micros bigint, state text, ended boolean, created_at timestamptz,
    matched bigint, traded bigint, confirmed bigint, failed bigint, cash bigint, shares bigint, awaiting bigint,
    held bigint, phase text)
LANGUAGE sql STABLE
AS $$
    SELECT o.order_id, o.outcome, o.side, o.size_micros, o.state, s.ended, o.created_at,
        m.matched, f.traded, f.confirmed, f.failed, f.cash, r.shares, r.awaiting, h.held,
        CASE WHEN o.state IN ('LIVE', 'DELAYED') THEN 'open' WHEN NOT s.ended THEN 'pending'
             WHEN r.awaiting = 0 AND h.held = 0 THEN 'released' ELSE 'settling' END
    FROM ledger.orders o
    LEFT JOIN ledger.order_state s ON s.state = o.state
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.size_micros), 0)::bigint AS traded,
            coalesce(sum(q.size_micros) FILTER (WHERE q.settlement = 'confirmed'), 0)::bigint AS confirmed,
            coalesce(sum(q.size_micros) FILTER (WHERE q.settlement = 'failed'), 0)::bigint AS failed,
            -- A BUY pays when matched and gets it back when failed; a SELL is paid when confirmed.
            coalesce(sum(CASE WHEN o.side = 'BUY' AND q.settlement <> 'failed' THEN -(q.cash_micros + q.fee_micros)
                              WHEN o.side = 'SELL' AND q.settlement = 'confirmed' THEN q.cash_micros - q.fee_micros
                              ELSE 0 END), 0)::bigint AS cash
        FROM ledger.fill q WHERE q.account_id = o.account_id AND q.order_id = o.order_id) f
    CROSS JOIN LATERAL (SELECT greatest(o.size_matched_micros, f.traded) AS matched) m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.ended THEN 0 ELSE greatest(o.size_micros - m.matched, 0) END AS shares,
            m.matched - f.traded AS awaiting) r
    CROSS JOIN LATERAL (
        -- A BUY holds price times size and the highest fee; a SELL holds its tokens until the sale is settled.
        SELECT CASE o.side WHEN 'SELL' THEN r.shares + r.awaiting + f.traded - f.confirmed - f.failed
            ELSE (ceil(o.price_micros * (r.shares + r.awaiting)::numeric / 1000000)
                + ceil((r.shares + r.awaiting)::numeric * o.fee_rate_micros / 1000000 * power(
                    least(o.price_micros, 500000)::numeric * (1000000 - least(o.price_micros, 500000)) / 1000000000000,
                    o.fee_exponent::numeric)))::bigint END AS held) h
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
$$;
COMMENT ON FUNCTION audit._orders_recomputed(bigint, bigint) IS
    'What each order must count for and hold, from its terms, its state and its fills alone.';

CREATE OR REPLACE FUNCTION audit._check_exposure(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH t AS MATERIALIZED (SELECT * FROM audit._orders_recomputed(p_account_id, p_market_id))
    SELECT format('outcome %s %s', i.outcome, v.counter), v.expected::text, coalesce(v.found::text, 'nothing')
    FROM generate_series(0, 1) i (outcome)
    LEFT JOIN ledger.exposure e ON e.account_id = p_account_id AND e.market_id = p_market_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(shares) FILTER (WHERE side = 'BUY' AND phase = 'pending'), 0) AS pending_buy,
            coalesce(sum(shares) FILTER (WHERE side = 'BUY' AND phase = 'open'), 0) AS open_buy,
            coalesce(sum(awaiting) FILTER (WHERE side = 'BUY'), 0) AS awaiting_buy,
            coalesce(sum(traded - confirmed - failed) FILTER (WHERE side = 'BUY'), 0) AS provisional_buy,
            coalesce(sum(shares) FILTER (WHERE side = 'SELL' AND phase = 'pending'), 0) AS pending_sell,
            coalesce(sum(shares) FILTER (WHERE side = 'SELL' AND phase = 'open'), 0) AS open_sell,
            coalesce(sum(awaiting) FILTER (WHERE side = 'SELL'), 0) AS awaiting_sell,
            coalesce(sum(traded - confirmed - failed) FILTER (WHERE side = 'SELL'), 0) AS provisional_sell,
            coalesce(sum(CASE side WHEN 'BUY' THEN confirmed ELSE -confirmed END), 0) AS confirmed
        FROM t WHERE t.outcome = i.outcome) s
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(b.available_delta + b.locked_delta), 0) AS moved
        FROM ledger.outcome c JOIN ledger.balance_entry b ON b.account_id = p_account_id AND b.asset = c.token_id
        WHERE c.market_id = p_market_id AND c.outcome = i.outcome AND b.order_id IS NULL) w
    CROSS JOIN LATERAL (VALUES
        ('pending_buy', s.pending_buy, e.pending_buy[i.outcome + 1]), ('open_buy', s.open_buy, e.open_buy[i.outcome + 1]),
        ('awaiting_buy', s.awaiting_buy, e.awaiting_buy[i.outcome + 1]),
        ('provisional_buy', s.provisional_buy, e.provisional_buy[i.outcome + 1]),
        ('pending_sell', s.pending_sell, e.pending_sell[i.outcome + 1]),
        ('open_sell', s.open_sell, e.open_sell[i.outcome + 1]),
        ('awaiting_sell', s.awaiting_sell, e.awaiting_sell[i.outcome + 1]),
        ('provisional_sell', s.provisional_sell, e.provisional_sell[i.outcome + 1]),
        ('confirmed', s.confirmed + w.moved, e.confirmed[i.outcome + 1])) v (counter, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found::numeric AND NOT (e.account_id IS NULL AND v.expected = 0)
$$;
COMMENT ON FUNCTION audit._check_exposure(bigint, bigint) IS 'Counters of the market = orders + fills + movements with a cause.';

CREATE OR REPLACE FUNCTION audit._check_reservations(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id), w.text, coalesce(g.text, 'no reservation')
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    LEFT JOIN ledger.outcome c ON c.market_id = p_market_id AND c.outcome = t.outcome
    LEFT JOIN ledger.reservation r ON r.account_id = p_account_id AND r.order_id = t.order_id
    CROSS JOIN LATERAL (SELECT format('%s shares=%s awaiting=%s held=%s of %s, %s outcome %s of market %s', t.phase, t.shares,
            t.awaiting, t.held, CASE t.side WHEN 'BUY' THEN 'collateral' ELSE c.token_id END, t.side, t.outcome, p_market_id)
        || CASE t.phase WHEN 'released' THEN ', released' ELSE '' END
        || CASE WHEN t.awaiting > 0 THEN ', awaiting' ELSE '' END AS text) w
    LEFT JOIN LATERAL (SELECT format('%s shares=%s awaiting=%s held=%s of %s, %s outcome %s of market %s', r.phase,
            r.shares_micros, r.awaiting_micros, r.held_micros, r.asset, r.side, r.outcome, r.market_id)
        || CASE WHEN r.released_at IS NOT NULL THEN ', released' ELSE '' END
        || CASE WHEN r.awaiting_since IS NOT NULL THEN ', awaiting' ELSE '' END AS text) g ON r.order_id IS NOT NULL
    WHERE w.text IS DISTINCT FROM g.text
$$;
COMMENT ON FUNCTION audit._check_reservations(bigint, bigint) IS
    'Each order has one reservation, a function of the order: released if and only if ended with nothing left to book.';

CREATE OR REPLACE FUNCTION audit._check_booked(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id),
        format('held=%s collateral=%s tokens=%s', t.held, t.cash,
               CASE t.side WHEN 'BUY' THEN t.confirmed ELSE -t.confirmed END),
        format('held=%s collateral=%s tokens=%s', b.held, b.collateral, b.tokens)
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.locked_delta), 0) AS held,
            coalesce(sum(q.available_delta + q.locked_delta) FILTER (WHERE q.asset = 'collateral'), 0) AS collateral,
            coalesce(sum(q.available_delta + q.locked_delta) FILTER (WHERE q.asset <> 'collateral'), 0) AS tokens
        FROM ledger.balance_entry q WHERE q.account_id = p_account_id AND q.order_id = t.order_id) b
    WHERE (b.held, b.collateral, b.tokens)
        IS DISTINCT FROM (t.held, t.cash, CASE t.side WHEN 'BUY' THEN t.confirmed ELSE -t.confirmed END)
$$;
COMMENT ON FUNCTION audit._check_booked(bigint, bigint) IS
    'The entries of each order come to what it holds, what it paid or was paid, and the tokens it moved.';

CREATE OR REPLACE FUNCTION audit._check_orders(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    JOIN ledger.orders o ON o.account_id = p_account_id AND o.order_id = t.order_id
    LEFT JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
    CROSS JOIN LATERAL (VALUES
        (format('traded=%s confirmed=%s failed=%s', t.traded, t.confirmed, t.failed),
         format('traded=%s confirmed=%s failed=%s', o.traded_micros, o.confirmed_micros, o.failed_micros)),
        ('a state of the table', CASE WHEN t.ended IS NULL THEN 'state ' || o.state ELSE 'a state of the table' END),
        ('token ' || c.token_id, 'token ' || o.token_id),
        ('nothing traded', CASE WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'REJECTED', 'NOT_PLACED')
            AND t.matched > 0 THEN format('%s and %s matched', o.state, t.matched) ELSE 'nothing traded' END)
        ) v (expected, found)
    WHERE v.expected IS DISTINCT FROM v.found
$$;
COMMENT ON FUNCTION audit._check_orders(bigint, bigint) IS
    'The sums on each order = its fills; its state exists and fits what was traded; its token is the outcome''s.';

CREATE OR REPLACE FUNCTION audit._check_fills(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('fill %s of order %s', f.trade_id, f.order_id), coalesce(v.expected, 'an order'), v.found
    FROM ledger.fill f
    LEFT JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
    CROSS JOIN LATERAL (VALUES
        (CASE WHEN o.order_id IS NOT NULL THEN format('%s of outcome %s of this market', o.side, o.outcome) END,
         CASE WHEN o.order_id IS NULL THEN 'no such order'
              WHEN f.market_id <> o.market_id THEN format('%s of outcome %s of market %s', f.side, f.outcome, f.market_id)
              ELSE format('%s of outcome %s of this market', f.side, f.outcome) END),
        (format('cash=%s', CASE f.side WHEN 'BUY' THEN ceil(f.size_micros::numeric * f.price_micros / 1000000)
                                       ELSE floor(f.size_micros::numeric * f.price_micros / 1000000) END),
         format('cash=%s', f.cash_micros))) v (expected, found)
    WHERE f.account_id = p_account_id AND v.expected IS DISTINCT FROM v.found
      AND (f.market_id = p_market_id OR o.market_id = p_market_id)
$$;
COMMENT ON FUNCTION audit._check_fills(bigint, bigint) IS
    'Each fill has an order, its market, outcome and side, and cash = price x size, rounded against us.';

CREATE OR REPLACE FUNCTION audit._check_filled_within_size(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id),
        CASE WHEN t.matched > t.size_micros THEN format('at most %s', t.size_micros)
             ELSE format('%s, less dust below a hundredth', t.size_micros) END, t.matched::text
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    WHERE t.matched > t.size_micros OR t.state = 'FILLED' AND t.size_micros - t.matched >= 10000
$$;
COMMENT ON FUNCTION audit._check_filled_within_size(bigint, bigint) IS
    'No order was filled beyond its size, and what is FILLED is filled.';

CREATE OR REPLACE FUNCTION audit._cap_at(p_account_id bigint, p_market_id bigint, p_name text, p_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT w.value FROM (VALUES (p_account_id, p_market_id, 1), (0, p_market_id, 2), (p_account_id, 0, 3), (0, 0, 4))
        AS v (account_id, market_id, rank)
    LEFT JOIN ledger.limits l ON l.account_id = v.account_id AND l.market_id = v.market_id
    -- The value at a time is what the first change after it found.
    LEFT JOIN LATERAL (
        SELECT c.before, true AS changed FROM ledger.limit_change c
        WHERE c.account_id = v.account_id AND c.market_id = v.market_id AND c.name = p_name AND c.changed_at > p_at
        ORDER BY c.changed_at, c.change_id LIMIT 1) c ON true
    CROSS JOIN LATERAL (SELECT CASE WHEN c.changed THEN CASE WHEN c.before ~ '^[0-9]{1,18}$' THEN c.before::bigint END
        WHEN p_name = 'max_outcome_micros' THEN l.max_outcome_micros ELSE l.max_market_micros END AS value) w
    WHERE w.value IS NOT NULL ORDER BY v.rank LIMIT 1
$$;
COMMENT ON FUNCTION audit._cap_at(bigint, bigint, text, timestamptz) IS
    'max_outcome_micros or max_market_micros as it was in force at a time, or NULL for no limit.';

CREATE OR REPLACE FUNCTION audit._check_caps(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    -- Since the last purchase was admitted only facts can have raised exposure, so the caps of that moment are
    -- the ones it has to keep. A limit lowered later is no breach of what was asked. A change that was being
    -- committed while the order was admitted may have been seen or not: the looser of the two counts.
    WITH t AS MATERIALIZED (SELECT * FROM audit._orders_recomputed(p_account_id, p_market_id)),
    last AS (SELECT max(t.created_at) AS at FROM t WHERE t.side = 'BUY'),
    effective AS (
        SELECT i.outcome, coalesce((SELECT sum(CASE t.side WHEN 'BUY' THEN t.shares + t.awaiting + t.traded - t.failed
                                           ELSE -t.confirmed END) FROM t WHERE t.outcome = i.outcome), 0)
            + coalesce((SELECT sum(b.available_delta + b.locked_delta)
                        FROM ledger.outcome c JOIN ledger.balance_entry b ON b.account_id = p_account_id AND b.asset = c.token_id
                        WHERE c.market_id = p_market_id AND c.outcome = i.outcome AND b.order_id IS NULL
                          AND b.at <= last.at), 0) AS shares
        FROM last CROSS JOIN generate_series(0, 1) i (outcome)),
    cap AS (
        SELECT k.name, CASE WHEN bool_or(x.value IS NULL) THEN NULL ELSE max(x.value) END AS value
        FROM last CROSS JOIN (VALUES ('max_outcome_micros'), ('max_market_micros')) k (name)
        CROSS JOIN (VALUES (interval '0'), (interval '10 seconds')) d (ago)
        CROSS JOIN LATERAL (SELECT audit._cap_at(p_account_id, p_market_id, k.name, last.at - d.ago) AS value) x
        WHERE last.at IS NOT NULL GROUP BY k.name)
    SELECT format('outcome %s', e.outcome), format('at most %s', cap.value), e.shares::text
    FROM effective e JOIN cap ON cap.name = 'max_outcome_micros' WHERE e.shares > cap.value
    UNION ALL
    SELECT 'both outcomes', format('at most %s', cap.value), s.shares::text
    FROM (SELECT sum(e.shares) AS shares FROM effective e) s JOIN cap ON cap.name = 'max_market_micros'
    WHERE s.shares > cap.value
$$;
COMMENT ON FUNCTION audit._check_caps(bigint, bigint) IS
    'Position, open and pending purchases keep the caps that were in force when the last purchase was admitted.';

-- file: ledger/sql/views/checks_sending.sql
-- purpose: recompute what was sent: one venue order per intent, never more than intended, attempts, queues, keys, replacements.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   signed_order, attempt, outbox, cancel_request and idempotency_key by primary or unique key.
-- fence:   as checks_orders.sql: nothing here calls the functions that write these rows.

CREATE OR REPLACE FUNCTION audit._check_one_venue_order(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id),
        CASE WHEN o.state = 'RESERVED' THEN 'nothing signed' ELSE coalesce(s.venue_order_id, 'signed bytes') END,
        CASE WHEN o.state = 'RESERVED' THEN 'signed as ' || coalesce(s.venue_order_id, o.venue_order_id)
             ELSE coalesce(o.venue_order_id, 'no id') END || CASE WHEN s.order_id IS NULL THEN ' without bytes' ELSE '' END
    FROM ledger.orders o
    LEFT JOIN ledger.signed_order s ON s.account_id = o.account_id AND s.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (s.venue_order_id IS DISTINCT FROM o.venue_order_id
           OR o.state = 'RESERVED' AND o.venue_order_id IS NOT NULL
           OR o.state NOT IN ('RESERVED', 'NOT_PLACED') AND o.venue_order_id IS NULL)
$$;
COMMENT ON FUNCTION audit._check_one_venue_order(bigint, bigint) IS
    'Every order beyond RESERVED has one signed body, and both bear the same venue order id.';

CREATE OR REPLACE FUNCTION audit._check_sent_as_intended(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    JOIN ledger.account b ON b.account_id = o.account_id
    JOIN ledger.signed_order s ON s.account_id = o.account_id AND s.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT audit._json(s.body) AS whole) j
    -- The bytes are what is sent. Where they are not readable, what was kept beside them must do.
    CROSS JOIN LATERAL (SELECT
        coalesce(j.whole #>> '{order,makerAmount}', s.fields ->> 'makerAmount', s.fields ->> 'maker_amount') AS maker,
        coalesce(j.whole #>> '{order,takerAmount}', s.fields ->> 'takerAmount', s.fields ->> 'taker_amount') AS taker) a
    CROSS JOIN LATERAL (SELECT
        CASE WHEN a.maker ~ '^[0-9]{1,78}$' THEN a.maker::numeric END AS maker,
        CASE WHEN a.taker ~ '^[0-9]{1,78}$' THEN a.taker::numeric END AS taker) n
    CROSS JOIN LATERAL (VALUES
        (format('at most %s shares', o.size_micros), CASE o.side WHEN 'BUY' THEN n.taker ELSE n.maker END <= o.size_micros,
         format('%s shares', CASE o.side WHEN 'BUY' THEN n.taker ELSE n.maker END)),
        (format('at %s or better', o.price_micros),
         CASE o.side WHEN 'BUY' THEN n.maker <= ceil(n.taker * o.price_micros / 1000000)
                     ELSE n.taker >= floor(n.maker * o.price_micros / 1000000) END,
         format('%s given for %s', n.maker, n.taker)),
        (o.side, j.whole #>> '{order,side}' IN (o.side, CASE o.side WHEN 'BUY' THEN '0' ELSE '1' END),
         j.whole #>> '{order,side}'),
        ('token ' || o.token_id, j.whole #>> '{order,tokenId}' = o.token_id, 'token ' || (j.whole #>> '{order,tokenId}')),
        ('salt ' || o.salt, j.whole #>> '{order,salt}' = o.salt::text, 'salt ' || (j.whole #>> '{order,salt}')),
        ('timestamp ' || o.signed_at_ms, j.whole #>> '{order,timestamp}' = o.signed_at_ms::text,
         'timestamp ' || (j.whole #>> '{order,timestamp}')),
        ('maker ' || b.maker, lower(j.whole #>> '{order,maker}') = lower(b.maker), 'maker ' || (j.whole #>> '{order,maker}')),
        ('expiration ' || o.expires_at_s, j.whole #>> '{order,expiration}' = o.expires_at_s::text,
         'expiration ' || (j.whole #>> '{order,expiration}')),
        ('order type ' || o.order_type, j.whole ->> 'orderType' = o.order_type, 'order type ' || (j.whole ->> 'orderType')),
        ('post-only ' || o.post_only, j.whole -> 'postOnly' = to_jsonb(o.post_only), 'post-only ' || (j.whole ->> 'postOnly')))
        v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
$$;
COMMENT ON FUNCTION audit._check_sent_as_intended(bigint, bigint) IS
    'The stored bytes ask for no more shares and no worse price than the intent, for its token, side and terms, and the account''s maker.';

CREATE OR REPLACE FUNCTION audit._check_attempts(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(min(t.attempt), 1) AS first, coalesce(max(t.attempt), 0) AS last,
            count(*) FILTER (WHERE t.outcome = 'open') AS open
        FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id) t
    CROSS JOIN LATERAL (VALUES
        (format('attempts 1 to %s', o.attempts), t.first = 1 AND t.last = o.attempts AND t.n = o.attempts,
         format('%s attempts, %s to %s', t.n, t.first, t.last)),
        ('no attempt before signing', NOT (o.state IN ('RESERVED', 'PREPARED') AND t.n > 0), format('%s attempts', t.n)),
        ('an open attempt', o.state <> 'SENDING' OR t.open > 0, 'none, and the order is SENDING'),
        ('at most one open attempt', t.open <= 1, format('%s open', t.open)),
        ('no open attempt', t.open = 0 OR o.state NOT IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'UNKNOWN', 'REJECTED', 'NOT_PLACED'),
         format('%s open, and the order is %s', t.open, o.state))) v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
$$;
COMMENT ON FUNCTION audit._check_attempts(bigint, bigint) IS
    'Attempts are numbered without gaps, only of signed orders, at most one is open, and SENDING means one is.';

CREATE OR REPLACE FUNCTION audit._check_outbox(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), format('one of {%s} while %s', array_to_string(w.allowed, ', '), o.state),
        coalesce(b.status || CASE WHEN b.market_id <> o.market_id THEN ' in another lane' ELSE '' END, 'no outbox row')
    FROM ledger.orders o
    LEFT JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT CASE
        WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN ARRAY['ready', 'claimed', 'dead', 'released']
        WHEN o.state = 'SENDING' THEN ARRAY['claimed']
        WHEN o.state = 'UNKNOWN' THEN ARRAY['blocked', 'released']
        ELSE ARRAY['done'] END AS allowed) w
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (b.status IS NULL OR b.status <> ALL (w.allowed) OR b.market_id <> o.market_id)
    UNION ALL
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
    LEFT JOIN (SELECT x.order_id, max(j.at) AS at
               FROM ledger.journal j CROSS JOIN LATERAL jsonb_array_elements_text(
                   CASE jsonb_typeof(j.detail -> 'orders') WHEN 'array' THEN j.detail -> 'orders' ELSE '[]' END) x (order_id)
               WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event = 'LANE_RELEASED'
               GROUP BY x.order_id) r ON r.order_id = o.order_id::text
    CROSS JOIN LATERAL (VALUES
        ('waits behind a blocked head unless it hedges or unwinds',
         b.passes_block = (o.class IN ('hedge', 'micro_hedge', 'unwind', 'emergency')), format('%s passes: %s', o.class, b.passes_block)),
        (format('set %s', coalesce(o.set_id::text, 'none')), o.set_id IS NOT DISTINCT FROM b.set_id,
         format('set %s', coalesce(b.set_id::text, 'none'))),
        ('a lane that somebody released', b.released_at IS NULL AND b.status <> 'released' OR coalesce(r.at >= b.released_at, false)
            OR r.at IS NULL AND audit._archived_between(o.created_at, NULL), 'released by nobody'),
        ('released, as the journal says', b.released_at IS NOT NULL OR r.at IS NULL, 'not released')) v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
    UNION ALL
    SELECT format('order %s', q.order_id), format('behind order %s', q.before), format('outbox row %s before %s', q.outbox_id, q.before_id)
    FROM (SELECT b.order_id, b.outbox_id, lag(b.order_id) OVER w AS before, lag(b.outbox_id) OVER w AS before_id
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.market_id = p_market_id
          WINDOW w AS (ORDER BY b.order_id)) q
    WHERE q.outbox_id <= q.before_id
$$;
COMMENT ON FUNCTION audit._check_outbox(bigint, bigint) IS
    'Each order has one outbox row in its lane, in the order of intents; its status fits the order''s state, and what was released '
    'somebody released.';

CREATE OR REPLACE FUNCTION audit._check_cancels(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id),
        CASE WHEN s.ended THEN 'no cancel is due' ELSE 'a cancel is due' END,
        format('%s, cancel %s', o.state, coalesce(c.status, 'asked for and not queued'))
    FROM ledger.orders o
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.cancel_request c ON c.account_id = o.account_id AND c.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (c.status IS DISTINCT FROM CASE WHEN s.ended THEN 'done' ELSE 'due' END AND c.order_id IS NOT NULL
           OR NOT s.ended AND o.cancel_asked_at IS NOT NULL AND c.order_id IS NULL)
    UNION ALL
    SELECT format('order %s', o.order_id), format('%s %s', v.what, v.expected), format('%s %s', v.what, v.found)
    FROM ledger.orders o
    LEFT JOIN ledger.cancel_request c ON c.account_id = o.account_id AND c.order_id = o.order_id
    LEFT JOIN (
        SELECT DISTINCT ON (j.order_id) j.order_id, j.at, j.event = 'CANCEL_ASKED' AS queued, j.actor, j.detail ->> 'reason' AS reason
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event IN ('CANCEL_ASKED', 'WITHDRAW')
          AND j.order_id IS NOT NULL AND j.detail ? 'reason' ORDER BY j.order_id, j.seq) j ON j.order_id = o.order_id
    LEFT JOIN LATERAL (
        -- While it is due, each answer is kept with the request.
        SELECT a.at, left(format('%s: %s', a.detail ->> 'answer', a.detail ->> 'raw'), 200) AS answer
        FROM ledger.journal a JOIN ledger.order_state t ON t.state = a.from_state AND NOT t.ended
        WHERE c.order_id IS NOT NULL AND a.account_id = p_account_id AND a.order_id = o.order_id AND a.event = 'CANCEL_ANSWERED'
          AND a.at >= c.asked_at ORDER BY a.seq DESC LIMIT 1) a ON true
    CROSS JOIN LATERAL (VALUES
        ('a cancel asked for at', coalesce(least(c.asked_at, j.at)::text, 'no time'), coalesce(o.cancel_asked_at::text, 'no time')),
        ('for the reason', coalesce(j.reason, c.reason, 'none'), coalesce(o.cancel_reason, 'none')),
        ('its request in the queue', CASE WHEN j.queued THEN format('of %s at %s: %s', j.actor, j.at, j.reason) ELSE 'as it is' END,
         CASE WHEN j.queued THEN CASE WHEN c.order_id IS NULL THEN 'none' ELSE format('of %s at %s: %s', c.asked_by, c.asked_at, c.reason) END
              ELSE 'as it is' END),
        ('its request in market', o.market_id::text, coalesce(c.market_id, o.market_id)::text),
        ('its request answered', format('%s at %s', a.answer, a.at), format('%s at %s', left(c.last_answer, 200), c.answered_at))) v (what, expected, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND v.expected IS DISTINCT FROM v.found
      AND NOT audit._archived_between(o.created_at, NULL)
$$;
COMMENT ON FUNCTION audit._check_cancels(bigint, bigint) IS
    'A cancel that was asked for, by the order, its queue and the journal alike, is due until the order has ended, and not after.';

CREATE OR REPLACE FUNCTION audit._check_keys(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), format('key %s bound to it', o.key),
        CASE WHEN k.key IS NULL THEN 'the key is not bound'
             ELSE format('%s %s', k.kind, k.subject_id) END
    FROM ledger.orders o
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.idempotency_key k ON k.account_id = o.account_id AND k.key = o.key
    LEFT JOIN ledger.replacement q ON q.account_id = o.account_id AND k.kind = 'replacement' AND q.replacement_id = k.subject_id
    LEFT JOIN ledger.setting d ON d.name = 'keep_keys_days_after_order'
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND CASE WHEN k.key IS NULL THEN
              NOT s.ended OR o.state_at > ledger.clock() - make_interval(days => coalesce(d.value::integer, 400))
          ELSE coalesce(CASE k.kind WHEN 'order' THEN k.subject_id ELSE q.new_order_id END, 0) <> o.order_id END
$$;
COMMENT ON FUNCTION audit._check_keys(bigint, bigint) IS
    'The key of each order is bound to that order, or to the replacement that made it, as long as keys are kept.';

CREATE OR REPLACE FUNCTION audit._check_replacements(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('replacement %s of order %s', q.replacement_id, q.old_order_id), v.expected, v.found
    FROM ledger.replacement q
    JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.orders n ON n.account_id = q.account_id AND n.order_id = q.new_order_id
    CROSS JOIN LATERAL (VALUES
        ('the old order has not ended', q.state <> 'waiting' OR NOT s.ended, 'waiting, and the old order is ' || o.state),
        ('a new order if and only if done', (q.state = 'done') = (n.order_id IS NOT NULL),
         format('%s, new order %s', q.state, coalesce(q.new_order_id::text, 'none'))),
        (format('replaces %s', o.order_id), n.order_id IS NULL OR n.replaces_order_id IS NOT DISTINCT FROM o.order_id,
         format('replaces %s', coalesce(n.replaces_order_id::text, 'nothing')))) v (expected, holds, found)
    WHERE q.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
    UNION ALL
    SELECT format('order %s', n.order_id), 'the replacement that made it', format('none of order %s', n.replaces_order_id)
    FROM ledger.orders n
    WHERE n.account_id = p_account_id AND n.market_id = p_market_id AND n.replaces_order_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM ledger.replacement q WHERE q.account_id = n.account_id AND q.new_order_id = n.order_id)
    UNION ALL
    SELECT format('replacement %s of order %s', coalesce(j.id, f.id), coalesce(j.order_id, f.order_id)),
        coalesce(j.text, 'none, for the journal knows of none'), coalesce(f.text, 'none')
    FROM (SELECT q.detail ->> 'replacement' AS id, q.order_id, CASE q.event
              WHEN 'REPLACE_ASKED' THEN format('asked at %s with %s, %s filled, request %s', q.at, q.detail ->> 'key',
                                               q.detail ->> 'filled', q.detail ->> 'request')
              ELSE format('ended at %s: %s %s, new order %s', q.at, CASE q.detail ->> 'status' WHEN 'admitted' THEN 'done' ELSE 'refused' END,
                          coalesce(q.detail ->> 'code', ''), coalesce(q.detail ->> 'order_id', 'none')) END AS text, q.event, q.at
          FROM ledger.journal q WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL
            AND q.event IN ('REPLACE_ASKED', 'REPLACE_ENDED')) j
    FULL JOIN (SELECT q.replacement_id::text AS id, q.old_order_id AS order_id, v.text, v.event, v.at
               FROM ledger.replacement q
               JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
               LEFT JOIN ledger.idempotency_key k ON k.account_id = q.account_id AND k.kind = 'replacement' AND k.subject_id = q.replacement_id
                    AND k.key = q.request ->> 'key'
               CROSS JOIN LATERAL (VALUES
                   ('REPLACE_ASKED', q.asked_at, format('asked at %s with %s, %s filled, request %s', q.asked_at,
                       coalesce(k.key, 'no key bound'), q.filled_at_ask, encode(sha256(convert_to(q.request::text, 'UTF8')), 'hex'))),
                   ('REPLACE_ENDED', q.ended_at, CASE WHEN q.state <> 'waiting' THEN format('ended at %s: %s %s, new order %s', q.ended_at,
                       q.state, q.code, coalesce(q.new_order_id::text, 'none')) END)) v (event, at, text)
               WHERE q.account_id = p_account_id AND o.market_id = p_market_id AND v.text IS NOT NULL) f
        ON f.id = j.id AND f.event = j.event
    WHERE j.text IS DISTINCT FROM f.text AND NOT (j.text IS NULL AND audit._archived_between(f.at, f.at))
$$;
COMMENT ON FUNCTION audit._check_replacements(bigint, bigint) IS
    'A replacement waits only while the old order lives, a done one has the one new order that names the old, and both are as journaled.';

-- file: ledger/sql/views/checks_books.sql
-- purpose: recompute the books: the journal's numbers and every order's path in it, balances, rows that belong to nothing.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   journal by (account, seq), (account, market, market_seq); balance_entry and fill by account.
-- fence:   as checks_orders.sql. What was archived with a partition is not missed: its orders ended before.

CREATE OR REPLACE FUNCTION audit._check_market_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS (
        SELECT j.market_seq AS n, j.at, lag(j.market_seq) OVER w AS before, lag(j.at) OVER w AS before_at
        FROM ledger.journal j WHERE j.account_id = p_account_id AND j.market_id = p_market_id
        WINDOW w AS (ORDER BY j.market_seq, j.at))
    SELECT 'market_seq ' || q.n, format('market_seq %s after %s', coalesce(q.before, 0) + 1, coalesce(q.before, 0)), q.n::text
    FROM numbered q
    WHERE q.n <> coalesce(q.before, 0) + 1 AND NOT (q.n > coalesce(q.before, 0) AND audit._archived_between(q.before_at, q.at))
    UNION ALL
    SELECT 'last market_seq', coalesce(e.last::text, 'no counter'), coalesce(q.last::text, 'no rows')
    FROM (SELECT max(x.journal_seq) AS last FROM ledger.exposure x
          WHERE x.account_id = p_account_id AND x.market_id = p_market_id) e
    CROSS JOIN (SELECT max(numbered.n) AS last, max(numbered.at) AS at FROM numbered) q
    WHERE coalesce(e.last, 0) <> coalesce(q.last, 0)
      AND NOT (coalesce(e.last > coalesce(q.last, 0), false) AND audit._archived_between(q.at, NULL))
$$;
COMMENT ON FUNCTION audit._check_market_journal(bigint, bigint) IS 'The journal''s numbers of the market have no gap and end at its counter.';

CREATE OR REPLACE FUNCTION audit._check_order_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.order_id, q.event, q.from_state, q.to_state, q.detail,
            lag(q.to_state) OVER (PARTITION BY q.order_id ORDER BY q.seq) AS before,
            lead(q.seq) OVER (PARTITION BY q.order_id ORDER BY q.seq) IS NULL AS is_last
        FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.to_state IS NOT NULL),
    o AS MATERIALIZED (
        SELECT q.order_id, q.state, q.side, q.outcome, q.price_micros, q.size_micros,
            audit._archived_between(q.created_at, q.state_at) AS archived
        FROM ledger.orders q WHERE q.account_id = p_account_id AND q.market_id = p_market_id)
    SELECT format('order %s', o.order_id), 'the journal ends at ' || o.state, coalesce('it ends at ' || j.to_state, 'it has no rows')
    FROM o LEFT JOIN j ON j.order_id = o.order_id AND j.is_last
    WHERE o.state IS DISTINCT FROM j.to_state AND NOT o.archived
    UNION ALL
    SELECT format('order %s', o.order_id), 'one RESERVE row', format('%s', coalesce(r.n, 0))
    FROM o LEFT JOIN (SELECT j.order_id, count(*) AS n FROM j WHERE j.event = 'RESERVE' GROUP BY j.order_id) r ON r.order_id = o.order_id
    WHERE coalesce(r.n, 0) <> 1 AND NOT (r.n IS NULL AND o.archived)
    UNION ALL
    SELECT format('order %s', o.order_id),
        format('%s of outcome %s, %s at %s', j.detail ->> 'side', j.detail ->> 'outcome', j.detail ->> 'size', j.detail ->> 'price'),
        format('%s of outcome %s, %s at %s', o.side, o.outcome, o.size_micros, o.price_micros)
    FROM o JOIN j ON j.order_id = o.order_id AND j.event = 'RESERVE'
    WHERE (j.detail ->> 'side', j.detail ->> 'outcome', j.detail ->> 'size', j.detail ->> 'price')
        IS DISTINCT FROM (o.side, o.outcome::text, o.size_micros::text, o.price_micros::text)
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'from ' || coalesce(j.before, 'nothing'),
        'from ' || coalesce(j.from_state, 'nothing')
    FROM j LEFT JOIN o ON o.order_id = j.order_id
    WHERE j.from_state IS DISTINCT FROM j.before AND NOT coalesce(o.archived, false)
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'a legal transition',
        format('%s from %s to %s', j.event, coalesce(j.from_state, 'nothing'), j.to_state)
    FROM j
    WHERE NOT EXISTS (SELECT FROM ledger.transition t
                      WHERE t.from_state = j.from_state AND t.event = j.event AND t.to_state = j.to_state)
      AND NOT (j.event = 'RESERVE' AND j.from_state IS NULL AND j.to_state = 'RESERVED')
      AND NOT (j.from_state = j.to_state AND NOT EXISTS (SELECT FROM ledger.order_event e WHERE e.event = j.event))
    UNION ALL
    SELECT format('order %s', j.order_id), 'an order of this market', 'none, and the journal speaks of it'
    FROM (SELECT DISTINCT j.order_id FROM j) j WHERE NOT EXISTS (SELECT FROM o WHERE o.order_id = j.order_id)
$$;
COMMENT ON FUNCTION audit._check_order_journal(bigint, bigint) IS
    'Each order''s journal begins with its one RESERVE row and its terms, goes on by legal transitions, and ends at its state.';

CREATE OR REPLACE FUNCTION audit._check_fill_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT DISTINCT ON (q.order_id, q.detail ->> 'trade') q.order_id, q.detail ->> 'trade' AS trade_id,
            format('%s (%s) %s at %s, fee %s, maker %s, matched at %s%s', q.detail ->> 'settlement', q.detail ->> 'status',
                   q.detail ->> 'size', q.detail ->> 'price', q.detail ->> 'fee', (q.detail -> 'maker' = 'true')::text,
                   audit._time(q.detail ->> 'matched_at'),
                   ', contradicted at ' || audit._time(q.detail ->> 'contradicted_at')) AS text
        FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.detail ? 'trade'
        ORDER BY q.order_id, q.detail ->> 'trade', q.seq DESC),
    f AS MATERIALIZED (
        SELECT q.order_id, q.trade_id, format('%s (%s) %s at %s, fee %s, maker %s, matched at %s%s', q.settlement, q.raw_status,
            q.size_micros, q.price_micros, q.fee_micros, q.is_maker::text, q.matched_at,
            ', contradicted at ' || q.contradicted_at) AS text,
            audit._archived_between(o.created_at, NULL) AS archived
        FROM ledger.fill q LEFT JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id)
    SELECT format('fill %s of order %s', coalesce(f.trade_id, j.trade_id), coalesce(f.order_id, j.order_id)),
        coalesce(j.text, 'no fill, for the journal has none'), coalesce(f.text, 'no fill')
    FROM f FULL JOIN j ON j.order_id = f.order_id AND j.trade_id = f.trade_id
    WHERE f.text IS DISTINCT FROM j.text AND NOT coalesce(f.archived, false)
$$;
COMMENT ON FUNCTION audit._check_fill_journal(bigint, bigint) IS 'Each fill is what the journal''s last row of its trade says.';

CREATE OR REPLACE FUNCTION audit._check_journal(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS MATERIALIZED (
        SELECT j.seq AS n, j.at, lag(j.seq) OVER w AS before, lag(j.at) OVER w AS before_at, j.digest,
            sha256(CASE WHEN j.seq = 1 THEN '' ELSE lag(j.digest) OVER w END || convert_to(jsonb_build_array(j.account_id, j.seq,
                j.market_id, j.market_seq, extract(epoch FROM j.at), j.event, j.order_id, j.attempt, j.from_state, j.to_state,
                j.actor, j.detail)::text, 'UTF8')) AS wanted
        FROM ledger.journal j WHERE j.account_id = p_account_id WINDOW w AS (ORDER BY j.seq, j.at))
    SELECT 'seq ' || q.n, format('seq %s after %s', coalesce(q.before, 0) + 1, coalesce(q.before, 0)), q.n::text
    FROM numbered q
    WHERE q.n <> coalesce(q.before, 0) + 1 AND NOT (q.n > coalesce(q.before, 0) AND audit._archived_between(q.before_at, q.at))
    UNION ALL
    SELECT 'last seq', coalesce(s.last::text, 'no counter'), coalesce(q.last::text, 'no rows')
    FROM (SELECT max(x.journal_seq) AS last FROM ledger.account_state x WHERE x.account_id = p_account_id) s
    CROSS JOIN (SELECT max(numbered.n) AS last, max(numbered.at) AS at FROM numbered) q
    WHERE s.last IS NULL
       OR s.last <> coalesce(q.last, 0) AND NOT (s.last > coalesce(q.last, 0) AND audit._archived_between(q.at, NULL))
    UNION ALL
    -- Behind a gap there is nothing to hold a row against.
    SELECT 'seq ' || q.n, 'the digest ' || encode(q.wanted, 'hex'), 'the digest ' || encode(q.digest, 'hex')
    FROM numbered q WHERE q.n = coalesce(q.before, 0) + 1 AND q.wanted IS DISTINCT FROM q.digest
    UNION ALL
    SELECT 'last seq', 'the digest ' || encode(s.journal_digest, 'hex'), 'the digest ' || encode(q.digest, 'hex')
    FROM ledger.account_state s JOIN numbered q ON q.n = s.journal_seq
    WHERE s.account_id = p_account_id AND s.journal_digest <> q.digest
$$;
COMMENT ON FUNCTION audit._check_journal(bigint) IS
    'The journal''s numbers of the account have no gap and end at its counter, and each row''s digest follows from the one before.';

CREATE OR REPLACE FUNCTION audit._check_entries(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS (
        SELECT b.entry_seq, b.entry_seq - 1 IS DISTINCT FROM coalesce(lag(b.entry_seq) OVER (ORDER BY b.entry_seq), 0) AS gap
        FROM ledger.balance_entry b WHERE b.account_id = p_account_id)
    SELECT 'entry ' || n.entry_seq, 'no gap before it', 'entries before it are missing' FROM numbered n WHERE n.gap
    UNION ALL
    SELECT 'last entry', coalesce(s.last::text, 'no counter'), coalesce(n.last::text, 'no entries')
    FROM (SELECT max(x.entry_seq) AS last FROM ledger.account_state x WHERE x.account_id = p_account_id) s
    CROSS JOIN (SELECT max(numbered.entry_seq) AS last FROM numbered) n
    WHERE s.last IS DISTINCT FROM coalesce(n.last, 0)
$$;
COMMENT ON FUNCTION audit._check_entries(bigint) IS 'Entries of balances are numbered without gaps and end at the counter.';

CREATE OR REPLACE FUNCTION audit._check_entry_journal(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH b AS MATERIALIZED (
        SELECT q.*, CASE WHEN q.entry_key ~ '^order:[0-9]{1,18}:[0-9]{1,18}:[ct]$' THEN split_part(q.entry_key, ':', 3)::bigint END AS seq,
            CASE WHEN q.order_id IS NULL THEN 'movement' WHEN q.entry_key = format('order:%s:reserve', q.order_id) THEN 'reserve'
                 ELSE 'event' END AS kind
        FROM ledger.balance_entry q WHERE q.account_id = p_account_id),
    j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.order_id, q.detail FROM ledger.journal q WHERE q.account_id = p_account_id)
    SELECT format('entry %s of order %s', b.entry_seq, b.order_id), 'a row of the order''s journal with its event, time and trade',
        format('%s at %s, trade %s, key %s', b.cause, b.at, coalesce(b.trade_id, 'none'), b.entry_key)
    FROM b
    LEFT JOIN j e ON b.kind = 'event' AND e.seq = b.seq
    LEFT JOIN j r ON b.kind = 'reserve' AND r.order_id = b.order_id AND r.event = 'RESERVE'
    WHERE b.kind <> 'movement'
      AND (coalesce(e.order_id, r.order_id), coalesce(e.event, r.event), coalesce(e.at, r.at), e.detail ->> 'trade', NULL)
          IS DISTINCT FROM (b.order_id, b.cause, b.at, b.trade_id, b.note)
      AND NOT (e.seq IS NULL AND r.seq IS NULL AND audit._archived_between(b.at, b.at))
    UNION ALL
    SELECT coalesce('entry ' || f.entry_seq, 'journal ' || w.seq),
        coalesce(w.text, 'none, for the journal knows of none'), coalesce(f.text, 'no entry')
    FROM (SELECT j.seq, CASE WHEN j.detail ? 'withdrawal' THEN '' ELSE 'movement:' END || (j.detail ->> 'key') AS key,
              format('%s of %s at %s: %s, note %L', j.detail ->> 'amount',
              j.detail ->> 'asset', j.at, j.detail ->> 'cause', j.detail ->> 'note') AS text FROM j WHERE j.event = 'MOVEMENT') w
    FULL JOIN (SELECT b.entry_seq, b.entry_key, b.at, format('%s of %s at %s: %s, note %L%s', CASE b.locked_delta WHEN 0 THEN b.available_delta::text
                   ELSE format('%s and %s locked', b.available_delta, b.locked_delta) END, b.asset, b.at, b.cause, b.note,
                   ', trade ' || b.trade_id) AS text
               FROM b WHERE b.kind = 'movement') f ON f.entry_key = w.key
    WHERE w.text IS DISTINCT FROM f.text AND NOT (w.text IS NULL AND audit._archived_between(f.at, f.at))
$$;
COMMENT ON FUNCTION audit._check_entry_journal(bigint) IS
    'Each entry is of a row of the journal: an event of its order, or a movement of that amount, asset, cause and key.';

CREATE OR REPLACE FUNCTION audit._check_balances(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(b.asset, s.asset), format('available=%s locked=%s', coalesce(s.available, 0), coalesce(s.locked, 0)),
        CASE WHEN b.asset IS NULL THEN 'no balance' ELSE format('available=%s locked=%s', b.available, b.locked) END
    FROM (SELECT q.asset, q.available, q.locked FROM ledger.balance q WHERE q.account_id = p_account_id) b
    FULL JOIN (SELECT q.asset, sum(q.available_delta) AS available, sum(q.locked_delta) AS locked
               FROM ledger.balance_entry q WHERE q.account_id = p_account_id GROUP BY q.asset) s ON s.asset = b.asset
    WHERE (coalesce(s.available, 0), coalesce(s.locked, 0)) IS DISTINCT FROM (b.available::numeric, b.locked::numeric)
$$;
COMMENT ON FUNCTION audit._check_balances(bigint) IS 'Each balance, available and locked, is the sum of its entries.';

CREATE OR REPLACE FUNCTION audit._check_locked(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(b.asset, r.asset), format('locked=%s', coalesce(r.held, 0)), format('locked=%s', coalesce(b.locked, 0))
    FROM (SELECT q.asset, q.locked FROM ledger.balance q WHERE q.account_id = p_account_id) b
    FULL JOIN (SELECT q.asset, sum(q.held_micros) AS held FROM ledger.reservation q
               WHERE q.account_id = p_account_id GROUP BY q.asset) r ON r.asset = b.asset
    WHERE coalesce(r.held, 0) <> coalesce(b.locked, 0)
$$;
COMMENT ON FUNCTION audit._check_locked(bigint) IS 'What a balance has locked is what the reservations of all markets hold of it.';

CREATE OR REPLACE FUNCTION audit._check_totals(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH moved AS (
        SELECT b.asset, sum(b.available_delta + b.locked_delta) AS amount FROM ledger.balance_entry b
        WHERE b.account_id = p_account_id AND b.order_id IS NULL GROUP BY b.asset
        UNION ALL
        SELECT 'collateral', sum(CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN -(f.cash_micros + f.fee_micros)
            WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END)
        FROM ledger.fill f WHERE f.account_id = p_account_id
        UNION ALL
        SELECT c.token_id, sum(CASE f.side WHEN 'BUY' THEN f.size_micros ELSE -f.size_micros END)
        FROM ledger.fill f JOIN ledger.outcome c ON c.market_id = f.market_id AND c.outcome = f.outcome
        WHERE f.account_id = p_account_id AND f.settlement = 'confirmed' GROUP BY c.token_id)
    SELECT coalesce(b.asset, m.asset), format('total=%s', coalesce(m.amount, 0)), format('total=%s', coalesce(b.total, 0))
    FROM (SELECT moved.asset, sum(moved.amount) AS amount FROM moved GROUP BY moved.asset) m
    FULL JOIN (SELECT q.asset, q.available + q.locked AS total FROM ledger.balance q WHERE q.account_id = p_account_id) b
        ON b.asset = m.asset
    WHERE coalesce(m.amount, 0) <> coalesce(b.total, 0)
$$;
COMMENT ON FUNCTION audit._check_totals(bigint) IS
    'Each balance comes to its movements with a cause and its fills: tokens are the confirmed position, collateral the cash.';

CREATE OR REPLACE FUNCTION audit._check_negative(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT b.asset, 'nothing negative, or the account''s halt for it', format('available=%s locked=%s', b.available, b.locked)
    FROM ledger.balance b
    WHERE b.account_id = p_account_id AND (b.locked < 0 OR b.available < 0 AND NOT EXISTS (
        SELECT FROM ledger.halt h WHERE h.scope = 'account' AND h.scope_id = p_account_id::text AND h.why LIKE 'NEGATIVE_BALANCE:%'))
    UNION ALL
    SELECT format('%s outcome %s', coalesce(m.slug, m.condition_id), i.outcome), 'no negative position, or a breach journaled',
        e.confirmed[i.outcome + 1]::text
    FROM ledger.exposure e
    JOIN ledger.market m ON m.market_id = e.market_id
    CROSS JOIN generate_series(0, 1) i (outcome)
    WHERE e.account_id = p_account_id AND e.confirmed[i.outcome + 1] < 0 AND NOT EXISTS (
        SELECT FROM ledger.journal j WHERE j.account_id = e.account_id AND j.market_id = e.market_id
        AND j.event = 'INVARIANT_BREACH_HALT')
$$;
COMMENT ON FUNCTION audit._check_negative(bigint) IS
    'No balance or position is below zero without the halt that a fact of that kind sets.';

CREATE OR REPLACE FUNCTION audit._check_rows_of_no_order(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s of order %s', x.what, x.order_id), 'an order', 'no such order'
    FROM (SELECT 'signed bytes' AS what, q.order_id FROM ledger.signed_order q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'attempt ' || q.attempt, q.order_id FROM ledger.attempt q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'evidence ' || q.evidence_id, q.order_id FROM ledger.evidence q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'reservation', q.order_id FROM ledger.reservation q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'outbox ' || q.outbox_id, q.order_id FROM ledger.outbox q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'cancel', q.order_id FROM ledger.cancel_request q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'fill ' || q.trade_id, q.order_id FROM ledger.fill q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'entry ' || q.entry_seq, q.order_id FROM ledger.balance_entry q
              WHERE q.account_id = p_account_id AND q.order_id IS NOT NULL
          UNION ALL SELECT 'key ' || q.key, q.subject_id FROM ledger.idempotency_key q
              WHERE q.account_id = p_account_id AND q.kind = 'order'
          UNION ALL SELECT 'replacement ' || q.replacement_id, q.old_order_id FROM ledger.replacement q
              WHERE q.account_id = p_account_id) x
    WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = p_account_id AND o.order_id = x.order_id)
    UNION ALL
    SELECT format('key %s of replacement %s', k.key, k.subject_id), 'a replacement', 'no such replacement'
    FROM ledger.idempotency_key k
    WHERE k.account_id = p_account_id AND k.kind = 'replacement' AND NOT EXISTS (
        SELECT FROM ledger.replacement q WHERE q.account_id = p_account_id AND q.replacement_id = k.subject_id)
$$;
COMMENT ON FUNCTION audit._check_rows_of_no_order(bigint) IS 'Reservations, signed bytes, attempts, evidence, queue rows, fills, entries and keys belong to an order.';

CREATE OR REPLACE FUNCTION audit._check_foreign_orders(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT f.venue_order_id, 'an intent, or a resolution', format('seen first at %s, unresolved', f.first_seen_at)
    FROM ledger.foreign_order f WHERE f.account_id = p_account_id AND f.resolved_at IS NULL
    UNION ALL
    SELECT coalesce(j.id, f.venue_order_id), coalesce('first seen at ' || j.at, 'never seen, by the journal'),
        coalesce('first seen at ' || f.first_seen_at, 'forgotten')
    FROM (SELECT q.detail ->> 'venue_order_id' AS id, q.at FROM ledger.journal q
          WHERE q.account_id = p_account_id AND q.event = 'FOREIGN_ORDER') j
    FULL JOIN (SELECT q.* FROM ledger.foreign_order q WHERE q.account_id = p_account_id) f ON f.venue_order_id = j.id
    WHERE j.at IS DISTINCT FROM f.first_seen_at AND NOT (j.at IS NULL AND audit._archived_between(f.first_seen_at, f.first_seen_at))
    UNION ALL
    SELECT f.venue_order_id, coalesce(format('%s by %s at %s', r.said, r.actor, r.at), 'nobody resolved it, by the journal'),
        format('%s by %s at %s', f.resolution, f.resolved_by, f.resolved_at)
    FROM ledger.foreign_order f
    LEFT JOIN LATERAL (SELECT left(format('%s: %s', q.detail ->> 'as', q.detail ->> 'why'), 500) AS said, q.actor, q.at FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event = 'FOREIGN_ORDER_RESOLVED' AND q.detail ->> 'venue_order_id' = f.venue_order_id
        ORDER BY q.seq DESC LIMIT 1) r ON true
    WHERE f.account_id = p_account_id AND (r.said, r.actor, r.at) IS DISTINCT FROM (f.resolution, f.resolved_by, f.resolved_at)
      AND NOT (r.at IS NULL AND audit._archived_between(f.resolved_at, f.resolved_at))
    UNION ALL
    SELECT j.detail ->> 'venue_order_id', 'a halt of the account since then', 'none'
    FROM ledger.journal j
    WHERE j.account_id = p_account_id AND j.event = 'FOREIGN_ORDER' AND NOT EXISTS (
        SELECT FROM ledger.halt h WHERE h.scope = 'account' AND h.scope_id = p_account_id::text AND h.why LIKE 'FOREIGN_ORDER:%'
        AND h.set_at <= j.at AND coalesce(h.cleared_at >= j.at, true))
$$;
COMMENT ON FUNCTION audit._check_foreign_orders(bigint) IS
    'Every order the venue showed under the account has its intent, or halted the account and was resolved by a person.';

CREATE OR REPLACE FUNCTION audit._check_transitions()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s, %s', s.state, e.event), 'one row', 'none'
    FROM ledger.order_state s CROSS JOIN ledger.order_event e
    WHERE NOT EXISTS (SELECT FROM ledger.transition t WHERE t.from_state = s.state AND t.event = e.event)
    UNION ALL
    SELECT format('%s, %s', coalesce(w.from_state, t.from_state), coalesce(w.event, t.event)),
        coalesce('to ' || w.to_state, 'refused'), coalesce('to ' || t.to_state, 'refused')
    FROM (SELECT f.from_state, v.event, CASE v.to_state WHEN '=' THEN f.from_state ELSE v.to_state END AS to_state
          FROM (VALUES
              ('PREPARE', 'RESERVED', 'PREPARED'), ('OPEN', 'PREPARED HELD_BACK UNKNOWN', 'SENDING'),
              ('ACCEPT', 'SENDING DELAYED LIVE', 'LIVE'), ('DELAY', 'SENDING DELAYED', 'DELAYED'), ('DELAY', 'LIVE', '='),
              ('REJECT', 'SENDING', 'REJECTED'), ('HOLD_BACK', 'SENDING', 'HELD_BACK'), ('LOSE', 'SENDING UNKNOWN', 'UNKNOWN'),
              ('SEE', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE REJECTED NOT_PLACED', 'LIVE'), ('SEE', 'FILLED CANCELLED EXPIRED', '='),
              ('FILL_PART', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE REJECTED NOT_PLACED', 'LIVE'),
              ('FILL_PART', 'FILLED CANCELLED EXPIRED', '='),
              ('FILL_ALL', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE FILLED CANCELLED EXPIRED REJECTED NOT_PLACED', 'FILLED'),
              ('END_CANCELLED', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE CANCELLED REJECTED NOT_PLACED', 'CANCELLED'),
              ('END_CANCELLED', 'FILLED EXPIRED', '='),
              ('END_EXPIRED', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE EXPIRED REJECTED NOT_PLACED', 'EXPIRED'),
              ('END_EXPIRED', 'FILLED CANCELLED', '='),
              ('REOPEN', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE CANCELLED EXPIRED REJECTED NOT_PLACED', 'LIVE'), ('REOPEN', 'FILLED', '='),
              ('WITHDRAW', 'RESERVED PREPARED HELD_BACK', 'NOT_PLACED'), ('ABSENT', 'UNKNOWN', 'NOT_PLACED')) v (event, from_states, to_state)
          CROSS JOIN LATERAL unnest(string_to_array(v.from_states, ' ')) f (from_state)) w
    FULL JOIN (SELECT q.* FROM ledger.transition q WHERE q.to_state IS NOT NULL) t ON t.from_state = w.from_state AND t.event = w.event
    WHERE w.to_state IS DISTINCT FROM t.to_state
    UNION ALL
    SELECT 'state ' || coalesce(w.state, s.state), format('ended %s, sent %s', w.ended, w.sent), format('ended %s, sent %s', s.ended, s.sent)
    FROM (VALUES ('RESERVED', false, false), ('PREPARED', false, false), ('SENDING', false, true), ('HELD_BACK', false, false),
        ('UNKNOWN', false, true), ('DELAYED', false, true), ('LIVE', false, true), ('FILLED', true, true), ('CANCELLED', true, true),
        ('EXPIRED', true, true), ('REJECTED', true, false), ('NOT_PLACED', true, false)) w (state, ended, sent)
    FULL JOIN ledger.order_state s ON s.state = w.state
    WHERE (w.ended, w.sent) IS DISTINCT FROM (s.ended, s.sent)
    UNION ALL
    SELECT format('order %s', o.order_id), 'a state of the table', o.state
    FROM ledger.orders o WHERE NOT EXISTS (SELECT FROM ledger.order_state s WHERE s.state = o.state)
$$;
COMMENT ON FUNCTION audit._check_transitions() IS
    'The table of transitions has one row for every state and event, and each is the one of this release.';

CREATE OR REPLACE FUNCTION audit._check_venue_ids()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT x.venue_order_id, 'one intent', 'orders ' || string_agg(x.order_id::text, ', ' ORDER BY x.order_id)
    FROM (SELECT a.venue, o.venue_order_id, o.account_id, o.order_id FROM ledger.orders o
          JOIN ledger.account a ON a.account_id = o.account_id WHERE o.venue_order_id IS NOT NULL
          UNION
          SELECT a.venue, s.venue_order_id, s.account_id, s.order_id FROM ledger.signed_order s
          JOIN ledger.account a ON a.account_id = s.account_id) x
    GROUP BY x.venue, x.venue_order_id HAVING count(*) > 1
$$;
COMMENT ON FUNCTION audit._check_venue_ids() IS 'Every venue order id belongs to exactly one intent, over all accounts.';

-- file: ledger/sql/views/checks_history.sql
-- purpose: hold orders, attempts, evidence and signed bytes against the journal, which is written beside them in one commit.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   journal_of_market, evidence_of_order, orders_of_market; attempt and signed_order by primary key.
-- fence:   as checks_orders.sql: each formula is written a second time. Rows are grouped once per market, never looked up
--          per order. What was archived with a partition is not missed.

CREATE OR REPLACE FUNCTION audit._check_order_facts(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.from_state, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL),
    told AS (
        SELECT j.order_id,
            -- The venue knows the id: an answer, a read, a trade, or a person who saw it there.
            bool_or(j.event IN ('ACCEPT', 'DELAY', 'SIGHTED') OR j.event = 'LOSE' AND j.detail ->> 'outcome' = 'seen'
                OR j.event = 'CANCEL_ANSWERED' AND j.detail ->> 'answer' = 'accepted'
                OR j.event IN ('SEE', 'FILL_PART', 'FILL_ALL', 'END_CANCELLED', 'END_EXPIRED', 'REOPEN')
                   AND (NOT j.detail ? 'operator' OR j.detail ->> 'as' = 'live')) AS seen,
            coalesce(max(j.seq) FILTER (WHERE j.event = 'LOSE') > coalesce(max(j.seq) FILTER (WHERE j.to_state
                NOT IN ('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN')), 0), false) AS fate_open,
            max(CASE WHEN j.detail ->> 'matched' ~ '^[0-9]{1,18}$' THEN (j.detail ->> 'matched')::bigint END) AS matched,
            max(j.at) FILTER (WHERE j.event = 'RESERVE') AS reserved_at
        FROM j GROUP BY j.order_id),
    moved AS (
        SELECT DISTINCT ON (j.order_id) j.order_id, j.at, coalesce(j.detail ->> 'cause', '') AS cause
        FROM j WHERE j.to_state IS NOT NULL AND j.from_state IS DISTINCT FROM j.to_state ORDER BY j.order_id, j.seq DESC)
    SELECT format('order %s', o.order_id), format('%s %s', v.what, v.expected), format('%s %s', v.what, v.found)
    FROM ledger.orders o
    JOIN told t ON t.order_id = o.order_id
    JOIN moved m ON m.order_id = o.order_id
    LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
    CROSS JOIN LATERAL (VALUES
        ('seen_at_venue', t.seen::text, o.seen_at_venue::text),
        ('fate_open', t.fate_open::text, o.fate_open::text),
        ('size_matched', coalesce(t.matched, 0)::text, o.size_matched_micros::text),
        ('cause', m.cause, o.cause),
        ('state_at', m.at::text, o.state_at::text),
        ('signed_at_ms', floor(extract(epoch FROM t.reserved_at) * 1000)::text, o.signed_at_ms::text),
        ('reservation created_at', t.reserved_at::text, coalesce(r.created_at, t.reserved_at)::text)) v (what, expected, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND v.expected IS DISTINCT FROM v.found
      AND NOT audit._archived_between(o.created_at, NULL)
    UNION ALL
    SELECT format('order %s', r.order_id), 'the time of a row of its journal', format('%s %s', v.what, v.at)
    FROM ledger.reservation r
    CROSS JOIN LATERAL (VALUES ('released_at', r.released_at), ('awaiting_since', r.awaiting_since)) v (what, at)
    WHERE r.account_id = p_account_id AND r.market_id = p_market_id AND v.at IS NOT NULL
      AND NOT EXISTS (SELECT FROM j WHERE j.order_id = r.order_id AND j.at = v.at)
      AND NOT audit._archived_between(v.at, v.at)
$$;
COMMENT ON FUNCTION audit._check_order_facts(bigint, bigint) IS
    'What each order knows of its fate (seen, fate open, matched, cause, times) is what its journal says.';

CREATE OR REPLACE FUNCTION audit._check_terms(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH reserved AS MATERIALIZED (
        SELECT j.order_id, j.at, j.detail ->> 'terms' AS terms, j.detail ->> 'asked' AS asked, j.detail ->> 'key' AS key,
            j.detail ->> 'asked_price' AS asked_price
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event = 'RESERVE'),
    -- What a key was bound to: a new order as it was asked for, or a replacement as its request is kept.
    request AS (
        SELECT format('order %s', o.order_id) AS subject, o.key, o.market_id, o.outcome, o.side,
            coalesce(r.asked_price, o.price_micros::text) AS price,
            r.asked, o.order_type, o.post_only, o.expires_at_s::text AS expires_at_s, o.class,
            trim_scale(extract(epoch FROM o.valid_until - o.created_at) * 1000)::text AS valid_for_ms, o.replaces_order_id,
            CASE WHEN o.replaces_order_id IS NULL THEN r.at END AS bound_at
        FROM ledger.orders o JOIN reserved r ON r.order_id = o.order_id
        WHERE o.account_id = p_account_id AND o.market_id = p_market_id
        UNION ALL
        SELECT format('replacement %s of order %s', q.replacement_id, o.order_id), q.request ->> 'key', o.market_id, o.outcome,
            q.request ->> 'side', q.request ->> 'price_micros', q.request ->> 'size_micros',
            coalesce(q.request ->> 'order_type', 'GTC'), q.request -> 'post_only' IS NOT DISTINCT FROM 'true',
            coalesce(q.request ->> 'expires_at_s', '0'), coalesce(q.request ->> 'class', 'entry'),
            coalesce(q.request ->> 'valid_for_ms', '30000'), o.order_id, q.asked_at
        FROM ledger.replacement q
        JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s', o.order_id), format('terms with the digest %s', r.terms), format('terms with the digest %s', d.terms)
    FROM ledger.orders o
    JOIN reserved r ON r.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT encode(sha256(convert_to(jsonb_build_array(o.token_id, o.tick_micros, o.fee_rate_micros,
        o.fee_exponent, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin, o.strategy, o.context, o.set_id,
        o.replaces_order_id, o.salt, extract(epoch FROM o.created_at))::text, 'UTF8')), 'hex') AS terms) d
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND d.terms IS DISTINCT FROM r.terms
    UNION ALL
    SELECT format('order %s', o.order_id), format('key %s', r.key), format('key %s', o.key)
    FROM ledger.orders o JOIN reserved r ON r.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.key IS DISTINCT FROM r.key
    UNION ALL
    SELECT q.subject, format('key %s with the fingerprint of the request as asked and kept', q.key),
        format('fingerprint %s', encode(k.fingerprint, 'hex'))
    FROM request q
    JOIN ledger.idempotency_key k ON k.account_id = p_account_id AND k.key = q.key
    -- Whether the request allowed clamping is kept nowhere else, so it may be either.
    WHERE k.fingerprint <> ALL (ARRAY(
        SELECT sha256(convert_to(concat_ws('|', q.market_id, q.outcome, q.side, q.price, q.asked, q.order_type, q.post_only,
            q.expires_at_s, q.class, q.valid_for_ms, c.clamp, q.replaces_order_id), 'UTF8'))
        FROM (VALUES (false), (true)) c (clamp)))
    UNION ALL
    SELECT q.subject, format('key %s bound at %s', q.key, q.bound_at), format('bound at %s', k.bound_at)
    FROM request q
    JOIN ledger.idempotency_key k ON k.account_id = p_account_id AND k.key = q.key
    WHERE k.bound_at <> q.bound_at
$$;
COMMENT ON FUNCTION audit._check_terms(bigint, bigint) IS
    'The terms of each order, its validity too, are those it was admitted with: by the journal''s digest and the key''s fingerprint.';

CREATE OR REPLACE FUNCTION audit._check_signed_bytes(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.order_id, q.at, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.event = 'PREPARE' AND q.to_state = 'PREPARED'),
    s AS MATERIALIZED (
        SELECT q.order_id, q.venue_order_id, q.signed_at, q.signed_by, encode(sha256(q.body), 'hex') AS body,
            encode(sha256(convert_to(q.fields::text, 'UTF8')), 'hex') AS fields
        FROM ledger.signed_order q JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s', coalesce(j.order_id, s.order_id)),
        CASE WHEN j.order_id IS NULL THEN 'nothing signed, for the journal knows of nothing'
             ELSE format('%s %s', v.what, v.expected) END,
        CASE WHEN s.order_id IS NULL THEN 'no signed bytes' ELSE format('%s %s', v.what, v.found) END
    FROM j FULL JOIN s ON s.order_id = j.order_id
    CROSS JOIN LATERAL (VALUES
        ('id at the venue', j.detail ->> 'venue_order_id', s.venue_order_id),
        ('bytes with the digest', j.detail ->> 'body', s.body),
        ('signed fields with the digest', j.detail ->> 'fields', s.fields),
        ('signed by', j.detail ->> 'signed_by', s.signed_by::text),
        ('signed at', j.at::text, s.signed_at::text)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found AND (j.order_id IS NOT NULL AND s.order_id IS NOT NULL OR v.what = 'signed at')
      AND NOT (j.order_id IS NULL AND audit._archived_between(s.signed_at, s.signed_at))
$$;
COMMENT ON FUNCTION audit._check_signed_bytes(bigint, bigint) IS
    'Signed bytes and fields are those whose digests and id the journal took in the commit that stored them.';

CREATE OR REPLACE FUNCTION audit._check_attempt_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.attempt, q.from_state, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.to_state IS NOT NULL),
    opened AS MATERIALIZED (SELECT j.* FROM j WHERE j.event = 'OPEN'),
    ended AS MATERIALIZED (
        SELECT DISTINCT ON (j.order_id, j.attempt) j.order_id, j.attempt, j.at, j.detail FROM j
        WHERE j.event IN ('ACCEPT', 'DELAY', 'REJECT', 'HOLD_BACK', 'LOSE', 'ATTEMPT_ENDED') AND j.attempt IS NOT NULL
        ORDER BY j.order_id, j.attempt, j.seq),
    t AS MATERIALIZED (
        SELECT q.* FROM ledger.attempt q
        JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s, attempt %s', coalesce(j.order_id, t.order_id), coalesce(j.attempt, t.attempt)),
        CASE WHEN j.order_id IS NULL THEN 'no attempt, for the journal opened none' ELSE format('%s %s', v.what, v.expected) END,
        CASE WHEN t.order_id IS NULL THEN 'no attempt' ELSE format('%s %s', v.what, v.found) END
    FROM opened j FULL JOIN t ON t.order_id = j.order_id AND t.attempt = j.attempt
    CROSS JOIN LATERAL (VALUES
        ('opened at', j.at::text, t.opened_at::text),
        ('send by', audit._time(j.detail ->> 'send_by')::text, t.send_by::text),
        ('deadline', audit._time(j.detail ->> 'deadline')::text, t.deadline::text),
        ('by', j.detail ->> 'incarnation', t.incarnation::text),
        ('with the key', j.detail ->> 'owner', t.owner)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found AND (j.order_id IS NOT NULL AND t.order_id IS NOT NULL OR v.what = 'opened at')
      AND NOT (j.order_id IS NULL AND audit._archived_between(t.opened_at, t.opened_at))
    UNION ALL
    SELECT format('order %s, attempt %s', t.order_id, t.attempt), x.text, f.text
    FROM t LEFT JOIN ended e ON e.order_id = t.order_id AND e.attempt = t.attempt
    CROSS JOIN LATERAL (SELECT CASE WHEN e.order_id IS NULL THEN 'open (), answer none' ELSE format('%s (%s) at %s, answer %s',
        coalesce(e.detail ->> 'outcome', 'lapsed'), coalesce(e.detail ->> 'code', ''), e.at,
        coalesce(e.detail ->> 'answer', 'none')) END AS text) x
    CROSS JOIN LATERAL (SELECT format('%s (%s)%s, answer %s', t.outcome, t.code, ' at ' || t.ended_at,
        coalesce(encode(sha256(convert_to(t.answer, 'UTF8')), 'hex'), 'none')) AS text) f
    WHERE x.text IS DISTINCT FROM f.text AND NOT (e.order_id IS NULL AND audit._archived_between(t.opened_at, t.ended_at))
    UNION ALL
    SELECT format('order %s', o.order_id), format('last deadline %s', m.deadline), format('last deadline %s', o.last_deadline)
    FROM ledger.orders o
    LEFT JOIN (SELECT t.order_id, max(t.deadline) AS deadline FROM t GROUP BY t.order_id) m ON m.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.last_deadline IS DISTINCT FROM m.deadline
$$;
COMMENT ON FUNCTION audit._check_attempt_journal(bigint, bigint) IS
    'Each attempt was opened as the journal says, with that deadline, and ended as it says; the last deadline is the latest.';

CREATE OR REPLACE FUNCTION audit._check_evidence(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL),
    v AS MATERIALIZED (
        SELECT q.* FROM ledger.evidence q JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id),
    absent AS MATERIALIZED (
        SELECT j.order_id, j.at, j.detail, t.deadline,
            t.deadline + make_interval(secs => CASE WHEN j.detail ->> 'quarantine_ms' ~ '^[0-9]{1,9}$'
                THEN (j.detail ->> 'quarantine_ms')::bigint END / 1000.0) AS quarantine_end,
            CASE WHEN j.detail ->> 'through' ~ '^[0-9]{1,18}$' THEN (j.detail ->> 'through')::bigint END AS through
        FROM j LEFT JOIN LATERAL (SELECT max(q.deadline) AS deadline FROM ledger.attempt q WHERE q.account_id = p_account_id
                                  AND q.order_id = j.order_id AND q.opened_at <= j.at) t ON true
        WHERE j.event = 'ABSENT' AND j.to_state = 'NOT_PLACED' AND NOT j.detail ? 'operator')
    -- What absence was concluded from is still there, and still proves it.
    SELECT format('order %s', a.order_id), x.expected, x.found
    FROM absent a
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, encode(sha256(convert_to(string_agg(jsonb_build_array(v.evidence_id, v.kind,
            extract(epoch FROM v.started_at), extract(epoch FROM v.at), v.incarnation, v.owner, v.detail)::text, E'\n'
            ORDER BY v.evidence_id), 'UTF8')), 'hex') AS digest,
            bool_or(v.kind = 'delete_answered' AND v.started_at > a.deadline) AS deleted,
            bool_or(v.kind IN ('sighting', 'duplicated')) AS sighted
        FROM v WHERE v.order_id = a.order_id AND v.evidence_id <= a.through) e
    CROSS JOIN LATERAL (VALUES
        (format('%s pieces of evidence with the digest %s', a.detail ->> 'pieces', a.detail ->> 'digest'),
         format('%s pieces of evidence with the digest %s', e.n, e.digest)),
        (format('the deadline %s that absence was counted from', audit._time(a.detail ->> 'deadline')),
         format('the deadline %s that absence was counted from', a.deadline)),
        ('absence concluded after the quarantine', CASE WHEN a.at > a.quarantine_end THEN 'absence concluded after the quarantine'
            ELSE format('at %s, and the quarantine ended at %s', a.at, coalesce(a.quarantine_end::text, 'no time at all')) END),
        ('a DELETE answered after the last attempt could have arrived', CASE WHEN e.deleted
            THEN 'a DELETE answered after the last attempt could have arrived' ELSE 'no such evidence' END),
        ('never seen at the venue', CASE WHEN e.sighted THEN 'a sighting' ELSE 'never seen at the venue' END)) x (expected, found)
    WHERE x.expected IS DISTINCT FROM x.found
    UNION ALL
    SELECT format('order %s, attempt %s', t.order_id, t.attempt), k.kind || ' begun after the quarantine with the attempt''s own key',
        'no such evidence'
    FROM absent a
    JOIN ledger.attempt t ON t.account_id = p_account_id AND t.order_id = a.order_id AND t.opened_at <= a.at
    CROSS JOIN (VALUES ('order_absent'), ('trades_absent')) k (kind)
    WHERE t.outcome IN ('unknown', 'lapsed') AND NOT EXISTS (
        SELECT FROM v WHERE v.order_id = t.order_id AND v.kind = k.kind AND v.owner = t.owner
        AND v.started_at > a.quarantine_end AND v.evidence_id <= a.through)
    UNION ALL
    -- Every other piece leaves its digest in the row of the journal that was written with it.
    SELECT format('order %s', coalesce(j.order_id, d.order_id)),
        CASE WHEN j.order_id IS NULL THEN 'no such evidence, for the journal has none'
             ELSE format('evidence of the journal''s %s at %s', j.event, j.at) END,
        CASE WHEN d.order_id IS NULL THEN 'none, or changed' ELSE format('evidence %s: %s at %s', d.evidence_id, d.kind, d.at) END
    FROM (SELECT j.order_id, j.event, j.at, j.detail ->> 'evidence' AS digest FROM j
          WHERE j.detail ? 'evidence' AND j.event <> 'ABSENT' OR j.detail ? 'operator' OR j.event IN ('REFUSED_COMPLETION', 'EVIDENCE')
             OR j.event = 'CANCEL_ANSWERED' AND j.detail ->> 'answer' IN ('accepted', 'refused')) j
    FULL JOIN (SELECT v.order_id, v.evidence_id, v.kind, v.at, encode(sha256(convert_to(jsonb_build_array(v.evidence_id, v.kind,
                   extract(epoch FROM v.started_at), extract(epoch FROM v.at), v.incarnation, v.owner, v.detail)::text, 'UTF8')), 'hex')
                   AS digest
               FROM v WHERE v.kind NOT IN ('order_absent', 'trades_absent')) d ON d.order_id = j.order_id AND d.digest = j.digest
    WHERE (j.order_id IS NULL OR d.order_id IS NULL) AND NOT (j.order_id IS NULL AND audit._archived_between(d.at, d.at))
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'a read of the order, or a person''s word', coalesce(j.detail ->> 'source', 'neither')
    FROM j WHERE j.event IN ('END_CANCELLED', 'END_EXPIRED') AND j.to_state IS NOT NULL
      AND NOT (j.detail ? 'operator' OR j.detail ->> 'source' IS NOT DISTINCT FROM 'read')
$$;
COMMENT ON FUNCTION audit._check_evidence(bigint, bigint) IS
    'What ended by absence, by a read or by a person still has the evidence for it, unchanged and begun late enough.';

-- file: ledger/sql/views/checks_rules.sql
-- purpose: hold what stops and limits trading against its history: limits, halts, suspensions, the burst limiter, accounts,
--          grants, what left the journal, and the guards that keep rows from being changed.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   orders_of_market, journal_of_market, limits and halt by primary key; the catalog for the guards.
-- fence:   as checks_orders.sql. Whoever suspends a market journals why and until, and stores event and why together:
--          the check of suspensions knows any such event.

CREATE OR REPLACE FUNCTION audit._check_suspensions(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT 'suspension', coalesce(x.text, 'none, for the journal knows of none'), coalesce(f.text, 'none')
    FROM (SELECT p_account_id AS account_id) p
    LEFT JOIN LATERAL (
        SELECT format('%s %s until %s', j.event, j.detail ->> 'why', audit._time(j.detail ->> 'until')) AS text
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.order_id IS NULL
          -- A breaker that opened stands in a row of its own.
          AND j.event <> 'BREAKER_OPENED' AND j.detail ? 'why' AND j.detail ? 'until'
        ORDER BY j.market_seq DESC LIMIT 1) x ON true
    LEFT JOIN LATERAL (
        SELECT format('%s until %s', e.suspended_why, e.suspended_until) AS text, e.suspended_until AS until FROM ledger.exposure e
        WHERE e.account_id = p_account_id AND e.market_id = p_market_id
          AND (e.suspended_until IS NOT NULL OR e.suspended_why IS NOT NULL)) f ON true
    WHERE x.text IS DISTINCT FROM f.text AND NOT (x.text IS NULL AND audit._archived_between(NULL, f.until))
$$;
COMMENT ON FUNCTION audit._check_suspensions(bigint, bigint) IS
    'The market is suspended until when, and for what, its latest suspension in the journal says.';

CREATE OR REPLACE FUNCTION audit._check_limiter(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH e AS MATERIALIZED (
        SELECT q.admitted_at, q.last_admitted_at AS last, q.last_set_id FROM ledger.exposure q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id),
    sells AS (
        -- Sales may count where the limit ever said so; when it said so is not worth retracing.
        SELECT EXISTS (SELECT FROM ledger.limits l WHERE l.burst_counts_sells)
            OR EXISTS (SELECT FROM ledger.limit_change c WHERE c.name = 'burst_counts_sells' AND 'true' IN (c.before, c.after)) AS may),
    asked AS MATERIALIZED (
        SELECT a.at, a.set_id, a.side = 'BUY' AS must FROM (
            SELECT r.created_at AS at, o.set_id, o.side FROM ledger.orders o
            JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
            WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.replaces_order_id IS NULL
            UNION ALL
            -- A replacement counts when it is asked for, whatever becomes of it.
            SELECT q.asked_at, NULL, o.side FROM ledger.replacement q
            JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
            WHERE q.account_id = p_account_id AND o.market_id = p_market_id) a
        WHERE a.side = 'BUY' OR (SELECT sells.may FROM sells)),
    changed AS (
        -- The limit decides whether times are kept at all. Where it was changed since, either is right.
        SELECT EXISTS (SELECT FROM ledger.limit_change c WHERE c.name = 'burst_per_minute'
            AND c.account_id IN (0, p_account_id) AND c.market_id IN (0, p_market_id)
            AND c.changed_at > e.last - interval '70 seconds') AS recently,
            (SELECT l.burst_per_minute FROM audit.limits l
             WHERE l.account_id = p_account_id AND l.market_id = p_market_id) AS per_minute
        FROM e),
    times AS (
        SELECT t.at, count(*) FILTER (WHERE t.kept) AS found, count(*) FILTER (WHERE t.must) AS must,
            count(*) FILTER (WHERE NOT t.kept) AS may
        FROM (SELECT u.at, true AS kept, false AS must FROM e CROSS JOIN LATERAL unnest(e.admitted_at) u (at)
              UNION ALL SELECT a.at, false, a.must FROM asked a JOIN e ON a.at > e.last - interval '1 minute') t
        GROUP BY t.at)
    SELECT 'last_admitted_at', coalesce(m.last::text, 'nothing admitted'), coalesce(e.last::text, 'nothing admitted')
    FROM (SELECT max(a.at) FILTER (WHERE a.must) AS last, count(*) AS n FROM asked a) m
    LEFT JOIN e ON true
    WHERE e.last IS DISTINCT FROM m.last
      AND NOT coalesce((m.last IS NULL OR e.last >= m.last) AND EXISTS (SELECT FROM asked a WHERE a.at = e.last), false)
    UNION ALL
    SELECT 'last_set_id', 'the set of an order of that time', coalesce(e.last_set_id::text, 'none')
    FROM e WHERE (e.last IS NOT NULL OR e.last_set_id IS NOT NULL) AND NOT EXISTS (
        SELECT FROM asked a WHERE a.at = e.last AND a.set_id IS NOT DISTINCT FROM e.last_set_id)
    UNION ALL
    SELECT format('admitted at %s', t.at), format('counted %s times', CASE WHEN t.found < t.must THEN t.must ELSE t.may END),
        t.found::text
    FROM times t CROSS JOIN changed c
    WHERE t.found > t.may
       OR t.found < t.must AND c.per_minute IS NOT NULL AND NOT c.recently AND (SELECT sum(q.may) FROM times q) < 600
    UNION ALL
    SELECT 'admitted_at', 'no times while there is no limit', format('%s times', cardinality(e.admitted_at))
    FROM e CROSS JOIN changed c WHERE c.per_minute IS NULL AND NOT c.recently AND cardinality(e.admitted_at) > 0
$$;
COMMENT ON FUNCTION audit._check_limiter(bigint, bigint) IS
    'What the burst limiter remembers are the orders and replacements that were admitted in its minute.';

CREATE OR REPLACE FUNCTION audit._check_accounts(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.actor, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('ACCOUNT_OPENED', 'SIGNS_AS', 'GRANTED', 'REVOKED')),
    signs AS (
        SELECT j.detail FROM j WHERE j.event IN ('ACCOUNT_OPENED', 'SIGNS_AS') ORDER BY j.seq DESC LIMIT 1)
    SELECT v.what, coalesce(v.expected, 'none'), coalesce(v.found, 'none')
    FROM (SELECT p_account_id AS account_id) p
    LEFT JOIN ledger.account a ON a.account_id = p.account_id
    LEFT JOIN j ON j.event = 'ACCOUNT_OPENED' LEFT JOIN signs s ON true
    CROSS JOIN LATERAL (VALUES
        ('opened', j.at::text, a.created_at::text), ('name', j.detail ->> 'name', a.name),
        ('venue', j.detail ->> 'venue', a.venue), ('quarantine_ms', j.detail ->> 'quarantine_ms', a.quarantine_ms::text),
        ('signature type', j.detail ->> 'signature_type', a.signature_type::text),
        ('maker', s.detail ->> 'maker', a.maker), ('signer', s.detail ->> 'signer', a.signer)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found
      AND NOT ((j.seq IS NULL OR v.what IN ('maker', 'signer')) AND audit._archived_between(a.created_at, NULL))
    UNION ALL
    -- Only what stands: a grant that was taken away opens nothing.
    SELECT 'grant to ' || g.role_name, 'none, for the journal knows of none', format('granted by %s at %s', g.granted_by, g.granted_at)
    FROM ledger.account_grant g
    WHERE g.account_id = p_account_id AND NOT EXISTS (
        SELECT FROM j WHERE j.event = 'GRANTED' AND j.detail ->> 'role' = g.role_name AND j.at = g.granted_at AND j.actor = g.granted_by
          -- And was not taken away since: what stands again without a word was put back by hand.
          AND NOT EXISTS (SELECT FROM j r WHERE r.event = 'REVOKED' AND r.seq > j.seq AND r.detail ->> 'role' = g.role_name))
      AND NOT audit._archived_between(g.granted_at, g.granted_at)
$$;
COMMENT ON FUNCTION audit._check_accounts(bigint) IS
    'The account is what the journal says was opened and signs; no login has a grant that the journal does not know.';

CREATE OR REPLACE FUNCTION audit._check_venue_modes(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.detail ->> 'mode' AS mode FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('VENUE_MODE_BEGAN', 'VENUE_MODE_ENDED')),
    began AS (SELECT DISTINCT ON (j.mode) j.mode, j.seq, j.at FROM j WHERE j.event = 'VENUE_MODE_BEGAN' ORDER BY j.mode, j.seq DESC)
    SELECT coalesce(b.mode, m.mode), CASE WHEN b.mode IS NULL THEN 'never seen, by the journal'
            ELSE format('since %s, ended at %s', b.at, coalesce(e.at::text, 'no time')) END,
        CASE WHEN m.mode IS NULL THEN 'forgotten' ELSE format('since %s, ended at %s', m.since, coalesce(m.ended_at::text, 'no time')) END
    FROM began b
    LEFT JOIN LATERAL (SELECT min(j.at) AS at FROM j WHERE j.mode = b.mode AND j.event = 'VENUE_MODE_ENDED' AND j.seq > b.seq) e ON true
    FULL JOIN (SELECT q.* FROM ledger.venue_mode q WHERE q.account_id = p_account_id) m ON m.mode = b.mode
    WHERE (b.at, e.at) IS DISTINCT FROM (m.since, m.ended_at)
      AND NOT audit._archived_between(coalesce(m.since, b.at), NULL)
$$;
COMMENT ON FUNCTION audit._check_venue_modes(bigint) IS 'Each mode of the venue began and ended when the journal says.';

CREATE OR REPLACE FUNCTION audit._check_dead_letters(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s %s', x.source, x.subject), 'a dead letter that waits', 'none'
    FROM (SELECT 'outbox' AS source, b.order_id::text AS subject FROM ledger.outbox b
          WHERE b.account_id = p_account_id AND b.status = 'dead'
          UNION ALL SELECT 'venue_event', e.event_id FROM ledger.venue_event e
          WHERE e.account_id = p_account_id AND e.applied_at IS NULL AND e.problem IS NOT NULL) x
    WHERE NOT EXISTS (SELECT FROM ledger.dead_letter d WHERE d.account_id = p_account_id AND d.source = x.source
                      AND d.subject = x.subject AND d.retried_at IS NULL)
    UNION ALL
    SELECT format('run %s', r.run_id), 'the differences it found', 'none'
    FROM ledger.reconcile_run r WHERE r.account_id = p_account_id AND r.result = 'drift'
      AND NOT EXISTS (SELECT FROM ledger.drift d WHERE d.account_id = r.account_id AND d.run_id = r.run_id)
    UNION ALL
    SELECT format('drift %s', d.drift_id), 'the run that found it', 'no run ' || d.run_id
    FROM ledger.drift d WHERE d.account_id = p_account_id AND d.run_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM ledger.reconcile_run r WHERE r.account_id = d.account_id AND r.run_id = d.run_id)
$$;
COMMENT ON FUNCTION audit._check_dead_letters(bigint) IS
    'What could not be handled waits as a dead letter, and a comparison that found drift has its differences.';

CREATE OR REPLACE FUNCTION audit._check_limits()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH begin (name, value) AS (VALUES
        -- What a new ledger starts with; at every other level nothing is set.
        ('max_outcome_micros', '100000000'), ('max_market_micros', '200000000'), ('burst_per_minute', '6'),
        ('burst_gap_ms', '2000'), ('burst_counts_sells', 'false'), ('book_age_ms', '30000'), ('self_match_allowed', 'false'),
        ('duplicate_window_ms', '1000'), ('duplicate_refused', 'false'), ('weekend_allowed', 'true'), ('breaker_rejects', '3'),
        ('breaker_cancels', '3'), ('slow_ms', '2000'), ('stop_ms', '5000')),
    changes AS MATERIALIZED (
        SELECT c.account_id, c.market_id, c.name, c.change_id, c.before, c.after,
            CASE WHEN lag(c.change_id) OVER w IS NULL THEN CASE WHEN c.account_id = 0 AND c.market_id = 0 THEN b.value END
                 ELSE lag(c.after) OVER w END AS previous,
            lead(c.change_id) OVER w IS NULL AS is_last
        FROM ledger.limit_change c LEFT JOIN begin b ON b.name = c.name
        WHERE c.scope = ''
        WINDOW w AS (PARTITION BY c.account_id, c.market_id, c.name ORDER BY c.change_id)),
    stands AS (
        SELECT l.account_id, l.market_id, v.key AS name, v.value FROM ledger.limits l
        CROSS JOIN LATERAL jsonb_each_text(to_jsonb(l) - 'account_id' - 'market_id') v),
    wanted AS (
        SELECT c.account_id, c.market_id, c.name, c.after AS value FROM changes c WHERE c.is_last
        UNION ALL
        SELECT 0, 0, b.name, b.value FROM begin b
        WHERE NOT EXISTS (SELECT FROM changes c WHERE c.account_id = 0 AND c.market_id = 0 AND c.name = b.name)),
    wrong AS (
        SELECT coalesce(w.account_id, s.account_id) AS account_id, coalesce(w.market_id, s.market_id) AS market_id,
            coalesce(w.name, s.name) AS what, coalesce(w.value, 'not set') AS expected, coalesce(s.value, 'not set') AS found
        FROM wanted w FULL JOIN stands s ON s.account_id = w.account_id AND s.market_id = w.market_id AND s.name = w.name
        WHERE w.value IS DISTINCT FROM s.value
        UNION ALL
        SELECT c.account_id, c.market_id, format('%s, change %s', c.name, c.change_id),
            'from ' || coalesce(c.previous, 'not set'), 'from ' || coalesce(c.before, 'not set')
        FROM changes c WHERE c.previous IS DISTINCT FROM c.before)
    SELECT format('%s, %s: %s', CASE x.account_id WHEN 0 THEN 'all accounts' ELSE coalesce(a.name, 'account ' || x.account_id) END,
        CASE x.market_id WHEN 0 THEN 'all markets' ELSE coalesce(m.slug, m.condition_id, 'market ' || x.market_id) END, x.what),
        x.expected, x.found
    FROM wrong x
    LEFT JOIN ledger.account a ON a.account_id = x.account_id
    LEFT JOIN ledger.market m ON m.market_id = x.market_id
$$;
COMMENT ON FUNCTION audit._check_limits() IS
    'Each limit is what its last change made of it, or what a new ledger starts with; each change began where the last one ended.';

CREATE OR REPLACE FUNCTION audit._check_halt_changes()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH h AS MATERIALIZED (
        SELECT q.halt_id, v.change, format('%s of %s by %s (%s) at %s: %s', v.change,
            trim(trailing ' ' FROM format('%s %s', q.scope, q.scope_id)), v.changed_by, v.changed_as, v.changed_at, v.why) AS text
        FROM ledger.halt q CROSS JOIN LATERAL (VALUES
            ('set', q.set_by, q.set_as, q.set_at, q.why),
            ('cleared', q.cleared_by, q.cleared_as, q.cleared_at, q.cleared_why)) v (change, changed_by, changed_as, changed_at, why)
        WHERE v.changed_at IS NOT NULL),
    c AS MATERIALIZED (
        SELECT q.halt_id, q.change, format('%s of %s by %s (%s) at %s: %s', q.change,
            trim(trailing ' ' FROM format('%s %s', q.scope, q.scope_id)), q.changed_by, q.changed_as, q.changed_at, q.why) AS text,
            count(*) OVER (PARTITION BY q.halt_id, q.change) AS n
        FROM ledger.halt_change q)
    SELECT format('halt %s', coalesce(c.halt_id, h.halt_id)),
        coalesce(c.text, format('not %s, for no change of it is known', h.change)), coalesce(h.text, format('not %s', c.change))
    FROM c FULL JOIN h ON h.halt_id = c.halt_id AND h.change = c.change
    WHERE c.text IS DISTINCT FROM h.text
    UNION ALL
    SELECT DISTINCT format('halt %s', c.halt_id), format('%s once', c.change), format('%s times', c.n) FROM c WHERE c.n > 1
$$;
COMMENT ON FUNCTION audit._check_halt_changes() IS
    'Each halt was set and cleared by a change that is still known, and none was set, changed, cleared or deleted otherwise.';

CREATE OR REPLACE FUNCTION audit._check_archive()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET datestyle = 'ISO'
AS $$
DECLARE
    p ledger.archived_partition;
    v_count bigint;
    v_digest bytea;
BEGIN
    RETURN QUERY
        SELECT 'the journal of all accounts', format('%s rows, %s archived', q.made - q.gone, q.gone), format('%s rows', q.here)
        FROM (SELECT (SELECT coalesce(sum(s.journal_seq), 0) FROM ledger.account_state s) AS made,
                     (SELECT coalesce(sum(a.row_count), 0) FROM ledger.archived_partition a) AS gone,
                     (SELECT count(*) FROM ledger.journal j) AS here) q
        WHERE q.here <> q.made - q.gone;
    FOR p IN SELECT * FROM ledger.archived_partition LOOP
        IF p.partition_name !~ '^journal_[0-9]{4}_[0-9]{2}$' OR p.row_count > 0 AND (p.first_at IS NULL OR p.last_at IS NULL
            OR to_char(p.first_at, '"journal_"YYYY_MM') <> p.partition_name OR to_char(p.last_at, '"journal_"YYYY_MM') <> p.partition_name) THEN
            RETURN QUERY SELECT p.partition_name, 'rows of that month'::text, format('%s rows from %s to %s', p.row_count, p.first_at, p.last_at);
        ELSIF to_regclass('ledger.' || p.partition_name) IS NOT NULL THEN
            -- Its owner has not dropped it yet: it must be what was recorded.
            EXECUTE format($q$ SELECT count(*), sha256(convert_to(coalesce(string_agg(j::text, E'\n' ORDER BY account_id, seq), ''), 'UTF8'))
                FROM ledger.%I j $q$, p.partition_name) INTO v_count, v_digest;
            IF v_count <> p.row_count OR v_digest <> p.digest THEN
                RETURN QUERY SELECT p.partition_name, format('%s rows with the digest %s', p.row_count, encode(p.digest, 'hex')),
                    format('%s rows with the digest %s', v_count, encode(v_digest, 'hex'));
            END IF;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION audit._check_archive() IS
    'What the journal once held and holds no longer was archived, row for row, and what was archived and is still here is unchanged.';

CREATE OR REPLACE FUNCTION audit._check_guards()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH guard (what, table_name, name) AS (VALUES
        ('trigger', 'journal', 'journal_append_only'), ('trigger', 'journal', 'journal_no_truncate'),
        ('trigger', 'balance_entry', 'balance_entry_append_only'), ('trigger', 'balance_entry', 'balance_entry_no_truncate'),
        ('trigger', 'limit_change', 'limit_change_append_only'), ('trigger', 'halt_change', 'halt_change_append_only'),
        ('trigger', 'signed_order', 'signed_order_append_only'), ('trigger', 'account', 'account_is_fixed'),
        ('trigger', 'orders', 'order_moves_legally'),
        ('index', 'orders', 'orders_by_venue_id'), ('index', 'attempt', 'attempt_one_open'),
        ('index', 'replacement', 'replacement_waiting'), ('constraint', 'orders', 'sent_orders_have_an_id'),
        ('constraint', 'orders', 'post_only_rests'), ('constraint', 'orders', 'gtd_expires'))
    SELECT format('%s of %s', g.name, g.table_name), 'the ' || g.what, 'none'
    FROM guard g
    WHERE NOT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'ledger' AND c.relname = g.table_name
        AND CASE g.what
            WHEN 'trigger' THEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = g.name)
            WHEN 'index' THEN EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND x.relname = g.name AND i.indisunique AND i.indisvalid)
            ELSE EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = g.name) END)
    UNION ALL
    -- Those of foreign keys too: a check that was switched off lets in what was never there.
    SELECT format('%s of %s', t.tgname, c.relname), 'a trigger that fires', 'it is switched off'
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND t.tgenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT format('%s of %s', k.conname, c.relname), 'a constraint that was checked', 'it was not'
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND NOT k.convalidated
    UNION ALL
    SELECT format('%s of journal', c.relname), 'a trigger that refuses TRUNCATE', 'none'
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ledger.journal'::regclass AND NOT EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = c.relname || '_no_truncate')
$$;
COMMENT ON FUNCTION audit._check_guards() IS
    'Triggers, unique indexes and constraints that keep rows as they are stand, and none is switched off.';

-- file: ledger/sql/views/checks_risk.sql
-- purpose: recompute what risk counts: costs of positions, totals of accounts and groups, loans, the other side of entries.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   fill and reservation by account and market; balance_entry_moved; primary keys.
-- fence:   as checks_orders.sql.

CREATE OR REPLACE FUNCTION audit._check_costs(p_account_id bigint, p_market_id bigint)
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

CREATE OR REPLACE FUNCTION audit._check_risk_totals(p_account_id bigint)
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

CREATE OR REPLACE FUNCTION audit._check_contra(p_account_id bigint)
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

CREATE OR REPLACE FUNCTION audit._check_breakers(p_account_id bigint)
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

CREATE OR REPLACE FUNCTION audit._check_loans()
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

CREATE OR REPLACE FUNCTION audit._check_total_limits()
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

CREATE OR REPLACE FUNCTION audit._notice_open_breakers(p_account_id bigint)
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

-- file: ledger/sql/views/checks_withdrawals.sql
-- purpose: recompute withdrawals: what was asked, how far each is, what was booked for it, and that it was given back on proof alone.
-- locks:   none; one STABLE function, so it sees one snapshot.
-- index:   withdrawal and its children by primary key; journal by account; balance_entry by account and key.
-- fence:   as checks_orders.sql.

CREATE OR REPLACE FUNCTION audit._check_withdrawals(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT (q.detail ->> 'withdrawal')::bigint AS id, q.seq, q.at, q.event, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('WITHDRAWAL_ASKED', 'WITHDRAWAL_MOVED')),
    asked AS (SELECT * FROM j WHERE j.event = 'WITHDRAWAL_ASKED'),
    last AS (SELECT DISTINCT ON (j.id) j.id, j.to_state, j.at FROM j ORDER BY j.id, j.seq DESC),
    w AS MATERIALIZED (
        SELECT q.*, q.state IN ('DEBITED', 'SENDING', 'UNKNOWN', 'FAILED', 'DONE') AS is_out, b.hash,
            (SELECT coalesce(sum(e.available_delta), 0) FROM ledger.balance_entry e WHERE e.account_id = q.account_id
               AND e.order_id IS NULL AND e.entry_key LIKE format('withdrawal:%s:%%', q.withdrawal_id)) AS booked,
            (SELECT count(*) FROM ledger.balance_entry e WHERE e.account_id = q.account_id
               AND e.order_id IS NULL AND e.entry_key LIKE format('withdrawal:%s:%%', q.withdrawal_id)) AS entries,
            (SELECT count(*) FROM ledger.withdrawal_attempt t
             WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id) AS tried,
            EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id
                      AND t.outcome = 'done') AS seen_done,
            EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id
                      AND t.outcome NOT IN ('refused', 'not_sent')) AS in_doubt,
            EXISTS (SELECT FROM ledger.withdrawal_evidence v WHERE v.account_id = q.account_id AND v.withdrawal_id = q.withdrawal_id
                      AND v.kind IN ('failed', 'absent', 'operator')) AS proved
        FROM ledger.withdrawal q
        LEFT JOIN ledger.withdrawal_transfer b ON b.account_id = q.account_id AND b.withdrawal_id = q.withdrawal_id
        WHERE q.account_id = p_account_id)
    SELECT format('withdrawal %s, %s', x.id, x.what), x.expected, x.found FROM (
        SELECT coalesce(w.withdrawal_id, a.id) AS id, v.what, v.expected, v.found
        FROM w FULL JOIN asked a ON a.id = w.withdrawal_id LEFT JOIN last l ON l.id = coalesce(w.withdrawal_id, a.id)
        CROSS JOIN LATERAL (VALUES
            ('amount', a.detail ->> 'amount', w.amount_micros::text), ('destination', a.detail ->> 'destination', w.destination),
            ('key', a.detail ->> 'key', w.key), ('why', a.detail ->> 'why', w.why), ('asked at', a.at::text, w.asked_at::text),
            ('state', l.to_state, w.state)) v (what, expected, found)
        WHERE v.expected IS DISTINCT FROM v.found AND NOT (v.expected IS NULL AND audit._archived_between(w.asked_at, NULL))
        UNION ALL
        SELECT w.withdrawal_id, 'booked', v.amount::text, w.booked::text
        FROM w CROSS JOIN LATERAL (SELECT CASE WHEN w.is_out THEN -w.amount_micros ELSE 0 END AS amount) v WHERE v.amount <> w.booked
        UNION ALL
        SELECT w.withdrawal_id, 'bytes of its transfer', 'stored with the debit', 'none' FROM w WHERE w.entries > 0 AND w.hash IS NULL
        UNION ALL
        SELECT w.withdrawal_id, 'attempts', w.tried::text, w.attempts::text FROM w WHERE w.tried <> w.attempts
        UNION ALL
        SELECT w.withdrawal_id, 'state', 'DONE, for an attempt was answered so', w.state FROM w WHERE w.seen_done AND w.state <> 'DONE'
        UNION ALL
        SELECT w.withdrawal_id, 'proof that nothing moved', 'before it was given back', 'none'
        FROM w WHERE w.state IN ('FAILED', 'COMPENSATED') AND w.in_doubt AND NOT w.proved) x
$$;
COMMENT ON FUNCTION audit._check_withdrawals(bigint) IS
    'Each withdrawal is what was asked and where its last move left it; its money left once, and came back only on proof.';

-- file: ledger/sql/views/checks.sql
-- purpose: run the checks: market by market, account by account, and once for the ledger; notices of what needs a look.
-- locks:   none.
-- index:   as in the checks; check_scopes reads primary keys of exposure and the small indexes of orders and fills.
-- fence:   SECURITY DEFINER, read only, search_path ends in pg_temp: the auditor may run these and no check under them.
--          Each call is one statement, so one snapshot: rows that were written in one commit are compared as one.
-- Whole tables are compared, so a nested loop is never right, and on tables without statistics it is what the planner
-- takes: over 5,000 orders minutes instead of a second and a half.

CREATE OR REPLACE FUNCTION audit._notice_unresolved(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), 'evidence soon after the quarantine', format('%s since %s', o.state, o.state_at)
    FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
    WHERE o.account_id = p_account_id AND o.state IN ('SENDING', 'UNKNOWN', 'DELAYED')
      AND o.state_at < ledger.clock() - 2 * make_interval(secs => a.quarantine_ms / 1000.0)
    UNION ALL
    SELECT format('order %s', r.order_id), 'trades for what is matched', format('%s matched without trades since %s',
        r.awaiting_micros, r.awaiting_since)
    FROM ledger.reservation r
    WHERE r.account_id = p_account_id AND r.phase <> 'released' AND r.awaiting_since < ledger.clock() - interval '1 minute'
    UNION ALL
    SELECT format('fill %s of order %s', f.trade_id, f.order_id), 'confirmed or failed', format('%s since %s', f.raw_status, f.matched_at)
    FROM ledger.fill f
    WHERE f.account_id = p_account_id AND f.settlement = 'provisional' AND f.matched_at < ledger.clock() - interval '1 hour'
$$;
COMMENT ON FUNCTION audit._notice_unresolved(bigint) IS 'Fates open for twice the quarantine, matched size without trades, fills long provisional.';

CREATE OR REPLACE FUNCTION audit._notice_waiting(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('dead letter %s (%s %s)', d.dead_letter_id, d.source, d.subject), 'a retry', left(d.problem, 200)
    FROM ledger.dead_letter d WHERE d.account_id = p_account_id AND d.retried_at IS NULL
    UNION ALL
    SELECT format('order %s', s.order_id), 'bytes that can be read as an order', 'other bytes'
    FROM ledger.signed_order s WHERE s.account_id = p_account_id AND audit._json(s.body) #> '{order}' IS NULL
    UNION ALL
    SELECT format('drift %s (%s)', d.drift_id, d.subject), 'a resolution', format('%s: ours %s, theirs %s', d.kind, d.ours, d.theirs)
    FROM ledger.drift d WHERE d.account_id = p_account_id AND d.resolved_at IS NULL
$$;
COMMENT ON FUNCTION audit._notice_waiting(bigint) IS 'Dead letters, unreadable bytes and differences with the venue that wait for a person.';

CREATE OR REPLACE FUNCTION audit._notice_times(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT x.subject, 'a time not far ahead of ' || ledger.clock(), x.at::text
    FROM (SELECT format('time of market %s', coalesce(m.slug, m.condition_id)) AS subject, e.clock_at AS at, interval '1 minute' AS ahead
          FROM ledger.exposure e JOIN ledger.market m ON m.market_id = e.market_id WHERE e.account_id = p_account_id
          UNION ALL
          SELECT format('cancel of order %s', c.order_id), c.next_at, interval '5 minutes'
          FROM ledger.cancel_request c WHERE c.account_id = p_account_id AND c.status = 'due'
          UNION ALL
          SELECT format('outbox row of order %s', b.order_id), b.not_before, interval '5 minutes'
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.status <> 'done'
          UNION ALL
          SELECT format('claim of order %s', b.order_id), b.claimed_until, interval '1 hour'
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.status <> 'done'
          UNION ALL
          SELECT format('cursor %s', c.name), c.moved_at, interval '1 minute' FROM ledger.cursor c WHERE c.account_id = p_account_id) x
    WHERE x.at > ledger.clock() + x.ahead
$$;
COMMENT ON FUNCTION audit._notice_times(bigint) IS 'Cancels, placements and claims put off for long, and times ahead of the clock.';

CREATE OR REPLACE FUNCTION audit._notice_halts()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT trim(trailing ' ' FROM format('%s %s', h.scope, h.scope_id)), 'no halt', format('version %s: %s', h.halt_id, h.why)
    FROM ledger.halt h WHERE h.cleared_at IS NULL
$$;
COMMENT ON FUNCTION audit._notice_halts() IS 'Halts that stand.';

CREATE OR REPLACE FUNCTION audit.check_list() RETURNS TABLE (name text, scope text, is_notice boolean, meaning text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(p.proname, '^_(check|notice)_', ''), (ARRAY['ledger', 'account', 'market'])[p.pronargs + 1],
        p.proname LIKE '\_notice\_%', obj_description(p.oid, 'pg_proc')
    FROM pg_proc p
    WHERE p.pronamespace = 'audit'::regnamespace AND p.proname ~ '^_(check|notice)_'
    ORDER BY 3, p.pronargs DESC, 1
$$;
COMMENT ON FUNCTION audit.check_list() IS 'Every check and notice, what it runs over (market, account or ledger) and what it says.';

CREATE OR REPLACE FUNCTION audit.check_scopes() RETURNS TABLE (account_id bigint, account text, market_id bigint, market text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x.account_id, coalesce(a.name, 'account ' || x.account_id), x.market_id,
        coalesce(m.slug, m.condition_id, 'market ' || x.market_id)
    FROM (SELECT e.account_id, e.market_id FROM ledger.exposure e
          UNION SELECT o.account_id, o.market_id FROM ledger.orders o
          UNION SELECT r.account_id, r.market_id FROM ledger.reservation r
          UNION SELECT f.account_id, f.market_id FROM ledger.fill f
          UNION SELECT j.account_id, j.market_id FROM ledger.journal j WHERE j.market_id IS NOT NULL
          UNION SELECT a.account_id, NULL FROM ledger.account a
          UNION SELECT s.account_id, NULL FROM ledger.account_state s) x
    LEFT JOIN ledger.account a ON a.account_id = x.account_id
    LEFT JOIN ledger.market m ON m.market_id = x.market_id
    ORDER BY x.account_id, x.market_id NULLS LAST
$$;
COMMENT ON FUNCTION audit.check_scopes() IS 'Each account and market to check; market NULL stands for the account itself.';

CREATE OR REPLACE FUNCTION audit.check_market(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'exposure', c.* FROM audit._check_exposure(p_account_id, p_market_id) c
    UNION ALL SELECT 'reservations', c.* FROM audit._check_reservations(p_account_id, p_market_id) c
    UNION ALL SELECT 'booked', c.* FROM audit._check_booked(p_account_id, p_market_id) c
    UNION ALL SELECT 'orders', c.* FROM audit._check_orders(p_account_id, p_market_id) c
    UNION ALL SELECT 'fills', c.* FROM audit._check_fills(p_account_id, p_market_id) c
    UNION ALL SELECT 'filled_within_size', c.* FROM audit._check_filled_within_size(p_account_id, p_market_id) c
    UNION ALL SELECT 'caps', c.* FROM audit._check_caps(p_account_id, p_market_id) c
    UNION ALL SELECT 'one_venue_order', c.* FROM audit._check_one_venue_order(p_account_id, p_market_id) c
    UNION ALL SELECT 'sent_as_intended', c.* FROM audit._check_sent_as_intended(p_account_id, p_market_id) c
    UNION ALL SELECT 'attempts', c.* FROM audit._check_attempts(p_account_id, p_market_id) c
    UNION ALL SELECT 'outbox', c.* FROM audit._check_outbox(p_account_id, p_market_id) c
    UNION ALL SELECT 'cancels', c.* FROM audit._check_cancels(p_account_id, p_market_id) c
    UNION ALL SELECT 'keys', c.* FROM audit._check_keys(p_account_id, p_market_id) c
    UNION ALL SELECT 'replacements', c.* FROM audit._check_replacements(p_account_id, p_market_id) c
    UNION ALL SELECT 'market_journal', c.* FROM audit._check_market_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'order_journal', c.* FROM audit._check_order_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'fill_journal', c.* FROM audit._check_fill_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'order_facts', c.* FROM audit._check_order_facts(p_account_id, p_market_id) c
    UNION ALL SELECT 'terms', c.* FROM audit._check_terms(p_account_id, p_market_id) c
    UNION ALL SELECT 'signed_bytes', c.* FROM audit._check_signed_bytes(p_account_id, p_market_id) c
    UNION ALL SELECT 'attempt_journal', c.* FROM audit._check_attempt_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'evidence', c.* FROM audit._check_evidence(p_account_id, p_market_id) c
    UNION ALL SELECT 'suspensions', c.* FROM audit._check_suspensions(p_account_id, p_market_id) c
    UNION ALL SELECT 'limiter', c.* FROM audit._check_limiter(p_account_id, p_market_id) c
    UNION ALL SELECT 'liquidity', c.* FROM audit._check_liquidity(p_account_id, p_market_id) c
    UNION ALL SELECT 'costs', c.* FROM audit._check_costs(p_account_id, p_market_id) c
$$;
COMMENT ON FUNCTION audit.check_market(bigint, bigint) IS 'Differences in one market of one account, in one snapshot; none if it is sound.';

CREATE OR REPLACE FUNCTION audit.check_account(p_account_id bigint)
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'journal', c.* FROM audit._check_journal(p_account_id) c
    UNION ALL SELECT 'entries', c.* FROM audit._check_entries(p_account_id) c
    UNION ALL SELECT 'balances', c.* FROM audit._check_balances(p_account_id) c
    UNION ALL SELECT 'locked', c.* FROM audit._check_locked(p_account_id) c
    UNION ALL SELECT 'totals', c.* FROM audit._check_totals(p_account_id) c
    UNION ALL SELECT 'negative', c.* FROM audit._check_negative(p_account_id) c
    UNION ALL SELECT 'pnl', c.* FROM audit._check_pnl(p_account_id) c
    UNION ALL SELECT 'rows_of_no_order', c.* FROM audit._check_rows_of_no_order(p_account_id) c
    UNION ALL SELECT 'foreign_orders', c.* FROM audit._check_foreign_orders(p_account_id) c
    UNION ALL SELECT 'entry_journal', c.* FROM audit._check_entry_journal(p_account_id) c
    UNION ALL SELECT 'accounts', c.* FROM audit._check_accounts(p_account_id) c
    UNION ALL SELECT 'venue_modes', c.* FROM audit._check_venue_modes(p_account_id) c
    UNION ALL SELECT 'dead_letters', c.* FROM audit._check_dead_letters(p_account_id) c
    UNION ALL SELECT 'risk_totals', c.* FROM audit._check_risk_totals(p_account_id) c
    UNION ALL SELECT 'contra', c.* FROM audit._check_contra(p_account_id) c
    UNION ALL SELECT 'breakers', c.* FROM audit._check_breakers(p_account_id) c
    UNION ALL SELECT 'withdrawals', c.* FROM audit._check_withdrawals(p_account_id) c
    UNION ALL SELECT 'unresolved', c.* FROM audit._notice_unresolved(p_account_id) c
    UNION ALL SELECT 'waiting', c.* FROM audit._notice_waiting(p_account_id) c
    UNION ALL SELECT 'times', c.* FROM audit._notice_times(p_account_id) c
    UNION ALL SELECT 'open_breakers', c.* FROM audit._notice_open_breakers(p_account_id) c
$$;
COMMENT ON FUNCTION audit.check_account(bigint) IS 'Differences and notices that belong to an account as a whole, in one snapshot.';

CREATE OR REPLACE FUNCTION audit.check_ledger()
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'transitions', c.* FROM audit._check_transitions() c
    UNION ALL SELECT 'venue_ids', c.* FROM audit._check_venue_ids() c
    UNION ALL SELECT 'limits', c.* FROM audit._check_limits() c
    UNION ALL SELECT 'total_limits', c.* FROM audit._check_total_limits() c
    UNION ALL SELECT 'loans', c.* FROM audit._check_loans() c
    UNION ALL SELECT 'halt_changes', c.* FROM audit._check_halt_changes() c
    UNION ALL SELECT 'archive', c.* FROM audit._check_archive() c
    UNION ALL SELECT 'guards', c.* FROM audit._check_guards() c
    UNION ALL SELECT 'halts', c.* FROM audit._notice_halts() c
$$;
COMMENT ON FUNCTION audit.check_ledger() IS 'Differences and notices that belong to no account, in one snapshot.';

CREATE OR REPLACE FUNCTION audit.checks(p_account text DEFAULT NULL, p_market text DEFAULT NULL)
RETURNS TABLE (name text, is_notice boolean, account text, market text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT r.name, l.is_notice, s.account, s.market, r.subject, r.expected, r.found
    FROM audit.check_scopes() s
    CROSS JOIN LATERAL (
        SELECT c.* FROM audit.check_market(s.account_id, s.market_id) c WHERE s.market_id IS NOT NULL
        UNION ALL SELECT c.* FROM audit.check_account(s.account_id) c WHERE s.market_id IS NULL AND p_market IS NULL) r
    JOIN audit.check_list() l ON l.name = r.name
    WHERE (p_account IS NULL OR s.account = p_account)
      AND (p_market IS NULL OR s.market = p_market OR s.market_id = (
          SELECT m.market_id FROM ledger.market m WHERE m.condition_id = lower(p_market)))
    UNION ALL
    SELECT r.name, l.is_notice, NULL, NULL, r.subject, r.expected, r.found
    FROM audit.check_ledger() r JOIN audit.check_list() l ON l.name = r.name
    WHERE p_account IS NULL AND p_market IS NULL
$$;
COMMENT ON FUNCTION audit.checks(text, text) IS
    'All differences and notices at once, in one snapshot; fit for small ledgers and for one account or market.';

-- file: db/sql/grants.sql
-- purpose: who may do what. Nothing is left to PUBLIC; the trader and the auditor can write no table at all.
-- locks:   none.
-- index:   none.
-- fence:   functions are SECURITY DEFINER with a fixed search_path that ends in pg_temp.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger, audit, paper FROM PUBLIC;
REVOKE ALL ON SCHEMA ledger, audit, paper FROM PUBLIC;

GRANT USAGE ON SCHEMA ledger TO ${role_worker}, ${role_trader}, ${role_risk};
GRANT USAGE ON SCHEMA audit TO ${role_worker}, ${role_auditor}, ${role_risk};

-- A bot: reserve, ask for cancels and replacements, take the market mutex, read its own orders, halt.
GRANT EXECUTE ON FUNCTION
    ledger.reserve_pending(jsonb), ledger.release_pending(jsonb), ledger.request_cancel(jsonb),
    ledger.request_cancel_all(text, text, text), ledger.replace_order(bigint, jsonb),
    ledger.take_mutex(text, text, uuid, integer, boolean), ledger.renew_mutex(text, text, bigint, integer),
    ledger.release_mutex(text, text, bigint), ledger.get_orders(bigint[]), ledger.find_by_key(text, text),
    ledger.standing_orders(text, text, bigint), ledger.take_receipt(text, text, text), ledger.clock()
TO ${role_trader}, ${role_worker};

-- Anyone may halt; only risk clears, and the worker cannot.
GRANT EXECUTE ON FUNCTION ledger.set_halt(text, text, text, text) TO ${role_trader}, ${role_worker}, ${role_risk};
GRANT EXECUTE ON FUNCTION ledger.clear_halt(text, text, bigint, text, text), ledger.set_limit(text, text, text, text, text),
    ledger.release_lane(text, text, text, text), ledger.resolve_order(bigint, text, bigint, text, text),
    ledger.retry_dead_letter(bigint), ledger.grant_account(text, name),
    ledger.revoke_account(text, name, text, text),
    ledger.open_account(text, text, text, text, integer, bigint), ledger.book_movement(text, text, bigint, text, text, text, bigint),
    ledger.set_total_limit(text, text, text, text, text), ledger.reset_breaker(text, text, text)
TO ${role_risk};

GRANT EXECUTE ON FUNCTION
    ledger.prepare(jsonb), ledger.open_attempt(jsonb), ledger.acknowledge(jsonb), ledger.acknowledge_delayed(jsonb),
    ledger.reject(jsonb), ledger.hold_back(jsonb), ledger.mark_seen(jsonb), ledger.mark_unknown(jsonb),
    ledger.observe_orders(jsonb), ledger.record_fills(jsonb), ledger.record_evidence(jsonb), ledger.prove_absent(jsonb),
    ledger.claim_placements(uuid, text[], integer, integer), ledger.claim_look_ups(uuid, text[], integer, integer),
    ledger.claim_cancels(uuid, text[], integer), ledger.record_cancel_answers(jsonb), ledger.cancels_unseen(bigint[]), ledger.cancels_futile(bigint[]), ledger.renew_claims(uuid, integer, bigint[]),
    ledger.drop_claims(jsonb), ledger.sweep_lapsed(), ledger.sweep_expired(), ledger.sweep_cancels(), ledger.sweep_breaches(),
    ledger.fail_placement(bigint, uuid, integer, text), ledger.take_lease(text, uuid, integer), ledger.drop_leases(uuid),
    ledger.worker_started(uuid, text, text, integer), ledger.beat(uuid, integer, bigint, bigint), ledger.worker_ready(uuid, text), ledger.worker_stopped(uuid, text[]),
    ledger.end_lock_holders(integer), ledger.horizon(), ledger.end_idle_transactions(integer), ledger.make_partitions(integer), ledger.import_markets(jsonb),
    ledger.sign_as(text, text, text), ledger.open_paper_account(text, bigint, bigint), ledger.store_events(text, jsonb), ledger.mark_events(text, text[], text),
    ledger.waiting_events(text, integer, integer), ledger.move_cursor(text, text, bigint), ledger.start_run(text, text, uuid),
    ledger.end_run(bigint, text, jsonb, jsonb), ledger._halted_by(bigint, bigint)
TO ${role_worker};
GRANT EXECUTE ON FUNCTION ledger.import_markets(jsonb) TO ${role_risk};

GRANT EXECUTE ON FUNCTION
    ledger.note_mode(text, text, bigint, text), ledger.end_mode(text, text, text), ledger.end_lapsed_modes(text),
    ledger.spend(text, text, integer, integer, integer), ledger.pause_budget(text, text, bigint), ledger.owe_budget(text, text, integer),
    ledger.require_pulse(text, text, boolean, integer), ledger.take_pulse(text, text, bigint),
    ledger.beat_pulse(text, text, bigint, text, bigint, text, bigint), ledger.untold_orders(text, bigint, bigint),
    ledger.record_exchanges(jsonb), ledger.prune_exchanges(integer), ledger.record_holdings(text, bigint, jsonb),
    ledger.held_tokens(text), ledger.sweep_unconfirmed(text[], bigint, bigint), ledger.record_rewards(text, jsonb)
TO ${role_worker};
GRANT EXECUTE ON FUNCTION
    ledger.resolve_foreign(text, text, text, text, text), ledger.allocate_reward(text, text, text, bigint),
    ledger.end_mode(text, text, text)
TO ${role_risk};

GRANT EXECUTE ON FUNCTION ledger.note_books(jsonb), ledger.sweep_groups(), ledger.sweep_losses() TO ${role_worker};

-- A withdrawal is asked for and resolved by risk, and carried out by the worker, which can start none.
GRANT EXECUTE ON FUNCTION
    ledger.start_withdrawal(text, bigint, text, text, text, text, bigint, bigint), ledger.cancel_withdrawal(bigint, text, text),
    ledger.resolve_withdrawal(bigint, text, text, text)
TO ${role_risk};
GRANT EXECUTE ON FUNCTION
    ledger.claim_withdrawals(uuid, text[], integer), ledger.stop_for_withdrawal(bigint, uuid, bigint),
    ledger.drain_for_withdrawal(bigint, uuid, bigint), ledger.debit_withdrawal(bigint, uuid, bigint, jsonb),
    ledger.put_off_withdrawal(bigint, uuid, bigint, bigint), ledger.escalate_withdrawal(bigint, uuid, bigint, text),
    ledger.open_transfer(bigint, uuid, bigint, bigint, bigint),
    ledger.record_transfer(bigint, uuid, integer, text, text, text, text), ledger.lapse_transfer(bigint, uuid, bigint),
    ledger.note_transfer(bigint, uuid, bigint, text, boolean, text, text), ledger.compensate_withdrawal(bigint, uuid, bigint)
TO ${role_worker};

GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ${role_worker};
GRANT SELECT ON ALL TABLES IN SCHEMA audit TO ${role_worker}, ${role_auditor}, ${role_risk};

-- What the views and checks need: functions in a view run with the reader's rights, so their clock is granted to its
-- readers (who may not look into the schema it is in); the checks run with their owner's.
GRANT EXECUTE ON FUNCTION ledger.clock() TO ${role_auditor}, ${role_risk};
GRANT EXECUTE ON FUNCTION
    audit.as_of(timestamptz), audit.exposure_as_of(timestamptz), audit.check_list(), audit.check_scopes(),
    audit.check_market(bigint, bigint), audit.check_account(bigint), audit.check_ledger(), audit.checks(text, text)
TO ${role_worker}, ${role_auditor}, ${role_risk};

-- file: venue/paper/sql/grants.sql
-- purpose: who may touch the paper venue: the worker runs it, and nobody else sees it. The auditor sees views only.
-- locks:   none beyond the catalogue's.
-- index:   none.
-- fence:   nobody may delete orders, trades or events: they are the venue's memory, and Duplicated depends on it.

REVOKE ALL ON SCHEMA paper FROM PUBLIC;
GRANT USAGE ON SCHEMA paper TO ${role_worker};
GRANT SELECT ON ALL TABLES IN SCHEMA paper TO ${role_worker};
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA paper TO ${role_worker};
GRANT DELETE ON paper.arrival, paper.book_level, paper.fault TO ${role_worker};

RESET ROLE;
