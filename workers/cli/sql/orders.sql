-- purpose: orders, newest first, filtered by account, market, states and whether they stand.
-- locks:   none.
-- index:   orders_by_id from its end; orders_not_ended where only standing ones are wanted.
-- fence:   none; it only reads.

SELECT o.order_id, a.name AS account, m.condition_id AS market, m.slug, c.label AS outcome, o.side, o.price_micros,
       o.size_micros, greatest(o.size_matched_micros, o.traded_micros) AS matched_micros, o.order_type, o.post_only,
       o.class, o.key, o.state, o.cause, o.cancel_asked_at IS NOT NULL AS cancel_asked, o.venue_order_id,
       o.valid_until, o.created_at, o.state_at,
       greatest(floor(extract(epoch FROM ledger.clock() - o.state_at)), 0)::bigint AS state_age_s
FROM ledger.orders o
JOIN ledger.account a USING (account_id)
JOIN ledger.market m USING (market_id)
JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
WHERE ($1::text IS NULL OR a.name = $1)
  AND ($2::text IS NULL OR m.condition_id = lower($2) OR m.slug = $2)
  AND ($3::text[] IS NULL OR o.state = ANY ($3))
  AND (NOT $4::boolean OR o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED'))
ORDER BY o.order_id DESC LIMIT $5
