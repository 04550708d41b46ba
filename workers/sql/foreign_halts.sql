-- $1 account, $2 venue order ids: those that no intent explains and nobody resolved, with the halt that stands for such
SELECT f.venue_order_id, (
    SELECT max(h.halt_id) FROM ledger.halt h
    WHERE h.scope = 'account' AND h.scope_id = a.account_id::text AND h.cleared_at IS NULL
      AND split_part(h.why, ':', 1) = 'FOREIGN_ORDER') AS halt_id
FROM ledger.foreign_order f
JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND f.venue_order_id = ANY ($2) AND f.resolved_at IS NULL
