-- purpose: messages given up after repeated failures; one of them where a number is given.
-- locks:   none.
-- index:   none; a short table.
-- fence:   none; it only reads.

SELECT d.dead_letter_id, a.name AS account, d.source, d.subject, d.problem, d.failures, d.at, d.retried_at, d.retried_by,
       CASE WHEN $1::bigint IS NOT NULL AND d.source = 'venue_event' THEN
           (SELECT v.raw FROM ledger.venue_event v WHERE v.account_id = d.account_id AND v.event_id = d.subject) END AS raw
FROM ledger.dead_letter d JOIN ledger.account a USING (account_id)
WHERE ($1::bigint IS NULL OR d.dead_letter_id = $1) AND ($1::bigint IS NOT NULL OR $2::boolean OR d.retried_at IS NULL)
ORDER BY d.dead_letter_id DESC LIMIT 500
