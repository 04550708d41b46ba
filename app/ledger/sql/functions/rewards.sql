-- purpose: what the venue paid for resting orders, and to whose strategy it is counted.
-- locks:   record_rewards: the reward rows, by key. allocate_reward: the reward row.
-- index:   primary keys.
-- fence:   a reward is stored once and follows what the venue says of it; an allocation that would exceed it is refused.

CREATE FUNCTION ledger.record_rewards(p_account text, p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.reward AS r (account_id, reward_key, condition_id, earned_on, amount_micros, detail, recorded_at)
    SELECT ledger._account_id(p_account), x ->> 'reward_key', x ->> 'condition_id', (x ->> 'earned_on')::date,
        ledger._whole(x -> 'amount_micros'), coalesce(x -> 'detail', '{}'), ledger.clock()
    FROM jsonb_array_elements(p_items) x ORDER BY x ->> 'reward_key'
    -- What was paid is a fact, and the venue corrects it: what was allocated before may be too much then, and shows as drift.
    ON CONFLICT (account_id, reward_key) DO UPDATE SET amount_micros = excluded.amount_micros, recorded_at = excluded.recorded_at,
        detail = excluded.detail || jsonb_build_object('before_micros', r.amount_micros)
    WHERE r.amount_micros <> excluded.amount_micros;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.record_rewards(text, jsonb) IS
    'Stores rewards by their keys; the number of those that are new or were corrected. The money itself is a movement.';

CREATE FUNCTION ledger.allocate_reward(p_account text, p_reward_key text, p_strategy text, p_amount bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    r ledger.reward;
    v_used bigint;
BEGIN
    PERFORM ledger._enter();
    SELECT * INTO r FROM ledger.reward q
    WHERE q.account_id = ledger._account_id(p_account) AND q.reward_key = p_reward_key FOR UPDATE;
    IF r.reward_key IS NULL OR coalesce(p_amount, 0) <= 0 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a known reward and an amount above zero are needed; nothing was allocated' USING ERRCODE = 'LG004';
    END IF;
    SELECT coalesce(sum(x.amount_micros), 0) INTO v_used FROM ledger.reward_allocation x
    WHERE x.account_id = r.account_id AND x.reward_key = r.reward_key AND x.strategy <> p_strategy;
    IF v_used + p_amount > r.amount_micros THEN
        RAISE EXCEPTION 'OVER_ALLOCATED: % of % micros are allocated already; nothing was allocated', v_used, r.amount_micros
            USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.reward_allocation AS x (account_id, reward_key, strategy, amount_micros, allocated_by, allocated_at)
    VALUES (r.account_id, r.reward_key, p_strategy, p_amount, session_user, ledger.clock())
    -- Said again it is another amount: the only way out of an over-allocation.
    ON CONFLICT (account_id, reward_key, strategy) DO UPDATE SET amount_micros = excluded.amount_micros,
        allocated_by = excluded.allocated_by, allocated_at = excluded.allocated_at
    WHERE x.amount_micros <> excluded.amount_micros;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION ledger.allocate_reward(text, text, text, bigint) IS
    'A part of a reward for a strategy; said again, the new part. Refused where the parts would exceed the whole.';
