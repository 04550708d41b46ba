-- purpose: recompute what orders count for and hold: counters, reservations, entries, fills, caps of one account and market.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   orders_of_market, reservation by primary key, fill_of_order, balance_entry_of_order, balance_entry_moved.
-- fence:   nothing here calls the functions that keep the counters: each formula is written a second time, so that a
--          mistake in one of the two shows. All functions begin with _check_ and answer (subject, expected, found).

CREATE FUNCTION audit._orders_recomputed(p_account_id bigint, p_market_id bigint) RETURNS TABLE (
    order_id bigint, outcome smallint, side text, size_micros bigint, state text, ended boolean, created_at timestamptz,
    matched bigint, traded bigint, confirmed bigint, failed bigint, cash bigint, shares bigint, awaiting bigint,
    held bigint, phase text)
LANGUAGE sql STABLE
AS $$
    SELECT o.order_id, o.outcome, o.side, o.size_micros, o.state, s.ended, o.created_at,
        m.matched, f.traded, f.confirmed, f.failed, f.cash, r.shares, r.awaiting, h.held,
        CASE WHEN o.state IN ('LIVE', 'DELAYED') THEN 'open' WHEN NOT s.ended THEN 'pending'
             WHEN r.awaiting = 0 AND h.held = 0 THEN 'released' ELSE 'settling' END
    FROM ledger.orders o
    LEFT JOIN ledger.order_state s ON s.state = o.state
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.size_micros), 0)::bigint AS traded,
            coalesce(sum(q.size_micros) FILTER (WHERE q.settlement = 'confirmed'), 0)::bigint AS confirmed,
            coalesce(sum(q.size_micros) FILTER (WHERE q.settlement = 'failed'), 0)::bigint AS failed,
            -- A BUY pays when matched and gets it back when failed; a SELL is paid when confirmed.
            coalesce(sum(CASE WHEN o.side = 'BUY' AND q.settlement <> 'failed' THEN -(q.cash_micros + q.fee_micros)
                              WHEN o.side = 'SELL' AND q.settlement = 'confirmed' THEN q.cash_micros - q.fee_micros
                              ELSE 0 END), 0)::bigint AS cash
        FROM ledger.fill q WHERE q.account_id = o.account_id AND q.order_id = o.order_id) f
    CROSS JOIN LATERAL (SELECT greatest(o.size_matched_micros, f.traded) AS matched) m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.ended THEN 0 ELSE greatest(o.size_micros - m.matched, 0) END AS shares,
            m.matched - f.traded AS awaiting) r
    CROSS JOIN LATERAL (
        -- A BUY holds price times size and the highest fee; a SELL holds its tokens until the sale is settled.
        SELECT CASE o.side WHEN 'SELL' THEN r.shares + r.awaiting + f.traded - f.confirmed - f.failed
            ELSE (ceil(o.price_micros * (r.shares + r.awaiting)::numeric / 1000000)
                + ceil((r.shares + r.awaiting)::numeric * o.fee_rate_micros / 1000000 * power(
                    least(o.price_micros, 500000)::numeric * (1000000 - least(o.price_micros, 500000)) / 1000000000000,
                    o.fee_exponent::numeric)))::bigint END AS held) h
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
$$;
COMMENT ON FUNCTION audit._orders_recomputed(bigint, bigint) IS
    'What each order must count for and hold, from its terms, its state and its fills alone.';

