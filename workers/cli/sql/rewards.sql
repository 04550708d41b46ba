-- purpose: what was paid for resting orders, and how much of it is allocated, newest first.
-- locks:   none.
-- index:   account by name, reward by primary key.
-- fence:   none; it only reads.

SELECT r.account, r.reward_key, r.market, m.slug, r.earned_on, r.amount_micros, r.allocated_micros, r.over_allocated, r.recorded_at
FROM audit.rewards r LEFT JOIN ledger.market m ON m.condition_id = r.market
WHERE r.account = $1 ORDER BY r.earned_on DESC, r.reward_key LIMIT 1000
