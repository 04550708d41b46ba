-- purpose: what keeps dead rows alive: the oldest transaction whose snapshot still needs them, and idle ones that are ended.
-- locks:   none.
-- index:   none; the server's own lists.
-- fence:   none; ends only idle sessions of the ledger's own roles, whose work is rolled back.

CREATE FUNCTION ledger.horizon() RETURNS TABLE (
    kind text, subject text, login text, application text, state text, transactions bigint, age_ms bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    -- Real time, since it is the server's: ledger.clock() is of limits and leases.
    SELECT q.kind, q.subject, q.login, q.application, q.state, q.transactions,
        greatest(floor(extract(epoch FROM clock_timestamp() - q.since) * 1000), 0)::bigint
    FROM (
        SELECT 'session', s.pid::text, s.usename::text, s.application_name, s.state,
            greatest(age(s.backend_xmin), age(s.backend_xid))::bigint, coalesce(s.xact_start, s.backend_start)
        FROM pg_stat_activity s
        WHERE s.pid <> pg_backend_pid() AND (s.backend_xmin IS NOT NULL OR s.backend_xid IS NOT NULL)
          -- A standby that reports its own oldest snapshot belongs to no database.
          AND (s.datname = current_database() OR s.datname IS NULL)
          -- A vacuum holds back no other vacuum.
          AND s.backend_type <> 'autovacuum worker' AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = s.pid)
        UNION ALL
        SELECT 'prepared transaction', p.gid, p.owner::text, '', 'prepared', age(p.transaction)::bigint, p.prepared
        FROM pg_prepared_xacts p WHERE p.database = current_database()
        UNION ALL
        SELECT 'replication slot', r.slot_name::text, '', coalesce(r.plugin::text, ''), CASE WHEN r.active THEN 'active' ELSE 'inactive' END,
            age(r.xmin)::bigint, NULL
        FROM pg_replication_slots r WHERE r.xmin IS NOT NULL) q (kind, subject, login, application, state, transactions, since)
    ORDER BY q.transactions DESC, q.since LIMIT 1
$$;
COMMENT ON FUNCTION ledger.horizon() IS
    'Whose snapshot is the oldest, how many transactions and how long ago it was taken (no age for a slot); no row where nobody '
    'has one. Rows that were dead by then cannot be removed, and every queue grows slower.';

CREATE FUNCTION ledger.end_idle_transactions(p_longer_than_ms integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_pid integer;
    v_count integer := 0;
BEGIN
    -- The roles have a time-out of their own, but a login that is only their member does not inherit it.
    FOR v_pid IN SELECT s.pid FROM pg_stat_activity s
    WHERE s.datname = current_database() AND s.pid <> pg_backend_pid() AND s.state LIKE 'idle in transaction%'
      AND s.state_change < clock_timestamp() - make_interval(secs => p_longer_than_ms / 1000.0)
      AND EXISTS (SELECT FROM unnest(ARRAY['${role_worker}', '${role_trader}', '${role_risk}', '${role_auditor}']) r (name)
                  WHERE pg_has_role(s.usesysid, r.name, 'MEMBER'))
    LOOP
        v_count := v_count + ledger._end_session(v_pid);
    END LOOP;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.end_idle_transactions(integer) IS
    'Ends sessions of the ledger''s roles that sit in a transaction and do nothing. One that commits is not idle.';
