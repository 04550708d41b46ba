-- purpose: which tokens to ask a balance for, most pressing first, of those our rows hold, those named and those that differed last.
-- $1 account, $2 tokens that are listed for the wallet, $3 seconds after which a token at rest is asked for again.
-- locks:   none.
-- index:   balance and holding_seen by primary key; fill_unsettled; reservation_standing; outcome by token.
-- fence:   none; a snapshot. At rest: its market was over and nothing on its way when both sides last said the same, and
--          our rows have not moved since.

WITH account AS (SELECT a.account_id FROM ledger.account a WHERE a.name = $1),
moving AS (
    SELECT o.token_id AS asset FROM ledger.fill f JOIN ledger.orders o USING (account_id, order_id) JOIN account USING (account_id)
    WHERE f.settlement = 'provisional'
    UNION
    SELECT o.token_id FROM ledger.reservation r JOIN ledger.orders o USING (account_id, order_id) JOIN account USING (account_id)
    WHERE r.phase <> 'released'),
asked AS (
    SELECT unnest($2::text[]) AS asset
    UNION
    SELECT unnest(ledger.held_tokens($1))
    UNION
    SELECT h.asset FROM ledger.holding_seen h JOIN account USING (account_id)
    WHERE h.theirs <> h.ours AND h.asset <> 'collateral'),
judged AS (
    SELECT t.asset, h.seen_at,
        h.theirs IS NOT DISTINCT FROM h.ours AND h.ours IS NOT DISTINCT FROM coalesce(b.available + b.locked, 0)
            AND h.unsettled = 0 AND t.asset NOT IN (SELECT q.asset FROM moving q) AS settled,
        coalesce(NOT m.tradable OR m.window_end < h.seen_at, false) AS over
    FROM asked t CROSS JOIN account
    LEFT JOIN ledger.holding_seen h ON h.account_id = account.account_id AND h.asset = t.asset
    LEFT JOIN ledger.balance b ON b.account_id = account.account_id AND b.asset = t.asset
    LEFT JOIN ledger.outcome c ON c.token_id = t.asset
    LEFT JOIN ledger.market m ON m.market_id = c.market_id)
SELECT j.asset FROM judged j
-- A time ahead of the clock says that the clock has been set back, and nothing about the token.
WHERE NOT (j.settled AND j.over AND j.seen_at > ledger.clock() - make_interval(secs => $3) AND j.seen_at <= ledger.clock())
ORDER BY j.settled, j.over, j.seen_at NULLS FIRST, j.asset
