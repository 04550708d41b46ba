-- purpose: breakers that are not at rest, or all that ever counted a failure.
-- locks:   none.
-- index:   breaker by primary key.
-- fence:   none; it only reads.

SELECT b.account, b.market, b.slug, b.kind, b.state, b.count, b.until,
       ceil(extract(epoch FROM greatest(b.until, b.slow_until) - ledger.clock()))::bigint AS ends_in_s, b.probe_order_id, b.why, b.changed_at
FROM audit.breakers b
WHERE ($1::text IS NULL OR b.account = $1) AND ($2 OR b.state <> 'closed' OR b.count > 0)
ORDER BY array_position(ARRAY['open', 'half open', 'slowed', 'closed'], b.state), b.account, b.slug, b.kind
