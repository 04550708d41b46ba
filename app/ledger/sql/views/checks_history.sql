-- purpose: hold orders, attempts, evidence and signed bytes against the journal, which is written beside them in one commit.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   journal_of_market, evidence_of_order, orders_of_market; attempt and signed_order by primary key.
-- fence:   as checks_orders.sql: each formula is written a second time. Rows are grouped once per market, never looked up
--          per order. What was archived with a partition is not missed.

CREATE FUNCTION audit._check_order_facts(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.from_state, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL),
    told AS (
        SELECT j.order_id,
            -- The venue knows the id: an answer, a read, a trade, or a person who saw it there.
            bool_or(j.event IN ('ACCEPT', 'DELAY', 'SIGHTED') OR j.event = 'LOSE' AND j.detail ->> 'outcome' = 'seen'
                OR j.event = 'CANCEL_ANSWERED' AND j.detail ->> 'answer' = 'accepted'
                OR j.event IN ('SEE', 'FILL_PART', 'FILL_ALL', 'END_CANCELLED', 'END_EXPIRED', 'REOPEN')
                   AND (NOT j.detail ? 'operator' OR j.detail ->> 'as' = 'live')) AS seen,
            coalesce(max(j.seq) FILTER (WHERE j.event = 'LOSE') > coalesce(max(j.seq) FILTER (WHERE j.to_state
                NOT IN ('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN')), 0), false) AS fate_open,
            max(CASE WHEN j.detail ->> 'matched' ~ '^[0-9]{1,18}$' THEN (j.detail ->> 'matched')::bigint END) AS matched,
            max(j.at) FILTER (WHERE j.event = 'RESERVE') AS reserved_at
        FROM j GROUP BY j.order_id),
    moved AS (
        SELECT DISTINCT ON (j.order_id) j.order_id, j.at, coalesce(j.detail ->> 'cause', '') AS cause
        FROM j WHERE j.to_state IS NOT NULL AND j.from_state IS DISTINCT FROM j.to_state ORDER BY j.order_id, j.seq DESC)
    SELECT format('order %s', o.order_id), format('%s %s', v.what, v.expected), format('%s %s', v.what, v.found)
    FROM ledger.orders o
    JOIN told t ON t.order_id = o.order_id
    JOIN moved m ON m.order_id = o.order_id
    LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
    CROSS JOIN LATERAL (VALUES
        ('seen_at_venue', t.seen::text, o.seen_at_venue::text),
        ('fate_open', t.fate_open::text, o.fate_open::text),
        ('size_matched', coalesce(t.matched, 0)::text, o.size_matched_micros::text),
        ('cause', m.cause, o.cause),
        ('state_at', m.at::text, o.state_at::text),
        ('signed_at_ms', floor(extract(epoch FROM t.reserved_at) * 1000)::text, o.signed_at_ms::text),
        ('reservation created_at', t.reserved_at::text, coalesce(r.created_at, t.reserved_at)::text)) v (what, expected, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND v.expected IS DISTINCT FROM v.found
      AND NOT audit._archived_between(o.created_at, NULL)
    UNION ALL
    SELECT format('order %s', r.order_id), 'the time of a row of its journal', format('%s %s', v.what, v.at)
    FROM ledger.reservation r
    CROSS JOIN LATERAL (VALUES ('released_at', r.released_at), ('awaiting_since', r.awaiting_since)) v (what, at)
    WHERE r.account_id = p_account_id AND r.market_id = p_market_id AND v.at IS NOT NULL
      AND NOT EXISTS (SELECT FROM j WHERE j.order_id = r.order_id AND j.at = v.at)
      AND NOT audit._archived_between(v.at, v.at)
$$;
COMMENT ON FUNCTION audit._check_order_facts(bigint, bigint) IS
    'What each order knows of its fate (seen, fate open, matched, cause, times) is what its journal says.';

CREATE FUNCTION audit._check_terms(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH reserved AS MATERIALIZED (
        SELECT j.order_id, j.at, j.detail ->> 'terms' AS terms, j.detail ->> 'asked' AS asked, j.detail ->> 'key' AS key,
            j.detail ->> 'asked_price' AS asked_price
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event = 'RESERVE'),
    -- What a key was bound to: a new order as it was asked for, or a replacement as its request is kept.
    request AS (
        SELECT format('order %s', o.order_id) AS subject, o.key, o.market_id, o.outcome, o.side,
            coalesce(r.asked_price, o.price_micros::text) AS price,
            r.asked, o.order_type, o.post_only, o.expires_at_s::text AS expires_at_s, o.class,
            trim_scale(extract(epoch FROM o.valid_until - o.created_at) * 1000)::text AS valid_for_ms, o.replaces_order_id,
            CASE WHEN o.replaces_order_id IS NULL THEN r.at END AS bound_at
        FROM ledger.orders o JOIN reserved r ON r.order_id = o.order_id
        WHERE o.account_id = p_account_id AND o.market_id = p_market_id
        UNION ALL
        SELECT format('replacement %s of order %s', q.replacement_id, o.order_id), q.request ->> 'key', o.market_id, o.outcome,
            q.request ->> 'side', q.request ->> 'price_micros', q.request ->> 'size_micros',
            coalesce(q.request ->> 'order_type', 'GTC'), q.request -> 'post_only' IS NOT DISTINCT FROM 'true',
            coalesce(q.request ->> 'expires_at_s', '0'), coalesce(q.request ->> 'class', 'entry'),
            coalesce(q.request ->> 'valid_for_ms', '30000'), o.order_id, q.asked_at
        FROM ledger.replacement q
        JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s', o.order_id), format('terms with the digest %s', r.terms), format('terms with the digest %s', d.terms)
    FROM ledger.orders o
    JOIN reserved r ON r.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT encode(sha256(convert_to(jsonb_build_array(o.token_id, o.tick_micros, o.fee_rate_micros,
        o.fee_exponent, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin, o.strategy, o.context, o.set_id,
        o.replaces_order_id, o.salt, extract(epoch FROM o.created_at))::text, 'UTF8')), 'hex') AS terms) d
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND d.terms IS DISTINCT FROM r.terms
    UNION ALL
    SELECT format('order %s', o.order_id), format('key %s', r.key), format('key %s', o.key)
    FROM ledger.orders o JOIN reserved r ON r.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.key IS DISTINCT FROM r.key
    UNION ALL
    SELECT q.subject, format('key %s with the fingerprint of the request as asked and kept', q.key),
        format('fingerprint %s', encode(k.fingerprint, 'hex'))
    FROM request q
    JOIN ledger.idempotency_key k ON k.account_id = p_account_id AND k.key = q.key
    -- Whether the request allowed clamping is kept nowhere else, so it may be either.
    WHERE k.fingerprint <> ALL (ARRAY(
        SELECT sha256(convert_to(concat_ws('|', q.market_id, q.outcome, q.side, q.price, q.asked, q.order_type, q.post_only,
            q.expires_at_s, q.class, q.valid_for_ms, c.clamp, q.replaces_order_id), 'UTF8'))
        FROM (VALUES (false), (true)) c (clamp)))
    UNION ALL
    SELECT q.subject, format('key %s bound at %s', q.key, q.bound_at), format('bound at %s', k.bound_at)
    FROM request q
    JOIN ledger.idempotency_key k ON k.account_id = p_account_id AND k.key = q.key
    WHERE k.bound_at <> q.bound_at
$$;
COMMENT ON FUNCTION audit._check_terms(bigint, bigint) IS
    'The terms of each order, its validity too, are those it was admitted with: by the journal''s digest and the key''s fingerprint.';

CREATE FUNCTION audit._check_signed_bytes(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.order_id, q.at, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.event = 'PREPARE' AND q.to_state = 'PREPARED'),
    s AS MATERIALIZED (
        SELECT q.order_id, q.venue_order_id, q.signed_at, q.signed_by, encode(sha256(q.body), 'hex') AS body,
            encode(sha256(convert_to(q.fields::text, 'UTF8')), 'hex') AS fields
        FROM ledger.signed_order q JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s', coalesce(j.order_id, s.order_id)),
        CASE WHEN j.order_id IS NULL THEN 'nothing signed, for the journal knows of nothing'
             ELSE format('%s %s', v.what, v.expected) END,
        CASE WHEN s.order_id IS NULL THEN 'no signed bytes' ELSE format('%s %s', v.what, v.found) END
    FROM j FULL JOIN s ON s.order_id = j.order_id
    CROSS JOIN LATERAL (VALUES
        ('id at the venue', j.detail ->> 'venue_order_id', s.venue_order_id),
        ('bytes with the digest', j.detail ->> 'body', s.body),
        ('signed fields with the digest', j.detail ->> 'fields', s.fields),
        ('signed by', j.detail ->> 'signed_by', s.signed_by::text),
        ('signed at', j.at::text, s.signed_at::text)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found AND (j.order_id IS NOT NULL AND s.order_id IS NOT NULL OR v.what = 'signed at')
      AND NOT (j.order_id IS NULL AND audit._archived_between(s.signed_at, s.signed_at))
$$;
COMMENT ON FUNCTION audit._check_signed_bytes(bigint, bigint) IS
    'Signed bytes and fields are those whose digests and id the journal took in the commit that stored them.';

CREATE FUNCTION audit._check_attempt_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.attempt, q.from_state, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.to_state IS NOT NULL),
    opened AS MATERIALIZED (SELECT j.* FROM j WHERE j.event = 'OPEN'),
    ended AS MATERIALIZED (
        SELECT DISTINCT ON (j.order_id, j.attempt) j.order_id, j.attempt, j.at, j.detail FROM j
        WHERE j.event IN ('ACCEPT', 'DELAY', 'REJECT', 'HOLD_BACK', 'LOSE', 'ATTEMPT_ENDED') AND j.attempt IS NOT NULL
        ORDER BY j.order_id, j.attempt, j.seq),
    t AS MATERIALIZED (
        SELECT q.* FROM ledger.attempt q
        JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id)
    SELECT format('order %s, attempt %s', coalesce(j.order_id, t.order_id), coalesce(j.attempt, t.attempt)),
        CASE WHEN j.order_id IS NULL THEN 'no attempt, for the journal opened none' ELSE format('%s %s', v.what, v.expected) END,
        CASE WHEN t.order_id IS NULL THEN 'no attempt' ELSE format('%s %s', v.what, v.found) END
    FROM opened j FULL JOIN t ON t.order_id = j.order_id AND t.attempt = j.attempt
    CROSS JOIN LATERAL (VALUES
        ('opened at', j.at::text, t.opened_at::text),
        ('send by', audit._time(j.detail ->> 'send_by')::text, t.send_by::text),
        ('deadline', audit._time(j.detail ->> 'deadline')::text, t.deadline::text),
        ('by', j.detail ->> 'incarnation', t.incarnation::text),
        ('with the key', j.detail ->> 'owner', t.owner)) v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found AND (j.order_id IS NOT NULL AND t.order_id IS NOT NULL OR v.what = 'opened at')
      AND NOT (j.order_id IS NULL AND audit._archived_between(t.opened_at, t.opened_at))
    UNION ALL
    SELECT format('order %s, attempt %s', t.order_id, t.attempt), x.text, f.text
    FROM t LEFT JOIN ended e ON e.order_id = t.order_id AND e.attempt = t.attempt
    CROSS JOIN LATERAL (SELECT CASE WHEN e.order_id IS NULL THEN 'open (), answer none' ELSE format('%s (%s) at %s, answer %s',
        coalesce(e.detail ->> 'outcome', 'lapsed'), coalesce(e.detail ->> 'code', ''), e.at,
        coalesce(e.detail ->> 'answer', 'none')) END AS text) x
    CROSS JOIN LATERAL (SELECT format('%s (%s)%s, answer %s', t.outcome, t.code, ' at ' || t.ended_at,
        coalesce(encode(sha256(convert_to(t.answer, 'UTF8')), 'hex'), 'none')) AS text) f
    WHERE x.text IS DISTINCT FROM f.text AND NOT (e.order_id IS NULL AND audit._archived_between(t.opened_at, t.ended_at))
    UNION ALL
    SELECT format('order %s', o.order_id), format('last deadline %s', m.deadline), format('last deadline %s', o.last_deadline)
    FROM ledger.orders o
    LEFT JOIN (SELECT t.order_id, max(t.deadline) AS deadline FROM t GROUP BY t.order_id) m ON m.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND o.last_deadline IS DISTINCT FROM m.deadline
$$;
COMMENT ON FUNCTION audit._check_attempt_journal(bigint, bigint) IS
    'Each attempt was opened as the journal says, with that deadline, and ended as it says; the last deadline is the latest.';

CREATE FUNCTION audit._check_evidence(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.at, q.order_id, q.event, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL),
    v AS MATERIALIZED (
        SELECT q.* FROM ledger.evidence q JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND o.market_id = p_market_id),
    absent AS MATERIALIZED (
        SELECT j.order_id, j.at, j.detail, t.deadline,
            t.deadline + make_interval(secs => CASE WHEN j.detail ->> 'quarantine_ms' ~ '^[0-9]{1,9}$'
                THEN (j.detail ->> 'quarantine_ms')::bigint END / 1000.0) AS quarantine_end,
            CASE WHEN j.detail ->> 'through' ~ '^[0-9]{1,18}$' THEN (j.detail ->> 'through')::bigint END AS through
        FROM j LEFT JOIN LATERAL (SELECT max(q.deadline) AS deadline FROM ledger.attempt q WHERE q.account_id = p_account_id
                                  AND q.order_id = j.order_id AND q.opened_at <= j.at) t ON true
        WHERE j.event = 'ABSENT' AND j.to_state = 'NOT_PLACED' AND NOT j.detail ? 'operator')
    -- What absence was concluded from is still there, and still proves it.
    SELECT format('order %s', a.order_id), x.expected, x.found
    FROM absent a
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, encode(sha256(convert_to(string_agg(jsonb_build_array(v.evidence_id, v.kind,
            extract(epoch FROM v.started_at), extract(epoch FROM v.at), v.incarnation, v.owner, v.detail)::text, E'\n'
            ORDER BY v.evidence_id), 'UTF8')), 'hex') AS digest,
            bool_or(v.kind = 'delete_answered' AND v.started_at > a.deadline) AS deleted,
            bool_or(v.kind IN ('sighting', 'duplicated')) AS sighted
        FROM v WHERE v.order_id = a.order_id AND v.evidence_id <= a.through) e
    CROSS JOIN LATERAL (VALUES
        (format('%s pieces of evidence with the digest %s', a.detail ->> 'pieces', a.detail ->> 'digest'),
         format('%s pieces of evidence with the digest %s', e.n, e.digest)),
        (format('the deadline %s that absence was counted from', audit._time(a.detail ->> 'deadline')),
         format('the deadline %s that absence was counted from', a.deadline)),
        ('absence concluded after the quarantine', CASE WHEN a.at > a.quarantine_end THEN 'absence concluded after the quarantine'
            ELSE format('at %s, and the quarantine ended at %s', a.at, coalesce(a.quarantine_end::text, 'no time at all')) END),
        ('a DELETE answered after the last attempt could have arrived', CASE WHEN e.deleted
            THEN 'a DELETE answered after the last attempt could have arrived' ELSE 'no such evidence' END),
        ('never seen at the venue', CASE WHEN e.sighted THEN 'a sighting' ELSE 'never seen at the venue' END)) x (expected, found)
    WHERE x.expected IS DISTINCT FROM x.found
    UNION ALL
    SELECT format('order %s, attempt %s', t.order_id, t.attempt), k.kind || ' begun after the quarantine with the attempt''s own key',
        'no such evidence'
    FROM absent a
    JOIN ledger.attempt t ON t.account_id = p_account_id AND t.order_id = a.order_id AND t.opened_at <= a.at
    CROSS JOIN (VALUES ('order_absent'), ('trades_absent')) k (kind)
    WHERE t.outcome IN ('unknown', 'lapsed') AND NOT EXISTS (
        SELECT FROM v WHERE v.order_id = t.order_id AND v.kind = k.kind AND v.owner = t.owner
        AND v.started_at > a.quarantine_end AND v.evidence_id <= a.through)
    UNION ALL
    -- Every other piece leaves its digest in the row of the journal that was written with it.
    SELECT format('order %s', coalesce(j.order_id, d.order_id)),
        CASE WHEN j.order_id IS NULL THEN 'no such evidence, for the journal has none'
             ELSE format('evidence of the journal''s %s at %s', j.event, j.at) END,
        CASE WHEN d.order_id IS NULL THEN 'none, or changed' ELSE format('evidence %s: %s at %s', d.evidence_id, d.kind, d.at) END
    FROM (SELECT j.order_id, j.event, j.at, j.detail ->> 'evidence' AS digest FROM j
          WHERE j.detail ? 'evidence' AND j.event <> 'ABSENT' OR j.detail ? 'operator' OR j.event IN ('REFUSED_COMPLETION', 'EVIDENCE')
             OR j.event = 'CANCEL_ANSWERED' AND j.detail ->> 'answer' IN ('accepted', 'refused')) j
    FULL JOIN (SELECT v.order_id, v.evidence_id, v.kind, v.at, encode(sha256(convert_to(jsonb_build_array(v.evidence_id, v.kind,
                   extract(epoch FROM v.started_at), extract(epoch FROM v.at), v.incarnation, v.owner, v.detail)::text, 'UTF8')), 'hex')
                   AS digest
               FROM v WHERE v.kind NOT IN ('order_absent', 'trades_absent')) d ON d.order_id = j.order_id AND d.digest = j.digest
    WHERE (j.order_id IS NULL OR d.order_id IS NULL) AND NOT (j.order_id IS NULL AND audit._archived_between(d.at, d.at))
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'a read of the order, or a person''s word', coalesce(j.detail ->> 'source', 'neither')
    FROM j WHERE j.event IN ('END_CANCELLED', 'END_EXPIRED') AND j.to_state IS NOT NULL
      AND NOT (j.detail ? 'operator' OR j.detail ->> 'source' IS NOT DISTINCT FROM 'read')
$$;
COMMENT ON FUNCTION audit._check_evidence(bigint, bigint) IS
    'What ended by absence, by a read or by a person still has the evidence for it, unchanged and begun late enough.';
