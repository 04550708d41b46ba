-- purpose: the rows a new ledger starts with: default limits and how long things are kept.
-- locks:   none.
-- index:   none.
-- fence:   none.

INSERT INTO ledger.limits (account_id, market_id, max_outcome_micros, max_market_micros, burst_per_minute, burst_gap_ms, burst_counts_sells)
VALUES (0, 0, 100000000, 200000000, 6, 2000, false);

INSERT INTO ledger.setting (name, value) VALUES
    ('schema_version', '0.2.0'),
    ('role_prefix', '${prefix}'),
    ('keep_keys_days_after_order', '400'),
    ('keep_journal_months', '84'),
    ('keep_venue_events_days', '400');
