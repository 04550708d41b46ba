-- purpose: claim placements lane by lane, claim look-ups of unresolved orders, take back what a dead worker held.
-- locks:   claims lock outbox rows only (SKIP LOCKED); sweeps take the full order of locks through _lock_lanes.
-- index:   outbox_lane (lane heads by loose index scan: an anti-join fell from 29 k/s to 592/s with one blocked lane),
--          outbox_passing, outbox_released, outbox_looks, outbox_claimed.
-- fence:   a claim is (claimed_by, claim_no, claimed_until); prepare and open_attempt check all three.

CREATE FUNCTION ledger._claim_end(p_lease_ms integer) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Never longer: a claim further ahead than that is known to be of a time before the clock went back.
    RETURN ledger.clock() + make_interval(secs => least(p_lease_ms, 120000) / 1000.0);
END $$;
COMMENT ON FUNCTION ledger._claim_end(integer) IS 'Until when a claim made or renewed now holds: two minutes at most.';

CREATE FUNCTION ledger.claim_placements(p_incarnation uuid, p_accounts text[], p_lease_ms integer, p_limit integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account record;
    v_out jsonb := '[]';
    v_some jsonb;
BEGIN
    PERFORM ledger._enter();
    FOR v_account IN SELECT a.account_id, a.name FROM ledger.account a WHERE a.name = ANY (p_accounts) ORDER BY 1 LOOP
        -- Nothing may leave now: claimed, it would only be given back. What passes some modes is told by open_attempt.
        CONTINUE WHEN ledger._gate(v_account.account_id, true) IS NOT NULL;
        WITH RECURSIVE lane AS (
            (SELECT b.market_id, b.outbox_id, b.status, b.not_before, b.set_id FROM ledger.outbox b
             WHERE b.account_id = v_account.account_id AND b.status IN ('ready', 'claimed', 'blocked', 'dead')
               AND b.released_at IS NULL
             ORDER BY b.account_id, b.market_id, b.outbox_id LIMIT 1)
            UNION ALL
            SELECT n.* FROM lane l CROSS JOIN LATERAL (
                SELECT b.market_id, b.outbox_id, b.status, b.not_before, b.set_id FROM ledger.outbox b
                WHERE b.account_id = v_account.account_id AND b.status IN ('ready', 'claimed', 'blocked', 'dead')
                  AND b.released_at IS NULL AND b.market_id > l.market_id
                ORDER BY b.account_id, b.market_id, b.outbox_id LIMIT 1) n
        ), head AS (
            SELECT * FROM lane WHERE status = 'ready' AND not_before <= ledger.clock() LIMIT least(p_limit, 100)
        ), wanted AS (
            SELECT h.outbox_id FROM head h
            UNION
            -- The rest of a desired set travels with its head.
            SELECT b.outbox_id FROM head h JOIN ledger.outbox b ON b.account_id = v_account.account_id
                AND b.market_id = h.market_id AND b.outbox_id > h.outbox_id AND b.set_id = h.set_id
            WHERE h.set_id IS NOT NULL AND b.status = 'ready' AND b.not_before <= ledger.clock()
            UNION
            -- Hedges and unwinds pass a blocked head: their own hold limits them.
            SELECT b.outbox_id FROM ledger.outbox b JOIN lane l ON l.market_id = b.market_id
            WHERE b.account_id = v_account.account_id AND b.passes_block AND b.status = 'ready'
              AND b.not_before <= ledger.clock() AND l.status IN ('blocked', 'dead')
            UNION
            -- An operator let the lane go on without them: they are nobody's head, and wait for none.
            SELECT b.outbox_id FROM ledger.outbox b
            WHERE b.account_id = v_account.account_id AND b.status = 'ready' AND b.released_at IS NOT NULL
              AND b.not_before <= ledger.clock()
        ), locked AS (
            SELECT b.account_id, b.outbox_id FROM ledger.outbox b
            WHERE b.account_id = v_account.account_id AND b.outbox_id IN (SELECT w.outbox_id FROM wanted w)
              AND b.status = 'ready'
            ORDER BY b.outbox_id LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE ledger.outbox b SET status = 'claimed', claimed_by = p_incarnation, claim_no = b.claim_no + 1,
                claimed_until = ledger._claim_end(p_lease_ms)
            FROM locked k WHERE b.account_id = k.account_id AND b.outbox_id = k.outbox_id
            RETURNING b.account_id, b.outbox_id, b.order_id, b.claim_no)
        SELECT coalesce(jsonb_agg(ledger._work(v_account.name, o, c.claim_no) ORDER BY c.outbox_id), '[]') INTO v_some
        FROM claimed c JOIN ledger.orders o ON o.account_id = c.account_id AND o.order_id = c.order_id;
        v_out := v_out || v_some;
    END LOOP;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_placements(uuid, text[], integer, integer) IS
    'The ready heads of lanes, the rest of their sets, what may pass a blocked head, and what an operator has released; '
    'claimed for p_lease_ms.';

CREATE FUNCTION ledger._work(p_account text, o ledger.orders, p_claim_no integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_left interval := ledger._validity_left(o);
BEGIN
    RETURN (SELECT jsonb_build_object('account', p_account, 'order_id', o.order_id, 'claim_no', p_claim_no, 'state', o.state,
        'market_id', o.market_id, 'token_id', o.token_id, 'side', o.side, 'price_micros', o.price_micros,
        'size_micros', o.size_micros, 'tick_micros', o.tick_micros, 'order_type', o.order_type,
        'post_only', o.post_only, 'expires_at_s', o.expires_at_s, 'salt', o.salt, 'signed_at_ms', o.signed_at_ms,
        'neg_risk', m.neg_risk, 'venue_order_id', o.venue_order_id, 'cancel_asked', o.cancel_asked_at IS NOT NULL,
        'wanted', o.cancel_asked_at IS NULL AND v_left > interval '0',
        'valid_for_ms', greatest(floor(extract(epoch FROM v_left) * 1000)::bigint, 0),
        'last_matched_ms', floor(extract(epoch FROM o.created_at) * 1000)::bigint,
        'fate_age_ms', floor(extract(epoch FROM ledger.clock() - o.state_at) * 1000)::bigint,
        'body', (SELECT encode(s.body, 'base64') FROM ledger.signed_order s
                 WHERE s.account_id = o.account_id AND s.order_id = o.order_id))
    FROM ledger.market m WHERE m.market_id = o.market_id);
END $$;

CREATE FUNCTION ledger.claim_look_ups(p_incarnation uuid, p_accounts text[], p_lease_ms integer, p_limit integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b
        WHERE b.status IN ('blocked', 'released')
          -- Further ahead than any pause reaches, it was set before the clock went back.
          AND (b.not_before <= ledger.clock() OR b.not_before > ledger.clock() + interval '5 minutes')
          AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = b.account_id AND o.order_id = b.order_id
                      AND o.state = 'UNKNOWN')
          -- A claim of before that, too. Should its holder live, its look-up is a second one, and by its claim's number it
          -- sends nothing.
          AND (b.claimed_until IS NULL OR b.claimed_until <= ledger.clock()
               OR b.claimed_until > ledger.clock() + interval '121 seconds')
          AND b.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY b.not_before LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.outbox b SET claimed_by = p_incarnation, claim_no = b.claim_no + 1,
            claimed_until = ledger._claim_end(p_lease_ms),
            not_before = ledger.clock() + interval '1 second'
        FROM due WHERE b.account_id = due.account_id AND b.outbox_id = due.outbox_id
        RETURNING b.account_id, b.order_id, b.claim_no)
    SELECT coalesce(jsonb_agg(ledger._work(a.name, o, c.claim_no) ORDER BY o.order_id), '[]') INTO v_out
    FROM claimed c JOIN ledger.account a USING (account_id)
    JOIN ledger.orders o ON o.account_id = c.account_id AND o.order_id = c.order_id;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_look_ups(uuid, text[], integer, integer) IS
    'Orders whose fate is unknown and that are due for a look-up. The lane stays blocked meanwhile.';

CREATE FUNCTION ledger.renew_claims(p_incarnation uuid, p_lease_ms integer, p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    -- A lapsed claim is not revived: somebody may already have judged the order by its lapse.
    -- Rows that somebody is just changing are left for the next beat: waiting for them, while holding others, deadlocked.
    WITH held AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b
        WHERE b.status = 'claimed' AND b.claimed_by = p_incarnation AND b.claimed_until > ledger.clock()
          AND b.order_id = ANY (p_order_ids) FOR UPDATE SKIP LOCKED)
    UPDATE ledger.outbox b SET claimed_until = ledger._claim_end(p_lease_ms)
    FROM held h WHERE b.account_id = h.account_id AND b.outbox_id = h.outbox_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.renew_claims(uuid, integer, bigint[]) IS
    'Only the orders that are really being worked on: a claim whose task has gone must lapse, though its process lives.';

CREATE FUNCTION ledger.drop_claims(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    v_count integer;
BEGIN
    -- The full locks: an attempt opened meanwhile must be seen, or a claim on the wire would be given away.
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    UPDATE ledger.outbox b SET claimed_by = NULL, claimed_until = NULL,
        status = CASE b.status WHEN 'claimed' THEN 'ready' ELSE b.status END,
        not_before = greatest(b.not_before,
            ledger.clock() + make_interval(secs => coalesce(ledger._whole(x -> 'after_ms'), 0) / 1000.0))
    FROM jsonb_array_elements(p_items) x
    WHERE b.order_id = ledger._whole(x -> 'order_id') AND b.order_id = ANY (v_locked)
      AND b.claimed_by = (x ->> 'incarnation')::uuid
      AND b.claim_no = ledger._whole(x -> 'claim_no')
      AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = b.account_id AND o.order_id = b.order_id
                  AND o.state <> 'SENDING');
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.drop_claims(jsonb) IS
    'Items {order_id, incarnation, claim_no, after_ms}: gives back claims of orders that are not being sent.';

CREATE FUNCTION ledger._note_claims_ahead() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_last timestamptz := (SELECT max(c.claimed_until) FROM ledger.outbox c WHERE c.status = 'claimed');
BEGIN
    IF v_last > v_now + interval '121 seconds' THEN
        -- By nobody's beat: the nil incarnation.
        PERFORM ledger._note_clock_step('00000000-0000-0000-0000-000000000000', v_last - v_now - interval '120 seconds', v_now);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._note_claims_ahead() IS
    'A claim further ahead than any lease was made before the clock went back. What it was sending is not sent again, '
    'whatever becomes of the claim: the step is noted in the commit that cuts it.';

CREATE FUNCTION ledger.sweep_lapsed() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    b ledger.outbox;
    v_ids bigint[];
    v_now timestamptz;
    v_lapsed boolean;
    v_lost bigint[] := '{}';
    v_taken_back bigint[] := '{}';
BEGIN
    PERFORM ledger._enter();
    -- Before any lane is locked: two sweeps that find the same step wait for each other here.
    PERFORM ledger._note_claims_ahead();
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        (SELECT c.order_id FROM ledger.outbox c WHERE c.status = 'claimed'
         AND (c.claimed_until <= ledger.clock() OR c.claimed_until > ledger.clock() + interval '121 seconds') LIMIT 200)
        UNION
        -- Evidence was faster than the sender, who then died: its attempt would stand open for ever.
        (SELECT t.order_id FROM ledger.attempt t JOIN ledger.orders n USING (account_id, order_id)
         WHERE t.outcome = 'open' AND t.deadline <= ledger.clock() AND n.state <> 'SENDING' LIMIT 200)) q;
    IF v_ids IS NOT NULL THEN
        v_locked := ledger._lock_lanes(v_ids);
        FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids) ORDER BY q.order_id LOOP
            SELECT * INTO b FROM ledger.outbox c WHERE c.account_id = o.account_id AND c.order_id = o.order_id FOR UPDATE;
            v_now := ledger._lane_time(o.account_id, o.market_id);
            -- By the clock that claims go by: the market's time may be ahead of it, and a claim renewed meanwhile is alive.
            v_lapsed := b.status = 'claimed' AND b.claimed_until <= ledger.clock();
            UPDATE ledger.attempt SET outcome = 'lapsed', ended_at = v_now
            WHERE account_id = o.account_id AND order_id = o.order_id AND outcome = 'open'
              AND (v_lapsed OR o.state <> 'SENDING' AND deadline <= v_now);
            IF FOUND AND o.state <> 'SENDING' THEN
                PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id, o.attempts, o.state, o.state);
            END IF;
            IF b.status = 'claimed' AND b.claimed_until > ledger.clock() + interval '121 seconds' THEN
                -- Whoever lives renews each fifth of a lease, in 24 s at the latest, and loses nothing. Of the dead it lapses.
                UPDATE ledger.outbox SET claimed_until = ledger.clock() + interval '30 seconds'
                WHERE account_id = o.account_id AND order_id = o.order_id;
            END IF;
            CONTINUE WHEN NOT v_lapsed;
            IF o.state = 'SENDING' THEN
                o.fate_open := true;
                PERFORM ledger._settle(o, 'LOSE', 'LEASE_LAPSED', v_now, p_attempt => o.attempts);
                v_lost := v_lost || o.order_id;
            ELSE
                UPDATE ledger.outbox SET status = 'ready', claimed_by = NULL, claimed_until = NULL
                WHERE account_id = o.account_id AND order_id = o.order_id;
                v_taken_back := v_taken_back || o.order_id;
            END IF;
        END LOOP;
    END IF;
    RETURN jsonb_build_object('lost', to_jsonb(v_lost), 'taken_back', to_jsonb(v_taken_back));
