-- purpose: the market mutex and other leases: one holder at a time, with a term that grows.
-- locks:   the exposure row (mutex) or the lease row.
-- index:   primary keys.
-- fence:   the term: whoever lost the lease holds an old one and is refused by reserve_pending.

CREATE FUNCTION ledger._mutex_held(e ledger.exposure) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- Not the market's time, which may be ahead of the clock: whoever asks by another time than the holder renews by, takes
    -- what is held.
    v_clock timestamptz := ledger.clock();
BEGIN
    RETURN coalesce(e.mutex_holder IS NOT NULL AND e.mutex_until > v_clock
        -- Further ahead than it is ever held, it was taken before the clock went back. A second for small corrections.
        AND e.mutex_until <= v_clock + interval '61 seconds', false);
END $$;
COMMENT ON FUNCTION ledger._mutex_held(ledger.exposure) IS
    'Whether somebody holds the market: one judgement for who takes, renews, and reserves with or without a term.';

CREATE FUNCTION ledger.take_mutex(p_account text, p_market text, p_holder uuid, p_ttl_ms integer, p_remember boolean DEFAULT false)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint;
    v_market_id bigint := ledger._market_id(p_market);
    e ledger.exposure;
BEGIN
    PERFORM ledger._enter();
    SELECT a.account_id INTO v_account_id FROM ledger.account a WHERE a.name = p_account;
    IF v_account_id IS NULL OR v_market_id IS NULL THEN
        RETURN ledger._refusal(0, CASE WHEN v_account_id IS NULL THEN 'UNKNOWN_ACCOUNT' ELSE 'UNKNOWN_MARKET' END, 'there is none');
    ELSIF NOT ledger._may_act_for(v_account_id) THEN
        RETURN ledger._refusal(0, 'NOT_GRANTED', 'this login was not granted the account');
    ELSIF p_ttl_ms IS NULL OR p_ttl_ms NOT BETWEEN 10 AND 60000 THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a market mutex is held for 10 to 60000 ms at a time');
    END IF;
    INSERT INTO ledger.exposure (account_id, market_id, clock_at, group_key)
    SELECT v_account_id, m.market_id, ledger.clock(), m.group_key FROM ledger.market m WHERE m.market_id = v_market_id
    ON CONFLICT DO NOTHING;
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = v_account_id AND x.market_id = v_market_id FOR UPDATE;
    IF ledger._mutex_held(e) THEN
        IF p_remember AND NOT e.mutex_again THEN
            UPDATE ledger.exposure SET mutex_again = true WHERE account_id = v_account_id AND market_id = v_market_id;
        END IF;
        RETURN ledger._refusal(0, 'LOCKED', format('held until %s', e.mutex_until));
    END IF;
    UPDATE ledger.exposure SET mutex_holder = p_holder, mutex_term = e.mutex_term + 1, mutex_again = false,
        mutex_until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0)
    WHERE account_id = v_account_id AND market_id = v_market_id;
    RETURN jsonb_build_object('item', 0, 'status', 'ok', 'term', e.mutex_term + 1);
END $$;
COMMENT ON FUNCTION ledger.take_mutex(text, text, uuid, integer, boolean) IS
    'ok with the term, or LOCKED. p_remember asks the holder to run once more after it unlocks (one run, however often asked).';

CREATE FUNCTION ledger.renew_mutex(p_account text, p_market text, p_term bigint, p_ttl_ms integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    -- False means "lost"; a caller that asks wrongly has lost nothing, and must not hold on to what it does not know either.
    IF p_ttl_ms IS NULL OR p_ttl_ms NOT BETWEEN 10 AND 60000 THEN
        RAISE EXCEPTION 'BAD_REQUEST: a market mutex is held for 10 to 60000 ms at a time; nothing was renewed'
            USING ERRCODE = 'LG004', HINT = 'Give the time that take_mutex was given.';
    END IF;
    UPDATE ledger.exposure e SET mutex_until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0)
    FROM ledger.account a
    WHERE a.name = p_account AND e.account_id = a.account_id AND e.market_id = ledger._market_id(p_market)
      AND ledger._may_act_for(a.account_id)
      AND e.mutex_term = p_term AND ledger._mutex_held(e);
    RETURN FOUND;
