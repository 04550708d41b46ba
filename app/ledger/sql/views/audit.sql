-- purpose: what stands now, for people and scripts: limits, exposure, orders, what is unresolved, balances, fills, halts.
-- locks:   none; every view only reads, each statement in one snapshot.
-- index:   orders_not_ended, orders_unresolved, reservation_standing, fill_of_order, balance, exposure by primary key.
-- fence:   views belong to the owner role and read with its rights: the auditor can see them and nothing under them.
-- A function in a view runs with the reader's rights, so the only one used here is ledger.clock().
-- Amounts end in _micros: millionths of a share, or of one unit of collateral. Outcomes are 0 and 1, with their labels.

CREATE VIEW audit.limits AS
SELECT a.name AS account, m.condition_id AS market, m.slug,
    coalesce(am.max_outcome_micros, ma.max_outcome_micros, ac.max_outcome_micros, d.max_outcome_micros) AS max_outcome_micros,
    coalesce(am.max_market_micros, ma.max_market_micros, ac.max_market_micros, d.max_market_micros) AS max_market_micros,
    coalesce(am.burst_per_minute, ma.burst_per_minute, ac.burst_per_minute, d.burst_per_minute) AS burst_per_minute,
    coalesce(am.burst_gap_ms, ma.burst_gap_ms, ac.burst_gap_ms, d.burst_gap_ms) AS burst_gap_ms,
    coalesce(am.burst_counts_sells, ma.burst_counts_sells, ac.burst_counts_sells, d.burst_counts_sells, false)
        AS burst_counts_sells,
    coalesce(am.max_order_micros, ma.max_order_micros, ac.max_order_micros, d.max_order_micros) AS max_order_micros,
    coalesce(am.max_order_cost_micros, ma.max_order_cost_micros, ac.max_order_cost_micros, d.max_order_cost_micros)
        AS max_order_cost_micros,
    coalesce(am.max_market_cost_micros, ma.max_market_cost_micros, ac.max_market_cost_micros, d.max_market_cost_micros)
        AS max_market_cost_micros,
    coalesce(am.max_imbalance_micros, ma.max_imbalance_micros, ac.max_imbalance_micros, d.max_imbalance_micros)
        AS max_imbalance_micros,
    coalesce(am.max_open_orders, ma.max_open_orders, ac.max_open_orders, d.max_open_orders) AS max_open_orders,
    coalesce(am.cooldown_ms, ma.cooldown_ms, ac.cooldown_ms, d.cooldown_ms) AS cooldown_ms,
    coalesce(am.changes_per_minute, ma.changes_per_minute, ac.changes_per_minute, d.changes_per_minute) AS changes_per_minute,
    coalesce(am.collar_micros, ma.collar_micros, ac.collar_micros, d.collar_micros) AS collar_micros,
    coalesce(am.max_slippage_bps, ma.max_slippage_bps, ac.max_slippage_bps, d.max_slippage_bps) AS max_slippage_bps,
    coalesce(am.book_age_ms, ma.book_age_ms, ac.book_age_ms, d.book_age_ms, 30000) AS book_age_ms,
    coalesce(am.self_match_allowed, ma.self_match_allowed, ac.self_match_allowed, d.self_match_allowed, false)
        AS self_match_allowed,
    coalesce(am.duplicate_window_ms, ma.duplicate_window_ms, ac.duplicate_window_ms, d.duplicate_window_ms)
        AS duplicate_window_ms,
    coalesce(am.duplicate_refused, ma.duplicate_refused, ac.duplicate_refused, d.duplicate_refused, false) AS duplicate_refused,
    coalesce(am.open_buffer_ms, ma.open_buffer_ms, ac.open_buffer_ms, d.open_buffer_ms) AS open_buffer_ms,
    coalesce(am.close_buffer_ms, ma.close_buffer_ms, ac.close_buffer_ms, d.close_buffer_ms) AS close_buffer_ms,
    coalesce(am.weekend_allowed, ma.weekend_allowed, ac.weekend_allowed, d.weekend_allowed, true) AS weekend_allowed,
    coalesce(am.breaker_rejects, ma.breaker_rejects, ac.breaker_rejects, d.breaker_rejects) AS breaker_rejects,
    coalesce(am.breaker_cancels, ma.breaker_cancels, ac.breaker_cancels, d.breaker_cancels) AS breaker_cancels,
    coalesce(am.slow_ms, ma.slow_ms, ac.slow_ms, d.slow_ms) AS slow_ms,
    coalesce(am.stop_ms, ma.stop_ms, ac.stop_ms, d.stop_ms) AS stop_ms,
    x.account_id, x.market_id
