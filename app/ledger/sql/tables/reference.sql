-- purpose: what orders refer to: accounts, who may use them, markets and their two outcomes, limits.
-- locks:   none of these rows is ever locked by the send path; that is why foreign keys may point here
--          (a foreign-key check takes KEY SHARE on its parent and would starve FOR UPDATE on a hot row).
-- index:   primary keys; market by condition id and slug, outcome by token id.
-- fence:   none.

CREATE TABLE ledger.account (
    account_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text COLLATE "C" NOT NULL UNIQUE
                    CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    venue           text COLLATE "C" NOT NULL CHECK (venue IN ('paper', 'polymarket')),
    maker           text COLLATE "C" CHECK (maker ~ '^0x[0-9a-fA-F]{40}$'),
    signer          text COLLATE "C" CHECK (signer ~ '^0x[0-9a-fA-F]{40}$'),
    signature_type  smallint NOT NULL DEFAULT 0 CHECK (signature_type BETWEEN 0 AND 3),
    quarantine_ms   bigint NOT NULL DEFAULT 120000 CHECK (quarantine_ms BETWEEN 100 AND 86400000),
    created_at      timestamptz NOT NULL
);
COMMENT ON TABLE ledger.account IS
    'One row per (wallet, signing key). venue never changes: paper and live never mix.';
COMMENT ON COLUMN ledger.account.quarantine_ms IS
    'How long after the last moment an attempt could still arrive before absence may be concluded. '
    'Longer than the slowest appearance known (40 s seen at the venue).';

CREATE TABLE ledger.account_grant (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    role_name       name NOT NULL,
    granted_by      name NOT NULL DEFAULT session_user,
    granted_at      timestamptz NOT NULL,
    PRIMARY KEY (account_id, role_name)
);
COMMENT ON TABLE ledger.account_grant IS
    'Which login may reserve and ask for cancels for which account. Checked against session_user, '
    'which SET ROLE cannot change.';

CREATE TABLE ledger.market (
    market_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    condition_id        text COLLATE "C" NOT NULL UNIQUE CHECK (condition_id ~ '^0x[0-9a-f]{64}$'),
    slug                text COLLATE "C",
    question            text NOT NULL DEFAULT '',
    event_id            text COLLATE "C",
    event_title         text,
    category            text,
    group_key           text COLLATE "C",
    tick_micros         bigint CHECK (tick_micros IN (100000, 10000, 5000, 2500, 1000, 100)),
    min_size_micros     bigint CHECK (min_size_micros > 0),
    fee_rate_micros     bigint NOT NULL DEFAULT 0 CHECK (fee_rate_micros BETWEEN 0 AND 1000000),
    fee_exponent        smallint NOT NULL DEFAULT 1 CHECK (fee_exponent BETWEEN 0 AND 8),
    fee_taker_only      boolean NOT NULL DEFAULT true,
    neg_risk            boolean NOT NULL DEFAULT false,
    neg_risk_augmented  boolean NOT NULL DEFAULT false,
    protocol_version    text COLLATE "C" NOT NULL DEFAULT 'v1',
    window_start        timestamptz,
    window_end          timestamptz,
    tradable            boolean NOT NULL,
    untradable_reasons  text[] NOT NULL DEFAULT '{}',
    source_digest       text COLLATE "C",
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    CONSTRAINT tradable_market_is_complete CHECK (
        NOT tradable OR (tick_micros IS NOT NULL AND min_size_micros IS NOT NULL)),
    CONSTRAINT untradable_market_says_why CHECK (tradable = (untradable_reasons = '{}'))
);
CREATE INDEX market_by_slug ON ledger.market (slug);
CREATE INDEX market_by_group ON ledger.market (group_key);

CREATE TABLE ledger.outcome (
    market_id       bigint NOT NULL REFERENCES ledger.market,
    outcome         smallint NOT NULL CHECK (outcome IN (0, 1)),
    label           text NOT NULL,
    token_id        text COLLATE "C" NOT NULL UNIQUE
                    CHECK (token_id ~ '^[1-9][0-9]{0,77}$'
                           AND (length(token_id) < 78 OR token_id <=
                '115792089237316195423570985008687907853269984665640564039457584007913129639935')),
    PRIMARY KEY (market_id, outcome)
);
COMMENT ON COLUMN ledger.outcome.token_id IS 'uint256 as decimal text without leading zero.';

