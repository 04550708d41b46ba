-- purpose: whether an account and a market exist, so that a misspelt filter is no empty list.
-- locks:   none.
-- index:   account by name, market by condition id and slug.
-- fence:   none; it only reads.

SELECT $1::text IS NULL OR EXISTS (SELECT FROM ledger.account a WHERE a.name = $1) AS account,
       $2::text IS NULL OR EXISTS (SELECT FROM ledger.market m WHERE m.condition_id = lower($2) OR m.slug = $2) AS market
