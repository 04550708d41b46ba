-- purpose: of the markets just imported, how many trade now and how many have an end that is past.
-- locks:   none.
-- index:   market by condition id.
-- fence:   none; it only reads.

SELECT count(*) FILTER (WHERE m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock())) AS tradable,
       count(*) FILTER (WHERE m.tradable AND m.window_end <= ledger.clock()) AS ended
FROM ledger.market m WHERE m.condition_id = ANY ($1::text[])
