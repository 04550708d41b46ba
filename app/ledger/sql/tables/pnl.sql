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
