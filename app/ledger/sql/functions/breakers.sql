-- purpose: breakers and pauses per market and, for what is no market's fault, per account: rejects, failed cancels, slow answers.
-- locks:   the caller holds exposure and account_state; breaker rows follow. reset_breaker takes the same two first.
-- index:   breaker by primary key, two probes.
-- fence:   one probe at a time: appointed in the commit that opens its attempt, under account_state; while a copy of it may
--          live unseen no other order follows. No cancel ever asks here.

CREATE FUNCTION ledger._paused(p_until timestamptz, p_clock timestamptz) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    -- Further ahead than any pause reaches, it was set before the clock went back.
    RETURN p_until > p_clock AND p_until <= p_clock + interval '121 minutes';
END $$;
COMMENT ON FUNCTION ledger._paused(timestamptz, timestamptz) IS 'Whether a breaker''s pause (two hours at most) still runs.';

CREATE FUNCTION ledger._pause_after(p_count integer, p_threshold integer, p_of_account boolean) RETURNS interval
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- 60 s at the threshold and for the first probe that fails, then 5, 10, 20, 40 ... minutes to two hours. What is the
    -- whole account's matter pauses twice as long: asking again does not mend it.
    RETURN least(interval '2 hours', CASE WHEN p_count <= p_threshold + 1 THEN interval '60 seconds'
        ELSE interval '5 minutes' * (2 ^ least(p_count - p_threshold - 2, 10)) END * CASE WHEN p_of_account THEN 2 ELSE 1 END);
END $$;

