-- purpose: what may be concluded about an order whose fate is unknown, and from what.
-- locks:   exposure, account_state, orders (_lock_lanes), then evidence rows.
-- index:   evidence_of_order.
-- fence:   absence needs every kind of evidence, begun after the quarantine; the ledger checks, not the caller.

CREATE FUNCTION ledger._keep_evidence(
    o ledger.orders, p_kind text, p_started_at timestamptz, p_at timestamptz, p_incarnation uuid, p_owner text, p_detail text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v ledger.evidence;
BEGIN
    INSERT INTO ledger.evidence (account_id, order_id, kind, started_at, at, incarnation, owner, detail)
    VALUES (o.account_id, o.order_id, p_kind, p_started_at, p_at, p_incarnation, coalesce(p_owner, ''), coalesce(p_detail, ''))
    RETURNING * INTO v;
    RETURN jsonb_build_object('evidence', encode(sha256(convert_to(ledger._evidence_text(v), 'UTF8')), 'hex'));
END $$;
COMMENT ON FUNCTION ledger._keep_evidence(ledger.orders, text, timestamptz, timestamptz, uuid, text, text) IS
    'Stores a piece of evidence and returns its digest, for the journal.';

CREATE FUNCTION ledger._evidence_text(v ledger.evidence) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_array(v.evidence_id, v.kind, extract(epoch FROM v.started_at), extract(epoch FROM v.at),
                             v.incarnation, v.owner, v.detail)::text
$$;
COMMENT ON FUNCTION ledger._evidence_text(ledger.evidence) IS 'A piece of evidence as it is digested.';

CREATE FUNCTION ledger._shown_before(o ledger.orders, p_kind text, p_owner text, p_started_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_quarantine_end timestamptz;
BEGIN
    SELECT o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) INTO v_quarantine_end
    FROM ledger.account a WHERE a.account_id = o.account_id;
    RETURN p_kind IN ('order_absent', 'trades_absent') AND EXISTS (
        SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id AND v.kind = p_kind
          AND v.owner = p_owner AND v.started_at <= p_started_at
          -- Before the quarantine's end none of them counts, behind it the first counts as much as the hundredth.
          AND (v.started_at > v_quarantine_end) IS NOT DISTINCT FROM (p_started_at > v_quarantine_end));
END $$;
COMMENT ON FUNCTION ledger._shown_before(ledger.orders, text, text, timestamptz) IS
    'Whether a look-up that found nothing only says again what is evidence already: an order may stay unknown for hours.';

CREATE FUNCTION ledger.record_evidence(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_entered timestamptz := ledger.clock();
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_started timestamptz;
    v_kept jsonb;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    -- Each row checks that its order exists, which locks the order: without the fixed order first, two batches deadlock.
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL OR coalesce(x ->> 'kind', '') NOT IN ('order_absent', 'trades_absent', 'late_answer', 'sighting') THEN
            v_answers := v_answers || ledger._refusal(i, 'BAD_REQUEST', 'unknown order or kind of evidence');
        ELSE
            -- The look-up's own duration is subtracted on the database's clock: no other clock is compared with it.
            v_started := v_entered - make_interval(secs => greatest(coalesce(ledger._whole(x -> 'took_ms'), 0), 0) / 1000.0);
            v_kept := CASE WHEN NOT ledger._shown_before(o, x ->> 'kind', coalesce(x ->> 'owner', ''), v_started)
                THEN ledger._keep_evidence(o, x ->> 'kind', v_started, ledger.clock(), (x ->> 'incarnation')::uuid,
                                           x ->> 'owner', left(x ->> 'detail', 2000)) END;
            IF x ->> 'kind' IN ('late_answer', 'sighting') THEN
                -- Look-ups that find nothing are many; their digest is taken when absence is concluded from them.
                PERFORM ledger._journal(o.account_id, o.market_id, ledger._lane_time(o.account_id, o.market_id), 'EVIDENCE',
                    o.order_id, NULL, o.state, o.state, v_kept || jsonb_build_object('kind', x ->> 'kind'));
            END IF;
            v_answers := v_answers || ledger._ok(i, o, o.state);
        END IF;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_evidence(jsonb) IS
    'Items {order_id, kind (order_absent, trades_absent, late_answer, sighting), took_ms, incarnation, owner, detail}.';

CREATE FUNCTION ledger._missing_proof(o ledger.orders, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_quarantine_end timestamptz;
BEGIN
    SELECT o.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) INTO v_quarantine_end
    FROM ledger.account a WHERE a.account_id = o.account_id;
    RETURN CASE
        WHEN o.state <> 'UNKNOWN' THEN 'the order is ' || o.state
        WHEN o.seen_at_venue OR EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id
                 AND v.order_id = o.order_id AND v.kind IN ('sighting', 'duplicated')) THEN 'the venue has shown that it knows the id'
        WHEN EXISTS (SELECT FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id
                     AND t.outcome = 'open') THEN 'an attempt is open'
        WHEN p_now <= v_quarantine_end THEN 'the quarantine lasts until ' || v_quarantine_end::text
        WHEN NOT EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
                         AND v.kind = 'delete_answered' AND v.started_at > o.last_deadline)
            THEN 'no DELETE was answered since the last attempt could have arrived'
        WHEN EXISTS (
            SELECT FROM ledger.attempt t CROSS JOIN (VALUES ('order_absent'), ('trades_absent')) k (kind)
            WHERE t.account_id = o.account_id AND t.order_id = o.order_id AND t.outcome IN ('unknown', 'lapsed')
              AND NOT EXISTS (SELECT FROM ledger.evidence v WHERE v.account_id = o.account_id AND v.order_id = o.order_id
                              AND v.kind = k.kind AND v.owner = t.owner AND v.started_at > v_quarantine_end))
            THEN 'no complete look-up of order and trades, with the attempt''s own key, was begun after the quarantine'
        END;
