-- Comparisons are made for two more reasons.
ALTER TABLE ledger.reconcile_run DROP CONSTRAINT reconcile_run_kind_check;
ALTER TABLE ledger.reconcile_run ADD CONSTRAINT reconcile_run_kind_check
    CHECK (kind IN ('start', 'periodic', 'once', 'reconnect', 'episode'));
UPDATE ledger.setting SET value = '0.2.0' WHERE name = 'schema_version';

-- A cancel by id that comes to nothing escalates.
ALTER TABLE ledger.cancel_request ADD COLUMN futile_tries integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.futile_tries IS
    'Tries that came to nothing: no answer that could be understood, the request refused, or the order still at rest behind '
    'the answer. What only puts off does not count. From five on the cancel escalates.';
ALTER TABLE ledger.cancel_request ADD COLUMN absent_reads integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.absent_reads IS
    'Tries in a row that were answered, and behind which a clean look-up showed nothing. From five on it is sent each 30 s.';

-- Balances at the venue lag behind the settlement, not behind the match.
ALTER TABLE ledger.fill ADD COLUMN settled_at timestamptz;
COMMENT ON COLUMN ledger.fill.settled_at IS
    'When its settlement was heard, which may be long after the match: the venue''s balances lag behind it.';

-- A worker that stops in order says what it leaves.
ALTER TABLE ledger.worker ADD COLUMN left_at_stop jsonb;
COMMENT ON COLUMN ledger.worker.left_at_stop IS
    'What was not over for each of its accounts when it stopped in order: a snapshot for people. NULL while it runs, and for the killed.';

-- A difference says what it asks for, what the ledger said afterwards, and what it was judged by.
ALTER TABLE ledger.drift ADD COLUMN drift_class text COLLATE "C" CHECK (drift_class IN ('resync', 'halt'));
ALTER TABLE ledger.drift ADD COLUMN after text;
ALTER TABLE ledger.drift ADD COLUMN evidence jsonb;
COMMENT ON COLUMN ledger.drift.drift_class IS
    'resync: trading goes on while the ledger, or a person, takes over what the venue knows better. halt: trading stops until '
    'a person has looked. NULL, like the next two: told before release 0.2.0.';
COMMENT ON COLUMN ledger.drift.after IS 'What the ledger said when the comparison ended; ours is what it had said before.';
COMMENT ON COLUMN ledger.drift.evidence IS 'What the venue showed and how it was answered: rows of lists, reads, the halt.';
