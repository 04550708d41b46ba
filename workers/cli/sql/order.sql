-- purpose: one order with its reservation, its cancel and the replacement it waits for or came from.
-- locks:   none.
-- index:   orders_by_id, then primary keys.
-- fence:   none; it only reads.

SELECT o.order_id, a.name AS account, m.condition_id AS market, m.slug, c.label AS outcome, o.token_id, o.side,
       o.price_micros, o.size_micros, greatest(o.size_matched_micros, o.traded_micros) AS matched_micros,
       o.traded_micros, o.confirmed_micros, o.failed_micros, o.order_type, o.post_only, o.expires_at_s, o.class,
       o.origin, o.strategy, o.key, o.state, o.cause, s.ended, o.venue_order_id, o.seen_at_venue, o.fate_open,
       o.attempts, o.valid_until, o.created_at, o.state_at, s.meaning AS state_meaning,
       r.phase AS reservation, r.shares_micros AS reserved_micros, r.awaiting_micros, r.held_micros,
       o.cancel_asked_at, o.cancel_reason, k.status AS cancel_status, k.tries AS cancel_tries,
       k.last_answer AS cancel_answer, b.status AS outbox, o.replaces_order_id,
       q.state AS replacement, q.new_order_id AS replaced_by, q.code AS replacement_code
FROM ledger.orders o
JOIN ledger.order_state s ON s.state = o.state
JOIN ledger.account a USING (account_id)
JOIN ledger.market m USING (market_id)
JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
LEFT JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
LEFT JOIN ledger.cancel_request k ON k.account_id = o.account_id AND k.order_id = o.order_id
LEFT JOIN LATERAL (SELECT p.state, p.new_order_id, p.code FROM ledger.replacement p
                   WHERE p.account_id = o.account_id AND p.old_order_id = o.order_id
                   ORDER BY p.replacement_id DESC LIMIT 1) q ON true
WHERE o.order_id = $1
