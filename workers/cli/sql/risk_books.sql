-- purpose: books of the markets in which something is held or stands, oldest first, and those that have none.
-- locks:   none.
-- index:   exposure and book by primary key.
-- fence:   none; it only reads.

SELECT m.condition_id AS market, m.slug, c.label AS outcome, b.best_bid_micros, b.best_ask_micros, b.age_ms,
       coalesce(b.age_ms >= q.book_age_ms, true) AS too_old
FROM (SELECT l.market_id, min(l.book_age_ms) AS book_age_ms FROM audit.limits l
      JOIN ledger.exposure e ON e.account_id = l.account_id AND e.market_id = l.market_id
      WHERE (e.at_risk <> 0 OR e.open_orders <> 0 OR e.bought <> e.sold) AND ($1::text IS NULL OR l.account = $1)
      GROUP BY l.market_id) q
JOIN ledger.market m ON m.market_id = q.market_id
JOIN ledger.outcome c ON c.market_id = q.market_id
LEFT JOIN audit.books b ON b.market_id = c.market_id AND b.outcome = c.outcome
ORDER BY b.age_ms DESC NULLS FIRST, m.market_id, c.outcome LIMIT $2
