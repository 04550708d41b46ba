-- purpose: what the live test must know of a market, or of those that could serve, both outcomes each.
-- locks:   none.
-- index:   market by condition id or slug; else a sample of a table of reference.
-- fence:   none; it only reads.

SELECT m.condition_id, o.outcome, o.label, o.token_id, m.tick_micros, m.min_size_micros, m.neg_risk
FROM ledger.market m JOIN ledger.outcome o USING (market_id)
WHERE m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock() + interval '30 minutes')
  AND ($1::text IS NULL OR m.condition_id = $1 OR m.slug = $1)
ORDER BY m.window_end DESC NULLS LAST, m.market_id, o.outcome LIMIT 20
