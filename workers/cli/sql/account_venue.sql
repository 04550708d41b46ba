-- purpose: where an account trades.
-- locks:   none.
-- index:   account by name.
-- fence:   none; it only reads.

SELECT a.venue FROM ledger.account a WHERE a.name = $1
