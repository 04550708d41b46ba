-- purpose: the paper venue's own truth. It stands apart from the ledger's tables and is written in commits of its
--          own, so that a worker that dies between the venue's acceptance and the ledger's record is a real case.
-- locks:   none beyond creation. At run time everywhere in this order: arrival rows (skipping busy ones), book rows by
--          token_id, then account rows by account. fault rows are locked alone, in a commit of their own.
-- index:   primary keys; the partial indexes below, each named at the statement that uses it.
-- fence:   a book row is locked by whoever changes anything of its token; an order's id is its primary key, so the
--          same signed order cannot stand in the book twice whatever the code does.
-- Money and sizes are micros (1e-6), times Unix milliseconds. Ids that order locks compare bytewise.
-- No foreign key points at book: its row is the hot one, and key checks would queue behind its lock.

CREATE TABLE paper.account (
    account text COLLATE "C" PRIMARY KEY CHECK (account <> ''),
    events  bigint NOT NULL DEFAULT 0 CHECK (events >= 0)
) WITH (fillfactor = 50);

CREATE TABLE paper.book (
    token_id        text COLLATE "C" PRIMARY KEY CHECK (token_id ~ '^[0-9]{1,78}$'),
    condition_id    text NOT NULL,
    tick_micros     bigint NOT NULL CHECK (tick_micros > 0 AND tick_micros < 1000000),
    min_size_micros bigint NOT NULL CHECK (min_size_micros >= 0),
    fee_rate_ppm    bigint NOT NULL DEFAULT 0 CHECK (fee_rate_ppm >= 0),
    seed            bigint NOT NULL,
    shift_micros    bigint NOT NULL DEFAULT 0,
    seq             bigint NOT NULL DEFAULT 0,
    draws           bigint NOT NULL DEFAULT 0,
    at_ms           bigint NOT NULL DEFAULT 0,
    tape_at_ms      bigint NOT NULL DEFAULT 0,
    due_at_ms       bigint,
    is_open         boolean NOT NULL DEFAULT true
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX book_due ON paper.book (due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX book_condition ON paper.book (condition_id);

CREATE TABLE paper.book_level (
    token_id          text COLLATE "C" NOT NULL,
    side              text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    base_price_micros bigint NOT NULL CHECK (base_price_micros > 0 AND base_price_micros < 1000000),
    base_size_micros  bigint NOT NULL CHECK (base_size_micros >= 0),
    size_micros       bigint NOT NULL CHECK (size_micros >= 0 AND size_micros <= base_size_micros),
    seq               bigint NOT NULL,
    PRIMARY KEY (token_id, side, base_price_micros)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE paper.venue_order (
    venue_order_id text COLLATE "C" PRIMARY KEY CHECK (venue_order_id <> ''),
    account        text COLLATE "C" NOT NULL CHECK (account <> ''),
    token_id       text COLLATE "C" NOT NULL,
    side           text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    price_micros   bigint NOT NULL CHECK (price_micros > 0 AND price_micros < 1000000),
    size_micros    bigint NOT NULL CHECK (size_micros > 0),
    matched_micros bigint NOT NULL DEFAULT 0,
    order_type     text NOT NULL CHECK (order_type IN ('GTC', 'GTD', 'FOK', 'FAK')),
    post_only      boolean NOT NULL,
    expiration_ms  bigint NOT NULL CHECK (expiration_ms >= 0),
    status         text NOT NULL,
    seq            bigint NOT NULL,
    salt           text NOT NULL,
    timestamp_ms   bigint NOT NULL,
    body           bytea NOT NULL,
    received_at_ms bigint NOT NULL,
    times_received bigint NOT NULL DEFAULT 1 CHECK (times_received > 0),
    CHECK (matched_micros >= 0 AND matched_micros <= size_micros)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX venue_order_live_token ON paper.venue_order (token_id) WHERE status = 'LIVE';
CREATE INDEX venue_order_live_account ON paper.venue_order (account) WHERE status = 'LIVE';

CREATE TABLE paper.trade (
    trade_id      text COLLATE "C" PRIMARY KEY,
    token_id      text COLLATE "C" NOT NULL,
    price_micros  bigint NOT NULL CHECK (price_micros > 0 AND price_micros < 1000000),
    status        text NOT NULL CHECK (status IN ('MATCHED', 'MINED', 'RETRYING', 'CONFIRMED', 'FAILED')),
    fate          text NOT NULL CHECK (fate IN ('CONFIRM', 'RETRY', 'FAIL')),
    matched_at_ms bigint NOT NULL,
    due_ms        bigint NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX trade_unsettled ON paper.trade (token_id) WHERE status IN ('MATCHED', 'MINED', 'RETRYING');

CREATE TABLE paper.trade_part (
    trade_id       text COLLATE "C" NOT NULL REFERENCES paper.trade,
    venue_order_id text COLLATE "C" NOT NULL,
    account        text COLLATE "C" NOT NULL,
    side           text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    size_micros    bigint NOT NULL CHECK (size_micros > 0),
    is_maker       boolean NOT NULL,
    fee_micros     bigint NOT NULL DEFAULT 0 CHECK (fee_micros >= 0),
    matched_at_ms  bigint NOT NULL,
    PRIMARY KEY (trade_id, venue_order_id)
);
CREATE INDEX trade_part_account ON paper.trade_part (account, matched_at_ms);

CREATE TABLE paper.event (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    at_ms   bigint NOT NULL,
    payload json NOT NULL
);
CREATE INDEX event_account ON paper.event (account, seq);

CREATE TABLE paper.arrival (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account  text COLLATE "C" NOT NULL,
    body     bytea NOT NULL,
    due_ms   bigint NOT NULL
);
CREATE INDEX arrival_due ON paper.arrival (due_ms);

CREATE TABLE paper.fault (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    op             text NOT NULL CHECK (op IN ('place', 'cancel', 'order', 'open_orders', 'trades', 'events')),
    kind           text NOT NULL,
    account        text,
    venue_order_id text,
    skip           bigint NOT NULL DEFAULT 0 CHECK (skip >= 0),
    times          bigint NOT NULL DEFAULT 1 CHECK (times >= 0),
    before_ms      bigint NOT NULL DEFAULT 0 CHECK (before_ms >= 0),
    after_ms       bigint NOT NULL DEFAULT 0 CHECK (after_ms >= 0),
    late_ms        bigint NOT NULL DEFAULT 0 CHECK (late_ms >= 0),
    http_status    integer NOT NULL DEFAULT 0,
    retry_after_ms bigint NOT NULL DEFAULT 1000 CHECK (retry_after_ms >= 0),
    text           text NOT NULL DEFAULT '',
    CHECK (CASE op
        WHEN 'place' THEN kind IN ('delay', 'drop_answer', 'lost_request', 'http', 'appear_late')
        WHEN 'cancel' THEN kind IN ('delay', 'drop_answer', 'lost_request', 'http', 'cancel_miss')
        WHEN 'order' THEN kind IN ('delay', 'null', 'unread')
        WHEN 'events' THEN kind = 'silent'
        ELSE kind IN ('delay', 'null', 'unread') END)
);
CREATE INDEX fault_armed ON paper.fault (op, id) WHERE times > 0;

COMMENT ON TABLE paper.account IS 'Accounts the venue has seen; the row is the fence of the account''s event numbers.';
COMMENT ON TABLE paper.book IS 'One row per token: market terms, state of the seed and the clock, and the lock of the token.';
COMMENT ON TABLE paper.book_level IS 'Outside liquidity, from a file or made up; its price is base_price_micros + book.shift_micros.';
COMMENT ON TABLE paper.venue_order IS 'Every order the engine has processed, whatever became of it. Never deleted: an id seen once is Duplicated for ever.';
COMMENT ON COLUMN paper.venue_order.times_received IS 'How many times the identical order was received, the first time included.';
COMMENT ON TABLE paper.trade IS 'One taker against one price.';
COMMENT ON TABLE paper.trade_part IS 'The accounts'' shares of a trade; outside liquidity has none.';
COMMENT ON TABLE paper.event IS 'The user stream. seq grows in commit order within an account, with gaps.';
COMMENT ON TABLE paper.arrival IS 'Requests under way that reach the engine only at due_ms (fault appear_late).';
COMMENT ON TABLE paper.fault IS 'Misbehaviour ordered by a test or the demo: the calls after the first skip ones, times times.';
