-- purpose: halts that stand, with the names behind their ids.
-- locks:   none.
-- index:   halt_standing, market by group.
-- fence:   none; it only reads.

SELECT h.halt_id AS version, h.scope, h.why, h.set_by, h.set_as, h.set_at,
       CASE h.scope
           WHEN 'account' THEN (SELECT a.name FROM ledger.account a WHERE a.account_id::text = h.scope_id)
           WHEN 'market' THEN (SELECT coalesce(m.slug, m.condition_id) FROM ledger.market m WHERE m.market_id::text = h.scope_id)
           ELSE h.scope_id END AS name,
       CASE h.scope WHEN 'group' THEN (SELECT count(*) FROM ledger.market g WHERE g.group_key = h.scope_id) END AS group_markets,
       greatest(floor(extract(epoch FROM ledger.clock() - h.set_at)), 0)::bigint AS age_s
FROM ledger.halt h WHERE h.cleared_at IS NULL ORDER BY h.halt_id