FROM ledger.exposure x
JOIN ledger.account a ON a.account_id = x.account_id
JOIN ledger.market m ON m.market_id = x.market_id
LEFT JOIN ledger.limits d ON d.account_id = 0 AND d.market_id = 0
LEFT JOIN ledger.limits ac ON ac.account_id = x.account_id AND ac.market_id = 0
LEFT JOIN ledger.limits ma ON ma.account_id = 0 AND ma.market_id = x.market_id
LEFT JOIN ledger.limits am ON am.account_id = x.account_id AND am.market_id = x.market_id;
COMMENT ON VIEW audit.limits IS
    'The limits in force per account and market, after the most specific value that is set. NULL means no limit.';

CREATE VIEW audit.exposure AS
SELECT a.name AS account, m.condition_id AS market, m.slug, c.outcome, c.label AS outcome_label, c.token_id,
    e.confirmed[i.n] AS position_micros,
    e.provisional_buy[i.n] AS provisional_buy_micros, e.awaiting_buy[i.n] AS awaiting_buy_micros,
    e.open_buy[i.n] AS open_buy_micros, e.pending_buy[i.n] AS pending_buy_micros,
    e.confirmed[i.n] + e.provisional_buy[i.n] + e.awaiting_buy[i.n] + e.open_buy[i.n] + e.pending_buy[i.n]
        AS effective_micros,
    l.max_outcome_micros AS cap_outcome_micros,
    sum(e.confirmed[i.n] + e.provisional_buy[i.n] + e.awaiting_buy[i.n] + e.open_buy[i.n] + e.pending_buy[i.n])
        OVER (PARTITION BY e.account_id, e.market_id)::bigint AS market_effective_micros,
    l.max_market_micros AS cap_market_micros,
    e.provisional_sell[i.n] AS provisional_sell_micros, e.awaiting_sell[i.n] AS awaiting_sell_micros,
    e.open_sell[i.n] AS open_sell_micros, e.pending_sell[i.n] AS pending_sell_micros,
    e.confirmed[i.n] - e.provisional_sell[i.n] - e.awaiting_sell[i.n] - e.open_sell[i.n] - e.pending_sell[i.n]
        AS sellable_micros,
    coalesce(e.suspended_until > ledger.clock(), false) AS suspended, e.suspended_until, e.suspended_why,
    e.mutex_holder, e.mutex_term, e.mutex_until, e.last_admitted_at, e.group_key,
    e.basis[i.n] AS basis_micros,
    e.held_cost AS held_cost_micros, e.at_risk AS at_risk_micros, l.max_market_cost_micros AS cap_market_cost_micros,
    e.open_orders, l.max_open_orders AS cap_open_orders, e.changed_at, e.account_id, e.market_id
FROM ledger.exposure e
JOIN ledger.account a ON a.account_id = e.account_id
JOIN ledger.market m ON m.market_id = e.market_id
JOIN ledger.outcome c ON c.market_id = e.market_id
CROSS JOIN LATERAL (SELECT c.outcome + 1 AS n) i
JOIN audit.limits l ON l.account_id = e.account_id AND l.market_id = e.market_id;
COMMENT ON VIEW audit.exposure IS
    'One row per account, market and outcome: position, what is bought, open and pending, what that comes to, and the caps.';

CREATE VIEW audit.orders AS
SELECT a.name AS account, o.order_id, o.key, m.condition_id AS market, m.slug, o.outcome, c.label AS outcome_label,
    o.token_id, o.side, o.price_micros, o.size_micros, o.order_type, o.post_only, o.expires_at_s, o.class, o.origin,
    o.strategy, o.context, o.state, s.ended, o.cause, o.state_at, o.created_at, o.valid_until, o.venue_order_id,
    greatest(o.size_matched_micros, o.traded_micros) AS matched_micros, o.traded_micros, o.confirmed_micros,
    o.failed_micros, r.phase, r.shares_micros AS remaining_micros, r.awaiting_micros, r.asset AS held_asset,
    r.held_micros, r.released_at, o.attempts, o.seen_at_venue, o.fate_open, o.cancel_asked_at, o.cancel_reason,
    o.replaces_order_id, o.set_id, o.account_id, o.market_id
