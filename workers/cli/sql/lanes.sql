-- purpose: lanes whose head blocks placements, with how many orders wait behind it.
-- locks:   none.
-- index:   outbox_lane.
-- fence:   none; it only reads.

SELECT a.name AS account, m.condition_id AS market, m.slug, b.order_id, b.status, o.state, o.cause,
       greatest(floor(extract(epoch FROM ledger.clock() - o.state_at)), 0)::bigint AS age_s,
       (SELECT count(*) FROM ledger.outbox w WHERE w.account_id = b.account_id AND w.market_id = b.market_id
            AND w.outbox_id > b.outbox_id AND w.status IN ('ready', 'claimed') AND w.released_at IS NULL) AS waiting
FROM ledger.outbox b
JOIN ledger.orders o ON o.account_id = b.account_id AND o.order_id = b.order_id
JOIN ledger.account a ON a.account_id = b.account_id
JOIN ledger.market m ON m.market_id = b.market_id
WHERE b.status IN ('blocked', 'dead')
ORDER BY a.name, m.condition_id, b.outbox_id