END $$;
COMMENT ON FUNCTION ledger.sweep_lapsed() IS
    'Claims whose lease ran out: what was being sent becomes UNKNOWN, the rest is ready again. Live claims are left alone; '
    'those further ahead than any lease are of a time before the clock went back, and end in half a minute unless renewed.';

CREATE FUNCTION ledger.sweep_expired() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_ids bigint[];
    v_step bigint := (SELECT max(s.last_order_id) FROM ledger.clock_step s);
    v_count integer := 0;
BEGIN
    PERFORM ledger._enter();
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        SELECT n.order_id FROM ledger.orders n
        WHERE n.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND n.state IN ('RESERVED', 'PREPARED', 'HELD_BACK')
          -- As ledger._validity_left judges, which is asked again under the locks.
          AND (n.valid_until <= ledger.clock() OR n.created_at > ledger.clock() OR n.order_id <= v_step) LIMIT 200) q;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    v_locked := ledger._lock_lanes(v_ids);
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids)
             AND q.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') ORDER BY q.order_id LOOP
        CONTINUE WHEN ledger._validity_left(o) > interval '0';
        PERFORM ledger._settle(o, 'WITHDRAW', 'EXPIRED', ledger._lane_time(o.account_id, o.market_id));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.sweep_expired() IS 'Intents whose time ran out before anything was sent end as NOT_PLACED.';

