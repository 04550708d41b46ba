-- purpose: what happened and who did it: timelines, journal, queues, drift, changes, state as of a time.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   journal_of_order, journal_of_market, fill_of_market, outbox and idempotency_key by primary key.
-- fence:   as audit.sql; as_of and exposure_as_of are SECURITY DEFINER, read only, with a search_path that ends in pg_temp.

CREATE VIEW audit.journal AS
SELECT a.name AS account, j.seq, m.condition_id AS market, m.slug, j.market_seq, j.at, j.event, j.order_id, j.attempt,
    j.from_state, j.to_state, j.actor::text AS actor, j.detail, encode(j.digest, 'hex') AS digest
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id;
COMMENT ON VIEW audit.journal IS
    'The append-only journal as it stands: seq has no gaps per account, market_seq none per account and market; each digest '
    'is of the one before and of the row.';

CREATE VIEW audit.order_timeline AS
SELECT a.name AS account, t.order_id, o.key, t.at, t.source, t.event, t.attempt, t.from_state, t.to_state, t.actor, t.detail,
    t.seq
FROM (
    SELECT j.account_id, j.order_id, j.at, 'journal' AS source, j.event, j.attempt, j.from_state, j.to_state,
        j.actor::text AS actor, j.detail, j.seq
    FROM ledger.journal j WHERE j.order_id IS NOT NULL
    UNION ALL
    SELECT v.account_id, v.order_id, v.at, 'evidence', v.kind, NULL, NULL, NULL, v.incarnation::text,
        jsonb_build_object('detail', v.detail, 'started_at', v.started_at), NULL
    FROM ledger.evidence v
    UNION ALL
    SELECT t.account_id, t.order_id, t.opened_at, 'attempt', 'opened', t.attempt, NULL, NULL, t.incarnation::text,
        jsonb_build_object('send_by', t.send_by, 'deadline', t.deadline), NULL
    FROM ledger.attempt t
    UNION ALL
    SELECT t.account_id, t.order_id, t.ended_at, 'attempt', t.outcome, t.attempt, NULL, NULL, t.incarnation::text,
        jsonb_build_object('code', t.code, 'answer', t.answer), NULL
    FROM ledger.attempt t WHERE t.ended_at IS NOT NULL) t
JOIN ledger.account a ON a.account_id = t.account_id
LEFT JOIN ledger.orders o ON o.account_id = t.account_id AND o.order_id = t.order_id;
COMMENT ON VIEW audit.order_timeline IS
    'An order''s life: journal rows (seq orders them), attempts with the venue''s answers, and evidence. Order by at, seq.';

CREATE VIEW audit.idempotency AS
SELECT a.name AS account, k.key, k.kind, CASE k.kind WHEN 'replacement' THEN q.new_order_id ELSE k.subject_id END AS order_id,
    CASE k.kind WHEN 'replacement' THEN q.old_order_id END AS replaces_order_id,
    CASE k.kind WHEN 'replacement' THEN 'replacement ' || q.state ELSE o.state END AS state,
    encode(k.fingerprint, 'hex') AS fingerprint, k.bound_at
FROM ledger.idempotency_key k
JOIN ledger.account a ON a.account_id = k.account_id
LEFT JOIN ledger.replacement q ON k.kind = 'replacement' AND q.account_id = k.account_id AND q.replacement_id = k.subject_id
LEFT JOIN ledger.orders o ON k.kind = 'order' AND o.account_id = k.account_id AND o.order_id = k.subject_id;
COMMENT ON VIEW audit.idempotency IS 'Which key became which order. The fingerprint is the SHA-256 of the request as asked.';

CREATE VIEW audit.outbox AS
SELECT a.name AS account, m.condition_id AS market, m.slug, b.outbox_id, b.order_id, o.key, o.state AS order_state, b.status,
    b.status <> 'done' AND b.outbox_id = (
        SELECT min(h.outbox_id) FROM ledger.outbox h WHERE h.account_id = b.account_id AND h.market_id = b.market_id
        AND h.status IN ('ready', 'claimed', 'blocked', 'dead') AND h.released_at IS NULL) AS lane_head,
    b.passes_block, b.set_id, b.not_before, b.released_at, b.claimed_by, w.name AS worker, b.claimed_until, b.claim_no, b.failures,
    floor(extract(epoch FROM ledger.clock() - o.created_at) * 1000)::bigint AS age_ms,
    c.status AS cancel_status, c.reason AS cancel_reason, c.asked_by::text AS cancel_asked_by, c.next_at AS cancel_next_at,
    c.tries AS cancel_tries, c.last_answer AS cancel_answer
