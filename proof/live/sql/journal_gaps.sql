-- purpose: accounts whose journal has a number missing or twice, counted from the rows alone.
-- locks:   none.
-- index:   none; reads the table.
-- fence:   none.
SELECT j.account_id, count(*) AS rows, count(DISTINCT j.seq) AS numbers, min(j.seq) AS first, max(j.seq) AS last
FROM ledger.journal j
GROUP BY j.account_id
HAVING count(*) <> count(DISTINCT j.seq) OR min(j.seq) <> 1 OR max(j.seq) <> count(*);
