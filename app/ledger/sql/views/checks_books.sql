-- purpose: recompute the books: the journal's numbers and every order's path in it, balances, rows that belong to nothing.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   journal by (account, seq), (account, market, market_seq); balance_entry and fill by account.
-- fence:   as checks_orders.sql. What was archived with a partition is not missed: its orders ended before.

CREATE FUNCTION audit._check_market_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS (
        SELECT j.market_seq AS n, j.at, lag(j.market_seq) OVER w AS before, lag(j.at) OVER w AS before_at
        FROM ledger.journal j WHERE j.account_id = p_account_id AND j.market_id = p_market_id
        WINDOW w AS (ORDER BY j.market_seq, j.at))
    SELECT 'market_seq ' || q.n, format('market_seq %s after %s', coalesce(q.before, 0) + 1, coalesce(q.before, 0)), q.n::text
    FROM numbered q
    WHERE q.n <> coalesce(q.before, 0) + 1 AND NOT (q.n > coalesce(q.before, 0) AND audit._archived_between(q.before_at, q.at))
    UNION ALL
    SELECT 'last market_seq', coalesce(e.last::text, 'no counter'), coalesce(q.last::text, 'no rows')
    FROM (SELECT max(x.journal_seq) AS last FROM ledger.exposure x
          WHERE x.account_id = p_account_id AND x.market_id = p_market_id) e
    CROSS JOIN (SELECT max(numbered.n) AS last, max(numbered.at) AS at FROM numbered) q
    WHERE coalesce(e.last, 0) <> coalesce(q.last, 0)
      AND NOT (coalesce(e.last > coalesce(q.last, 0), false) AND audit._archived_between(q.at, NULL))
$$;
COMMENT ON FUNCTION audit._check_market_journal(bigint, bigint) IS 'The journal''s numbers of the market have no gap and end at its counter.';

CREATE FUNCTION audit._check_order_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT q.seq, q.order_id, q.event, q.from_state, q.to_state, q.detail,
            lag(q.to_state) OVER (PARTITION BY q.order_id ORDER BY q.seq) AS before,
            lead(q.seq) OVER (PARTITION BY q.order_id ORDER BY q.seq) IS NULL AS is_last
        FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.to_state IS NOT NULL),
    o AS MATERIALIZED (
        SELECT q.order_id, q.state, q.side, q.outcome, q.price_micros, q.size_micros,
            audit._archived_between(q.created_at, q.state_at) AS archived
        FROM ledger.orders q WHERE q.account_id = p_account_id AND q.market_id = p_market_id)
    SELECT format('order %s', o.order_id), 'the journal ends at ' || o.state, coalesce('it ends at ' || j.to_state, 'it has no rows')
    FROM o LEFT JOIN j ON j.order_id = o.order_id AND j.is_last
    WHERE o.state IS DISTINCT FROM j.to_state AND NOT o.archived
    UNION ALL
    SELECT format('order %s', o.order_id), 'one RESERVE row', format('%s', coalesce(r.n, 0))
    FROM o LEFT JOIN (SELECT j.order_id, count(*) AS n FROM j WHERE j.event = 'RESERVE' GROUP BY j.order_id) r ON r.order_id = o.order_id
    WHERE coalesce(r.n, 0) <> 1 AND NOT (r.n IS NULL AND o.archived)
    UNION ALL
    SELECT format('order %s', o.order_id),
        format('%s of outcome %s, %s at %s', j.detail ->> 'side', j.detail ->> 'outcome', j.detail ->> 'size', j.detail ->> 'price'),
        format('%s of outcome %s, %s at %s', o.side, o.outcome, o.size_micros, o.price_micros)
    FROM o JOIN j ON j.order_id = o.order_id AND j.event = 'RESERVE'
    WHERE (j.detail ->> 'side', j.detail ->> 'outcome', j.detail ->> 'size', j.detail ->> 'price')
        IS DISTINCT FROM (o.side, o.outcome::text, o.size_micros::text, o.price_micros::text)
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'from ' || coalesce(j.before, 'nothing'),
        'from ' || coalesce(j.from_state, 'nothing')
    FROM j LEFT JOIN o ON o.order_id = j.order_id
    WHERE j.from_state IS DISTINCT FROM j.before AND NOT coalesce(o.archived, false)
    UNION ALL
    SELECT format('order %s, journal %s', j.order_id, j.seq), 'a legal transition',
        format('%s from %s to %s', j.event, coalesce(j.from_state, 'nothing'), j.to_state)
    FROM j
    WHERE NOT EXISTS (SELECT FROM ledger.transition t
                      WHERE t.from_state = j.from_state AND t.event = j.event AND t.to_state = j.to_state)
      AND NOT (j.event = 'RESERVE' AND j.from_state IS NULL AND j.to_state = 'RESERVED')
      AND NOT (j.from_state = j.to_state AND NOT EXISTS (SELECT FROM ledger.order_event e WHERE e.event = j.event))
    UNION ALL
    SELECT format('order %s', j.order_id), 'an order of this market', 'none, and the journal speaks of it'
    FROM (SELECT DISTINCT j.order_id FROM j) j WHERE NOT EXISTS (SELECT FROM o WHERE o.order_id = j.order_id)
