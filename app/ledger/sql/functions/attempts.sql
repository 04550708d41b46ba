-- purpose: the send path: sign, open an attempt, record how it ended.
-- locks:   exposure, account_state, orders of the batch (_lock_lanes), then attempt and outbox rows.
-- index:   orders_by_id, attempt and outbox by primary or unique key.
-- fence:   prepare and open_attempt need the live claim (incarnation, claim_no); a completion needs the open attempt
--          of that incarnation. No row updated means: I am the zombie. Its answer is kept as evidence only.

CREATE FUNCTION ledger._claim_holds(o ledger.orders, p_incarnation uuid, p_claim_no bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    SELECT EXISTS (SELECT FROM ledger.outbox b WHERE b.account_id = o.account_id AND b.order_id = o.order_id
        AND b.status IN ('claimed', 'blocked', 'released') AND b.claimed_by = p_incarnation AND b.claim_no = p_claim_no
        AND b.claimed_until > ledger.clock())
$$;

CREATE FUNCTION ledger._ids(p_items jsonb) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF jsonb_typeof(p_items) IS DISTINCT FROM 'array' OR jsonb_array_length(p_items) > 1024 THEN
        RAISE EXCEPTION 'BAD_REQUEST: an array of at most 1024 items is needed; nothing was done' USING ERRCODE = 'LG004';
    END IF;
    RETURN array(SELECT ledger._whole(x -> 'order_id') FROM jsonb_array_elements(p_items) x
                 WHERE ledger._whole(x -> 'order_id') IS NOT NULL);
END $$;

CREATE FUNCTION ledger._ok(p_item integer, o ledger.orders, p_state text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT jsonb_build_object('item', p_item, 'status', 'ok', 'order_id', o.order_id, 'state', p_state) $$;

CREATE FUNCTION ledger.prepare(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    s ledger.signed_order;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF NOT ledger._claim_holds(o, (x ->> 'incarnation')::uuid, ledger._whole(x -> 'claim_no')) THEN
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; nothing was stored');
        ELSIF o.state <> 'RESERVED' THEN
            -- The transition table refuses it and journals that; nothing else changes.
            PERFORM ledger._settle(o, 'PREPARE', '', ledger._lane_time(o.account_id, o.market_id));
            v_answer := ledger._refusal(i, 'ILLEGAL_TRANSITION', format('order %s is %s', o.order_id, o.state));
        ELSE
            INSERT INTO ledger.signed_order (account_id, order_id, venue_order_id, body, fields, signed_at, signed_by)
            VALUES (o.account_id, o.order_id, x ->> 'venue_order_id', decode(x ->> 'body', 'base64'),
                    x -> 'fields', ledger._lane_time(o.account_id, o.market_id), (x ->> 'incarnation')::uuid)
            RETURNING * INTO s;
            o.venue_order_id := s.venue_order_id;
            v_answer := ledger._ok(i, o, ledger._settle(o, 'PREPARE', '', s.signed_at,
                jsonb_build_object('venue_order_id', s.venue_order_id, 'signed_by', s.signed_by,
                    'body', encode(sha256(s.body), 'hex'),
                    'fields', encode(sha256(convert_to(s.fields::text, 'UTF8')), 'hex'))));
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.prepare(jsonb) IS
    'Items {order_id, incarnation, claim_no, venue_order_id, body (base64), fields}: RESERVED to PREPARED.';

CREATE FUNCTION ledger.open_attempt(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    e ledger.exposure;
    b ledger.breaker;
    v_now timestamptz;
    v_left interval;
    v_code text;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answer := ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSIF NOT ledger._claim_holds(o, (x ->> 'incarnation')::uuid, ledger._whole(x -> 'claim_no')) THEN
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; send nothing');
        ELSIF o.state NOT IN ('PREPARED', 'HELD_BACK', 'UNKNOWN') THEN
            PERFORM ledger._settle(o, 'OPEN', '', ledger._lane_time(o.account_id, o.market_id));
            v_answer := ledger._refusal(i, 'ILLEGAL_TRANSITION', format('order %s is %s; send nothing', o.order_id, o.state));
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
            v_left := ledger._validity_left(o);
            v_code := ledger._no_longer_wanted(o, e, v_left, v_now);
            b := ledger._breaker_says(o.account_id, o.market_id, o.order_id);
            IF v_code IS NULL AND b.until IS NOT NULL THEN
                -- What was admitted before it opened waits for it, or for the probe.
                UPDATE ledger.outbox q SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    not_before = greatest(q.not_before, least(b.until, ledger.clock() + interval '5 seconds'),
                                          ledger.clock() + interval '500 milliseconds')
                WHERE q.account_id = o.account_id AND q.order_id = o.order_id AND q.status = 'claimed';
                v_answer := ledger._refusal(i, 'BREAKER', format('a breaker (%s) is open; nothing was sent, it goes later', b.kind));
            ELSIF v_code IS NULL AND ledger._gate(o.account_id, o.post_only) IS NOT NULL THEN
                -- Wanted, and not now: back to its lane. A resend of an unknown order keeps its place.
                UPDATE ledger.outbox q SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    not_before = greatest(q.not_before, ledger.clock() + interval '500 milliseconds')
                WHERE q.account_id = o.account_id AND q.order_id = o.order_id AND q.status = 'claimed';
                v_answer := ledger._refusal(i, 'VENUE_MODE', format('the venue is %s; nothing was sent, it goes later',
                    ledger._gate(o.account_id, o.post_only)));
            ELSIF v_code IS NULL THEN
                PERFORM ledger._probe(o.account_id, o.market_id, o.order_id);
                v_answer := ledger._open(i, o, x, v_left, v_now);
            ELSIF o.state = 'UNKNOWN' THEN
                -- A copy may live: only look-ups and DELETE from here on.
                PERFORM ledger._queue_cancel(o, v_code, v_now);
                v_answer := ledger._refusal(i, v_code, 'the order is not wanted any more; it is not sent again');
            ELSE
                PERFORM ledger._settle(o, 'WITHDRAW', v_code, v_now);
                v_answer := ledger._refusal(i, v_code, 'the order is not wanted any more; it was never placed');
            END IF;
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.open_attempt(jsonb) IS
    'Items {order_id, incarnation, claim_no, owner, request_timeout_ms}. Bytes may leave only after this has returned '
    'ok, and only until send_within_ms after a monotonic clock reading taken before the call (2 s, or what remains of '
    'valid_until).';

CREATE FUNCTION ledger._no_longer_wanted(
    o ledger.orders, e ledger.exposure, p_left interval, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN CASE
        WHEN o.cancel_asked_at IS NOT NULL THEN 'CANCEL_ASKED'
        WHEN p_left <= interval '0' THEN 'EXPIRED'
        WHEN e.suspended_until > p_now THEN 'SUSPENDED'
        WHEN ledger._halted_by(o.account_id, o.market_id) IS NOT NULL THEN 'HALTED' END;
END $$;

CREATE FUNCTION ledger._validity_left(o ledger.orders) RETURNS interval
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- Not the market's time, which stands still while the clock is behind it: standing still, it would lengthen validity.
    v_clock timestamptz := ledger.clock();
BEGIN
    IF v_clock < o.created_at OR o.order_id <= (SELECT max(s.last_order_id) FROM ledger.clock_step s) THEN
        RETURN interval '0';
    END IF;
    RETURN least(o.valid_until, CASE WHEN o.expires_at_s > 0 THEN to_timestamp(o.expires_at_s) END) - v_clock;
END $$;
COMMENT ON FUNCTION ledger._validity_left(ledger.orders) IS
    'How long the order may still be sent; nothing once the clock is known to have gone back since it was reserved: how '
    'long ago that was cannot be told then, and an intent is not sent late.';

CREATE FUNCTION ledger._open(p_item integer, o ledger.orders, x jsonb, p_left interval, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- An intent is not sent late: what remains of its validity may be less than the two seconds.
    v_within interval := least(interval '2 seconds', p_left);
    v_send_by timestamptz := p_now + v_within;
BEGIN
    o.attempts := o.attempts + 1;
    o.last_deadline := greatest(o.last_deadline,
        v_send_by + make_interval(secs => coalesce(ledger._whole(x -> 'request_timeout_ms'), 10000) / 1000.0));
    INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, owner, opened_at, send_by, deadline)
    VALUES (o.account_id, o.order_id, o.attempts, (x ->> 'incarnation')::uuid, coalesce(x ->> 'owner', ''),
            p_now, v_send_by, o.last_deadline);
    UPDATE ledger.outbox SET status = 'claimed' WHERE account_id = o.account_id AND order_id = o.order_id;
    RETURN ledger._ok(p_item, o, ledger._settle(o, 'OPEN', '', p_now, jsonb_build_object('send_by', v_send_by,
            'deadline', o.last_deadline,            'incarnation', x ->> 'incarnation', 'owner', coalesce(x ->> 'owner', '')), p_attempt => o.attempts))
        || jsonb_build_object('attempt', o.attempts,
            'send_within_ms', floor(extract(epoch FROM v_within) * 1000)::bigint);
END $$;

CREATE FUNCTION ledger._answer(p_outcome text, p_code text, p_raw text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object('outcome', p_outcome, 'code', p_code,
                              'answer', encode(sha256(convert_to(left(p_raw, 8192), 'UTF8')), 'hex'))
$$;
COMMENT ON FUNCTION ledger._answer(text, text, text) IS 'How an attempt ended, for the journal; of the venue''s answer its digest.';

CREATE FUNCTION ledger._complete(
    p_items jsonb, p_outcome text, p_event text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_event text;
    v_code text;
    v_state text;
    v_opened timestamptz;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        v_opened := NULL;
        v_code := left(coalesce(x ->> 'code', ''), 200);
        IF o.order_id IS NULL THEN
            v_answers := v_answers || ledger._no_order(i, ledger._whole(x -> 'order_id'));
            i := i + 1;
            CONTINUE;
        END IF;
        v_now := ledger._lane_time(o.account_id, o.market_id);
        IF v_code = 'ID_MISMATCH' THEN
            -- What is at the venue under our bytes has another name: in this very commit, or a death would lose the halt.
            PERFORM ledger._halt_once('account', o.account_id::text,
                'ID_MISMATCH: the venue answered with another order id than ours', v_now);
        END IF;
        UPDATE ledger.attempt SET outcome = p_outcome, code = v_code, answer = left(x ->> 'raw', 8192), ended_at = v_now
        WHERE account_id = o.account_id AND order_id = o.order_id AND attempt = ledger._whole(x -> 'attempt')
          AND incarnation = (x ->> 'incarnation')::uuid AND outcome = 'open'
        RETURNING opened_at INTO v_opened;
        IF FOUND THEN
            PERFORM ledger._note_answer(o, p_outcome, x ->> 'reason_class', v_code, v_opened, v_now);
        END IF;
        IF v_opened IS NULL THEN
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'REFUSED_COMPLETION', o.order_id,
                ledger._whole(x -> 'attempt')::integer, o.state, NULL, jsonb_build_object('outcome', p_outcome, 'code', v_code)
                || ledger._keep_evidence(o, 'refused_completion', v_now, v_now, (x ->> 'incarnation')::uuid, NULL,
                    left(format('attempt %s: %s %s %s', x ->> 'attempt', p_outcome, v_code, x ->> 'raw'), 8192)));
            IF p_outcome IN ('accepted', 'seen') THEN
                PERFORM ledger._late_sighting(o, x, v_now);
            END IF;
            v_answer := ledger._refusal(i, 'STALE_ATTEMPT', 'this attempt is not open for this worker; kept as evidence');
        ELSIF o.state <> 'SENDING' THEN
            -- The stream was faster: the order already stands on better evidence than this answer.
            PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id,
                ledger._whole(x -> 'attempt')::integer, o.state, o.state, ledger._answer(p_outcome, v_code, x ->> 'raw'));
            v_answer := ledger._ok(i, o, o.state);
        ELSE
            v_event := p_event;
            IF p_event IN ('REJECT', 'HOLD_BACK') AND (o.fate_open OR o.seen_at_venue) THEN
                -- A refusal of this copy proves nothing about an earlier one.
                v_event := 'LOSE';
            END IF;
            IF v_event = 'LOSE' THEN
                o.fate_open := true;
            END IF;
            IF p_outcome IN ('accepted', 'seen') THEN
                o.seen_at_venue := true;
            END IF;
            v_state := ledger._settle(o, v_event, v_code, v_now, ledger._answer(p_outcome, v_code, x ->> 'raw'),
                                      p_attempt => ledger._whole(x -> 'attempt')::integer);
            IF v_state = 'HELD_BACK' THEN
                UPDATE ledger.outbox SET status = 'ready', claimed_by = NULL, claimed_until = NULL,
                    -- By the clock that claims go by: the market's time may be ahead of it, and this would wait for that.
                    not_before = ledger.clock() + make_interval(secs => coalesce(ledger._whole(x -> 'retry_after_ms'), 1000) / 1000.0)
                WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'claimed';
                IF o.cancel_asked_at IS NOT NULL THEN
                    -- Known unsent again: the cancel that had to wait for this answer ends it here.
                    v_state := ledger._settle(ledger._order(o.order_id, v_locked), 'WITHDRAW', 'CANCEL_ASKED', v_now);
                END IF;
            END IF;
            v_answer := ledger._ok(i, o, v_state);
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;

CREATE FUNCTION ledger._sighted(o ledger.orders, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.orders SET seen_at_venue = true
    WHERE account_id = o.account_id AND order_id = o.order_id AND NOT seen_at_venue;
    IF FOUND THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'SIGHTED', o.order_id, NULL, o.state, o.state);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._sighted(ledger.orders, timestamptz) IS
    'The venue knows the id, and nothing else follows from it: from now on the order is never absent.';

CREATE FUNCTION ledger._late_sighting(o ledger.orders, x jsonb, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Refused as a completion, but the venue did tell the zombie that it knows the id.
    IF NOT EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                   AND t.attempt = ledger._whole(x -> 'attempt') AND t.incarnation = (x ->> 'incarnation')::uuid) THEN
        RETURN;
    END IF;
    o.seen_at_venue := true;
    IF o.state IN ('REJECTED', 'NOT_PLACED') THEN
        PERFORM ledger._settle(o, 'SEE', 'LATE_ANSWER', p_now);
    ELSE
        PERFORM ledger._sighted(o, p_now);
    END IF;
END $$;

CREATE FUNCTION ledger.acknowledge(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'accepted', 'ACCEPT'); END $$;
COMMENT ON FUNCTION ledger.acknowledge(jsonb) IS
    'Items {order_id, attempt, incarnation, code (raw status), raw}: pending becomes open in this commit.';

CREATE FUNCTION ledger.acknowledge_delayed(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'accepted', 'DELAY'); END $$;

CREATE FUNCTION ledger.reject(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'rejected', 'REJECT'); END $$;
COMMENT ON FUNCTION ledger.reject(jsonb) IS
    'A definite refusal. Ends the order only if no earlier attempt of it is unknown and the id was never seen.';

CREATE FUNCTION ledger.hold_back(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'held_back', 'HOLD_BACK'); END $$;
COMMENT ON FUNCTION ledger.hold_back(jsonb) IS
    'Known not processed (425, 429, 503, not ready, dropped before sending): the same bytes go again after retry_after_ms.';

CREATE FUNCTION ledger.mark_seen(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'seen', 'LOSE'); END $$;
COMMENT ON FUNCTION ledger.mark_seen(jsonb) IS
    'Duplicated: the venue knows the id. Neither live nor filled nor dead: UNKNOWN until a read, and never absent.';

CREATE FUNCTION ledger.mark_unknown(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN RETURN ledger._complete(p_items, 'unknown', 'LOSE'); END $$;

CREATE FUNCTION ledger.release_pending(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        v_answer := CASE
            WHEN o.order_id IS NULL THEN ledger._no_order(i, ledger._whole(x -> 'order_id'))
            WHEN ledger._ended(o.state) THEN ledger._ok(i, o, o.state) || '{"replay": true}'
            WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN ledger._ok(i, o, ledger._settle(o, 'WITHDRAW',
                left(coalesce(x ->> 'cause', 'RELEASED'), 200), ledger._lane_time(o.account_id, o.market_id)))
            ELSE ledger._refusal(i, 'NOT_PROVEN', format('order %s is %s: a copy may be at the venue, so its hold stays; '
                'ask for a cancel instead', o.order_id, o.state)) END;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.release_pending(jsonb) IS
    'Items {order_id, cause}. Releases what was never sent; repeating it changes nothing; refuses what may be at the venue.';
