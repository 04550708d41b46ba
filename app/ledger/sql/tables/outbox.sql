-- purpose: what is to be done at the venue: placements in lanes, cancels on a path of their own; raw events; dead letters.
-- locks:   outbox and cancel rows last, after order and attempt; claims lock only these rows (SKIP LOCKED).
-- index:   outbox_lane (lane heads by loose index scan), cancel_due.
-- fence:   claimed_by (the worker's incarnation) and claim_no, checked by prepare and open_attempt.

CREATE SEQUENCE ledger.outbox_id_seq;

CREATE TABLE ledger.outbox (
    account_id      bigint NOT NULL,
    outbox_id       bigint NOT NULL DEFAULT nextval('ledger.outbox_id_seq'),
    market_id       bigint NOT NULL,
    order_id        bigint NOT NULL,
    set_id          bigint,
    passes_block    boolean NOT NULL,
    status          text COLLATE "C" NOT NULL CHECK (status IN ('ready', 'claimed', 'blocked', 'dead', 'released', 'done')),
    not_before      timestamptz NOT NULL,
    claimed_by      uuid,
    claimed_until   timestamptz,
    claim_no        integer NOT NULL DEFAULT 0,
    failures        integer NOT NULL DEFAULT 0,
    released_at     timestamptz,
    PRIMARY KEY (account_id, outbox_id),
    UNIQUE (account_id, order_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX outbox_lane ON ledger.outbox (account_id, market_id, outbox_id)
    WHERE status IN ('ready', 'claimed', 'blocked', 'dead') AND released_at IS NULL;
CREATE INDEX outbox_released ON ledger.outbox (account_id, not_before) WHERE status = 'ready' AND released_at IS NOT NULL;
CREATE INDEX outbox_passing ON ledger.outbox (account_id, outbox_id) WHERE passes_block AND status = 'ready';
CREATE INDEX outbox_claimed ON ledger.outbox (claimed_until) WHERE status = 'claimed';
CREATE INDEX outbox_looks ON ledger.outbox (account_id, not_before) WHERE status IN ('blocked', 'released');
COMMENT ON COLUMN ledger.outbox.status IS
    'blocked: the order''s fate is unknown; dead: it failed too often in our own hands; both block the lane until '
    'resolved or released by an operator. released: one of the two, and it holds nobody up.';
COMMENT ON COLUMN ledger.outbox.released_at IS
    'When an operator let its lane go on without it. For good: whatever becomes of the order, it never holds up its lane '
    'again. Who and why stands in the journal (LANE_RELEASED).';

CREATE TABLE ledger.cancel_request (
    account_id      bigint NOT NULL,
    order_id        bigint NOT NULL,
    market_id       bigint NOT NULL,
    reason          text NOT NULL,
    asked_by        name NOT NULL,
    asked_at        timestamptz NOT NULL,
    status          text COLLATE "C" NOT NULL CHECK (status IN ('due', 'done')),
    next_at         timestamptz NOT NULL,
    tries           integer NOT NULL DEFAULT 0,
    last_answer     text,
    answered_at     timestamptz,
    claimed_by      uuid,
    futile_tries    integer NOT NULL DEFAULT 0,
    absent_reads    integer NOT NULL DEFAULT 0,
    wide_to         text COLLATE "C" CHECK (wide_to IN ('market', 'all')),
    wide_at         timestamptz,
    wide_tries      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, order_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX cancel_due ON ledger.cancel_request (account_id, next_at) WHERE status = 'due';
CREATE INDEX cancel_wide ON ledger.cancel_request (account_id, wide_at) WHERE wide_at IS NOT NULL;
COMMENT ON COLUMN ledger.cancel_request.futile_tries IS
    'Tries that came to nothing: no answer that could be understood, the request refused, or the order still at rest behind '
    'the answer. What only puts off does not count, and what a clean look-up does not show begins anew. From five on the cancel '
    'escalates.';
COMMENT ON COLUMN ledger.cancel_request.absent_reads IS
    'Tries in a row that were answered, and behind which a clean look-up showed nothing. From five on it is sent each 30 s.';
COMMENT ON COLUMN ledger.cancel_request.wide_to IS
    'What was cancelled last with it: its whole market, or all of the account.';
COMMENT ON COLUMN ledger.cancel_request.wide_at IS
    'When that was sent, unless it was put off. The next of the same is at least 30 s later.';
COMMENT ON COLUMN ledger.cancel_request.wide_tries IS
    'What futile_tries was then: the higher, the longer the pause.';
COMMENT ON COLUMN ledger.cancel_request.next_at IS
    'When it is sent (again). Claiming pushes it ahead, so a dead claimer delays a cancel by seconds, never for ever.';

CREATE TABLE ledger.venue_event (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    event_id        text COLLATE "C" NOT NULL CHECK (octet_length(event_id) BETWEEN 1 AND 300),
    raw             text NOT NULL,
    received_at     timestamptz NOT NULL,
    applied_at      timestamptz,
    problem         text,
    PRIMARY KEY (account_id, event_id)
);
CREATE INDEX venue_event_waiting ON ledger.venue_event (account_id, received_at) WHERE applied_at IS NULL;

CREATE TABLE ledger.cursor (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    name            text COLLATE "C" NOT NULL,
    position        bigint NOT NULL,
    moved_at        timestamptz NOT NULL,
    PRIMARY KEY (account_id, name)
);
COMMENT ON TABLE ledger.cursor IS 'How far a reader of the venue has come: stream position, trades watermark (ms).';

CREATE TABLE ledger.receipt (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    consumer        text COLLATE "C" NOT NULL CHECK (octet_length(consumer) BETWEEN 1 AND 100),
    key             text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 300),
    at              timestamptz NOT NULL,
    PRIMARY KEY (account_id, consumer, key)
);

CREATE TABLE ledger.dead_letter (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    dead_letter_id  bigint GENERATED ALWAYS AS IDENTITY,
    source          text COLLATE "C" NOT NULL CHECK (source IN ('outbox', 'venue_event')),
    subject         text NOT NULL,
    problem         text NOT NULL,
    failures        integer NOT NULL,
    at              timestamptz NOT NULL,
    retried_by      name,
    retried_at      timestamptz,
    PRIMARY KEY (account_id, dead_letter_id)
);

CREATE TABLE ledger.reconcile_run (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    run_id          bigint GENERATED ALWAYS AS IDENTITY,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('start', 'periodic', 'once', 'reconnect', 'episode')),
    incarnation     uuid,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    result          text COLLATE "C" CHECK (result IN ('clean', 'drift', 'incomplete')),
    detail          jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, run_id)
);
CREATE INDEX reconcile_run_open ON ledger.reconcile_run (account_id) WHERE ended_at IS NULL;

CREATE TABLE ledger.drift (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    drift_id        bigint GENERATED ALWAYS AS IDENTITY,
    run_id          bigint,
    kind            text COLLATE "C" NOT NULL,
    subject         text NOT NULL,
    ours            text NOT NULL,
    theirs          text NOT NULL,
    action          text NOT NULL,
    found_at        timestamptz NOT NULL,
    resolved_at     timestamptz,
    drift_class     text COLLATE "C" CHECK (drift_class IN ('resync', 'halt')),
    after           text,
    evidence        jsonb,
    PRIMARY KEY (account_id, drift_id)
);
COMMENT ON COLUMN ledger.drift.drift_class IS
    'resync: trading goes on while the ledger, or a person, takes over what the venue knows better. halt: trading stops until '
    'a person has looked. NULL, like the next two: told before release 0.2.0.';
COMMENT ON COLUMN ledger.drift.after IS 'What the ledger said when the comparison ended; ours is what it had said before.';
COMMENT ON COLUMN ledger.drift.evidence IS 'What the venue showed and how it was answered: rows of lists, reads, the halt.';
