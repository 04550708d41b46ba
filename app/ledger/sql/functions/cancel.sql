-- purpose: the cancel path: ask, claim, record the answer, sweep by standing condition.
-- locks:   request and record: exposure, account_state, orders (_lock_lanes), then cancel_request. claim: cancel_request only.
-- index:   cancel_due, cancel_wide, orders_not_ended.
-- fence:   none needed: a cancel may be repeated freely. Nothing of ours delays one: no mutex, halt, pause or lane is asked.

CREATE FUNCTION ledger._cancel_one(o ledger.orders, p_reason text, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF ledger._ended(o.state) THEN
        RETURN o.state;
    ELSIF o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN
        -- Never at the venue: it ends here, under the same lock that open_attempt needs.
        o.cancel_asked_at := coalesce(o.cancel_asked_at, p_now);
        o.cancel_reason := coalesce(o.cancel_reason, left(p_reason, 500));
        RETURN ledger._settle(o, 'WITHDRAW', 'CANCEL_ASKED', p_now, jsonb_build_object('reason', left(p_reason, 500)));
    END IF;
    IF o.cancel_asked_at IS NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'CANCEL_ASKED', o.order_id, NULL, o.state, o.state,
                                jsonb_build_object('reason', left(p_reason, 500)));
    END IF;
    PERFORM ledger._queue_cancel(o, p_reason, p_now);
    RETURN o.state;
END $$;

