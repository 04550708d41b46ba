-- purpose: the whole transition table, for docs/state-machine.md.
-- locks:   none.
-- index:   none.
-- fence:   none.

SELECT from_state, event, to_state FROM ledger.transition ORDER BY from_state, event;
