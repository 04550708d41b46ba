-- purpose: suspensions that last.
-- locks:   none.
-- index:   exposure by primary key; one row per market that was traded.
-- fence:   none; it only reads.

SELECT a.name AS account, m.condition_id AS market, m.slug, e.suspended_until, e.suspended_why AS why,
       greatest(ceil(extract(epoch FROM e.suspended_until - ledger.clock())), 0)::bigint AS ends_in_s
FROM ledger.exposure e JOIN ledger.account a USING (account_id) JOIN ledger.market m USING (market_id)
WHERE e.suspended_until > ledger.clock() ORDER BY e.suspended_until
