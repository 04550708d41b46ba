-- purpose: workers that are alive: the live test runs one of its own and must be the only one.
-- locks:   none.
-- index:   none; a short table.
-- fence:   none; it only reads.

SELECT w.name, w.incarnation::text AS incarnation
FROM ledger.worker w
WHERE w.stopped_at IS NULL AND w.seen_at > ledger.clock() - interval '15 seconds'
ORDER BY w.started_at
