-- purpose: what still moves in ledger or venue, by name; the demo waits until all of it is zero.
-- locks:   none.
-- index:   orders_not_ended, cancel_due, replacement_waiting; otherwise reads the demo's few rows.
-- fence:   none; one snapshot of both schemas.
WITH part AS (
    SELECT p.trade_id, p.venue_order_id, t.status
    FROM paper.trade_part p JOIN paper.trade t USING (trade_id)
    WHERE p.account <> '')
SELECT
    (SELECT count(*) FROM ledger.orders o
     WHERE o.state IN ('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'DELAYED')) AS "orders on their way",
    (SELECT count(*) FROM ledger.cancel_request c WHERE c.status = 'due') AS "cancels due",
    (SELECT count(*) FROM ledger.replacement r WHERE r.state = 'waiting') AS "replacements waiting",
    (SELECT count(*) FROM ledger.reservation r WHERE r.phase = 'settling') AS "reservations settling",
    (SELECT count(*) FROM paper.arrival) AS "requests under way",
    (SELECT count(*) FROM part WHERE status NOT IN ('CONFIRMED', 'FAILED')) AS "trades settling",
    (SELECT count(*) FROM paper.venue_order v
     LEFT JOIN ledger.orders o ON o.venue_order_id = v.venue_order_id
     WHERE (v.status = 'LIVE') <> coalesce(o.state = 'LIVE', false)) AS "orders seen differently",
    (SELECT count(*) FROM part
     LEFT JOIN (ledger.fill f JOIN ledger.orders o USING (account_id, order_id))
         ON f.trade_id = part.trade_id AND o.venue_order_id = part.venue_order_id
     WHERE upper(coalesce(f.settlement, 'none')) <> part.status) AS "fills seen differently";
