-- purpose: a few tokens whose books must be there: tradable now, those that end latest first.
-- locks:   none.
-- index:   none; a sample of a table of reference.
-- fence:   none; it only reads.

SELECT o.token_id FROM ledger.market m JOIN ledger.outcome o USING (market_id)
WHERE m.tradable AND o.outcome = 0 AND (m.window_end IS NULL OR m.window_end > ledger.clock())
ORDER BY m.window_end DESC NULLS LAST, m.market_id LIMIT 3
