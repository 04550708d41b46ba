-- purpose: both tokens of the markets whose books accounts watch: where an order of them stands, or that trade now and
--          in which they hold something, filled or asked within the last hour, or may ask under a limit on prices, which
--          is judged by the book.
-- locks:   none.
-- index:   exposure by account; orders_not_ended; fill_of_market.
-- fence:   none; a snapshot.

SELECT DISTINCT m.condition_id, c.token_id, m.tick_micros, m.min_size_micros, m.neg_risk, c.outcome
FROM ledger.account a
JOIN ledger.exposure e ON e.account_id = a.account_id
JOIN ledger.market m ON m.market_id = e.market_id
JOIN ledger.outcome c ON c.market_id = m.market_id
WHERE a.name = ANY ($1::text[]) AND (
    EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = a.account_id AND o.market_id = m.market_id
            AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED'))
    OR (m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock())
        AND (e.confirmed <> '{0,0}' OR e.provisional_buy <> '{0,0}' OR e.clock_at > ledger.clock() - interval '1 hour'
             OR EXISTS (SELECT FROM ledger.fill f WHERE f.account_id = a.account_id AND f.market_id = m.market_id
                        AND f.matched_at > ledger.clock() - interval '1 hour')
             OR EXISTS (SELECT FROM ledger.limits l WHERE l.account_id IN (0, e.account_id) AND l.market_id IN (0, e.market_id)
                        AND (l.collar_micros IS NOT NULL OR l.max_slippage_bps IS NOT NULL)))))
ORDER BY m.condition_id, c.outcome
