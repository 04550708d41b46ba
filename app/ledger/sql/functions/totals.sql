-- purpose: limits on totals (account, group, all accounts, all live accounts) and how those of several accounts are lent out.
-- locks:   account_state, then the account's own loans, then one lock for all pools (_hold_pools), then others' loans with SKIP
--          LOCKED. Others' loans are locked under it only, and who has it waits for nothing that anybody else may have: so in
--          whatever order a batch meets its pools, there is no circle.
--          set_total_limit: the row of the limit, then that account, or (a first cap over several) all of them, then the pools.
-- index:   total_limits, pool and loan by primary key; loan_of_pool.
-- fence:   an account reserves inside its loan, under the loan's row lock; the pool never lends more than the cap.

CREATE FUNCTION ledger._totals(p_scope text, p_scope_id text) RETURNS ledger.total_limits
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    d ledger.total_limits;
    t ledger.total_limits;
BEGIN
    SELECT * INTO d FROM ledger.total_limits x WHERE x.scope = p_scope AND x.scope_id = '';
    IF p_scope_id = '' THEN
        RETURN d;
    END IF;
    SELECT * INTO t FROM ledger.total_limits x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    IF NOT FOUND THEN
        RETURN d;
    END IF;
    t.max_cost_micros := coalesce(t.max_cost_micros, d.max_cost_micros);
    t.max_shares_micros := coalesce(t.max_shares_micros, d.max_shares_micros);
    t.max_open_orders := coalesce(t.max_open_orders, d.max_open_orders);
    t.changes_per_minute := coalesce(t.changes_per_minute, d.changes_per_minute);
    t.max_daily_loss_micros := coalesce(t.max_daily_loss_micros, d.max_daily_loss_micros);
    t.max_rolling_loss_micros := coalesce(t.max_rolling_loss_micros, d.max_rolling_loss_micros);
    t.drawdown_from_micros := coalesce(t.drawdown_from_micros, d.drawdown_from_micros);
    t.drawdown_to_micros := coalesce(t.drawdown_to_micros, d.drawdown_to_micros);
    RETURN t;
END $$;
COMMENT ON FUNCTION ledger._totals(text, text) IS 'The limits of a scope: its own values, else those of the scope''s default.';

CREATE FUNCTION ledger._used(
    p_account_id bigint, p_scope text, p_scope_id text, OUT cost bigint, OUT shares bigint)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_scope = 'group' THEN
        SELECT g.at_risk, g.shares INTO cost, shares FROM ledger.group_state g
        WHERE g.account_id = p_account_id AND g.group_key = p_scope_id;
    ELSE
        SELECT s.at_risk, s.shares INTO cost, shares FROM ledger.account_state s WHERE s.account_id = p_account_id;
    END IF;
    cost := greatest(coalesce(cost, 0), 0);
    shares := greatest(coalesce(shares, 0), 0);
END $$;

CREATE FUNCTION ledger._hold_pools() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.pool (scope, scope_id) VALUES ('global', '') ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.pool x WHERE x.scope = 'global' AND x.scope_id = '' FOR UPDATE;
END $$;
COMMENT ON FUNCTION ledger._hold_pools() IS
    'The row of the global pool stands for all of them, and is never deleted. Taken only where a loan does not do.';

CREATE FUNCTION ledger._lend(
    p_account_id bigint, p_scope text, p_scope_id text, p_cost bigint, p_shares bigint, t ledger.total_limits) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.loan;
    p ledger.pool;
    v_cost bigint;
    v_shares bigint;
    v_over boolean;
