-- purpose: halts, suspensions and the invariant breach: what stops trading, who may end it.
-- locks:   _check_breach runs under the exposure and account_state locks of its market; halts lock nothing of the send path.
--          _hold_moving_lanes takes exposure, then account_state, of the lanes whose market an import moves.
-- index:   halt_standing; exposure by primary key; exposure_open_positions, reservation_standing, fill_unsettled for the sweep.
-- fence:   resume names a version and is refused while a newer halt of the same scope stands.

CREATE FUNCTION ledger._halted_by(p_account_id bigint, p_market_id bigint) RETURNS text
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce((SELECT h.scope || CASE WHEN h.scope_id = '' THEN '' ELSE ':' || h.scope_id END || ' (' || h.why || ')'
    FROM ledger.halt h
    WHERE h.cleared_at IS NULL
      AND (h.scope = 'global'
           OR h.scope = 'account' AND h.scope_id = p_account_id::text
           OR h.scope = 'market' AND h.scope_id = p_market_id::text
           OR h.scope = 'group' AND h.scope_id =
              (SELECT m.group_key FROM ledger.market m WHERE m.market_id = p_market_id))
    ORDER BY h.halt_id LIMIT 1), ledger._paused_by(p_account_id))
$$;
COMMENT ON FUNCTION ledger._halted_by(bigint, bigint) IS
    'The first standing halt that covers the market for the account, else the withdrawal that pauses the account, as text, or '
    'NULL. VOLATILE: it must see what was committed while the caller waited for its lock.';

