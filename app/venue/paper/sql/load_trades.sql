-- purpose: the trades of books that are on their way to settlement, with the accounts' parts.
-- locks:   none; the caller holds the book rows.
-- index:   trade_unsettled, trade_part_pkey.
-- fence:   the book rows' locks.
SELECT t.trade_id, t.token_id, t.price_micros, t.status, t.fate, t.matched_at_ms, t.due_ms,
       p.venue_order_id, p.account, p.side, p.size_micros, p.is_maker, p.fee_micros
FROM paper.trade t
JOIN paper.trade_part p USING (trade_id)
WHERE t.token_id = ANY ($1::text[]) AND t.status IN ('MATCHED', 'MINED', 'RETRYING')
ORDER BY t.token_id, t.matched_at_ms, t.trade_id, p.is_maker, p.venue_order_id;
