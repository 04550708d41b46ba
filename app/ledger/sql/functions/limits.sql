-- purpose: effective limits, and the only way to change one, with who, when, why, before and after.
-- locks:   the limits row being changed.
-- index:   limits by primary key, four probes.
-- fence:   none; a change is effective for the next decision in every process.

CREATE FUNCTION ledger._effective_limits(p_account_id bigint, p_market_id bigint) RETURNS ledger.limits
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- plpgsql keeps the plan; as a plain SQL function it was planned anew at each of three calls per reservation.
    d ledger.limits;
    a ledger.limits;
    m ledger.limits;
    am ledger.limits;
BEGIN
    SELECT * INTO d FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = 0;
    SELECT * INTO a FROM ledger.limits x WHERE x.account_id = p_account_id AND x.market_id = 0;
    SELECT * INTO m FROM ledger.limits x WHERE x.account_id = 0 AND x.market_id = p_market_id;
    SELECT * INTO am FROM ledger.limits x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    RETURN ROW(p_account_id, p_market_id,
        coalesce(am.max_outcome_micros, m.max_outcome_micros, a.max_outcome_micros, d.max_outcome_micros),
        coalesce(am.max_market_micros, m.max_market_micros, a.max_market_micros, d.max_market_micros),
        coalesce(am.burst_per_minute, m.burst_per_minute, a.burst_per_minute, d.burst_per_minute),
        coalesce(am.burst_gap_ms, m.burst_gap_ms, a.burst_gap_ms, d.burst_gap_ms),
        coalesce(am.burst_counts_sells, m.burst_counts_sells, a.burst_counts_sells, d.burst_counts_sells, false),
        coalesce(am.max_order_micros, m.max_order_micros, a.max_order_micros, d.max_order_micros),
        coalesce(am.max_order_cost_micros, m.max_order_cost_micros, a.max_order_cost_micros, d.max_order_cost_micros),
        coalesce(am.max_market_cost_micros, m.max_market_cost_micros, a.max_market_cost_micros, d.max_market_cost_micros),
        coalesce(am.max_imbalance_micros, m.max_imbalance_micros, a.max_imbalance_micros, d.max_imbalance_micros),
        coalesce(am.max_open_orders, m.max_open_orders, a.max_open_orders, d.max_open_orders),
        coalesce(am.cooldown_ms, m.cooldown_ms, a.cooldown_ms, d.cooldown_ms),
        coalesce(am.changes_per_minute, m.changes_per_minute, a.changes_per_minute, d.changes_per_minute),
        coalesce(am.collar_micros, m.collar_micros, a.collar_micros, d.collar_micros),
        coalesce(am.max_slippage_bps, m.max_slippage_bps, a.max_slippage_bps, d.max_slippage_bps),
        coalesce(am.book_age_ms, m.book_age_ms, a.book_age_ms, d.book_age_ms, 30000),
        coalesce(am.self_match_allowed, m.self_match_allowed, a.self_match_allowed, d.self_match_allowed, false),
        coalesce(am.duplicate_window_ms, m.duplicate_window_ms, a.duplicate_window_ms, d.duplicate_window_ms),
        coalesce(am.duplicate_refused, m.duplicate_refused, a.duplicate_refused, d.duplicate_refused, false),
        coalesce(am.open_buffer_ms, m.open_buffer_ms, a.open_buffer_ms, d.open_buffer_ms),
        coalesce(am.close_buffer_ms, m.close_buffer_ms, a.close_buffer_ms, d.close_buffer_ms),
        coalesce(am.weekend_allowed, m.weekend_allowed, a.weekend_allowed, d.weekend_allowed, true),
        coalesce(am.breaker_rejects, m.breaker_rejects, a.breaker_rejects, d.breaker_rejects),
        coalesce(am.breaker_cancels, m.breaker_cancels, a.breaker_cancels, d.breaker_cancels),
        coalesce(am.slow_ms, m.slow_ms, a.slow_ms, d.slow_ms),
        coalesce(am.stop_ms, m.stop_ms, a.stop_ms, d.stop_ms)
    )::ledger.limits;
END $$;
COMMENT ON FUNCTION ledger._effective_limits(bigint, bigint) IS
    'The most specific value that is set: account and market, then market, then account, then default.';

CREATE FUNCTION ledger.set_limit(p_account text, p_market text, p_name text, p_value text, p_why text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := 0;
    v_market_id bigint := 0;
    v_before text;
BEGIN
    PERFORM ledger._enter();
    IF p_account IS NOT NULL THEN
        SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
        IF v_account_id IS NULL THEN
            RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was changed', p_account USING ERRCODE = 'LG004';
        END IF;
    END IF;
    IF p_market IS NOT NULL THEN
        v_market_id := ledger._market_id(p_market);
        IF v_market_id IS NULL THEN
            RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was changed', p_market USING ERRCODE = 'LG004';
        END IF;
    END IF;
    PERFORM ledger._check_limit_name('limits', p_name, p_why);
    INSERT INTO ledger.limits (account_id, market_id) VALUES (v_account_id, v_market_id) ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.limits WHERE account_id = v_account_id AND market_id = v_market_id FOR UPDATE;
    v_before := ledger._set_column('limits', p_name, p_value, format('account_id = %s AND market_id = %s', v_account_id, v_market_id));
    INSERT INTO ledger.limit_change (account_id, market_id, name, before, after, why, changed_by, changed_at)
    SELECT v_account_id, v_market_id, p_name, v_before, to_jsonb(l) ->> p_name, left(p_why, 500), session_user, ledger.clock()
    FROM ledger.limits l WHERE l.account_id = v_account_id AND l.market_id = v_market_id;
    RETURN v_before;
END $$;
COMMENT ON FUNCTION ledger.set_limit(text, text, text, text, text) IS
    'Account and market NULL mean all; value NULL means not set at this level. Returns the value before.';

CREATE FUNCTION ledger._check_limit_name(p_table text, p_name text, p_why text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ('ledger.' || p_table)::regclass AND a.attname = p_name
                   AND a.attnum > 2 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'BAD_REQUEST: there is no limit named %; nothing was changed', p_name USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: a changed limit needs a reason; nothing was changed' USING ERRCODE = 'LG004';
    END IF;
END $$;
COMMENT ON FUNCTION ledger._check_limit_name(text, text, text) IS 'The first two columns of both tables say whose limit it is.';

CREATE FUNCTION ledger._set_column(p_table text, p_name text, p_value text, p_where text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_before text;
BEGIN
    EXECUTE format('SELECT %I::text FROM ledger.%I WHERE %s', p_name, p_table, p_where) INTO v_before;
    EXECUTE format('UPDATE ledger.%I SET %I = $1::%s WHERE %s', p_table, p_name,
        (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
         WHERE a.attrelid = ('ledger.' || p_table)::regclass AND a.attname = p_name), p_where) USING p_value;
    RETURN v_before;
END $$;
