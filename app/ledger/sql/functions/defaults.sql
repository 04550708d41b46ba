-- purpose: the rows a new ledger starts with: default limits and how long things are kept.
-- locks:   none.
-- index:   none.
-- fence:   none.

INSERT INTO ledger.limits (account_id, market_id, max_outcome_micros, max_market_micros, burst_per_minute, burst_gap_ms, burst_counts_sells,
    book_age_ms, self_match_allowed, duplicate_window_ms, duplicate_refused, weekend_allowed, breaker_rejects, breaker_cancels, slow_ms, stop_ms)
VALUES (0, 0, 100000000, 200000000, 6, 2000, false, 30000, false, 1000, false, true, 3, 3, 2000, 5000);

-- Live accounts begin small, all together; only a person lifts that.
INSERT INTO ledger.total_limits (scope, scope_id, max_cost_micros) VALUES
    ('account', '', NULL), ('group', '', NULL), ('global', '', NULL), ('live', '', 500000000);

INSERT INTO ledger.setting (name, value) VALUES
    ('schema_version', '0.3.0'),
    ('role_prefix', '${prefix}'),
    ('keep_keys_days_after_order', '400'),
    ('keep_journal_months', '84'),
    ('keep_equity_minutes_days', '7'),
    ('keep_venue_events_days', '400');
