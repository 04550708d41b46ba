-- purpose: book what happened at the venue: what an order looks like there, and our part of each trade.
-- locks:   exposure, account_state, orders (_lock_lanes), then the fill row. Facts about ids nobody knows lock only account_state.
-- index:   orders_by_venue_id, fill by primary key.
-- fence:   matched size is a monotone maximum, settlement has a rank: any order of arrival gives the same rows.

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
            v_event := ledger._event_of(o, x, v_entered);
            IF v_event IS NULL THEN
                UPDATE ledger.orders SET seen_at_venue = true
                WHERE account_id = o.account_id AND order_id = o.order_id AND NOT seen_at_venue
                  AND x ->> 'status' <> 'REJECTED';
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

CREATE FUNCTION ledger._fill(p_item integer, o ledger.orders, x jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    f ledger.fill;
    v_old ledger.fill;
    v_now timestamptz := ledger._lane_time(o.account_id, o.market_id);
    v_new boolean;
    v_provisional bigint := 0;
    v_confirmed bigint := 0;
    v_cash bigint := 0;
    v_event text;
BEGIN
    SELECT * INTO v_old FROM ledger.fill q
    WHERE q.account_id = o.account_id AND q.trade_id = x ->> 'trade_id' AND q.order_id = o.order_id;
    v_new := NOT FOUND;
    f := v_old;
    IF v_new THEN
        f.account_id := o.account_id; f.trade_id := x ->> 'trade_id'; f.order_id := o.order_id;
        f.market_id := o.market_id; f.outcome := o.outcome; f.side := o.side;
        f.size_micros := ledger._whole(x -> 'size_micros'); f.price_micros := ledger._whole(x -> 'price_micros');
        f.fee_micros := coalesce(ledger._whole(x -> 'fee_micros'), 0);
        f.cash_micros := CASE o.side WHEN 'BUY' THEN ledger.cost_of(f.price_micros, f.size_micros)
            ELSE floor(f.price_micros::numeric * f.size_micros / 1000000)::bigint END;
        f.is_maker := coalesce(x -> 'is_maker' = 'true', false);
        f.matched_at := coalesce(CASE WHEN ledger._whole(x -> 'matched_at_ms') BETWEEN 0 AND 4102444800000
            THEN to_timestamp(ledger._whole(x -> 'matched_at_ms') / 1000.0) END, v_now);
        f.settlement := 'provisional';
        o.traded_micros := o.traded_micros + f.size_micros;
        v_provisional := f.size_micros;
        v_cash := CASE o.side WHEN 'BUY' THEN -(f.cash_micros + f.fee_micros) ELSE 0 END;
    ELSIF f.size_micros <> ledger._whole(x -> 'size_micros') OR f.price_micros <> ledger._whole(x -> 'price_micros') THEN
        -- The first booking stands; a trade that changes its numbers is for a person to look at.
        PERFORM ledger._halt_once('market', o.market_id::text, 'TRADE_CHANGED: ' || f.trade_id, v_now);
    END IF;

    IF x ->> 'status' = 'CONFIRMED' AND f.settlement <> 'confirmed' THEN
        IF f.settlement = 'failed' THEN
            -- Tokens moved after all: book it again, and have a person look.
            o.failed_micros := o.failed_micros - f.size_micros;
            v_cash := v_cash + CASE o.side WHEN 'BUY' THEN -(f.cash_micros + f.fee_micros) ELSE 0 END;
            PERFORM ledger._halt_once('market', o.market_id::text, 'CONFIRMED_AFTER_FAILED: ' || f.trade_id, v_now);
        ELSE
            v_provisional := v_provisional - f.size_micros;
        END IF;
        f.settlement := 'confirmed';
        o.confirmed_micros := o.confirmed_micros + f.size_micros;
        v_confirmed := f.size_micros;
        v_cash := v_cash + CASE o.side WHEN 'SELL' THEN f.cash_micros - f.fee_micros ELSE 0 END;
    ELSIF x ->> 'status' = 'FAILED' AND f.settlement = 'confirmed' THEN
        PERFORM ledger._halt_once('market', o.market_id::text, 'CONFIRMED_AFTER_FAILED: ' || f.trade_id, v_now);
        RETURN ledger._ok(p_item, o, o.state) || '{"replay": true}';
    ELSIF x ->> 'status' = 'FAILED' AND f.settlement = 'provisional' THEN
        f.settlement := 'failed';
        o.failed_micros := o.failed_micros + f.size_micros;
        v_provisional := v_provisional - f.size_micros;
        v_cash := v_cash + CASE o.side WHEN 'BUY' THEN f.cash_micros + f.fee_micros ELSE 0 END;
    ELSIF NOT v_new THEN
        RETURN ledger._ok(p_item, o, o.state) || '{"replay": true}';
    END IF;
    f.raw_status := coalesce(x ->> 'raw_status', x ->> 'status', '');
    o.seen_at_venue := true;

    v_event := CASE WHEN greatest(o.size_matched_micros, o.traded_micros) >= o.size_micros THEN 'FILL_ALL' ELSE 'FILL_PART' END;
    IF v_new THEN
        INSERT INTO ledger.fill SELECT f.*;
    ELSE
        UPDATE ledger.fill SET settlement = f.settlement, raw_status = f.raw_status
        WHERE account_id = f.account_id AND trade_id = f.trade_id AND order_id = f.order_id;
    END IF;
    RETURN ledger._ok(p_item, o, ledger._settle(o, v_event, f.raw_status, v_now,
        jsonb_build_object('trade', f.trade_id, 'size', f.size_micros, 'price', f.price_micros, 'fee', f.fee_micros,
                           'settlement', f.settlement),
        v_provisional, v_confirmed, v_cash, NULL, f.trade_id));
END $$;
