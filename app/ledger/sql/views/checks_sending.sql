-- purpose: recompute what was sent: one venue order per intent, never more than intended, attempts, queues, keys, replacements.
-- locks:   none; each check is one STABLE function, so it sees one snapshot.
-- index:   signed_order, attempt, outbox, cancel_request and idempotency_key by primary or unique key.
-- fence:   as checks_orders.sql: nothing here calls the functions that write these rows.

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
    JOIN ledger.account b ON b.account_id = o.account_id
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
        ('timestamp ' || o.signed_at_ms, j.whole #>> '{order,timestamp}' = o.signed_at_ms::text,
         'timestamp ' || (j.whole #>> '{order,timestamp}')),
        ('maker ' || b.maker, lower(j.whole #>> '{order,maker}') = lower(b.maker), 'maker ' || (j.whole #>> '{order,maker}')),
        ('expiration ' || o.expires_at_s, j.whole #>> '{order,expiration}' = o.expires_at_s::text,
         'expiration ' || (j.whole #>> '{order,expiration}')),
        ('order type ' || o.order_type, j.whole ->> 'orderType' = o.order_type, 'order type ' || (j.whole ->> 'orderType')),
        ('post-only ' || o.post_only, j.whole -> 'postOnly' = to_jsonb(o.post_only), 'post-only ' || (j.whole ->> 'postOnly')))
        v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
$$;
COMMENT ON FUNCTION audit._check_sent_as_intended(bigint, bigint) IS
    'The stored bytes ask for no more shares and no worse price than the intent, for its token, side and terms, and the account''s maker.';

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
    UNION ALL
    SELECT format('order %s', o.order_id), v.expected, v.found
    FROM ledger.orders o
    JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
    LEFT JOIN (SELECT x.order_id, max(j.at) AS at
               FROM ledger.journal j CROSS JOIN LATERAL jsonb_array_elements_text(
                   CASE jsonb_typeof(j.detail -> 'orders') WHEN 'array' THEN j.detail -> 'orders' ELSE '[]' END) x (order_id)
               WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event = 'LANE_RELEASED'
               GROUP BY x.order_id) r ON r.order_id = o.order_id::text
    CROSS JOIN LATERAL (VALUES
        ('waits behind a blocked head unless it hedges or unwinds',
         b.passes_block = (o.class IN ('hedge', 'micro_hedge', 'unwind', 'emergency')), format('%s passes: %s', o.class, b.passes_block)),
        (format('set %s', coalesce(o.set_id::text, 'none')), o.set_id IS NOT DISTINCT FROM b.set_id,
         format('set %s', coalesce(b.set_id::text, 'none'))),
        ('a lane that somebody released', b.released_at IS NULL AND b.status <> 'released' OR coalesce(r.at >= b.released_at, false)
            OR r.at IS NULL AND audit._archived_between(o.created_at, NULL), 'released by nobody'),
        ('released, as the journal says', b.released_at IS NOT NULL OR r.at IS NULL, 'not released')) v (expected, holds, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND NOT v.holds
    UNION ALL
    SELECT format('order %s', q.order_id), format('behind order %s', q.before), format('outbox row %s before %s', q.outbox_id, q.before_id)
    FROM (SELECT b.order_id, b.outbox_id, lag(b.order_id) OVER w AS before, lag(b.outbox_id) OVER w AS before_id
          FROM ledger.outbox b WHERE b.account_id = p_account_id AND b.market_id = p_market_id
          WINDOW w AS (ORDER BY b.order_id)) q
    WHERE q.outbox_id <= q.before_id
$$;
COMMENT ON FUNCTION audit._check_outbox(bigint, bigint) IS
    'Each order has one outbox row in its lane, in the order of intents; its status fits the order''s state, and what was released '
    'somebody released.';

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
      AND (c.status IS DISTINCT FROM CASE WHEN s.ended THEN 'done' ELSE 'due' END AND c.order_id IS NOT NULL
           OR NOT s.ended AND o.cancel_asked_at IS NOT NULL AND c.order_id IS NULL)
    UNION ALL
    SELECT format('order %s', o.order_id), format('%s %s', v.what, v.expected), format('%s %s', v.what, v.found)
    FROM ledger.orders o
    LEFT JOIN ledger.cancel_request c ON c.account_id = o.account_id AND c.order_id = o.order_id
    LEFT JOIN (
        SELECT DISTINCT ON (j.order_id) j.order_id, j.at, j.event = 'CANCEL_ASKED' AS queued, j.actor, j.detail ->> 'reason' AS reason
        FROM ledger.journal j
        WHERE j.account_id = p_account_id AND j.market_id = p_market_id AND j.event IN ('CANCEL_ASKED', 'WITHDRAW')
          AND j.order_id IS NOT NULL AND j.detail ? 'reason' ORDER BY j.order_id, j.seq) j ON j.order_id = o.order_id
    LEFT JOIN LATERAL (
        -- While it is due, each answer is kept with the request.
        SELECT a.at, left(format('%s: %s', a.detail ->> 'answer', a.detail ->> 'raw'), 200) AS answer
        FROM ledger.journal a JOIN ledger.order_state t ON t.state = a.from_state AND NOT t.ended
        WHERE c.order_id IS NOT NULL AND a.account_id = p_account_id AND a.order_id = o.order_id AND a.event = 'CANCEL_ANSWERED'
          AND a.at >= c.asked_at ORDER BY a.seq DESC LIMIT 1) a ON true
    CROSS JOIN LATERAL (VALUES
        ('a cancel asked for at', coalesce(least(c.asked_at, j.at)::text, 'no time'), coalesce(o.cancel_asked_at::text, 'no time')),
        ('for the reason', coalesce(j.reason, c.reason, 'none'), coalesce(o.cancel_reason, 'none')),
        ('its request in the queue', CASE WHEN j.queued THEN format('of %s at %s: %s', j.actor, j.at, j.reason) ELSE 'as it is' END,
         CASE WHEN j.queued THEN CASE WHEN c.order_id IS NULL THEN 'none' ELSE format('of %s at %s: %s', c.asked_by, c.asked_at, c.reason) END
              ELSE 'as it is' END),
        ('its request in market', o.market_id::text, coalesce(c.market_id, o.market_id)::text),
        ('its request answered', format('%s at %s', a.answer, a.at), format('%s at %s', left(c.last_answer, 200), c.answered_at))) v (what, expected, found)
    WHERE o.account_id = p_account_id AND o.market_id = p_market_id AND v.expected IS DISTINCT FROM v.found
      AND NOT audit._archived_between(o.created_at, NULL)
$$;
COMMENT ON FUNCTION audit._check_cancels(bigint, bigint) IS
    'A cancel that was asked for, by the order, its queue and the journal alike, is due until the order has ended, and not after.';

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
    UNION ALL
    SELECT format('replacement %s of order %s', coalesce(j.id, f.id), coalesce(j.order_id, f.order_id)),
        coalesce(j.text, 'none, for the journal knows of none'), coalesce(f.text, 'none')
    FROM (SELECT q.detail ->> 'replacement' AS id, q.order_id, CASE q.event
              WHEN 'REPLACE_ASKED' THEN format('asked at %s with %s, %s filled, request %s', q.at, q.detail ->> 'key',
                                               q.detail ->> 'filled', q.detail ->> 'request')
              ELSE format('ended at %s: %s %s, new order %s', q.at, CASE q.detail ->> 'status' WHEN 'admitted' THEN 'done' ELSE 'refused' END,
                          coalesce(q.detail ->> 'code', ''), coalesce(q.detail ->> 'order_id', 'none')) END AS text, q.event, q.at
          FROM ledger.journal q WHERE q.account_id = p_account_id AND q.market_id = p_market_id AND q.order_id IS NOT NULL
            AND q.event IN ('REPLACE_ASKED', 'REPLACE_ENDED')) j
    FULL JOIN (SELECT q.replacement_id::text AS id, q.old_order_id AS order_id, v.text, v.event, v.at
               FROM ledger.replacement q
               JOIN ledger.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
               LEFT JOIN ledger.idempotency_key k ON k.account_id = q.account_id AND k.kind = 'replacement' AND k.subject_id = q.replacement_id
                    AND k.key = q.request ->> 'key'
               CROSS JOIN LATERAL (VALUES
                   ('REPLACE_ASKED', q.asked_at, format('asked at %s with %s, %s filled, request %s', q.asked_at,
                       coalesce(k.key, 'no key bound'), q.filled_at_ask, encode(sha256(convert_to(q.request::text, 'UTF8')), 'hex'))),
                   ('REPLACE_ENDED', q.ended_at, CASE WHEN q.state <> 'waiting' THEN format('ended at %s: %s %s, new order %s', q.ended_at,
                       q.state, q.code, coalesce(q.new_order_id::text, 'none')) END)) v (event, at, text)
               WHERE q.account_id = p_account_id AND o.market_id = p_market_id AND v.text IS NOT NULL) f
        ON f.id = j.id AND f.event = j.event
    WHERE j.text IS DISTINCT FROM f.text AND NOT (j.text IS NULL AND audit._archived_between(f.at, f.at))
$$;
COMMENT ON FUNCTION audit._check_replacements(bigint, bigint) IS
    'A replacement waits only while the old order lives, a done one has the one new order that names the old, and both are as journaled.';