BEGIN
    SELECT * INTO l FROM ledger.loan x
    WHERE x.account_id = p_account_id AND x.scope = p_scope AND x.scope_id = p_scope_id FOR UPDATE;
    IF NOT FOUND THEN
        -- Nobody else makes it: this account's rows are made under its account_state lock.
        INSERT INTO ledger.loan (account_id, scope, scope_id) VALUES (p_account_id, p_scope, p_scope_id) RETURNING * INTO l;
    END IF;
    SELECT * INTO p FROM ledger.pool x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    v_over := coalesce(p.lent_cost_micros > t.max_cost_micros, false) OR coalesce(p.lent_shares_micros > t.max_shares_micros, false);
    IF NOT v_over AND (t.max_cost_micros IS NULL OR p_cost <= l.cost_micros)
       AND (t.max_shares_micros IS NULL OR p_shares <= l.shares_micros) THEN
        RETURN true;
    END IF;
    PERFORM ledger._hold_pools();
    -- Both as they are now: what was read before may have been changed while this waited.
    t := ledger._totals(p_scope, p_scope_id);
    INSERT INTO ledger.pool (scope, scope_id) VALUES (p_scope, p_scope_id) ON CONFLICT DO NOTHING;
    SELECT * INTO p FROM ledger.pool x WHERE x.scope = p_scope AND x.scope_id = p_scope_id;
    v_over := coalesce(p.lent_cost_micros > t.max_cost_micros, false) OR coalesce(p.lent_shares_micros > t.max_shares_micros, false);
    -- Where facts took more than the cap, what is lent and not used is no room either.
    v_cost := CASE WHEN v_over THEN p_cost - l.cost_micros ELSE greatest(p_cost - l.cost_micros, 0) END;
    v_shares := CASE WHEN v_over THEN p_shares - l.shares_micros ELSE greatest(p_shares - l.shares_micros, 0) END;
    IF p.lent_cost_micros + v_cost > t.max_cost_micros OR p.lent_shares_micros + v_shares > t.max_shares_micros THEN
        p := ledger._call_in(p, p_account_id);
    END IF;
    IF p.lent_cost_micros + v_cost > t.max_cost_micros OR p.lent_shares_micros + v_shares > t.max_shares_micros THEN
        RETURN false;
    END IF;
    -- A slice more than is needed, so that not every order asks again: a part of what is left, so that however many accounts
    -- there are, slices alone never use the cap up and nobody has to call them in.
    v_cost := v_cost + coalesce((t.max_cost_micros - p.lent_cost_micros - v_cost) / 32, 0);
    v_shares := v_shares + coalesce((t.max_shares_micros - p.lent_shares_micros - v_shares) / 32, 0);
    UPDATE ledger.pool SET lent_cost_micros = p.lent_cost_micros + v_cost, lent_shares_micros = p.lent_shares_micros + v_shares
    WHERE scope = p_scope AND scope_id = p_scope_id;
    UPDATE ledger.loan SET cost_micros = l.cost_micros + v_cost, shares_micros = l.shares_micros + v_shares
    WHERE account_id = p_account_id AND scope = p_scope AND scope_id = p_scope_id;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger._lend(bigint, text, text, bigint, bigint, ledger.total_limits) IS
    'Whether the account may have so much in use under the cap; borrows what its loan lacks. Under its account_state lock.';

CREATE FUNCTION ledger._call_in(p ledger.pool, p_but bigint) RETURNS ledger.pool
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.loan;
    u record;
    v_back boolean := false;
BEGIN
    -- Whoever is in the middle of a reservation keeps what it was lent: waiting for it could be a circle.
    FOR l IN SELECT * FROM ledger.loan x WHERE x.scope = p.scope AND x.scope_id = p.scope_id AND x.account_id <> p_but
        ORDER BY x.account_id FOR UPDATE SKIP LOCKED
    LOOP
        u := ledger._used(l.account_id, l.scope, l.scope_id);
        IF u.cost < l.cost_micros OR u.shares < l.shares_micros THEN
            UPDATE ledger.loan x SET cost_micros = least(x.cost_micros, u.cost), shares_micros = least(x.shares_micros, u.shares)
            WHERE x.account_id = l.account_id AND x.scope = l.scope AND x.scope_id = l.scope_id;
            p.lent_cost_micros := p.lent_cost_micros - greatest(l.cost_micros - u.cost, 0);
            p.lent_shares_micros := p.lent_shares_micros - greatest(l.shares_micros - u.shares, 0);
            v_back := true;
        END IF;
    END LOOP;
    -- A refusal under a cap that is used up writes nothing.
    UPDATE ledger.pool x SET lent_cost_micros = p.lent_cost_micros, lent_shares_micros = p.lent_shares_micros
    WHERE v_back AND x.scope = p.scope AND x.scope_id = p.scope_id;
    RETURN p;
END $$;
COMMENT ON FUNCTION ledger._call_in(ledger.pool, bigint) IS
    'Takes back what others were lent and do not use. Under _hold_pools; their use can only grow under their loan''s lock.';

