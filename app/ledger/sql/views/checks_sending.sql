-- purpose: recompute what was sent: one venue order per intent, never more than intended, attempts, queues, keys, replacements.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   signed_order, attempt, outbox, cancel_request and idempotency_key by primary or unique key.
-- fence:   as checks_orders.sql: nothing here calls the functions that write these rows.

CREATE FUNCTION audit._json(p_body bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN convert_from(p_body, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit._json(bytea) IS 'The bytes as JSON, or NULL if they are none.';

CREATE FUNCTION audit._check_one_venue_order(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id),
        CASE WHEN o.state = 'RESERVED' THEN 'nothing signed' ELSE coalesce(s.venue_order_id, 'signed bytes') END,
        CASE WHEN o.state = 'RESERVED' THEN 'signed as ' || coalesce(s.venue_order_id, o.venue_order_id)
             ELSE coalesce(o.venue_order_id, 'no id') END || CASE WHEN s.order_id IS NULL THEN ' without bytes' ELSE '' END
    FROM ledger.orders o
    LEFT JOIN ledger.signed_order s ON s.account_id = o.account_id AND s.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (s.venue_order_id IS DISTINCT FROM o.venue_order_id
           OR o.state = 'RESERVED' AND o.venue_order_id IS NOT NULL
           OR o.state NOT IN ('RESERVED', 'NOT_PLACED') AND o.venue_order_id IS NULL)
$$;
COMMENT ON FUNCTION audit._check_one_venue_order(bigint, bigint) IS
    'Every order beyond RESERVED has one signed body, and both bear the same venue order id.';

CREATE FUNCTION audit._check_sent_as_intended(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    JOIN ledger.signed_order s ON s.account_id = o.account_id AND s.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT audit._json(s.body) AS whole) j
    -- The bytes are what is sent. Where they are not readable, what was kept beside them must do.
    CROSS JOIN LATERAL (SELECT
        coalesce(j.whole #>> '{order,makerAmount}', s.fields ->> 'makerAmount', s.fields ->> 'maker_amount') AS maker,
        coalesce(j.whole #>> '{order,takerAmount}', s.fields ->> 'takerAmount', s.fields ->> 'taker_amount') AS taker) a
    CROSS JOIN LATERAL (SELECT
        CASE WHEN a.maker ~ '^[0-9]{1,78}$' THEN a.maker::numeric END AS maker,
        CASE WHEN a.taker ~ '^[0-9]{1,78}$' THEN a.taker::numeric END AS taker) n
    CROSS JOIN LATERAL (VALUES
        (format('at most %s shares', o.size_micros), CASE o.side WHEN 'BUY' THEN n.taker ELSE n.maker END <= o.size_micros,
         format('%s shares', CASE o.side WHEN 'BUY' THEN n.taker ELSE n.maker END)),
        (format('at %s or better', o.price_micros),
         CASE o.side WHEN 'BUY' THEN n.maker <= ceil(n.taker * o.price_micros / 1000000)
                     ELSE n.taker >= floor(n.maker * o.price_micros / 1000000) END,
         format('%s given for %s', n.maker, n.taker)),
        (o.side, j.whole #>> '{order,side}' IN (o.side, CASE o.side WHEN 'BUY' THEN '0' ELSE '1' END),
         j.whole #>> '{order,side}'),
        ('token ' || o.token_id, j.whole #>> '{order,tokenId}' = o.token_id, 'token ' || (j.whole #>> '{order,tokenId}')),
        ('salt ' || o.salt, j.whole #>> '{order,salt}' = o.salt::text, 'salt ' || (j.whole #>> '{order,salt}')),
        ('expiration ' || o.expires_at_s, j.whole #>> '{order,expiration}' = o.expires_at_s::text,
         'expiration ' || (j.whole #>> '{order,expiration}')),
        ('order type ' || o.order_type, j.whole ->> 'orderType' = o.order_type, 'order type ' || (j.whole ->> 'orderType')),
        ('post-only ' || o.post_only, j.whole -> 'postOnly' = to_jsonb(o.post_only), 'post-only ' || (j.whole ->> 'postOnly')))
        v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
$$;
COMMENT ON FUNCTION audit._check_sent_as_intended(bigint, bigint) IS
    'The stored bytes ask for no more shares and no worse price than the intent, and for its token, side and terms.';

CREATE FUNCTION audit._check_attempts(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(min(t.attempt), 1) AS first, coalesce(max(t.attempt), 0) AS last,
            count(*) FILTER (WHERE t.outcome = 'open') AS open
        FROM ledger.attempt t WHERE t.account_id = o.account_id AND t.order_id = o.order_id) t
    CROSS JOIN LATERAL (VALUES
        (format('attempts 1 to %s', o.attempts), t.first = 1 AND t.last = o.attempts AND t.n = o.attempts,
         format('%s attempts, %s to %s', t.n, t.first, t.last)),
        ('no attempt before signing', NOT (o.state IN ('RESERVED', 'PREPARED') AND t.n > 0), format('%s attempts', t.n)),
        ('an open attempt', o.state <> 'SENDING' OR t.open > 0, 'none, and the order is SENDING'),
        ('at most one open attempt', t.open <= 1, format('%s open', t.open)),
        ('no open attempt', t.open = 0 OR o.state NOT IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'UNKNOWN', 'REJECTED', 'NOT_PLACED'),
         format('%s open, and the order is %s', t.open, o.state))) v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
$$;
COMMENT ON FUNCTION audit._check_attempts(bigint, bigint) IS
    'Attempts are numbered without gaps, only of signed orders, at most one is open, and SENDING means one is.';

CREATE FUNCTION audit._check_outbox(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), format('one of {%s} while %s', array_to_string(w.allowed, ', '), o.state),
        coalesce(b.status || CASE WHEN b.market_id <> o.market_id THEN ' in another lane' ELSE '' END, 'no outbox row')
    FROM ledger.orders o
    LEFT JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
    CROSS JOIN LATERAL (SELECT CASE
        WHEN o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK') THEN ARRAY['ready', 'claimed', 'dead', 'released']
        WHEN o.state = 'SENDING' THEN ARRAY['claimed']
        WHEN o.state = 'UNKNOWN' THEN ARRAY['blocked', 'released']
        ELSE ARRAY['done'] END AS allowed) w
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (b.status IS NULL OR b.status <> ALL (w.allowed) OR b.market_id <> o.market_id)
$$;
COMMENT ON FUNCTION audit._check_outbox(bigint, bigint) IS 'Each order has one outbox row in its lane, and its status fits the order''s state.';

CREATE FUNCTION audit._check_cancels(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id),
        CASE WHEN s.ended THEN 'no cancel is due' ELSE 'a cancel is due' END,
        format('%s, cancel %s', o.state, coalesce(c.status, 'asked for and not queued'))
    FROM ledger.orders o
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.cancel_request c ON c.account_id = o.account_id AND c.order_id = o.order_id
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND (s.ended AND c.status = 'due' OR NOT s.ended AND o.cancel_asked_at IS NOT NULL AND c.status IS DISTINCT FROM 'due')
$$;
COMMENT ON FUNCTION audit._check_cancels(bigint, bigint) IS
    'A cancel that was asked for is due until the order has ended, and not after.';

CREATE FUNCTION audit._check_keys(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('order %s', o.order_id), format('key %s bound to it', o.key),
        CASE WHEN k.key IS NULL THEN 'the key is not bound'
             ELSE format('%s %s', k.kind, k.subject_id) END
    FROM ledger.orders o
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.idempotency_key k ON k.account_id = o.account_id AND k.key = o.key
    LEFT JOIN ledger.replacement q ON q.account_id = o.account_id AND k.kind = 'replacement' AND q.replacement_id = k.subject_id
    LEFT JOIN ledger.setting d ON d.name = 'keep_keys_days_after_order'
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id
      AND CASE WHEN k.key IS NULL THEN
              NOT s.ended OR o.state_at > ledger.clock() - make_interval(days => coalesce(d.value::integer, 400))
          ELSE coalesce(CASE k.kind WHEN 'order' THEN k.subject_id ELSE q.new_order_id END, 0) <> o.order_id END
$$;
COMMENT ON FUNCTION audit._check_keys(bigint, bigint) IS
    'The key of each order is bound to that order, or to the replacement that made it, as long as keys are kept.';

CREATE FUNCTION audit._check_replacements(p_account_id bigint, p_market_id bigint)
RETURNS TABLE (subject text, expected text, found text)
LANGUAGE sql STABLE
AS $$
    SELECT format('replacement %s of order %s', q.replacement_id, q.old_order_id), v.expected, v.found
    FROM ledger.replacement q
    JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
    JOIN ledger.order_state s ON s.state = o.state
    LEFT JOIN ledger.orders n ON n.account_id = q.account_id AND n.order_id = q.new_order_id
    CROSS JOIN LATERAL (VALUES
        ('the old order has not ended', q.state <> 'waiting' OR NOT s.ended, 'waiting, and the old order is ' || o.state),
        ('a new order if and only if done', (q.state = 'done') = (n.order_id IS NOT NULL),
         format('%s, new order %s', q.state, coalesce(q.new_order_id::text, 'none'))),
        (format('replaces %s', o.order_id), n.order_id IS NULL OR n.replaces_order_id IS NOT DISTINCT FROM o.order_id,
         format('replaces %s', coalesce(n.replaces_order_id::text, 'nothing')))) v (expected, holds, found)
    WHERE q.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
    UNION ALL
    SELECT format('order %s', n.order_id), 'the replacement that made it', format('none of order %s', n.replaces_order_id)
    FROM ledger.orders n
    WHERE n.account_id = p_account_id AND n.market_id = p_market_id AND n.replaces_order_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM ledger.replacement q WHERE q.account_id = n.account_id AND q.new_order_id = n.order_id)
$$;
COMMENT ON FUNCTION audit._check_replacements(bigint, bigint) IS
    'A replacement waits only while the old order lives, and a done one has the one new order that names the old.';
