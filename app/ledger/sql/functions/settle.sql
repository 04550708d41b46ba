-- purpose: the one place where an order changes: state, reservation, counters, balances, outbox, journal, breach check.
-- locks:   the caller holds exposure, account_state and the order (see _lock_lanes); nothing further is locked first.
-- index:   primary keys.
-- fence:   ledger.transition; a refused event changes nothing but the journal.
-- Everything an order contributes to a counter or balance is a function of its row, so each change books the
-- difference between what it contributed before and after: nothing is counted twice or not at all.

CREATE FUNCTION ledger._lock_lanes(
    p_order_ids bigint[], p_accounts text[] DEFAULT '{}', p_mending boolean DEFAULT false) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_ids bigint[];
BEGIN
    PERFORM ledger._enter();
    -- What the caller may not touch is not locked either: naming other people's orders must not hold them up.
    v_ids := array(SELECT o.order_id FROM ledger.orders o
                   WHERE o.order_id = ANY (p_order_ids) AND (p_mending OR ledger._may_act_for(o.account_id)));
    PERFORM FROM ledger.exposure e
    WHERE (e.account_id, e.market_id) IN (
        SELECT o.account_id, o.market_id FROM ledger.orders o WHERE o.order_id = ANY (v_ids))
    ORDER BY e.account_id, e.market_id FOR UPDATE;
    PERFORM FROM ledger.account_state s
    WHERE s.account_id IN (SELECT o.account_id FROM ledger.orders o WHERE o.order_id = ANY (v_ids)
                           UNION SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
    ORDER BY s.account_id FOR UPDATE;
    PERFORM FROM ledger.orders o WHERE o.order_id = ANY (v_ids)
    ORDER BY o.account_id, o.order_id FOR UPDATE;
    RETURN v_ids;
END $$;
COMMENT ON FUNCTION ledger._lock_lanes(bigint[], text[], boolean) IS
    'Takes every lock a set of orders (and of accounts by name) needs, in the fixed order, before anything is decided. '
    'Returns the orders it locked: one that is committed a moment later is visible then, and must be left alone.';

CREATE FUNCTION ledger._order(p_order_id bigint, p_locked bigint[]) RETURNS ledger.orders
LANGUAGE sql VOLATILE
AS $$ SELECT o FROM ledger.orders o WHERE o.order_id = p_order_id AND p_order_id = ANY (p_locked) $$;

CREATE FUNCTION ledger._no_order(p_item integer, p_order_id bigint) RETURNS jsonb
LANGUAGE sql VOLATILE
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM ledger.orders o WHERE o.order_id = p_order_id
                             AND NOT ledger._may_act_for(o.account_id))
        THEN ledger._refusal(p_item, 'NOT_GRANTED', 'this login was not granted the account')
        ELSE ledger._refusal(p_item, 'UNKNOWN_ORDER', 'there is no such order') END
$$;

CREATE FUNCTION ledger._lane_time(p_account_id bigint, p_market_id bigint) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Read after the lock; never behind a time already used here, should the machine's clock step back.
    UPDATE ledger.exposure SET clock_at = greatest(clock_at, ledger.clock())
    WHERE account_id = p_account_id AND market_id = p_market_id
    RETURNING clock_at INTO v_now;
    RETURN v_now;
END $$;

