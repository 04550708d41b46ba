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