CREATE FUNCTION audit._check_exposure(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH t AS MATERIALIZED (SELECT * FROM audit._orders_recomputed(p_account_id, p_market_id))
    SELECT format('outcome %s %s', i.outcome, v.counter), v.expected::text, coalesce(v.found::text, 'nothing')
    FROM generate_series(0, 1) i (outcome)
    LEFT JOIN ledger.exposure e ON e.account_id = p_account_id AND e.market_id = p_market_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(shares) FILTER (WHERE side = 'BUY' AND phase = 'pending'), 0) AS pending_buy,
            coalesce(sum(shares) FILTER (WHERE side = 'BUY' AND phase = 'open'), 0) AS open_buy,
            coalesce(sum(awaiting) FILTER (WHERE side = 'BUY'), 0) AS awaiting_buy,
            coalesce(sum(traded - confirmed - failed) FILTER (WHERE side = 'BUY'), 0) AS provisional_buy,
            coalesce(sum(shares) FILTER (WHERE side = 'SELL' AND phase = 'pending'), 0) AS pending_sell,
            coalesce(sum(shares) FILTER (WHERE side = 'SELL' AND phase = 'open'), 0) AS open_sell,
            coalesce(sum(awaiting) FILTER (WHERE side = 'SELL'), 0) AS awaiting_sell,
            coalesce(sum(traded - confirmed - failed) FILTER (WHERE side = 'SELL'), 0) AS provisional_sell,
            coalesce(sum(CASE side WHEN 'BUY' THEN confirmed ELSE -confirmed END), 0) AS confirmed
        FROM t WHERE t.outcome = i.outcome) s
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(b.available_delta + b.locked_delta), 0) AS moved
        FROM ledger.outcome c JOIN ledger.balance_entry b ON b.account_id = p_account_id AND b.asset = c.token_id
        WHERE c.market_id = p_market_id AND c.outcome = i.outcome AND b.order_id IS NULL) w
    CROSS JOIN LATERAL (VALUES
        ('pending_buy', s.pending_buy, e.pending_buy[i.outcome + 1]), ('open_buy', s.open_buy, e.open_buy[i.outcome + 1]),
        ('awaiting_buy', s.awaiting_buy, e.awaiting_buy[i.outcome + 1]),
        ('provisional_buy', s.provisional_buy, e.provisional_buy[i.outcome + 1]),
        ('pending_sell', s.pending_sell, e.pending_sell[i.outcome + 1]),
        ('open_sell', s.open_sell, e.open_sell[i.outcome + 1]),
        ('awaiting_sell', s.awaiting_sell, e.awaiting_sell[i.outcome + 1]),
        ('provisional_sell', s.provisional_sell, e.provisional_sell[i.outcome + 1]),
        ('confirmed', s.confirmed + w.moved, e.confirmed[i.outcome + 1])) v (counter, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found::numeric AND NOT (e.account_id IS NULL AND v.expected = 0)
$$;
COMMENT ON FUNCTION audit._check_exposure(bigint, bigint) IS 'Counters of the market = orders + fills + movements with a cause.';

CREATE FUNCTION audit._check_reservations(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id), w.text, coalesce(g.text, 'no reservation')
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    LEFT JOIN ledger.outcome c ON c.market_id = p_market_id AND c.outcome = t.outcome
    LEFT JOIN ledger.reservation r ON r.account_id = p_account_id AND r.order_id = t.order_id
    CROSS JOIN LATERAL (SELECT format('%s shares=%s awaiting=%s held=%s of %s, %s outcome %s of market %s', t.phase, t.shares,
            t.awaiting, t.held, CASE t.side WHEN 'BUY' THEN 'collateral' ELSE c.token_id END, t.side, t.outcome, p_market_id)
        || CASE t.phase WHEN 'released' THEN ', released' ELSE '' END
        || CASE WHEN t.awaiting > 0 THEN ', awaiting' ELSE '' END AS text) w
    LEFT JOIN LATERAL (SELECT format('%s shares=%s awaiting=%s held=%s of %s, %s outcome %s of market %s', r.phase,
            r.shares_micros, r.awaiting_micros, r.held_micros, r.asset, r.side, r.outcome, r.market_id)
        || CASE WHEN r.released_at IS NOT NULL THEN ', released' ELSE '' END
        || CASE WHEN r.awaiting_since IS NOT NULL THEN ', awaiting' ELSE '' END AS text) g ON r.order_id IS NOT NULL
    WHERE w.text IS DISTINCT FROM g.text
$$;
COMMENT ON FUNCTION audit._check_reservations(bigint, bigint) IS
    'Each order has one reservation, a function of the order: released if and only if ended with nothing left to book.';

CREATE FUNCTION audit._check_booked(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id),
        format('held=%s collateral=%s tokens=%s', t.held, t.cash,
               CASE t.side WHEN 'BUY' THEN t.confirmed ELSE -t.confirmed END),
        format('held=%s collateral=%s tokens=%s', b.held, b.collateral, b.tokens)
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(q.locked_delta), 0) AS held,
            coalesce(sum(q.available_delta + q.locked_delta) FILTER (WHERE q.asset = 'collateral'), 0) AS collateral,
            coalesce(sum(q.available_delta + q.locked_delta) FILTER (WHERE q.asset <> 'collateral'), 0) AS tokens
        FROM ledger.balance_entry q WHERE q.account_id = p_account_id AND q.order_id = t.order_id) b
    WHERE (b.held, b.collateral, b.tokens)
        IS DISTINCT FROM (t.held, t.cash, CASE t.side WHEN 'BUY' THEN t.confirmed ELSE -t.confirmed END)
