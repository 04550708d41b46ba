-- Comparisons are made for two more reasons.
ALTER TABLE ledger.reconcile_run DROP CONSTRAINT reconcile_run_kind_check;
ALTER TABLE ledger.reconcile_run ADD CONSTRAINT reconcile_run_kind_check
    CHECK (kind IN ('start', 'periodic', 'once', 'reconnect', 'episode'));
UPDATE ledger.setting SET value = '0.2.0' WHERE name = 'schema_version';