CREATE FUNCTION ledger._breaker_fails(
    p_account_id bigint, p_market_id bigint, p_kind text, p_order_id bigint, p_threshold integer, p_why text, p_now timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    IF p_threshold IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO ledger.breaker (account_id, market_id, kind, changed_at)
    VALUES (p_account_id, p_market_id, p_kind, p_now) ON CONFLICT DO NOTHING;
    SELECT * INTO b FROM ledger.breaker x
    WHERE x.account_id = p_account_id AND x.market_id = p_market_id AND x.kind = p_kind FOR UPDATE;
    IF ledger._paused(b.until, v_clock) OR b.until IS NOT NULL AND p_order_id IS NOT NULL AND b.probe_order_id IS DISTINCT FROM p_order_id THEN
        -- What was on its way when it opened tells nothing new: one burst is one step. Cancels go on all the time: of them
        -- one that fails after the pause is news.
        RETURN;
    END IF;
    b.count := b.count + 1;
    IF b.count >= p_threshold THEN
        -- By the clock, as it is asked for: the market's time may be ahead of it.
        b.until := v_clock + ledger._pause_after(b.count, p_threshold, p_market_id = 0);
        PERFORM ledger._journal(p_account_id, nullif(p_market_id, 0), p_now, 'BREAKER_OPENED', p_order_id, NULL, NULL, NULL,
            jsonb_build_object('kind', p_kind, 'count', b.count, 'until', b.until, 'why', left(p_why, 200)));
    END IF;
    -- The probe stays: should its fate still be open after the pause, the next waits for that.
    UPDATE ledger.breaker SET count = b.count, until = b.until, why = coalesce(left(p_why, 200), ''), changed_at = p_now
    WHERE account_id = p_account_id AND market_id = p_market_id AND kind = p_kind;
END $$;
COMMENT ON FUNCTION ledger._breaker_fails(bigint, bigint, text, bigint, integer, text, timestamptz) IS
    'One more failure in a row. At the threshold it opens; the failure of its probe, or of a cancel (no order) after the pause, '
    'counts on and opens it for longer. While it is open nothing counts.';

CREATE FUNCTION ledger._breakers_succeed(
    p_account_id bigint, p_market_id bigint, p_kinds text[], p_order_id bigint, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    FOR b IN SELECT * FROM ledger.breaker x
        WHERE x.account_id = p_account_id AND x.market_id IN (0, p_market_id) AND x.kind = ANY (p_kinds)
          AND (x.count > 0 OR x.until IS NOT NULL)
        ORDER BY x.market_id, x.kind
    LOOP
        -- Of placements only the probe, which left after the pause, tells that it works again. An answered cancel is what was
        -- missed, whenever it comes; an order that is accepted says nothing about cancels, unless it was let through to close it.
        CONTINUE WHEN p_order_id IS NOT NULL AND CASE WHEN b.until IS NULL THEN b.kind = 'cancel'
            ELSE ledger._paused(b.until, v_clock) OR b.probe_order_id IS DISTINCT FROM p_order_id END;
        IF b.until IS NOT NULL THEN
            PERFORM ledger._journal(p_account_id, nullif(b.market_id, 0), p_now, 'BREAKER_CLOSED', p_order_id, NULL, NULL, NULL,
                jsonb_build_object('kind', b.kind, 'count', b.count));
        END IF;
        UPDATE ledger.breaker SET count = 0, until = NULL, probe_order_id = NULL, why = '', changed_at = p_now
        WHERE account_id = b.account_id AND market_id = b.market_id AND kind = b.kind;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._breakers_succeed(bigint, bigint, text[], bigint, timestamptz) IS
    'A success of that order (NULL: an answered cancel) ends the row of failures, and closes a breaker whose probe it was.';

CREATE FUNCTION ledger._breaker_says(p_account_id bigint, p_market_id bigint, p_order_id bigint) RETURNS ledger.breaker
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker;
    v_clock timestamptz := ledger.clock();
BEGIN
    FOR b IN SELECT * FROM ledger.breaker x
        WHERE x.account_id = p_account_id AND x.market_id IN (0, p_market_id) AND x.until IS NOT NULL
        ORDER BY x.until DESC
    LOOP
        IF ledger._paused(b.until, v_clock) OR b.probe_order_id IS NOT NULL AND b.probe_order_id IS DISTINCT FROM p_order_id
           AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = p_account_id AND o.order_id = b.probe_order_id
                       AND o.state IN ('SENDING', 'UNKNOWN')) THEN
            RETURN b;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ledger._breaker_says(bigint, bigint, bigint) IS
    'The breaker that keeps the order back, or a row of NULLs. A probe that is known not to be under way makes room for the '
    'next, also one that was held back: it may stand behind an order that waits for it.';

CREATE FUNCTION ledger._breaker_refusal(r ledger.request, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.breaker := ledger._breaker_says(r.account_id, r.market_id, NULL);
BEGIN
    RETURN CASE WHEN ledger._paused(b.until, ledger.clock()) THEN ledger._refusal(r.item, 'BREAKER',
            format('paused until %s after %s (%s in a row): %s', b.until, b.kind, b.count, b.why))
        WHEN b.until IS NOT NULL THEN ledger._refusal(r.item, 'BREAKER',
            format('order %s goes first, to find out whether it works again', b.probe_order_id)) END;
END $$;

CREATE FUNCTION ledger._probe(p_account_id bigint, p_market_id bigint, p_order_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.breaker SET probe_order_id = p_order_id
    WHERE account_id = p_account_id AND market_id IN (0, p_market_id) AND until IS NOT NULL;
END $$;
COMMENT ON FUNCTION ledger._probe(bigint, bigint, bigint) IS
    'The order that leaves where a breaker is half open. Not one that is merely admitted: it might wait in its lane behind '
    'another, and that one for it.';

CREATE FUNCTION ledger._slowed(p_account_id bigint, p_market_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM ledger.breaker b WHERE b.account_id = p_account_id AND b.market_id = p_market_id
                   AND b.kind = 'latency' AND b.slow_until > ledger.clock());
END $$;

CREATE FUNCTION ledger._note_answer(
    o ledger.orders, p_outcome text, p_class text, p_code text, p_opened_at timestamptz, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    l ledger.limits := ledger._effective_limits(o.account_id, o.market_id);
    v_ms bigint := extract(epoch FROM p_now - p_opened_at) * 1000;
    v_took text := format(CASE p_outcome WHEN 'unknown' THEN 'no answer for %s ms' ELSE 'an answer took %s ms' END, v_ms);
    v_well text[] := '{}';
BEGIN
    IF p_outcome = 'rejected' AND p_class IN ('venue', 'credentials') THEN
        PERFORM ledger._breaker_fails(o.account_id, 0, p_class, o.order_id, l.breaker_rejects, p_code, p_now);
    ELSIF p_outcome = 'rejected' THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'reject', o.order_id, l.breaker_rejects, p_code, p_now);
    ELSIF p_outcome = 'accepted' THEN
        v_well := '{reject,venue,credentials,cancel}';
    END IF;
    IF p_outcome IN ('held_back', 'seen') THEN
        -- May be of our own making: an order dropped before sending waited for us.
        NULL;
    ELSIF v_ms >= l.stop_ms THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'latency', o.order_id, 1, v_took, p_now);
    ELSIF v_ms >= l.slow_ms THEN
        INSERT INTO ledger.breaker (account_id, market_id, kind, slow_until, why, changed_at)
        VALUES (o.account_id, o.market_id, 'latency', p_now + interval '60 seconds', v_took, p_now)
        ON CONFLICT (account_id, market_id, kind) DO UPDATE SET slow_until = excluded.slow_until;
    ELSIF p_outcome IN ('accepted', 'rejected') THEN
        v_well := v_well || 'latency'::text;
    END IF;
    IF v_well <> '{}' THEN
        PERFORM ledger._breakers_succeed(o.account_id, o.market_id, v_well, o.order_id, p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_answer(ledger.orders, text, text, text, timestamptz, timestamptz) IS
    'What an answer to a placement, or that none came, means for the breakers. From slow_ms on half as many orders are admitted '
    'for a minute, from stop_ms on none until a probe is answered in time.';

CREATE FUNCTION ledger._note_cancel(o ledger.orders, p_answer text, p_raw text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_answer IN ('accepted', 'refused', 'not_listed') THEN
        -- A no is an answer, too.
        PERFORM ledger._breakers_succeed(o.account_id, o.market_id, '{cancel}', NULL, p_now);
    ELSIF p_answer = 'unknown' THEN
        PERFORM ledger._breaker_fails(o.account_id, o.market_id, 'cancel', NULL,
            (ledger._effective_limits(o.account_id, o.market_id)).breaker_cancels, p_raw, p_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_cancel(ledger.orders, text, text, timestamptz) IS
    'Cancels that nobody answers stop new placements of the market. The cancels themselves go on.';

CREATE FUNCTION ledger.reset_breaker(p_account text, p_market text, p_why text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_market_id bigint := ledger._market_id(p_market);
    b ledger.breaker;
    v_count integer := 0;
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF p_market IS NOT NULL AND v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was reset', p_market USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: resetting a breaker needs a reason; nothing was reset' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id
        AND (v_market_id IS NULL OR e.market_id = v_market_id) ORDER BY e.market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    FOR b IN SELECT * FROM ledger.breaker x WHERE x.account_id = v_account_id
        AND (v_market_id IS NULL OR x.market_id IN (0, v_market_id)) AND (x.until IS NOT NULL OR x.count > 0 OR x.slow_until > v_now)
        ORDER BY x.market_id, x.kind
    LOOP
        UPDATE ledger.breaker SET count = 0, until = NULL, slow_until = NULL, probe_order_id = NULL, why = '', changed_at = v_now
        WHERE account_id = b.account_id AND market_id = b.market_id AND kind = b.kind;
        PERFORM ledger._journal(b.account_id, nullif(b.market_id, 0), v_now, 'BREAKER_RESET', NULL, NULL, NULL, NULL,
            jsonb_build_object('kind', b.kind, 'count', b.count, 'until', b.until, 'why', left(p_why, 500)));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.reset_breaker(text, text, text) IS
    'A person closes the breakers of a market (NULL: of the whole account). Returns how many were not at rest.';
