-- purpose: the last reconciliation of each account, and drift that stands.
-- locks:   none.
-- index:   reconcile_run by primary key, from its end.
-- fence:   none; it only reads.

SELECT a.name AS account, r.run_id, r.kind, r.result, r.started_at, r.ended_at,
       CASE WHEN r.ended_at IS NOT NULL
           THEN greatest(floor(extract(epoch FROM ledger.clock() - r.ended_at)), 0)::bigint END AS age_s,
       (SELECT count(*) FROM ledger.drift d WHERE d.account_id = a.account_id AND d.resolved_at IS NULL
            AND d.run_id = r.run_id) AS drift
FROM ledger.account a
LEFT JOIN LATERAL (SELECT x.run_id, x.kind, x.result, x.started_at, x.ended_at FROM ledger.reconcile_run x
                   WHERE x.account_id = a.account_id AND x.ended_at IS NOT NULL
                   ORDER BY x.run_id DESC LIMIT 1) r ON true
ORDER BY a.name
