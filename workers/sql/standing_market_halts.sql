-- purpose: which of these markets are halted already for a reason that begins with this word.
-- locks:   none.
-- index:   market by condition id, halt_standing.
-- fence:   none; a second halt for the same reason would only be one more to clear.

SELECT m.condition_id
FROM ledger.market m
JOIN ledger.halt h ON h.scope = 'market' AND h.scope_id = m.market_id::text AND h.cleared_at IS NULL
WHERE m.condition_id = ANY ($1::text[]) AND split_part(h.why, ':', 1) = $2
