-- purpose: what trading has brought, marked by the book each minute; halts on daily and rolling loss; smaller sizes in a drawdown.
-- locks:   one row of loss_watch (SKIP LOCKED: a second sweep goes home), then marks; account_state rows last, with SKIP LOCKED:
--          a halt must not wait behind whoever sits on a hot row.
-- index:   exposure_open_positions, equity_mark by primary key and equity_mark_highest, book and limits by primary key.
-- fence:   a mark is written once per account and minute; a loss that was told halts again only when it has grown by the limit.
-- What is read grows with open positions and the marks of a day, not with history: closed lanes are in account_state.traded_net.

CREATE FUNCTION ledger._equities() RETURNS TABLE (
    account_id bigint, realised bigint, unrealised bigint, fees bigint, stale integer)
LANGUAGE plpgsql VOLATILE
-- The planner takes two arrays for hardly ever equal and would read every lane there ever was.
SET enable_seqscan = off
AS $$
DECLARE
    v_clock timestamptz := ledger.clock();
BEGIN
    -- One statement, so one snapshot: what moved between two lanes or accounts is counted once.
    RETURN QUERY
    SELECT s.account_id, (s.traded_net + coalesce(sum(q.basis), 0))::bigint, coalesce(sum(q.value - q.basis), 0)::bigint,
        coalesce((SELECT c.amount FROM ledger.contra_balance c
                  WHERE c.account_id = s.account_id AND c.asset = 'collateral' AND c.contra = 'fees'), 0),
        (count(DISTINCT q.market_id) FILTER (WHERE q.stale))::integer
    FROM ledger.account_state s LEFT JOIN LATERAL (
        SELECT e.market_id, e.basis[i.n] AS basis,
            coalesce(floor((e.bought[i.n] - e.sold[i.n])::numeric * b.mark_micros / 1000000)::bigint, e.basis[i.n]) AS value,
            coalesce(b.at <= v_clock - make_interval(secs => l.book_age_ms / 1000.0) OR b.bids = '{}' OR b.asks = '{}', true) AS stale
        FROM ledger.exposure e CROSS JOIN (VALUES (1), (2)) i (n)
        CROSS JOIN LATERAL ledger._effective_limits(e.account_id, e.market_id) l
        LEFT JOIN ledger.book b ON b.market_id = e.market_id AND b.outcome = i.n - 1
        WHERE e.account_id = s.account_id AND e.bought <> e.sold AND e.bought[i.n] <> e.sold[i.n]) q ON true
    GROUP BY s.account_id, s.traded_net
    ORDER BY s.account_id;
END $$;
COMMENT ON FUNCTION ledger._equities() IS
    'Each account''s profit so far: realised, and unrealised by what the last good book says a share is worth (mark_micros), at cost where '
    'there is none. stale: markets whose book is old or has not both sides.';