END $$;

CREATE FUNCTION ledger._proof(o ledger.orders) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('deadline', o.last_deadline, 'quarantine_ms', a.quarantine_ms,
        'pieces', count(*), 'through', max(v.evidence_id),
        'digest', encode(sha256(convert_to(string_agg(ledger._evidence_text(v), E'\n' ORDER BY v.evidence_id), 'UTF8')), 'hex'))
        FROM ledger.account a LEFT JOIN ledger.evidence v ON v.account_id = o.account_id AND v.order_id = o.order_id
        WHERE a.account_id = o.account_id GROUP BY a.quarantine_ms);
END $$;
COMMENT ON FUNCTION ledger._proof(ledger.orders) IS
    'From what absence is concluded, for the journal: the quarantine, and count, last id and digest of the evidence.';

CREATE FUNCTION ledger.prove_absent(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_missing text;
    v_answers jsonb := '[]';
    i integer := 0;
BEGIN
    v_locked := ledger._lock_lanes(ledger._ids(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        o := ledger._order(ledger._whole(x -> 'order_id'), v_locked);
        IF o.order_id IS NULL THEN
            v_answers := v_answers || ledger._no_order(i, ledger._whole(x -> 'order_id'));
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            v_missing := ledger._missing_proof(o, v_now);
            v_answers := v_answers || CASE WHEN v_missing IS NOT NULL THEN ledger._refusal(i, 'NOT_PROVEN', v_missing)
                ELSE ledger._ok(i, o, ledger._settle(o, 'ABSENT', 'PROVEN_ABSENT', v_now, ledger._proof(o))) END;
        END IF;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.prove_absent(jsonb) IS
    'Items {order_id}. Ends an unknown order as NOT_PLACED if, and only if, the stored evidence proves absence.';

CREATE FUNCTION ledger.resolve_order(p_order_id bigint, p_as text, p_final_size_micros bigint, p_why text, p_operator text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    o ledger.orders;
    v_now timestamptz;
    v_kept jsonb;
    v_event text := CASE p_as WHEN 'not_placed' THEN 'ABSENT' WHEN 'cancelled' THEN 'END_CANCELLED' WHEN 'live' THEN 'SEE' END;
BEGIN
    -- Only risk may call this at all, and it mends the orders of every account.
    v_locked := ledger._lock_lanes(ARRAY[p_order_id], p_mending => true);
    o := ledger._order(p_order_id, v_locked);
    IF o.order_id IS NULL THEN
        RETURN ledger._no_order(0, p_order_id);
    ELSIF v_event IS NULL OR coalesce(p_why, '') = '' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'resolve as not_placed, cancelled or live, and say why; nothing was changed');
    ELSIF p_final_size_micros IS NOT NULL AND (p_as <> 'cancelled' OR p_final_size_micros NOT BETWEEN 0 AND o.size_micros) THEN
        RETURN ledger._refusal(0, 'BAD_SIZE', 'a final size goes with cancelled and lies within the order; nothing was changed');
    ELSIF o.state <> 'UNKNOWN' AND NOT (o.state IN ('LIVE', 'DELAYED') AND p_as = 'cancelled') THEN
        RETURN ledger._refusal(0, 'ILLEGAL_TRANSITION', format('order %s is %s; nothing was changed', o.order_id, o.state));
    ELSIF p_as = 'not_placed' AND (o.seen_at_venue OR o.traded_micros > 0) THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', 'the venue has shown this order: resolve it as cancelled or live');
    END IF;
    v_now := ledger._lane_time(o.account_id, o.market_id);
    v_kept := ledger._keep_evidence(o, 'operator', v_now, v_now, NULL, NULL, left(format('%s: %s', p_operator, p_why), 2000));
    UPDATE ledger.attempt SET outcome = 'lapsed', ended_at = v_now
    WHERE account_id = o.account_id AND order_id = o.order_id AND outcome = 'open';
    IF FOUND THEN
        PERFORM ledger._journal(o.account_id, o.market_id, v_now, 'ATTEMPT_ENDED', o.order_id, o.attempts, o.state, o.state);
    END IF;
    o.size_matched_micros := greatest(o.size_matched_micros, coalesce(p_final_size_micros, 0));
    o.seen_at_venue := o.seen_at_venue OR p_as = 'live';
    RETURN ledger._ok(0, o, ledger._settle(o, v_event, 'OPERATOR', v_now,
        v_kept || jsonb_build_object('as', p_as, 'why', left(p_why, 500), 'operator', left(p_operator, 200),
                           'matched', o.size_matched_micros)));
END $$;
