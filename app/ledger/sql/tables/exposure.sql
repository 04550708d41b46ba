-- purpose: the hot rows: exposure per (account, market) and the account's own counters and balances.
-- locks:   exposure first, then account_state; these two locks serialise everything below them
--          (keys, orders, attempts, outbox rows and balances of that lane or account).
-- index:   primary keys only; fillfactor leaves room for updates in place.
-- fence:   mutex_term grows with each holder of the market mutex; a holder that lost it cannot reserve.
-- No foreign key points at these rows: KEY SHARE from children would starve SELECT ... FOR UPDATE.

CREATE TABLE ledger.exposure (
    account_id          bigint NOT NULL REFERENCES ledger.account,
    market_id           bigint NOT NULL REFERENCES ledger.market,
    -- counters per outcome (element 1 is outcome 0), in share micros; a cache of reservations and fills
    pending_buy         bigint[] NOT NULL DEFAULT '{0,0}',
    open_buy            bigint[] NOT NULL DEFAULT '{0,0}',
    awaiting_buy        bigint[] NOT NULL DEFAULT '{0,0}',
    provisional_buy     bigint[] NOT NULL DEFAULT '{0,0}',
    pending_sell        bigint[] NOT NULL DEFAULT '{0,0}',
    open_sell           bigint[] NOT NULL DEFAULT '{0,0}',
    awaiting_sell       bigint[] NOT NULL DEFAULT '{0,0}',
    provisional_sell    bigint[] NOT NULL DEFAULT '{0,0}',
    confirmed           bigint[] NOT NULL DEFAULT '{0,0}',
    -- burst limiter: when orders were admitted, newest last; pruned to the last minute at each admission
    admitted_at         timestamptz[] NOT NULL DEFAULT '{}',
    last_admitted_at    timestamptz,
    last_set_id         bigint,
    suspended_until     timestamptz,
    suspended_why       text,
    mutex_holder        uuid,
    mutex_term          bigint NOT NULL DEFAULT 0,
    mutex_until         timestamptz,
    mutex_again         boolean NOT NULL DEFAULT false,
    journal_seq         bigint NOT NULL DEFAULT 0,
    clock_at            timestamptz NOT NULL,
    -- what it cost, per outcome: sums over the rows of fills and movements
    bought              bigint[] NOT NULL DEFAULT '{0,0}',
    bought_cost         bigint[] NOT NULL DEFAULT '{0,0}',
    sold                bigint[] NOT NULL DEFAULT '{0,0}',
    sold_cost           bigint[] NOT NULL DEFAULT '{0,0}',
    held_cost           bigint NOT NULL DEFAULT 0,
    open_orders         integer NOT NULL DEFAULT 0,
    at_risk             bigint NOT NULL DEFAULT 0,
    shares              bigint NOT NULL DEFAULT 0,
    group_key           text COLLATE "C",
    changed_at          timestamptz,
    change_tokens       bigint,
    change_tokens_at    timestamptz,
    basis               bigint[] NOT NULL DEFAULT '{0,0}',
    PRIMARY KEY (account_id, market_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

COMMENT ON COLUMN ledger.exposure.awaiting_buy IS
    'Matched according to a read, not yet seen in trades.';
COMMENT ON COLUMN ledger.exposure.provisional_buy IS
    'Bought in trades that are not final: counts as position at once, cannot be sold yet.';
COMMENT ON COLUMN ledger.exposure.confirmed IS
    'Final position: confirmed buys minus confirmed sells plus entries with a cause.';
COMMENT ON COLUMN ledger.exposure.clock_at IS
    'The latest database time used in a decision here; time never runs backwards for a limit.';
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

-- Lanes that hold something, for marking them; only fills and movements touch what it is about.
CREATE INDEX exposure_open_positions ON ledger.exposure (account_id, market_id) WHERE bought <> sold;

CREATE TABLE ledger.account_state (
    account_id      bigint PRIMARY KEY REFERENCES ledger.account,
    journal_seq     bigint NOT NULL DEFAULT 0,
    journal_digest  bytea NOT NULL DEFAULT '',
    entry_seq       bigint NOT NULL DEFAULT 0,
    at_risk         bigint NOT NULL DEFAULT 0,
    shares          bigint NOT NULL DEFAULT 0,
    open_orders     integer NOT NULL DEFAULT 0,
    size_factor_ppm integer NOT NULL DEFAULT 1000000 CHECK (size_factor_ppm BETWEEN 0 AND 1000000),
    change_tokens   bigint,
    change_tokens_at timestamptz,
    traded_net      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

COMMENT ON COLUMN ledger.account_state.at_risk IS 'The sum of at_risk over the account''s exposure rows.';
COMMENT ON COLUMN ledger.account_state.traded_net IS
    'The sum of sold_cost - bought_cost over the account''s exposure rows: profit needs no closed market to be read.';
COMMENT ON COLUMN ledger.account_state.size_factor_ppm IS
    'How much of the largest order is allowed, in millionths: drawdown makes it smaller.';

-- Facts are always booked, so neither number has a constraint; a negative one halts the account.
CREATE TABLE ledger.balance (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    asset           text COLLATE "C" NOT NULL CHECK (asset = 'collateral' OR asset ~ '^[1-9][0-9]{0,77}$'),
    available       bigint NOT NULL DEFAULT 0,
    locked          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, asset)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger.balance IS
    'asset is ''collateral'' (pUSD) or a token id. Only confirmed tokens are available.';

CREATE TABLE ledger.balance_entry (
    account_id      bigint NOT NULL,
    entry_seq       bigint NOT NULL,
    asset           text COLLATE "C" NOT NULL,
    cause           text COLLATE "C" NOT NULL,
    entry_key       text COLLATE "C" NOT NULL,
    available_delta bigint NOT NULL,
    locked_delta    bigint NOT NULL,
    order_id        bigint,
    trade_id        text COLLATE "C",
    note            text,
    at              timestamptz NOT NULL,
    contra          text COLLATE "C" NOT NULL DEFAULT 'venue',
    contra_delta    bigint NOT NULL DEFAULT 0,
    fee_delta       bigint NOT NULL DEFAULT 0,
    value_micros    bigint,
    basis_micros    bigint,
    PRIMARY KEY (account_id, entry_seq),
    UNIQUE (account_id, entry_key),
    FOREIGN KEY (account_id) REFERENCES ledger.account,
    CHECK (available_delta <> 0 OR locked_delta <> 0),
    CONSTRAINT balance_entry_balances CHECK (available_delta + locked_delta + contra_delta + fee_delta = 0)
);
COMMENT ON COLUMN ledger.balance_entry.contra IS
    'Where the rest of the movement stands: venue (counterparties), outside (deposits, transfers), chain (split, redemption ...), correction.';
COMMENT ON COLUMN ledger.balance_entry.basis_micros IS
    'What a movement of tokens added to what the position cost (basis of exposure); NULL for everything else.';
COMMENT ON COLUMN ledger.balance_entry.value_micros IS
    'Of tokens that moved without a trade: what they were worth in collateral micros.';
COMMENT ON COLUMN ledger.balance_entry.entry_key IS 'Each movement can be booked once.';

-- The other side of every entry that is not a hold: with it the sum over all accounts is zero for each asset.
CREATE TABLE ledger.contra_balance (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    asset           text COLLATE "C" NOT NULL,
    contra          text COLLATE "C" NOT NULL CHECK (contra IN ('venue', 'fees', 'outside', 'chain', 'correction')),
    amount          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, asset, contra)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

CREATE INDEX balance_entry_of_order ON ledger.balance_entry (account_id, order_id) WHERE order_id IS NOT NULL;
CREATE INDEX balance_entry_moved ON ledger.balance_entry (account_id, asset) WHERE order_id IS NULL;
