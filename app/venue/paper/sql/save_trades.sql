-- purpose: new trades, and the next settlement step of known ones.
-- locks:   trade rows of books the caller holds.
-- index:   trade_pkey.
-- fence:   a settled trade (CONFIRMED, FAILED) changes no more.
INSERT INTO paper.trade AS t (trade_id, token_id, price_micros, status, fate, matched_at_ms, due_ms)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
ON CONFLICT (trade_id) DO UPDATE
SET status = excluded.status, due_ms = excluded.due_ms
WHERE t.status NOT IN ('CONFIRMED', 'FAILED');
