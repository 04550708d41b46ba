-- purpose: take the misbehaviours ordered for this call.
-- locks:   fault rows in the order of id; nothing else is held.
-- index:   fault_armed.
-- fence:   the row locks: the n-th call is the n-th, over all processes.
SELECT id, kind, account, venue_order_id, skip, times, before_ms, after_ms, late_ms, http_status,
       retry_after_ms, text
FROM paper.fault
WHERE op = $1::text AND times > 0
  AND (account IS NULL OR account = $2::text)
  AND (venue_order_id IS NULL OR venue_order_id = ANY ($3::text[]))
ORDER BY id
FOR UPDATE;
