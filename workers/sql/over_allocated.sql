-- purpose: rewards of which more was allocated than was paid.
-- locks:   none.
-- index:   reward and reward_allocation by primary key.
-- fence:   none; it only reads.

SELECT r.reward_key, r.allocated_micros, r.amount_micros FROM audit.rewards r
WHERE r.account = $1 AND r.over_allocated ORDER BY r.reward_key