FROM ledger.outbox b
JOIN ledger.account a ON a.account_id = b.account_id
LEFT JOIN ledger.market m ON m.market_id = b.market_id
LEFT JOIN ledger.orders o ON o.account_id = b.account_id AND o.order_id = b.order_id
LEFT JOIN ledger.worker w ON w.incarnation = b.claimed_by
LEFT JOIN ledger.cancel_request c ON c.account_id = b.account_id AND c.order_id = b.order_id;
COMMENT ON VIEW audit.outbox IS 'What is to be done at the venue: each placement with its lane, claim and failures, and the cancel beside it.';

CREATE VIEW audit.dead_letters AS
SELECT a.name AS account, d.dead_letter_id, d.source, d.subject, d.problem, d.failures, d.at, d.retried_at IS NULL AS standing,
    d.retried_by::text AS retried_by, d.retried_at
FROM ledger.dead_letter d JOIN ledger.account a ON a.account_id = d.account_id;
COMMENT ON VIEW audit.dead_letters IS 'Placements and venue events that could not be handled, until somebody retries them.';

CREATE VIEW audit.drift AS
SELECT a.name AS account, d.drift_id, d.run_id, r.kind AS run_kind, r.result AS run_result, d.kind, d.subject, d.ours,
    d.theirs, d.action, d.found_at, d.resolved_at, d.drift_class, d.after, d.evidence
FROM ledger.drift d
JOIN ledger.account a ON a.account_id = d.account_id
LEFT JOIN ledger.reconcile_run r ON r.account_id = d.account_id AND r.run_id = d.run_id;
COMMENT ON VIEW audit.drift IS 'Differences between the ledger and the venue that a comparison found, and what was done about each.';

CREATE VIEW audit.reconcile_runs AS
SELECT a.name AS account, r.run_id, r.kind, r.incarnation, w.name AS worker, r.started_at, r.ended_at, r.result, r.detail
FROM ledger.reconcile_run r
JOIN ledger.account a ON a.account_id = r.account_id
LEFT JOIN ledger.worker w ON w.incarnation = r.incarnation;
COMMENT ON VIEW audit.reconcile_runs IS 'Comparisons with the venue: when, by whom, clean, drift or incomplete.';

CREATE VIEW audit.changes AS
SELECT c.changed_at AS at, c.changed_by::text AS who, ''::text AS as_whom, 'limit'::text AS kind,
    a.name AS account, m.condition_id AS market, m.slug,
    CASE c.scope WHEN '' THEN c.name WHEN 'group' THEN c.name || ' of ' || coalesce('group ' || nullif(c.scope_id, ''), 'each group')
         WHEN 'account' THEN c.name || ' of ' || CASE c.scope_id WHEN '' THEN 'each account' ELSE 'the account' END
         ELSE c.name || ' of all ' || CASE c.scope WHEN 'live' THEN 'live ' ELSE '' END || 'accounts' END AS what,
    c.before, c.after, c.why
FROM ledger.limit_change c
LEFT JOIN ledger.account a ON a.account_id = c.account_id OR c.scope = 'account' AND a.account_id::text = c.scope_id
LEFT JOIN ledger.market m ON m.market_id = c.market_id
UNION ALL
SELECT h.set_at, h.set_by, h.set_as, 'halt', CASE h.scope WHEN 'account' THEN h.subject END,
    CASE h.scope WHEN 'market' THEN h.subject END, h.slug, h.scope, NULL, 'halted, version ' || h.version, h.why
FROM audit.halts h WHERE h.kind = 'halt'
UNION ALL
SELECT h.cleared_at, h.cleared_by, h.cleared_as, 'resume', CASE h.scope WHEN 'account' THEN h.subject END,
    CASE h.scope WHEN 'market' THEN h.subject END, h.slug, h.scope, 'halted, version ' || h.version, NULL, h.cleared_why
