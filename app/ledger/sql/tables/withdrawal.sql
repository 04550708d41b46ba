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