FROM ledger.orders o
JOIN ledger.account a ON a.account_id = o.account_id
LEFT JOIN ledger.market m ON m.market_id = o.market_id
LEFT JOIN ledger.outcome c ON c.market_id = o.market_id AND c.outcome = o.outcome
LEFT JOIN ledger.order_state s ON s.state = o.state
LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id;
COMMENT ON VIEW audit.orders IS 'Every intent with its state, its id at the venue, what it filled and what it still holds.';

CREATE VIEW audit.unresolved AS
SELECT o.account, o.market, o.slug, o.outcome_label, o.side, o.order_id, o.key, o.state,
    CASE WHEN o.ended THEN 'matched at the venue, its trades are not all seen'
         WHEN o.state = 'SENDING' THEN 'an attempt is open'
         WHEN o.state = 'UNKNOWN' THEN 'no definite answer; only evidence ends this'
         WHEN o.state = 'DELAYED' THEN 'held by the venue''s matching delay'
         ELSE 'matched at the venue, its trades are not all seen' END AS why,
    floor(extract(epoch FROM ledger.clock() - coalesce(r.awaiting_since, o.state_at)) * 1000)::bigint AS age_ms,
    o.venue_order_id, o.price_micros, o.size_micros, o.awaiting_micros, o.held_asset, o.held_micros, o.attempts,
    t.outcome AS last_attempt, t.code AS last_code,
    q.last_deadline + make_interval(secs => a.quarantine_ms / 1000.0) AS quarantine_until,
    array(SELECT DISTINCT v.kind FROM ledger.evidence v
          WHERE v.account_id = o.account_id AND v.order_id = o.order_id ORDER BY 1)::text[] AS evidence,
    b.status AS lane_status, o.cancel_asked_at, k.tries AS cancel_tries, k.last_answer AS cancel_answer
FROM audit.orders o
JOIN ledger.orders q ON q.account_id = o.account_id AND q.order_id = o.order_id
JOIN ledger.account a ON a.account_id = o.account_id
LEFT JOIN ledger.reservation r ON r.account_id = o.account_id AND r.order_id = o.order_id
LEFT JOIN ledger.attempt t ON t.account_id = o.account_id AND t.order_id = o.order_id AND t.attempt = o.attempts
LEFT JOIN ledger.outbox b ON b.account_id = o.account_id AND b.order_id = o.order_id
LEFT JOIN ledger.cancel_request k ON k.account_id = o.account_id AND k.order_id = o.order_id
WHERE q.state IN ('SENDING', 'UNKNOWN', 'DELAYED') OR r.awaiting_micros > 0;
COMMENT ON VIEW audit.unresolved IS
    'Orders whose fate is open, or whose matched size is not yet explained by trades, with age and the evidence so far.';

CREATE VIEW audit.intents_without_order AS
SELECT o.account, o.market, o.slug, 'order'::text AS kind, o.order_id, o.key, o.state, s.meaning AS why, false AS anomaly,
    o.held_asset, o.held_micros, o.created_at AS since
FROM audit.orders o JOIN ledger.order_state s ON s.state = o.state
WHERE o.state IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'SENDING', 'UNKNOWN') AND NOT o.seen_at_venue
UNION ALL
SELECT o.account, o.market, o.slug, 'replacement', q.old_order_id, k.key, q.state,
    'Waits for the proven end of the order it replaces.', o.ended, NULL, NULL, q.asked_at
FROM ledger.replacement q
JOIN audit.orders o ON o.account_id = q.account_id AND o.order_id = q.old_order_id
LEFT JOIN ledger.idempotency_key k
    ON k.account_id = q.account_id AND k.kind = 'replacement' AND k.subject_id = q.replacement_id
WHERE q.state = 'waiting'
UNION ALL
SELECT a.name, NULL, NULL, 'key', k.subject_id, k.key, NULL, 'The key is bound to an order that does not exist.', true,
    NULL, NULL, k.bound_at
FROM ledger.idempotency_key k JOIN ledger.account a ON a.account_id = k.account_id
WHERE k.kind = 'order' AND NOT EXISTS (
    SELECT FROM ledger.orders o WHERE o.account_id = k.account_id AND o.order_id = k.subject_id)
UNION ALL
SELECT a.name, m.condition_id, m.slug, 'reservation', r.order_id, NULL, NULL,
    'The reservation belongs to an order that does not exist.', true, r.asset, r.held_micros, r.created_at