$$;
COMMENT ON FUNCTION audit._check_order_journal(bigint, bigint) IS
    'Each order''s journal begins with its one RESERVE row and its terms, goes on by legal transitions, and ends at its state.';

CREATE FUNCTION audit._check_fill_journal(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT DISTINCT ON (q.order_id, q.detail ->> 'trade') q.order_id, q.detail ->> 'trade' AS trade_id,
            format('%s (%s) %s at %s, fee %s, maker %s, matched at %s%s', q.detail ->> 'settlement', q.detail ->> 'status',
                   q.detail ->> 'size', q.detail ->> 'price', q.detail ->> 'fee', (q.detail -> 'maker' = 'true')::text,
                   audit._time(q.detail ->> 'matched_at'),
                   ', contradicted at ' || audit._time(q.detail ->> 'contradicted_at')) AS text
        FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL AND q.detail ? 'trade'
        ORDER BY q.order_id, q.detail ->> 'trade', q.seq DESC),
    f AS MATERIALIZED (
        SELECT q.order_id, q.trade_id, format('%s (%s) %s at %s, fee %s, maker %s, matched at %s%s', q.settlement, q.raw_status,
            q.size_micros, q.price_micros, q.fee_micros, q.is_maker::text, q.matched_at,
            ', contradicted at ' || q.contradicted_at) AS text,
            audit._archived_between(o.created_at, NULL) AS archived
        FROM ledger.fill q LEFT JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.order_id
        WHERE q.account_id = p_account_id AND q.market_id = p_market_id)
    SELECT format('fill %s of order %s', coalesce(f.trade_id, j.trade_id), coalesce(f.order_id, j.order_id)),
        coalesce(j.text, 'no fill, for the journal has none'), coalesce(f.text, 'no fill')
    FROM f FULL JOIN j ON j.order_id = f.order_id AND j.trade_id = f.trade_id
    WHERE f.text IS DISTINCT FROM j.text AND NOT coalesce(f.archived, false)
$$;
COMMENT ON FUNCTION audit._check_fill_journal(bigint, bigint) IS 'Each fill is what the journal''s last row of its trade says.';

