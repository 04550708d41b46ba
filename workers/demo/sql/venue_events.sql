-- purpose: the venue's history in the order of its commits, for the judgement.
-- locks:   none.
-- index:   event_pkey.
-- fence:   none.
SELECT e.seq, e.account, e.at_ms, e.payload::text AS payload FROM paper.event e ORDER BY e.seq;
