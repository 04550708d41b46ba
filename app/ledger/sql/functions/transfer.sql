-- purpose: the transfer of a withdrawal: attempts, answers, what is seen of it, proof of failure, and the word of a person.
-- locks:   account_state, the withdrawal, then its attempt and evidence.
-- index:   primary keys.
-- fence:   an answer needs the open attempt of its incarnation; a failure is believed only when no copy can be carried out any more.

CREATE FUNCTION ledger.open_transfer(
    p_id bigint, p_incarnation uuid, p_claim_no bigint, p_request_ms bigint, p_valid_ms bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    b ledger.withdrawal_transfer;
    v_now timestamptz := ledger.clock();
    v_send_by timestamptz := v_now + interval '2 seconds';
BEGIN
    SELECT * INTO b FROM ledger.withdrawal_transfer q WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state NOT IN ('DEBITED', 'UNKNOWN') OR w.needs_person_since IS NOT NULL OR b.body IS NULL THEN
        RETURN ledger._withdrawal_cannot(w);
    ELSIF NOT b.repeatable AND EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = w.account_id
              AND t.withdrawal_id = w.withdrawal_id AND t.outcome <> 'not_sent') THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', 'a copy may have left, and a second one could move the money twice; send nothing');
    ELSIF coalesce(p_request_ms, 0) NOT BETWEEN 1 AND 600000 OR coalesce(p_valid_ms, -1) NOT BETWEEN 0 AND 86400000 THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'how long a request and its bytes live is needed; send nothing');
    END IF;
    w.attempts := w.attempts + 1;
    w.last_deadline := greatest(w.last_deadline, v_send_by + make_interval(secs => (p_request_ms + p_valid_ms) / 1000.0));
    -- The claim outlives the request, so that what is sent under it is recorded under it.
    w.claimed_until := v_now + make_interval(secs => (p_request_ms + 15000) / 1000.0);
    INSERT INTO ledger.withdrawal_attempt (account_id, withdrawal_id, attempt, incarnation, opened_at, send_by, deadline)
    VALUES (w.account_id, w.withdrawal_id, w.attempts, p_incarnation, v_now, v_send_by, w.last_deadline);
    RETURN ledger._withdrawal_move(w, 'SENDING', '', v_now, jsonb_build_object('attempt', w.attempts, 'deadline', w.last_deadline))
        || jsonb_build_object('attempt', w.attempts, 'send_within_ms', 2000);
END $$;
COMMENT ON FUNCTION ledger.open_transfer(bigint, uuid, bigint, bigint, bigint) IS
    'The stored bytes may leave only after this has returned ok, and only until send_within_ms after a monotonic clock reading '
    'taken before the call. p_request_ms, p_valid_ms: how long the request lasts, and how long after it a copy may still be '
    'carried out.';