CREATE FUNCTION ledger.fail_placement(p_order_id bigint, p_incarnation uuid, p_claim_no integer, p_problem text)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    b ledger.outbox;
BEGIN
    v_locked := ledger._lock_lanes(ARRAY[p_order_id]);
    UPDATE ledger.outbox c SET failures = c.failures + 1, claimed_by = NULL, claimed_until = NULL,
        status = CASE WHEN c.failures + 1 < 5 THEN 'ready' WHEN c.released_at IS NULL THEN 'dead' ELSE 'released' END,
        not_before = ledger.clock() + make_interval(secs => least(power(2, c.failures), 30))
    WHERE c.order_id = p_order_id AND c.status = 'claimed' AND c.claimed_by = p_incarnation AND c.claim_no = p_claim_no
      AND (ledger._order(p_order_id, v_locked)).state <> 'SENDING'
    RETURNING * INTO b;
    IF b.status IN ('dead', 'released') THEN
        INSERT INTO ledger.dead_letter (account_id, source, subject, problem, failures, at)
        VALUES (b.account_id, 'outbox', b.order_id::text, left(p_problem, 2000), b.failures, ledger.clock());
    END IF;
    RETURN b.status;
END $$;
COMMENT ON FUNCTION ledger.fail_placement(bigint, uuid, integer, text) IS
    'Our own side could not prepare it (signing failed, say). Retried with growing pauses; the fifth failure is a dead letter, '
    'which blocks the lane unless an operator has released it.';

