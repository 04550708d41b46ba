-- purpose: take late requests that have arrived by now.
-- locks:   arrival rows, skipping those another worker delivers; book rows come after.
-- index:   arrival_due.
-- fence:   deleted in the commit that processes them: delivered once, or again after a crash.
DELETE FROM paper.arrival
WHERE id = ANY (ARRAY(
    SELECT id FROM paper.arrival WHERE due_ms <= $1::bigint ORDER BY due_ms, id LIMIT 15 FOR UPDATE SKIP LOCKED))
RETURNING id, account, body;
