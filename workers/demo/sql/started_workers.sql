-- purpose: how many workers have started so far.
-- locks:   none.
-- index:   none; a handful of rows.
-- fence:   none.
SELECT count(*) AS started FROM ledger.worker;
