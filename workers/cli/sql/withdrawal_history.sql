-- purpose: what happened to one withdrawal: moves of its state, attempts, what was seen, and the money.
-- locks:   none.
-- index:   attempt and evidence by primary key; journal by account.
-- fence:   none; it only reads.

SELECT q.at, q.what, q.detail FROM (
    SELECT j.at, j.seq AS n, j.event || coalesce(' ' || j.from_state, '') || coalesce(' -> ' || j.to_state, '') AS what, j.detail::text AS detail
    FROM ledger.journal j JOIN ledger.withdrawal w ON w.account_id = j.account_id
    WHERE w.withdrawal_id = $1 AND j.event LIKE 'WITHDRAWAL%' AND j.detail ->> 'withdrawal' = $1::text
    UNION ALL
    SELECT j.at, j.seq, 'booked', j.detail ->> 'amount' FROM ledger.journal j JOIN ledger.withdrawal w ON w.account_id = j.account_id
    WHERE w.withdrawal_id = $1 AND j.event = 'MOVEMENT' AND j.detail ->> 'key' LIKE format('withdrawal:%s:%%', $1::bigint)
    UNION ALL
    SELECT coalesce(t.ended_at, t.opened_at), 1000000000 + t.attempt, format('attempt %s %s', t.attempt, t.outcome), t.code FROM ledger.withdrawal_attempt t
    WHERE t.withdrawal_id = $1
    UNION ALL
    SELECT e.seen_at, 2000000000 + e.evidence_id, format('seen: %s%s', e.kind, CASE WHEN e.times > 1 THEN format(' (%s times)', e.times) ELSE '' END),
        e.detail FROM ledger.withdrawal_evidence e WHERE e.withdrawal_id = $1) q
ORDER BY q.at, q.n