CREATE FUNCTION ledger._owe(p_account_id bigint, p_group text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    x record;
    l ledger.loan;
    t ledger.total_limits;
    u record;
BEGIN
    FOR x IN SELECT q.scope, q.scope_id FROM (VALUES ('global', ''), ('group', p_group),
            ('live', CASE WHEN ledger._is_live(p_account_id) THEN '' END)) q (scope, scope_id)
        WHERE q.scope_id IS NOT NULL ORDER BY q.scope, q.scope_id
    LOOP
        t := ledger._totals(x.scope, x.scope_id);
        CONTINUE WHEN t.max_cost_micros IS NULL AND t.max_shares_micros IS NULL;
        u := ledger._used(p_account_id, x.scope, x.scope_id);
        INSERT INTO ledger.loan (account_id, scope, scope_id) VALUES (p_account_id, x.scope, x.scope_id) ON CONFLICT DO NOTHING;
        SELECT * INTO l FROM ledger.loan q
        WHERE q.account_id = p_account_id AND q.scope = x.scope AND q.scope_id = x.scope_id FOR UPDATE;
        CONTINUE WHEN l.cost_micros >= u.cost AND l.shares_micros >= u.shares;
        PERFORM ledger._hold_pools();
        INSERT INTO ledger.pool (scope, scope_id) VALUES (x.scope, x.scope_id) ON CONFLICT DO NOTHING;
        UPDATE ledger.pool q SET lent_cost_micros = q.lent_cost_micros + greatest(u.cost - l.cost_micros, 0),
            lent_shares_micros = q.lent_shares_micros + greatest(u.shares - l.shares_micros, 0)
        WHERE q.scope = x.scope AND q.scope_id = x.scope_id;
        UPDATE ledger.loan q SET cost_micros = greatest(q.cost_micros, u.cost), shares_micros = greatest(q.shares_micros, u.shares)
        WHERE q.account_id = p_account_id AND q.scope = x.scope AND q.scope_id = x.scope_id;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._owe(bigint, text) IS
    'A fact took more than was lent: it is booked whatever the cap says, and the others have that much less.';

CREATE FUNCTION ledger._is_live(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM ledger.account a WHERE a.account_id = p_account_id AND a.venue <> 'paper');
END $$;

CREATE FUNCTION ledger._total_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, t ledger.total_limits, p_cost bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    g ledger.total_limits;
    u record;
BEGIN
    IF s.at_risk + p_cost > t.max_cost_micros OR s.shares + r.size_micros > t.max_shares_micros THEN
        RETURN ledger._refusal(r.item, 'CAP_ACCOUNT', format('the account has %s collateral micros and %s share micros in use',
            s.at_risk, s.shares));
    END IF;
    IF e.group_key IS NOT NULL THEN
        g := ledger._totals('group', e.group_key);
        IF g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL THEN
            u := ledger._used(r.account_id, 'group', e.group_key);
            IF NOT ledger._lend(r.account_id, 'group', e.group_key, u.cost + p_cost, u.shares + r.size_micros, g) THEN
                RETURN ledger._refusal(r.item, 'CAP_GROUP', format('the cap of group %s is used up', e.group_key));
            END IF;
        END IF;
    END IF;
    g := ledger._totals('live', '');
    IF (g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL) AND ledger._is_live(r.account_id)
       AND NOT ledger._lend(r.account_id, 'live', '', s.at_risk + p_cost, s.shares + r.size_micros, g) THEN
        RETURN ledger._refusal(r.item, 'CAP_LIVE', 'the cap of all live accounts together is used up; a person may lift it');
    END IF;
    g := ledger._totals('global', '');
    IF (g.max_cost_micros IS NOT NULL OR g.max_shares_micros IS NOT NULL)
       AND NOT ledger._lend(r.account_id, 'global', '', s.at_risk + p_cost, s.shares + r.size_micros, g) THEN
        RETURN ledger._refusal(r.item, 'CAP_GLOBAL', 'the cap of all accounts together is used up');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION ledger.set_total_limit(p_scope text, p_id text, p_name text, p_value text, p_why text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id text := coalesce(p_id, '');
    v_before text;
    v_first boolean;
BEGIN
    PERFORM ledger._enter();
    IF p_scope NOT IN ('account', 'group', 'global', 'live') OR p_scope IN ('global', 'live') AND v_id <> '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: the scope is account, group, global or live, the last two without a name; nothing was changed'
            USING ERRCODE = 'LG004';
    ELSIF p_scope = 'account' AND v_id <> '' THEN
        v_id := ledger._scope_id('account', v_id);
    END IF;
    PERFORM ledger._check_limit_name('total_limits', p_name, p_why);
    INSERT INTO ledger.total_limits (scope, scope_id) VALUES (p_scope, v_id) ON CONFLICT DO NOTHING;
    SELECT p_scope <> 'account' AND p_name IN ('max_cost_micros', 'max_shares_micros') AND p_value IS NOT NULL
        AND to_jsonb(t) ->> p_name IS NULL INTO v_first
    FROM ledger.total_limits t WHERE t.scope = p_scope AND t.scope_id = v_id FOR UPDATE;
    IF v_first THEN
        PERFORM ledger._hold_all_accounts();
    ELSIF p_scope = 'account' THEN
        PERFORM FROM ledger.account_state s WHERE s.account_id::text = v_id FOR UPDATE;
    END IF;
    IF p_scope <> 'account' THEN
        PERFORM ledger._hold_pools();
    END IF;
    v_before := ledger._set_column('total_limits', p_name, p_value, format('scope = %L AND scope_id = %L', p_scope, v_id));
    INSERT INTO ledger.limit_change (account_id, market_id, name, before, after, why, changed_by, changed_at, scope, scope_id)
    SELECT 0, 0, p_name, v_before, to_jsonb(t) ->> p_name, left(p_why, 500), session_user, ledger.clock(), p_scope, v_id
    FROM ledger.total_limits t WHERE t.scope = p_scope AND t.scope_id = v_id;
    IF v_first THEN
        PERFORM ledger._lend_anew(p_scope);
    END IF;
    RETURN v_before;
END $$;
COMMENT ON FUNCTION ledger.set_total_limit(text, text, text, text, text) IS
    'Scope and name (NULL: the default of account or group, or global and live themselves). Returns the value before.';

CREATE FUNCTION ledger._hold_all_accounts() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_before text := current_setting('lock_timeout');
    v_account_id bigint;
BEGIN
    FOR n IN 1 .. 20 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            -- An account that is being opened has nothing in use, and will read the cap: one way or the other.
            LOCK TABLE ledger.account IN SHARE ROW EXCLUSIVE MODE;
            PERFORM FROM ledger.account_state s ORDER BY s.account_id FOR UPDATE;
            PERFORM set_config('lock_timeout', v_before, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            -- Somebody is busy for long. With the block what was locked in it is let go, and the setting is as it was.
            NULL;
        END;
        FOR v_account_id IN SELECT s.account_id FROM ledger.account_state s ORDER BY s.account_id LOOP
            PERFORM ledger._wait_for_account(v_account_id);
        END LOOP;
    END LOOP;
    RAISE EXCEPTION 'BUSY: somebody keeps an account locked; nothing was changed' USING ERRCODE = 'LG004',
        HINT = 'Ask again; ledger-worker status shows whether the watchdog ends who sits on a lock.';
END $$;
COMMENT ON FUNCTION ledger._hold_all_accounts() IS
    'Every account_state, so that nobody reserves while sums are taken. Who waits for a busy one holds nobody else up meanwhile.';

CREATE FUNCTION ledger._wait_for_account(p_account_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM FROM ledger.account_state s WHERE s.account_id = p_account_id FOR UPDATE;
    -- It is let go with this block.
    RAISE EXCEPTION USING ERRCODE = 'LG000';
EXCEPTION WHEN lock_not_available OR SQLSTATE 'LG000' THEN
    NULL;
END $$;
COMMENT ON FUNCTION ledger._wait_for_account(bigint) IS 'Until nobody is in the middle of something there, for half a second at most.';

CREATE FUNCTION ledger._lend_anew(p_scope text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Every account_state is locked: nobody uses a loan now. What is in use stays lent, and nothing else.
    DELETE FROM ledger.loan WHERE scope = p_scope;
    UPDATE ledger.pool SET lent_cost_micros = 0, lent_shares_micros = 0 WHERE scope = p_scope;
    INSERT INTO ledger.loan (account_id, scope, scope_id, cost_micros, shares_micros)
    SELECT q.account_id, p_scope, q.scope_id, greatest(q.cost, 0), greatest(q.shares, 0) FROM (
        SELECT g.account_id, g.group_key AS scope_id, g.at_risk AS cost, g.shares FROM ledger.group_state g WHERE p_scope = 'group'
        UNION ALL
        SELECT s.account_id, '', s.at_risk, s.shares FROM ledger.account_state s
        WHERE p_scope = 'global' OR p_scope = 'live' AND ledger._is_live(s.account_id)) q
    CROSS JOIN LATERAL ledger._totals(p_scope, q.scope_id) t
    WHERE t.max_cost_micros IS NOT NULL OR t.max_shares_micros IS NOT NULL;
    INSERT INTO ledger.pool AS p (scope, scope_id, lent_cost_micros, lent_shares_micros)
    SELECT l.scope, l.scope_id, sum(l.cost_micros), sum(l.shares_micros) FROM ledger.loan l
    WHERE l.scope = p_scope GROUP BY l.scope, l.scope_id
    ON CONFLICT (scope, scope_id) DO UPDATE SET lent_cost_micros = excluded.lent_cost_micros,
        lent_shares_micros = excluded.lent_shares_micros;
END $$;
COMMENT ON FUNCTION ledger._lend_anew(text) IS
    'A first cap: until now nobody had to borrow. Where there is one already, loans cover what is in use whatever it is changed to.';
