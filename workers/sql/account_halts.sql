-- $1 account, $2 the word before the colon: halts of that kind, standing or not, newest first
SELECT h.halt_id, h.why, h.cleared_at IS NULL AS stands
FROM ledger.halt h
JOIN ledger.account a ON h.scope_id = a.account_id::text
WHERE h.scope = 'account' AND a.name = $1 AND split_part(h.why, ':', 1) = $2
ORDER BY h.halt_id DESC
