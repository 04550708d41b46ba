-- purpose: what the venue says is owned beside our rows; foreign orders resolved by a person; old unsettled fills.
-- locks:   resolve_foreign: account_state. The rest read.
-- index:   fill_unsettled, balance and foreign_order by primary key.
-- fence:   a foreign order is resolved once.

CREATE FUNCTION ledger.record_holdings(p_account text, p_collateral bigint, p_tokens jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz := ledger.clock();
    -- The venue's balances are a cache of the chain: what was settled just now, however long ago it matched, may not be in it.
    v_lag interval := interval '10 minutes';
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    INSERT INTO ledger.holding_seen (account_id, asset, theirs, ours, unsettled, seen_at, agreed_at)
    SELECT v_account_id, t.asset, t.theirs, coalesce(b.available + b.locked, 0),
        CASE WHEN t.asset = 'collateral' THEN
            -- Buys were taken off at once and sells are added when final: the venue may have moved either, or not yet.
            coalesce((SELECT sum(f.cash_micros + f.fee_micros) FROM ledger.fill f WHERE f.account_id = v_account_id
                      AND (f.settlement = 'provisional' OR greatest(f.matched_at, f.settled_at) > v_now - v_lag)), 0)
            -- And what stands may have filled unseen.
            + coalesce((SELECT sum(CASE o.side WHEN 'BUY' THEN r.held_micros ELSE ledger.cost_of(1000000, r.held_micros) END)
                        FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id)
                        WHERE r.account_id = v_account_id AND r.phase <> 'released'), 0)
            -- And what is withdrawn was taken off before it left, and may come back.
            + coalesce((SELECT sum(w.amount_micros) FROM ledger.withdrawal w WHERE w.account_id = v_account_id
                        AND (w.state IN ('DEBITED', 'SENDING', 'UNKNOWN', 'FAILED')
                             OR w.state IN ('DONE', 'COMPENSATED') AND w.state_at > v_now - v_lag)), 0)
        ELSE
            coalesce((SELECT sum(f.size_micros) FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id)
                      WHERE f.account_id = v_account_id AND o.token_id = t.asset
                        AND (f.settlement = 'provisional' OR greatest(f.matched_at, f.settled_at) > v_now - v_lag)), 0)
            + coalesce((SELECT sum(r.awaiting_micros + r.shares_micros) FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id)
                        WHERE r.account_id = v_account_id AND r.phase <> 'released' AND o.token_id = t.asset), 0) END,
        v_now,
        -- Whatever is on its way: that may hide a difference, and end none. Fees of collateral are computed, not told.
        CASE WHEN CASE WHEN t.asset = 'collateral' THEN coalesce(b.available + b.locked, 0) - t.theirs <= 1000000
                       ELSE t.theirs = coalesce(b.available + b.locked, 0) END THEN v_now END
    FROM (SELECT 'collateral'::text AS asset, p_collateral AS theirs
          UNION ALL SELECT k, ledger._whole(v) FROM jsonb_each(p_tokens) q (k, v)) t
    LEFT JOIN ledger.balance b ON b.account_id = v_account_id AND b.asset = t.asset
    WHERE t.theirs IS NOT NULL ORDER BY t.asset
    ON CONFLICT (account_id, asset) DO UPDATE SET theirs = excluded.theirs, ours = excluded.ours,
        unsettled = excluded.unsettled, seen_at = excluded.seen_at,
        agreed_at = coalesce(excluded.agreed_at, holding_seen.agreed_at);
    SELECT coalesce(jsonb_agg(jsonb_build_object('asset', h.asset, 'ours', h.ours, 'theirs', h.theirs, 'unsettled', h.unsettled)
                              ORDER BY h.asset), '[]') INTO v_out
    FROM ledger.holding_seen h WHERE h.account_id = v_account_id AND h.seen_at = v_now;
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.record_holdings(text, bigint, jsonb) IS
    'Stores what the venue says is owned beside our rows and what is on its way, and returns that. Tokens as {token id: micros}. '
    'What differs, and what trading stops for, is the caller''s to say.';

