-- purpose: exposure that counts against caps, beside the caps, nearest to a cap first.
-- locks:   none.
-- index:   exposure and limits by primary key.
-- fence:   none; it only reads.

SELECT a.name AS account, m.condition_id AS market, m.slug, q.outcome_0_micros, q.outcome_1_micros,
       q.outcome_0_micros + q.outcome_1_micros AS market_micros, q.max_outcome_micros, q.max_market_micros
FROM (
    SELECT e.account_id, e.market_id,
           e.confirmed[1] + e.provisional_buy[1] + e.awaiting_buy[1] + e.open_buy[1] + e.pending_buy[1] AS outcome_0_micros,
           e.confirmed[2] + e.provisional_buy[2] + e.awaiting_buy[2] + e.open_buy[2] + e.pending_buy[2] AS outcome_1_micros,
           coalesce(am.max_outcome_micros, ml.max_outcome_micros, al.max_outcome_micros, d.max_outcome_micros) AS max_outcome_micros,
           coalesce(am.max_market_micros, ml.max_market_micros, al.max_market_micros, d.max_market_micros) AS max_market_micros
    FROM ledger.exposure e
    LEFT JOIN ledger.limits d ON d.account_id = 0 AND d.market_id = 0
    LEFT JOIN ledger.limits al ON al.account_id = e.account_id AND al.market_id = 0
    LEFT JOIN ledger.limits ml ON ml.account_id = 0 AND ml.market_id = e.market_id
    LEFT JOIN ledger.limits am ON am.account_id = e.account_id AND am.market_id = e.market_id) q
JOIN ledger.account a ON a.account_id = q.account_id
JOIN ledger.market m ON m.market_id = q.market_id
WHERE q.outcome_0_micros <> 0 OR q.outcome_1_micros <> 0
ORDER BY greatest(greatest(q.outcome_0_micros, q.outcome_1_micros)::numeric / nullif(q.max_outcome_micros, 0),
                  (q.outcome_0_micros + q.outcome_1_micros)::numeric / nullif(q.max_market_micros, 0)) DESC NULLS LAST
LIMIT $1
