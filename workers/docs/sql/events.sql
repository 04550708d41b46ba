-- purpose: the events in the order in which they were written, for docs/state-machine.md.
-- locks:   none.
-- index:   none.
-- fence:   none.

SELECT event, meaning FROM ledger.order_event ORDER BY ctid;
