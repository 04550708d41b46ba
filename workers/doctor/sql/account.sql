-- purpose: an account's venue and addresses, and the database's clock.
-- locks:   none.
-- index:   account by name.
-- fence:   none; it only reads.

SELECT a.venue, a.maker, a.signer, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
FROM (SELECT 1) q LEFT JOIN ledger.account a ON a.name = $1
