-- purpose: one order with its stored bytes and every attempt to send it, for the live test.
-- locks:   none.
-- index:   orders_by_id, then primary keys.
-- fence:   none; it only reads.

SELECT o.state, s.ended, coalesce(o.venue_order_id, '') AS venue_order_id, coalesce(g.body, '\x') AS body,
       coalesce((SELECT jsonb_agg(jsonb_build_object('outcome', t.outcome, 'code', t.code, 'owner', t.owner,
                                                     'answer', coalesce(t.answer, '')) ORDER BY t.attempt)
                 FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id), '[]')::text AS attempts
FROM ledger.orders o
JOIN ledger.order_state s ON s.state = o.state
LEFT JOIN ledger.signed_order g ON g.account_id = o.account_id AND g.order_id = o.order_id
WHERE o.order_id = $1
