-- purpose: a request that will reach the engine only later.
-- locks:   none beyond the new row.
-- index:   arrival_pkey.
-- fence:   none.
INSERT INTO paper.arrival (account, body, due_ms) VALUES ($1::text, $2::bytea, $3::bigint);
