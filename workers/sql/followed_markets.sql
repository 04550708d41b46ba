-- purpose: both tokens of the markets whose books an account watches: where an order of it stands, or that trade now
--          and in which it filled within the last hour.
-- locks:   none.
-- index:   exposure by account; orders_not_ended; fill_of_market.
-- fence:   none; a snapshot.

SELECT m.condition_id, c.token_id, m.tick_micros, m.min_size_micros, m.neg_risk
FROM ledger.account a
JOIN ledger.exposure e ON e.account_id = a.account_id
JOIN ledger.market m ON m.market_id = e.market_id
JOIN ledger.outcome c ON c.market_id = m.market_id
WHERE a.name = $1 AND (
    EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = a.account_id AND o.market_id = m.market_id
            AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED'))
    OR (m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock())
        AND EXISTS (SELECT FROM ledger.fill f WHERE f.account_id = a.account_id AND f.market_id = m.market_id
                    AND f.matched_at > ledger.clock() - interval '1 hour')))
ORDER BY m.condition_id, c.outcome