END $$;

CREATE FUNCTION ledger.release_mutex(p_account text, p_market text, p_term bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_again boolean;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.exposure e SET mutex_holder = NULL, mutex_until = NULL, mutex_again = false
    FROM (SELECT x.account_id, x.market_id, x.mutex_again FROM ledger.exposure x JOIN ledger.account a USING (account_id)
          WHERE a.name = p_account AND x.market_id = ledger._market_id(p_market)
            AND ledger._may_act_for(a.account_id) FOR UPDATE OF x) old
    WHERE e.account_id = old.account_id AND e.market_id = old.market_id
      AND e.mutex_term = p_term AND e.mutex_holder IS NOT NULL
    RETURNING old.mutex_again INTO v_again;
    RETURN jsonb_build_object('released', v_again IS NOT NULL, 'again', coalesce(v_again, false));
END $$;
COMMENT ON FUNCTION ledger.release_mutex(text, text, bigint) IS
    'again: somebody found it locked and asked for one run after unlock.';

CREATE FUNCTION ledger.take_lease(p_name text, p_holder uuid, p_ttl_ms integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_term bigint;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.lease AS l (name, holder, term, until, ttl_ms)
    VALUES (p_name, p_holder, 1, ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0), p_ttl_ms)
    ON CONFLICT (name) DO UPDATE SET
        term = CASE WHEN l.holder = p_holder AND l.until > ledger.clock() THEN l.term ELSE l.term + 1 END,
        holder = p_holder, until = ledger.clock() + make_interval(secs => p_ttl_ms / 1000.0), ttl_ms = p_ttl_ms
    WHERE l.holder IS NULL OR l.holder = p_holder OR l.until <= ledger.clock()
    RETURNING l.term INTO v_term;
    IF v_term IS NULL THEN
        -- Further ahead than it was taken for: the clock went back. It is cut and not taken, so a holder that lives renews
        -- it and nobody else holds it meanwhile, and one that died stands in the way for one lease, not for the step.
        UPDATE ledger.lease l SET until = ledger.clock() + make_interval(secs => coalesce(l.ttl_ms, p_ttl_ms) / 1000.0)
        WHERE l.name = p_name AND l.until > ledger.clock() + make_interval(secs => coalesce(l.ttl_ms, p_ttl_ms) / 1000.0);
    END IF;
    RETURN v_term;
END $$;
COMMENT ON FUNCTION ledger.take_lease(text, uuid, integer) IS
    'Takes or renews. Returns the term, or NULL while another holds it: for one lease from now on at most, whatever the clock did.';

CREATE FUNCTION ledger.drop_leases(p_holder uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.lease SET holder = NULL, until = ledger.clock() WHERE holder = p_holder;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE FUNCTION ledger._note_clock_step(p_found_by uuid, p_lost interval, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.clock_step (last_order_id, found_at, lost_ms, found_by)
    SELECT s.last_value, p_now, ceil(extract(epoch FROM p_lost) * 1000)::bigint, p_found_by FROM ledger.order_id_seq s
    -- Found by several, or again: no intent came in between.
    ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION ledger.worker_started(
    p_incarnation uuid, p_name text, p_version text, p_lease_ms integer DEFAULT 5000) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    -- First the beats, then the clock: a beat that was committed before is not ahead of it.
    v_last timestamptz := (SELECT max(w.seen_at) FROM ledger.worker w);
    v_now timestamptz := ledger.clock();
BEGIN
    PERFORM ledger._enter();
    IF v_now < v_last THEN
        PERFORM ledger._note_clock_step(p_incarnation, v_last - v_now, v_now);
    END IF;
    INSERT INTO ledger.worker (incarnation, name, version, started_at, seen_at, not_ready_why, alive_until)
    VALUES (p_incarnation, p_name, p_version, v_now, v_now, 'starting',
            v_now + 3 * make_interval(secs => p_lease_ms / 1000.0));
    PERFORM ledger._close_runs(NULL, p_incarnation);
END $$;
COMMENT ON FUNCTION ledger.worker_started(uuid, text, text, integer) IS
    'A worker''s row, from which on it beats. Ends the comparisons of workers that do not beat any more, and notes whether '
    'the clock is behind the last beat of anybody.';

CREATE FUNCTION ledger.beat(p_incarnation uuid, p_lease_ms integer, p_last_us bigint, p_since_ms bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_now_us bigint := floor(extract(epoch FROM v_now) * 1000000)::bigint;
    v_lost interval := make_interval(secs => (p_last_us - v_now_us) / 1000000.0 + p_since_ms / 1000.0);
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.worker SET seen_at = v_now, alive_until = v_now + 3 * make_interval(secs => p_lease_ms / 1000.0)
    WHERE incarnation = p_incarnation;
    IF v_lost > interval '1 second' THEN
        PERFORM ledger._note_clock_step(p_incarnation, v_lost, v_now);
    END IF;
    RETURN jsonb_build_object('at_us', v_now_us,
        'lost_ms', CASE WHEN v_lost > interval '1 second' THEN ceil(extract(epoch FROM v_lost) * 1000)::bigint ELSE 0 END);
END $$;
COMMENT ON FUNCTION ledger.beat(uuid, integer, bigint, bigint) IS
    'A worker lives. p_last_us: what its last beat answered as at_us; p_since_ms: how much time has passed since, at least, by '
    'its monotonic clock (both NULL at first). Where the database''s clock went on by a second less than that, what was '
    'reserved is not sent any more (lost_ms > 0).';

CREATE FUNCTION ledger.worker_ready(p_incarnation uuid, p_not_ready_why text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    UPDATE ledger.worker SET ready = p_not_ready_why IS NULL, not_ready_why = p_not_ready_why, seen_at = ledger.clock()
    WHERE incarnation = p_incarnation
$$;

CREATE FUNCTION ledger._left(p_account_id bigint) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
    SELECT jsonb_build_object(
        'open', count(*) FILTER (WHERE o.state IN ('LIVE', 'DELAYED')),
        'waiting', count(*) FILTER (WHERE o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK')),
        'in_flight', coalesce((array_agg(o.order_id ORDER BY o.order_id) FILTER (WHERE o.state IN ('SENDING', 'UNKNOWN')))[1:100], '{}'),
        'cancels_due', (SELECT count(*) FROM ledger.cancel_request c WHERE c.account_id = p_account_id AND c.status = 'due'),
        'unsettled_fills', (SELECT count(*) FROM ledger.fill f WHERE f.account_id = p_account_id AND f.settlement = 'provisional'),
        'unapplied_events', (SELECT count(*) FROM ledger.venue_event v WHERE v.account_id = p_account_id AND v.applied_at IS NULL))
    FROM ledger.orders o WHERE o.account_id = p_account_id
      AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
$$;
COMMENT ON FUNCTION ledger._left(bigint) IS 'What of an account is not over; of orders whose fate is open the first hundred ids.';

CREATE FUNCTION ledger.worker_stopped(p_incarnation uuid, p_accounts text[] DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_left jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(a.name, ledger._left(a.account_id)), '{}') INTO v_left
    FROM ledger.account a WHERE a.name = ANY (p_accounts);
    UPDATE ledger.worker SET ready = false, not_ready_why = 'stopped', stopped_at = ledger.clock(), seen_at = ledger.clock(),
        left_at_stop = v_left
    WHERE incarnation = p_incarnation;
    RETURN v_left;
END $$;
COMMENT ON FUNCTION ledger.worker_stopped(uuid, text[]) IS
    'A graceful end. What the worker leaves of its accounts to whoever runs next is kept in its row, and returned.';

CREATE FUNCTION ledger._end_session(p_pid integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN pg_terminate_backend(p_pid)::integer;
EXCEPTION WHEN insufficient_privilege THEN
    -- A superuser's session is a person's to end; the others are ended all the same.
    RETURN 0;
END $$;

CREATE FUNCTION ledger._locks_rows(p_pid integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_locks k JOIN pg_class c ON c.oid = k.relation JOIN pg_namespace n ON n.oid = c.relnamespace
        -- Databases that were copied from one another have the same numbers.
        WHERE k.pid = p_pid AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND n.nspname = 'ledger' AND k.granted
          AND k.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'));
END $$;
COMMENT ON FUNCTION ledger._locks_rows(integer) IS 'Whether a session may have locked rows of the ledger, so that others wait for it.';

CREATE FUNCTION ledger._strangers_before(p_pid integer) RETURNS integer[]
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN array(SELECT b.pid FROM unnest(pg_blocking_pids(p_pid)) b (pid) WHERE NOT ledger._locks_rows(b.pid));
END $$;
COMMENT ON FUNCTION ledger._strangers_before(integer) IS
    'Sessions that a session waits for and that have no row of the ledger locked. Asked twice: one that committed between the look '
    'at who blocks and the look at what it has locked is no stranger, and blocks nobody the second time.';

CREATE FUNCTION ledger.end_lock_holders(p_longer_than_ms integer DEFAULT 500) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_bound interval := make_interval(secs => p_longer_than_ms / 1000.0);
    s record;
    v_count integer := 0;
BEGIN
    -- A trader's session that sits in a transaction with a ledger row locked would stop everybody else. No time-out of its role
    -- or session is relied on: it can change each of its own.
    FOR s IN SELECT q.pid, q.state LIKE 'idle in transaction%'
            OR q.xact_start < clock_timestamp() - greatest(10 * v_bound, interval '5 seconds')
            OR q.wait_event_type IN ('Timeout', 'Client', 'Extension')
            OR q.wait_event_type = 'Lock' AND q.wait_event NOT IN ('transactionid', 'tuple')
            OR q.wait_event_type IS DISTINCT FROM 'Lock' AND EXISTS (SELECT FROM pg_locks w WHERE w.locktype = 'transactionid'
                AND NOT w.granted AND w.transactionid = q.backend_xid AND w.waitstart < clock_timestamp() - v_bound) AS sits
        FROM pg_stat_activity q
        WHERE q.datname = current_database() AND q.pid <> pg_backend_pid()
          -- A commit that waits for its standby holds its locks until then: ended, its row would stand here and nowhere else.
          AND q.wait_event IS DISTINCT FROM 'SyncRep'
          AND (q.state LIKE 'idle in transaction%' AND q.state_change < clock_timestamp() - v_bound
               -- A trader may also sit on a lock while busy (pg_sleep, an advisory lock of its own second session). What computes,
               -- reads or writes just now may have stood in the queue for most of its time: it is judged by how long others have
               -- waited for it, and not for whom it waited for.
               OR q.state = 'active' AND q.xact_start < clock_timestamp() - v_bound
                  AND NOT pg_has_role(q.usesysid, '${role_worker}', 'MEMBER'))
          AND ledger._locks_rows(q.pid)
    LOOP
        -- Every writer waits for a row now and then. It is left alone, not for ever, where everybody it waits for has rows of the
        -- ledger locked and so is judged here too, link by link to the head of the queue; what else it waits for (a row of a
        -- catalog, say, that its second session has written) nobody would end.
        IF coalesce(s.sits, false) OR ledger._strangers_before(s.pid) && ledger._strangers_before(s.pid) THEN
            v_count := v_count + ledger._end_session(s.pid);
        END IF;
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.end_lock_holders(integer) IS
    'Ends who sits on rows of the ledger: idle in a transaction, or a trader''s that is busy with something else or waits for '
    'something else; and a trader''s that is ten times as old (5 s at least), whatever it waits for.';
