DROP TABLE paper.transfer, paper.transfer_fault, ledger.withdrawal_evidence, ledger.withdrawal_attempt, ledger.withdrawal_transfer,
    ledger.withdrawal;
DROP FUNCTION IF EXISTS ledger._withdrawal_moves_legally();
DROP TABLE ledger.total_mark, ledger.loss_watch;
DROP TABLE ledger.equity_mark, ledger.breaker, ledger.book, ledger.loan, ledger.pool, ledger.group_state, ledger.total_limits,
    ledger.contra_balance;
UPDATE ledger.setting SET value = '0.2.0' WHERE name = 'schema_version';
DELETE FROM ledger.setting WHERE name = 'keep_equity_minutes_days';
DROP INDEX ledger.exposure_open_positions;
ALTER TABLE ledger.fill DROP COLUMN liquidity, DROP COLUMN liquidity_source, DROP COLUMN basis_micros;
ALTER TABLE ledger.orders DROP COLUMN crossed;
ALTER TABLE ledger.balance_entry DROP CONSTRAINT balance_entry_balances,
    DROP COLUMN contra, DROP COLUMN contra_delta, DROP COLUMN fee_delta, DROP COLUMN value_micros,
    DROP COLUMN basis_micros;
ALTER TABLE ledger.account_state DROP COLUMN at_risk, DROP COLUMN shares, DROP COLUMN open_orders,
    DROP COLUMN size_factor_ppm, DROP COLUMN change_tokens, DROP COLUMN change_tokens_at, DROP COLUMN traded_net;
ALTER TABLE ledger.exposure DROP COLUMN bought, DROP COLUMN bought_cost, DROP COLUMN sold, DROP COLUMN sold_cost,
    DROP COLUMN held_cost, DROP COLUMN open_orders, DROP COLUMN at_risk, DROP COLUMN shares, DROP COLUMN group_key,
    DROP COLUMN changed_at, DROP COLUMN change_tokens, DROP COLUMN change_tokens_at, DROP COLUMN basis;
-- A change of a total stands for nothing without its table; the others stay.
ALTER TABLE ledger.limit_change DISABLE TRIGGER limit_change_append_only;
DELETE FROM ledger.limit_change WHERE scope <> '' OR name NOT IN
    ('max_outcome_micros', 'max_market_micros', 'burst_per_minute', 'burst_gap_ms', 'burst_counts_sells');
ALTER TABLE ledger.limit_change ENABLE TRIGGER limit_change_append_only;
ALTER TABLE ledger.limit_change DROP COLUMN scope, DROP COLUMN scope_id;
ALTER TABLE ledger.limits DROP COLUMN max_order_micros, DROP COLUMN max_order_cost_micros, DROP COLUMN max_market_cost_micros,
    DROP COLUMN max_imbalance_micros, DROP COLUMN max_open_orders, DROP COLUMN cooldown_ms, DROP COLUMN changes_per_minute,
    DROP COLUMN collar_micros, DROP COLUMN max_slippage_bps, DROP COLUMN book_age_ms, DROP COLUMN self_match_allowed,
    DROP COLUMN duplicate_window_ms, DROP COLUMN duplicate_refused, DROP COLUMN open_buffer_ms, DROP COLUMN close_buffer_ms,
    DROP COLUMN weekend_allowed, DROP COLUMN breaker_rejects, DROP COLUMN breaker_cancels, DROP COLUMN slow_ms, DROP COLUMN stop_ms;
