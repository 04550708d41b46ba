-- purpose: run the checks: market by market, account by account, and once for the ledger; notices of what needs a look.
-- locks:   none.
-- index:   as in the checks; check_scopes reads primary keys of exposure and the small indexes of orders and fills.
-- fence:   SECURITY DEFINER, read only, search_path ends in pg_temp: the auditor may run these and no check under them.
--          Each call is one statement, so one snapshot: rows that were written in one commit are compared as one.
-- Whole tables are compared, so a nested loop is never right, and on tables without statistics it is what the planner
-- takes: over 5,000 orders minutes instead of a second and a half.

CREATE FUNCTION audit._notice_unresolved(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), 'evidence soon after the quarantine', format('%s since %s', o.state, o.state_at)
    FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
    WHERE o.account_id = p_account_id AND o.state IN ('SENDING', 'UNKNOWN', 'DELAYED')
      AND o.state_at < ledger.clock() - 2 * make_interval(secs => a.quarantine_ms / 1000.0)
    UNION ALL
    SELECT format('order %s', r.order_id), 'trades for what is matched', format('%s matched without trades since %s',
        r.awaiting_micros, r.awaiting_since)
    FROM ledger.reservation r
    WHERE r.account_id = p_account_id AND r.phase <> 'released' AND r.awaiting_since < ledger.clock() - interval '1 minute'
    UNION ALL
    SELECT format('fill %s of order %s', f.trade_id, f.order_id), 'confirmed or failed', format('%s since %s', f.raw_status, f.matched_at)
    FROM ledger.fill f
    WHERE f.account_id = p_account_id AND f.settlement = 'provisional' AND f.matched_at < ledger.clock() - interval '1 hour'
$$;
COMMENT ON FUNCTION audit._notice_unresolved(bigint) IS 'Fates open for twice the quarantine, matched size without trades, fills long provisional.';

