-- purpose: the states in the order in which they were written, for docs/state-machine.md.
-- locks:   none.
-- index:   none.
-- fence:   none.

SELECT state, ended, sent, meaning FROM ledger.order_state ORDER BY ctid;
