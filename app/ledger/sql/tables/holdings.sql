-- purpose: what the venue says an account owns, compared with our balances; rewards and to whom they were allocated.
-- locks:   reward rows are locked alone, before their allocations.
-- index:   primary keys.
-- fence:   a reward and an allocation have keys of their own and are stored once.

CREATE TABLE ledger.holding_seen (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    asset           text COLLATE "C" NOT NULL,
    theirs          bigint NOT NULL,
    ours            bigint NOT NULL,
    unsettled       bigint NOT NULL,
    seen_at         timestamptz NOT NULL,
    agreed_at       timestamptz,
    PRIMARY KEY (account_id, asset)
);
COMMENT ON TABLE ledger.holding_seen IS
    'The latest comparison per asset. unsettled: what our rows say is on its way, which the venue may or may not count yet.';
COMMENT ON COLUMN ledger.holding_seen.agreed_at IS
    'When both last said the same (collateral: when none of ours was missing). What differs after that is a new finding.';

CREATE TABLE ledger.reward (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    reward_key      text COLLATE "C" NOT NULL CHECK (octet_length(reward_key) BETWEEN 1 AND 200),
    condition_id    text COLLATE "C",
    earned_on       date NOT NULL,
    amount_micros   bigint NOT NULL CHECK (amount_micros >= 0),
    detail          jsonb NOT NULL DEFAULT '{}',
    recorded_at     timestamptz NOT NULL,
    PRIMARY KEY (account_id, reward_key)
);
COMMENT ON TABLE ledger.reward IS 'What the venue paid for resting orders: liquidity rewards and maker rebates, in collateral micros.';

CREATE TABLE ledger.reward_allocation (
    account_id      bigint NOT NULL,
    reward_key      text COLLATE "C" NOT NULL,
    strategy        text COLLATE "C" NOT NULL CHECK (octet_length(strategy) BETWEEN 1 AND 200),
    amount_micros   bigint NOT NULL CHECK (amount_micros > 0),
    allocated_by    name NOT NULL,
    allocated_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, reward_key, strategy),
    FOREIGN KEY (account_id, reward_key) REFERENCES ledger.reward
);
