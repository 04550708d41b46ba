-- purpose: the append-only journal of every transition, decision and refusal of a completion.
-- locks:   none of its own; numbers come from the locked exposure and account_state rows, so they have no gaps.
-- index:   (account_id, seq), (account_id, market_id, market_seq), (account_id, order_id).
-- fence:   no UPDATE, DELETE or TRUNCATE; history leaves only as whole partitions (ledger.archive_partition).

CREATE TABLE ledger.journal (
    account_id      bigint NOT NULL,
    seq             bigint NOT NULL,
    market_id       bigint,
    market_seq      bigint,
    at              timestamptz NOT NULL,
    event           text COLLATE "C" NOT NULL,
    order_id        bigint,
    attempt         integer,
    from_state      text COLLATE "C",
    to_state        text COLLATE "C",
    actor           name NOT NULL,
    detail          jsonb NOT NULL DEFAULT '{}',
    digest          bytea NOT NULL,
    PRIMARY KEY (account_id, seq, at),
    CHECK ((market_id IS NULL) = (market_seq IS NULL))
) PARTITION BY RANGE (at);
CREATE UNIQUE INDEX journal_of_market ON ledger.journal (account_id, market_id, market_seq, at);
CREATE INDEX journal_of_order ON ledger.journal (account_id, order_id, seq);
COMMENT ON COLUMN ledger.journal.digest IS
    'SHA-256 of the digest of the account''s row before it and of this row: no row can be changed without all that follow.';
CREATE TABLE ledger.journal_rest PARTITION OF ledger.journal DEFAULT;
COMMENT ON TABLE ledger.journal_rest IS 'Rows for which no monthly partition was made in time; nothing is lost for want of one.';

CREATE TABLE ledger.archived_partition (
    partition_name  text COLLATE "C" PRIMARY KEY,
    row_count       bigint NOT NULL,
    first_at        timestamptz,
    last_at         timestamptz,
    digest          bytea NOT NULL,
    archived_by     name NOT NULL,
    archived_at     timestamptz NOT NULL
);

CREATE TABLE ledger.setting (
    name            text COLLATE "C" PRIMARY KEY,
    value           text NOT NULL
);
COMMENT ON TABLE ledger.setting IS 'Schema-wide facts: the role prefix, retention per table, how long keys live.';
