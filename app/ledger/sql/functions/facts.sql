-- purpose: book what happened at the venue: what an order looks like there, and our part of each trade.
-- locks:   exposure, account_state, orders (_lock_lanes), then the fill row. Facts about ids nobody knows lock only account_state.
-- index:   orders_by_venue_id, fill by primary key.
-- fence:   matched size is a monotone maximum, settlement and fee have a rank: any order of arrival gives the same rows.

CREATE FUNCTION ledger._orders_of_facts(p_items jsonb) RETURNS bigint[]
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce(array_agg(DISTINCT o.order_id), '{}') FROM jsonb_array_elements(p_items) x
    JOIN ledger.account a ON a.name = x ->> 'account'
    JOIN ledger.orders o ON o.account_id = a.account_id AND o.venue_order_id = lower(x ->> 'venue_order_id')
$$;

CREATE FUNCTION ledger._named_accounts(p_items jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
AS $$ SELECT array_agg(DISTINCT x ->> 'account') FROM jsonb_array_elements(p_items) x $$;

CREATE FUNCTION ledger._unplaceable(x jsonb) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(x ->> 'venue_order_id', '') = '' OR NOT EXISTS (SELECT FROM ledger.account a WHERE a.name = x ->> 'account')
$$;
COMMENT ON FUNCTION ledger._unplaceable(jsonb) IS
    'Whether a fact names no order of a known account. One unreadable item must not void the rest of a batch.';

CREATE FUNCTION ledger._foreign(p_account text, p_venue_order_id text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_account_id bigint;
    v_now timestamptz := ledger.clock();
    v_new boolean;
BEGIN
    SELECT a.account_id INTO STRICT v_account_id FROM ledger.account a WHERE a.name = p_account;
    PERFORM FROM ledger.account_state s WHERE s.account_id = v_account_id FOR UPDATE;
    INSERT INTO ledger.foreign_order AS f (account_id, venue_order_id, first_seen_at, last_seen_at, detail)
    VALUES (v_account_id, p_venue_order_id, v_now, v_now, p_detail)
    ON CONFLICT (account_id, venue_order_id) DO UPDATE SET last_seen_at = v_now, detail = f.detail || excluded.detail
    RETURNING first_seen_at = v_now INTO v_new;
    IF v_new THEN
        PERFORM ledger._journal(v_account_id, NULL, v_now, 'FOREIGN_ORDER', NULL, NULL, NULL, NULL,
                                p_detail || jsonb_build_object('venue_order_id', p_venue_order_id));
        -- What is at the venue under our account and not in the ledger means that something else trades here.
        PERFORM ledger._halt_once('account', v_account_id::text, 'FOREIGN_ORDER: ' || p_venue_order_id, v_now);
    END IF;
END $$;

CREATE FUNCTION ledger.observe_orders(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_now timestamptz;
    v_entered timestamptz := ledger.clock();
    v_event text;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    PERFORM ledger._ids(p_items);
    v_locked := ledger._lock_lanes(ledger._orders_of_facts(p_items), ledger._named_accounts(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        SELECT q.* INTO o FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = x ->> 'account' AND q.venue_order_id = lower(x ->> 'venue_order_id');
        IF o.order_id IS NOT NULL AND o.order_id <> ALL (v_locked) THEN
            -- Its id was stored after the locks were taken: neither a stranger nor ours to touch without them.
            RAISE EXCEPTION 'order % appeared meanwhile; nothing was booked', o.order_id USING ERRCODE = '40001';
        END IF;
        IF ledger._unplaceable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'an observation names a known account and an order');
        ELSIF o.order_id IS NULL THEN
            PERFORM ledger._foreign(x ->> 'account', lower(x ->> 'venue_order_id'), x - 'account');
            v_answer := ledger._refusal(i, 'UNKNOWN_ORDER', 'no intent explains this order; the account is halted');
        ELSIF coalesce(ledger._whole(x -> 'size_matched_micros'), -1) < 0 THEN
            -- Taken for nothing matched, it would free a hold that is spent.
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'size_matched_micros must be a whole number; nothing was changed');
        ELSE
            v_now := ledger._lane_time(o.account_id, o.market_id);
            o.size_matched_micros := greatest(o.size_matched_micros, coalesce(ledger._whole(x -> 'size_matched_micros'), 0));
            o.seen_at_venue := true;
            PERFORM ledger._hasten_cancel(o);
            v_event := ledger._event_of(o, x, v_entered);
            IF v_event IS NULL THEN
                IF x ->> 'status' <> 'REJECTED' THEN
                    PERFORM ledger._sighted(o, v_now);
                END IF;
                v_answer := ledger._ok(i, o, o.state);
            ELSE
                v_answer := ledger._ok(i, o, ledger._settle(o, v_event, coalesce(x ->> 'raw_status', ''), v_now,
                    jsonb_build_object('source', x ->> 'source', 'status', x ->> 'raw_status', 'matched', o.size_matched_micros)));
            END IF;
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.observe_orders(jsonb) IS
    'Items {account, venue_order_id, status (LIVE, DELAYED, MATCHED, CANCELLED, EXPIRED, REJECTED, OTHER), raw_status, '
    'size_matched_micros, source (read, stream), took_ms (of a read)}. Only a read by id ends an order; the stream only shows that it lives or fills.';

CREATE FUNCTION ledger._event_of(o ledger.orders, x jsonb, p_entered timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status text := x ->> 'status';
    v_read boolean := x ->> 'source' = 'read';
    v_matched bigint := greatest(o.size_matched_micros, o.traded_micros);
    v_before ledger.orders := ledger._order(o.order_id, ARRAY[o.order_id]);
    v_news boolean;
    v_dead boolean := x ->> 'status' IN ('CANCELLED', 'EXPIRED', 'REJECTED');
    -- From before the wait for the lock: a read that queued does not grow younger by it.
    v_since timestamptz := p_entered - make_interval(secs => ledger._whole(x -> 'took_ms') / 1000.0);
BEGIN
    v_news := o.size_matched_micros <> v_before.size_matched_micros OR NOT v_before.seen_at_venue
              OR o.state IN ('PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'REJECTED', 'NOT_PLACED');
    RETURN CASE
        -- Refused, and the venue shows it as dead: the same thing said twice.
        WHEN o.state = 'REJECTED' AND v_dead AND v_matched = 0 THEN NULL
        WHEN v_matched >= o.size_micros THEN CASE WHEN v_news OR o.state <> 'FILLED' THEN 'FILL_ALL' END
        -- 99.997714 of 100 was reported MATCHED: dust below a hundredth of a share ends as filled, more as cancelled.
        WHEN v_read AND v_status = 'MATCHED' AND o.size_micros - v_matched < 10000
            THEN CASE WHEN v_news OR o.state <> 'FILLED' THEN 'FILL_ALL' END
        WHEN v_read AND v_status IN ('CANCELLED', 'REJECTED', 'MATCHED')
            THEN CASE WHEN v_news OR o.state NOT IN ('CANCELLED', 'EXPIRED', 'FILLED') THEN 'END_CANCELLED' END
        WHEN v_read AND v_status = 'EXPIRED'
            THEN CASE WHEN v_news OR o.state NOT IN ('CANCELLED', 'EXPIRED', 'FILLED') THEN 'END_EXPIRED' END
        -- Only a look-up that began after the end was recorded may contradict it; an older one is merely late.
        WHEN v_read AND v_status = 'LIVE' AND o.state IN ('CANCELLED', 'EXPIRED') AND v_since > o.state_at THEN 'REOPEN'
        -- The stream says it is over: no proof of the final size, and no sign of life either. A read follows.
        WHEN NOT v_read AND v_dead AND o.size_matched_micros = v_before.size_matched_micros THEN NULL
        WHEN v_news THEN 'SEE'
        WHEN v_status = 'LIVE' AND o.state = 'DELAYED' THEN 'SEE' END;
END $$;
COMMENT ON FUNCTION ledger._event_of(ledger.orders, jsonb, timestamptz) IS
    'Which event an observation is, or NULL if it says nothing new: repeating a read changes no row.';

CREATE FUNCTION ledger.record_fills(p_items jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_locked bigint[];
    x jsonb;
    o ledger.orders;
    v_answers jsonb := '[]';
    v_answer jsonb;
    i integer := 0;
BEGIN
    PERFORM ledger._ids(p_items);
    v_locked := ledger._lock_lanes(ledger._orders_of_facts(p_items), ledger._named_accounts(p_items));
    FOR x IN SELECT * FROM jsonb_array_elements(p_items) LOOP
        SELECT q.* INTO o FROM ledger.orders q JOIN ledger.account a USING (account_id)
        WHERE a.name = x ->> 'account' AND q.venue_order_id = lower(x ->> 'venue_order_id');
        IF o.order_id IS NOT NULL AND o.order_id <> ALL (v_locked) THEN
            -- Its id was stored after the locks were taken: neither a stranger nor ours to touch without them.
            RAISE EXCEPTION 'order % appeared meanwhile; nothing was booked', o.order_id USING ERRCODE = '40001';
        END IF;
        IF ledger._unplaceable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'a trade names a known account and an order');
        ELSIF o.order_id IS NULL THEN
            PERFORM ledger._foreign(x ->> 'account', lower(x ->> 'venue_order_id'), x - 'account');
            v_answer := ledger._refusal(i, 'UNKNOWN_ORDER', 'no intent explains this trade; the account is halted');
        ELSIF NOT ledger._bookable(x) THEN
            v_answer := ledger._refusal(i, 'BAD_REQUEST', 'a trade has an id, a size, a price of 0 to 1000000 and a fee, '
                'whole numbers; nothing was booked');
        ELSE
            v_answer := ledger._fill(i, o, x);
        END IF;
        v_answers := v_answers || v_answer;
        i := i + 1;
    END LOOP;
    RETURN v_answers;
END $$;
COMMENT ON FUNCTION ledger.record_fills(jsonb) IS
    'Items {account, trade_id, venue_order_id, size_micros, price_micros, fee_micros, status (MATCHED, MINED, RETRYING, '
    'CONFIRMED, FAILED), raw_status, is_maker, matched_at_ms}. Side and token come from our own order, never from the trade.';

CREATE FUNCTION ledger._bookable(x jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(octet_length(x ->> 'trade_id') BETWEEN 1 AND 200 AND ledger._whole(x -> 'size_micros') > 0
        AND ledger._whole(x -> 'price_micros') BETWEEN 0 AND 1000000
        AND CASE WHEN coalesce(x -> 'fee_micros', 'null') = 'null' THEN 0 ELSE ledger._whole(x -> 'fee_micros') END >= 0, false)
$$;
COMMENT ON FUNCTION ledger._bookable(jsonb) IS
    'Whether the numbers of a trade can be read. What else is missing or unheard of (its time, its status) never keeps one out.';

CREATE FUNCTION ledger._cash_of(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- A BUY pays when matched and gets it back when failed; a SELL is paid when confirmed.
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN -(f.cash_micros + f.fee_micros)
                WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._cash_of(ledger.fill) IS
    'What a fill moves in collateral: a function of its row, so that each change books the difference, once.';

CREATE FUNCTION ledger._fee_of(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
                THEN f.fee_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._fee_of(ledger.fill) IS 'The part of _cash_of that goes to fees.';

CREATE FUNCTION ledger._counted_size(f ledger.fill) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' OR f.side = 'SELL' AND f.settlement = 'confirmed'
                THEN f.size_micros ELSE 0 END;
END $$;
COMMENT ON FUNCTION ledger._counted_size(ledger.fill) IS 'The shares by which a fill counts as bought or as sold.';

CREATE FUNCTION ledger._count_cost(o ledger.orders, p_old ledger.fill, p_new ledger.fill) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := o.outcome + 1;
    e ledger.exposure;
    v_cash bigint := ledger._cash_of(p_new) - coalesce(ledger._cash_of(p_old), 0);
    v_size bigint := ledger._counted_size(p_new) - coalesce(ledger._counted_size(p_old), 0);
    v_basis bigint;
BEGIN
    IF v_cash = 0 AND v_size = 0 THEN
        RETURN 0;
    END IF;
    SELECT * INTO e FROM ledger.exposure x WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    IF o.side = 'BUY' THEN
        -- Where nothing was sold all of its cost is still there.
        v_basis := CASE WHEN v_size < 0 AND e.sold[i] = 0 THEN greatest(-v_cash, -e.basis[i])
            ELSE ledger._basis_after(e.basis[i], e.bought[i] - e.sold[i], v_size, -v_cash, v_size < 0) - e.basis[i] END;
        UPDATE ledger.exposure x SET bought[i] = e.bought[i] + v_size, bought_cost[i] = e.bought_cost[i] - v_cash,
            basis[i] = e.basis[i] + v_basis
        WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    ELSE
        v_basis := ledger._basis_after(e.basis[i], e.bought[i] - e.sold[i], -v_size, 0) - e.basis[i];
        UPDATE ledger.exposure x SET sold[i] = e.sold[i] + v_size, sold_cost[i] = e.sold_cost[i] + v_cash,
            basis[i] = e.basis[i] + v_basis
        WHERE x.account_id = o.account_id AND x.market_id = o.market_id;
    END IF;
    UPDATE ledger.account_state s SET traded_net = s.traded_net + v_cash WHERE s.account_id = o.account_id AND v_cash <> 0;
    RETURN v_basis;
END $$;
COMMENT ON FUNCTION ledger._count_cost(ledger.orders, ledger.fill, ledger.fill) IS
    'What a fill contributes to the cost counters is a function of its row: the difference is counted. A new one has no old. '
    'Returns what was added to what the position cost, for the row to keep.';

CREATE FUNCTION ledger._new_fill(o ledger.orders, x jsonb, p_now timestamptz) RETURNS ledger.fill
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    f ledger.fill;
BEGIN
    f.account_id := o.account_id; f.trade_id := x ->> 'trade_id'; f.order_id := o.order_id;
    f.market_id := o.market_id; f.outcome := o.outcome; f.side := o.side;
    f.size_micros := ledger._whole(x -> 'size_micros'); f.price_micros := ledger._whole(x -> 'price_micros');
    f.fee_micros := 0; f.fee_rank := 0; f.basis_micros := 0;
    f.cash_micros := CASE o.side WHEN 'BUY' THEN ledger.cost_of(f.price_micros, f.size_micros)
        ELSE floor(f.price_micros::numeric * f.size_micros / 1000000)::bigint END;
    f.is_maker := coalesce(x -> 'is_maker' = 'true', false);
    f.matched_at := coalesce(CASE WHEN ledger._whole(x -> 'matched_at_ms') BETWEEN 0 AND 4102444800000
        THEN to_timestamp(ledger._whole(x -> 'matched_at_ms') / 1000.0) END, p_now);
    f.settlement := 'provisional';
    f.raw_status := coalesce(x ->> 'raw_status', x ->> 'status', '');
    RETURN ledger._classified(f, o);
END $$;

CREATE FUNCTION ledger._hear(INOUT f ledger.fill, x jsonb, p_now timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status text := coalesce(x ->> 'status', '');
    v_fee bigint := coalesce(ledger._whole(x -> 'fee_micros'), 0);
    v_rank smallint := CASE v_status WHEN 'CONFIRMED' THEN 4 WHEN 'FAILED' THEN 3
        WHEN 'MINED' THEN 2 WHEN 'RETRYING' THEN 2 ELSE 1 END;
BEGIN
    -- No fee may mean that it was not said: it takes back none that was.
    IF v_fee > 0 AND (v_rank > f.fee_rank OR v_rank = f.fee_rank AND v_fee > f.fee_micros) THEN
        f.fee_micros := v_fee;
        f.fee_rank := v_rank;
    END IF;
    IF v_status = 'CONFIRMED' AND f.settlement = 'failed' OR v_status = 'FAILED' AND f.settlement = 'confirmed' THEN
        f.contradicted_at := coalesce(f.contradicted_at, p_now);
    END IF;
    -- Confirmed outranks failed: tokens moved.
    IF v_status = 'CONFIRMED' AND f.settlement <> 'confirmed' THEN
        f.settlement := 'confirmed';
        f.settled_at := p_now;
        f.raw_status := coalesce(x ->> 'raw_status', v_status);
    ELSIF v_status = 'FAILED' AND f.settlement = 'provisional' THEN
        f.settlement := 'failed';
        f.settled_at := p_now;
        f.raw_status := coalesce(x ->> 'raw_status', v_status);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._hear(ledger.fill, jsonb, timestamptz) IS
    'The fill after one more report of its trade. Reports may come in any order and any number: the last state is the same.';

CREATE FUNCTION ledger._contradicted(o ledger.orders, f ledger.fill, p_ours text, p_theirs text, p_now timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'SETTLEMENT_CONTRADICTED', o.order_id, NULL, o.state, o.state,
        ledger._told(f) || jsonb_build_object('ours', p_ours, 'theirs', p_theirs));
    INSERT INTO ledger.drift (account_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
    VALUES (o.account_id, 'settlement_contradicted', f.trade_id || '/' || o.venue_order_id, p_ours, p_theirs,
            format('booked as %s; the market is halted', f.settlement), p_now, 'halt', f.settlement, ledger._told(f));
    PERFORM ledger._halt_once('market', o.market_id::text, 'CONFIRMED_AFTER_FAILED: ' || f.trade_id, p_now);
END $$;
COMMENT ON FUNCTION ledger._contradicted(ledger.orders, ledger.fill, text, text, timestamptz) IS
    'A trade that was final has ended the other way: tokens moved and did not. Whatever is booked, a person has to look.';

CREATE FUNCTION ledger._told(f ledger.fill) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN jsonb_build_object('trade', f.trade_id, 'size', f.size_micros, 'price', f.price_micros, 'fee', f.fee_micros,
                              'settlement', f.settlement, 'status', f.raw_status, 'maker', f.is_maker,
                              'matched_at', f.matched_at, 'contradicted_at', f.contradicted_at);
END $$;

CREATE FUNCTION ledger._fill(p_item integer, o ledger.orders, x jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    f ledger.fill;
    v_old ledger.fill;
    v_now timestamptz := ledger._lane_time(o.account_id, o.market_id);
    v_new boolean;
    v_cash bigint := 0;
    v_fee bigint;
    v_provisional bigint := 0;
    v_confirmed bigint;
    v_failed bigint;
BEGIN
    SELECT * INTO v_old FROM ledger.fill q
    WHERE q.account_id = o.account_id AND q.trade_id = x ->> 'trade_id' AND q.order_id = o.order_id;
    v_new := NOT FOUND;
    IF v_new THEN
        v_old := ledger._new_fill(o, x, v_now);
        o.traded_micros := o.traded_micros + v_old.size_micros;
    ELSE
        v_cash := -ledger._cash_of(v_old);
        v_provisional := CASE v_old.settlement WHEN 'provisional' THEN -v_old.size_micros ELSE 0 END;
        IF v_old.size_micros <> ledger._whole(x -> 'size_micros') OR v_old.price_micros <> ledger._whole(x -> 'price_micros') THEN
            -- The first booking stands; a trade that changes its numbers is for a person to look at.
            PERFORM ledger._halt_once('market', o.market_id::text, 'TRADE_CHANGED: ' || v_old.trade_id, v_now);
        END IF;
    END IF;
    f := ledger._hear(v_old, x, v_now);
    IF f.contradicted_at IS DISTINCT FROM v_old.contradicted_at THEN
        PERFORM ledger._contradicted(o, f, v_old.settlement, lower(x ->> 'status'), v_now);
    END IF;
    f.basis_micros := f.basis_micros + ledger._count_cost(o, CASE WHEN v_new THEN NULL ELSE v_old END, f);
    IF v_new THEN
        IF o.post_only AND NOT f.is_maker THEN
            -- A post-only order only makes, by the venue's own rule: booked so, and told, for one of the two is not true.
            INSERT INTO ledger.drift (account_id, kind, subject, ours, theirs, action, found_at, drift_class, after, evidence)
            VALUES (o.account_id, 'post_only_took', f.trade_id || '/' || o.venue_order_id, 'maker', 'taker',
                    'booked as maker; compare the fee with the venue', v_now, 'resync', 'maker', ledger._told(f));
        END IF;
        INSERT INTO ledger.fill SELECT f.*;
    ELSIF f IS DISTINCT FROM v_old THEN
        UPDATE ledger.fill SET settlement = f.settlement, raw_status = f.raw_status, fee_micros = f.fee_micros,
            fee_rank = f.fee_rank, contradicted_at = f.contradicted_at, settled_at = f.settled_at, basis_micros = f.basis_micros
        WHERE account_id = f.account_id AND trade_id = f.trade_id AND order_id = f.order_id;
    END IF;
    IF NOT v_new AND f.settlement = v_old.settlement AND f.fee_micros = v_old.fee_micros THEN
        RETURN ledger._ok(p_item, o, o.state) || '{"replay": true}';
    END IF;

    v_cash := v_cash + ledger._cash_of(f);
    v_fee := ledger._fee_of(f) - CASE WHEN v_new THEN 0 ELSE ledger._fee_of(v_old) END;
    v_provisional := v_provisional + CASE f.settlement WHEN 'provisional' THEN f.size_micros ELSE 0 END;
    v_confirmed := CASE WHEN f.settlement = 'confirmed' AND v_old.settlement <> 'confirmed' THEN f.size_micros ELSE 0 END;
    v_failed := CASE f.settlement WHEN 'failed' THEN f.size_micros ELSE 0 END
              - CASE v_old.settlement WHEN 'failed' THEN f.size_micros ELSE 0 END;
    o.confirmed_micros := o.confirmed_micros + v_confirmed;
    o.failed_micros := o.failed_micros + v_failed;
    o.seen_at_venue := true;
    PERFORM ledger._hasten_cancel(o);
    RETURN ledger._ok(p_item, o, ledger._settle(o,
        CASE WHEN greatest(o.size_matched_micros, o.traded_micros) >= o.size_micros THEN 'FILL_ALL' ELSE 'FILL_PART' END,
        f.raw_status, v_now, ledger._told(f), v_provisional, v_confirmed, v_cash, NULL, f.trade_id, v_fee));
END $$;
