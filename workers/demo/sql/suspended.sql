-- purpose: whether a market is suspended now, in any account.
-- locks:   none.
-- index:   market by condition id.
-- fence:   none.
SELECT count(*) AS suspended
FROM ledger.exposure e JOIN ledger.market m USING (market_id)
WHERE m.condition_id = $1 AND e.suspended_until > ledger.clock();
