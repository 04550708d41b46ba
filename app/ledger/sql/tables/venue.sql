-- purpose: what is known of the venue's own condition: its modes, its rate budgets, what must be alive, each request and raw answer.
-- locks:   venue_budget and pulse rows are locked alone; venue_mode under account_state (its changes are journaled).
-- index:   primary keys; venue_exchange by account and time.
-- fence:   pulse.term: a holder that lost the lease cannot write over the new holder's.

CREATE TABLE ledger.venue_mode (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    mode            text COLLATE "C" NOT NULL CHECK (mode IN (
                        'RESTARTING', 'POST_ONLY', 'CANCEL_ONLY', 'DISABLED', 'RATE_LIMITED', 'GEOBLOCKED', 'CLOSED_ONLY',
                        'BAD_CREDENTIALS', 'BANNED', 'ORDER_VERSION')),
    since           timestamptz NOT NULL,
    until           timestamptz,
    seen_at         timestamptz NOT NULL,
    signs           bigint NOT NULL DEFAULT 1,
    detail          text NOT NULL DEFAULT '',
    ended_at        timestamptz,
    PRIMARY KEY (account_id, mode)
);
COMMENT ON TABLE ledger.venue_mode IS
    'The latest episode of each mode; every begin and end is also in the journal. A mode gates placements, never cancels.';
COMMENT ON COLUMN ledger.venue_mode.until IS
    'When it ends by itself; NULL: not before somebody has seen that it is over.';

CREATE TABLE ledger.venue_budget (
    signer          text COLLATE "C" NOT NULL CHECK (signer ~ '^0x[0-9a-f]{40}$'),
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('orders', 'cancels')),
    tokens_micros   bigint NOT NULL,
    filled_at       timestamptz NOT NULL,
    paused_until    timestamptz,
    tier            text NOT NULL DEFAULT '',
    PRIMARY KEY (signer, kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger.venue_budget IS
    'The venue counts per signer address, so all workers of a signer draw from one bucket. Tokens in 1e-6.';

CREATE TABLE ledger.pulse (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('heartbeat', 'stream')),
    required        boolean NOT NULL,
    grace_ms        integer NOT NULL CHECK (grace_ms BETWEEN 100 AND 600000),
    chain_id        text COLLATE "C" NOT NULL DEFAULT '',
    term            bigint NOT NULL DEFAULT 0,
    ok_at           timestamptz,
    problem         text,
    PRIMARY KEY (account_id, kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger.pulse IS
    'What must be alive for an account to place: whoever keeps it says so again and again, so that a dead keeper needs '
    'nobody to notice it.';
COMMENT ON COLUMN ledger.pulse.chain_id IS 'What the next heartbeat must name; kept so that another holder goes on with the chain.';
COMMENT ON COLUMN ledger.pulse.ok_at IS 'When it was last known good. A send needs one no older than grace_ms.';

CREATE TABLE ledger.venue_exchange (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    exchange_id     bigint GENERATED ALWAYS AS IDENTITY,
    at              timestamptz NOT NULL,
    incarnation     uuid,
    method          text COLLATE "C" NOT NULL,
    path            text NOT NULL,
    query           text NOT NULL DEFAULT '',
    request         text NOT NULL DEFAULT '',
    phase           text COLLATE "C" NOT NULL,
    status          integer NOT NULL,
    headers         jsonb NOT NULL DEFAULT '{}',
    answer          text NOT NULL DEFAULT '',
    problem         text NOT NULL DEFAULT '',
    took_ms         bigint NOT NULL,
    PRIMARY KEY (account_id, exchange_id)
);
CREATE INDEX venue_exchange_by_time ON ledger.venue_exchange (at);
COMMENT ON TABLE ledger.venue_exchange IS
    'Requests and raw answers as they were, without authentication headers. Kept for a set time, then pruned: '
    'what matters of an answer is in attempt, cancel_request and evidence for good.';
