-- purpose: the steps of a withdrawal, each one commit: stop, drain, debit with the transfer's bytes, send, end or give back.
-- locks:   (drain: exposure, account_state, orders as _lock_lanes;) account_state, then the withdrawal, its attempt and evidence.
-- index:   withdrawal_running, withdrawal_due, orders_not_ended; else primary keys.
-- fence:   the claim (incarnation, claim_no) for steps, the open attempt of an incarnation for its answer, entry keys for money.

CREATE FUNCTION ledger._paused_by(p_account_id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT format('account (WITHDRAWAL: %s is under way)', w.withdrawal_id) FROM ledger.withdrawal w
            WHERE w.account_id = p_account_id AND w.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED') AND w.state <> 'REQUESTED');
END $$;
COMMENT ON FUNCTION ledger._paused_by(bigint) IS
    'The withdrawal that pauses the account, or NULL. No halt, which only a person ends: it is over with the withdrawal.';

CREATE FUNCTION ledger._withdrawal_moves_legally() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF (NEW.account_id, NEW.withdrawal_id, NEW.key, NEW.amount_micros, NEW.destination)
       IS DISTINCT FROM (OLD.account_id, OLD.withdrawal_id, OLD.key, OLD.amount_micros, OLD.destination) THEN
        RAISE EXCEPTION 'withdrawal %: key, amount and destination never change', OLD.withdrawal_id USING ERRCODE = 'LG002';
    ELSIF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('REQUESTED', 'STOPPING'), ('STOPPING', 'DRAINING'), ('DRAINING', 'UNLOCKED'), ('UNLOCKED', 'DEBITED'),
        -- Orders that a read brought back to life after the drain.
        ('UNLOCKED', 'DRAINING'),
        ('DEBITED', 'SENDING'), ('UNKNOWN', 'SENDING'), ('SENDING', 'DEBITED'), ('SENDING', 'UNKNOWN'), ('SENDING', 'DONE'),
        ('SENDING', 'FAILED'), ('DEBITED', 'FAILED'), ('UNKNOWN', 'DONE'), ('UNKNOWN', 'FAILED'), ('FAILED', 'COMPENSATED'),
        -- What is known to have happened wins over whatever was concluded before.
        ('DEBITED', 'DONE'), ('FAILED', 'DONE'), ('COMPENSATED', 'DONE'),
        ('REQUESTED', 'CANCELLED'), ('STOPPING', 'CANCELLED'), ('DRAINING', 'CANCELLED'), ('UNLOCKED', 'CANCELLED')) THEN
        RAISE EXCEPTION 'ILLEGAL_TRANSITION: withdrawal % cannot go from % to %', OLD.withdrawal_id, OLD.state, NEW.state
            USING ERRCODE = 'LG003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER withdrawal_moves_legally BEFORE UPDATE ON ledger.withdrawal
    FOR EACH ROW EXECUTE FUNCTION ledger._withdrawal_moves_legally();
CREATE TRIGGER withdrawal_stays BEFORE DELETE ON ledger.withdrawal
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER withdrawal_transfer_append_only BEFORE UPDATE OR DELETE ON ledger.withdrawal_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();

CREATE FUNCTION ledger._withdrawal(p_id bigint, p_incarnation uuid DEFAULT NULL, p_claim_no bigint DEFAULT NULL)
RETURNS ledger.withdrawal
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    w ledger.withdrawal;
BEGIN
    PERFORM ledger._enter();
    PERFORM FROM ledger.account_state s WHERE s.account_id =
        (SELECT q.account_id FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id) FOR UPDATE;
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id FOR UPDATE;
    IF p_claim_no IS NOT NULL AND (w.claimed_by IS DISTINCT FROM p_incarnation OR w.claim_no <> p_claim_no
                                   OR coalesce(w.claimed_until <= ledger.clock(), true)) THEN
        RETURN NULL;
    END IF;
    RETURN w;
END $$;
COMMENT ON FUNCTION ledger._withdrawal(bigint, uuid, bigint) IS
    'The row under its locks; nothing if the claim that was named is not this worker''s any more.';

