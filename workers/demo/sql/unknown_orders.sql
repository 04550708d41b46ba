-- purpose: how many orders had an unknown fate at some time, and how many worker starts the ledger saw.
-- locks:   none.
-- index:   none; reads the tables.
-- fence:   none.
SELECT (SELECT count(DISTINCT j.order_id) FROM ledger.journal j WHERE j.to_state = 'UNKNOWN') AS unknown,
    (SELECT count(*) FROM ledger.attempt t WHERE t.outcome = 'lapsed') AS lapsed,
    (SELECT count(*) FROM ledger.orders o WHERE o.cause = 'PROVEN_ABSENT') AS proven_absent,
    (SELECT count(*) FROM ledger.worker) AS worker_starts,
    (SELECT count(*) FROM ledger.drift) AS drift_mended;
