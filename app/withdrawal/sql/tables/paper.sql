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
