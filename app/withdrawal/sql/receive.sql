-- purpose: a transfer arrives; a second copy is only counted.
-- locks:   the transfer row.
-- index:   transfer_pkey.
-- fence:   the hash.
INSERT INTO paper.transfer AS t (hash, account, destination, amount_micros, state, due_ms, received_at_ms)
VALUES ($1::text, $2::text, $3::text, $4::bigint, $5::text, $6::bigint, $7::bigint)
ON CONFLICT (hash) DO UPDATE SET times_received = t.times_received + 1
RETURNING t.state, t.times_received;
