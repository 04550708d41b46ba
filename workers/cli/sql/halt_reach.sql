-- purpose: how many known markets a halt of a group covers: none may mean a misspelt name.
-- locks:   none.
-- index:   halt by primary key, market by group.
-- fence:   none; it only reads.

SELECT h.group_markets FROM audit.halts h WHERE h.version = $1