CREATE FUNCTION ledger._mark_account(
    p_account_id bigint, p_realised bigint, p_unrealised bigint, p_fees bigint, p_stale integer, p_now timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_midnight timestamptz := date_trunc('day', p_now, 'UTC');
    v_last ledger.equity_mark;
    v_found integer := 0;
BEGIN
    -- The midnight of a day that has not come was written before the clock went back: it would stand as that day's opening.
    DELETE FROM ledger.equity_mark x
    WHERE x.account_id = p_account_id AND x.at > p_now AND x.at = date_trunc('day', x.at, 'UTC');
    IF NOT EXISTS (SELECT FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at = v_midnight) THEN
        SELECT * INTO v_last FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at < v_midnight ORDER BY x.at DESC LIMIT 1;
        IF p_now >= v_midnight + interval '2 minutes' AND NOT FOUND AND EXISTS (
            SELECT FROM ledger.account a WHERE a.account_id = p_account_id AND a.created_at > v_midnight) THEN
            -- It was opened today: it began with nothing, whatever it has lost before anybody looked.
            v_last := ROW(p_account_id, v_midnight, 0, 0, 0, 0, 0);
        ELSIF p_now < v_midnight + interval '2 minutes' OR v_last.account_id IS NULL THEN
            v_last := ROW(p_account_id, v_midnight, p_realised + p_unrealised, p_realised, p_unrealised, p_fees, p_stale);
        END IF;
        -- Nobody looked at midnight: what was seen last before it stands, so that a night without a worker hides no loss.
        v_last.at := v_midnight;
        INSERT INTO ledger.equity_mark SELECT v_last.*;
        PERFORM ledger._prune_marks(p_account_id, p_now);
        v_found := 1;
    END IF;
    SELECT * INTO v_last FROM ledger.equity_mark x WHERE x.account_id = p_account_id AND x.at <= p_now ORDER BY x.at DESC LIMIT 1;
    IF (v_last.equity_micros, v_last.realised_micros, v_last.fees_micros, v_last.stale_markets)
       IS DISTINCT FROM (p_realised + p_unrealised, p_realised, p_fees, p_stale) THEN
        INSERT INTO ledger.equity_mark (account_id, at, equity_micros, realised_micros, unrealised_micros, fees_micros, stale_markets)
        VALUES (p_account_id, date_trunc('minute', p_now, 'UTC'), p_realised + p_unrealised, p_realised, p_unrealised, p_fees, p_stale)
        ON CONFLICT DO NOTHING;
        v_found := v_found + FOUND::integer;
    END IF;
    RETURN v_found;
END $$;
COMMENT ON FUNCTION ledger._mark_account(bigint, bigint, bigint, bigint, integer, timestamptz) IS
    'Writes the mark of this minute, unless it is there or nothing has changed since the last, and that of midnight. The first '
    'mark of a minute stands, also if the clock steps back into it.';

CREATE FUNCTION ledger._prune_marks(p_account_id bigint, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_days integer := coalesce((SELECT s.value::integer FROM ledger.setting s
        WHERE s.name = 'keep_equity_minutes_days' AND s.value ~ '^[0-9]{1,5}$'), 7);
    -- Two days at least: the rolling loss looks at the last one.
    v_before timestamptz := p_now - make_interval(days => greatest(v_days, 2));
BEGIN
    IF p_account_id IS NULL THEN
        DELETE FROM ledger.total_mark x WHERE x.at < v_before AND x.at <> date_trunc('day', x.at, 'UTC');
    ELSE
        DELETE FROM ledger.equity_mark x
        WHERE x.account_id = p_account_id AND x.at < v_before AND x.at <> date_trunc('day', x.at, 'UTC');
    END IF;
END $$;
COMMENT ON FUNCTION ledger._prune_marks(bigint, timestamptz) IS 'Once a day: of days long past only midnight is kept. NULL: of the sums.';

CREATE FUNCTION ledger._rolling_peak(p_account_id bigint, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_peak bigint;
BEGIN
    -- Also what stood when the 24 hours began; also marks ahead of the clock, which has stepped back since.
    IF p_account_id IS NULL THEN
        SELECT max(x.equity_micros) INTO v_peak FROM ledger.total_mark x
        WHERE x.at BETWEEN coalesce((SELECT max(y.at) FROM ledger.total_mark y WHERE y.at <= p_now - interval '24 hours'), '-infinity')
          AND p_now + interval '24 hours';
    ELSE
        SELECT max(x.equity_micros) INTO v_peak FROM ledger.equity_mark x
        WHERE x.account_id = p_account_id
          AND x.at BETWEEN coalesce((SELECT max(y.at) FROM ledger.equity_mark y
                                     WHERE y.account_id = p_account_id AND y.at <= p_now - interval '24 hours'), '-infinity')
          AND p_now + interval '24 hours';
    END IF;
    RETURN v_peak;
END $$;
COMMENT ON FUNCTION ledger._rolling_peak(bigint, timestamptz) IS 'The highest equity of the last 24 hours; account NULL: of all together.';

CREATE FUNCTION ledger._watch_loss(
    p_scope text, p_scope_id text, p_kind text, p_loss bigint, p_limit bigint, p_since timestamptz, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_told bigint;
    v_standing boolean;
BEGIN
    IF p_limit IS NULL OR p_loss <= p_limit THEN
        RETURN false;
    END IF;
    SELECT w.told_micros INTO v_told FROM ledger.loss_watch w
    WHERE w.scope = p_scope AND w.scope_id = p_scope_id AND w.kind = p_kind AND w.told_at >= p_since;
    v_standing := EXISTS (SELECT FROM ledger.halt h WHERE h.scope = p_scope AND h.scope_id = p_scope_id AND h.cleared_at IS NULL
                          AND h.set_as = 'ledger' AND split_part(h.why, ':', 1) = p_kind);
    IF (CASE WHEN v_standing THEN p_loss <= v_told ELSE p_loss <= v_told + p_limit END) THEN
        RETURN false;
    END IF;
    INSERT INTO ledger.loss_watch AS w (scope, scope_id, kind, told_micros, told_at)
    VALUES (p_scope, p_scope_id, p_kind, p_loss, p_now)
    ON CONFLICT (scope, scope_id, kind) DO UPDATE SET told_micros = excluded.told_micros, told_at = excluded.told_at;
    IF NOT v_standing THEN
        PERFORM ledger._halt_once(p_scope, p_scope_id, format('%s: %s of collateral lost %s, %s allowed', p_kind,
            round(p_loss / 1000000.0, 2), CASE p_kind WHEN 'DAILY_LOSS' THEN 'since midnight UTC' ELSE 'within 24 hours' END,
            round(p_limit / 1000000.0, 2)), p_now);
    END IF;
    RETURN NOT v_standing;
END $$;
COMMENT ON FUNCTION ledger._watch_loss(text, text, text, bigint, bigint, timestamptz, timestamptz) IS
    'Halts if the loss is over the limit and was not told since then. A person who resumed has seen the loss as it was: it halts '
    'again once it has grown by the limit again, on the next UTC day, or (rolling) 24 hours after it was told. While the halt '
    'stands what is told follows the loss.';

CREATE FUNCTION ledger._size_factor(p_drawdown bigint, t ledger.total_limits) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_from bigint := coalesce(t.drawdown_from_micros, 0);
BEGIN
    RETURN CASE WHEN t.drawdown_to_micros IS NULL OR p_drawdown <= v_from THEN 1000000
        WHEN p_drawdown >= t.drawdown_to_micros THEN 0
        ELSE floor((t.drawdown_to_micros - p_drawdown)::numeric * 1000000 / (t.drawdown_to_micros - v_from))::integer END;
END $$;
COMMENT ON FUNCTION ledger._size_factor(bigint, ledger.total_limits) IS
    'All of it down to drawdown_from, nothing from drawdown_to on, evenly between; drawdown_to NULL: no sizing by drawdown.';

CREATE FUNCTION ledger.sweep_losses() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz;
    v_midnight timestamptz;
    q record;
    t ledger.total_limits;
    v_equity bigint;
    v_opening bigint;
    v_total bigint := 0;
    v_total_opening bigint := 0;
    v_accounts integer := 0;
    v_marks integer := 0;
    v_halted jsonb := '[]';
    v_ids bigint[] := '{}';
    v_factors integer[] := '{}';
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.loss_watch (scope, scope_id, kind) VALUES ('global', '', 'DAILY_LOSS') ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.loss_watch w WHERE w.scope = 'global' AND w.scope_id = '' AND w.kind = 'DAILY_LOSS' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('busy', true, 'marks', 0, 'halted', '[]'::jsonb);
    END IF;
    v_now := ledger.clock();
    v_midnight := date_trunc('day', v_now, 'UTC');
    FOR q IN SELECT * FROM ledger._equities() LOOP
        v_equity := q.realised + q.unrealised;
        v_marks := v_marks + ledger._mark_account(q.account_id, q.realised, q.unrealised, q.fees, q.stale, v_now);
        SELECT x.equity_micros INTO v_opening FROM ledger.equity_mark x WHERE x.account_id = q.account_id AND x.at = v_midnight;
        t := ledger._totals('account', q.account_id::text);
        IF ledger._watch_loss('account', q.account_id::text, 'DAILY_LOSS', v_opening - v_equity, t.max_daily_loss_micros,
                              v_midnight, v_now) THEN
            v_halted := v_halted || ledger._told_loss('account', q.account_id, 'DAILY_LOSS', v_opening - v_equity);
        END IF;
        IF t.max_rolling_loss_micros IS NOT NULL AND ledger._watch_loss('account', q.account_id::text, 'ROLLING_LOSS',
            ledger._rolling_peak(q.account_id, v_now) - v_equity, t.max_rolling_loss_micros, v_now - interval '24 hours', v_now) THEN
            v_halted := v_halted || ledger._told_loss('account', q.account_id, 'ROLLING_LOSS',
                                                      ledger._rolling_peak(q.account_id, v_now) - v_equity);
        END IF;
        v_ids := v_ids || q.account_id;
        v_factors := v_factors || ledger._size_factor(CASE WHEN t.drawdown_to_micros IS NOT NULL THEN
            (SELECT max(x.equity_micros) FROM ledger.equity_mark x WHERE x.account_id = q.account_id) - v_equity END, t);
        v_total := v_total + v_equity;
        v_total_opening := v_total_opening + v_opening;
        v_accounts := v_accounts + 1;
    END LOOP;
    PERFORM ledger._mark_total(v_total, v_total_opening, v_accounts, v_now);
    t := ledger._totals('global', '');
    IF ledger._watch_loss('global', '', 'DAILY_LOSS', v_total_opening - v_total, t.max_daily_loss_micros, v_midnight, v_now) THEN
        v_halted := v_halted || ledger._told_loss('global', NULL, 'DAILY_LOSS', v_total_opening - v_total);
    END IF;
    IF t.max_rolling_loss_micros IS NOT NULL AND ledger._watch_loss('global', '', 'ROLLING_LOSS',
        ledger._rolling_peak(NULL, v_now) - v_total, t.max_rolling_loss_micros, v_now - interval '24 hours', v_now) THEN
        v_halted := v_halted || ledger._told_loss('global', NULL, 'ROLLING_LOSS', ledger._rolling_peak(NULL, v_now) - v_total);
    END IF;
    PERFORM ledger._set_size_factors(v_ids, v_factors);
    RETURN jsonb_build_object('busy', false, 'marks', v_marks, 'halted', v_halted);
END $$;
COMMENT ON FUNCTION ledger.sweep_losses() IS
    'Marks every account, halts on daily and rolling loss (account, all together), sizes by drawdown. All it knows is in rows: any '
    'worker may run it at any time, any number of times.';

CREATE FUNCTION ledger._told_loss(p_scope text, p_account_id bigint, p_kind text, p_loss bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN jsonb_build_object('scope', p_scope, 'kind', p_kind, 'loss_micros', p_loss,
        'account', coalesce((SELECT a.name FROM ledger.account a WHERE a.account_id = p_account_id), ''));
END $$;

CREATE FUNCTION ledger._mark_total(p_equity bigint, p_opening bigint, p_accounts integer, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    DELETE FROM ledger.total_mark x WHERE x.at > p_now AND x.at = date_trunc('day', x.at, 'UTC');
    INSERT INTO ledger.total_mark (at, equity_micros, accounts)
    VALUES (date_trunc('day', p_now, 'UTC'), p_opening, p_accounts) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM ledger._prune_marks(NULL, p_now);
    END IF;
    IF p_equity IS DISTINCT FROM (SELECT x.equity_micros FROM ledger.total_mark x WHERE x.at <= p_now ORDER BY x.at DESC LIMIT 1) THEN
        INSERT INTO ledger.total_mark (at, equity_micros, accounts)
        VALUES (date_trunc('minute', p_now, 'UTC'), p_equity, p_accounts) ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE FUNCTION ledger._set_size_factors(p_ids bigint[], p_factors integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    x record;
BEGIN
    FOR x IN SELECT s.account_id, u.factor FROM unnest(p_ids, p_factors) u (account_id, factor)
        JOIN ledger.account_state s ON s.account_id = u.account_id WHERE s.size_factor_ppm <> u.factor ORDER BY s.account_id
    LOOP
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE ledger.account_state SET size_factor_ppm = x.factor WHERE account_id = x.account_id;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger._set_size_factors(bigint[], integer[]) IS 'An account that is busy just now is left to the next sweep.';
