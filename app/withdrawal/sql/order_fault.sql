-- purpose: order a misbehaviour.
-- locks:   none beyond the new row.
-- index:   none.
-- fence:   the table's check of kinds.
INSERT INTO paper.transfer_fault (account, kind, late_ms, times) VALUES ($1::text, $2::text, $3::bigint, $4::bigint);
