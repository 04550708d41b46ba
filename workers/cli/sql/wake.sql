-- purpose: wake idle workers after an admission, from the side: never in the transaction that reserves.
-- locks:   the notification queue's, at commit.
-- index:   none.
-- fence:   none; a lost notification costs a worker's poll.

SELECT pg_notify('ledger_outbox', '')
