-- $1 account, $2 the word before the colon, $3 asset: halts of that kind, standing or not, newest first.
-- agreed_since: the asset has been the same on both sides since the halt was set.
SELECT h.halt_id, h.why, h.cleared_at IS NULL AS stands, coalesce(s.agreed_at > h.set_at, false) AS agreed_since
FROM ledger.halt h
JOIN ledger.account a ON h.scope_id = a.account_id::text
LEFT JOIN ledger.holding_seen s ON s.account_id = a.account_id AND s.asset = $3
WHERE h.scope = 'account' AND a.name = $1 AND split_part(h.why, ':', 1) = $2
ORDER BY h.halt_id DESC