CREATE FUNCTION ledger._add_halt(p_scope text, p_scope_id text, p_why text, p_as text, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_id bigint;
BEGIN
    INSERT INTO ledger.halt (scope, scope_id, why, set_by, set_as, set_at)
    VALUES (p_scope, p_scope_id, left(p_why, 500), session_user, left(p_as, 200), p_now)
    RETURNING halt_id INTO v_id;
    INSERT INTO ledger.halt_change (halt_id, change, scope, scope_id, why, changed_by, changed_as, changed_at)
    SELECT h.halt_id, 'set', h.scope, h.scope_id, h.why, h.set_by, h.set_as, h.set_at
    FROM ledger.halt h WHERE h.halt_id = v_id;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger._add_halt(text, text, text, text, timestamptz) IS
    'A halt and its row in halt_change, which is what the audit holds the halt against.';

CREATE FUNCTION ledger._halt_once(p_scope text, p_scope_id text, p_why text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = p_scope_id
                   -- What a person or a trader has set under that word is not ours, and ends when they like.
                   AND h.set_as = 'ledger' AND h.cleared_at IS NULL
                   AND split_part(h.why, ':', 1) = split_part(p_why, ':', 1)) THEN
        PERFORM ledger._add_halt(p_scope, p_scope_id, p_why, 'ledger', p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._halt_once(text, text, text, timestamptz) IS
    'Sets a halt unless the ledger itself has set one of the same kind (the word before the colon) that stands.';

CREATE FUNCTION ledger._check_breach(
    p_account_id bigint, p_market_id bigint, p_now timestamptz, p_overfill boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    l ledger.limits := ledger._effective_limits(p_account_id, p_market_id);
    v_up bigint;
    v_down bigint;
    v_why text;
    v_until timestamptz;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_up := ledger._effective(e, 1);
    v_down := ledger._effective(e, 2);
    v_why := CASE
        WHEN greatest(v_up, v_down) > l.max_outcome_micros THEN 'CAP_OUTCOME'
        WHEN v_up + v_down > l.max_market_micros THEN 'CAP_MARKET'
        WHEN least(e.confirmed[1], e.confirmed[2]) < 0 THEN 'NEGATIVE_POSITION'
        WHEN p_overfill THEN 'OVERFILL'
        END;
    IF v_why IS NULL THEN
        RETURN false;
    END IF;
    IF e.suspended_until > p_now AND e.suspended_why LIKE 'INVARIANT_BREACH_HALT%' THEN
        RETURN true;
    END IF;
    SELECT greatest(m.window_end, p_now + interval '15 minutes', e.suspended_until) INTO v_until
    FROM ledger.market m WHERE m.market_id = p_market_id;
    UPDATE ledger.exposure SET suspended_until = v_until, suspended_why = 'INVARIANT_BREACH_HALT ' || v_why
    WHERE account_id = p_account_id AND market_id = p_market_id;
    PERFORM ledger._journal(p_account_id, p_market_id, p_now, 'INVARIANT_BREACH_HALT', NULL, NULL, NULL, NULL,
        jsonb_build_object('why', v_why, 'up', v_up, 'down', v_down, 'total', v_up + v_down,
            'cap_outcome', l.max_outcome_micros, 'cap_market', l.max_market_micros, 'until', v_until));
    RETURN true;
END $$;

CREATE FUNCTION ledger._effective(e ledger.exposure, i integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT e.confirmed[i] + e.provisional_buy[i] + e.awaiting_buy[i] + e.open_buy[i] + e.pending_buy[i] $$;
COMMENT ON FUNCTION ledger._effective(ledger.exposure, integer) IS
    'Exposure that counts against caps: buys from the moment they are reserved, sells only once confirmed.';

CREATE FUNCTION ledger.sweep_breaches() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x record;
    v_found integer := 0;
BEGIN
    PERFORM ledger._enter();
    -- Finds again a breach whose own transaction was rolled back. Candidates are read without locks, then judged under them.
    FOR x IN
        SELECT n.account_id, n.market_id FROM (
            -- Lanes that hold something or ask for it: what there ever was besides has nothing that could be too much. Each by
            -- an index that is there anyway; one on what counts itself would make every reservation write it.
            SELECT q.account_id, q.market_id FROM ledger.exposure q WHERE q.bought <> q.sold
            UNION SELECT r.account_id, r.market_id FROM ledger.reservation r WHERE r.phase <> 'released'
            UNION SELECT f.account_id, f.market_id FROM ledger.fill f WHERE f.settlement = 'provisional') n
        -- One by one (OFFSET): the planner takes arrays for hardly ever equal and would read every lane to join them.
        CROSS JOIN LATERAL (SELECT q AS e FROM ledger.exposure q WHERE q.account_id = n.account_id AND q.market_id = n.market_id
              AND (q.suspended_until IS NULL OR q.suspended_until <= ledger.clock()) OFFSET 0) lane
        CROSS JOIN LATERAL ledger._effective_limits(n.account_id, n.market_id) l
        WHERE greatest(ledger._effective(lane.e, 1), ledger._effective(lane.e, 2)) > l.max_outcome_micros
           OR ledger._effective(lane.e, 1) + ledger._effective(lane.e, 2) > l.max_market_micros
           OR least((lane.e).confirmed[1], (lane.e).confirmed[2]) < 0
        ORDER BY n.account_id, n.market_id LIMIT 100
    LOOP
        PERFORM FROM ledger.exposure e WHERE e.account_id = x.account_id AND e.market_id = x.market_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        IF ledger._check_breach(x.account_id, x.market_id, ledger._lane_time(x.account_id, x.market_id)) THEN
            v_found := v_found + 1;
        END IF;
    END LOOP;
    RETURN v_found;
END $$;

CREATE FUNCTION ledger._scope_id(p_scope text, p_id text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_id text;
BEGIN
    IF p_scope = 'global' THEN
        RETURN '';
    ELSIF p_scope = 'account' THEN
        SELECT a.account_id::text INTO v_id FROM ledger.account a WHERE a.name = p_id;
    ELSIF p_scope = 'market' THEN
        SELECT ledger._market_id(p_id)::text INTO v_id;
    ELSIF p_scope = 'group' THEN
        -- A group may be halted before its first market is imported.
        v_id := nullif(p_id, '');
    ELSE
        RAISE EXCEPTION 'BAD_REQUEST: scope must be global, account, group or market, not %', p_scope
            USING ERRCODE = 'LG004';
    END IF;
    IF coalesce(p_id, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: the scope % has a name; nothing was changed', p_scope USING ERRCODE = 'LG004';
    ELSIF v_id IS NULL THEN
        RAISE EXCEPTION '%: %; nothing was changed',
            CASE p_scope WHEN 'account' THEN 'UNKNOWN_ACCOUNT' ELSE 'UNKNOWN_MARKET' END, p_id USING ERRCODE = 'LG004';
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION ledger._own_reasons() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ARRAY['DAILY_LOSS', 'ROLLING_LOSS', 'NEGATIVE_BALANCE', 'FOREIGN_ORDER', 'ID_MISMATCH', 'UNCONFIRMED_TOO_LONG',
        'CONFIRMED_AFTER_FAILED', 'TRADE_CHANGED', 'WITHDRAWAL_CAME_LATE', 'BANNED', 'BAD_CREDENTIALS', 'GROUP_LEFT',
        -- and of workers
        'NEG_RISK_ON', 'POSITION_DIFFERS', 'COLLATERAL_DIFFERS']
$$;
COMMENT ON FUNCTION ledger._own_reasons() IS 'The words with which reasons begin that the ledger and its workers give.';

CREATE FUNCTION ledger.set_halt(p_scope text, p_id text, p_why text, p_as text DEFAULT '') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_scope_id text;
BEGIN
    PERFORM ledger._enter();
    IF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: a halt needs a reason; nothing was halted' USING ERRCODE = 'LG004';
    ELSIF lower(trim(p_as)) = 'ledger' THEN
        RAISE EXCEPTION 'BAD_REQUEST: ledger is no name to halt by; nothing was halted' USING ERRCODE = 'LG004',
            HINT = 'It marks the halts that the ledger sets itself. Give another name, or none.';
    ELSIF trim(split_part(p_why, ':', 1)) = ANY (ledger._own_reasons())
          AND NOT pg_has_role(session_user, '${role_worker}', 'MEMBER') THEN
        -- One that stands under such a word keeps the ledger or a worker from setting its own.
        RAISE EXCEPTION 'BAD_REQUEST: a reason that begins with % is the ledger''s own; nothing was halted',
            trim(split_part(p_why, ':', 1)) USING ERRCODE = 'LG004', HINT = 'Say it in other words.';
    END IF;
    v_scope_id := ledger._scope_id(p_scope, p_id);
    RETURN ledger._add_halt(p_scope, v_scope_id, p_why, p_as, ledger.clock());
END $$;
COMMENT ON FUNCTION ledger.set_halt(text, text, text, text) IS
    'Anyone may halt, in words of their own (not _own_reasons). Returns the version that resume must name. Effective for the next '
    'decision in every process.';

CREATE FUNCTION ledger.clear_halt(p_scope text, p_id text, p_version bigint, p_why text DEFAULT '', p_as text DEFAULT '')
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_scope_id text;
    v_newest bigint;
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    v_scope_id := ledger._scope_id(p_scope, p_id);
    IF p_version IS NULL THEN
        RAISE EXCEPTION 'BAD_REQUEST: resuming names the version that is ended; nothing was resumed' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = v_scope_id AND h.cleared_at IS NULL
    ORDER BY h.halt_id FOR UPDATE;
    SELECT max(h.halt_id) INTO v_newest FROM ledger.halt h
    WHERE h.scope = p_scope AND h.scope_id = v_scope_id AND h.cleared_at IS NULL;
    IF v_newest IS NULL OR v_newest < p_version THEN
        RAISE EXCEPTION 'STALE_VERSION: no halt of this scope with version % stands; nothing was resumed', p_version
            USING ERRCODE = 'LG005', HINT = 'ledger-worker status lists the standing halts with their versions.';
    ELSIF v_newest > p_version THEN
        RAISE EXCEPTION 'STALE_VERSION: a newer halt (version %) of this scope stands; nothing was resumed', v_newest
            USING ERRCODE = 'LG005', HINT = 'Read its reason with ledger-worker status, then name that version.';
    END IF;
    WITH cleared AS (
        UPDATE ledger.halt SET cleared_at = ledger.clock(), cleared_by = session_user,
                               cleared_as = left(p_as, 200), cleared_why = left(p_why, 500)
        -- By version: one that was committed since the look above stands.
        WHERE scope = p_scope AND scope_id = v_scope_id AND cleared_at IS NULL AND halt_id <= p_version
        RETURNING *)
    INSERT INTO ledger.halt_change (halt_id, change, scope, scope_id, why, changed_by, changed_as, changed_at)
    SELECT c.halt_id, 'cleared', c.scope, c.scope_id, c.cleared_why, c.cleared_by, c.cleared_as, c.cleared_at FROM cleared c;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE FUNCTION ledger._hold_moving_lanes(p_rows jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_markets bigint[] := array(
        SELECT m.market_id FROM jsonb_array_elements(p_rows) x JOIN ledger.market m ON m.condition_id = x ->> 'condition_id'
        WHERE m.group_key IS DISTINCT FROM x ->> 'group_key');
BEGIN
    IF v_markets <> '{}' THEN
        PERFORM FROM ledger.exposure e
        WHERE (e.account_id, e.market_id) IN (SELECT a.account_id, q FROM ledger.account a CROSS JOIN unnest(v_markets) q)
        ORDER BY e.account_id, e.market_id FOR UPDATE;
        PERFORM FROM ledger.account_state s
        WHERE EXISTS (SELECT FROM ledger.exposure e WHERE e.account_id = s.account_id AND e.market_id = ANY (v_markets))
        ORDER BY s.account_id FOR UPDATE;
        PERFORM ledger._halt_leavers(v_markets);
    END IF;
    RETURN v_markets;
END $$;
COMMENT ON FUNCTION ledger._hold_moving_lanes(jsonb) IS
    'Locks the lanes of markets that an import moves to another group, before it does. Returns those markets.';

CREATE FUNCTION ledger._halt_leavers(p_markets bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT q.market_id, q.group_key FROM ledger.market q WHERE q.market_id = ANY (p_markets)
        AND EXISTS (SELECT FROM ledger.halt h WHERE h.scope = 'group' AND h.scope_id = q.group_key AND h.cleared_at IS NULL)
        ORDER BY q.market_id
    LOOP
        PERFORM ledger._halt_once('market', m.market_id::text,
            format('GROUP_LEFT: it was halted with the group %s, which it has left', m.group_key), ledger.clock());
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._halt_leavers(bigint[]) IS
    'Only a person ends a halt: what the venue says of a market''s group takes the market out of none.';

CREATE FUNCTION ledger._regroup_lanes(p_markets bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e record;
BEGIN
    FOR e IN SELECT q.account_id, q.market_id FROM ledger.exposure q
        WHERE (q.account_id, q.market_id) IN (SELECT a.account_id, n FROM ledger.account a CROSS JOIN unnest(p_markets) n)
        ORDER BY q.account_id, q.market_id FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM FROM ledger.account_state s WHERE s.account_id = e.account_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM ledger._regroup(e.account_id, e.market_id);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._regroup_lanes(bigint[]) IS
    'In the commit of the import, so that no cap of the group is judged without them. A lane that is made at this very moment is '
    'left to its own next reservation or to sweep_groups.';
