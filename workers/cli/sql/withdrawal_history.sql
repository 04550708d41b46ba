-- purpose: what happened to one withdrawal, oldest first.
-- locks:   none.
-- index:   as the view.
-- fence:   none; it only reads.

SELECT h.at, h.what, h.detail FROM audit.withdrawal_history h WHERE h.withdrawal_id = $1 ORDER BY h.at, h.n
