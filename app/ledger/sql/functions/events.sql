-- purpose: what comes from the venue is stored before it is applied; handlers leave receipts; readers keep cursors; runs and drift.
-- locks:   none of the send path.
-- index:   primary keys, venue_event_waiting.
-- fence:   an event id is stored once; a receipt is taken once.

CREATE FUNCTION ledger.store_events(p_account text, p_events jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.venue_event (account_id, event_id, raw, received_at)
    SELECT a.account_id, x ->> 'event_id', x ->> 'raw', ledger.clock()
    FROM ledger.account a CROSS JOIN jsonb_array_elements(p_events) x
    WHERE a.name = p_account ORDER BY x ->> 'event_id' ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.store_events(text, jsonb) IS 'Items {event_id, raw}. Returns how many were new.';

CREATE FUNCTION ledger.mark_events(p_account text, p_event_ids text[], p_problem text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.venue_event v JOIN ledger.account a USING (account_id)
    WHERE a.name = p_account AND v.event_id = ANY (p_event_ids) ORDER BY v.event_id FOR UPDATE OF v;
    UPDATE ledger.venue_event v SET applied_at = CASE WHEN p_problem IS NULL THEN ledger.clock() END, problem = left(p_problem, 2000)
    FROM ledger.account a
    WHERE a.name = p_account AND v.account_id = a.account_id AND v.event_id = ANY (p_event_ids) AND v.applied_at IS NULL;
    IF p_problem IS NOT NULL THEN
        INSERT INTO ledger.dead_letter (account_id, source, subject, problem, failures, at)
        SELECT a.account_id, 'venue_event', e, left(p_problem, 2000), 1, ledger.clock()
        FROM ledger.account a CROSS JOIN unnest(p_event_ids) e
        WHERE a.name = p_account AND NOT EXISTS (
            SELECT FROM ledger.dead_letter d WHERE d.account_id = a.account_id AND d.source = 'venue_event'
            AND d.subject = e AND d.retried_at IS NULL);
    END IF;
END $$;
COMMENT ON FUNCTION ledger.mark_events(text, text[], text) IS
    'Applied, or with a problem: then they stay stored, unapplied, and a dead letter names them.';

CREATE FUNCTION ledger.waiting_events(p_account text, p_limit integer, p_older_ms integer DEFAULT 0) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('event_id', q.event_id, 'raw', q.raw) ORDER BY q.received_at, q.event_id), '[]')
    FROM (SELECT v.event_id, v.raw, v.received_at FROM ledger.venue_event v JOIN ledger.account a USING (account_id)
          WHERE a.name = p_account AND v.applied_at IS NULL AND v.problem IS NULL
            AND v.received_at <= ledger.clock() - make_interval(secs => p_older_ms / 1000.0)
          ORDER BY v.received_at, v.event_id LIMIT least(p_limit, 1000)) q
$$;

CREATE FUNCTION ledger.take_receipt(p_account text, p_consumer text, p_key text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- "Seen before" would make the caller skip its work: an account it may not use has to be an error.
    IF NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = p_account AND ledger._may_act_for(a.account_id)) THEN
        RAISE EXCEPTION 'NOT_GRANTED: there is no account % for this login; no receipt was taken', p_account USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.receipt (account_id, consumer, key, at)
    SELECT a.account_id, p_consumer, p_key, ledger.clock() FROM ledger.account a
    WHERE a.name = p_account AND ledger._may_act_for(a.account_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        -- As in _replay: what was seen may wait for its standby still, and this answer has to be as durable.
        PERFORM pg_logical_emit_message(true, 'ledger', 'receipt');
        RETURN false;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.take_receipt(text, text, text) IS
    'true the first time (consumer, key) is seen. In the caller''s transaction: its work and the receipt stand or fall together.';

CREATE FUNCTION ledger.move_cursor(p_account text, p_name text, p_position bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    INSERT INTO ledger.cursor AS c (account_id, name, position, moved_at)
    SELECT a.account_id, p_name, p_position, ledger.clock() FROM ledger.account a WHERE a.name = p_account
    ON CONFLICT (account_id, name) DO UPDATE SET position = greatest(c.position, excluded.position), moved_at = excluded.moved_at
    RETURNING position
$$;
COMMENT ON FUNCTION ledger.move_cursor(text, text, bigint) IS 'Only forward. Position 0 reads it.';

CREATE FUNCTION ledger._close_runs(p_account_id bigint, p_incarnation uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
BEGIN
    WITH gone AS (
        SELECT r.account_id, r.run_id FROM ledger.reconcile_run r
        WHERE r.ended_at IS NULL AND (p_account_id IS NULL OR r.account_id = p_account_id)
          AND CASE WHEN r.kind = 'once' OR r.incarnation = p_incarnation THEN r.started_at < v_now - interval '15 minutes'
              ELSE NOT EXISTS (SELECT FROM ledger.worker w WHERE w.incarnation = r.incarnation
                               AND w.stopped_at IS NULL AND w.alive_until > v_now) END
        FOR UPDATE SKIP LOCKED)
    UPDATE ledger.reconcile_run r SET ended_at = v_now, result = 'incomplete',
        detail = '{"reason": "whoever compared was gone before it had ended", "lapsed": true}'
    FROM gone g WHERE r.account_id = g.account_id AND r.run_id = g.run_id;
END $$;
COMMENT ON FUNCTION ledger._close_runs(bigint, uuid) IS
    'Ends comparisons that nobody will end: of workers that stopped beating, and, begun a quarter of an hour ago, of this '
    'process itself and single ones (which do not beat). Whoever comes back all the same may still say how its own ended.';

CREATE FUNCTION ledger.start_run(p_account text, p_kind text, p_incarnation uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := (SELECT a.account_id FROM ledger.account a WHERE a.name = p_account);
    v_run_id bigint;
BEGIN
    PERFORM ledger._enter();
    PERFORM ledger._close_runs(v_account_id, p_incarnation);
    INSERT INTO ledger.reconcile_run (account_id, kind, incarnation, started_at)
    SELECT v_account_id, p_kind, p_incarnation, ledger.clock() WHERE v_account_id IS NOT NULL
    RETURNING run_id INTO v_run_id;
    RETURN v_run_id;
END $$;

CREATE FUNCTION ledger.end_run(p_run_id bigint, p_result text, p_detail jsonb, p_drift jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.drift (account_id, run_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
    SELECT r.account_id, r.run_id, x ->> 'kind', x ->> 'subject', x ->> 'ours', x ->> 'theirs', x ->> 'action', ledger.clock(),
        x ->> 'drift_class', x ->> 'after', x -> 'evidence'
    FROM ledger.reconcile_run r CROSS JOIN jsonb_array_elements(p_drift) x WHERE r.run_id = p_run_id;
    UPDATE ledger.reconcile_run SET ended_at = ledger.clock(), result = p_result, detail = p_detail
    WHERE run_id = p_run_id AND (ended_at IS NULL OR detail ? 'lapsed');
END $$;
COMMENT ON FUNCTION ledger.end_run(bigint, text, jsonb, jsonb) IS
    'result clean, drift or incomplete; drift items {kind, drift_class, subject, ours, theirs, after, '
    'action, evidence}.';
