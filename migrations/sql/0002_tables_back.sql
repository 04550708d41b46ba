DROP TABLE ledger.reward_allocation, ledger.reward, ledger.holding_seen, ledger.venue_exchange, ledger.pulse,
    ledger.venue_budget, ledger.venue_mode;
DELETE FROM ledger.drift d USING ledger.reconcile_run r
WHERE r.account_id = d.account_id AND r.run_id = d.run_id AND r.kind = 'episode';
DELETE FROM ledger.reconcile_run WHERE kind = 'episode';
ALTER TABLE ledger.reconcile_run DROP CONSTRAINT reconcile_run_kind_check;
ALTER TABLE ledger.reconcile_run ADD CONSTRAINT reconcile_run_kind_check
    CHECK (kind IN ('start', 'periodic', 'once', 'reconnect'));
UPDATE ledger.setting SET value = '0.1.0' WHERE name = 'schema_version';
ALTER TABLE ledger.cancel_request DROP COLUMN futile_tries;
ALTER TABLE ledger.cancel_request DROP COLUMN absent_reads;
DROP INDEX ledger.cancel_wide;
ALTER TABLE ledger.cancel_request DROP COLUMN wide_to;
ALTER TABLE ledger.cancel_request DROP COLUMN wide_at;
ALTER TABLE ledger.cancel_request DROP COLUMN wide_tries;
ALTER TABLE ledger.fill DROP COLUMN settled_at;
ALTER TABLE ledger.worker DROP COLUMN left_at_stop;
ALTER TABLE ledger.lease DROP COLUMN ttl_ms;
ALTER TABLE ledger.drift DROP COLUMN drift_class;
ALTER TABLE ledger.drift DROP COLUMN after;
ALTER TABLE ledger.drift DROP COLUMN evidence;
