-- Comparisons are made for two more reasons.
ALTER TABLE ledger.reconcile_run DROP CONSTRAINT reconcile_run_kind_check;
ALTER TABLE ledger.reconcile_run ADD CONSTRAINT reconcile_run_kind_check
    CHECK (kind IN ('start', 'periodic', 'once', 'reconnect', 'episode'));
UPDATE ledger.setting SET value = '0.2.0' WHERE name = 'schema_version';

-- A cancel by id that nobody answers escalates.
ALTER TABLE ledger.cancel_request ADD COLUMN unanswered integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.cancel_request.unanswered IS
    'Tries in a row to which the venue said nothing that could be understood. From five on the cancel escalates.';
