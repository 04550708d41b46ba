-- purpose: markets as stored, with their outcomes: those named, or (NULL) all that may still matter: not over by the
--          venue's word, their window not two days past, or with an order that has not ended.
-- locks:   none.
-- index:   market by condition id; orders_not_ended.
-- fence:   none; a snapshot.

SELECT m.condition_id, m.slug, m.question, m.event_id, m.event_title, m.category, m.group_key,
       m.tick_micros, m.min_size_micros, m.fee_rate_micros, m.fee_exponent, m.fee_taker_only,
       m.neg_risk, m.neg_risk_augmented, m.protocol_version,
       (extract(epoch FROM m.window_start) * 1000)::bigint AS window_start_ms,
       (extract(epoch FROM m.window_end) * 1000)::bigint AS window_end_ms,
       m.tradable, m.untradable_reasons, m.source_digest AS raw_digest,
       coalesce((SELECT array_agg(c.outcome ORDER BY c.outcome) FROM ledger.outcome c
                 WHERE c.market_id = m.market_id), '{}') AS indexes,
       coalesce((SELECT array_agg(c.label ORDER BY c.outcome) FROM ledger.outcome c
                 WHERE c.market_id = m.market_id), '{}') AS labels,
       coalesce((SELECT array_agg(c.token_id ORDER BY c.outcome) FROM ledger.outcome c
                 WHERE c.market_id = m.market_id), '{}') AS tokens
FROM ledger.market m
WHERE m.condition_id = ANY ($1::text[])
   OR ($1::text[] IS NULL AND (
       NOT m.untradable_reasons && '{CLOSED,EVENT_CLOSED,RESOLVED,ARCHIVED}'
           AND (m.window_end IS NULL OR m.window_end > ledger.clock() - interval '2 days')
       OR EXISTS (SELECT FROM ledger.orders o WHERE o.market_id = m.market_id
                  AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED'))))
ORDER BY m.condition_id