CREATE FUNCTION ledger.held_tokens(p_account text) RETURNS text[]
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT q.asset ORDER BY q.asset), '{}') FROM (
        SELECT b.asset FROM ledger.balance b JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND b.asset <> 'collateral' AND (b.available <> 0 OR b.locked <> 0)
        UNION ALL
        SELECT o.token_id FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id) JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND f.settlement = 'provisional') q
$$;
COMMENT ON FUNCTION ledger.held_tokens(text) IS 'Tokens that our rows say are owned or on their way.';

CREATE FUNCTION ledger.resolve_foreign(p_account text, p_venue_order_id text, p_as text, p_why text, p_operator text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := ledger._account_id(p_account);
    v_now timestamptz;
BEGIN
    PERFORM ledger._enter();
    IF coalesce(p_as, '') NOT IN ('cancelled', 'filled', 'not_ours') OR coalesce(p_why, '') = '' THEN
        RAISE EXCEPTION 'BAD_REQUEST: resolve as cancelled, filled or not_ours, and say why; nothing was changed' USING ERRCODE = 'LG004';
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    v_now := ledger.clock();
    UPDATE ledger.foreign_order SET resolution = left(p_as || ': ' || p_why, 500), resolved_by = session_user, resolved_at = v_now
    WHERE account_id = v_account_id AND venue_order_id = lower(p_venue_order_id) AND resolved_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger._journal(v_account_id, NULL, v_now, 'FOREIGN_ORDER_RESOLVED', p_detail => jsonb_build_object(
        'venue_order_id', lower(p_venue_order_id), 'as', p_as, 'why', left(p_why, 500), 'operator', left(p_operator, 200)));
    RETURN true;
END $$;
COMMENT ON FUNCTION ledger.resolve_foreign(text, text, text, text, text) IS
    'A person says what became of an order that no intent explains. What it traded is booked as movements, by the same person.';

CREATE FUNCTION ledger.sweep_unconfirmed(p_accounts text[], p_alarm_s bigint, p_halt_s bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_row record;
    v_old bigint[] := '{}';
    v_halted integer := 0;
BEGIN
    PERFORM ledger._enter();
    FOR v_row IN
        -- The oldest of each market: no market stands behind another's.
        SELECT DISTINCT ON (f.account_id, f.market_id) f.market_id, f.trade_id, f.order_id, f.matched_at
        FROM ledger.fill f JOIN ledger.account a USING (account_id)
        WHERE a.name = ANY (p_accounts) AND f.settlement = 'provisional'
          AND f.matched_at <= v_now - make_interval(secs => p_alarm_s) ORDER BY f.account_id, f.market_id, f.matched_at, f.trade_id
    LOOP
        v_old := v_old || v_row.order_id;
        -- Once per trade: a person who resumed knows of it.
        IF v_row.matched_at <= v_now - make_interval(secs => p_halt_s) AND NOT EXISTS (
            SELECT FROM ledger.halt h WHERE h.scope = 'market' AND h.scope_id = v_row.market_id::text
            AND h.why = 'UNCONFIRMED_TOO_LONG: ' || v_row.trade_id) THEN
            PERFORM ledger._halt_once('market', v_row.market_id::text, 'UNCONFIRMED_TOO_LONG: ' || v_row.trade_id, v_now);
            v_halted := v_halted + 1;
        END IF;
    END LOOP;
    RETURN jsonb_build_object('old', to_jsonb(array(SELECT DISTINCT x FROM unnest(v_old) x ORDER BY x)), 'halted', v_halted);
END $$;
COMMENT ON FUNCTION ledger.sweep_unconfirmed(text[], bigint, bigint) IS
    'The oldest fill of each market that is not settled after p_alarm_s; one older than p_halt_s halts it, once per trade.';
