-- purpose: small words every other function uses: the clock, the entry check, who may act for an account, arithmetic.
-- locks:   none.
-- index:   account_grant by primary key.
-- fence:   _enter refuses every isolation level but READ COMMITTED: under REPEATABLE READ a caller was admitted
--          under a halt that had been committed before it took its lock.

CREATE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;
COMMENT ON FUNCTION ledger.clock() IS
    'The only clock of limits and leases. The owner replaces it in test databases; no session setting can.';

CREATE FUNCTION ledger._enter() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'ISOLATION: ledger functions need READ COMMITTED, this transaction is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'LG001', HINT = 'Start the transaction with ISOLATION LEVEL READ COMMITTED.';
    END IF;
    -- The venue acts on what is committed here: it must not be lost by a crash of ours.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A table of few rows that changes all the time is small when a plan is made and kept, and many times as large between
    -- two vacuums: read as a whole, each reservation took longer than the one before.
    IF current_setting('enable_seqscan') = 'on' THEN
        PERFORM set_config('enable_seqscan', 'off', true);
    END IF;
END $$;

CREATE FUNCTION ledger._may_act_for(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    -- session_user, since SET ROLE and SECURITY DEFINER change current_user only.
    RETURN pg_has_role(session_user, '${role_worker}', 'MEMBER')
        OR EXISTS (SELECT FROM ledger.account_grant g
                   WHERE g.account_id = p_account_id AND g.role_name = session_user);
END $$;

CREATE FUNCTION ledger._ended(p_state text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT p_state IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED') $$;

CREATE FUNCTION ledger._whole(p_value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN jsonb_typeof(p_value) = 'number' AND (p_value #>> '{}') ~ '^-?[0-9]{1,18}$'
                  THEN (p_value #>> '{}')::bigint END $$;
COMMENT ON FUNCTION ledger._whole(jsonb) IS 'An integer, or NULL for anything else (1.5, "1", 1e3, null).';

CREATE FUNCTION ledger.cost_of(p_price_micros bigint, p_shares_micros bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ceil(p_price_micros::numeric * p_shares_micros / 1000000)::bigint $$;
COMMENT ON FUNCTION ledger.cost_of(bigint, bigint) IS
    'Collateral micros for shares at a price, rounded up: a hold one micro short is an overdraft.';

CREATE FUNCTION ledger.highest_fee(
    p_price_micros bigint, p_shares_micros bigint, p_rate_micros bigint, p_exponent smallint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- fee = shares * rate * (p * (1 - p)) ^ exponent; a BUY fills at its limit or below, and p * (1 - p) peaks at one half.
    SELECT CASE WHEN p_rate_micros = 0 OR p_shares_micros = 0 THEN 0::bigint ELSE
        ceil(p_shares_micros::numeric * p_rate_micros / 1000000 * power(
            least(p_price_micros, 500000)::numeric * (1000000 - least(p_price_micros, 500000)) / 1000000000000,
            p_exponent::numeric))::bigint END
$$;
COMMENT ON FUNCTION ledger.highest_fee(bigint, bigint, bigint, smallint) IS
    'The most a BUY could pay in fees, in collateral micros, rounded up.';

CREATE FUNCTION ledger._held_by(o ledger.orders, p_shares bigint, p_awaiting bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE o.side
        WHEN 'BUY' THEN ledger.cost_of(o.price_micros, p_shares + p_awaiting)
            + ledger.highest_fee(o.price_micros, p_shares + p_awaiting, o.fee_rate_micros, o.fee_exponent)
        ELSE p_shares + p_awaiting + (o.traded_micros - o.confirmed_micros - o.failed_micros) END
$$;
COMMENT ON FUNCTION ledger._held_by(ledger.orders, bigint, bigint) IS
    'What an order holds: collateral for a BUY; tokens for a SELL, those sold but not yet settled included.';
