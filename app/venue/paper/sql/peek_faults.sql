-- purpose: is any misbehaviour ordered for this kind of call? Nearly always not, and then nothing is locked.
-- locks:   none.
-- index:   fault_armed.
-- fence:   none; lock_faults decides.
SELECT 1 FROM paper.fault
WHERE op = $1::text AND times > 0
  AND (account IS NULL OR account = $2::text)
  AND (venue_order_id IS NULL OR venue_order_id = ANY ($3::text[]))
LIMIT 1;
