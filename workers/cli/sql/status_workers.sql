-- purpose: workers that did not stop, alive while they beat; those gone for a day are left out.
-- locks:   none.
-- index:   none; a short table.
-- fence:   none; it only reads.

SELECT w.incarnation, w.name, w.version,
       w.ready AND w.alive_until > ledger.clock() AS ready,
       CASE WHEN w.alive_until > ledger.clock() THEN w.not_ready_why ELSE 'gone' END AS not_ready_why, w.started_at, w.seen_at,
       greatest(floor(extract(epoch FROM ledger.clock() - w.seen_at)), 0)::bigint AS seen_s_ago,
       w.alive_until > ledger.clock() AS alive
FROM ledger.worker w
WHERE w.stopped_at IS NULL AND w.seen_at > ledger.clock() - interval '1 day'
ORDER BY w.started_at