FROM ledger.reservation r
JOIN ledger.account a ON a.account_id = r.account_id
LEFT JOIN ledger.market m ON m.market_id = r.market_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = r.account_id AND o.order_id = r.order_id);
COMMENT ON VIEW audit.intents_without_order IS
    'Intents for which no order is known at the venue: not sent yet, on the wire, unknown, waiting to replace; or an anomaly.';

CREATE VIEW audit.orders_without_intent AS
SELECT a.name AS account, f.venue_order_id, 'foreign order'::text AS kind, f.resolved_at IS NULL AS standing,
    NULL::bigint AS order_id, f.first_seen_at, f.last_seen_at, f.detail, f.resolution, f.resolved_by, f.resolved_at
FROM ledger.foreign_order f JOIN ledger.account a ON a.account_id = f.account_id
UNION ALL
SELECT a.name, s.venue_order_id, 'signed bytes without intent', true, s.order_id, s.signed_at, s.signed_at, s.fields,
    NULL, NULL, NULL
FROM ledger.signed_order s JOIN ledger.account a ON a.account_id = s.account_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = s.account_id AND o.order_id = s.order_id)
UNION ALL
SELECT a.name, NULL, 'fill without intent', true, f.order_id, f.matched_at, f.matched_at,
    jsonb_build_object('trade', f.trade_id, 'size', f.size_micros, 'price', f.price_micros), NULL, NULL, NULL
FROM ledger.fill f JOIN ledger.account a ON a.account_id = f.account_id
WHERE NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = f.account_id AND o.order_id = f.order_id);
COMMENT ON VIEW audit.orders_without_intent IS
    'What the venue shows under our accounts and no intent explains. A standing foreign order has halted its account.';

CREATE VIEW audit.double_counted AS
SELECT min(a.name) AS account, 'venue order id of several orders'::text AS kind, o.venue_order_id AS subject,
    array_agg(o.order_id ORDER BY o.order_id) AS order_ids, sum(o.size_micros)::bigint AS counted_micros
FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
WHERE o.venue_order_id IS NOT NULL GROUP BY a.venue, o.venue_order_id HAVING count(*) > 1
UNION ALL
SELECT a.name, 'key of several orders', o.key, array_agg(o.order_id ORDER BY o.order_id), sum(o.size_micros)::bigint
FROM ledger.orders o JOIN ledger.account a ON a.account_id = o.account_id
GROUP BY a.name, o.account_id, o.key HAVING count(*) > 1
UNION ALL
SELECT o.account, 'open and filled more than asked', 'order ' || o.order_id, ARRAY[o.order_id],
    o.remaining_micros + greatest(o.matched_micros, f.traded)
FROM audit.orders o CROSS JOIN LATERAL (
    SELECT coalesce(sum(q.size_micros), 0)::bigint AS traded FROM ledger.fill q
    WHERE q.account_id = o.account_id AND q.order_id = o.order_id) f
WHERE o.remaining_micros + greatest(o.matched_micros, f.traded) > o.size_micros
UNION ALL
SELECT n.account, 'replacement beside a live original', 'order ' || n.order_id, ARRAY[o.order_id, n.order_id],
    o.size_micros + n.size_micros
FROM audit.orders n JOIN audit.orders o ON o.account_id = n.account_id AND o.order_id = n.replaces_order_id
WHERE NOT n.ended AND NOT o.ended;
COMMENT ON VIEW audit.double_counted IS 'What is counted twice. Empty in a sound ledger, except after a venue filled more than was asked.';

CREATE VIEW audit.cap_breaches AS
SELECT e.account, e.market, e.slug, e.outcome, e.outcome_label, b.kind, true AS standing, b.effective_micros, b.cap_micros,
    e.suspended, e.suspended_until, NULL::timestamptz AS at
FROM audit.exposure e CROSS JOIN LATERAL (VALUES
    ('CAP_OUTCOME', e.effective_micros, e.cap_outcome_micros),
    ('CAP_MARKET', CASE WHEN e.outcome = 0 THEN e.market_effective_micros END, e.cap_market_micros),
    ('NEGATIVE_POSITION', -e.position_micros, 0)) b (kind, effective_micros, cap_micros)
WHERE b.effective_micros > b.cap_micros
UNION ALL
SELECT a.name, m.condition_id, m.slug, NULL, NULL, j.detail ->> 'why', false, (j.detail ->> 'total')::bigint,
    CASE j.detail ->> 'why' WHEN 'CAP_OUTCOME' THEN (j.detail ->> 'cap_outcome')::bigint
                            WHEN 'CAP_MARKET' THEN (j.detail ->> 'cap_market')::bigint END,
    NULL, (j.detail ->> 'until')::timestamptz, j.at
