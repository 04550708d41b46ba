-- purpose: markets with their terms and outcomes, those that trade first.
-- locks:   none.
-- index:   market by condition id and slug where one is named.
-- fence:   none; it only reads.

SELECT m.condition_id AS market, m.slug, m.question, m.tick_micros, m.min_size_micros, m.fee_rate_micros, m.fee_exponent,
       m.neg_risk, m.neg_risk_augmented, m.category, m.group_key, m.window_start, m.window_end, m.tradable,
       m.untradable_reasons, m.window_end <= ledger.clock() AS window_ended, m.updated_at,
       array(SELECT c.label FROM ledger.outcome c WHERE c.market_id = m.market_id ORDER BY c.outcome) AS outcomes,
       array(SELECT c.token_id FROM ledger.outcome c WHERE c.market_id = m.market_id ORDER BY c.outcome) AS token_ids
FROM ledger.market m
WHERE ($1::text IS NULL OR m.condition_id = lower($1) OR m.slug = $1)
  AND (NOT $2::boolean OR m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock()))
  AND ($3::text IS NULL OR strpos(lower(concat_ws(' ', m.slug, m.question, m.event_title)), lower($3)) > 0)
ORDER BY m.tradable DESC, m.window_end, m.market_id LIMIT $4
