-- $1 account, $2 trade ids: our fills of these trades
SELECT f.trade_id, o.venue_order_id, f.settlement, f.fee_micros, f.fee_rank = 4 AS fee_is_final,
    f.contradicted_at IS NOT NULL AS contradicted
FROM ledger.fill f
JOIN ledger.orders o USING (account_id, order_id)
JOIN ledger.account a USING (account_id)
WHERE a.name = $1 AND f.trade_id = ANY ($2)
