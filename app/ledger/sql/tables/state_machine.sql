-- purpose: the order's life as data: every (state, event) pair has exactly one row; docs and diagram are generated from it.
-- locks:   none; the rows never change while the system runs.
-- index:   primary key.
-- fence:   orders.state can only change along a row of this table (trigger order_moves_legally).

CREATE TABLE ledger.order_state (
    state       text COLLATE "C" PRIMARY KEY,
    ended       boolean NOT NULL,
    sent        boolean NOT NULL,
    meaning     text NOT NULL
);
COMMENT ON COLUMN ledger.order_state.sent IS 'A copy may be at the venue.';

INSERT INTO ledger.order_state (state, ended, sent, meaning) VALUES
    ('RESERVED',   false, false, 'Intent, reservation and outbox row are committed; nothing is signed.'),
    ('PREPARED',   false, false, 'Signed bytes and venue order id are committed; nothing was sent.'),
    ('SENDING',    false, true,  'An attempt is open: bytes may be on the wire.'),
    ('HELD_BACK',  false, false, 'Every attempt so far is known not to have been processed; the same bytes go again later.'),
    ('UNKNOWN',    false, true,  'An attempt ended without a definite answer; only evidence ends this.'),
    ('DELAYED',    false, true,  'Accepted, held by the venue''s matching delay.'),
    ('LIVE',       false, true,  'At the venue under our id.'),
    ('FILLED',     true,  true,  'Nothing remains to be filled.'),
    ('CANCELLED',  true,  true,  'Proven cancelled at the venue with its final size.'),
    ('EXPIRED',    true,  true,  'Proven expired at the venue with its final size.'),
    ('REJECTED',   true,  false, 'Definitely refused, and no other attempt is open or unknown.'),
    ('NOT_PLACED', true,  false, 'Never placed, with the cause: withdrawn before sending, or proven absent.');

CREATE TABLE ledger.order_event (
    event       text COLLATE "C" PRIMARY KEY,
    meaning     text NOT NULL
);

INSERT INTO ledger.order_event (event, meaning) VALUES
    ('PREPARE',       'signed bytes stored'),
    ('OPEN',          'an attempt was opened'),
    ('ACCEPT',        'the venue answered: accepted'),
    ('DELAY',         'the venue answered: accepted, delayed'),
    ('REJECT',        'the venue refused it definitely, and no other attempt is open or unknown'),
    ('HOLD_BACK',     'known not processed, and every attempt so far ended so'),
    ('LOSE',          'no definite answer'),
    ('SEE',           'found at the venue by its id, alive'),
    ('FILL_PART',     'a fill, and something remains'),
    ('FILL_ALL',      'a fill, and nothing remains'),
    ('END_CANCELLED', 'a read proves it cancelled, with its final size'),
    ('END_EXPIRED',   'a read proves it expired, with its final size'),
    ('WITHDRAW',      'not wanted any more, and known unsent'),
    ('ABSENT',        'absence proven, or decided by an operator'),
    ('REOPEN',        'a fresh read by id shows alive what was believed ended');

-- to_state NULL: refused and journaled. to_state = from_state: legal, the state stays (the facts are still booked).
CREATE TABLE ledger.transition (
    from_state  text COLLATE "C" NOT NULL REFERENCES ledger.order_state,
    event       text COLLATE "C" NOT NULL REFERENCES ledger.order_event,
    to_state    text COLLATE "C" REFERENCES ledger.order_state,
    PRIMARY KEY (from_state, event)
);

INSERT INTO ledger.transition (from_state, event, to_state)
SELECT s.state, e.event, (
    CASE
    -- the way out
    WHEN e.event = 'PREPARE' THEN CASE s.state WHEN 'RESERVED' THEN 'PREPARED' END
    WHEN e.event = 'OPEN' THEN CASE WHEN s.state IN ('PREPARED', 'HELD_BACK', 'UNKNOWN') THEN 'SENDING' END
    -- answers to an open attempt
    WHEN e.event = 'REJECT' THEN CASE s.state WHEN 'SENDING' THEN 'REJECTED' END
    WHEN e.event = 'HOLD_BACK' THEN CASE s.state WHEN 'SENDING' THEN 'HELD_BACK' END
    WHEN e.event = 'LOSE' THEN CASE WHEN s.state IN ('SENDING', 'UNKNOWN') THEN 'UNKNOWN' END
    WHEN e.event = 'ACCEPT' THEN
        CASE WHEN s.state IN ('SENDING', 'DELAYED') THEN 'LIVE'
             WHEN s.state = 'LIVE' THEN 'LIVE' END
    WHEN e.event = 'DELAY' THEN
        CASE WHEN s.state IN ('SENDING', 'DELAYED') THEN 'DELAYED'
             WHEN s.state = 'LIVE' THEN 'LIVE' END
    -- facts: legal in every state in which the venue can know the id at all
    WHEN s.state = 'RESERVED' AND e.event NOT IN ('WITHDRAW') THEN NULL
    WHEN e.event IN ('SEE', 'FILL_PART') THEN
        CASE WHEN s.state IN ('FILLED', 'CANCELLED', 'EXPIRED') THEN s.state ELSE 'LIVE' END
    WHEN e.event = 'FILL_ALL' THEN 'FILLED'
    WHEN e.event = 'END_CANCELLED' THEN
        CASE WHEN s.state IN ('FILLED', 'EXPIRED') THEN s.state ELSE 'CANCELLED' END
    WHEN e.event = 'END_EXPIRED' THEN
        CASE WHEN s.state IN ('FILLED', 'CANCELLED') THEN s.state ELSE 'EXPIRED' END
    WHEN e.event = 'REOPEN' THEN CASE s.state WHEN 'FILLED' THEN 'FILLED' ELSE 'LIVE' END
    -- ends without the venue
    WHEN e.event = 'WITHDRAW' THEN
        CASE WHEN s.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN 'NOT_PLACED' END
    WHEN e.event = 'ABSENT' THEN CASE s.state WHEN 'UNKNOWN' THEN 'NOT_PLACED' END
    END)
FROM ledger.order_state s CROSS JOIN ledger.order_event e;
