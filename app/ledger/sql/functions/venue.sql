-- purpose: the venue's condition: note and end its modes, spend its rate budget, keep what must be alive, store exchanges.
-- locks:   note_mode and end_mode: account_state. spend and *_pulse: their own row only, and nothing after it.
-- index:   primary keys.
-- fence:   beat_pulse needs the term of the holder's lease.

CREATE FUNCTION ledger._account_id(p_name text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT a.account_id INTO v_id FROM ledger.account a WHERE a.name = p_name;
    IF v_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was done', p_name USING ERRCODE = 'LG004';
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION ledger.note_mode(p_account text, p_mode text, p_for_ms bigint, p_detail text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
    v_until timestamptz;
    m ledger.venue_mode;
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    v_until := v_now + make_interval(secs => p_for_ms / 1000.0);
    SELECT * INTO m FROM ledger.venue_mode q WHERE q.account_id = v_account_id AND q.mode = p_mode;
    IF m.mode IS NOT NULL AND m.ended_at IS NULL AND (m.until IS NULL OR m.until > v_now) THEN
        UPDATE ledger.venue_mode SET seen_at = v_now, signs = signs + 1, detail = left(p_detail, 500),
            until = CASE WHEN p_for_ms IS NULL OR m.until IS NULL THEN NULL ELSE greatest(m.until, v_until) END
        WHERE account_id = v_account_id AND mode = p_mode;
        RETURN false;
    END IF;
    INSERT INTO ledger.venue_mode AS q (account_id, mode, since, until, seen_at, detail)
    VALUES (v_account_id, p_mode, v_now, v_until, v_now, left(p_detail, 500))
    ON CONFLICT (account_id, mode) DO UPDATE SET since = v_now, until = v_until, seen_at = v_now, signs = q.signs + 1,
        detail = excluded.detail, ended_at = NULL;
    IF p_mode IN ('BANNED', 'BAD_CREDENTIALS') THEN
        -- Not a condition of the venue but of our account: a person must look. In this very commit, or a death would lose it.
        PERFORM ledger._halt_once('account', v_account_id::text, p_mode || ': the venue answered ' || left(p_detail, 200), v_now);
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'VENUE_MODE_BEGAN', p_detail => jsonb_build_object(
        'mode', p_mode, 'until', v_until, 'detail', left(p_detail, 500)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.note_mode(text, text, bigint, text) IS
    'A sign of a mode was seen. p_for_ms NULL: it stands until end_mode. True if this begins an episode.';

CREATE FUNCTION ledger.end_mode(p_account text, p_mode text, p_detail text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF NOT EXISTS (SELECT FROM ledger.venue_mode q WHERE q.account_id = v_account_id AND q.mode = p_mode AND q.ended_at IS NULL) THEN
        RETURN false;
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    UPDATE ledger.venue_mode SET ended_at = v_now
    WHERE account_id = v_account_id AND mode = p_mode AND ended_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'VENUE_MODE_ENDED', p_detail => jsonb_build_object(
        'mode', p_mode, 'detail', left(p_detail, 500)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.end_mode(text, text, text) IS 'The mode was seen to be over. True if it stood.';

CREATE FUNCTION ledger.end_lapsed_modes(p_account text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_mode text;
    v_ended jsonb := '[]';
BEGIN
    FOR v_mode IN SELECT q.mode FROM ledger.venue_mode q
        WHERE q.account_id = v_account_id AND q.ended_at IS NULL AND q.until <= ledger.clock() ORDER BY q.mode LOOP
        IF ledger.end_mode(p_account, v_mode, 'its time was over') THEN
            v_ended := v_ended || to_jsonb(v_mode);
        END IF;
    END LOOP;
    RETURN v_ended;
END $$;
COMMENT ON FUNCTION ledger.end_lapsed_modes(text) IS
    'Writes down what ended by its time and names it: after an episode the account is compared with the venue.';

CREATE FUNCTION ledger._gate(p_account_id bigint, p_post_only boolean) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_mode text;
BEGIN
    SELECT q.mode INTO v_mode FROM ledger.venue_mode q
    WHERE q.account_id = p_account_id AND q.ended_at IS NULL AND (q.until IS NULL OR q.until > ledger.clock())
      AND (q.mode <> 'POST_ONLY' OR NOT p_post_only)
    ORDER BY q.mode LIMIT 1;
    IF v_mode IS NULL THEN
        SELECT CASE h.kind WHEN 'heartbeat' THEN 'HEARTBEAT_LOST' ELSE 'BLIND_STREAM' END INTO v_mode
        FROM ledger.pulse h WHERE h.account_id = p_account_id AND h.required
          AND (h.ok_at IS NULL OR h.ok_at <= ledger.clock() - make_interval(secs => h.grace_ms / 1000.0)
               -- Said before the clock went back: how old it is, nobody knows.
               OR h.ok_at > ledger.clock() + interval '1 second')
        ORDER BY h.kind LIMIT 1;
    END IF;
    RETURN v_mode;
END $$;
COMMENT ON FUNCTION ledger._gate(bigint, boolean) IS
    'The venue mode that keeps an order of this account from being sent now, or NULL. Never asked for cancels.';

CREATE FUNCTION ledger.spend(
    p_signer text, p_kind text, p_count integer, p_per_second integer, p_burst integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz;
    v_have bigint;
    v_need bigint := p_count::bigint * 1000000;
    b ledger.venue_budget;
BEGIN
    PERFORM ledger._enter();
    IF p_count NOT BETWEEN 1 AND p_burst OR p_per_second < 1 THEN
        RAISE EXCEPTION 'BAD_REQUEST: % of at most % per request; nothing was spent', p_count, p_burst USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.venue_budget (signer, kind, tokens_micros, filled_at)
    VALUES (lower(p_signer), p_kind, p_burst::bigint * 1000000, ledger.clock()) ON CONFLICT DO NOTHING;
    SELECT * INTO b FROM ledger.venue_budget q WHERE q.signer = lower(p_signer) AND q.kind = p_kind FOR UPDATE;
    v_now := ledger.clock();
    IF b.paused_until > v_now AND b.filled_at <= v_now THEN
        RETURN ceil(extract(epoch FROM b.paused_until - v_now) * 1000)::bigint;
    END IF;
    v_have := least(p_burst::bigint * 1000000, b.tokens_micros
        + greatest(floor(extract(epoch FROM v_now - b.filled_at) * 1000000)::bigint, 0) * p_per_second);
    -- A pause that is not over yet was set before the clock went back: how long it still lasts, nobody knows.
    UPDATE ledger.venue_budget SET filled_at = v_now, paused_until = CASE WHEN b.paused_until > v_now THEN NULL ELSE b.paused_until END,
        tokens_micros = CASE WHEN v_have >= v_need THEN v_have - v_need ELSE v_have END
    WHERE signer = b.signer AND kind = b.kind;
    RETURN CASE WHEN v_have >= v_need THEN 0 ELSE ceil((v_need - v_have) / 1000.0 / p_per_second)::bigint END;
END $$;
COMMENT ON FUNCTION ledger.spend(text, text, integer, integer, integer) IS
    'Takes p_count from the signer''s bucket: 0 if taken, else how many milliseconds until that many will be there.';

CREATE FUNCTION ledger.pause_budget(p_signer text, p_kind text, p_for_ms bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_budget AS b (signer, kind, tokens_micros, filled_at, paused_until)
    VALUES (lower(p_signer), p_kind, 0, ledger.clock(), ledger.clock() + make_interval(secs => least(p_for_ms, 3600000) / 1000.0))
    -- filled_at is the last moment at which somebody looked at the clock: see spend.
    ON CONFLICT (signer, kind) DO UPDATE SET tokens_micros = least(b.tokens_micros, 0), filled_at = excluded.filled_at,
        paused_until = CASE WHEN b.filled_at > excluded.filled_at THEN excluded.paused_until
            ELSE greatest(b.paused_until, excluded.paused_until) END;
END $$;
COMMENT ON FUNCTION ledger.pause_budget(text, text, bigint) IS
    'After a 429: nothing of this kind is sent before then, by no worker. At most an hour, as far as a stated time is believed.';

CREATE FUNCTION ledger.owe_budget(p_signer text, p_kind text, p_count integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.venue_budget SET tokens_micros = tokens_micros - p_count::bigint * 1000000
    WHERE signer = lower(p_signer) AND kind = p_kind;
END $$;
COMMENT ON FUNCTION ledger.owe_budget(text, text, integer) IS
    'A cancel of everything costs one for each order that it cancelled, known afterwards. The bucket may go below zero.';

CREATE FUNCTION ledger.require_pulse(p_account text, p_kind text, p_required boolean, p_grace_ms integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.pulse AS h (account_id, kind, required, grace_ms)
    VALUES (ledger._account_id(p_account), p_kind, p_required, p_grace_ms)
    -- A worker that does not ask for it must not take it from one that keeps it.
    ON CONFLICT (account_id, kind) DO UPDATE SET grace_ms = excluded.grace_ms,
        required = excluded.required OR h.required AND coalesce(h.ok_at > ledger.clock() - interval '1 minute', false);
END $$;
COMMENT ON FUNCTION ledger.require_pulse(text, text, boolean, integer) IS
    'From now on (not) a condition for placing. Written before the first order, so that none leaves without it.';

CREATE FUNCTION ledger.take_pulse(p_account text, p_kind text, p_term bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_chain text;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.pulse SET term = greatest(term, p_term)
    WHERE account_id = ledger._account_id(p_account) AND kind = p_kind RETURNING chain_id INTO v_chain;
    RETURN jsonb_build_object('chain_id', v_chain, 'at_us', ledger._now_us());
END $$;
COMMENT ON FUNCTION ledger.take_pulse(text, text, bigint) IS
    'For the holder of the lease with this term: where the chain goes on, and the time here (see beat_pulse).';

CREATE FUNCTION ledger._now_us() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT floor(extract(epoch FROM ledger.clock()) * 1000000)::bigint $$;

CREATE FUNCTION ledger.beat_pulse(
    p_account text, p_kind text, p_term bigint, p_chain_id text, p_age_ms bigint, p_problem text, p_since_us bigint DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- p_age_ms: since just before it was tried. The venue's own ten seconds may count from then.
    UPDATE ledger.pulse h SET chain_id = coalesce(p_chain_id, h.chain_id), problem = left(p_problem, 500),
        ok_at = CASE WHEN p_problem IS NULL
            THEN least(ledger.clock() - make_interval(secs => greatest(p_age_ms, 0) / 1000.0), to_timestamp(p_since_us / 1000000.0))
            ELSE h.ok_at END
    WHERE h.account_id = ledger._account_id(p_account) AND h.kind = p_kind AND h.term = p_term;
    RETURN jsonb_build_object('mine', FOUND, 'at_us', ledger._now_us());
END $$;
COMMENT ON FUNCTION ledger.beat_pulse(text, text, bigint, text, bigint, text, bigint) IS
    'Alive p_age_ms ago (p_problem NULL), or not, with the reason. p_since_us: when that was by this clock, reckoned from the '
    'at_us of an earlier answer; a call that stood still on its way here counts by that. mine false: another holder has taken over.';

CREATE FUNCTION ledger.untold_orders(p_account text, p_open_ms bigint, p_after_ms bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    -- Of the newest orders, in whatever state they are by now: one that was placed and cancelled was to be told of, too.
    SELECT count(*) FROM (
        SELECT q.* FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account ORDER BY q.account_id DESC, q.order_id DESC LIMIT 3000) o
    -- One that was filled at once may have been told of by its trade alone.
    WHERE o.state <> 'FILLED' AND EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                  AND t.outcome = 'accepted' AND t.ended_at < ledger.clock() - make_interval(secs => p_after_ms / 1000.0)
                  AND t.opened_at > ledger.clock() - make_interval(secs => p_open_ms / 1000.0))
      AND NOT EXISTS (SELECT FROM ledger.venue_event v WHERE v.account_id = o.account_id
                      AND v.event_id >= 'o:' || o.venue_order_id || ':' AND v.event_id < 'o:' || o.venue_order_id || ';')
$$;
COMMENT ON FUNCTION ledger.untold_orders(text, bigint, bigint) IS
    'Orders accepted since a stream opened p_open_ms ago, and longer than p_after_ms ago, of which it has not told. '
    'A stream may be silent because nothing happens; this is how it is found to be silent though something did.';

CREATE FUNCTION ledger.record_exchanges(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_exchange (account_id, at, incarnation, method, path, query, request, phase, status, headers,
                                       answer, problem, took_ms)
    SELECT a.account_id, ledger.clock() - make_interval(secs => coalesce(ledger._whole(x -> 'age_ms'), 0) / 1000.0),
        (x ->> 'incarnation')::uuid, x ->> 'method', left(x ->> 'path', 300), left(x ->> 'query', 1000),
        left(x ->> 'request', 16384), x ->> 'phase', ledger._whole(x -> 'status')::integer, coalesce(x -> 'headers', '{}'),
        left(x ->> 'answer', 16384), left(x ->> 'problem', 500), ledger._whole(x -> 'took_ms')
    FROM jsonb_array_elements(p_items) x JOIN ledger.account a ON a.name = x ->> 'account';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.record_exchanges(jsonb) IS
    'Items {account, age_ms, incarnation, method, path, query, request, phase, status, headers, answer, problem, took_ms}.';

CREATE FUNCTION ledger.prune_exchanges(p_keep_hours integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    DELETE FROM ledger.venue_exchange WHERE (account_id, exchange_id) IN (
        SELECT q.account_id, q.exchange_id FROM ledger.venue_exchange q
        WHERE q.at < ledger.clock() - make_interval(hours => p_keep_hours) ORDER BY q.at LIMIT 5000);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
