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
        coalesce(am.burst_counts_sells, m.burst_counts_sells, a.burst_counts_sells, d.burst_counts_sells, false)
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
    v_after text;
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
    IF p_name NOT IN ('max_outcome_micros', 'max_market_micros', 'burst_per_minute', 'burst_gap_ms', 'burst_counts_sells') THEN
        RAISE EXCEPTION 'BAD_REQUEST: there is no limit named %; nothing was changed', p_name USING ERRCODE = 'LG004';
    END IF;
    IF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: a changed limit needs a reason; nothing was changed' USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.limits (account_id, market_id) VALUES (v_account_id, v_market_id) ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.limits WHERE account_id = v_account_id AND market_id = v_market_id FOR UPDATE;
    EXECUTE format('SELECT %I::text FROM ledger.limits WHERE account_id = $1 AND market_id = $2', p_name)
        INTO v_before USING v_account_id, v_market_id;
    EXECUTE format('UPDATE ledger.limits SET %I = $3::%s WHERE account_id = $1 AND market_id = $2 RETURNING %1$I::text', p_name,
        CASE p_name WHEN 'burst_counts_sells' THEN 'boolean' WHEN 'burst_per_minute' THEN 'integer'
                    WHEN 'burst_gap_ms' THEN 'integer' ELSE 'bigint' END)
        INTO v_after USING v_account_id, v_market_id, p_value;
    INSERT INTO ledger.limit_change (account_id, market_id, name, before, after, why, changed_by, changed_at)
    VALUES (v_account_id, v_market_id, p_name, v_before, v_after, left(p_why, 500), session_user, ledger.clock());
    RETURN v_before;
END $$;
COMMENT ON FUNCTION ledger.set_limit(text, text, text, text, text) IS
    'Account and market NULL mean all; value NULL means not set at this level. Returns the value before.';