FROM ledger.journal j
JOIN ledger.account a ON a.account_id = j.account_id
LEFT JOIN ledger.market m ON m.market_id = j.market_id
WHERE j.event = 'INVARIANT_BREACH_HALT';
COMMENT ON VIEW audit.cap_breaches IS
    'Markets over a cap or below zero now (standing), and every breach that was ever journaled (not standing, with its time).';

CREATE VIEW audit.fills AS
SELECT a.name AS account, f.trade_id, f.order_id, o.key, o.strategy, o.origin, m.condition_id AS market, m.slug, f.outcome,
    c.label AS outcome_label, f.side, f.price_micros, f.size_micros, f.cash_micros, f.fee_micros, f.settlement,
    f.raw_status, f.is_maker, f.liquidity, f.liquidity_source, f.matched_at, o.venue_order_id, f.account_id, f.market_id
FROM ledger.fill f
JOIN ledger.account a ON a.account_id = f.account_id
LEFT JOIN ledger.orders o ON o.account_id = f.account_id AND o.order_id = f.order_id
LEFT JOIN ledger.market m ON m.market_id = f.market_id
LEFT JOIN ledger.outcome c ON c.market_id = f.market_id AND c.outcome = f.outcome;
COMMENT ON VIEW audit.fills IS 'Our part of each trade: provisional, confirmed or failed, with the cash before the fee and the fee.';

CREATE VIEW audit.balances AS
SELECT a.name AS account, b.asset, m.condition_id AS market, m.slug, c.outcome, c.label AS outcome_label,
    b.available AS available_micros, b.locked AS locked_micros, b.available + b.locked AS total_micros
FROM ledger.balance b
JOIN ledger.account a ON a.account_id = b.account_id
LEFT JOIN ledger.outcome c ON c.token_id = b.asset
LEFT JOIN ledger.market m ON m.market_id = c.market_id;
COMMENT ON VIEW audit.balances IS
    'Per account and asset (collateral, or a token id): what is available, what orders of all markets hold, and the sum.';

CREATE VIEW audit.balance_entries AS
SELECT a.name AS account, b.entry_seq, b.at, b.asset, b.cause, b.available_delta AS available_delta_micros,
    b.locked_delta AS locked_delta_micros, b.order_id, b.trade_id, b.entry_key, b.note, b.contra,
    b.contra_delta AS contra_delta_micros, b.fee_delta AS fee_delta_micros, b.value_micros
FROM ledger.balance_entry b JOIN ledger.account a ON a.account_id = b.account_id;
COMMENT ON VIEW audit.balance_entries IS
    'Every movement of a balance with its cause and its other side (contra, fees); the balances are their sums.';

CREATE VIEW audit.halts AS
SELECT 'halt'::text AS kind, h.scope,
    CASE h.scope WHEN 'account' THEN coalesce(a.name, h.scope_id) WHEN 'market' THEN coalesce(m.condition_id, h.scope_id)
                 ELSE h.scope_id END AS subject,
    m.slug, h.cleared_at IS NULL AS standing, h.why, h.halt_id AS version, h.set_by::text AS set_by, h.set_as, h.set_at,
    NULL::timestamptz AS until, h.cleared_by::text AS cleared_by, h.cleared_as, h.cleared_why, h.cleared_at,
    CASE h.scope WHEN 'group' THEN (SELECT count(*) FROM ledger.market g WHERE g.group_key = h.scope_id) END AS group_markets
FROM ledger.halt h
LEFT JOIN ledger.account a ON h.scope = 'account' AND a.account_id::text = h.scope_id
LEFT JOIN ledger.market m ON h.scope = 'market' AND m.market_id::text = h.scope_id
UNION ALL
SELECT 'suspension', 'market', m.condition_id, m.slug, e.suspended_until > ledger.clock(), e.suspended_why, NULL, NULL,
    a.name, NULL, e.suspended_until, NULL, NULL, NULL, NULL, NULL
FROM ledger.exposure e
JOIN ledger.account a ON a.account_id = e.account_id
JOIN ledger.market m ON m.market_id = e.market_id
WHERE e.suspended_until IS NOT NULL;
COMMENT ON VIEW audit.halts IS
    'Halts (a person ends them; version is what resume must name) and suspensions (they end by themselves; set_as is the account). '
    'group_markets: how many known markets a halted group has.';