-- Caps and burst limits. account_id 0 and market_id 0 mean "all"; the most specific value that is set wins
-- (account and market, then market, then account, then default). NULL means "not set here";
-- in the default row NULL means "no limit".
CREATE TABLE ledger.limits (
    account_id              bigint NOT NULL CHECK (account_id >= 0),
    market_id               bigint NOT NULL CHECK (market_id >= 0),
    max_outcome_micros      bigint CHECK (max_outcome_micros >= 0),
    max_market_micros       bigint CHECK (max_market_micros >= 0),
    burst_per_minute        integer CHECK (burst_per_minute BETWEEN 0 AND 600),
    burst_gap_ms            integer CHECK (burst_gap_ms BETWEEN 0 AND 600000),
    burst_counts_sells      boolean,
    max_order_micros        bigint CHECK (max_order_micros >= 0),
    max_order_cost_micros   bigint CHECK (max_order_cost_micros >= 0),
    max_market_cost_micros  bigint CHECK (max_market_cost_micros >= 0),
    max_imbalance_micros    bigint CHECK (max_imbalance_micros >= 0),
    max_open_orders         integer CHECK (max_open_orders >= 0),
    cooldown_ms             integer CHECK (cooldown_ms BETWEEN 0 AND 86400000),
    changes_per_minute      integer CHECK (changes_per_minute BETWEEN 0 AND 600),
    collar_micros           bigint CHECK (collar_micros BETWEEN 0 AND 1000000),
    max_slippage_bps        integer CHECK (max_slippage_bps BETWEEN 0 AND 1000000),
    book_age_ms             integer CHECK (book_age_ms BETWEEN 1 AND 86400000),
    self_match_allowed      boolean,
    duplicate_window_ms     integer CHECK (duplicate_window_ms BETWEEN 0 AND 86400000),
    duplicate_refused       boolean,
    open_buffer_ms          bigint CHECK (open_buffer_ms BETWEEN 0 AND 31536000000),
    close_buffer_ms         bigint CHECK (close_buffer_ms BETWEEN 0 AND 31536000000),
    weekend_allowed         boolean,
    breaker_rejects         integer CHECK (breaker_rejects BETWEEN 1 AND 1000),
    breaker_cancels         integer CHECK (breaker_cancels BETWEEN 1 AND 1000),
    slow_ms                 integer CHECK (slow_ms BETWEEN 1 AND 3600000),
    stop_ms                 integer CHECK (stop_ms BETWEEN 1 AND 3600000),
    PRIMARY KEY (account_id, market_id)
);
COMMENT ON COLUMN ledger.limits.burst_per_minute IS
    'Orders admitted per minute, account and market; 0 admits none, NULL at every level means no limit.';
COMMENT ON COLUMN ledger.limits.max_market_cost_micros IS
    'Collateral at risk in one market: what its position cost and what its BUY orders hold.';
COMMENT ON COLUMN ledger.limits.max_imbalance_micros IS 'Effective shares of one outcome above those of the other.';
COMMENT ON COLUMN ledger.limits.cooldown_ms IS
    'Between two changes of a market (placements, replacements, cancels asked for by whoever trades). A cancel is never refused.';
COMMENT ON COLUMN ledger.limits.collar_micros IS
    'A BUY may not lie further above the middle of the last good book than this, a SELL not further below it.';
COMMENT ON COLUMN ledger.limits.book_age_ms IS 'A book older than this is none. NULL counts as 30000.';