CREATE FUNCTION audit._check_journal(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS MATERIALIZED (
        SELECT j.seq AS n, j.at, lag(j.seq) OVER w AS before, lag(j.at) OVER w AS before_at, j.digest,
            sha256(CASE WHEN j.seq = 1 THEN '' ELSE lag(j.digest) OVER w END || convert_to(jsonb_build_array(j.account_id, j.seq,
                j.market_id, j.market_seq, extract(epoch FROM j.at), j.event, j.order_id, j.attempt, j.from_state, j.to_state,
                j.actor, j.detail)::text, 'UTF8')) AS wanted
        FROM ledger.journal j WHERE j.account_id = p_account_id WINDOW w AS (ORDER BY j.seq, j.at))
    SELECT 'seq ' || q.n, format('seq %s after %s', coalesce(q.before, 0) + 1, coalesce(q.before, 0)), q.n::text
    FROM numbered q
    WHERE q.n <> coalesce(q.before, 0) + 1 AND NOT (q.n > coalesce(q.before, 0) AND audit._archived_between(q.before_at, q.at))
    UNION ALL
    SELECT 'last seq', coalesce(s.last::text, 'no counter'), coalesce(q.last::text, 'no rows')
    FROM (SELECT max(x.journal_seq) AS last FROM ledger.account_state x WHERE x.account_id = p_account_id) s
    CROSS JOIN (SELECT max(numbered.n) AS last, max(numbered.at) AS at FROM numbered) q
    WHERE s.last IS NULL
       OR s.last <> coalesce(q.last, 0) AND NOT (s.last > coalesce(q.last, 0) AND audit._archived_between(q.at, NULL))
    UNION ALL
    -- Behind a gap there is nothing to hold a row against.
    SELECT 'seq ' || q.n, 'the digest ' || encode(q.wanted, 'hex'), 'the digest ' || encode(q.digest, 'hex')
    FROM numbered q WHERE q.n = coalesce(q.before, 0) + 1 AND q.wanted IS DISTINCT FROM q.digest
    UNION ALL
    SELECT 'last seq', 'the digest ' || encode(s.journal_digest, 'hex'), 'the digest ' || encode(q.digest, 'hex')
    FROM ledger.account_state s JOIN numbered q ON q.n = s.journal_seq
    WHERE s.account_id = p_account_id AND s.journal_digest <> q.digest
$$;
COMMENT ON FUNCTION audit._check_journal(bigint) IS
    'The journal''s numbers of the account have no gap and end at its counter, and each row''s digest follows from the one before.';

CREATE FUNCTION audit._check_entries(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH numbered AS (
        SELECT b.entry_seq, b.entry_seq - 1 IS DISTINCT FROM coalesce(lag(b.entry_seq) OVER (ORDER BY b.entry_seq), 0) AS gap
        FROM ledger.balance_entry b WHERE b.account_id = p_account_id)
    SELECT 'entry ' || n.entry_seq, 'no gap before it', 'entries before it are missing' FROM numbered n WHERE n.gap
    UNION ALL
    SELECT 'last entry', coalesce(s.last::text, 'no counter'), coalesce(n.last::text, 'no entries')
    FROM (SELECT max(x.entry_seq) AS last FROM ledger.account_state x WHERE x.account_id = p_account_id) s
    CROSS JOIN (SELECT max(numbered.entry_seq) AS last FROM numbered) n
    WHERE s.last IS DISTINCT FROM coalesce(n.last, 0)
$$;
COMMENT ON FUNCTION audit._check_entries(bigint) IS 'Entries of balances are numbered without gaps and end at the counter.';

CREATE FUNCTION audit._check_entry_journal(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH b AS MATERIALIZED (
        SELECT q.*, CASE WHEN q.entry_key ~ '^order:[0-9]{1,18}:[0-9]{1,18}:[ct]$' THEN split_part(q.entry_key, ':', 3)::bigint END AS seq,
            CASE WHEN q.order_id IS NULL THEN 'movement' WHEN q.entry_key = format('order:%s:reserve', q.order_id) THEN 'reserve'
                 ELSE 'event' END AS kind
        FROM ledger.balance_entry q WHERE q.account_id = p_account_id),
    j AS MATERIALIZED (
        SELECT q.seq, q.at, q.event, q.order_id, q.detail FROM ledger.journal q WHERE q.account_id = p_account_id)
    SELECT format('entry %s of order %s', b.entry_seq, b.order_id), 'a row of the order''s journal with its event, time and trade',
        format('%s at %s, trade %s, key %s', b.cause, b.at, coalesce(b.trade_id, 'none'), b.entry_key)
    FROM b
    LEFT JOIN j e ON b.kind = 'event' AND e.seq = b.seq
    LEFT JOIN j r ON b.kind = 'reserve' AND r.order_id = b.order_id AND r.event = 'RESERVE'
    WHERE b.kind <> 'movement'
      AND (coalesce(e.order_id, r.order_id), coalesce(e.event, r.event), coalesce(e.at, r.at), e.detail ->> 'trade', NULL)
          IS DISTINCT FROM (b.order_id, b.cause, b.at, b.trade_id, b.note)
      AND NOT (e.seq IS NULL AND r.seq IS NULL AND audit._archived_between(b.at, b.at))
    UNION ALL
    SELECT coalesce('entry ' || f.entry_seq, 'journal ' || w.seq),
        coalesce(w.text, 'none, for the journal knows of none'), coalesce(f.text, 'no entry')
    FROM (SELECT j.seq, CASE WHEN j.detail ? 'withdrawal' THEN '' ELSE 'movement:' END || (j.detail ->> 'key') AS key,
              format('%s of %s at %s: %s, note %L', j.detail ->> 'amount',
              j.detail ->> 'asset', j.at, j.detail ->> 'cause', j.detail ->> 'note') AS text FROM j WHERE j.event = 'MOVEMENT') w
    FULL JOIN (SELECT b.entry_seq, b.entry_key, b.at, format('%s of %s at %s: %s, note %L%s', CASE b.locked_delta WHEN 0 THEN b.available_delta::text
                   ELSE format('%s and %s locked', b.available_delta, b.locked_delta) END, b.asset, b.at, b.cause, b.note,
                   ', trade ' || b.trade_id) AS text
               FROM b WHERE b.kind = 'movement') f ON f.entry_key = w.key
    WHERE w.text IS DISTINCT FROM f.text AND NOT (w.text IS NULL AND audit._archived_between(f.at, f.at))
$$;
COMMENT ON FUNCTION audit._check_entry_journal(bigint) IS
    'Each entry is of a row of the journal: an event of its order, or a movement of that amount, asset, cause and key.';

CREATE FUNCTION audit._check_balances(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(b.asset, s.asset), format('available=%s locked=%s', coalesce(s.available, 0), coalesce(s.locked, 0)),
        CASE WHEN b.asset IS NULL THEN 'no balance' ELSE format('available=%s locked=%s', b.available, b.locked) END
    FROM (SELECT q.asset, q.available, q.locked FROM ledger.balance q WHERE q.account_id = p_account_id) b
    FULL JOIN (SELECT q.asset, sum(q.available_delta) AS available, sum(q.locked_delta) AS locked
               FROM ledger.balance_entry q WHERE q.account_id = p_account_id GROUP BY q.asset) s ON s.asset = b.asset
    WHERE (coalesce(s.available, 0), coalesce(s.locked, 0)) IS DISTINCT FROM (b.available::numeric, b.locked::numeric)
$$;
COMMENT ON FUNCTION audit._check_balances(bigint) IS 'Each balance, available and locked, is the sum of its entries.';

CREATE FUNCTION audit._check_locked(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(b.asset, r.asset), format('locked=%s', coalesce(r.held, 0)), format('locked=%s', coalesce(b.locked, 0))
    FROM (SELECT q.asset, q.locked FROM ledger.balance q WHERE q.account_id = p_account_id) b
    FULL JOIN (SELECT q.asset, sum(q.held_micros) AS held FROM ledger.reservation q
               WHERE q.account_id = p_account_id GROUP BY q.asset) r ON r.asset = b.asset
    WHERE coalesce(r.held, 0) <> coalesce(b.locked, 0)
$$;
COMMENT ON FUNCTION audit._check_locked(bigint) IS 'What a balance has locked is what the reservations of all markets hold of it.';

CREATE FUNCTION audit._check_totals(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH moved AS (
        SELECT b.asset, sum(b.available_delta + b.locked_delta) AS amount FROM ledger.balance_entry b
        WHERE b.account_id = p_account_id AND b.order_id IS NULL GROUP BY b.asset
        UNION ALL
        SELECT 'collateral', sum(CASE WHEN f.side = 'BUY' AND f.settlement <> 'failed' THEN -(f.cash_micros + f.fee_micros)
            WHEN f.side = 'SELL' AND f.settlement = 'confirmed' THEN f.cash_micros - f.fee_micros ELSE 0 END)
        FROM ledger.fill f WHERE f.account_id = p_account_id
        UNION ALL
        SELECT c.token_id, sum(CASE f.side WHEN 'BUY' THEN f.size_micros ELSE -f.size_micros END)
        FROM ledger.fill f JOIN ledger.outcome c ON c.market_id = f.market_id AND c.outcome = f.outcome
        WHERE f.account_id = p_account_id AND f.settlement = 'confirmed' GROUP BY c.token_id)
    SELECT coalesce(b.asset, m.asset), format('total=%s', coalesce(m.amount, 0)), format('total=%s', coalesce(b.total, 0))
    FROM (SELECT moved.asset, sum(moved.amount) AS amount FROM moved GROUP BY moved.asset) m
    FULL JOIN (SELECT q.asset, q.available + q.locked AS total FROM ledger.balance q WHERE q.account_id = p_account_id) b
        ON b.asset = m.asset
    WHERE coalesce(m.amount, 0) <> coalesce(b.total, 0)
$$;
COMMENT ON FUNCTION audit._check_totals(bigint) IS
    'Each balance comes to its movements with a cause and its fills: tokens are the confirmed position, collateral the cash.';

CREATE FUNCTION audit._check_negative(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT b.asset, 'nothing negative, or the account''s halt for it', format('available=%s locked=%s', b.available, b.locked)
    FROM ledger.balance b
    WHERE b.account_id = p_account_id AND (b.locked < 0 OR b.available < 0 AND NOT EXISTS (
        SELECT FROM ledger.halt h WHERE h.scope = 'account' AND h.scope_id = p_account_id::text AND h.why LIKE 'NEGATIVE_BALANCE:%'))
    UNION ALL
    SELECT format('%s outcome %s', coalesce(m.slug, m.condition_id), i.outcome), 'no negative position, or a breach journaled',
        e.confirmed[i.outcome + 1]::text
    FROM ledger.exposure e
    JOIN ledger.market m ON m.market_id = e.market_id
    CROSS JOIN generate_series(0, 1) i (outcome)
    WHERE e.account_id = p_account_id AND e.confirmed[i.outcome + 1] < 0 AND NOT EXISTS (
        SELECT FROM ledger.journal j WHERE j.account_id = e.account_id AND j.market_id = e.market_id
        AND j.event = 'INVARIANT_BREACH_HALT')
$$;
COMMENT ON FUNCTION audit._check_negative(bigint) IS
    'No balance or position is below zero without the halt that a fact of that kind sets.';

CREATE FUNCTION audit._check_rows_of_no_order(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s of order %s', x.what, x.order_id), 'an order', 'no such order'
    FROM (SELECT 'signed bytes' AS what, q.order_id FROM ledger.signed_order q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'attempt ' || q.attempt, q.order_id FROM ledger.attempt q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'evidence ' || q.evidence_id, q.order_id FROM ledger.evidence q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'reservation', q.order_id FROM ledger.reservation q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'outbox ' || q.outbox_id, q.order_id FROM ledger.outbox q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'cancel', q.order_id FROM ledger.cancel_request q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'fill ' || q.trade_id, q.order_id FROM ledger.fill q WHERE q.account_id = p_account_id
          UNION ALL SELECT 'entry ' || q.entry_seq, q.order_id FROM ledger.balance_entry q
              WHERE q.account_id = p_account_id AND q.order_id IS NOT NULL
          UNION ALL SELECT 'key ' || q.key, q.subject_id FROM ledger.idempotency_key q
              WHERE q.account_id = p_account_id AND q.kind = 'order'
          UNION ALL SELECT 'replacement ' || q.replacement_id, q.old_order_id FROM ledger.replacement q
              WHERE q.account_id = p_account_id) x
    WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = p_account_id AND o.order_id = x.order_id)
    UNION ALL
    SELECT format('key %s of replacement %s', k.key, k.subject_id), 'a replacement', 'no such replacement'
    FROM ledger.idempotency_key k
    WHERE k.account_id = p_account_id AND k.kind = 'replacement' AND NOT EXISTS (
        SELECT FROM ledger.replacement q WHERE q.account_id = p_account_id AND q.replacement_id = k.subject_id)
$$;
COMMENT ON FUNCTION audit._check_rows_of_no_order(bigint) IS 'Reservations, signed bytes, attempts, evidence, queue rows, fills, entries and keys belong to an order.';

CREATE FUNCTION audit._check_foreign_orders(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT f.venue_order_id, 'an intent, or a resolution', format('seen first at %s, unresolved', f.first_seen_at)
    FROM ledger.foreign_order f WHERE f.account_id = p_account_id AND f.resolved_at IS NULL
    UNION ALL
    SELECT coalesce(j.id, f.venue_order_id), coalesce('first seen at ' || j.at, 'never seen, by the journal'),
        coalesce('first seen at ' || f.first_seen_at, 'forgotten')
    FROM (SELECT q.detail ->> 'venue_order_id' AS id, q.at FROM ledger.journal q
          WHERE q.account_id = p_account_id AND q.event = 'FOREIGN_ORDER') j
    FULL JOIN (SELECT q.* FROM ledger.foreign_order q WHERE q.account_id = p_account_id) f ON f.venue_order_id = j.id
    WHERE j.at IS DISTINCT FROM f.first_seen_at AND NOT (j.at IS NULL AND audit._archived_between(f.first_seen_at, f.first_seen_at))
    UNION ALL
    SELECT f.venue_order_id, coalesce(format('%s by %s at %s', r.said, r.actor, r.at), 'nobody resolved it, by the journal'),
        format('%s by %s at %s', f.resolution, f.resolved_by, f.resolved_at)
    FROM ledger.foreign_order f
    LEFT JOIN LATERAL (SELECT left(format('%s: %s', q.detail ->> 'as', q.detail ->> 'why'), 500) AS said, q.actor, q.at FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event = 'FOREIGN_ORDER_RESOLVED' AND q.detail ->> 'venue_order_id' = f.venue_order_id
        ORDER BY q.seq DESC LIMIT 1) r ON true
    WHERE f.account_id = p_account_id AND (r.said, r.actor, r.at) IS DISTINCT FROM (f.resolution, f.resolved_by, f.resolved_at)
      AND NOT (r.at IS NULL AND audit._archived_between(f.resolved_at, f.resolved_at))
    UNION ALL
    SELECT j.detail ->> 'venue_order_id', 'a halt of the account since then', 'none'
    FROM ledger.journal j
    WHERE j.account_id = p_account_id AND j.event = 'FOREIGN_ORDER' AND NOT EXISTS (
        SELECT FROM ledger.halt h WHERE h.scope = 'account' AND h.scope_id = p_account_id::text AND h.why LIKE 'FOREIGN_ORDER:%'
        AND h.set_at <= j.at AND coalesce(h.cleared_at >= j.at, true))
$$;
COMMENT ON FUNCTION audit._check_foreign_orders(bigint) IS
    'Every order the venue showed under the account has its intent, or halted the account and was resolved by a person.';

CREATE FUNCTION audit._check_transitions()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('%s, %s', s.state, e.event), 'one row', 'none'
    FROM ledger.order_state s CROSS JOIN ledger.order_event e
    WHERE NOT EXISTS (SELECT FROM ledger.transition t WHERE t.from_state = s.state AND t.event = e.event)
    UNION ALL
    SELECT format('%s, %s', coalesce(w.from_state, t.from_state), coalesce(w.event, t.event)),
        coalesce('to ' || w.to_state, 'refused'), coalesce('to ' || t.to_state, 'refused')
    FROM (SELECT f.from_state, v.event, CASE v.to_state WHEN '=' THEN f.from_state ELSE v.to_state END AS to_state
          FROM (VALUES
              ('PREPARE', 'RESERVED', 'PREPARED'), ('OPEN', 'PREPARED HELD_BACK UNKNOWN', 'SENDING'),
              ('ACCEPT', 'SENDING DELAYED LIVE', 'LIVE'), ('DELAY', 'SENDING DELAYED', 'DELAYED'), ('DELAY', 'LIVE', '='),
              ('REJECT', 'SENDING', 'REJECTED'), ('HOLD_BACK', 'SENDING', 'HELD_BACK'), ('LOSE', 'SENDING UNKNOWN', 'UNKNOWN'),
              ('SEE', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE REJECTED NOT_PLACED', 'LIVE'), ('SEE', 'FILLED CANCELLED EXPIRED', '='),
              ('FILL_PART', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE REJECTED NOT_PLACED', 'LIVE'),
              ('FILL_PART', 'FILLED CANCELLED EXPIRED', '='),
              ('FILL_ALL', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE FILLED CANCELLED EXPIRED REJECTED NOT_PLACED', 'FILLED'),
              ('END_CANCELLED', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE CANCELLED REJECTED NOT_PLACED', 'CANCELLED'),
              ('END_CANCELLED', 'FILLED EXPIRED', '='),
              ('END_EXPIRED', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE EXPIRED REJECTED NOT_PLACED', 'EXPIRED'),
              ('END_EXPIRED', 'FILLED CANCELLED', '='),
              ('REOPEN', 'PREPARED SENDING HELD_BACK UNKNOWN DELAYED LIVE CANCELLED EXPIRED REJECTED NOT_PLACED', 'LIVE'), ('REOPEN', 'FILLED', '='),
              ('WITHDRAW', 'RESERVED PREPARED HELD_BACK', 'NOT_PLACED'), ('ABSENT', 'UNKNOWN', 'NOT_PLACED')) v (event, from_states, to_state)
          CROSS JOIN LATERAL unnest(string_to_array(v.from_states, ' ')) f (from_state)) w
    FULL JOIN (SELECT q.* FROM ledger.transition q WHERE q.to_state IS NOT NULL) t ON t.from_state = w.from_state AND t.event = w.event
    WHERE w.to_state IS DISTINCT FROM t.to_state
    UNION ALL
    SELECT 'state ' || coalesce(w.state, s.state), format('ended %s, sent %s', w.ended, w.sent), format('ended %s, sent %s', s.ended, s.sent)
    FROM (VALUES ('RESERVED', false, false), ('PREPARED', false, false), ('SENDING', false, true), ('HELD_BACK', false, false),
        ('UNKNOWN', false, true), ('DELAYED', false, true), ('LIVE', false, true), ('FILLED', true, true), ('CANCELLED', true, true),
        ('EXPIRED', true, true), ('REJECTED', true, false), ('NOT_PLACED', true, false)) w (state, ended, sent)
    FULL JOIN ledger.order_state s ON s.state = w.state
    WHERE (w.ended, w.sent) IS DISTINCT FROM (s.ended, s.sent)
    UNION ALL
    SELECT format('order %s', o.order_id), 'a state of the table', o.state
    FROM ledger.orders o WHERE NOT EXISTS (SELECT FROM ledger.order_state s WHERE s.state = o.state)
$$;
COMMENT ON FUNCTION audit._check_transitions() IS
    'The table of transitions has one row for every state and event, and each is the one of this release.';

CREATE FUNCTION audit._check_venue_ids()
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT x.venue_order_id, 'one intent', 'orders ' || string_agg(x.order_id::text, ', ' ORDER BY x.order_id)
    FROM (SELECT a.venue, o.venue_order_id, o.account_id, o.order_id FROM ledger.orders o
          JOIN ledger.account a ON a.account_id = o.account_id WHERE o.venue_order_id IS NOT NULL
          UNION
          SELECT a.venue, s.venue_order_id, s.account_id, s.order_id FROM ledger.signed_order s
          JOIN ledger.account a ON a.account_id = s.account_id) x
    GROUP BY x.venue, x.venue_order_id HAVING count(*) > 1
$$;
COMMENT ON FUNCTION audit._check_venue_ids() IS 'Every venue order id belongs to exactly one intent, over all accounts.';
