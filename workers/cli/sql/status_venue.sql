-- purpose: conditions of the venue that stand, and the pulses that gate placements, lost or not.
-- locks:   none.
-- index:   venue_mode and pulse by primary key.
-- fence:   none; it only reads.

SELECT v.account, v.mode, v.standing, v.gates, v.since, v.until, v.seen_at, v.signs, v.detail,
       greatest(floor(extract(epoch FROM ledger.clock() - v.seen_at)), 0)::bigint AS seen_s_ago,
       v.mode IN ('HEARTBEAT_LOST', 'BLIND_STREAM') AS is_pulse
FROM audit.venue v
WHERE v.standing OR v.mode IN ('HEARTBEAT_LOST', 'BLIND_STREAM')
ORDER BY v.account, v.standing DESC, v.mode