CREATE FUNCTION ledger._withdrawal_is(w ledger.withdrawal, p_state text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT jsonb_build_object('status', 'ok', 'withdrawal_id', w.withdrawal_id, 'state', p_state) $$;

CREATE FUNCTION ledger._not_claimed() RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT ledger._refusal(0, 'STALE_ATTEMPT', 'the claim is not this worker''s any more; nothing was done') $$;

CREATE FUNCTION ledger._withdrawal_cannot(w ledger.withdrawal) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT ledger._refusal(0, 'ILLEGAL_TRANSITION', format('withdrawal %s is %s%s; nothing was done', w.withdrawal_id, w.state,
        CASE WHEN w.needs_person_since IS NOT NULL THEN ' and waits for a person' ELSE '' END))
$$;

CREATE FUNCTION ledger._withdrawal_move(w ledger.withdrawal, p_to text, p_cause text, p_now timestamptz, p_detail jsonb DEFAULT '{}')
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.withdrawal q SET state = p_to, state_at = p_now, cause = left(p_cause, 500), attempts = w.attempts,
        fate_open = w.fate_open AND p_to IN ('SENDING', 'UNKNOWN'), last_deadline = w.last_deadline, reference = w.reference,
        alarm_at = CASE WHEN p_to = 'DRAINING' THEN p_now + make_interval(secs => w.drain_ms / 1000.0)
                        WHEN p_to = 'UNLOCKED' OR p_to = 'DEBITED' AND w.state = 'UNLOCKED'
                            THEN p_now + make_interval(secs => w.alarm_ms / 1000.0)
                        WHEN p_to IN ('DEBITED', 'SENDING', 'UNKNOWN') THEN w.alarm_at END,
        needs_person_since = NULL, needs_person_why = NULL, next_at = p_now,
        -- Each step is claimed anew; only a send keeps its claim until it is answered.
        claimed_until = CASE WHEN p_to = 'SENDING' THEN w.claimed_until END
    WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    PERFORM ledger._journal(w.account_id, NULL, p_now, 'WITHDRAWAL_MOVED', NULL, NULL, w.state, p_to,
        p_detail || jsonb_build_object('withdrawal', w.withdrawal_id, 'cause', left(p_cause, 500)));
    RETURN ledger._withdrawal_is(w, p_to);
END $$;

CREATE FUNCTION ledger._withdrawal_book(w ledger.withdrawal, p_amount bigint, p_step text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_key text := format('withdrawal:%s:%s', w.withdrawal_id, p_step);
    v_note text := format('withdrawal %s to %s', w.withdrawal_id, w.destination);
BEGIN
    PERFORM ledger._book(w.account_id, 'collateral', p_amount, 0, 'withdrawal', v_key, p_now, NULL, NULL, v_note, 'outside');
    PERFORM ledger._journal(w.account_id, NULL, p_now, 'MOVEMENT', p_detail => jsonb_build_object('asset', 'collateral',
        'amount', p_amount, 'cause', 'withdrawal', 'key', v_key, 'note', v_note, 'value', NULL, 'withdrawal', w.withdrawal_id));
END $$;
COMMENT ON FUNCTION ledger._withdrawal_book(ledger.withdrawal, bigint, text, timestamptz) IS
    'A movement between the account and the outside; its key is of the withdrawal and the step, so that it is booked once. '
    'Nobody else can take that key: book_movement writes under movement: alone.';

CREATE FUNCTION ledger._drained(p_account_id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN jsonb_build_object(
        'open', (SELECT count(*) FROM ledger.orders o WHERE o.account_id = p_account_id
                 AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')),
        'locked', coalesce((SELECT b.locked FROM ledger.balance b WHERE b.account_id = p_account_id AND b.asset = 'collateral'), 0),
        'available', coalesce((SELECT b.available FROM ledger.balance b
                               WHERE b.account_id = p_account_id AND b.asset = 'collateral'), 0));
END $$;

CREATE FUNCTION ledger.start_withdrawal(
    p_account text, p_amount bigint, p_destination text, p_key text, p_why text, p_as text,
    p_drain_ms bigint DEFAULT 120000, p_alarm_ms bigint DEFAULT 600000) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    a ledger.account;
    w ledger.withdrawal;
    v_now timestamptz;
    v_there jsonb;
BEGIN
    PERFORM ledger._enter();
    SELECT * INTO a FROM ledger.account q WHERE q.name = p_account;
    IF a.account_id IS NULL THEN
        RETURN ledger._refusal(0, 'UNKNOWN_ACCOUNT', 'there is no such account');
    ELSIF p_key IS NULL OR octet_length(p_key) NOT BETWEEN 1 AND 200 THEN
        RETURN ledger._refusal(0, 'BAD_KEY', 'the key must be text of 1 to 200 bytes');
    ELSIF coalesce(p_amount, 0) <= 0 OR coalesce(p_why, '') !~ '\S' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'a withdrawal needs an amount above zero and a reason');
    ELSIF coalesce(p_destination, '') !~ '^0x[0-9a-fA-F]{40}$' OR p_destination ~ '^0x0{40}$'
          OR lower(p_destination) = lower(a.maker) THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'the destination must be the address of another wallet (0x and 40 hex digits)');
    ELSIF p_drain_ms IS NULL OR p_drain_ms NOT BETWEEN 1000 AND 86400000 OR p_alarm_ms IS NULL
          OR p_alarm_ms NOT BETWEEN 1000 AND 86400000 THEN
        RETURN ledger._refusal(0, 'BAD_VALIDITY', 'a person is called after 1 s to 24 h');
    END IF;
    PERFORM FROM ledger.account_state s WHERE s.account_id = a.account_id FOR UPDATE;
    v_now := ledger.clock();
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.account_id = a.account_id AND q.key = p_key;
    IF FOUND THEN
        RETURN CASE WHEN (w.amount_micros, w.destination) = (p_amount, lower(p_destination))
            THEN ledger._withdrawal_is(w, w.state) || jsonb_build_object('replay', true)
            ELSE ledger._refusal(0, 'KEY_REUSED', 'the key belongs to another withdrawal; nothing was started') END;
    END IF;
    SELECT * INTO w FROM ledger.withdrawal q WHERE q.account_id = a.account_id AND q.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED');
    v_there := ledger._drained(a.account_id);
    IF w.withdrawal_id IS NOT NULL THEN
        RETURN ledger._refusal(0, 'BUSY', format('withdrawal %s of this account is %s; nothing was started', w.withdrawal_id, w.state));
    ELSIF (v_there ->> 'available')::bigint + (v_there ->> 'locked')::bigint < p_amount THEN
        RETURN ledger._refusal(0, 'INSUFFICIENT_COLLATERAL', format('%s needed, %s available when everything is cancelled', p_amount,
            (v_there ->> 'available')::bigint + (v_there ->> 'locked')::bigint));
    END IF;
    INSERT INTO ledger.withdrawal (account_id, key, amount_micros, destination, why, asked_by, asked_as, asked_at, drain_ms, alarm_ms,
                                   state, state_at, next_at)
    VALUES (a.account_id, p_key, p_amount, lower(p_destination), left(p_why, 500), session_user, left(coalesce(p_as, ''), 200), v_now,
            p_drain_ms, p_alarm_ms, 'REQUESTED', v_now, v_now)
    RETURNING * INTO w;
    PERFORM ledger._journal(a.account_id, NULL, v_now, 'WITHDRAWAL_ASKED', NULL, NULL, NULL, 'REQUESTED', jsonb_build_object(
        'withdrawal', w.withdrawal_id, 'amount', w.amount_micros, 'destination', w.destination, 'key', w.key, 'why', w.why,
        'operator', w.asked_as));
    RETURN ledger._withdrawal_is(w, 'REQUESTED') || jsonb_build_object('replay', false);
END $$;
COMMENT ON FUNCTION ledger.start_withdrawal(text, bigint, text, text, text, text, bigint, bigint) IS
    'Asked once per key: the same key with the same amount and destination is a replay, with others it is refused.';

CREATE FUNCTION ledger.claim_withdrawals(p_incarnation uuid, p_accounts text[], p_lease_ms integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_now timestamptz := ledger.clock();
    v_out jsonb;
BEGIN
    PERFORM ledger._enter();
    WITH due AS (
        SELECT q.account_id, q.withdrawal_id FROM ledger.withdrawal q
        WHERE q.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED')
          -- Further ahead than any of these times reaches, it was set before the clock went back.
          AND (q.next_at <= v_now OR q.next_at > v_now + interval '61 seconds')
          AND (q.claimed_until IS NULL OR q.claimed_until <= v_now OR q.claimed_until > v_now + interval '616 seconds')
          AND q.account_id IN (SELECT a.account_id FROM ledger.account a WHERE a.name = ANY (p_accounts))
        ORDER BY q.next_at LIMIT 16 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE ledger.withdrawal q SET claimed_by = p_incarnation, claim_no = q.claim_no + 1,
            -- Only a look-up lasts; a send has its claim prolonged when its attempt is opened. Whoever dies at any other
            -- step holds it up for no longer than this.
            claimed_until = v_now + make_interval(secs => least(greatest(p_lease_ms, 100),
                CASE q.state WHEN 'UNKNOWN' THEN 600000 ELSE 3000 END) / 1000.0)
        FROM due WHERE q.account_id = due.account_id AND q.withdrawal_id = due.withdrawal_id
        RETURNING q.*)
    SELECT coalesce(jsonb_agg(jsonb_build_object('withdrawal_id', w.withdrawal_id, 'account', a.name, 'claim_no', w.claim_no,
        'state', w.state, 'amount_micros', w.amount_micros, 'destination', w.destination, 'attempts', w.attempts,
        'reference', w.reference, 'needs_person', w.needs_person_since IS NOT NULL, 'alarm_due', coalesce(w.alarm_at <= v_now, false),
        'since_attempt_ms', (SELECT floor(extract(epoch FROM v_now - max(t.ended_at)) * 1000)::bigint FROM ledger.withdrawal_attempt t
                             WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id),
        'treasury', b.treasury, 'repeatable', b.repeatable, 'hash', b.hash,
        'body', replace(encode(b.body, 'base64'), E'\n', '')) || ledger._drained(w.account_id)
        ORDER BY w.withdrawal_id), '[]') INTO v_out
    FROM claimed w JOIN ledger.account a USING (account_id)
    LEFT JOIN ledger.withdrawal_transfer b USING (account_id, withdrawal_id);
    RETURN v_out;
END $$;
COMMENT ON FUNCTION ledger.claim_withdrawals(uuid, text[], integer) IS
    'What is due and nobody''s: claimed by a guarded update, for p_lease_ms where it is to be looked up and for 3 s at '
    'most elsewhere. Each step that is done gives the claim back.';

CREATE FUNCTION ledger.stop_for_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
BEGIN
    RETURN CASE WHEN w.withdrawal_id IS NULL THEN ledger._not_claimed()
        WHEN w.state <> 'REQUESTED' THEN ledger._withdrawal_cannot(w)
        ELSE ledger._withdrawal_move(w, 'STOPPING', '', ledger.clock()) END;
END $$;
COMMENT ON FUNCTION ledger.stop_for_withdrawal(bigint, uuid, bigint) IS
    'From its commit on no intent of the account is admitted or sent: both are decided under the account_state lock that this takes.';

CREATE FUNCTION ledger.drain_for_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_account_id bigint := (SELECT q.account_id FROM ledger.withdrawal q WHERE q.withdrawal_id = p_id AND q.state <> 'REQUESTED');
    v_locked bigint[];
    w ledger.withdrawal;
    o ledger.orders;
    v_now timestamptz;
    v_left jsonb;
BEGIN
    -- By condition, as the sweep: repeated until nothing is left that no cancel was asked of.
    v_locked := ledger._lock_lanes(array(
        SELECT q.order_id FROM ledger.orders q WHERE q.account_id = v_account_id AND q.cancel_asked_at IS NULL
        AND q.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED') ORDER BY q.order_id LIMIT 200));
    w := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state NOT IN ('STOPPING', 'DRAINING') THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    FOR o IN SELECT * FROM ledger.orders q WHERE q.order_id = ANY (v_locked) AND q.cancel_asked_at IS NULL LOOP
        PERFORM ledger._cancel_one(o, format('withdrawal %s', p_id), ledger._lane_time(o.account_id, o.market_id));
    END LOOP;
    v_now := ledger.clock();
    v_left := ledger._drained(w.account_id);
    IF w.state = 'STOPPING' THEN
        RETURN ledger._withdrawal_move(w, 'DRAINING', '', v_now, v_left) || v_left;
    ELSIF w.needs_person_since IS NULL AND (v_left ->> 'open')::bigint = 0 AND (v_left ->> 'locked')::bigint = 0
          AND (v_left ->> 'available')::bigint >= w.amount_micros AND w.alarm_at > v_now THEN
        RETURN ledger._withdrawal_move(w, 'UNLOCKED', '', v_now, v_left) || v_left;
    END IF;
    RETURN ledger._withdrawal_is(w, w.state) || v_left;
END $$;
COMMENT ON FUNCTION ledger.drain_for_withdrawal(bigint, uuid, bigint) IS
    'Asks for every cancel, and goes on only when no order is open, no collateral is locked, the amount is there, and in time.';

CREATE FUNCTION ledger.debit_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_transfer jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
    v_left jsonb;
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'UNLOCKED' OR w.needs_person_since IS NOT NULL THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    v_left := ledger._drained(w.account_id);
    IF (v_left ->> 'open')::bigint > 0 OR (v_left ->> 'locked')::bigint > 0 OR (v_left ->> 'available')::bigint < w.amount_micros THEN
        -- A fact has come in since: an order that was thought ended lives, or a fill took its price.
        RETURN ledger._withdrawal_move(w, 'DRAINING', 'NOT_DRAINED', v_now, v_left);
    END IF;
    INSERT INTO ledger.withdrawal_transfer (account_id, withdrawal_id, treasury, repeatable, hash, body, prepared_at, prepared_by)
    VALUES (w.account_id, w.withdrawal_id, p_transfer ->> 'treasury', (p_transfer ->> 'repeatable')::boolean, p_transfer ->> 'hash',
            decode(p_transfer ->> 'body', 'base64'), v_now, p_incarnation);
    PERFORM ledger._withdrawal_book(w, -w.amount_micros, 'debit', v_now);
    RETURN ledger._withdrawal_move(w, 'DEBITED', '', v_now, jsonb_build_object('hash', p_transfer ->> 'hash',
        'treasury', p_transfer ->> 'treasury', 'body', encode(sha256(decode(p_transfer ->> 'body', 'base64')), 'hex')));
END $$;
COMMENT ON FUNCTION ledger.debit_withdrawal(bigint, uuid, bigint, jsonb) IS
    'The debit and the bytes {treasury, repeatable, hash, body (base64)} in one commit. Nothing has been sent by then.';

CREATE FUNCTION ledger.put_off_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_ms bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
BEGIN
    PERFORM ledger._enter();
    UPDATE ledger.withdrawal q SET claimed_until = NULL,
        next_at = ledger.clock() + make_interval(secs => least(greatest(p_ms, 0), 60000) / 1000.0)
    WHERE q.withdrawal_id = p_id AND q.claimed_by = p_incarnation AND q.claim_no = p_claim_no AND q.claimed_until IS NOT NULL;
    RETURN FOUND;
END $$;

CREATE FUNCTION ledger.escalate_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint, p_why text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.needs_person_since IS NULL THEN
        UPDATE ledger.withdrawal q SET needs_person_since = v_now, needs_person_why = left(p_why, 500), next_at = v_now, claimed_until = NULL
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        PERFORM ledger._journal(w.account_id, NULL, v_now, 'WITHDRAWAL_ESCALATED', NULL, NULL, w.state, w.state,
            jsonb_build_object('withdrawal', w.withdrawal_id, 'why', left(p_why, 500)));
    END IF;
    RETURN ledger._withdrawal_is(w, w.state);
END $$;
COMMENT ON FUNCTION ledger.escalate_withdrawal(bigint, uuid, bigint, text) IS
    'Calls a person. Until one answers it goes no step further, and the account stays paused.';
