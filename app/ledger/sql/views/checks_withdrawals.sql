-- purpose: recompute withdrawals: what was asked, how far each is, what was booked for it, and that it was given back on proof alone.
-- locks:   none; one STABLE function, so it sees one snapshot.
-- index:   withdrawal and its children by primary key; journal by account; balance_entry by account and key.
-- fence:   as checks_orders.sql.

CREATE FUNCTION audit._check_withdrawals(p_account_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    WITH j AS MATERIALIZED (
        SELECT (q.detail ->> 'withdrawal')::bigint AS id, q.seq, q.at, q.event, q.to_state, q.detail FROM ledger.journal q
        WHERE q.account_id = p_account_id AND q.event IN ('WITHDRAWAL_ASKED', 'WITHDRAWAL_MOVED')),
    asked AS (SELECT * FROM j WHERE j.event = 'WITHDRAWAL_ASKED'),
    last AS (SELECT DISTINCT ON (j.id) j.id, j.to_state, j.at FROM j ORDER BY j.id, j.seq DESC),
    w AS MATERIALIZED (
        SELECT q.*, q.state IN ('DEBITED', 'SENDING', 'UNKNOWN', 'FAILED', 'DONE') AS is_out, b.hash,
            (SELECT coalesce(sum(e.available_delta), 0) FROM ledger.balance_entry e WHERE e.account_id = q.account_id
               AND e.order_id IS NULL AND e.entry_key LIKE format('withdrawal:%s:%%', q.withdrawal_id)) AS booked,
            (SELECT count(*) FROM ledger.balance_entry e WHERE e.account_id = q.account_id
               AND e.order_id IS NULL AND e.entry_key LIKE format('withdrawal:%s:%%', q.withdrawal_id)) AS entries,
            (SELECT count(*) FROM ledger.withdrawal_attempt t
             WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id) AS tried,
            EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id
                      AND t.outcome = 'done') AS seen_done,
            EXISTS (SELECT FROM ledger.withdrawal_attempt t WHERE t.account_id = q.account_id AND t.withdrawal_id = q.withdrawal_id
                      AND t.outcome NOT IN ('refused', 'not_sent')) AS in_doubt,
            EXISTS (SELECT FROM ledger.withdrawal_evidence v WHERE v.account_id = q.account_id AND v.withdrawal_id = q.withdrawal_id
                      AND v.kind IN ('failed', 'absent', 'operator')) AS proved
        FROM ledger.withdrawal q
        LEFT JOIN ledger.withdrawal_transfer b ON b.account_id = q.account_id AND b.withdrawal_id = q.withdrawal_id
        WHERE q.account_id = p_account_id)
    SELECT format('withdrawal %s, %s', x.id, x.what), x.expected, x.found FROM (
        SELECT coalesce(w.withdrawal_id, a.id) AS id, v.what, v.expected, v.found
        FROM w FULL JOIN asked a ON a.id = w.withdrawal_id LEFT JOIN last l ON l.id = coalesce(w.withdrawal_id, a.id)
        CROSS JOIN LATERAL (VALUES
            ('amount', a.detail ->> 'amount', w.amount_micros::text), ('destination', a.detail ->> 'destination', w.destination),
            ('key', a.detail ->> 'key', w.key), ('why', a.detail ->> 'why', w.why), ('asked at', a.at::text, w.asked_at::text),
            ('state', l.to_state, w.state)) v (what, expected, found)
        WHERE v.expected IS DISTINCT FROM v.found AND NOT (v.expected IS NULL AND audit._archived_between(w.asked_at, NULL))
        UNION ALL
        SELECT w.withdrawal_id, 'booked', v.amount::text, w.booked::text
        FROM w CROSS JOIN LATERAL (SELECT CASE WHEN w.is_out THEN -w.amount_micros ELSE 0 END AS amount) v WHERE v.amount <> w.booked
        UNION ALL
        SELECT w.withdrawal_id, 'bytes of its transfer', 'stored with the debit', 'none' FROM w WHERE w.entries > 0 AND w.hash IS NULL
        UNION ALL
        SELECT w.withdrawal_id, 'attempts', w.tried::text, w.attempts::text FROM w WHERE w.tried <> w.attempts
        UNION ALL
        SELECT w.withdrawal_id, 'state', 'DONE, for an attempt was answered so', w.state FROM w WHERE w.seen_done AND w.state <> 'DONE'
        UNION ALL
        SELECT w.withdrawal_id, 'proof that nothing moved', 'before it was given back', 'none'
        FROM w WHERE w.state IN ('FAILED', 'COMPENSATED') AND w.in_doubt AND NOT w.proved) x
$$;
COMMENT ON FUNCTION audit._check_withdrawals(bigint) IS
    'Each withdrawal is what was asked and where its last move left it; its money left once, and came back only on proof.';