CREATE TABLE ledger.limit_change (
    account_id      bigint NOT NULL,
    change_id       bigint GENERATED ALWAYS AS IDENTITY,
    market_id       bigint NOT NULL,
    name            text COLLATE "C" NOT NULL,
    before          text,
    after           text,
    why             text NOT NULL CHECK (why <> ''),
    changed_by      name NOT NULL,
    changed_at      timestamptz NOT NULL,
    scope           text COLLATE "C" NOT NULL DEFAULT '',
    scope_id        text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, change_id)
);
COMMENT ON COLUMN ledger.limit_change.scope IS 'Empty for a row of limits; else whose total was changed (account, group, global, live).';

-- Halts are standing conditions in rows of their own: they touch no exposure row, and nothing but a person ends one.
CREATE TABLE ledger.halt (
    halt_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope           text COLLATE "C" NOT NULL CHECK (scope IN ('global', 'account', 'group', 'market')),
    scope_id        text COLLATE "C" NOT NULL CHECK ((scope = 'global') = (scope_id = '')),
    why             text NOT NULL CHECK (why <> ''),
    set_by          name NOT NULL,
    set_as          text NOT NULL DEFAULT '',
    set_at          timestamptz NOT NULL,
    cleared_by      name,
    cleared_as      text,
    cleared_why     text,
    cleared_at      timestamptz,
    CHECK ((cleared_at IS NULL) = (cleared_by IS NULL))
);
CREATE INDEX halt_standing ON ledger.halt (scope, scope_id) WHERE cleared_at IS NULL;
COMMENT ON COLUMN ledger.halt.halt_id IS
    'Also the version that resume must name: resuming N is refused while a newer halt of the scope stands.';

CREATE TABLE ledger.halt_change (
    change_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    halt_id         bigint NOT NULL,
    change          text COLLATE "C" NOT NULL CHECK (change IN ('set', 'cleared')),
    scope           text COLLATE "C" NOT NULL,
    scope_id        text COLLATE "C" NOT NULL,
    why             text,
    changed_by      name NOT NULL,
    changed_as      text,
    changed_at      timestamptz NOT NULL
);
COMMENT ON TABLE ledger.halt_change IS
    'Append-only: each halt once when it is set and once when it is cleared. What happened to a halt otherwise shows in the audit.';

CREATE TABLE ledger.worker (
    incarnation     uuid PRIMARY KEY,
    name            text NOT NULL,
    version         text NOT NULL,
    started_at      timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,
    ready           boolean NOT NULL DEFAULT false,
    not_ready_why   text,
    stopped_at      timestamptz,
    alive_until     timestamptz NOT NULL,
    left_at_stop    jsonb
);
CREATE INDEX worker_by_beat ON ledger.worker (seen_at);
COMMENT ON COLUMN ledger.worker.alive_until IS
    'Three leases of its claims from its last beat on. Nothing else says that a worker lives: the killed do not say goodbye.';
COMMENT ON COLUMN ledger.worker.left_at_stop IS
    'What was not over for each of its accounts when it stopped in order: a snapshot for people. NULL while it runs, and for the killed.';

-- What is left of an intent's validity is measured on the database's clock; when that is found to have gone back, what
-- is left of the intents that were there cannot be told any more.
CREATE TABLE ledger.clock_step (
    last_order_id   bigint PRIMARY KEY,
    found_at        timestamptz NOT NULL,
    lost_ms         bigint NOT NULL,
    found_by        uuid NOT NULL
);
COMMENT ON TABLE ledger.clock_step IS
    'Times at which a worker found that the database''s clock had gone back, or stood still, by lost_ms.';
COMMENT ON COLUMN ledger.clock_step.last_order_id IS
    'The highest order id given out by then: no order up to it is sent (again) from then on.';

CREATE TABLE ledger.lease (
    name            text COLLATE "C" PRIMARY KEY,
    holder          uuid,
    term            bigint NOT NULL DEFAULT 0,
    until           timestamptz NOT NULL,
    ttl_ms          integer
);
COMMENT ON TABLE ledger.lease IS
    'One holder per name; the term grows with each change of holder, so a late holder can be refused.';
COMMENT ON COLUMN ledger.lease.ttl_ms IS
    'For how long it was taken or renewed last: further ahead than that, it is of a time before the clock went back. NULL: '
    'taken before release 0.2.0.';
