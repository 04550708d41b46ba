-- purpose: order a misbehaviour.
-- locks:   none beyond the new row.
-- index:   fault_pkey.
-- fence:   the table's check of which kinds fit which call.
INSERT INTO paper.fault (
    op, kind, account, venue_order_id, skip, times, before_ms, after_ms, late_ms, http_status,
    retry_after_ms, text)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint,
        $10::integer, $11::bigint, $12::text)
RETURNING id;