$$;
COMMENT ON FUNCTION audit._check_booked(bigint, bigint) IS
    'The entries of each order come to what it holds, what it paid or was paid, and the tokens it moved.';

CREATE FUNCTION audit._check_orders(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    JOIN ledger.orders o ON o.account_id = p_account_id AND o.order_id = t.order_id
    LEFT JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
    CROSS JOIN LATERAL (VALUES
        (format('traded=%s confirmed=%s failed=%s', t.traded, t.confirmed, t.failed),
         format('traded=%s confirmed=%s failed=%s', o.traded_micros, o.confirmed_micros, o.failed_micros)),
        ('a state of the table', CASE WHEN t.ended IS NULL THEN 'state ' || o.state ELSE 'a state of the table' END),
        ('token ' || c.token_id, 'token ' || o.token_id),
        ('nothing traded', CASE WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'REJECTED', 'NOT_PLACED')
            AND t.matched > 0 THEN format('%s and %s matched', o.state, t.matched) ELSE 'nothing traded' END)
        ) v (expected, found)
    WHERE v.expected IS DISTINCT FROM v.found
$$;
COMMENT ON FUNCTION audit._check_orders(bigint, bigint) IS
    'The sums on each order = its fills; its state exists and fits what was traded; its token is the outcome''s.';

