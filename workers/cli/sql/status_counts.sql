-- purpose: how much waits where.
-- locks:   none.
-- index:   outbox_lane, cancel_due, venue_event_waiting, orders_not_ended.
-- fence:   none; it only reads.

SELECT (SELECT count(*) FROM ledger.outbox b WHERE b.status = 'ready') AS outbox_ready,
       (SELECT count(*) FROM ledger.outbox b WHERE b.status = 'claimed') AS outbox_claimed,
       (SELECT count(*) FROM ledger.outbox b WHERE b.status = 'blocked') AS outbox_blocked,
       (SELECT count(*) FROM ledger.outbox b WHERE b.status = 'dead') AS outbox_dead,
       (SELECT count(*) FROM ledger.cancel_request c WHERE c.status = 'due') AS cancels_due,
       (SELECT count(*) FROM ledger.venue_event v WHERE v.applied_at IS NULL) AS events_waiting,
       (SELECT count(*) FROM ledger.dead_letter d WHERE d.retried_at IS NULL) AS dead_letters,
       (SELECT count(*) FROM ledger.foreign_order f WHERE f.resolved_at IS NULL) AS foreign_orders,
       (SELECT count(*) FROM ledger.orders o
        WHERE o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')) AS orders_standing