CREATE FUNCTION ledger.retry_dead_letter(p_dead_letter_id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    d ledger.dead_letter;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.dead_letter x SET retried_by = session_user, retried_at = ledger.clock()
    WHERE x.dead_letter_id = p_dead_letter_id AND x.retried_at IS NULL RETURNING * INTO d;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF d.source = 'outbox' THEN
        UPDATE ledger.outbox SET status = 'ready', failures = 0, not_before = ledger.clock()
        WHERE account_id = d.account_id AND order_id = d.subject::bigint AND status IN ('dead', 'released')
          AND EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = d.account_id AND o.order_id = d.subject::bigint
                      AND o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK'));
    ELSE
        UPDATE ledger.venue_event SET problem = NULL WHERE account_id = d.account_id AND event_id = d.subject;
    END IF;
    RETURN d.source || ':' || d.subject;
END $$;

CREATE FUNCTION ledger.release_lane(p_account text, p_market text, p_why text, p_operator text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint := ledger._market_id(p_market);
    v_now timestamptz;
    v_ids bigint[];
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: %; nothing was released', p_account USING ERRCODE = 'LG004';
    ELSIF v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was released', p_market USING ERRCODE = 'LG004';
    ELSIF coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: releasing a lane needs a reason; nothing was released' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.exposure e WHERE e.account_id = v_account_id AND e.market_id = v_market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    WITH blocking AS (
        SELECT b.account_id, b.outbox_id FROM ledger.outbox b JOIN ledger.orders o USING (account_id, order_id)
        WHERE b.account_id = v_account_id AND b.market_id = v_market_id AND b.released_at IS NULL
          -- An unknown order that is just being sent again blocks as it did a moment ago, and may do so in a moment.
          AND (b.status IN ('blocked', 'dead') OR b.status = 'claimed' AND o.state = 'SENDING' AND o.fate_open)
    ), released AS (
        UPDATE ledger.outbox b SET released_at = ledger.clock(),
            status = CASE b.status WHEN 'claimed' THEN 'claimed' ELSE 'released' END
        FROM blocking k WHERE b.account_id = k.account_id AND b.outbox_id = k.outbox_id
        RETURNING b.order_id)
    SELECT coalesce(array_agg(r.order_id ORDER BY r.order_id), '{}') INTO v_ids FROM released r;
    IF v_ids <> '{}' THEN
        v_now := ledger._lane_time(v_account_id, v_market_id);
        PERFORM ledger._journal(v_account_id, v_market_id, v_now, 'LANE_RELEASED', NULL, NULL, NULL, NULL,
            jsonb_build_object('rows', cardinality(v_ids), 'orders', to_jsonb(v_ids), 'why', left(p_why, 500),
                               'operator', left(p_operator, 200)));
    END IF;
    RETURN cardinality(v_ids);
END $$;
COMMENT ON FUNCTION ledger.release_lane(text, text, text, text) IS
    'Lets placements behind an unknown or dead head go on. The head keeps its hold and is looked up as before, and never '
    'blocks again, whatever becomes of it.';