CREATE FUNCTION ledger.request_cancel(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    e ledger.exposure;
    v_now timestamptz;
    v_answers jsonb := '[]';
    v_answer jsonb;
    v_protective boolean;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        -- A worker's own cancel uses up no budget of whoever trades; a trader cannot call its own one protective.
        v_protective := coalesce(x -> 'protective' = 'true', false) AND pg_has_role(session_user, '${role_worker}', 'MEMBER');
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF x ? 'mutex_term' AND (ledger._whole(x -> 'mutex_term') IS DISTINCT FROM e.mutex_term
              OR NOT ledger._mutex_held(e)) THEN
            -- Only a cancel that belongs to an evaluation names a term; a protective one never does.
            v_answer := ledger._refusal(i, 'MUTEX_LOST', 'the evaluation lost its market; nothing was cancelled');
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            IF NOT ledger._ended(o.state) AND o.cancel_asked_at IS NULL AND NOT v_protective THEN
                PERFORM ledger._count_change(o.account_id, o.market_id, ledger._effective_limits(o.account_id, o.market_id),
                                             ledger._totals('account', o.account_id::text), v_now);
            END IF;
            v_answer := ledger._ok(i, o, ledger._cancel_one(o, coalesce(x ->> 'reason', 'asked'), v_now));
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.request_cancel(jsonb) IS
    'Items {order_id, reason, mutex_term (only inside an evaluation), protective (a worker''s own: no change is counted)}. What was never sent ends at once; the rest is queued.';

CREATE FUNCTION ledger.request_cancel_all(p_account text, p_market text, p_reason text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_market_id bigint := ledger._market_id(p_market);
    v_account_id bigint;
BEGIN
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL OR NOT ledger._may_act_for(v_account_id) THEN
        -- One answer for both: a login learns nothing about accounts it was not granted.
        RAISE EXCEPTION 'UNKNOWN_ACCOUNT: % is not an account of this login; nothing was cancelled', p_account
            USING ERRCODE = 'LG004';
    ELSIF p_market IS NOT NULL AND v_market_id IS NULL THEN
        RAISE EXCEPTION 'UNKNOWN_MARKET: %; nothing was cancelled', p_market USING ERRCODE = 'LG004';
    END IF;
    RETURN ledger.request_cancel((
        SELECT coalesce(jsonb_agg(jsonb_build_object('order_id', q.order_id, 'reason', p_reason, 'protective', true)), '[]')
        FROM (SELECT o.order_id FROM ledger.orders o
              WHERE o.account_id = v_account_id AND (v_market_id IS NULL OR o.market_id = v_market_id)
                AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
                AND o.cancel_asked_at IS NULL
              ORDER BY o.order_id LIMIT 500) q));
END $$;
COMMENT ON FUNCTION ledger.request_cancel_all(text, text, text) IS
    'At most 500 orders a call; repeat until it answers an empty array.';

CREATE FUNCTION ledger.sweep_cancels() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_ids bigint[];
    v_now timestamptz;
    v_count integer := 0;
BEGIN
    PERFORM ledger._enter();
    -- By condition, not by event: a reservation that raced the halt is found by the next pass.
    SELECT array_agg(q.order_id) INTO v_ids FROM (
        SELECT n.order_id FROM ledger.orders n
        JOIN ledger.exposure e ON e.account_id = n.account_id AND e.market_id = n.market_id
        WHERE n.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND n.cancel_asked_at IS NULL
          AND (e.suspended_until > ledger.clock() OR ledger._halted_by(n.account_id, n.market_id) IS NOT NULL)
        LIMIT 200) q;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    v_locked := ledger._lock_lanes(v_ids);
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_ids) AND q.cancel_asked_at IS NULL LOOP
        v_now := ledger._lane_time(o.account_id, o.market_id);
        PERFORM ledger._cancel_one(o, coalesce('halted: ' || ledger._halted_by(o.account_id, o.market_id), 'suspended'), v_now);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

CREATE FUNCTION ledger._cancel_way(c ledger.cancel_request) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_way text := CASE WHEN c.futile_tries < 5 THEN 'id' WHEN c.futile_tries < 10 OR c.wide_to IS NULL THEN 'market' ELSE 'all' END;
    v_pause interval := make_interval(secs => least(greatest(least(c.wide_tries, c.futile_tries), 30), 600));
BEGIN
    IF v_way = 'id' THEN
        RETURN v_way;
    ELSIF c.wide_at <= v_now AND (c.futile_tries = c.wide_tries OR c.wide_at > v_now - interval '3 seconds') THEN
        -- After a wide one the tries by id say whether another is needed.
        RETURN 'id';
    ELSIF EXISTS (
        SELECT FROM ledger.cancel_request w WHERE w.account_id = c.account_id
          -- Later than now, it was sent before the clock went back.
          AND w.wide_at > v_now - v_pause AND w.wide_at <= v_now
          AND (w.wide_to = 'all' OR v_way = 'market' AND w.market_id = c.market_id)) THEN
        RETURN 'id';
    END IF;
    RETURN v_way;
END $$;
COMMENT ON FUNCTION ledger._cancel_way(ledger.cancel_request) IS
    'How it is sent now: by id; or, after five tries in vain, with its market; after ten with everything of the account. Each of the '
    'two ends orders that nobody wants cancelled, so after the first at most each 30 s, more and more seldom (600 s), and by id between. '
    'STABLE: all of one claim are judged alike, so that they leave in one request.';

CREATE FUNCTION ledger.claim_cancels(p_incarnation uuid, p_accounts text[], p_limit integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT c.account_id, c.order_id, ledger._cancel_way(c) AS way FROM ledger.cancel_request c
        WHERE c.status = 'due'
          -- A first try waits for no time. Of the others: further ahead than any pause reaches, it was set before the clock went back.
          AND (c.tries = 0 OR c.next_at <= ledger.clock() OR c.next_at > ledger.clock() + interval '5 minutes')
          AND c.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY c.next_at LIMIT least(p_limit, 100) FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.cancel_request c SET next_at = ledger.clock() + interval '3 seconds', tries = c.tries + 1,
            claimed_by = p_incarnation,
            wide_to = CASE WHEN due.way = 'id' THEN c.wide_to ELSE due.way END,
            wide_at = CASE WHEN due.way = 'id' THEN c.wide_at ELSE ledger.clock() END,
            wide_tries = CASE WHEN due.way = 'id' THEN c.wide_tries ELSE c.futile_tries END
        FROM due WHERE c.account_id = due.account_id AND c.order_id = due.order_id
        RETURNING c.account_id, c.order_id, c.tries, c.reason, due.way)
    SELECT coalesce(jsonb_agg(jsonb_build_object('account', a.name, 'order_id', k.order_id,
        'venue_order_id', o.venue_order_id, 'state', o.state, 'tries', k.tries, 'reason', k.reason, 'condition_id', m.condition_id,
        'way', k.way) ORDER BY k.order_id), '[]') INTO v_out
    FROM claimed k JOIN ledger.account a USING (account_id)
    JOIN ledger.orders o ON o.account_id = k.account_id AND o.order_id = k.order_id
    JOIN ledger.market m ON m.market_id = o.market_id
    WHERE o.venue_order_id IS NOT NULL;
    RETURN v_out;
END $$;

CREATE FUNCTION ledger._answered_anew(o ledger.orders, p_answer text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c ledger.cancel_request;
BEGIN
    SELECT * INTO c FROM ledger.cancel_request q WHERE q.account_id = o.account_id AND q.order_id = o.order_id;
    IF c.status IS DISTINCT FROM 'due' OR c.last_answer IS DISTINCT FROM p_answer THEN
        RETURN true;
    END IF;
    -- What was answered before the last attempt could have arrived is no evidence for it.
    RETURN split_part(p_answer, ':', 1) IN ('accepted', 'refused') AND o.state = 'UNKNOWN' AND NOT EXISTS (
        SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
        AND v.kind = 'delete_answered' AND v.started_at > o.last_deadline);
END $$;
COMMENT ON FUNCTION ledger._answered_anew(ledger.orders, text) IS
    'Whether an answer to a DELETE belongs into the journal: another one than before, or the first that is evidence.';

CREATE FUNCTION ledger.record_cancel_answers(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_entered timestamptz := ledger.clock();
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_answer text;
    v_told boolean;
    v_kept jsonb;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL OR coalesce(x ->> 'answer', '') NOT IN ('accepted', 'refused', 'not_sent', 'not_listed', 'unknown') THEN
            v_answers := v_answers || ledger._refusal(i, 'BAD_REQUEST', 'unknown order or answer');
            i := i + 1;
            CONTINUE;
        END IF;
        v_now := ledger._lane_time(o.account_id, o.market_id);
        PERFORM ledger._note_cancel(o, x ->> 'answer', x ->> 'raw', v_now);
        v_answer := left(format('%s: %s', x ->> 'answer', x ->> 'raw'), 2000);
        -- The same answer again is no news: a cancel that is repeated for hours must not fill the journal.
        v_told := ledger._answered_anew(o, v_answer);
        UPDATE ledger.cancel_request SET last_answer = v_answer,
            answered_at = CASE WHEN v_told THEN v_now ELSE answered_at END,
            futile_tries = futile_tries + CASE WHEN x ->> 'answer' = 'unknown' OR (x -> 'refused') = 'true' THEN 1 ELSE 0 END,
            -- What only put off a wide one has cancelled nothing: its pause has not begun.
            wide_at = CASE WHEN x ->> 'answer' = 'not_sent' AND (x -> 'wide') = 'true' AND (x -> 'refused') IS DISTINCT FROM 'true'
                THEN NULL ELSE wide_at END,
            -- At the time the venue states. Where it states none, soon, and then not so soon: a key or an address that
            -- hammers is shut out, and then no cancel arrives at all.
            next_at = ledger.clock() + make_interval(secs => CASE WHEN x ->> 'answer' = 'not_sent'
                THEN least(greatest(coalesce(ledger._whole(x -> 'retry_after_ms'), 0),
                    CASE WHEN coalesce(ledger._whole(x -> 'retry_after_ms'), 0) = 0 THEN least(50 * 2 ^ least(tries, 6), 2000) ELSE 0 END), 300000)
                ELSE 1000 END / 1000.0)
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due';
        v_kept := '{}';
        IF x ->> 'answer' = 'accepted' THEN
            -- It can list as cancelled only what it knows: such an id is never absent.
            UPDATE ledger.orders SET seen_at_venue = true
            WHERE account_id = o.account_id AND order_id = o.order_id AND NOT seen_at_venue;
        END IF;
        IF v_told AND x ->> 'answer' IN ('accepted', 'refused') THEN
            v_kept := ledger._keep_evidence(o, 'delete_answered',
                v_entered - make_interval(secs => greatest(coalesce(ledger._whole(x -> 'took_ms'), 0), 0) / 1000.0),
                v_now, (x ->> 'incarnation')::uuid, x ->> 'owner', left(x ->> 'raw', 2000));
        END IF;
        IF v_told THEN
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'CANCEL_ANSWERED', o.order_id, NULL, o.state, o.state,
                v_kept || jsonb_build_object('answer', x ->> 'answer', 'raw', left(x ->> 'raw', 500)));
        END IF;
        v_answers := v_answers || ledger._ok(i, o, o.state);
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_cancel_answers(jsonb) IS
    'Items {order_id, incarnation, answer (accepted, refused, not_sent, not_listed, unknown), refused (the request itself), '
    'wide (the whole market, or everything), retry_after_ms, took_ms, raw}. not_listed: a wide one was carried out and names it nowhere. '
    'No answer ends an order: a read does. Until then the cancel is repeated.';

CREATE FUNCTION ledger.cancels_unseen(p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    WITH unseen AS (
        -- A copy that may yet appear is met as soon as it does.
        SELECT c.account_id, c.order_id, o.state = 'SENDING' OR o.state = 'UNKNOWN'
            AND ledger.clock() <= o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0)
            -- While the venue holds it back, a look-up by id may not show it.
            OR o.state = 'DELAYED' AND ledger.clock() <= o.state_at + interval '1 minute' AS may_appear,
            split_part(c.last_answer, ':', 1) IN ('accepted', 'refused', 'not_listed') AS answered
        FROM ledger.cancel_request c
        JOIN ledger.account a USING (account_id) JOIN ledger.orders o USING (account_id, order_id)
        WHERE c.order_id = ANY (p_order_ids) AND c.status = 'due' FOR UPDATE OF c SKIP LOCKED)
    UPDATE ledger.cancel_request c SET futile_tries = 0,
        absent_reads = c.absent_reads + CASE WHEN u.answered AND NOT u.may_appear THEN 1 ELSE 0 END,
        next_at = CASE WHEN u.answered AND NOT u.may_appear AND c.absent_reads >= 4 THEN greatest(c.next_at, ledger.clock() + interval '30 seconds') ELSE c.next_at END
    FROM unseen u WHERE c.account_id = u.account_id AND c.order_id = u.order_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.cancels_unseen(bigint[]) IS
    'The look-up behind their DELETE was clean and showed nothing: whatever the answer was, no try was in vain, and no wider cancel '
    'would end more. From the fifth answered one in a row on the DELETE goes each 30 s, unless it may yet appear; whatever shows the '
    'order makes it due at once (_hasten_cancel).';

CREATE FUNCTION ledger.cancels_futile(p_order_ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    WITH standing AS (
        SELECT c.account_id, c.order_id FROM ledger.cancel_request c JOIN ledger.orders o USING (account_id, order_id)
        WHERE c.order_id = ANY (p_order_ids) AND c.status = 'due' AND o.state = 'LIVE'
        FOR UPDATE OF c SKIP LOCKED)
    UPDATE ledger.cancel_request c SET futile_tries = c.futile_tries + 1
    FROM standing s WHERE c.account_id = s.account_id AND c.order_id = s.order_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.cancels_futile(bigint[]) IS
    'Their DELETE was answered, and the look-up behind it showed them: those that still stand by now count one try in vain.';

CREATE FUNCTION ledger._hasten_cancel(o ledger.orders) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF o.cancel_asked_at IS NOT NULL THEN
        UPDATE ledger.cancel_request SET absent_reads = 0,
            next_at = CASE WHEN absent_reads > 4 THEN least(next_at, ledger.clock()) ELSE next_at END
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due' AND absent_reads > 0;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._hasten_cancel(ledger.orders) IS 'The venue has shown the order: its cancel waits for nothing any more.';
