-- purpose: the misbehaviour that is due for the next send, or the next look-up.
-- locks:   the fault row.
-- index:   transfer_fault_pkey.
-- fence:   one row, once each.
UPDATE paper.transfer_fault f SET times = f.times - 1
WHERE f.id = (SELECT q.id FROM paper.transfer_fault q
              WHERE q.account = $1::text AND q.times > 0 AND (q.kind = 'unread') = $2::boolean
              ORDER BY q.id LIMIT 1 FOR UPDATE)
RETURNING f.kind, f.late_ms;
