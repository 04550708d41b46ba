-- purpose: equity, losses and the size factor of each account, by the last mark.
-- locks:   none.
-- index:   as audit.losses.
-- fence:   none; it only reads.

SELECT l.account, l.at AS marked_at, l.equity_micros, l.daily_loss_micros, l.rolling_loss_micros, l.size_factor_ppm
FROM audit.losses l
WHERE l.scope = 'account' AND ($1::text IS NULL OR l.account = $1)
ORDER BY l.account
