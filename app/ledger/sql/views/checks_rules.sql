-- purpose: hold what stops and limits trading against its history: limits, halts, suspensions, the burst limiter, accounts,
--          grants, what left the journal, and the guards that keep rows from being changed.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   orders_of_market, journal_of_market, limits and halt by primary key; the catalog for the guards.
-- fence:   as checks_orders.sql. Whoever suspends a market journals why and until, and stores event and why together:
--          the check of suspensions knows any such event.

CREATE FUNCTION audit._check_suspensions(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT 'suspension', coalesce(x.text, 'none, for the journal knows of none'), coalesce(f.text, 'none')
    FROM (SELECT p_account_id AS account_id) p
    LEFT JOIN LATERAL (
        SELECT format('%s %s until %s', j.event, j.detail ->> 'why', audit._time(j.detail ->> 'until')) AS text
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.order_id IS NULL
          -- A breaker that opened stands in a row of its own.
          AND j.event <> 'BREAKER_OPENED' AND j.detail ? 'why' AND j.detail ? 'until'
        ORDER BY j.market_seq DESC LIMIT 1) x ON true
    LEFT JOIN LATERAL (
        SELECT format('%s until %s', e.suspended_why, e.suspended_until) AS text, e.suspended_until AS until FROM ledger.exposure e
        WHERE e.account_id = p_account_id AND e.market_id = p_market_id
          AND (e.suspended_until IS NOT NULL OR e.suspended_why IS NOT NULL)) f ON true
    WHERE x.text IS DISTINCT FROM f.text AND NOT (x.text IS NULL AND audit._archived_between(NULL, f.until))
$$;
COMMENT ON FUNCTION audit._check_suspensions(bigint, bigint) IS
    'The market is suspended until when, and for what, its latest suspension in the journal says.';

CREATE FUNCTION audit._check_limiter(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH e AS MATERIALIZED (
        SELECT q.admitted_at, q.last_admitted_at AS last, q.last_set_id FROM ledger.exposure q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id),
    sells AS (
        -- Sales may count where the limit ever said so; when it said so is not worth retracing.
        SELECT EXISTS (SELECT FROM ledger.limits l WHERE l.burst_counts_sells)
            OR EXISTS (SELECT FROM ledger.limit_change c WHERE c.name = 'burst_counts_sells' AND 'true' IN (c.before, c.after)) AS may),
    asked AS MATERIALIZED (
        SELECT a.at, a.set_id, a.side = 'BUY' AS must FROM (
            SELECT r.created_at AS at, o.set_id, o.side FROM ledger.orders o
            JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
            WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.replaces_order_id IS NULL
            UNION ALL
            -- A replacement counts when it is asked for, whatever becomes of it.
            SELECT q.asked_at, NULL, o.side FROM ledger.replacement q
            JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
            WHERE q.account_id = p_account_id AND o.market_id = p_market_id) a
        WHERE a.side = 'BUY' OR (SELECT sells.may FROM sells)),
    changed AS (
        -- The limit decides whether times are kept at all. Where it was changed since, either is right.
        SELECT EXISTS (SELECT FROM ledger.limit_change c WHERE c.name = 'burst_per_minute'
            AND c.account_id IN (0, p_account_id) AND c.market_id IN (0, p_market_id)
            AND c.changed_at > e.last - interval '70 seconds') AS recently,
            (SELECT l.burst_per_minute FROM audit.limits l
             WHERE l.account_id = p_account_id AND l.market_id = p_market_id) AS per_minute
        FROM e),
    times AS (
        SELECT t.at, count(*) FILTER (WHERE t.kept) AS found, count(*) FILTER (WHERE t.must) AS must,
            count(*) FILTER (WHERE NOT t.kept) AS may
        FROM (SELECT u.at, true AS kept, false AS must FROM e CROSS JOIN LATERAL unnest(e.admitted_at) u (at)
              UNION ALL SELECT a.at, false, a.must FROM asked a JOIN e ON a.at > e.last - interval '1 minute') t
        GROUP BY t.at)
    SELECT 'last_admitted_at', coalesce(m.last::text, 'nothing admitted'), coalesce(e.last::text, 'nothing admitted')
    FROM (SELECT max(a.at) FILTER (WHERE a.must) AS last, count(*) AS n FROM asked a) m
    LEFT JOIN e ON true
    WHERE e.last IS DISTINCT FROM m.last
      AND NOT coalesce((m.last IS NULL OR e.last >= m.last) AND EXISTS (SELECT FROM asked a WHERE a.at = e.last), false)
    UNION ALL
    SELECT 'last_set_id', 'the set of an order of that time', coalesce(e.last_set_id::text, 'none')
    FROM e WHERE (e.last IS NOT NULL OR e.last_set_id IS NOT NULL) AND NOT EXISTS (
        SELECT FROM asked a WHERE a.at = e.last AND a.set_id IS NOT DISTINCT FROM e.last_set_id)
    UNION ALL
    SELECT format('admitted at %s', t.at), format('counted %s times', CASE WHEN t.found < t.must THEN t.must ELSE t.may END),
        t.found::text
    FROM times t CROSS JOIN changed c
    WHERE t.found > t.may
       OR t.found < t.must AND c.per_minute IS NOT NULL AND NOT c.recently AND (SELECT sum(q.may) FROM times q) < 600
    UNION ALL
    SELECT 'admitted_at', 'no times while there is no limit', format('%s times', cardinality(e.admitted_at))
    FROM e CROSS JOIN changed c WHERE c.per_minute IS NULL AND NOT c.recently AND cardinality(e.admitted_at) > 0
$$;
COMMENT ON FUNCTION audit._check_limiter(bigint, bigint) IS
    'What the burst limiter remembers are the orders and replacements that were admitted in its minute.';

CREATE FUNCTION audit._check_accounts(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.actor, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('ACCOUNT_OPENED', 'SIGNS_AS', 'GRANTED', 'REVOKED')),
    signs AS (
        SELECT j.detail FROM j WHERE j.event IN ('ACCOUNT_OPENED', 'SIGNS_AS') ORDER BY j.seq DESC LIMIT 1)
    SELECT v.what, coalesce(v.expected, 'none'), coalesce(v.found, 'none')
    FROM (SELECT p_account_id AS account_id) p
    LEFT JOIN ledger.account a ON a.account_id = p.account_id
    LEFT JOIN j ON j.event = 'ACCOUNT_OPENED' LEFT JOIN signs s ON true
    CROSS JOIN LATERAL (VALUES
        ('opened', j.at::text, a.created_at::text), ('name', j.detail ->> 'name', a.name),
        ('venue', j.detail ->> 'venue', a.venue), ('quarantine_ms', j.detail ->> 'quarantine_ms', a.quarantine_ms::text),
        ('signature type', j.detail ->> 'signature_type', a.signature_type::text),
        ('maker', s.detail ->> 'maker', a.maker), ('signer', s.detail ->> 'signer', a.signer)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found
      AND NOT ((j.seq IS NULL OR v.what IN ('maker', 'signer')) AND audit._archived_between(a.created_at, NULL))
    UNION ALL
    -- Only what stands: a grant that was taken away opens nothing.
    SELECT 'grant to ' || g.role_name, 'none, for the journal knows of none', format('granted by %s at %s', g.granted_by, g.granted_at)
    FROM ledger.account_grant g
    WHERE g.account_id = p_account_id AND NOT EXISTS (
        SELECT FROM j WHERE j.event = 'GRANTED' AND j.detail ->> 'role' = g.role_name AND j.at = g.granted_at AND j.actor = g.granted_by
          -- And was not taken away since: what stands again without a word was put back by hand.
          AND NOT EXISTS (SELECT FROM j r WHERE r.event = 'REVOKED' AND r.seq > j.seq AND r.detail ->> 'role' = g.role_name))
      AND NOT audit._archived_between(g.granted_at, g.granted_at)
$$;
COMMENT ON FUNCTION audit._check_accounts(bigint) IS
    'The account is what the journal says was opened and signs; no login has a grant that the journal does not know.';

CREATE FUNCTION audit._check_venue_modes(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.detail ->> 'mode' AS mode FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('VENUE_MODE_BEGAN', 'VENUE_MODE_ENDED')),
    began AS (SELECT DISTINCT ON (j.mode) j.mode, j.seq, j.at FROM j WHERE j.event = 'VENUE_MODE_BEGAN' ORDER BY j.mode, j.seq DESC)
    SELECT coalesce(b.mode, m.mode), CASE WHEN b.mode IS NULL THEN 'never seen, by the journal'
            ELSE format('since %s, ended at %s', b.at, coalesce(e.at::text, 'no time')) END,
        CASE WHEN m.mode IS NULL THEN 'forgotten' ELSE format('since %s, ended at %s', m.since, coalesce(m.ended_at::text, 'no time')) END
    FROM began b
    LEFT JOIN LATERAL (SELECT min(j.at) AS at FROM j WHERE j.mode = b.mode AND j.event = 'VENUE_MODE_ENDED' AND j.seq > b.seq) e ON true
    FULL JOIN (SELECT q.* FROM ledger.venue_mode q WHERE q.account_id = p_account_id) m ON m.mode = b.mode
    WHERE (b.at, e.at) IS DISTINCT FROM (m.since, m.ended_at)
      AND NOT audit._archived_between(coalesce(m.since, b.at), NULL)
$$;
COMMENT ON FUNCTION audit._check_venue_modes(bigint) IS 'Each mode of the venue began and ended when the journal says.';

CREATE FUNCTION audit._check_dead_letters(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s %s', x.source, x.subject), 'a dead letter that waits', 'none'
    FROM (SELECT 'outbox' AS source, b.order_id::text AS subject FROM ledger.outbox b
          WHERE b.account_id = p_account_id AND b.status = 'dead'
          UNION ALL SELECT 'venue_event', e.event_id FROM ledger.venue_event e
          WHERE e.account_id = p_account_id AND e.applied_at IS NULL AND e.problem IS NOT NULL) x
    WHERE NOT EXISTS (SELECT FROM ledger.dead_letter d WHERE d.account_id = p_account_id AND d.source = x.source
                      AND d.subject = x.subject AND d.retried_at IS NULL)
    UNION ALL
    SELECT format('run %s', r.run_id), 'the differences it found', 'none'
    FROM ledger.reconcile_run r WHERE r.account_id = p_account_id AND r.result = 'drift'
      AND NOT EXISTS (SELECT FROM ledger.drift d WHERE d.account_id = r.account_id AND d.run_id = r.run_id)
    UNION ALL
    SELECT format('drift %s', d.drift_id), 'the run that found it', 'no run ' || d.run_id
    FROM ledger.drift d WHERE d.account_id = p_account_id AND d.run_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM ledger.reconcile_run r WHERE r.account_id = d.account_id AND r.run_id = d.run_id)
$$;
COMMENT ON FUNCTION audit._check_dead_letters(bigint) IS
    'What could not be handled waits as a dead letter, and a comparison that found drift has its differences.';

CREATE FUNCTION audit._check_limits()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH begin (name, value) AS (VALUES
        -- What a new ledger starts with; at every other level nothing is set.
        ('max_outcome_micros', '100000000'), ('max_market_micros', '200000000'), ('burst_per_minute', '6'),
        ('burst_gap_ms', '2000'), ('burst_counts_sells', 'false'), ('book_age_ms', '30000'), ('self_match_allowed', 'false'),
        ('duplicate_window_ms', '1000'), ('duplicate_refused', 'false'), ('weekend_allowed', 'true'), ('breaker_rejects', '3'),
        ('breaker_cancels', '3'), ('slow_ms', '2000'), ('stop_ms', '5000')),
    changes AS MATERIALIZED (
        SELECT c.account_id, c.market_id, c.name, c.change_id, c.before, c.after,
            CASE WHEN lag(c.change_id) OVER w IS NULL THEN CASE WHEN c.account_id = 0 AND c.market_id = 0 THEN b.value END
                 ELSE lag(c.after) OVER w END AS previous,
            lead(c.change_id) OVER w IS NULL AS is_last
        FROM ledger.limit_change c LEFT JOIN begin b ON b.name = c.name
        WHERE c.scope = ''
        WINDOW w AS (PARTITION BY c.account_id, c.market_id, c.name ORDER BY c.change_id)),
    stands AS (
        SELECT l.account_id, l.market_id, v.key AS name, v.value FROM ledger.limits l
        CROSS JOIN LATERAL jsonb_each_text(to_jsonb(l) - 'account_id' - 'market_id') v),
    wanted AS (
        SELECT c.account_id, c.market_id, c.name, c.after AS value FROM changes c WHERE c.is_last
        UNION ALL
        SELECT 0, 0, b.name, b.value FROM begin b
        WHERE NOT EXISTS (SELECT FROM changes c WHERE c.account_id = 0 AND c.market_id = 0 AND c.name = b.name)),
    wrong AS (
        SELECT coalesce(w.account_id, s.account_id) AS account_id, coalesce(w.market_id, s.market_id) AS market_id,
            coalesce(w.name, s.name) AS what, coalesce(w.value, 'not set') AS expected, coalesce(s.value, 'not set') AS found
        FROM wanted w FULL JOIN stands s ON s.account_id = w.account_id AND s.market_id = w.market_id AND s.name = w.name
        WHERE w.value IS DISTINCT FROM s.value
        UNION ALL
        SELECT c.account_id, c.market_id, format('%s, change %s', c.name, c.change_id),
            'from ' || coalesce(c.previous, 'not set'), 'from ' || coalesce(c.before, 'not set')
        FROM changes c WHERE c.previous IS DISTINCT FROM c.before)
    SELECT format('%s, %s: %s', CASE x.account_id WHEN 0 THEN 'all accounts' ELSE coalesce(a.name, 'account ' || x.account_id) END,
        CASE x.market_id WHEN 0 THEN 'all markets' ELSE coalesce(m.slug, m.condition_id, 'market ' || x.market_id) END, x.what),
        x.expected, x.found
    FROM wrong x
    LEFT JOIN ledger.account a ON a.account_id = x.account_id
    LEFT JOIN ledger.market m ON m.market_id = x.market_id
$$;
COMMENT ON FUNCTION audit._check_limits() IS
    'Each limit is what its last change made of it, or what a new ledger starts with; each change began where the last one ended.';

CREATE FUNCTION audit._check_halt_changes()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH h AS MATERIALIZED (
        SELECT q.halt_id, v.change, format('%s of %s by %s (%s) at %s: %s', v.change,
            trim(trailing ' ' FROM format('%s %s', q.scope, q.scope_id)), v.changed_by, v.changed_as, v.changed_at, v.why) AS text
        FROM ledger.halt q CROSS JOIN LATERAL (VALUES
            ('set', q.set_by, q.set_as, q.set_at, q.why),
            ('cleared', q.cleared_by, q.cleared_as, q.cleared_at, q.cleared_why)) v (change, changed_by, changed_as, changed_at, why)
        WHERE v.changed_at IS NOT NULL),
    c AS MATERIALIZED (
        SELECT q.halt_id, q.change, format('%s of %s by %s (%s) at %s: %s', q.change,
            trim(trailing ' ' FROM format('%s %s', q.scope, q.scope_id)), q.changed_by, q.changed_as, q.changed_at, q.why) AS text,
            count(*) OVER (PARTITION BY q.halt_id, q.change) AS n
        FROM ledger.halt_change q)
    SELECT format('halt %s', coalesce(c.halt_id, h.halt_id)),
        coalesce(c.text, format('not %s, for no change of it is known', h.change)), coalesce(h.text, format('not %s', c.change))
    FROM c FULL JOIN h ON h.halt_id = c.halt_id AND h.change = c.change
    WHERE c.text IS DISTINCT FROM h.text
    UNION ALL
    SELECT DISTINCT format('halt %s', c.halt_id), format('%s once', c.change), format('%s times', c.n) FROM c WHERE c.n > 1
$$;
COMMENT ON FUNCTION audit._check_halt_changes() IS
    'Each halt was set and cleared by a change that is still known, and none was set, changed, cleared or deleted otherwise.';

CREATE FUNCTION audit._check_archive()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET datestyle = 'ISO'
AS $$
DECLARE
    p ledger.archived_partition;
    v_count bigint;
    v_digest bytea;
BEGIN
    RETURN QUERY
        SELECT 'the journal of all accounts', format('%s rows, %s archived', q.made - q.gone, q.gone), format('%s rows', q.here)
        FROM (SELECT (SELECT coalesce(sum(s.journal_seq), 0) FROM ledger.account_state s) AS made,
                     (SELECT coalesce(sum(a.row_count), 0) FROM ledger.archived_partition a) AS gone,
                     (SELECT count(*) FROM ledger.journal j) AS here) q
        WHERE q.here <> q.made - q.gone;
    FOR p IN SELECT * FROM ledger.archived_partition LOOP
        IF p.partition_name !~ '^journal_[0-9]{4}_[0-9]{2}$' OR p.row_count > 0 AND (p.first_at IS NULL OR p.last_at IS NULL
            OR to_char(p.first_at, '"journal_"YYYY_MM') <> p.partition_name OR to_char(p.last_at, '"journal_"YYYY_MM') <> p.partition_name) THEN
            RETURN QUERY SELECT p.partition_name, 'rows of that month'::text, format('%s rows from %s to %s', p.row_count, p.first_at, p.last_at);
        ELSIF to_regclass('ledger.' || p.partition_name) IS NOT NULL THEN
            -- Its owner has not dropped it yet: it must be what was recorded.
            EXECUTE format($q$ SELECT count(*), sha256(convert_to(coalesce(string_agg(j::text, E'\n' ORDER BY account_id, seq), ''), 'UTF8'))
                FROM ledger.%I j $q$, p.partition_name) INTO v_count, v_digest;
            IF v_count <> p.row_count OR v_digest <> p.digest THEN
                RETURN QUERY SELECT p.partition_name, format('%s rows with the digest %s', p.row_count, encode(p.digest, 'hex')),
                    format('%s rows with the digest %s', v_count, encode(v_digest, 'hex'));
            END IF;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION audit._check_archive() IS
    'What the journal once held and holds no longer was archived, row for row, and what was archived and is still here is unchanged.';

CREATE FUNCTION audit._check_guards()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH guard (what, table_name, name) AS (VALUES
        ('trigger', 'journal', 'journal_append_only'), ('trigger', 'journal', 'journal_no_truncate'),
        ('trigger', 'balance_entry', 'balance_entry_append_only'), ('trigger', 'balance_entry', 'balance_entry_no_truncate'),
        ('trigger', 'limit_change', 'limit_change_append_only'), ('trigger', 'halt_change', 'halt_change_append_only'),
        ('trigger', 'signed_order', 'signed_order_append_only'), ('trigger', 'account', 'account_is_fixed'),
        ('trigger', 'orders', 'order_moves_legally'),
        ('index', 'orders', 'orders_by_venue_id'), ('index', 'attempt', 'attempt_one_open'),
        ('index', 'replacement', 'replacement_waiting'), ('constraint', 'orders', 'sent_orders_have_an_id'),
        ('constraint', 'orders', 'post_only_rests'), ('constraint', 'orders', 'gtd_expires'))
    SELECT format('%s of %s', g.name, g.table_name), 'the ' || g.what, 'none'
    FROM guard g
    WHERE NOT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'ledger' AND c.relname = g.table_name
        AND CASE g.what
            WHEN 'trigger' THEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = g.name)
            WHEN 'index' THEN EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND x.relname = g.name AND i.indisunique AND i.indisvalid)
            ELSE EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = g.name) END)
    UNION ALL
    -- Those of foreign keys too: a check that was switched off lets in what was never there.
    SELECT format('%s of %s', t.tgname, c.relname), 'a trigger that fires', 'it is switched off'
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND t.tgenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT format('%s of %s', k.conname, c.relname), 'a constraint that was checked', 'it was not'
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND NOT k.convalidated
    UNION ALL
    SELECT format('%s of journal', c.relname), 'a trigger that refuses TRUNCATE', 'none'
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ledger.journal'::regclass AND NOT EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = c.relname || '_no_truncate')
$$;
COMMENT ON FUNCTION audit._check_guards() IS
    'Triggers, unique indexes and constraints that keep rows as they are stand, and none is switched off.';
