-- purpose: what a bot or the worker may read through functions: its orders, its live orders, what a key became.
-- locks:   none.
-- index:   orders_by_id, orders_not_ended, idempotency_key, reservation by primary key.
-- fence:   none; each checks that the caller may act for the account.

CREATE FUNCTION ledger._show(o ledger.orders) RETURNS jsonb
LANGUAGE sql VOLATILE
AS $$
    SELECT jsonb_build_object('order_id', o.order_id, 'account', a.name, 'market', m.condition_id, 'slug', m.slug,
        'outcome', o.outcome, 'outcome_label', c.label, 'token_id', o.token_id, 'side', o.side, 'price_micros', o.price_micros,
        'size_micros', o.size_micros, 'order_type', o.order_type, 'post_only', o.post_only, 'class', o.class,
        'key', o.key, 'state', o.state, 'cause', o.cause, 'ended', ledger._ended(o.state),
        'settled', r.phase = 'released',
        'venue_order_id', o.venue_order_id, 'matched_micros', greatest(o.size_matched_micros, o.traded_micros),
        'traded_micros', o.traded_micros, 'confirmed_micros', o.confirmed_micros, 'failed_micros', o.failed_micros,
        'held_micros', r.held_micros, 'attempts', o.attempts, 'cancel_asked', o.cancel_asked_at IS NOT NULL,
        'seen_at_venue', o.seen_at_venue, 'valid_until', o.valid_until, 'created_at', o.created_at, 'state_at', o.state_at)
    FROM ledger.account a, ledger.market m, ledger.outcome c, ledger.reservation r
    WHERE a.account_id = o.account_id AND m.market_id = o.market_id
      AND c.market_id = o.market_id AND c.outcome = o.outcome
      AND r.account_id = o.account_id AND r.order_id = o.order_id
$$;

CREATE FUNCTION ledger.get_orders(p_order_ids bigint[]) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(ledger._show(o) ORDER BY o.order_id), '[]') FROM ledger.orders o
    WHERE o.order_id = ANY (p_order_ids) AND ledger._may_act_for(o.account_id)
$$;

CREATE FUNCTION ledger.find_by_key(p_account text, p_key text) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT CASE k.kind WHEN 'replacement' THEN (
            SELECT jsonb_build_object('kind', 'replacement', 'replacement_id', q.replacement_id, 'state', q.state,
                'old_order_id', q.old_order_id, 'new_order_id', q.new_order_id, 'code', q.code)
            FROM ledger.replacement q WHERE q.account_id = k.account_id AND q.replacement_id = k.subject_id)
        ELSE (SELECT ledger._show(o) || '{"kind": "order"}' FROM ledger.orders o
              WHERE o.account_id = k.account_id AND o.order_id = k.subject_id) END
    FROM ledger.account a JOIN ledger.idempotency_key k USING (account_id)
    WHERE a.name = p_account AND k.key = p_key AND ledger._may_act_for(a.account_id)
$$;

CREATE FUNCTION ledger.standing_orders(p_account text, p_market text DEFAULT NULL, p_after bigint DEFAULT 0) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(ledger._show(q) ORDER BY q.order_id), '[]') FROM (
        SELECT o.* FROM ledger.orders o JOIN ledger.account a USING (account_id)
        WHERE a.name = p_account AND ledger._may_act_for(a.account_id)
          AND (p_market IS NULL OR o.market_id = ledger._market_id(p_market))
          AND o.state NOT IN ('FILLED', 'CANCELLED', 'EXPIRED', 'REJECTED', 'NOT_PLACED')
          AND o.order_id > p_after
        ORDER BY o.order_id LIMIT 1000) q
$$;
COMMENT ON FUNCTION ledger.standing_orders(text, text, bigint) IS
    'Orders not ended, at most 1000; continue after the last order_id.';
