-- purpose: keep orders the engine has just processed, with the bytes they came in.
-- locks:   none beyond the new rows.
-- index:   venue_order_pkey.
-- fence:   the primary key: a second order under the same id fails the whole commit.
INSERT INTO paper.venue_order (
    venue_order_id, account, token_id, side, price_micros, size_micros, matched_micros, order_type,
    post_only, expiration_ms, status, seq, received_at_ms, salt, timestamp_ms, body)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
    $9::boolean[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[],
    $16::bytea[]);
