-- purpose: the venue's modes that stand for an account: each keeps placements back, never cancels.
-- locks:   none.
-- index:   venue_mode by primary key.
-- fence:   none; it only reads.

SELECT m.mode, m.detail, greatest(floor(extract(epoch FROM ledger.clock() - m.since)), 0)::bigint AS for_s,
       ceil(extract(epoch FROM m.until - ledger.clock()))::bigint AS ends_in_s
FROM ledger.venue_mode m JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND m.ended_at IS NULL AND (m.until IS NULL OR m.until > ledger.clock())
ORDER BY m.mode
