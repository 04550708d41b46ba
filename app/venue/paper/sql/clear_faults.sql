-- purpose: the venue behaves again.
-- locks:   fault rows.
-- index:   none; reads the small table.
-- fence:   none.
DELETE FROM paper.fault;
