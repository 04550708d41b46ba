-- Comparisons are made for two more reasons.
ALTER TABLE ledger.reconcile_run DROP CONSTRAINT reconcile_run_kind_check;
ALTER TABLE ledger.reconcile_run ADD CONSTRAINT reconcile_run_kind_check
    CHECK (kind IN ('start', 'periodic', 'once', 'reconnect', 'episode'));
UPDATE ledger.setting SET value = '0.2.0' WHERE name = 'schema_version';

-- A cancel by id that comes to nothing escalates.
ALTER TABLE ledger.cancel_request ADD COLUMN futile_tries integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.futile_tries IS
    'Tries that came to nothing: no answer that could be understood, the request refused, or the order still at rest behind '
    'the answer. What only puts off does not count, and what a clean look-up does not show begins anew. From five on the cancel '
    'escalates.';
ALTER TABLE ledger.cancel_request ADD COLUMN absent_reads integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.absent_reads IS
    'Tries in a row that were answered, and behind which a clean look-up showed nothing. From five on it is sent each 30 s.';
ALTER TABLE ledger.cancel_request ADD COLUMN wide_to text COLLATE "C" CHECK (wide_to IN ('market', 'all'));
COMMENT ON COLUMN ledger.cancel_request.wide_to IS
    'What was cancelled last with it: its whole market, or all of the account.';
ALTER TABLE ledger.cancel_request ADD COLUMN wide_at timestamptz;
COMMENT ON COLUMN ledger.cancel_request.wide_at IS
    'When that was sent, unless it was put off. The next of the same is at least 30 s later.';
ALTER TABLE ledger.cancel_request ADD COLUMN wide_tries integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.wide_tries IS
    'What futile_tries was then: the higher, the longer the pause.';
CREATE INDEX cancel_wide ON ledger.cancel_request (account_id, wide_at) WHERE wide_at IS NOT NULL;

-- Balances at the venue lag behind the settlement, not behind the match.
ALTER TABLE ledger.fill ADD COLUMN settled_at timestamptz;
COMMENT ON COLUMN ledger.fill.settled_at IS
    'When its settlement was heard, which may be long after the match: the venue''s balances lag behind it.';

-- A worker that stops in order says what it leaves.
ALTER TABLE ledger.worker ADD COLUMN left_at_stop jsonb;
COMMENT ON COLUMN ledger.worker.left_at_stop IS
    'What was not over for each of its accounts when it stopped in order: a snapshot for people. NULL while it runs, and for the killed.';

-- A lease whose holder died must not outlive it by as much as the clock went back.
ALTER TABLE ledger.lease ADD COLUMN ttl_ms integer;
COMMENT ON COLUMN ledger.lease.ttl_ms IS
    'For how long it was taken or renewed last: further ahead than that, it is of a time before the clock went back. NULL: '
    'taken before release 0.2.0.';

-- A difference says what it asks for, what the ledger said afterwards, and what it was judged by.
ALTER TABLE ledger.drift ADD COLUMN drift_class text COLLATE "C" CHECK (drift_class IN ('resync', 'halt'));
ALTER TABLE ledger.drift ADD COLUMN after text;
ALTER TABLE ledger.drift ADD COLUMN evidence jsonb;
COMMENT ON COLUMN ledger.drift.drift_class IS
    'resync: trading goes on while the ledger, or a person, takes over what the venue knows better. halt: trading stops until '
    'a person has looked. NULL, like the next two: told before release 0.2.0.';
COMMENT ON COLUMN ledger.drift.after IS 'What the ledger said when the comparison ended; ours is what it had said before.';
COMMENT ON COLUMN ledger.drift.evidence IS 'What the venue showed and how it was answered: rows of lists, reads, the halt.';