CREATE FUNCTION audit._check_fills(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('fill %s of order %s', f.trade_id, f.order_id), coalesce(v.expected, 'an order'), v.found
    FROM ledger.fill f
    LEFT JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
    CROSS JOIN LATERAL (VALUES
        (CASE WHEN o.order_id IS NOT NULL THEN format('%s of outcome %s of this market', o.side, o.outcome) END,
         CASE WHEN o.order_id IS NULL THEN 'no such order'
              WHEN f.market_id <> o.market_id THEN format('%s of outcome %s of market %s', f.side, f.outcome, f.market_id)
              ELSE format('%s of outcome %s of this market', f.side, f.outcome) END),
        (format('cash=%s', CASE f.side WHEN 'BUY' THEN ceil(f.size_micros::numeric * f.price_micros / 1000000)
                                       ELSE floor(f.size_micros::numeric * f.price_micros / 1000000) END),
         format('cash=%s', f.cash_micros))) v (expected, found)
    WHERE f.account_id = p_account_id AND v.expected IS DISTINCT FROM v.found
      AND (f.market_id = p_market_id OR o.market_id = p_market_id)
$$;
COMMENT ON FUNCTION audit._check_fills(bigint, bigint) IS
    'Each fill has an order, its market, outcome and side, and cash = price x size, rounded against us.';

CREATE FUNCTION audit._check_filled_within_size(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', t.order_id),
        CASE WHEN t.matched > t.size_micros THEN format('at most %s', t.size_micros)
             ELSE format('%s, less dust below a hundredth', t.size_micros) END, t.matched::text
    FROM audit._orders_recomputed(p_account_id, p_market_id) t
    WHERE t.matched > t.size_micros OR t.state = 'FILLED' AND t.size_micros - t.matched >= 10000
$$;
COMMENT ON FUNCTION audit._check_filled_within_size(bigint, bigint) IS
    'No order was filled beyond its size, and what is FILLED is filled.';

CREATE FUNCTION audit._cap_at(p_account_id bigint, p_market_id bigint, p_name text, p_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT w.value FROM (VALUES (p_account_id, p_market_id, 1), (0, p_market_id, 2), (p_account_id, 0, 3), (0, 0, 4))
        AS v (account_id, market_id, rank)
    LEFT JOIN ledger.limits l ON l.account_id = v.account_id AND l.market_id = v.market_id
    -- The value at a time is what the first change after it found.
    LEFT JOIN LATERAL (
        SELECT c.before, true AS changed FROM ledger.limit_change c
        WHERE c.account_id = v.account_id AND c.market_id = v.market_id AND c.name = p_name AND c.changed_at > p_at
        ORDER BY c.changed_at, c.change_id LIMIT 1) c ON true
    CROSS JOIN LATERAL (SELECT CASE WHEN c.changed THEN CASE WHEN c.before ~ '^[0-9]{1,18}$' THEN c.before::bigint END
        WHEN p_name = 'max_outcome_micros' THEN l.max_outcome_micros ELSE l.max_market_micros END AS value) w
    WHERE w.value IS NOT NULL ORDER BY v.rank LIMIT 1
$$;
COMMENT ON FUNCTION audit._cap_at(bigint, bigint, text, timestamptz) IS
    'max_outcome_micros or max_market_micros as it was in force at a time, or NULL for no limit.';

CREATE FUNCTION audit._check_caps(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    -- Since the last purchase was admitted only facts can have raised exposure, so the caps of that moment are
    -- the ones it has to keep. A limit lowered later is no breach of what was asked. A change that was being
    -- committed while the order was admitted may have been seen or not: the looser of the two counts.
    WITH t AS MATERIALIZED (SELECT * FROM audit._orders_recomputed(p_account_id, p_market_id)),
    last AS (SELECT max(t.created_at) AS at FROM t WHERE t.side = 'BUY'),
    effective AS (
        SELECT i.outcome, coalesce((SELECT sum(CASE t.side WHEN 'BUY' THEN t.shares + t.awaiting + t.traded - t.failed
                                           ELSE -t.confirmed END) FROM t WHERE t.outcome = i.outcome), 0)
            + coalesce((SELECT sum(b.available_delta + b.locked_delta)
                        FROM ledger.outcome c JOIN ledger.balance_entry b ON b.account_id = p_account_id AND b.asset = c.token_id
                        WHERE c.market_id = p_market_id AND c.outcome = i.outcome AND b.order_id IS NULL
                          AND b.at <= last.at), 0) AS shares
        FROM last CROSS JOIN generate_series(0, 1) i (outcome)),
    cap AS (
        SELECT k.name, CASE WHEN bool_or(x.value IS NULL) THEN NULL ELSE max(x.value) END AS value
        FROM last CROSS JOIN (VALUES ('max_outcome_micros'), ('max_market_micros')) k (name)
        CROSS JOIN (VALUES (interval '0'), (interval '10 seconds')) d (ago)
        CROSS JOIN LATERAL (SELECT audit._cap_at(p_account_id, p_market_id, k.name, last.at - d.ago) AS value) x
        WHERE last.at IS NOT NULL GROUP BY k.name)
    SELECT format('outcome %s', e.outcome), format('at most %s', cap.value), e.shares::text
    FROM effective e JOIN cap ON cap.name = 'max_outcome_micros' WHERE e.shares > cap.value
    UNION ALL
    SELECT 'both outcomes', format('at most %s', cap.value), s.shares::text
    FROM (SELECT sum(e.shares) AS shares FROM effective e) s JOIN cap ON cap.name = 'max_market_micros'
    WHERE s.shares > cap.value
$$;
COMMENT ON FUNCTION audit._check_caps(bigint, bigint) IS
    'Position, open and pending purchases keep the caps that were in force when the last purchase was admitted.';
