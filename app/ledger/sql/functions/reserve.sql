-- purpose: admit an intent: reservation, order, outbox row, key, balance entry and journal in one commit, or a refusal.
-- locks:   exposure rows of the batch (ordered; busy ones are skipped in a batch of several lanes and answered BUSY),
--          then account_state rows (ordered). Keys of an account are serialised by its account_state row.
-- index:   idempotency_key, exposure, account_state, market, outcome, limits, balance by primary key.
-- fence:   mutex_term: a caller that names a term must still hold the market mutex.

CREATE SEQUENCE ledger.set_id_seq;

CREATE TYPE ledger.request AS (
    item integer, account_id bigint, market_id bigint, outcome smallint, token_id text, side text,
    price_micros bigint, size_micros bigint, order_type text, post_only boolean, expires_at_s bigint,
    class text, origin text, strategy text, context jsonb, key text, valid_for_ms bigint, clamp boolean,
    mutex_term bigint, set_id bigint, replaces_order_id bigint, fingerprint bytea, answer jsonb, asked_price bigint);

CREATE FUNCTION ledger._refusal(p_item integer, p_code text, p_detail text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT jsonb_build_object('item', p_item, 'status', 'refused', 'code', p_code, 'detail', p_detail) $$;

CREATE FUNCTION ledger._market_id(p_market text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT m.market_id INTO v_id FROM ledger.market m WHERE m.condition_id = lower(p_market);
    IF NOT FOUND THEN
        SELECT m.market_id INTO v_id FROM ledger.market m WHERE m.slug = p_market
        ORDER BY m.tradable DESC, m.market_id DESC LIMIT 1;
    END IF;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION ledger._market_id(text) IS
    'By condition id, else by slug: the tradable one, else the newest. NULL if there is none.';

CREATE FUNCTION ledger._parse_request(p jsonb, p_item integer) RETURNS ledger.request
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    r ledger.request;
    v_wrong text;
    v_code text := 'BAD_REQUEST';
    v_outcome text;
BEGIN
    r.item := p_item;
    IF jsonb_typeof(p) IS DISTINCT FROM 'object' THEN
        r.answer := ledger._refusal(p_item, 'BAD_REQUEST', 'a request is a JSON object');
        RETURN r;
    END IF;
    r.side := p ->> 'side';
    r.order_type := coalesce(p ->> 'order_type', 'GTC');
    r.class := coalesce(p ->> 'class', 'entry');
    r.origin := coalesce(p ->> 'origin', 'other');
    r.strategy := coalesce(p ->> 'strategy', '');
    r.context := coalesce(p -> 'context', '{}');
    r.key := p ->> 'key';
    r.price_micros := ledger._whole(p -> 'price_micros');
    r.asked_price := r.price_micros;
    r.size_micros := ledger._whole(p -> 'size_micros');
    r.valid_for_ms := CASE WHEN p ? 'valid_for_ms' THEN ledger._whole(p -> 'valid_for_ms') ELSE 30000 END;
    r.expires_at_s := CASE WHEN p ? 'expires_at_s' THEN ledger._whole(p -> 'expires_at_s') ELSE 0 END;
    r.mutex_term := ledger._whole(p -> 'mutex_term');
    r.set_id := ledger._whole(p -> 'set_id');
    r.replaces_order_id := ledger._whole(p -> 'replaces_order_id');
    v_outcome := p ->> 'outcome';
    v_wrong := CASE
        WHEN EXISTS (SELECT FROM jsonb_object_keys(p) k WHERE k <> ALL (ARRAY[
            'account', 'market', 'outcome', 'side', 'price_micros', 'size_micros', 'order_type', 'post_only',
            'expires_at_s', 'class', 'origin', 'strategy', 'context', 'key', 'valid_for_ms', 'clamp',
            'mutex_term', 'set_id', 'replaces_order_id']))
            THEN 'unknown field ' || (SELECT left(min(k), 60) FROM jsonb_object_keys(p) k WHERE k <> ALL (ARRAY[
            'account', 'market', 'outcome', 'side', 'price_micros', 'size_micros', 'order_type', 'post_only',
            'expires_at_s', 'class', 'origin', 'strategy', 'context', 'key', 'valid_for_ms', 'clamp',
            'mutex_term', 'set_id', 'replaces_order_id']))
        WHEN r.side IS NULL OR r.side NOT IN ('BUY', 'SELL') THEN 'side must be BUY or SELL'
        WHEN r.order_type NOT IN ('GTC', 'GTD', 'FOK', 'FAK') THEN 'order_type must be GTC, GTD, FOK or FAK'
        WHEN r.class NOT IN ('entry', 'hedge', 'micro_hedge', 'unwind', 'emergency')
            THEN 'class must be entry, hedge, micro_hedge, unwind or emergency'
        WHEN jsonb_typeof(p -> 'post_only') <> 'boolean' OR jsonb_typeof(p -> 'clamp') <> 'boolean'
            THEN 'post_only and clamp are true or false'
        WHEN jsonb_typeof(r.context) <> 'object' OR octet_length(r.context::text) > 8192
            THEN 'context is a JSON object of at most 8192 bytes'
        WHEN octet_length(r.origin) > 100 OR octet_length(r.strategy) > 100 THEN 'origin and strategy are at most 100 bytes'
        WHEN p ? 'mutex_term' AND r.mutex_term IS NULL OR p ? 'set_id' AND r.set_id IS NULL
            THEN 'mutex_term and set_id are whole numbers' END;
    IF v_wrong IS NULL THEN
        r.post_only := coalesce((p ->> 'post_only')::boolean, false);
        r.clamp := coalesce((p ->> 'clamp')::boolean, false);
        v_code := CASE
            WHEN r.key IS NULL OR jsonb_typeof(p -> 'key') <> 'string' OR octet_length(r.key) NOT BETWEEN 1 AND 200
                THEN 'BAD_KEY'
            WHEN r.price_micros IS NULL OR r.price_micros <= 0 OR r.price_micros >= 1000000 THEN 'BAD_PRICE'
            WHEN r.size_micros IS NULL OR r.size_micros <= 0 OR r.size_micros > 1000000000000000
                 OR r.size_micros % 10000 <> 0 THEN 'BAD_SIZE'
            WHEN r.valid_for_ms IS NULL OR r.valid_for_ms NOT BETWEEN 1 AND 86400000 THEN 'BAD_VALIDITY'
            WHEN r.expires_at_s IS NULL OR (r.order_type = 'GTD') <> (r.expires_at_s > 0)
                 OR r.expires_at_s NOT BETWEEN 0 AND 253402300799 THEN 'BAD_VALIDITY'
            WHEN r.post_only AND r.order_type IN ('FOK', 'FAK') THEN 'BAD_REQUEST' END;
        v_wrong := CASE v_code
            WHEN 'BAD_KEY' THEN 'the key must be text of 1 to 200 bytes'
            WHEN 'BAD_PRICE' THEN 'price_micros must be a whole number between 0 and 1000000, exclusive'
            WHEN 'BAD_SIZE' THEN 'size_micros must be a positive whole number of hundredths of a share (10000)'
            WHEN 'BAD_VALIDITY' THEN 'valid_for_ms is 1 to 86400000; expires_at_s is given with GTD and only then'
            WHEN 'BAD_REQUEST' THEN 'post_only goes with GTC and GTD only' END;
    END IF;
    IF v_wrong IS NULL THEN
        SELECT a.account_id INTO r.account_id FROM ledger.account a WHERE a.name = p ->> 'account';
        r.market_id := ledger._market_id(p ->> 'market');
        SELECT x.outcome, x.token_id INTO r.outcome, r.token_id FROM ledger.outcome x
        WHERE x.market_id = r.market_id
          AND (x.outcome::text = v_outcome OR lower(x.label) = lower(v_outcome) OR x.token_id = v_outcome)
        ORDER BY (x.outcome::text = v_outcome) DESC LIMIT 1;
        v_code := CASE
            WHEN r.account_id IS NULL THEN 'UNKNOWN_ACCOUNT'
            WHEN NOT ledger._may_act_for(r.account_id) THEN 'NOT_GRANTED'
            WHEN r.market_id IS NULL THEN 'UNKNOWN_MARKET'
            WHEN r.outcome IS NULL THEN
                CASE WHEN EXISTS (SELECT FROM ledger.outcome x WHERE x.market_id = r.market_id)
                     THEN 'UNKNOWN_OUTCOME' ELSE 'NOT_TRADABLE' END END;
        v_wrong := CASE v_code
            WHEN 'UNKNOWN_ACCOUNT' THEN 'there is no such account'
            WHEN 'NOT_GRANTED' THEN 'this login was not granted the account'
            WHEN 'UNKNOWN_MARKET' THEN 'there is no such market; import it first'
            WHEN 'NOT_TRADABLE' THEN 'the market has no outcomes that can be traded'
            WHEN 'UNKNOWN_OUTCOME' THEN 'the market has no such outcome' END;
    END IF;
    IF v_wrong IS NOT NULL THEN
        r.answer := ledger._refusal(p_item, coalesce(v_code, 'BAD_REQUEST'), v_wrong);
        RETURN r;
    END IF;
    -- What defines the trade, as asked: two requests with this digest are the same request.
    r.fingerprint := sha256(convert_to(concat_ws('|', r.market_id, r.outcome, r.side, r.price_micros, r.size_micros,
        r.order_type, r.post_only, r.expires_at_s, r.class, r.valid_for_ms, r.clamp, r.replaces_order_id), 'UTF8'));
    RETURN r;
END $$;

CREATE FUNCTION ledger._replay(r ledger.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    k ledger.idempotency_key;
BEGIN
    SELECT * INTO k FROM ledger.idempotency_key x WHERE x.account_id = r.account_id AND x.key = r.key;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF k.fingerprint <> r.fingerprint THEN
        RETURN ledger._refusal(r.item, 'KEY_REUSED', 'the key belongs to another request; nothing was reserved');
    END IF;
    -- What was read may wait for its standby still, and die with this server. An answer is as good as the commit behind it: with
    -- something written, that one waits for the standby as well, and behind the first.
    PERFORM pg_logical_emit_message(true, 'ledger', 'replay');
    IF k.kind = 'replacement' THEN
        RETURN jsonb_build_object('item', r.item, 'status', 'asked', 'replay', true, 'replacement_id', k.subject_id);
    END IF;
    RETURN (SELECT jsonb_build_object('item', r.item, 'status', 'admitted', 'replay', true, 'order_id', o.order_id,
                'price_micros', o.price_micros, 'size_micros', o.size_micros, 'clamped', o.size_micros < r.size_micros)
            FROM ledger.orders o WHERE o.account_id = k.account_id AND o.order_id = k.subject_id);
END $$;

CREATE FUNCTION ledger._market_refusal(r ledger.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m ledger.market;
    v_now timestamptz := ledger.clock();
    v_code text;
    v_detail text;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF NOT m.tradable THEN
        v_code := 'NOT_TRADABLE'; v_detail := 'the market is not tradable: ' || array_to_string(m.untradable_reasons, ', ');
    ELSIF m.window_end <= v_now THEN
        v_code := 'NOT_TRADABLE'; v_detail := 'the market''s window ended at ' || m.window_end::text;
    ELSIF r.price_micros % m.tick_micros <> 0 THEN
        v_code := 'OFF_TICK'; v_detail := format('price_micros must be a multiple of the tick %s', m.tick_micros);
    ELSIF r.price_micros < m.tick_micros OR r.price_micros > 1000000 - m.tick_micros THEN
        v_code := 'BAD_PRICE'; v_detail := format('price_micros must lie within %s and %s', m.tick_micros, 1000000 - m.tick_micros);
    ELSIF r.size_micros < m.min_size_micros THEN
        v_code := 'BELOW_MINIMUM'; v_detail := format('size_micros must be at least %s', m.min_size_micros);
    ELSIF r.order_type IN ('FOK', 'FAK') AND r.side = 'BUY'
          AND EXISTS (SELECT FROM ledger.account a WHERE a.account_id = r.account_id AND a.venue = 'polymarket') THEN
        -- It spends its collateral whatever the price: at a better one it brings more shares than any hold or cap counts.
        v_code := 'TAKER_BUY_UNBOUNDED';
        v_detail := 'there a FOK or FAK BUY spends its amount and may bring more shares than its size; '
            'send a GTC at the same price with a short validity, and cancel what rests';
    ELSIF r.order_type IN ('FOK', 'FAK') AND r.side = 'BUY' AND r.price_micros::numeric * r.size_micros % 10000000000 <> 0 THEN
        -- The venue takes such an order as an amount to spend, and that has two decimals (docs/venue.md 3.5).
        v_code := 'BAD_SIZE'; v_detail := 'a FOK or FAK BUY must cost a whole number of hundredths of collateral';
    ELSIF r.expires_at_s > 0 AND to_timestamp(r.expires_at_s) < v_now + interval '180 seconds' THEN
        v_code := 'BAD_VALIDITY'; v_detail := 'expires_at_s must lie at least 180 s ahead: the venue refuses less';
    END IF;
    RETURN CASE WHEN v_code IS NOT NULL THEN ledger._refusal(r.item, v_code, v_detail) END;
END $$;
COMMENT ON FUNCTION ledger._market_refusal(ledger.request) IS
    'What the market''s own terms forbid. Judged before any lock is taken, so that such a request writes nothing at all.';

CREATE FUNCTION ledger._limiter_refusal(
    r ledger.request, e ledger.exposure, l ledger.limits, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_recent integer;
BEGIN
    IF l.burst_per_minute IS NOT NULL AND ledger._slowed(r.account_id, r.market_id) THEN
        l.burst_per_minute := (l.burst_per_minute + 1) / 2;
    END IF;
    v_recent := (SELECT count(*) FROM unnest(e.admitted_at) t WHERE t > p_now - interval '1 minute');
    IF r.side = 'SELL' AND NOT l.burst_counts_sells THEN
        RETURN NULL;
    ELSIF v_recent >= l.burst_per_minute THEN
        RETURN ledger._refusal(r.item,
            CASE WHEN r.set_id IS NOT NULL AND r.set_id = e.last_set_id THEN 'DEFERRED' ELSE 'BURST_MINUTE' END,
            format('%s orders were admitted in the last minute, %s allowed', v_recent, l.burst_per_minute));
    ELSIF r.set_id IS DISTINCT FROM coalesce(e.last_set_id, -1)
          AND e.last_admitted_at > p_now - make_interval(secs => coalesce(l.burst_gap_ms, 0) / 1000.0) THEN
        RETURN ledger._refusal(r.item, 'BURST_GAP', format('the last order was admitted less than %s ms ago', l.burst_gap_ms));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION ledger._count_admission(r ledger.request, l ledger.limits, t ledger.total_limits, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM ledger._count_change(r.account_id, r.market_id, l, t, p_now);
    IF r.side = 'SELL' AND NOT l.burst_counts_sells THEN
        -- The bursts do not count it; the cooldown has to know its set.
        UPDATE ledger.exposure e SET last_set_id = r.set_id
        WHERE e.account_id = r.account_id AND e.market_id = r.market_id AND l.cooldown_ms IS NOT NULL;
    ELSE
        UPDATE ledger.exposure e SET last_admitted_at = p_now, last_set_id = r.set_id,
            -- Only what the limit can count is remembered: at most 600 a minute, nothing where there is no limit.
            admitted_at = CASE WHEN l.burst_per_minute IS NULL THEN '{}' ELSE array(
                SELECT q FROM unnest(e.admitted_at) q WHERE q > p_now - interval '1 minute' ORDER BY q DESC LIMIT 599) || p_now END
        WHERE e.account_id = r.account_id AND e.market_id = r.market_id;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._count_admission(ledger.request, ledger.limits, ledger.total_limits, timestamptz) IS
    'What was admitted counts, also if it is later rejected or not placed. A replacement counts once, when it is asked for.';

CREATE FUNCTION ledger._judge(
    INOUT r ledger.request, e ledger.exposure, l ledger.limits, t ledger.total_limits, p_now timestamptz) LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    m ledger.market;
    v_room bigint;
    v_code text;
    v_detail text;
    v_available bigint;
    v_needed bigint;
    v_halt text;
    v_limited jsonb;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF e.group_key IS DISTINCT FROM m.group_key THEN
        PERFORM ledger._regroup(r.account_id, r.market_id);
        e.group_key := m.group_key;
    END IF;
    r.price_micros := ledger._uncross(r, l, m.tick_micros);
    v_halt := ledger._halted_by(r.account_id, r.market_id);
    v_limited := CASE WHEN r.replaces_order_id IS NULL THEN ledger._limiter_refusal(r, e, l, p_now) END;
    v_room := CASE r.side WHEN 'SELL' THEN r.size_micros ELSE least(
        coalesce(l.max_outcome_micros - ledger._effective(e, r.outcome + 1), r.size_micros),
        coalesce(l.max_market_micros - ledger._effective(e, 1) - ledger._effective(e, 2), r.size_micros)) END;

    IF r.replaces_order_id IS NULL AND r.mutex_term IS NOT NULL
       AND (r.mutex_term <> e.mutex_term OR NOT ledger._mutex_held(e)) THEN
        v_code := 'MUTEX_LOST'; v_detail := 'the market mutex ran out or was taken over; nothing was reserved';
    ELSIF r.replaces_order_id IS NULL AND r.mutex_term IS NULL AND ledger._mutex_held(e) THEN
        v_code := 'LOCKED'; v_detail := 'another evaluation of this market is under way';
    ELSIF v_halt IS NOT NULL THEN
        v_code := 'HALTED'; v_detail := 'halted: ' || v_halt;
    ELSIF e.suspended_until > p_now THEN
        v_code := 'SUSPENDED'; v_detail := format('suspended until %s: %s', e.suspended_until, e.suspended_why);
    ELSIF v_limited IS NOT NULL THEN
        r.answer := v_limited;
        RETURN;
    ELSIF v_room < r.size_micros AND NOT (r.clamp AND r.order_type IN ('GTC', 'GTD') AND v_room / 10000 * 10000 >= m.min_size_micros) THEN
        v_code := CASE WHEN v_room = l.max_outcome_micros - ledger._effective(e, r.outcome + 1) THEN 'CAP_OUTCOME' ELSE 'CAP_MARKET' END;
        v_detail := format('%s share micros are left under the cap', greatest(v_room, 0));
    END IF;
    IF v_code IS NOT NULL THEN
        r.answer := ledger._refusal(r.item, v_code, v_detail);
        RETURN;
    END IF;

    r.size_micros := least(r.size_micros, v_room / 10000 * 10000);
    SELECT b.available INTO v_available FROM ledger.balance b
    WHERE b.account_id = r.account_id AND b.asset = CASE r.side WHEN 'BUY' THEN 'collateral' ELSE r.token_id END;
    v_needed := CASE r.side WHEN 'SELL' THEN r.size_micros ELSE
        ledger.cost_of(r.price_micros, r.size_micros) + ledger.highest_fee(r.price_micros, r.size_micros,
            CASE WHEN r.post_only AND m.fee_taker_only THEN 0 ELSE m.fee_rate_micros END, m.fee_exponent) END;
    r := ledger._risk_refusal(r, e, l, t, m, v_needed, p_now);
    IF r.answer IS NULL AND v_needed > coalesce(v_available, 0) THEN
        r.answer := ledger._refusal(r.item,
            CASE r.side WHEN 'BUY' THEN 'INSUFFICIENT_COLLATERAL' ELSE 'INSUFFICIENT_TOKENS' END,
            format('%s needed, %s available', v_needed, coalesce(v_available, 0)));
    END IF;
END $$;
COMMENT ON FUNCTION ledger._judge(ledger.request, ledger.exposure, ledger.limits, ledger.total_limits, timestamptz) IS
    'Every check that needs the locks: mutex, halts, limiter, caps, risk, balance. Sets answer if refused; clamps size and '
    'the price of a post-only order if asked to.';

CREATE FUNCTION ledger._admit(
    r ledger.request, l ledger.limits, t ledger.total_limits, p_asked_size bigint, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    o ledger.orders;
    m ledger.market;
    v_held bigint;
    v_same bigint;
BEGIN
    SELECT * INTO m FROM ledger.market x WHERE x.market_id = r.market_id;
    IF l.duplicate_window_ms > 0 AND NOT l.duplicate_refused THEN
        v_same := ledger._duplicate(r, l.duplicate_window_ms, p_now);
    END IF;
    o.account_id := r.account_id;
    o.order_id := nextval('ledger.order_id_seq');
    o.market_id := r.market_id; o.outcome := r.outcome; o.token_id := r.token_id; o.side := r.side;
    o.price_micros := r.price_micros; o.size_micros := r.size_micros; o.tick_micros := m.tick_micros;
    o.fee_rate_micros := CASE WHEN r.post_only AND m.fee_taker_only THEN 0 ELSE m.fee_rate_micros END;
    o.fee_exponent := m.fee_exponent;
    o.order_type := r.order_type; o.post_only := r.post_only; o.expires_at_s := r.expires_at_s;
    o.class := r.class; o.origin := r.origin; o.strategy := r.strategy; o.context := r.context; o.key := r.key;
    o.set_id := r.set_id; o.replaces_order_id := r.replaces_order_id;
    o.signed_at_ms := floor(extract(epoch FROM p_now) * 1000);
    -- 52 bits that no second intent shares: with signed_at_ms fixed too, whoever signs makes the same bytes.
    o.salt := ('x' || substr(encode(sha256(convert_to(concat_ws('|', o.account_id, o.order_id, r.key, p_now), 'UTF8')),
                             'hex'), 1, 13))::bit(52)::bigint;
    -- By the clock itself: the market's time stands still while the clock is behind it, and nobody is to wait for that.
    o.created_at := least(p_now, ledger.clock());
    o.valid_until := o.created_at + make_interval(secs => r.valid_for_ms / 1000.0);
    o.state := 'RESERVED'; o.cause := '';
    o.size_matched_micros := 0; o.traded_micros := 0; o.confirmed_micros := 0; o.failed_micros := 0; o.attempts := 0;
    o.fate_open := false; o.seen_at_venue := false; o.state_at := p_now;
    o.crossed := ledger._crosses(r, l);
    v_held := ledger._held_by(o, o.size_micros, 0);

    INSERT INTO ledger.orders SELECT o.*;
    INSERT INTO ledger.reservation (account_id, order_id, market_id, outcome, side, phase, shares_micros,
                                    awaiting_micros, asset, held_micros, created_at)
    VALUES (o.account_id, o.order_id, o.market_id, o.outcome, o.side, 'pending', o.size_micros, 0,
            CASE o.side WHEN 'BUY' THEN 'collateral' ELSE o.token_id END, v_held, p_now);
    INSERT INTO ledger.outbox (account_id, market_id, order_id, set_id, passes_block, status, not_before)
    VALUES (o.account_id, o.market_id, o.order_id, o.set_id, o.class IN ('hedge', 'micro_hedge', 'unwind', 'emergency'), 'ready',
            o.created_at);
    IF r.replaces_order_id IS NULL THEN
        INSERT INTO ledger.idempotency_key (account_id, key, fingerprint, kind, subject_id, bound_at)
        VALUES (o.account_id, r.key, r.fingerprint, 'order', o.order_id, p_now);
    END IF;
    IF o.side = 'BUY' THEN
        UPDATE ledger.exposure e SET clock_at = p_now, held_cost = e.held_cost + v_held,
            pending_buy[r.outcome + 1] = e.pending_buy[r.outcome + 1] + o.size_micros
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    ELSE
        UPDATE ledger.exposure e SET clock_at = p_now,
            pending_sell[r.outcome + 1] = e.pending_sell[r.outcome + 1] + o.size_micros
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    END IF;
    PERFORM ledger._carry_risk(o.account_id, o.market_id, 1, false);
    IF r.replaces_order_id IS NULL THEN
        PERFORM ledger._count_admission(r, l, t, p_now);
    END IF;
    PERFORM ledger._book(o.account_id, CASE o.side WHEN 'BUY' THEN 'collateral' ELSE o.token_id END,
        -v_held, v_held, 'RESERVE', format('order:%s:reserve', o.order_id), p_now, o.order_id);
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'RESERVE', o.order_id, NULL, NULL, 'RESERVED',
        jsonb_build_object('side', o.side, 'outcome', o.outcome, 'price', o.price_micros, 'size', o.size_micros,
                           'asked', p_asked_size, 'key', r.key,
                           -- Of what is fixed with the intent and told nowhere else: the audit compares the row with it.
                           'terms', encode(sha256(convert_to(jsonb_build_array(o.token_id, o.tick_micros, o.fee_rate_micros,
                               o.fee_exponent, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin, o.strategy,
                               o.context, o.set_id, o.replaces_order_id, o.salt, extract(epoch FROM o.created_at))::text, 'UTF8')), 'hex'))
            || CASE WHEN o.crossed IS NULL THEN '{}' ELSE jsonb_build_object('crossed', o.crossed) END
            || CASE WHEN o.price_micros = r.asked_price THEN '{}' ELSE jsonb_build_object('asked_price', r.asked_price) END);
    IF v_same IS NOT NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'DUPLICATE_SUSPECTED', o.order_id, NULL, NULL, NULL,
                                jsonb_build_object('same_as', v_same));
    END IF;
    RETURN jsonb_build_object('item', r.item, 'status', 'admitted', 'replay', false, 'order_id', o.order_id,
                              'price_micros', o.price_micros, 'size_micros', o.size_micros, 'clamped', o.size_micros < p_asked_size)
        || CASE WHEN v_same IS NULL THEN '{}' ELSE jsonb_build_object('duplicate_of', v_same) END;
END $$;

CREATE FUNCTION ledger.reserve_pending(p_requests jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_requests ledger.request[] := '{}';
    v_answers jsonb[] := '{}';
    v_lanes integer;
    r ledger.request;
    e ledger.exposure;
    l ledger.limits;
    t ledger.total_limits;
    v_now timestamptz;
    v_asked bigint;
    v_sets jsonb := '{}';
BEGIN
    PERFORM ledger._enter();
    IF jsonb_typeof(p_requests) IS DISTINCT FROM 'array' OR jsonb_array_length(p_requests) > 256 THEN
        RAISE EXCEPTION 'BAD_REQUEST: reserve_pending takes an array of at most 256 requests; nothing was reserved'
            USING ERRCODE = 'LG004';
    END IF;
    FOR i IN 1 .. jsonb_array_length(p_requests) LOOP
        r := ledger._parse_request(p_requests -> (i - 1), i - 1);
        IF (p_requests -> (i - 1)) ? 'replaces_order_id' THEN
            r.answer := ledger._refusal(i - 1, 'BAD_REQUEST', 'replacing goes through ledger.replace_order');
        END IF;
        -- A binding never changes, so a replay needs no lock. It is answered first, also under a halt.
        IF r.answer IS NULL THEN
            r.answer := coalesce(ledger._replay(r), ledger._market_refusal(r));
        END IF;
        -- Sets are numbered here, per call: a caller that repeated its own number would escape the gap.
        IF r.set_id IS NOT NULL THEN
            v_sets := v_sets || jsonb_build_object(r.set_id::text,
                coalesce(v_sets -> r.set_id::text, to_jsonb(nextval('ledger.set_id_seq'))));
            r.set_id := (v_sets ->> r.set_id::text)::bigint;
        END IF;
        v_requests[i] := r;
        v_answers[i] := r.answer;
    END LOOP;

    INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
    SELECT DISTINCT q.account_id, q.market_id, ledger.clock(), m.group_key
    FROM unnest(v_requests) q JOIN ledger.market m USING (market_id)
    WHERE q.answer IS NULL AND NOT EXISTS (
        SELECT FROM ledger.exposure x WHERE x.account_id = q.account_id AND x.market_id = q.market_id)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    SELECT count(DISTINCT (q.account_id, q.market_id)) INTO v_lanes FROM unnest(v_requests) q WHERE q.answer IS NULL;
    IF v_lanes = 0 THEN
        RETURN to_jsonb(v_answers);
    END IF;
    IF v_lanes = 1 THEN
        PERFORM FROM ledger.exposure x WHERE (x.account_id, x.market_id) IN (
            SELECT q.account_id, q.market_id FROM unnest(v_requests) q WHERE q.answer IS NULL) FOR UPDATE;
    ELSE
        -- A busy market must not hold up the others of the batch: it is answered BUSY, and the caller asks singly.
        v_requests := ledger._lock_free_lanes(v_requests);
    END IF;
    PERFORM FROM ledger.account_state s
    WHERE s.account_id IN (SELECT q.account_id FROM unnest(v_requests) q WHERE q.answer IS NULL)
    ORDER BY s.account_id FOR UPDATE;

    FOR i IN 1 .. cardinality(v_requests) LOOP
        r := v_requests[i];
        IF r.answer IS NULL OR r.fingerprint IS NOT NULL AND EXISTS (
            SELECT FROM unnest(v_requests[1:i - 1]) q WHERE q.account_id = r.account_id AND q.key = r.key) THEN
            -- An item before it may have bound the key meanwhile: that is said first, whatever else is wrong with it.
            r.answer := coalesce(ledger._replay(r), r.answer);
        END IF;
        IF r.answer IS NULL THEN
            SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = r.account_id AND x.market_id = r.market_id;
            -- Read after the lock and never behind a time already used here; stored only if something is admitted.
            v_now := greatest(ledger.clock(), e.clock_at);
            v_asked := r.size_micros;
            -- Once for everything that follows: each is several probes.
            l := ledger._effective_limits(r.account_id, r.market_id);
            t := ledger._totals('account', r.account_id::text);
            r := ledger._judge(r, e, l, t, v_now);
            IF r.answer IS NULL THEN
                r.answer := ledger._admit(r, l, t, v_asked, v_now);
            END IF;
        END IF;
        v_answers[i] := r.answer;
    END LOOP;
    RETURN to_jsonb(v_answers);
END $$;
COMMENT ON FUNCTION ledger.reserve_pending(jsonb) IS
    'Array of requests in, array of answers out, in order. After it returns, what was admitted counts for every other '
    'process. A refusal writes nothing. Set items (equal set_id) count once for the gap and each for the minute.';

CREATE FUNCTION ledger._lock_free_lanes(p_requests ledger.request[]) RETURNS ledger.request[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_locked record;
    v_lanes text[] := '{}';
    r ledger.request;
    v_out ledger.request[] := '{}';
BEGIN
    FOR v_locked IN
        SELECT x.account_id, x.market_id FROM ledger.exposure x WHERE (x.account_id, x.market_id) IN (
            SELECT q.account_id, q.market_id FROM unnest(p_requests) q WHERE q.answer IS NULL)
        ORDER BY x.account_id, x.market_id FOR UPDATE SKIP LOCKED
    LOOP
        v_lanes := v_lanes || (v_locked.account_id || ':' || v_locked.market_id);
    END LOOP;
    FOREACH r IN ARRAY p_requests LOOP
        IF r.answer IS NULL AND (r.account_id || ':' || r.market_id) <> ALL (v_lanes) THEN
            r.answer := ledger._refusal(r.item, 'BUSY', 'another transaction holds the market; ask for it singly');
        END IF;
        v_out := v_out || r;
    END LOOP;
    RETURN v_out;
END $$;
