-- purpose: the venue's condition, the requests made of it, and what it says is owned, for people and scripts.
-- locks:   none.
-- index:   venue_mode, pulse and holding_seen by primary key; venue_exchange_by_time.
-- fence:   as the other views: readable by the auditor, who sees nothing under them.

CREATE VIEW audit.venue AS
SELECT a.name AS account, m.mode, m.ended_at IS NULL AND (m.until IS NULL OR m.until > ledger.clock()) AS standing,
    CASE m.mode WHEN 'POST_ONLY' THEN 'orders that are not post-only' ELSE 'placements' END AS gates,
    m.since, m.until, m.seen_at, m.signs, m.detail, m.ended_at
FROM ledger.venue_mode m JOIN ledger.account a USING (account_id)
UNION ALL
SELECT a.name, CASE p.kind WHEN 'heartbeat' THEN 'HEARTBEAT_LOST' ELSE 'BLIND_STREAM' END,
    p.required AND (p.ok_at IS NULL OR p.ok_at <= ledger.clock() - make_interval(secs => p.grace_ms / 1000.0)
        OR p.ok_at > ledger.clock() + interval '1 second'),
    'placements', p.ok_at, NULL, p.ok_at, NULL, coalesce(p.problem, ''), NULL
FROM ledger.pulse p JOIN ledger.account a USING (account_id) WHERE p.required
UNION ALL
-- Of a signer, whose accounts draw from one bucket; by its address where no account is known to sign as it.
SELECT coalesce(a.name, b.signer), 'RATE_LIMITED',
    b.paused_until > ledger.clock() AND b.filled_at <= ledger.clock(),
    CASE b.kind WHEN 'orders' THEN 'placements' ELSE 'cancels, which the venue refuses' END,
    NULL, b.paused_until, b.filled_at, NULL, 'the venue answered 429', NULL
FROM ledger.venue_budget b LEFT JOIN ledger.account a ON lower(a.signer) = b.signer WHERE b.paused_until IS NOT NULL;
COMMENT ON VIEW audit.venue IS
    'Conditions of the venue and of our account there. One that stands gates placements; nothing of ours gates cancels.';

CREATE VIEW audit.exchanges AS
SELECT a.name AS account, x.exchange_id, x.at, x.method, x.path, x.query, x.phase, x.status, x.took_ms, x.problem,
    x.request, x.answer, x.headers, x.incarnation
FROM ledger.venue_exchange x JOIN ledger.account a USING (account_id);
COMMENT ON VIEW audit.exchanges IS
    'Every request to the venue and its raw answer, without authentication headers, for as long as they are kept.';

CREATE VIEW audit.holdings AS
SELECT a.name AS account, h.asset, m.condition_id AS market, m.slug, c.label AS outcome_label,
    h.ours AS ours_micros, h.theirs AS theirs_micros, h.theirs - h.ours AS difference_micros, h.unsettled AS unsettled_micros,
    abs(h.theirs - h.ours) > h.unsettled AS differs, h.seen_at
FROM ledger.holding_seen h JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.outcome c ON c.token_id = h.asset LEFT JOIN ledger.market m ON m.market_id = c.market_id;
COMMENT ON VIEW audit.holdings IS
    'What the venue says an account owns beside our balances, as of the last comparison. A difference is explained up to what '
    'is unsettled.';

CREATE VIEW audit.rewards AS
SELECT a.name AS account, r.reward_key, r.condition_id AS market, r.earned_on, r.amount_micros,
    coalesce(sum(x.amount_micros), 0)::bigint AS allocated_micros,
    coalesce(sum(x.amount_micros), 0) > r.amount_micros AS over_allocated, r.recorded_at
FROM ledger.reward r JOIN ledger.account a USING (account_id)
LEFT JOIN ledger.reward_allocation x USING (account_id, reward_key)
GROUP BY a.name, r.account_id, r.reward_key, r.condition_id, r.earned_on, r.amount_micros, r.recorded_at;
COMMENT ON VIEW audit.rewards IS 'What the venue paid for resting orders, and how much of it was allocated to strategies.';
