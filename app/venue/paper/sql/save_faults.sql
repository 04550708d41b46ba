-- purpose: what is left of the misbehaviours.
-- locks:   fault rows, held since lock_faults.
-- index:   fault_pkey.
-- fence:   the row locks.
UPDATE paper.fault f
SET skip = n.skip, times = n.times
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (id, skip, times)
WHERE f.id = n.id;
