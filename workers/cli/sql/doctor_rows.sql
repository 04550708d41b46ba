-- purpose: whether there is anything to trade, and for whom.
-- locks:   none.
-- index:   account by name.
-- fence:   none; it only reads.

SELECT (SELECT count(*) FROM ledger.market) AS markets,
       (SELECT count(*) FROM ledger.market m WHERE m.tradable AND (m.window_end IS NULL OR m.window_end > ledger.clock())) AS tradable,
       (SELECT a.venue FROM ledger.account a WHERE a.name = $1) AS venue,
       (SELECT count(*) FROM ledger.halt h WHERE h.cleared_at IS NULL) AS halts,
       abs(floor(extract(epoch FROM ledger.clock() - clock_timestamp()) * 1000))::bigint AS clock_replaced_ms
