-- purpose: intents, their reservations, signed bytes, attempts, fills, evidence; what was asked and what happened.
-- locks:   after the exposure row and account_state of their (account, market).
-- index:   primary keys; (order_id) for look-ups; partial indexes for what is not ended.
-- fence:   attempts carry the worker's incarnation; a completion that matches no open attempt changes nothing.

-- The first admitted request binds a key; a refusal leaves it free.
CREATE TABLE ledger.idempotency_key (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    key             text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 200),
    fingerprint     bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    kind            text COLLATE "C" NOT NULL CHECK (kind IN ('order', 'replacement')),
    subject_id      bigint NOT NULL,
    bound_at        timestamptz NOT NULL,
    PRIMARY KEY (account_id, key)
);
COMMENT ON COLUMN ledger.idempotency_key.fingerprint IS
    'SHA-256 of the trade-defining fields of the request as asked, before clamping.';

CREATE SEQUENCE ledger.order_id_seq;

CREATE TABLE ledger.orders (
    account_id          bigint NOT NULL REFERENCES ledger.account,
    order_id            bigint NOT NULL,
    market_id           bigint NOT NULL,
    outcome             smallint NOT NULL,
    token_id            text COLLATE "C" NOT NULL,
    side                text COLLATE "C" NOT NULL CHECK (side IN ('BUY', 'SELL')),
    price_micros        bigint NOT NULL CHECK (price_micros > 0 AND price_micros < 1000000),
    size_micros         bigint NOT NULL CHECK (size_micros > 0),
    tick_micros         bigint NOT NULL,
    fee_rate_micros     bigint NOT NULL,
    fee_exponent        smallint NOT NULL,
    order_type          text COLLATE "C" NOT NULL CHECK (order_type IN ('GTC', 'GTD', 'FOK', 'FAK')),
    post_only           boolean NOT NULL,
    expires_at_s        bigint NOT NULL DEFAULT 0,
    class               text COLLATE "C" NOT NULL
                        CHECK (class IN ('entry', 'hedge', 'micro_hedge', 'unwind', 'emergency')),
    origin              text NOT NULL DEFAULT 'other',
    strategy            text NOT NULL DEFAULT '',
    context             jsonb NOT NULL DEFAULT '{}',
    key                 text COLLATE "C" NOT NULL,
    set_id              bigint,
    replaces_order_id   bigint,
    salt                bigint NOT NULL CHECK (salt >= 0 AND salt < 9007199254740992),
    signed_at_ms        bigint NOT NULL,
    valid_until         timestamptz NOT NULL,
    state               text COLLATE "C" NOT NULL,
    cause               text NOT NULL DEFAULT '',
    venue_order_id      text COLLATE "C" CHECK (venue_order_id ~ '^0x[0-9a-f]{64}$'),
    size_matched_micros bigint NOT NULL DEFAULT 0,
    traded_micros       bigint NOT NULL DEFAULT 0,
    confirmed_micros    bigint NOT NULL DEFAULT 0,
    failed_micros       bigint NOT NULL DEFAULT 0,
    attempts            integer NOT NULL DEFAULT 0,
    fate_open           boolean NOT NULL DEFAULT false,
    seen_at_venue       boolean NOT NULL DEFAULT false,
    last_deadline       timestamptz,
    cancel_asked_at     timestamptz,
    cancel_reason       text,
    created_at          timestamptz NOT NULL,
    state_at            timestamptz NOT NULL,
    crossed             boolean,
    PRIMARY KEY (account_id, order_id),
    FOREIGN KEY (market_id, outcome) REFERENCES ledger.outcome,
    CONSTRAINT sent_orders_have_an_id CHECK (
        venue_order_id IS NOT NULL OR state IN ('RESERVED', 'NOT_PLACED')),
    CONSTRAINT post_only_rests CHECK (NOT post_only OR order_type IN ('GTC', 'GTD')),
    CONSTRAINT gtd_expires CHECK ((order_type = 'GTD') = (expires_at_s > 0))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX orders_by_id ON ledger.orders (order_id);
CREATE INDEX orders_of_market ON ledger.orders (account_id, market_id, order_id);
CREATE UNIQUE INDEX orders_by_venue_id ON ledger.orders (account_id, venue_order_id) WHERE venue_order_id IS NOT NULL;
CREATE INDEX orders_not_ended ON ledger.orders (account_id, market_id, order_id)
    WHERE state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED');
CREATE INDEX orders_unresolved ON ledger.orders (account_id, state_at) WHERE state IN ('SENDING', 'UNKNOWN', 'DELAYED');

COMMENT ON COLUMN ledger.orders.salt IS
    'Of the signed order; fixed with the intent, so that signing again gives the same bytes and the same id.';
COMMENT ON COLUMN ledger.orders.signed_at_ms IS 'The timestamp field of the signed order, fixed with the intent.';
COMMENT ON COLUMN ledger.orders.size_matched_micros IS
    'Largest matched size seen in any read or order event: monotone, since events are not ordered.';
COMMENT ON COLUMN ledger.orders.traded_micros IS 'Sum of its fills, failed ones included.';
COMMENT ON COLUMN ledger.orders.fate_open IS
    'An earlier attempt ended without a definite answer, and no evidence has settled it since.';
COMMENT ON COLUMN ledger.orders.seen_at_venue IS
    'The venue has shown or said (Duplicated) that it knows the id: absence can never be concluded.';
COMMENT ON COLUMN ledger.orders.last_deadline IS
    'Latest (send_by + request timeout) of any attempt; the quarantine counts from here.';
COMMENT ON COLUMN ledger.orders.crossed IS
    'Whether it would have traded at once with the last good book when it was admitted; NULL without one.';

-- What an order still holds. Held amounts are a function of the order row (ledger.hold_of); audit recomputes them.
CREATE TABLE ledger.reservation (
    account_id          bigint NOT NULL,
    order_id            bigint NOT NULL,
    market_id           bigint NOT NULL,
    outcome             smallint NOT NULL,
    side                text COLLATE "C" NOT NULL,
    phase               text COLLATE "C" NOT NULL CHECK (phase IN ('pending', 'open', 'settling', 'released')),
    shares_micros       bigint NOT NULL CHECK (shares_micros >= 0),
    awaiting_micros     bigint NOT NULL CHECK (awaiting_micros >= 0),
    asset               text COLLATE "C" NOT NULL,
    held_micros         bigint NOT NULL CHECK (held_micros >= 0),
    awaiting_since      timestamptz,
    created_at          timestamptz NOT NULL,
    released_at         timestamptz,
    PRIMARY KEY (account_id, order_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders,
    CHECK ((phase = 'released') = (released_at IS NOT NULL)),
    CHECK (phase <> 'released' OR (shares_micros = 0 AND awaiting_micros = 0 AND held_micros = 0))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX reservation_standing ON ledger.reservation (account_id, market_id) WHERE phase <> 'released';
COMMENT ON COLUMN ledger.reservation.shares_micros IS 'Could still be filled.';
COMMENT ON COLUMN ledger.reservation.phase IS
    'pending until the venue is known to have it, open while it lives, settling while ended but not all booked.';

CREATE TABLE ledger.signed_order (
    account_id      bigint NOT NULL,
    order_id        bigint NOT NULL,
    venue_order_id  text COLLATE "C" NOT NULL,
    body            bytea NOT NULL,
    fields          jsonb NOT NULL,
    signed_at       timestamptz NOT NULL,
    signed_by       uuid NOT NULL,
    PRIMARY KEY (account_id, order_id),
    UNIQUE (account_id, venue_order_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders
);
COMMENT ON COLUMN ledger.signed_order.body IS
    'The exact bytes to send, but for owner (the API key id), which is filled at sending and kept per attempt.';
COMMENT ON COLUMN ledger.signed_order.fields IS
    'The eleven signed fields, exchange, domain version, chain id, signature and signature type.';

CREATE TABLE ledger.attempt (
    account_id      bigint NOT NULL,
    order_id        bigint NOT NULL,
    attempt         integer NOT NULL,
    incarnation     uuid NOT NULL,
    owner           text NOT NULL DEFAULT '',
    opened_at       timestamptz NOT NULL,
    send_by         timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    outcome         text COLLATE "C" NOT NULL DEFAULT 'open'
                    CHECK (outcome IN ('open', 'accepted', 'rejected', 'held_back', 'seen', 'unknown', 'lapsed', 'unsent')),
    code            text NOT NULL DEFAULT '',
    answer          text,
    ended_at        timestamptz,
    PRIMARY KEY (account_id, order_id, attempt),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders,
    CHECK ((outcome = 'open') = (ended_at IS NULL))
);
CREATE INDEX attempt_open ON ledger.attempt (account_id, deadline) WHERE outcome = 'open';
CREATE UNIQUE INDEX attempt_one_open ON ledger.attempt (account_id, order_id) WHERE outcome = 'open';

CREATE TABLE ledger.fill (
    account_id      bigint NOT NULL,
    trade_id        text COLLATE "C" NOT NULL CHECK (octet_length(trade_id) BETWEEN 1 AND 200),
    order_id        bigint NOT NULL,
    market_id       bigint NOT NULL,
    outcome         smallint NOT NULL,
    side            text COLLATE "C" NOT NULL,
    size_micros     bigint NOT NULL CHECK (size_micros > 0),
    price_micros    bigint NOT NULL CHECK (price_micros >= 0 AND price_micros <= 1000000),
    cash_micros     bigint NOT NULL CHECK (cash_micros >= 0),
    fee_micros      bigint NOT NULL DEFAULT 0 CHECK (fee_micros >= 0),
    fee_rank        smallint NOT NULL DEFAULT 0 CHECK (fee_rank BETWEEN 0 AND 4),
    settlement      text COLLATE "C" NOT NULL CHECK (settlement IN ('provisional', 'confirmed', 'failed')),
    raw_status      text NOT NULL,
    is_maker        boolean NOT NULL,
    matched_at      timestamptz NOT NULL,
    contradicted_at timestamptz,
    settled_at      timestamptz,
    liquidity       text COLLATE "C" NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    liquidity_source text COLLATE "C" NOT NULL CHECK (liquidity_source IN ('post_only', 'crossing', 'venue_flag')),
    basis_micros    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, trade_id, order_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders
);
CREATE INDEX fill_of_order ON ledger.fill (account_id, order_id);
CREATE INDEX fill_of_market ON ledger.fill (account_id, market_id);
CREATE INDEX fill_unsettled ON ledger.fill (account_id, matched_at) WHERE settlement = 'provisional';
COMMENT ON COLUMN ledger.fill.settlement IS
    'provisional (MATCHED, MINED, RETRYING), confirmed or failed. confirmed outranks failed: tokens moved.';
COMMENT ON COLUMN ledger.fill.basis_micros IS
    'Collateral micros it added to what the position cost: a BUY its cost, a SELL, below zero, its part of the average.';
COMMENT ON COLUMN ledger.fill.fee_rank IS
    'Which status said the fee: 0 none so far, 1 MATCHED, 2 MINED or RETRYING, 3 FAILED, 4 CONFIRMED. A higher one corrects '
    'a lower one; of two alike the higher fee stands. So any order of arrival gives the same fee.';
COMMENT ON COLUMN ledger.fill.contradicted_at IS
    'When it had been heard to be both confirmed and failed. Journaled, told as drift, and the market halted, once.';
COMMENT ON COLUMN ledger.fill.settled_at IS
    'When its settlement was heard, which may be long after the match: the venue''s balances lag behind it.';
COMMENT ON COLUMN ledger.fill.liquidity_source IS
    'How liquidity is known: the order was post-only, it crossed the book or could not rest, or the venue said so.';
COMMENT ON COLUMN ledger.fill.cash_micros IS 'Collateral of the fill before the fee: rounded up for a BUY, down for a SELL.';

CREATE TABLE ledger.evidence (
    account_id      bigint NOT NULL,
    evidence_id     bigint GENERATED ALWAYS AS IDENTITY,
    order_id        bigint NOT NULL,
    kind            text COLLATE "C" NOT NULL CHECK (kind IN
                    ('order_absent', 'trades_absent', 'delete_answered', 'duplicated', 'late_answer',
                     'sighting', 'operator', 'refused_completion')),
    started_at      timestamptz NOT NULL,
    at              timestamptz NOT NULL,
    incarnation     uuid,
    owner           text NOT NULL DEFAULT '',
    detail          text NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, evidence_id),
    FOREIGN KEY (account_id, order_id) REFERENCES ledger.orders
);
CREATE INDEX evidence_of_order ON ledger.evidence (account_id, order_id, kind);
COMMENT ON COLUMN ledger.evidence.started_at IS
    'When the look-up began: a read that began before the quarantine ended proves nothing.';

CREATE TABLE ledger.replacement (
    account_id      bigint NOT NULL,
    replacement_id  bigint NOT NULL,
    old_order_id    bigint NOT NULL,
    request         jsonb NOT NULL,
    filled_at_ask   bigint NOT NULL,
    state           text COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'done', 'refused', 'void')),
    new_order_id    bigint,
    code            text NOT NULL DEFAULT '',
    asked_at        timestamptz NOT NULL,
    ended_at        timestamptz,
    PRIMARY KEY (account_id, replacement_id),
    FOREIGN KEY (account_id, old_order_id) REFERENCES ledger.orders
);
CREATE UNIQUE INDEX replacement_waiting ON ledger.replacement (account_id, old_order_id) WHERE state = 'waiting';

-- Orders that the venue shows under our account and no intent explains.
CREATE TABLE ledger.foreign_order (
    account_id      bigint NOT NULL REFERENCES ledger.account,
    venue_order_id  text COLLATE "C" NOT NULL,
    first_seen_at   timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    detail          jsonb NOT NULL,
    resolution      text,
    resolved_by     name,
    resolved_at     timestamptz,
    PRIMARY KEY (account_id, venue_order_id)
);
