-- purpose: every limit of a reservation beyond caps and bursts: what it costs, when, how often, at which price, against whom.
-- locks:   the caller holds exposure and account_state; loans and pools follow (totals.sql).
-- index:   orders_not_ended and orders_of_market for the lane's own orders; book, breaker, total_limits by primary key.
-- fence:   judged under the locks that the admission needs, in the same call.

CREATE FUNCTION ledger._basis_after(
    p_basis bigint, p_held bigint, p_moved bigint, p_cost bigint, p_undone boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    v_left bigint := p_held + p_moved;
BEGIN
    RETURN CASE WHEN v_left <= 0 THEN 0
        -- What comes in adds what it cost and not a micro more; of what fills a gap below zero only the shares above it.
        WHEN p_moved > 0 AND p_held < 0 THEN ceil(p_cost::numeric * v_left / p_moved)
        -- Part of what a failed buy cost has gone with sales since: all of it taken off would be more than is there of it.
        WHEN p_undone THEN least(p_basis, greatest(p_basis + p_cost, ceil(p_basis::numeric * v_left / p_held)))
        WHEN p_moved >= 0 THEN greatest(p_basis + p_cost, 0)
        -- What goes out takes its part of the average.
        ELSE p_basis - floor(p_basis::numeric * -p_moved / p_held) END::bigint;
END $$;
COMMENT ON FUNCTION ledger._basis_after(bigint, bigint, bigint, bigint, boolean) IS
    'What a position cost, after p_moved shares came (p_cost: theirs) or went. An average over all buys, whenever they were, would '
    'let a cheap buy after a sale raise what is at risk by more than it cost: beyond a cap that admitted it. p_undone: a buy failed.';

CREATE FUNCTION ledger._carry_risk(
    p_account_id bigint, p_market_id bigint, p_opened integer DEFAULT 0, p_fact boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    v_cost bigint;
    v_shares bigint;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    v_cost := e.held_cost + e.basis[1] + e.basis[2] - e.at_risk;
    v_shares := greatest(ledger._effective(e, 1), 0) + greatest(ledger._effective(e, 2), 0) - e.shares;
    IF v_cost = 0 AND v_shares = 0 AND p_opened = 0 THEN
        RETURN;
    END IF;
    UPDATE ledger.exposure x SET at_risk = x.at_risk + v_cost, shares = x.shares + v_shares,
        open_orders = x.open_orders + p_opened
    WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    UPDATE ledger.account_state s SET at_risk = s.at_risk + v_cost, shares = s.shares + v_shares,
        open_orders = s.open_orders + p_opened
    WHERE s.account_id = p_account_id;
    IF e.group_key IS NOT NULL AND (v_cost <> 0 OR v_shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, e.group_key, v_cost, v_shares);
    END IF;
    IF p_fact AND (v_cost > 0 OR v_shares > 0) THEN
        PERFORM ledger._owe(p_account_id, e.group_key);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._carry_risk(bigint, bigint, integer, boolean) IS
    'After any change of a lane''s counters: the difference goes on to the totals of its account and group. p_fact: it was '
    'not admitted within a loan, so what is lent follows it.';

CREATE FUNCTION ledger._add_to_group(p_account_id bigint, p_group text, p_cost bigint, p_shares bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.group_state AS g (account_id, group_key, at_risk, shares)
    VALUES (p_account_id, p_group, p_cost, p_shares)
    ON CONFLICT (account_id, group_key) DO UPDATE SET at_risk = g.at_risk + p_cost, shares = g.shares + p_shares;
END $$;

CREATE FUNCTION ledger._regroup(p_account_id bigint, p_market_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    e ledger.exposure;
    v_group text;
BEGIN
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = p_account_id AND x.market_id = p_market_id;
    SELECT m.group_key INTO v_group FROM ledger.market m WHERE m.market_id = p_market_id;
    IF e.group_key IS NOT DISTINCT FROM v_group THEN
        RETURN;
    END IF;
    UPDATE ledger.exposure SET group_key = v_group WHERE account_id = p_account_id AND market_id = p_market_id;
    IF e.group_key IS NOT NULL AND (e.at_risk <> 0 OR e.shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, e.group_key, -e.at_risk, -e.shares);
    END IF;
    IF v_group IS NOT NULL AND (e.at_risk <> 0 OR e.shares <> 0) THEN
        PERFORM ledger._add_to_group(p_account_id, v_group, e.at_risk, e.shares);
        PERFORM ledger._owe(p_account_id, v_group);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._regroup(bigint, bigint) IS
    'A market that was imported into another group takes what is at risk in it along. Under the lane''s and account''s locks.';

CREATE FUNCTION ledger.sweep_groups() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    x record;
    v_moved integer := 0;
BEGIN
    PERFORM ledger._enter();
    FOR x IN
        SELECT e.account_id, e.market_id FROM ledger.exposure e JOIN ledger.market m USING (market_id)
        WHERE e.group_key IS DISTINCT FROM m.group_key ORDER BY e.account_id, e.market_id LIMIT 500
    LOOP
        PERFORM FROM ledger.exposure e WHERE e.account_id = x.account_id AND e.market_id = x.market_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM FROM ledger.account_state s WHERE s.account_id = x.account_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM ledger._regroup(x.account_id, x.market_id);
        v_moved := v_moved + 1;
    END LOOP;
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION ledger.sweep_groups() IS 'Lanes whose market changed its group since. A reservation does it for its own lane at once.';

CREATE FUNCTION ledger._unwinds(r ledger.request) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT r.side = 'SELL' AND r.class IN ('unwind', 'emergency') $$;
COMMENT ON FUNCTION ledger._unwinds(ledger.request) IS
    'Sells only what is confirmed and not offered yet: it can only make the position smaller. A class alone opens no door.';

CREATE FUNCTION ledger._time_refusal(r ledger.request, l ledger.limits, m ledger.market, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_opens timestamptz := m.window_start + make_interval(secs => l.open_buffer_ms / 1000.0);
    v_closes timestamptz := m.window_end - make_interval(secs => l.close_buffer_ms / 1000.0);
BEGIN
    RETURN CASE
        WHEN v_opens > p_now THEN ledger._refusal(r.item, 'TOO_EARLY', format('this market is traded from %s on', v_opens))
        WHEN v_closes <= p_now THEN ledger._refusal(r.item, 'TOO_LATE', format('this market was traded until %s', v_closes))
        WHEN NOT l.weekend_allowed AND extract(isodow FROM p_now AT TIME ZONE 'UTC') >= 6
            THEN ledger._refusal(r.item, 'WEEKEND', 'nothing is opened on Saturdays and Sundays (UTC)') END;
END $$;

CREATE FUNCTION ledger._tokens_left(p_tokens bigint, p_at timestamptz, p_per_minute integer, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF p_tokens IS NULL THEN
        RETURN p_per_minute::bigint * 1000000;
    ELSIF p_now < p_at THEN
        -- The clock went back: what was used up stays used up until it has passed there again.
        RETURN least(p_tokens, p_per_minute::bigint * 1000000);
    END IF;
    RETURN least(p_per_minute::bigint * 1000000,
        p_tokens + (extract(epoch FROM least(p_now - p_at, interval '1 minute')) * p_per_minute / 60 * 1000000)::bigint);
END $$;
COMMENT ON FUNCTION ledger._tokens_left(bigint, timestamptz, integer, timestamptz) IS
    'Changes that may still be made, in millionths: a bucket of one minute''s worth that fills evenly.';

CREATE FUNCTION ledger._lane_budget(l ledger.limits, t ledger.total_limits) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- Where only the account has a budget a market may use a quarter of it: one busy market must not starve the others.
    RETURN coalesce(l.changes_per_minute, (t.changes_per_minute + 3) / 4);
END $$;

CREATE FUNCTION ledger._change_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, l ledger.limits, t ledger.total_limits, p_now timestamptz)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN CASE
        WHEN e.changed_at > p_now - make_interval(secs => coalesce(l.cooldown_ms, 0) / 1000.0)
             AND NOT (r.set_id IS NOT NULL AND r.set_id IS NOT DISTINCT FROM e.last_set_id)
            THEN ledger._refusal(r.item, 'COOLDOWN', format('the market was changed less than %s ms ago', l.cooldown_ms))
        WHEN ledger._tokens_left(e.change_tokens, e.change_tokens_at, ledger._lane_budget(l, t), p_now) < 1000000
            THEN ledger._refusal(r.item, 'CHANGES_MINUTE', format('the market''s budget of %s changes a minute is used up',
                ledger._lane_budget(l, t)))
        WHEN ledger._tokens_left(s.change_tokens, s.change_tokens_at, t.changes_per_minute, p_now) < 1000000
            THEN ledger._refusal(r.item, 'CHANGES_MINUTE', format('the account''s budget of %s changes a minute is used up',
                t.changes_per_minute)) END;
END $$;

CREATE FUNCTION ledger._count_change(
    p_account_id bigint, p_market_id bigint, l ledger.limits, t ledger.total_limits, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_lane integer := ledger._lane_budget(l, t);
BEGIN
    -- A cancel may overdraw: it is never refused, and what follows it waits.
    UPDATE ledger.exposure e SET changed_at = p_now,
        change_tokens = ledger._tokens_left(e.change_tokens, e.change_tokens_at, v_lane, p_now) - 1000000,
        change_tokens_at = CASE WHEN v_lane IS NOT NULL THEN p_now END
    WHERE e.account_id = p_account_id AND e.market_id = p_market_id AND (l.cooldown_ms IS NOT NULL OR v_lane IS NOT NULL);
    IF t.changes_per_minute IS NOT NULL THEN
        UPDATE ledger.account_state s SET change_tokens_at = p_now,
            change_tokens = ledger._tokens_left(s.change_tokens, s.change_tokens_at, t.changes_per_minute, p_now) - 1000000
        WHERE s.account_id = p_account_id;
    END IF;
END $$;
COMMENT ON FUNCTION ledger._count_change(bigint, bigint, ledger.limits, ledger.total_limits, timestamptz) IS
    'A placement, a replacement or a cancel asked for by whoever trades. Protective cancels are none.';

CREATE FUNCTION ledger._self_match(r ledger.request) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- Two bids that cost a whole together are matched by minting a pair, two offers by merging one.
    RETURN (SELECT o.order_id FROM ledger.orders o
        WHERE o.account_id = r.account_id AND o.market_id = r.market_id
          AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND o.order_id IS DISTINCT FROM r.replaces_order_id
          AND CASE WHEN o.side <> r.side THEN o.outcome = r.outcome AND CASE r.side WHEN 'BUY' THEN o.price_micros <= r.price_micros
                                                                                ELSE o.price_micros >= r.price_micros END
                   ELSE o.outcome <> r.outcome AND CASE r.side WHEN 'BUY' THEN o.price_micros + r.price_micros >= 1000000
                                                               ELSE o.price_micros + r.price_micros <= 1000000 END END
        ORDER BY o.order_id LIMIT 1);
END $$;
COMMENT ON FUNCTION ledger._self_match(ledger.request) IS
    'An order of our own that this one could trade with, the complementary outcome included; NULL if there is none.';

CREATE FUNCTION ledger._duplicate(r ledger.request, p_window_ms integer, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    q record;
BEGIN
    -- From the latest backwards, as far as the window reaches. By the market's time, which never runs backwards.
    FOR q IN SELECT o.order_id, o.outcome, o.side, o.price_micros, o.size_micros, v.created_at FROM ledger.orders o
             JOIN ledger.reservation v ON v.account_id = o.account_id AND v.order_id = o.order_id
             WHERE o.account_id = r.account_id AND o.market_id = r.market_id ORDER BY o.order_id DESC LOOP
        EXIT WHEN q.created_at <= p_now - make_interval(secs => p_window_ms / 1000.0);
        IF (q.outcome, q.side, q.price_micros, q.size_micros) = (r.outcome, r.side, r.price_micros, r.size_micros)
           AND q.order_id IS DISTINCT FROM r.replaces_order_id THEN
            RETURN q.order_id;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ledger._duplicate(ledger.request, integer, timestamptz) IS
    'The same order under another key a moment ago, or NULL.';

CREATE FUNCTION ledger._leaving(e ledger.exposure, i integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT e.pending_sell[i] + e.open_sell[i] + e.awaiting_sell[i] + e.provisional_sell[i] $$;
COMMENT ON FUNCTION ledger._leaving(ledger.exposure, integer) IS 'Shares offered or sold that the position still counts.';

CREATE FUNCTION ledger._size_refusal(
    r ledger.request, e ledger.exposure, s ledger.account_state, l ledger.limits, t ledger.total_limits, p_cost bigint)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_largest bigint := l.max_order_micros;
    v_lead bigint;
BEGIN
    IF r.side = 'BUY' AND s.size_factor_ppm < 1000000 THEN
        v_largest := (v_largest::numeric * s.size_factor_ppm / 1000000)::bigint;
        IF s.size_factor_ppm = 0 THEN
            RETURN ledger._refusal(r.item, 'DRAWDOWN', 'the drawdown of the account has reached its end: nothing is opened');
        END IF;
    END IF;
    -- What this order would make one outcome lead by, if all buys of that one and all sells of the other trade.
    v_lead := r.size_micros + CASE r.side
        WHEN 'BUY' THEN ledger._effective(e, r.outcome + 1) - ledger._effective(e, 2 - r.outcome) + ledger._leaving(e, 2 - r.outcome)
        ELSE ledger._effective(e, 2 - r.outcome) - ledger._effective(e, r.outcome + 1) + ledger._leaving(e, r.outcome + 1) END;
    RETURN CASE
        WHEN r.size_micros > v_largest THEN ledger._refusal(r.item, 'ORDER_SIZE', format('at most %s share micros an order', v_largest))
        WHEN p_cost > l.max_order_cost_micros AND r.side = 'BUY'
            THEN ledger._refusal(r.item, 'ORDER_COST', format('it costs up to %s, %s allowed an order', p_cost, l.max_order_cost_micros))
        WHEN e.open_orders >= l.max_open_orders
            THEN ledger._refusal(r.item, 'OPEN_ORDERS', format('%s orders of this market have not ended', e.open_orders))
        WHEN s.open_orders >= t.max_open_orders
            THEN ledger._refusal(r.item, 'OPEN_ORDERS', format('%s orders of the account have not ended', s.open_orders))
        WHEN v_lead > l.max_imbalance_micros AND NOT ledger._unwinds(r)
            THEN ledger._refusal(r.item, 'IMBALANCE', format('one outcome would lead by %s share micros, %s allowed', v_lead,
                l.max_imbalance_micros))
        WHEN r.side = 'BUY' AND e.at_risk + p_cost > l.max_market_cost_micros
            THEN ledger._refusal(r.item, 'CAP_MARKET_COST', format('%s collateral micros are left for this market',
                greatest(l.max_market_cost_micros - e.at_risk, 0))) END;
END $$;

CREATE FUNCTION ledger._risk_refusal(
    INOUT r ledger.request, e ledger.exposure, l ledger.limits, t ledger.total_limits, m ledger.market, p_cost bigint,
    p_now timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    s ledger.account_state;
    v_other bigint;
BEGIN
    SELECT * INTO s FROM ledger.account_state x WHERE x.account_id = r.account_id;
    IF NOT ledger._unwinds(r) THEN
        r.answer := ledger._time_refusal(r, l, m, p_now);
        IF r.answer IS NULL AND r.replaces_order_id IS NULL THEN
            r.answer := ledger._change_refusal(r, e, s, l, t, p_now);
        END IF;
    END IF;
    r.answer := coalesce(r.answer, ledger._breaker_refusal(r, p_now), ledger._size_refusal(r, e, s, l, t, p_cost));
    IF r.answer IS NULL AND NOT l.self_match_allowed THEN
        v_other := ledger._self_match(r);
        IF v_other IS NOT NULL THEN
            r.answer := ledger._refusal(r.item, 'SELF_MATCH', format('it could trade with order %s of the same account', v_other));
        END IF;
    END IF;
    IF r.answer IS NULL AND l.duplicate_refused AND l.duplicate_window_ms > 0 THEN
        v_other := ledger._duplicate(r, l.duplicate_window_ms, p_now);
        IF v_other IS NOT NULL THEN
            r.answer := ledger._refusal(r.item, 'DUPLICATE', format('order %s of %s ms ago is the same under another key', v_other,
                (SELECT floor(extract(epoch FROM p_now - o.created_at) * 1000) FROM ledger.orders o
                 WHERE o.account_id = r.account_id AND o.order_id = v_other)));
        END IF;
    END IF;
    IF r.answer IS NULL THEN
        r.answer := ledger._book_refusal(r, l, p_now);
    END IF;
    IF r.answer IS NULL AND r.side = 'BUY' THEN
        r.answer := ledger._total_refusal(r, e, s, t, p_cost);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._risk_refusal(
    ledger.request, ledger.exposure, ledger.limits, ledger.total_limits, ledger.market, bigint, timestamptz) IS
    'Everything docs/risk.md lists beyond caps, bursts and balances; the totals last, since they may borrow.';
