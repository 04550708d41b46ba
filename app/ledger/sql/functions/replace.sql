-- purpose: replace an order: cancel the old one, wait for its proven final size, then reserve the new one in the same commit.
-- locks:   exposure, account_state, orders (_lock_lanes), then key, replacement and cancel rows.
-- index:   replacement_waiting, idempotency_key.
-- fence:   one waiting replacement per order. Two live orders would be two holds; here there is never more than one.

CREATE FUNCTION ledger.replace_order(p_order_id bigint, p_request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    r ledger.request;
    e ledger.exposure;
    s ledger.account_state;
    l ledger.limits;
    t ledger.total_limits;
    v_now timestamptz;
    v_id bigint;
BEGIN
    v_locked := ledger._lock_lanes(ARRAY[p_order_id]);
    o := ledger._order(p_order_id, v_locked);
    IF o.order_id IS NULL THEN
        RETURN ledger._no_order(0, p_order_id);
    END IF;
    r := ledger._parse_request(p_request || jsonb_build_object('replaces_order_id', p_order_id), 0);
    -- Sets belong to reserve_pending, which numbers them itself; a caller's own number would escape the gap.
    r.set_id := NULL;
    IF r.answer IS NULL THEN
        r.answer := ledger._replay(r);
    END IF;
    IF r.answer IS NOT NULL THEN
        RETURN r.answer;
    END IF;
    SELECT * INTO e FROM ledger.exposure q WHERE q.account_id = o.account_id AND q.market_id = o.market_id;
    v_now := greatest(ledger.clock(), e.clock_at);
    IF (r.account_id, r.market_id, r.outcome, r.side) <> (o.account_id, o.market_id, o.outcome, o.side) THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a replacement keeps account, market, outcome and side; nothing was changed');
    ELSIF ledger._ended(o.state) THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('order %s is %s; place a new one', o.order_id, o.state));
    ELSIF EXISTS (SELECT FROM ledger.replacement q WHERE q.account_id = o.account_id
                  AND q.old_order_id = o.order_id AND q.state = 'waiting') THEN
        RETURN ledger._refusal(0, 'BUSY', 'a replacement of this order is already waiting; nothing was changed');
    ELSIF r.mutex_term IS NOT NULL AND (r.mutex_term <> e.mutex_term OR NOT ledger._mutex_held(e)) THEN
        RETURN ledger._refusal(0, 'MUTEX_LOST', 'the evaluation lost its market; nothing was changed');
    ELSIF r.mutex_term IS NULL AND ledger._mutex_held(e) THEN
        RETURN ledger._refusal(0, 'LOCKED', 'another evaluation of this market is under way');
    END IF;
    SELECT * INTO s FROM ledger.account_state q WHERE q.account_id = o.account_id;
    l := ledger._effective_limits(o.account_id, o.market_id);
    t := ledger._totals('account', o.account_id::text);
    -- Judged now, while refusing costs nothing: once the old order is gone it is too late.
    r.answer := CASE
        WHEN ledger._halted_by(o.account_id, o.market_id) IS NOT NULL THEN ledger._refusal(0, 'HALTED',
            'halted: ' || ledger._halted_by(o.account_id, o.market_id) || '; the order was left alone')
        WHEN e.suspended_until > v_now THEN ledger._refusal(0, 'SUSPENDED', e.suspended_why || '; the order was left alone')
        ELSE coalesce(ledger._market_refusal(r), ledger._limiter_refusal(r, e, l, v_now),
            CASE WHEN NOT ledger._unwinds(r) THEN ledger._change_refusal(r, e, s, l, t, v_now) END) END;
    IF r.answer IS NOT NULL THEN
        RETURN r.answer;
    END IF;
    PERFORM ledger._count_admission(r, l, t, v_now);
    v_id := nextval('ledger.order_id_seq');
    INSERT INTO ledger.replacement (account_id, replacement_id, old_order_id, request, filled_at_ask, state, asked_at)
    VALUES (o.account_id, v_id, o.order_id,
            -- By identity, not by the name that was used: a slug may mean another market by the time the old order ends.
            (p_request - 'mutex_term' - 'set_id') || jsonb_build_object('outcome', o.outcome::text,
                'market', (SELECT m.condition_id FROM ledger.market m WHERE m.market_id = o.market_id)),
            greatest(o.size_matched_micros, o.traded_micros), 'waiting', v_now);
    INSERT INTO ledger.idempotency_key (account_id, key, fingerprint, kind, subject_id, bound_at)
    VALUES (o.account_id, r.key, r.fingerprint, 'replacement', v_id, v_now);
    PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'REPLACE_ASKED', o.order_id, NULL, o.state, o.state,
                            jsonb_build_object('replacement', v_id, 'key', r.key,
                                'filled', greatest(o.size_matched_micros, o.traded_micros),
                                'request', (SELECT encode(sha256(convert_to(q.request::text, 'UTF8')), 'hex')
                                            FROM ledger.replacement q
                                            WHERE q.account_id = o.account_id AND q.replacement_id = v_id)));
    PERFORM ledger._cancel_one(ledger._order(p_order_id, v_locked), 'replaced', v_now);
    RETURN jsonb_build_object('item', 0, 'status', 'asked', 'replay', false, 'replacement_id', v_id);
