-- purpose: whose snapshot is the oldest, and whether it has kept dead rows alive for too long.
-- locks:   none.
-- index:   none.
-- fence:   none; it only reads.

SELECT h.*, coalesce(h.age_ms > 60000, h.transactions > 5000000) AS too_old FROM ledger.horizon() h