CREATE FUNCTION ledger._transfer_evidence(w ledger.withdrawal, p_kind text, p_detail text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE ledger.withdrawal_evidence e SET times = e.times + 1, last_seen_at = p_now
    WHERE e.account_id = w.account_id AND e.withdrawal_id = w.withdrawal_id AND e.kind = p_kind AND e.detail = left(p_detail, 2000)
      AND e.evidence_id = (SELECT max(q.evidence_id) FROM ledger.withdrawal_evidence q
                           WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id);
    IF NOT FOUND THEN
        INSERT INTO ledger.withdrawal_evidence (account_id, withdrawal_id, kind, detail, seen_at, last_seen_at)
        VALUES (w.account_id, w.withdrawal_id, p_kind, left(p_detail, 2000), p_now, p_now);
    END IF;
END $$;

CREATE FUNCTION ledger._transfer_done(w ledger.withdrawal, p_cause text, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF w.state = 'DONE' THEN
        RETURN ledger._withdrawal_is(w, 'DONE');
    ELSIF w.state = 'COMPENSATED' THEN
        -- A fact is always booked. Somebody concluded what was not so: trading stops until a person has looked.
        PERFORM ledger._withdrawal_book(w, -w.amount_micros, 'debit_again', p_now);
    END IF;
    IF w.state IN ('FAILED', 'COMPENSATED') THEN
        PERFORM ledger._halt_once('account', w.account_id::text,
            format('WITHDRAWAL_CAME_LATE: %s was carried out after it had been given up', w.withdrawal_id), p_now);
    END IF;
    RETURN ledger._withdrawal_move(w, 'DONE', p_cause, p_now);
END $$;

CREATE FUNCTION ledger.record_transfer(
    p_id bigint, p_incarnation uuid, p_attempt integer, p_outcome text, p_code text, p_answer text, p_reference text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_code text := left(coalesce(p_code, ''), 200);
BEGIN
    IF w.withdrawal_id IS NULL OR p_outcome NOT IN ('done', 'accepted', 'refused', 'not_sent', 'unsure') THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', 'no such withdrawal or outcome; nothing was recorded');
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = p_outcome, code = v_code, answer = left(coalesce(p_answer, ''), 8192), ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.attempt = p_attempt
      AND t.incarnation = p_incarnation AND t.outcome = 'open';
    IF NOT FOUND OR w.state <> 'SENDING' THEN
        PERFORM ledger._transfer_evidence(w, 'late_answer', format('attempt %s: %s %s %s', p_attempt, p_outcome, v_code, p_answer), v_now);
        UPDATE ledger.withdrawal q SET reference = coalesce(q.reference, left(p_reference, 200))
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        IF p_outcome = 'done' AND w.attempts > 0 THEN
            w.reference := coalesce(w.reference, left(p_reference, 200));
            RETURN ledger._transfer_done(w, 'LATE_ANSWER', v_now);
        END IF;
        RETURN ledger._refusal(0, 'STALE_ATTEMPT', 'this attempt is not open for this worker; kept as evidence');
    END IF;
    w.reference := coalesce(left(p_reference, 200), w.reference);
    w.fate_open := w.fate_open OR p_outcome IN ('accepted', 'unsure');
    RETURN CASE
        WHEN p_outcome = 'done' THEN ledger._transfer_done(w, v_code, v_now)
        -- A refusal of this copy proves nothing about an earlier one.
        WHEN w.fate_open THEN ledger._withdrawal_move(w, 'UNKNOWN', v_code, v_now, jsonb_build_object('outcome', p_outcome))
        WHEN p_outcome = 'refused' THEN ledger._withdrawal_move(w, 'FAILED', v_code, v_now, jsonb_build_object('proof', 'refused'))
        ELSE ledger._withdrawal_move(w, 'DEBITED', v_code, v_now, jsonb_build_object('outcome', p_outcome)) END;
END $$;
COMMENT ON FUNCTION ledger.record_transfer(bigint, uuid, integer, text, text, text, text) IS
    'How an attempt ended: done, accepted (not carried out yet), refused (proof that this copy moves nothing), not_sent, unsure. '
    'Whatever is in doubt becomes UNKNOWN and stays debited.';

CREATE FUNCTION ledger.lapse_transfer(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'SENDING' THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = 'lapsed', ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open';
    w.fate_open := true;
    RETURN ledger._withdrawal_move(w, 'UNKNOWN', 'CLAIM_LAPSED', v_now);
END $$;
COMMENT ON FUNCTION ledger.lapse_transfer(bigint, uuid, bigint) IS
    'Whoever was sending has lost its claim without an answer: the transfer may have left or not.';

CREATE FUNCTION ledger._may_still_arrive(w ledger.withdrawal, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN coalesce(w.last_deadline >= p_now, false) OR EXISTS (SELECT FROM ledger.withdrawal_attempt t
        WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open' AND t.deadline >= p_now);
END $$;

CREATE FUNCTION ledger.note_transfer(
    p_id bigint, p_incarnation uuid, p_claim_no bigint, p_finding text, p_proof boolean, p_detail text, p_reference text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
    v_now timestamptz := ledger.clock();
BEGIN
    IF w.withdrawal_id IS NULL THEN
        RETURN ledger._not_claimed();
    ELSIF w.state <> 'UNKNOWN' OR p_finding NOT IN ('done', 'failed', 'pending', 'absent', 'unread') THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    PERFORM ledger._transfer_evidence(w, p_finding, coalesce(p_detail, ''), v_now);
    w.reference := coalesce(w.reference, left(p_reference, 200));
    IF p_finding = 'done' THEN
        RETURN ledger._transfer_done(w, 'SEEN', v_now);
    ELSIF p_finding IN ('failed', 'absent') AND p_proof AND NOT ledger._may_still_arrive(w, v_now) THEN
        RETURN ledger._withdrawal_move(w, 'FAILED', 'PROVEN_' || upper(p_finding), v_now, jsonb_build_object('proof', p_finding));
    END IF;
    UPDATE ledger.withdrawal q SET reference = w.reference WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
    RETURN ledger._withdrawal_is(w, w.state);
END $$;
COMMENT ON FUNCTION ledger.note_transfer(bigint, uuid, bigint, text, boolean, text, text) IS
    'What a look-up found. failed and absent end it only where the read is proof (p_proof) and no copy can still be carried out.';

CREATE FUNCTION ledger._compensate(w ledger.withdrawal, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    w.state := 'FAILED';
    PERFORM ledger._withdrawal_book(w, w.amount_micros, 'credit', p_now);
    RETURN ledger._withdrawal_move(w, 'COMPENSATED', '', p_now);
END $$;

CREATE FUNCTION ledger.compensate_withdrawal(p_id bigint, p_incarnation uuid, p_claim_no bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id, p_incarnation, p_claim_no);
BEGIN
    RETURN CASE WHEN w.withdrawal_id IS NULL THEN ledger._not_claimed()
        WHEN w.state <> 'FAILED' THEN ledger._withdrawal_cannot(w) ELSE ledger._compensate(w, ledger.clock()) END;
END $$;
COMMENT ON FUNCTION ledger.compensate_withdrawal(bigint, uuid, bigint) IS 'Gives the money back, once: FAILED is reached by proof alone.';

CREATE FUNCTION ledger.cancel_withdrawal(p_id bigint, p_why text, p_as text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_who jsonb := jsonb_build_object('why', left(p_why, 500), 'operator', left(coalesce(p_as, ''), 200));
BEGIN
    IF w.withdrawal_id IS NULL OR coalesce(p_why, '') !~ '\S' THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', CASE WHEN w.withdrawal_id IS NULL THEN 'there is no such withdrawal'
            ELSE 'cancelling needs a reason' END || '; nothing was changed');
    ELSIF w.state = 'CANCELLED' THEN
        RETURN ledger._withdrawal_is(w, 'CANCELLED');
    ELSIF w.state IN ('DONE', 'COMPENSATED') THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('withdrawal %s is %s; nothing was changed', p_id, w.state));
    ELSIF w.state IN ('REQUESTED', 'STOPPING', 'DRAINING', 'UNLOCKED') THEN
        RETURN ledger._withdrawal_move(w, 'CANCELLED', 'CANCEL_ASKED', v_now, v_who);
    ELSIF w.state = 'DEBITED' THEN
        -- No attempt was opened, or each is known not to have left: that is proof.
        PERFORM ledger._withdrawal_move(w, 'FAILED', 'CANCEL_ASKED', v_now, v_who || '{"proof": "not_sent"}');
        RETURN ledger._compensate(w, v_now);
    ELSIF w.state = 'FAILED' THEN
        RETURN ledger._withdrawal_cannot(w);
    END IF;
    RETURN ledger._refusal(0, 'NOT_PROVEN', format('withdrawal %s is %s: its transfer may have left; nothing was changed', p_id, w.state));
END $$;
COMMENT ON FUNCTION ledger.cancel_withdrawal(bigint, text, text) IS
    'Before anything was sent. The pause ends with it; a debit is given back in the same commit. Safe to repeat.';

CREATE FUNCTION ledger.resolve_withdrawal(p_id bigint, p_as text, p_why text, p_operator text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    w ledger.withdrawal := ledger._withdrawal(p_id);
    v_now timestamptz := ledger.clock();
    v_who jsonb := jsonb_build_object('as', p_as, 'why', left(p_why, 500), 'operator', left(coalesce(p_operator, ''), 200));
BEGIN
    IF w.withdrawal_id IS NULL OR coalesce(p_why, '') !~ '\S' OR coalesce(p_as, '') NOT IN ('done', 'failed', 'continue') THEN
        RETURN ledger._refusal(0, 'BAD_REQUEST', CASE WHEN w.withdrawal_id IS NULL THEN 'there is no such withdrawal'
            ELSE 'resolve as done, failed or continue, and say why' END || '; nothing was changed');
    ELSIF w.state IN ('DONE', 'COMPENSATED', 'CANCELLED') THEN
        RETURN ledger._refusal(0, 'ALREADY_ENDED', format('withdrawal %s is %s; nothing was changed', p_id, w.state));
    ELSIF p_as = 'continue' AND w.needs_person_since IS NULL OR p_as <> 'continue' AND w.state NOT IN ('UNKNOWN', 'SENDING', 'FAILED') THEN
        RETURN ledger._withdrawal_cannot(w);
    ELSIF p_as <> 'continue' AND (w.state = 'SENDING' OR w.state = 'UNKNOWN' AND p_as = 'failed') AND ledger._may_still_arrive(w, v_now) THEN
        RETURN ledger._refusal(0, 'NOT_PROVEN', format('a copy may still be carried out until %s; nothing was changed', w.last_deadline));
    END IF;
    PERFORM ledger._transfer_evidence(w, 'operator', format('%s: %s: %s', p_operator, p_as, p_why), v_now);
    IF p_as = 'continue' THEN
        UPDATE ledger.withdrawal q SET needs_person_since = NULL, needs_person_why = NULL, next_at = v_now,
            alarm_at = v_now + make_interval(secs => CASE w.state WHEN 'DRAINING' THEN w.drain_ms ELSE w.alarm_ms END / 1000.0)
        WHERE q.account_id = w.account_id AND q.withdrawal_id = w.withdrawal_id;
        PERFORM ledger._journal(w.account_id, NULL, v_now, 'WITHDRAWAL_CONTINUED', NULL, NULL, w.state, w.state,
            v_who || jsonb_build_object('withdrawal', w.withdrawal_id));
        RETURN ledger._withdrawal_is(w, w.state);
    END IF;
    UPDATE ledger.withdrawal_attempt t SET outcome = 'lapsed', ended_at = v_now
    WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id AND t.outcome = 'open';
    IF p_as = 'done' THEN
        RETURN ledger._withdrawal_move(w, 'DONE', 'OPERATOR', v_now, v_who);
    ELSIF w.state = 'FAILED' THEN
        RETURN ledger._compensate(w, v_now);
    END IF;
    PERFORM ledger._withdrawal_move(w, 'FAILED', 'OPERATOR', v_now, v_who || '{"proof": "operator"}');
    RETURN ledger._compensate(w, v_now);
END $$;
COMMENT ON FUNCTION ledger.resolve_withdrawal(bigint, text, text, text) IS
    'A person who has looked says it is done, or that it failed (the money is given back: once that is proven, or no copy '
    'can be carried out any more), or lets what waits for a person go on with its time anew.';