END $$;
COMMENT ON FUNCTION ledger.replace_order(bigint, jsonb) IS
    'Asks for the replacement. The new order is reserved in the commit that books the old one''s proven end, reduced by '
    'what the old one filled meanwhile; ledger.replacement shows what became of it.';

CREATE FUNCTION ledger._finish_replacement(o ledger.orders, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    q ledger.replacement;
    r ledger.request;
    e ledger.exposure;
    l ledger.limits := ledger._effective_limits(o.account_id, o.market_id);
    t ledger.total_limits := ledger._totals('account', o.account_id::text);
    v_filled bigint;
    v_asked bigint;
    v_answer jsonb;
BEGIN
    SELECT * INTO q FROM ledger.replacement x
    WHERE x.account_id = o.account_id AND x.old_order_id = o.order_id AND x.state = 'waiting';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    r := ledger._parse_request(q.request || jsonb_build_object('replaces_order_id', o.order_id), 0);
    v_answer := CASE WHEN r.answer ->> 'code' = 'NOT_GRANTED' THEN NULL ELSE r.answer END;
    -- Who asked was granted the account; whoever books the end (an operator, say) need not be.
    r.answer := NULL;
    r.account_id := o.account_id; r.market_id := o.market_id; r.outcome := o.outcome; r.token_id := o.token_id;
    v_filled := greatest(o.size_matched_micros, o.traded_micros) - q.filled_at_ask;
    v_asked := r.size_micros;
    IF v_answer IS NULL AND o.state <> 'FILLED' THEN
        r.size_micros := (r.size_micros - v_filled) / 10000 * 10000;
        IF r.size_micros <= 0 THEN
            v_answer := ledger._refusal(0, 'ALREADY_ENDED', 'the old order filled what the new one asked for');
        ELSE
            SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
            BEGIN
                r.answer := ledger._market_refusal(r);
                IF r.answer IS NULL THEN
                    r := ledger._judge(r, e, l, t, p_now);
                END IF;
                v_answer := coalesce(r.answer, ledger._admit(r, l, t, v_asked, p_now));
            EXCEPTION WHEN OTHERS THEN
                -- The old order's end is a fact and must be booked whatever is wrong with what should follow it.
                v_answer := ledger._refusal(0, 'BAD_REQUEST', 'the new order could not be reserved: ' || SQLERRM);
            END;
        END IF;
    ELSIF v_answer IS NULL THEN
        v_answer := ledger._refusal(0, 'ALREADY_ENDED', 'the old order was filled');
    END IF;
    UPDATE ledger.replacement SET ended_at = p_now, code = coalesce(v_answer ->> 'code', ''),
        state = CASE v_answer ->> 'status' WHEN 'admitted' THEN 'done' ELSE 'refused' END,
        new_order_id = (v_answer ->> 'order_id')::bigint
    WHERE account_id = q.account_id AND replacement_id = q.replacement_id;
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'REPLACE_ENDED', o.order_id, NULL, NULL, NULL,
                            v_answer || jsonb_build_object('replacement', q.replacement_id));
END $$;
