-- purpose: the accounts' parts of new trades.
-- locks:   none beyond the new rows (and a key share of their own trade).
-- index:   trade_part_pkey.
-- fence:   the primary key (trade, order).
INSERT INTO paper.trade_part (
    trade_id, venue_order_id, account, side, size_micros, is_maker, fee_micros, matched_at_ms)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::boolean[], $7::bigint[], $8::bigint[]);
