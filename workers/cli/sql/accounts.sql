-- purpose: accounts and who was granted them.
-- locks:   none.
-- index:   primary keys.
-- fence:   none; it only reads.

SELECT a.name AS account, a.venue, a.maker, a.signer, a.signature_type, a.quarantine_ms, a.created_at,
       array(SELECT g.role_name::text FROM ledger.account_grant g WHERE g.account_id = a.account_id ORDER BY 1) AS granted_to
FROM ledger.account a ORDER BY a.name