CREATE FUNCTION audit._notice_waiting(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('dead letter %s (%s %s)', d.dead_letter_id, d.source, d.subject), 'a retry', left(d.problem, 200)
    FROM ledger.dead_letter d WHERE d.account_id = p_account_id AND d.retried_at IS NULL
    UNION ALL
    SELECT format('order %s', s.order_id), 'bytes that can be read as an order', 'other bytes'
    FROM ledger.signed_order s WHERE s.account_id = p_account_id AND audit._json(s.body) #> '{order}' IS NULL
    UNION ALL
    SELECT format('drift %s (%s)', d.drift_id, d.subject), 'a resolution', format('%s: ours %s, theirs %s', d.kind, d.ours, d.theirs)
    FROM ledger.drift d WHERE d.account_id = p_account_id AND d.resolved_at IS NULL
$$;
COMMENT ON FUNCTION audit._notice_waiting(bigint) IS 'Dead letters, unreadable bytes and differences with the venue that wait for a person.';

CREATE FUNCTION audit._notice_times(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT x.subject, 'a time not far ahead of ' || ledger.clock(), x.at::text
    FROM (SELECT format('time of market %s', coalesce(m.slug, m.condition_id)) AS subject, e.clock_at AS at, interval '1 minute' AS ahead
          FROM ledger.exposure e JOIN ledger.market m ON m.market_id = e.market_id WHERE e.account_id = p_account_id
          UNION ALL
          SELECT format('cancel of order %s', c.order_id), c.next_at, interval '5 minutes'
          FROM ledger.cancel_request c WHERE c.account_id = p_account_id AND c.status = 'due'
          UNION ALL
          SELECT format('outbox row of order %s', b.order_id), b.not_before, interval '5 minutes'
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.status <> 'done'
          UNION ALL
          SELECT format('claim of order %s', b.order_id), b.claimed_until, interval '1 hour'
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.status <> 'done'
          UNION ALL
          SELECT format('cursor %s', c.name), c.moved_at, interval '1 minute' FROM ledger.cursor c WHERE c.account_id = p_account_id) x
    WHERE x.at > ledger.clock() + x.ahead
$$;
COMMENT ON FUNCTION audit._notice_times(bigint) IS 'Cancels, placements and claims put off for long, and times ahead of the clock.';

CREATE FUNCTION audit._notice_halts()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT trim(trailing ' ' FROM format('%s %s', h.scope, h.scope_id)), 'no halt', format('version %s: %s', h.halt_id, h.why)
    FROM ledger.halt h WHERE h.cleared_at IS NULL
$$;
COMMENT ON FUNCTION audit._notice_halts() IS 'Halts that stand.';

CREATE FUNCTION audit.check_list() RETURNS TABLE (name text, scope text, is_notice boolean, meaning text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(p.proname, '^_(check|notice)_', ''), (ARRAY['ledger', 'account', 'market'])[p.pronargs + 1],
        p.proname LIKE '\_notice\_%', obj_description(p.oid, 'pg_proc')
    FROM pg_proc p
    WHERE p.pronamespace = 'audit'::regnamespace AND p.proname ~ '^_(check|notice)_'
    ORDER BY 3, p.pronargs DESC, 1
$$;
COMMENT ON FUNCTION audit.check_list() IS 'Every check and notice, what it runs over (market, account or ledger) and what it says.';

CREATE FUNCTION audit.check_scopes() RETURNS TABLE (account_id bigint, account text, market_id bigint, market text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x.account_id, coalesce(a.name, 'account ' || x.account_id), x.market_id,
        coalesce(m.slug, m.condition_id, 'market ' || x.market_id)
    FROM (SELECT e.account_id, e.market_id FROM ledger.exposure e
          UNION SELECT o.account_id, o.market_id FROM ledger.orders o
          UNION SELECT r.account_id, r.market_id FROM ledger.reservation r
          UNION SELECT f.account_id, f.market_id FROM ledger.fill f
          UNION SELECT j.account_id, j.market_id FROM ledger.journal j WHERE j.market_id IS NOT NULL
          UNION SELECT a.account_id, NULL FROM ledger.account a
          UNION SELECT s.account_id, NULL FROM ledger.account_state s) x
    LEFT JOIN ledger.account a ON a.account_id = x.account_id
    LEFT JOIN ledger.market m ON m.market_id = x.market_id
    ORDER BY x.account_id, x.market_id NULLS LAST
$$;
COMMENT ON FUNCTION audit.check_scopes() IS 'Each account and market to check; market NULL stands for the account itself.';

CREATE FUNCTION audit.check_market(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'exposure', c.* FROM audit._check_exposure(p_account_id, p_market_id) c
    UNION ALL SELECT 'reservations', c.* FROM audit._check_reservations(p_account_id, p_market_id) c
    UNION ALL SELECT 'booked', c.* FROM audit._check_booked(p_account_id, p_market_id) c
    UNION ALL SELECT 'orders', c.* FROM audit._check_orders(p_account_id, p_market_id) c
    UNION ALL SELECT 'fills', c.* FROM audit._check_fills(p_account_id, p_market_id) c
    UNION ALL SELECT 'filled_within_size', c.* FROM audit._check_filled_within_size(p_account_id, p_market_id) c
    UNION ALL SELECT 'caps', c.* FROM audit._check_caps(p_account_id, p_market_id) c
    UNION ALL SELECT 'one_venue_order', c.* FROM audit._check_one_venue_order(p_account_id, p_market_id) c
    UNION ALL SELECT 'sent_as_intended', c.* FROM audit._check_sent_as_intended(p_account_id, p_market_id) c
    UNION ALL SELECT 'attempts', c.* FROM audit._check_attempts(p_account_id, p_market_id) c
    UNION ALL SELECT 'outbox', c.* FROM audit._check_outbox(p_account_id, p_market_id) c
    UNION ALL SELECT 'cancels', c.* FROM audit._check_cancels(p_account_id, p_market_id) c
    UNION ALL SELECT 'keys', c.* FROM audit._check_keys(p_account_id, p_market_id) c
    UNION ALL SELECT 'replacements', c.* FROM audit._check_replacements(p_account_id, p_market_id) c
    UNION ALL SELECT 'market_journal', c.* FROM audit._check_market_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'order_journal', c.* FROM audit._check_order_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'fill_journal', c.* FROM audit._check_fill_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'order_facts', c.* FROM audit._check_order_facts(p_account_id, p_market_id) c
    UNION ALL SELECT 'terms', c.* FROM audit._check_terms(p_account_id, p_market_id) c
    UNION ALL SELECT 'signed_bytes', c.* FROM audit._check_signed_bytes(p_account_id, p_market_id) c
    UNION ALL SELECT 'attempt_journal', c.* FROM audit._check_attempt_journal(p_account_id, p_market_id) c
    UNION ALL SELECT 'evidence', c.* FROM audit._check_evidence(p_account_id, p_market_id) c
    UNION ALL SELECT 'suspensions', c.* FROM audit._check_suspensions(p_account_id, p_market_id) c
    UNION ALL SELECT 'limiter', c.* FROM audit._check_limiter(p_account_id, p_market_id) c
    UNION ALL SELECT 'liquidity', c.* FROM audit._check_liquidity(p_account_id, p_market_id) c
    UNION ALL SELECT 'costs', c.* FROM audit._check_costs(p_account_id, p_market_id) c
$$;
COMMENT ON FUNCTION audit.check_market(bigint, bigint) IS 'Differences in one market of one account, in one snapshot; none if it is sound.';

CREATE FUNCTION audit.check_account(p_account_id bigint)
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'journal', c.* FROM audit._check_journal(p_account_id) c
    UNION ALL SELECT 'entries', c.* FROM audit._check_entries(p_account_id) c
    UNION ALL SELECT 'balances', c.* FROM audit._check_balances(p_account_id) c
    UNION ALL SELECT 'locked', c.* FROM audit._check_locked(p_account_id) c
    UNION ALL SELECT 'totals', c.* FROM audit._check_totals(p_account_id) c
    UNION ALL SELECT 'negative', c.* FROM audit._check_negative(p_account_id) c
    UNION ALL SELECT 'pnl', c.* FROM audit._check_pnl(p_account_id) c
    UNION ALL SELECT 'rows_of_no_order', c.* FROM audit._check_rows_of_no_order(p_account_id) c
    UNION ALL SELECT 'foreign_orders', c.* FROM audit._check_foreign_orders(p_account_id) c
    UNION ALL SELECT 'entry_journal', c.* FROM audit._check_entry_journal(p_account_id) c
    UNION ALL SELECT 'accounts', c.* FROM audit._check_accounts(p_account_id) c
    UNION ALL SELECT 'venue_modes', c.* FROM audit._check_venue_modes(p_account_id) c
    UNION ALL SELECT 'dead_letters', c.* FROM audit._check_dead_letters(p_account_id) c
    UNION ALL SELECT 'risk_totals', c.* FROM audit._check_risk_totals(p_account_id) c
    UNION ALL SELECT 'contra', c.* FROM audit._check_contra(p_account_id) c
    UNION ALL SELECT 'breakers', c.* FROM audit._check_breakers(p_account_id) c
    UNION ALL SELECT 'withdrawals', c.* FROM audit._check_withdrawals(p_account_id) c
    UNION ALL SELECT 'unresolved', c.* FROM audit._notice_unresolved(p_account_id) c
    UNION ALL SELECT 'waiting', c.* FROM audit._notice_waiting(p_account_id) c
    UNION ALL SELECT 'times', c.* FROM audit._notice_times(p_account_id) c
    UNION ALL SELECT 'open_breakers', c.* FROM audit._notice_open_breakers(p_account_id) c
$$;
COMMENT ON FUNCTION audit.check_account(bigint) IS 'Differences and notices that belong to an account as a whole, in one snapshot.';

CREATE FUNCTION audit.check_ledger()
RETURNS TABLE (name text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT 'transitions', c.* FROM audit._check_transitions() c
    UNION ALL SELECT 'venue_ids', c.* FROM audit._check_venue_ids() c
    UNION ALL SELECT 'limits', c.* FROM audit._check_limits() c
    UNION ALL SELECT 'total_limits', c.* FROM audit._check_total_limits() c
    UNION ALL SELECT 'loans', c.* FROM audit._check_loans() c
    UNION ALL SELECT 'halt_changes', c.* FROM audit._check_halt_changes() c
    UNION ALL SELECT 'archive', c.* FROM audit._check_archive() c
    UNION ALL SELECT 'guards', c.* FROM audit._check_guards() c
    UNION ALL SELECT 'halts', c.* FROM audit._notice_halts() c
$$;
COMMENT ON FUNCTION audit.check_ledger() IS 'Differences and notices that belong to no account, in one snapshot.';

CREATE FUNCTION audit.checks(p_account text DEFAULT NULL, p_market text DEFAULT NULL)
RETURNS TABLE (name text, is_notice boolean, account text, market text, subject text, expected text, found text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off
AS $$
    SELECT r.name, l.is_notice, s.account, s.market, r.subject, r.expected, r.found
    FROM audit.check_scopes() s
    CROSS JOIN LATERAL (
        SELECT c.* FROM audit.check_market(s.account_id, s.market_id) c WHERE s.market_id IS NOT NULL
        UNION ALL SELECT c.* FROM audit.check_account(s.account_id) c WHERE s.market_id IS NULL AND p_market IS NULL) r
    JOIN audit.check_list() l ON l.name = r.name
    WHERE (p_account IS NULL OR s.account = p_account)
      AND (p_market IS NULL OR s.market = p_market OR s.market_id = (
          SELECT m.market_id FROM ledger.market m WHERE m.condition_id = lower(p_market)))
    UNION ALL
    SELECT r.name, l.is_notice, NULL, NULL, r.subject, r.expected, r.found
    FROM audit.check_ledger() r JOIN audit.check_list() l ON l.name = r.name
    WHERE p_account IS NULL AND p_market IS NULL
$$;
COMMENT ON FUNCTION audit.checks(text, text) IS
    'All differences and notices at once, in one snapshot; fit for small ledgers and for one account or market.';