FROM audit.halts h WHERE h.kind = 'halt' AND NOT h.standing
UNION ALL
SELECT g.granted_at, g.granted_by::text, '', 'grant', a.name, NULL, NULL, 'account', NULL, g.role_name::text, ''
FROM ledger.account_grant g JOIN ledger.account a ON a.account_id = g.account_id
UNION ALL
-- What was taken away, and what had been granted until then.
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''), CASE j.event WHEN 'GRANTED' THEN 'grant' ELSE 'revoke' END,
    a.name, NULL, NULL, 'account', CASE j.event WHEN 'REVOKED' THEN j.detail ->> 'role' END,
    CASE j.event WHEN 'GRANTED' THEN j.detail ->> 'role' END, coalesce(j.detail ->> 'why', '')
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id
WHERE j.event = 'REVOKED' OR j.event = 'GRANTED' AND NOT EXISTS (
    SELECT FROM ledger.account_grant g
    WHERE g.account_id = j.account_id AND g.role_name = j.detail ->> 'role' AND g.granted_at = j.at)
UNION ALL
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''), 'foreign order', a.name, NULL, NULL,
    j.detail ->> 'venue_order_id', 'standing', j.detail ->> 'as', j.detail ->> 'why'
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id
WHERE j.event = 'FOREIGN_ORDER_RESOLVED'
UNION ALL
SELECT j.at, j.actor::text, '', 'breaker', a.name, m.condition_id, m.slug, 'breaker ' || (j.detail ->> 'kind'),
    CASE WHEN j.detail ->> 'until' IS NULL THEN 'closed, ' ELSE format('open until %s, ', j.detail ->> 'until') END
        || format('%s in a row', j.detail ->> 'count'), 'closed', j.detail ->> 'why'
FROM ledger.journal j JOIN ledger.account a ON a.account_id = j.account_id LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event = 'BREAKER_RESET'
UNION ALL
SELECT j.at, j.actor::text, coalesce(j.detail ->> 'operator', ''),
    CASE j.event WHEN 'MOVEMENT' THEN 'movement' WHEN 'LANE_RELEASED' THEN 'lane' ELSE 'resolve' END,
    a.name, m.condition_id, m.slug,
    CASE j.event WHEN 'MOVEMENT' THEN j.detail ->> 'asset' WHEN 'LANE_RELEASED' THEN 'outbox' ELSE 'order ' || j.order_id END,
    j.from_state, CASE j.event WHEN 'MOVEMENT' THEN j.detail ->> 'amount' WHEN 'LANE_RELEASED' THEN 'released' ELSE j.to_state END,
    coalesce(j.detail ->> 'why', j.detail ->> 'cause')
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event IN ('MOVEMENT', 'LANE_RELEASED') OR j.order_id IS NOT NULL AND j.detail ? 'operator';
COMMENT ON VIEW audit.changes IS
    'Who changed what and why: limits (before and after), halts, breakers reset, grants given and taken, movements with a cause, lanes '
    'released, orders resolved, foreign orders among them.';

CREATE VIEW audit.clock_steps AS
SELECT s.found_at, s.lost_ms, s.last_order_id, s.found_by AS incarnation, w.name AS worker
FROM ledger.clock_step s LEFT JOIN ledger.worker w ON w.incarnation = s.found_by;
COMMENT ON VIEW audit.clock_steps IS
    'When a worker found that the database''s clock had gone back or stood still, by how much, and up to which order nothing '
    'is sent any more.';