CREATE FUNCTION ledger._book(
    p_account_id bigint, p_asset text, p_available bigint, p_locked bigint, p_cause text, p_key text,
    p_at timestamptz, p_order_id bigint DEFAULT NULL, p_trade_id text DEFAULT NULL, p_note text DEFAULT NULL,
    p_contra text DEFAULT 'venue', p_fee bigint DEFAULT 0, p_value bigint DEFAULT NULL, p_basis bigint DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_seq bigint;
    v_available bigint;
    v_contra bigint := -(p_available + p_locked + p_fee);
BEGIN
    IF p_available = 0 AND p_locked = 0 THEN
        RETURN;
    END IF;
    INSERT INTO ledger.balance AS b (account_id, asset, available, locked)
    VALUES (p_account_id, p_asset, p_available, p_locked)
    ON CONFLICT (account_id, asset) DO UPDATE
        SET available = b.available + excluded.available, locked = b.locked + excluded.locked
    RETURNING available INTO v_available;
    -- A hold moves within the account; all else comes from somewhere or goes there.
    IF v_contra <> 0 OR p_fee <> 0 THEN
        PERFORM ledger._book_contra(p_account_id, p_asset, p_contra, v_contra);
        PERFORM ledger._book_contra(p_account_id, p_asset, 'fees', p_fee);
    END IF;
    UPDATE ledger.account_state SET entry_seq = entry_seq + 1
    WHERE account_id = p_account_id RETURNING entry_seq INTO v_seq;
    INSERT INTO ledger.balance_entry (account_id, entry_seq, asset, cause, entry_key, available_delta, locked_delta,
                                      order_id, trade_id, note, at, contra, contra_delta, fee_delta, value_micros, basis_micros)
    VALUES (p_account_id, v_seq, p_asset, p_cause, p_key, p_available, p_locked,
            p_order_id, p_trade_id, p_note, p_at, p_contra, v_contra, p_fee, p_value, p_basis);
    IF v_available < 0 AND p_available < 0 THEN
        -- Holds are checked before they are taken, so only a fact leads here: it is booked, and trading stops.
        PERFORM ledger._halt_once('account', p_account_id::text,
            format('NEGATIVE_BALANCE: %s of %s after %s', v_available, p_asset, p_cause), p_at);
    END IF;
END $$;
COMMENT ON FUNCTION ledger._book(bigint, text, bigint, bigint, text, text, timestamptz, bigint, text, text, text, bigint, bigint, bigint) IS
    'One movement, once: both sides of it in one row, whose deltas are zero together. p_fee is the part that went to fees.';

CREATE FUNCTION ledger._book_contra(p_account_id bigint, p_asset text, p_contra text, p_amount bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_amount <> 0 THEN
        INSERT INTO ledger.contra_balance AS c (account_id, asset, contra, amount)
        VALUES (p_account_id, p_asset, p_contra, p_amount)
        ON CONFLICT (account_id, asset, contra) DO UPDATE SET amount = c.amount + excluded.amount;
    END IF;
END $$;

CREATE FUNCTION ledger._settle(
    o ledger.orders, p_event text, p_cause text, p_now timestamptz, p_detail jsonb DEFAULT '{}',
    p_provisional bigint DEFAULT 0, p_confirmed bigint DEFAULT 0, p_cash bigint DEFAULT 0,
    p_attempt integer DEFAULT NULL, p_trade_id text DEFAULT NULL, p_fee bigint DEFAULT 0) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_from text := o.state;
    v_to text;
    v_old ledger.reservation;
    v_new ledger.reservation;
    v_matched bigint := greatest(o.size_matched_micros, o.traded_micros);
    v_held bigint;
    v_key text;
BEGIN
    SELECT t.to_state INTO v_to FROM ledger.transition t WHERE t.from_state = o.state AND t.event = p_event;
    IF v_to IS NULL THEN
        PERFORM ledger._journal(o.account_id, o.market_id, p_now, 'ILLEGAL_TRANSITION', o.order_id, p_attempt,
                                o.state, NULL, p_detail || jsonb_build_object('event', p_event));
        RETURN NULL;
    END IF;
    IF v_to <> v_from THEN
        o.state := v_to;
        o.state_at := p_now;
        o.cause := p_cause;
    END IF;
    IF v_to NOT IN ('SENDING', 'UNKNOWN', 'RESERVED', 'PREPARED', 'HELD_BACK') THEN
        o.fate_open := false;
    END IF;

    SELECT * INTO v_old FROM ledger.reservation r WHERE r.account_id = o.account_id AND r.order_id = o.order_id;
    v_new := v_old;
    v_new.shares_micros := CASE WHEN ledger._ended(v_to) THEN 0 ELSE greatest(o.size_micros - v_matched, 0) END;
    v_new.awaiting_micros := v_matched - o.traded_micros;
    v_new.held_micros := ledger._held_by(o, v_new.shares_micros, v_new.awaiting_micros);
    v_new.phase := CASE
        WHEN v_to IN ('LIVE', 'DELAYED') THEN 'open'
        WHEN NOT ledger._ended(v_to) THEN 'pending'
        WHEN v_new.awaiting_micros > 0 OR v_new.held_micros > 0 THEN 'settling'
        ELSE 'released' END;
    v_new.released_at := CASE v_new.phase WHEN 'released' THEN coalesce(v_old.released_at, p_now) END;
    v_new.awaiting_since := CASE WHEN v_new.awaiting_micros > 0 THEN coalesce(v_old.awaiting_since, p_now) END;

    UPDATE ledger.orders SET
        state = o.state, state_at = o.state_at, cause = o.cause, venue_order_id = o.venue_order_id,
        size_matched_micros = o.size_matched_micros, traded_micros = o.traded_micros,
        confirmed_micros = o.confirmed_micros, failed_micros = o.failed_micros, attempts = o.attempts,
        fate_open = o.fate_open, seen_at_venue = o.seen_at_venue, last_deadline = o.last_deadline,
        cancel_asked_at = o.cancel_asked_at, cancel_reason = o.cancel_reason
    WHERE account_id = o.account_id AND order_id = o.order_id;

    IF v_new IS DISTINCT FROM v_old THEN
        UPDATE ledger.reservation SET
            phase = v_new.phase, shares_micros = v_new.shares_micros, awaiting_micros = v_new.awaiting_micros,
            held_micros = v_new.held_micros, awaiting_since = v_new.awaiting_since, released_at = v_new.released_at
        WHERE account_id = o.account_id AND order_id = o.order_id;
    END IF;
    PERFORM ledger._shift_exposure(o, v_old, v_new, p_provisional, p_confirmed);
    PERFORM ledger._carry_risk(o.account_id, o.market_id, ledger._ended(v_from)::integer - ledger._ended(v_to)::integer);

    v_held := v_new.held_micros - v_old.held_micros;
    v_key := format('order:%s:%s', o.order_id,
        (SELECT journal_seq + 1 FROM ledger.account_state s WHERE s.account_id = o.account_id));
    IF o.side = 'BUY' THEN
        PERFORM ledger._book(o.account_id, 'collateral', p_cash - v_held, v_held, p_event, v_key || ':c',
                             p_now, o.order_id, p_trade_id, p_fee => p_fee);
        PERFORM ledger._book(o.account_id, o.token_id, p_confirmed, 0, p_event, v_key || ':t',
                             p_now, o.order_id, p_trade_id);
    ELSE
        PERFORM ledger._book(o.account_id, o.token_id, -v_held - p_confirmed, v_held, p_event, v_key || ':t',
                             p_now, o.order_id, p_trade_id);
        PERFORM ledger._book(o.account_id, 'collateral', p_cash, 0, p_event, v_key || ':c',
                             p_now, o.order_id, p_trade_id, p_fee => p_fee);
    END IF;

    PERFORM ledger._follow_queues(o, v_from, p_now);
    PERFORM ledger._journal(o.account_id, o.market_id, p_now, p_event, o.order_id, p_attempt, v_from, v_to,
        CASE WHEN v_to <> v_from AND p_cause <> '' THEN p_detail || jsonb_build_object('cause', p_cause) ELSE p_detail END);
    IF p_event IN ('SEE', 'FILL_PART', 'FILL_ALL', 'END_CANCELLED', 'END_EXPIRED', 'REOPEN') THEN
        PERFORM ledger._check_breach(o.account_id, o.market_id, p_now, v_matched > o.size_micros);
    END IF;
    IF ledger._ended(v_to) AND NOT ledger._ended(v_from) THEN
        PERFORM ledger._finish_replacement(o, p_now);
    END IF;
    RETURN v_to;
END $$;

CREATE FUNCTION ledger._shift_exposure(
    o ledger.orders, p_old ledger.reservation, p_new ledger.reservation, p_provisional bigint, p_confirmed bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    i integer := o.outcome + 1;
    v_pending bigint := CASE p_new.phase WHEN 'pending' THEN p_new.shares_micros ELSE 0 END
                      - CASE p_old.phase WHEN 'pending' THEN p_old.shares_micros ELSE 0 END;
    v_open bigint := CASE p_new.phase WHEN 'open' THEN p_new.shares_micros ELSE 0 END
                   - CASE p_old.phase WHEN 'open' THEN p_old.shares_micros ELSE 0 END;
    v_awaiting bigint := p_new.awaiting_micros - p_old.awaiting_micros;
    v_held bigint := p_new.held_micros - p_old.held_micros;
BEGIN
    IF v_pending = 0 AND v_open = 0 AND v_awaiting = 0 AND v_held = 0 AND p_provisional = 0 AND p_confirmed = 0 THEN
        RETURN;
    END IF;
    IF o.side = 'BUY' THEN
        UPDATE ledger.exposure e SET
            pending_buy[i] = e.pending_buy[i] + v_pending, open_buy[i] = e.open_buy[i] + v_open,
            awaiting_buy[i] = e.awaiting_buy[i] + v_awaiting,
            held_cost = e.held_cost + v_held,
            provisional_buy[i] = e.provisional_buy[i] + p_provisional,
            confirmed[i] = e.confirmed[i] + p_confirmed
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    ELSE
        UPDATE ledger.exposure e SET
            pending_sell[i] = e.pending_sell[i] + v_pending, open_sell[i] = e.open_sell[i] + v_open,
            awaiting_sell[i] = e.awaiting_sell[i] + v_awaiting,
            provisional_sell[i] = e.provisional_sell[i] + p_provisional,
            confirmed[i] = e.confirmed[i] - p_confirmed
        WHERE e.account_id = o.account_id AND e.market_id = o.market_id;
    END IF;
END $$;

CREATE FUNCTION ledger._follow_queues(o ledger.orders, p_from text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF o.state = p_from THEN
        RETURN;
    END IF;
    IF o.state = 'UNKNOWN' THEN
        UPDATE ledger.outbox SET claimed_by = NULL, claimed_until = NULL,
            status = CASE WHEN released_at IS NULL THEN 'blocked' ELSE 'released' END
        WHERE account_id = o.account_id AND order_id = o.order_id;
    ELSIF o.state IN ('LIVE', 'DELAYED') OR ledger._ended(o.state) THEN
        -- Evidence cancels a retry that is still scheduled.
        UPDATE ledger.outbox SET status = 'done', claimed_by = NULL, claimed_until = NULL
        WHERE account_id = o.account_id AND order_id = o.order_id;
    END IF;
    IF ledger._ended(o.state) THEN
        UPDATE ledger.cancel_request SET status = 'done', claimed_by = NULL
        WHERE account_id = o.account_id AND order_id = o.order_id AND status = 'due';
    ELSIF ledger._ended(p_from) THEN
        PERFORM ledger._queue_cancel(o, 'reopened: seen alive after it was believed ended', p_now);
    END IF;
END $$;

CREATE FUNCTION ledger._queue_cancel(o ledger.orders, p_reason text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO ledger.cancel_request AS c
        (account_id, order_id, market_id, reason, asked_by, asked_at, status, next_at)
    -- Due by the clock that claims go by: the market's time may be ahead of it, and a cancel waits for nothing.
    VALUES (o.account_id, o.order_id, o.market_id, left(p_reason, 500), session_user, p_now, 'due', least(p_now, ledger.clock()))
    ON CONFLICT (account_id, order_id) DO UPDATE
        SET status = 'due', next_at = CASE WHEN c.status = 'due' THEN least(c.next_at, excluded.next_at)
                                           ELSE excluded.next_at END;
    UPDATE ledger.orders SET cancel_asked_at = coalesce(cancel_asked_at, p_now),
                             cancel_reason = coalesce(cancel_reason, left(p_reason, 500))
    WHERE account_id = o.account_id AND order_id = o.order_id;
END $$;
