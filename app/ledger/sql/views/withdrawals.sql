-- purpose: withdrawals and what happened to them, for people and scripts.
-- locks:   none.
-- index:   withdrawal by primary key; journal by account.
-- fence:   as the other views: readable by the auditor, who sees nothing under them.

CREATE VIEW audit.withdrawals AS
SELECT w.withdrawal_id, a.name AS account, w.state, w.amount_micros, w.destination, w.key, w.why, w.cause, w.asked_at,
    w.asked_by, w.asked_as AS operator, w.state_at,
    greatest(floor(extract(epoch FROM ledger.clock() - w.state_at)), 0)::bigint AS age_s,
    w.state IN ('DONE', 'COMPENSATED', 'CANCELLED') AS ended, w.needs_person_since IS NOT NULL AS needs_person,
    w.needs_person_why, w.attempts, w.last_deadline AS may_arrive_until, w.reference, b.treasury, b.hash,
    CASE WHEN w.state IN ('STOPPING', 'DRAINING') THEN (SELECT count(*) FROM ledger.orders o WHERE o.account_id = w.account_id
        AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')) ELSE 0 END AS open_orders,
    w.state NOT IN ('DONE', 'COMPENSATED', 'CANCELLED')
        AND greatest(w.next_at, w.claimed_until) < ledger.clock() - interval '10 seconds' AS unattended
FROM ledger.withdrawal w JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.withdrawal_transfer b USING (account_id, withdrawal_id);
COMMENT ON VIEW audit.withdrawals IS
    'Every withdrawal: how far it is, whether it waits for a person, until when its transfer may still arrive, and whether '
    'it is due and no worker takes it up (unattended).';

CREATE VIEW audit.withdrawal_history AS
SELECT w.withdrawal_id, a.name AS account, q.at, q.what, q.detail, q.n
FROM ledger.withdrawal w JOIN ledger.account a USING (account_id)
CROSS JOIN LATERAL (
    SELECT j.at, j.seq AS n, j.event || coalesce(' ' || j.from_state, '') || CASE WHEN j.to_state IS DISTINCT FROM j.from_state
        THEN ' -> ' || j.to_state ELSE '' END AS what, (j.detail - 'withdrawal')::text AS detail
    FROM ledger.journal j WHERE j.account_id = w.account_id AND j.at >= w.asked_at AND j.event LIKE 'WITHDRAWAL%'
      AND j.detail ->> 'withdrawal' = w.withdrawal_id::text
    UNION ALL
    SELECT b.at, b.entry_seq, 'booked', b.available_delta::text FROM ledger.balance_entry b
    WHERE b.account_id = w.account_id AND b.order_id IS NULL AND b.entry_key LIKE format('withdrawal:%s:%%', w.withdrawal_id)
    UNION ALL
    SELECT coalesce(t.ended_at, t.opened_at), t.attempt, format('attempt %s %s', t.attempt, t.outcome), t.code
    FROM ledger.withdrawal_attempt t WHERE t.account_id = w.account_id AND t.withdrawal_id = w.withdrawal_id
    UNION ALL
    SELECT e.seen_at, e.evidence_id, format('seen: %s, %s times', e.kind, e.times), e.detail
    FROM ledger.withdrawal_evidence e WHERE e.account_id = w.account_id AND e.withdrawal_id = w.withdrawal_id) q;
COMMENT ON VIEW audit.withdrawal_history IS
    'What happened to each withdrawal: its moves, what was booked, its attempts, and what was seen of its transfer.';
