-- purpose: accounts, grants, markets, movements with a cause: what a person or an importer sets up.
-- locks:   book_movement takes exposure (for tokens), then account_state.
--          import_markets takes the lanes of markets that change their group first (_hold_moving_lanes), then market rows.
-- index:   primary keys, market by condition id.
-- fence:   every movement has its own key and is booked once.

CREATE FUNCTION ledger.open_account(
    p_name text, p_venue text, p_maker text DEFAULT NULL, p_signer text DEFAULT NULL,
    p_signature_type integer DEFAULT 0, p_quarantine_ms bigint DEFAULT 120000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint;
    v_venue text;
    v_new boolean;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.account (name, venue, maker, signer, signature_type, quarantine_ms, created_at)
    VALUES (p_name, p_venue, p_maker, p_signer, p_signature_type, p_quarantine_ms, ledger.clock())
    ON CONFLICT (name) DO NOTHING;
    v_new := FOUND;
    SELECT a.account_id, a.venue INTO v_id, v_venue FROM ledger.account a WHERE a.name = p_name;
    IF v_venue <> p_venue THEN
        RAISE EXCEPTION 'BAD_REQUEST: account % trades on %; paper and live never mix. Nothing was changed', p_name, v_venue
            USING ERRCODE = 'LG004', HINT = 'Open another account for the other venue.';
    END IF;
    INSERT INTO ledger.account_state (account_id) VALUES (v_id) ON CONFLICT DO NOTHING;
    IF v_new THEN
        PERFORM ledger._journal(v_id, NULL, a.created_at, 'ACCOUNT_OPENED', p_detail => jsonb_build_object('name', a.name,
            'venue', a.venue, 'maker', a.maker, 'signer', a.signer, 'signature_type', a.signature_type,
            'quarantine_ms', a.quarantine_ms))
        FROM ledger.account a WHERE a.account_id = v_id;
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger.open_account(text, text, text, text, integer, bigint) IS 'Safe to repeat; returns the account id.';

CREATE FUNCTION ledger.open_paper_account(p_name text, p_collateral_micros bigint, p_quarantine_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint := ledger.open_account(p_name, 'paper', NULL, NULL, 0, p_quarantine_ms);
BEGIN
    IF p_collateral_micros > 0 THEN
        PERFORM ledger.book_movement(p_name, 'collateral', p_collateral_micros, 'opening', 'opening', 'paper money');
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger.open_paper_account(text, bigint, bigint) IS
    'The only account a worker may open by itself, since nothing in it is worth anything. Safe to repeat.';

CREATE FUNCTION ledger.sign_as(p_account text, p_maker text, p_signer text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_id bigint;
    v_maker text;
    v_signer text;
BEGIN
    PERFORM ledger._enter();
    WITH signing AS (
        UPDATE ledger.account SET maker = coalesce(maker, p_maker), signer = coalesce(signer, p_signer)
        WHERE name = p_account AND (maker IS NULL AND p_maker IS NOT NULL OR signer IS NULL AND p_signer IS NOT NULL)
        RETURNING account_id, maker, signer)
    SELECT s.account_id, s.maker, s.signer INTO v_id, v_maker, v_signer FROM signing s;
    IF FOUND THEN
        PERFORM ledger._journal(v_id, NULL, ledger.clock(), 'SIGNS_AS',
            p_detail => jsonb_build_object('maker', v_maker, 'signer', v_signer));
    END IF;
    RETURN EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account
                   AND lower(a.maker) = lower(p_maker) AND lower(a.signer) = lower(p_signer));
END $$;
COMMENT ON FUNCTION ledger.sign_as(text, text, text) IS
    'The first worker writes the account''s addresses; false later means: this key is not the account''s key.';

CREATE FUNCTION ledger.grant_account(p_account text, p_role name) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    g ledger.account_grant;
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account) THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was granted', p_account USING ERRCODE = 'LG004';
    ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        -- A grant to a misspelt name would wait for whoever makes a login of that name.
        RAISE EXCEPTION 'UNKNOWN_ROLE: %; nothing was granted', p_role USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.account_grant (account_id, role_name, granted_at)
    SELECT a.account_id, p_role, ledger.clock() FROM ledger.account a WHERE a.name = p_account
    ON CONFLICT DO NOTHING RETURNING * INTO g;
    IF FOUND THEN
        PERFORM ledger._journal(g.account_id, NULL, g.granted_at, 'GRANTED', p_detail => jsonb_build_object('role', g.role_name));
    END IF;
END $$;

CREATE FUNCTION ledger.revoke_account(p_account text, p_role name, p_why text, p_operator text DEFAULT '') RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was taken away', p_account USING ERRCODE = 'LG004';
    ELSIF coalesce(p_role, '') = '' OR coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: name the login and say why; nothing was taken away' USING ERRCODE = 'LG004';
    END IF;
    -- A login that was dropped since may be named as well: its grant would wait for the next of that name.
    DELETE FROM ledger.account_grant g WHERE g.account_id = v_account_id AND g.role_name = p_role;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, ledger.clock(), 'REVOKED', p_detail => jsonb_build_object(
        'role', p_role, 'why', left(p_why, 500), 'operator', left(p_operator, 200)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.revoke_account(text, name, text, text) IS
    'From its commit on the login admits nothing for the account; false if it had no grant. What it asked for before stands.';

CREATE FUNCTION ledger.book_movement(
    p_account text, p_asset text, p_amount bigint, p_cause text, p_key text, p_note text, p_value bigint DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint;
    v_outcome smallint;
    v_basis bigint;
    v_now timestamptz := ledger.clock();
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was booked', p_account USING ERRCODE = 'LG004';
    ELSIF p_cause NOT IN ('opening', 'deposit', 'withdrawal', 'correction', 'resolution', 'redemption', 'split', 'merge',
                          'conversion', 'transfer_in', 'transfer_out') OR coalesce(p_key, '') = '' OR p_amount = 0 OR p_value < 0 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a movement needs a known cause, a key and an amount; nothing was booked' USING ERRCODE = 'LG004';
    ELSIF p_asset <> 'collateral' AND p_cause IN ('resolution', 'redemption', 'conversion') AND p_value IS NULL THEN
        RAISE EXCEPTION 'BAD_REQUEST: tokens that were resolved, redeemed or converted were worth something, or nothing (0); '
            'nothing was booked' USING ERRCODE = 'LG004', HINT = 'Give the value in collateral.';
    END IF;
    IF p_asset <> 'collateral' THEN
        SELECT x.market_id, x.outcome INTO v_market_id, v_outcome FROM ledger.outcome x WHERE x.token_id = p_asset;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'UNKNOWN_OUTCOME: token %; nothing was booked', left(p_asset, 80) USING ERRCODE = 'LG004';
        END IF;
        INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
        SELECT v_account_id, m.market_id, v_now, m.group_key FROM ledger.market m WHERE m.market_id = v_market_id
        ON CONFLICT DO NOTHING;
        PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id AND e.market_id = v_market_id FOR UPDATE;
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    IF EXISTS (SELECT FROM ledger.balance_entry b WHERE b.account_id = v_account_id AND b.entry_key = 'movement:' || p_key) THEN
        RETURN false;
    ELSIF p_key LIKE 'withdrawal:%' THEN
        RAISE EXCEPTION 'BAD_KEY: keys that begin with withdrawal: are those of withdrawals; nothing was booked' USING ERRCODE = 'LG004',
            HINT = 'Give another key.';
    END IF;
    IF p_asset <> 'collateral' THEN
        SELECT q.p_value, q.p_basis INTO p_value, v_basis
        FROM ledger._move_position(v_account_id, v_market_id, v_outcome, p_amount, p_cause, p_value) q;
    ELSE
        p_value := NULL;
    END IF;
    PERFORM ledger._book(v_account_id, p_asset, p_amount, 0, p_cause, 'movement:' || p_key, v_now, NULL, NULL, left(p_note, 500),
                         ledger._contra_of(p_cause), p_value => p_value, p_basis => v_basis);
    PERFORM ledger._journal(v_account_id, v_market_id, v_now, 'MOVEMENT',
        NULL, NULL, NULL, NULL, jsonb_build_object('asset', p_asset, 'amount', p_amount, 'cause', p_cause, 'key', p_key,
                                                   'note', left(p_note, 500), 'value', p_value));
    IF p_asset <> 'collateral' THEN
        PERFORM ledger._check_breach(v_account_id, v_market_id, ledger._lane_time(v_account_id, v_market_id));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.book_movement(text, text, bigint, text, text, text, bigint) IS
    'An entry with a cause; false if its key was booked before. asset is collateral or a token id; amount in micros. value: what '
    'the tokens were worth in collateral micros; see _move_position for what is taken where it is not known.';

CREATE FUNCTION ledger._contra_of(p_cause text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN p_cause IN ('resolution', 'redemption', 'split', 'merge', 'conversion') THEN 'chain'
                WHEN p_cause = 'correction' THEN 'correction' ELSE 'outside' END
$$;

CREATE FUNCTION ledger._move_position(
    p_account_id bigint, p_market_id bigint, p_outcome smallint, p_amount bigint, p_cause text, INOUT p_value bigint,
    OUT p_basis bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := p_outcome + 1;
    e ledger.exposure;
    v_held bigint;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_held := e.bought[i] - e.sold[i];
    IF p_value IS NULL AND p_cause IN ('split', 'merge') THEN
        p_value := abs(p_amount) / 2;
    ELSIF p_value IS NULL AND p_amount > 0 THEN
        -- At the last price known, however old; at the most they can be worth where none is: risk is not to be understated.
        p_value := ledger.cost_of(coalesce((SELECT b.mark_micros FROM ledger.book b
            WHERE b.market_id = p_market_id AND b.outcome = p_outcome), 1000000), p_amount);
    END IF;
    p_basis := ledger._basis_after(e.basis[i], v_held, p_amount, p_value) - e.basis[i];
    -- At what they cost: who carries tokens away neither wins nor loses by it.
    p_value := coalesce(p_value, -p_basis);
    IF p_amount > 0 THEN
        UPDATE ledger.exposure x SET confirmed[i] = x.confirmed[i] + p_amount, bought[i] = x.bought[i] + p_amount,
            bought_cost[i] = x.bought_cost[i] + p_value, basis[i] = x.basis[i] + p_basis
        WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    ELSE
        UPDATE ledger.exposure x SET confirmed[i] = x.confirmed[i] + p_amount, sold[i] = x.sold[i] - p_amount,
            sold_cost[i] = x.sold_cost[i] + p_value, basis[i] = x.basis[i] + p_basis
        WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    END IF;
    UPDATE ledger.account_state s SET traded_net = s.traded_net - sign(p_amount)::integer * p_value WHERE s.account_id = p_account_id;
    PERFORM ledger._carry_risk(p_account_id, p_market_id);
END $$;
COMMENT ON FUNCTION ledger._move_position(bigint, bigint, smallint, bigint, text, bigint) IS
    'Tokens that came or went without a trade, at their value in collateral micros. Gives the value taken, and what was added to '
    'what the position cost.';

CREATE FUNCTION ledger.import_markets(p_rows jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x jsonb;
    v_id bigint;
    v_new boolean;
    v_now timestamptz := ledger.clock();
    v_created integer := 0;
    v_updated integer := 0;
    v_moving bigint[];
BEGIN
    PERFORM ledger._enter();
    v_moving := ledger._hold_moving_lanes(p_rows);
    FOR x IN SELECT q FROM jsonb_array_elements(p_rows) q ORDER BY q ->> 'condition_id' LOOP
        INSERT INTO ledger.market AS m (condition_id, slug, question, event_id, event_title, category, group_key,
            tick_micros, min_size_micros, fee_rate_micros, fee_exponent, fee_taker_only, neg_risk, neg_risk_augmented,
            protocol_version, window_start, window_end, tradable, untradable_reasons, source_digest, created_at, updated_at)
        VALUES (x ->> 'condition_id', x ->> 'slug', coalesce(x ->> 'question', ''), x ->> 'event_id', x ->> 'event_title',
            x ->> 'category', x ->> 'group_key', ledger._whole(x -> 'tick_micros'), ledger._whole(x -> 'min_size_micros'),
            coalesce(ledger._whole(x -> 'fee_rate_micros'), 0), coalesce(ledger._whole(x -> 'fee_exponent'), 1),
            coalesce((x ->> 'fee_taker_only')::boolean, false), coalesce((x ->> 'neg_risk')::boolean, false),
            coalesce((x ->> 'neg_risk_augmented')::boolean, false), coalesce(x ->> 'protocol_version', 'v1'),
            to_timestamp(ledger._whole(x -> 'window_start_ms') / 1000.0), to_timestamp(ledger._whole(x -> 'window_end_ms') / 1000.0),
            (x ->> 'tradable')::boolean, array(SELECT jsonb_array_elements_text(x -> 'untradable_reasons')),
            x ->> 'raw_digest', v_now, v_now)
        ON CONFLICT (condition_id) DO UPDATE SET
            slug = excluded.slug, question = excluded.question, event_id = excluded.event_id,
            event_title = excluded.event_title, category = excluded.category, group_key = excluded.group_key,
            tick_micros = excluded.tick_micros, min_size_micros = excluded.min_size_micros,
            fee_rate_micros = excluded.fee_rate_micros, fee_exponent = excluded.fee_exponent,
            fee_taker_only = excluded.fee_taker_only, neg_risk = excluded.neg_risk,
            neg_risk_augmented = excluded.neg_risk_augmented, protocol_version = excluded.protocol_version,
            window_start = excluded.window_start, window_end = excluded.window_end, tradable = excluded.tradable,
            untradable_reasons = excluded.untradable_reasons, source_digest = excluded.source_digest, updated_at = v_now
        RETURNING m.market_id, m.xmax = 0 INTO v_id, v_new;
        INSERT INTO ledger.outcome AS c (market_id, outcome, label, token_id)
        SELECT v_id, ledger._whole(q -> 'index'), q ->> 'label', q ->> 'token_id'
        FROM jsonb_array_elements(coalesce(x -> 'outcomes', '[]')) q
        WHERE NOT EXISTS (SELECT FROM ledger.outcome d WHERE d.token_id = q ->> 'token_id' AND d.market_id <> v_id)
        ON CONFLICT (market_id, outcome) DO UPDATE SET label = excluded.label WHERE c.token_id = excluded.token_id;
        -- Orders refer to these tokens: a market whose tokens change, or belong to another, is not the market it was.
        UPDATE ledger.market m SET tradable = false, untradable_reasons = array_append(m.untradable_reasons, 'OUTCOME_CONFLICT')
        WHERE m.market_id = v_id AND EXISTS (
            SELECT FROM jsonb_array_elements(coalesce(x -> 'outcomes', '[]')) q
            WHERE NOT EXISTS (SELECT FROM ledger.outcome c WHERE c.market_id = v_id
                AND c.outcome = ledger._whole(q -> 'index') AND c.token_id = q ->> 'token_id'));
        IF v_new THEN v_created := v_created + 1; ELSE v_updated := v_updated + 1; END IF;
    END LOOP;
    PERFORM ledger._regroup_lanes(v_moving);
    RETURN jsonb_build_object('created', v_created, 'updated', v_updated);
END $$;
COMMENT ON FUNCTION ledger.import_markets(jsonb) IS
    'Rows as app.markets.model writes them; all or nothing. Amounts in micros, times in unix milliseconds.';