CREATE FUNCTION audit.as_of(p_at timestamptz) RETURNS TABLE (
    account text, market text, slug text, outcome smallint, outcome_label text, order_id bigint, key text, side text,
    price_micros bigint, size_micros bigint, state text, ended boolean, last_event_at timestamptz,
    matched_micros bigint, filled_micros bigint, confirmed_micros bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.name, m.condition_id, m.slug, o.outcome, c.label, o.order_id, o.key, o.side, o.price_micros, o.size_micros,
        s.to_state, t.ended, s.at, greatest(f.matched, f.traded), f.filled, f.confirmed
    FROM (SELECT DISTINCT ON (j.account_id, j.order_id) j.account_id, j.order_id, j.to_state, j.at
          FROM ledger.journal j
          WHERE j.at <= p_at AND j.order_id IS NOT NULL AND j.to_state IS NOT NULL
          ORDER BY j.account_id, j.order_id, j.seq DESC) s
    JOIN ledger.orders o ON o.account_id = s.account_id AND o.order_id = s.order_id
    JOIN ledger.account a ON a.account_id = s.account_id
    JOIN ledger.market m ON m.market_id = o.market_id
    JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
    JOIN ledger.order_state t ON t.state = s.to_state
    CROSS JOIN LATERAL (
        -- Each trade as its last row up to then says.
        SELECT coalesce(max(x.matched), 0) AS matched, coalesce(sum(x.size), 0)::bigint AS traded,
            coalesce(sum(x.size) FILTER (WHERE x.settlement <> 'failed'), 0)::bigint AS filled,
            coalesce(sum(x.size) FILTER (WHERE x.settlement = 'confirmed'), 0)::bigint AS confirmed
        FROM (SELECT DISTINCT ON (coalesce(j.detail ->> 'trade', 'seq ' || j.seq))
                  (j.detail ->> 'matched')::bigint AS matched, (j.detail ->> 'size')::bigint AS size,
                  j.detail ->> 'settlement' AS settlement
              FROM ledger.journal j
              WHERE j.account_id = s.account_id AND j.order_id = s.order_id AND j.at <= p_at
                AND (j.detail ? 'trade' OR j.detail ? 'matched')
              ORDER BY coalesce(j.detail ->> 'trade', 'seq ' || j.seq), j.seq DESC) x) f
$$;
COMMENT ON FUNCTION audit.as_of(timestamptz) IS
    'Every order as the journal says it stood at that time: state, matched, filled (failed trades left out), confirmed.';

CREATE FUNCTION audit.exposure_as_of(p_at timestamptz) RETURNS TABLE (
    account text, market text, slug text, outcome smallint, outcome_label text, position_micros bigint,
    provisional_buy_micros bigint, reserved_buy_micros bigint, reserved_sell_micros bigint, effective_micros bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT q.account, q.market, q.slug, q.outcome, q.outcome_label, sum(q.position)::bigint, sum(q.provisional)::bigint,
        sum(q.reserved_buy)::bigint, sum(q.reserved_sell)::bigint, sum(q.position + q.provisional + q.reserved_buy)::bigint
    FROM (
        SELECT x.account, x.market, x.slug, x.outcome, x.outcome_label,
            CASE x.side WHEN 'BUY' THEN x.confirmed_micros ELSE -x.confirmed_micros END AS position,
            CASE x.side WHEN 'BUY' THEN x.filled_micros - x.confirmed_micros ELSE 0 END AS provisional,
            CASE x.side WHEN 'BUY' THEN r.left_micros ELSE 0 END AS reserved_buy,
            CASE x.side WHEN 'SELL' THEN r.left_micros ELSE 0 END AS reserved_sell
        FROM audit.as_of(p_at) x CROSS JOIN LATERAL (
            SELECT CASE WHEN x.ended THEN 0 ELSE greatest(x.size_micros - x.matched_micros, 0) END AS left_micros) r
        UNION ALL
        SELECT a.name, m.condition_id, m.slug, c.outcome, c.label, (j.detail ->> 'amount')::bigint, 0, 0, 0
        FROM ledger.journal j
        JOIN ledger.account a ON a.account_id = j.account_id
        JOIN ledger.outcome c ON c.token_id = j.detail ->> 'asset'
        JOIN ledger.market m ON m.market_id = c.market_id
        WHERE j.event = 'MOVEMENT' AND j.at <= p_at) q
    GROUP BY q.account, q.market, q.slug, q.outcome, q.outcome_label
$$;
COMMENT ON FUNCTION audit.exposure_as_of(timestamptz) IS
    'Position and reserved shares per outcome at that time, rebuilt from the journal. Size matched at the venue whose '
    'trades were not yet seen is in neither.';
