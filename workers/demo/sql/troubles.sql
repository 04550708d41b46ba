-- purpose: what stands in the way at the end of a demo that went wrong: halts, conditions, open orders.
-- locks:   none.
-- index:   none; reads the demo's few rows.
-- fence:   none.
SELECT 'halt' AS what, h.scope || ' ' || h.why AS detail FROM ledger.halt h WHERE h.cleared_at IS NULL
UNION ALL
SELECT 'venue mode', q.mode || ' until ' || coalesce(q.until::text, 'seen over') FROM ledger.venue_mode q WHERE q.ended_at IS NULL
UNION ALL
SELECT 'order', o.order_id || ' ' || o.key || ' ' || o.state || ' ' || coalesce(o.cause, '') || ' ' || coalesce(o.venue_order_id, '')
FROM ledger.orders o
WHERE o.state IN ('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'DELAYED')
ORDER BY 1, 2;
