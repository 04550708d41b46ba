-- purpose: where the drawdown of a scope begins as it is set, for whoever may set it.
-- locks:   none.
-- index:   primary key.
-- fence:   none; it only reads.

SELECT t.drawdown_from_micros FROM audit.total_limits t WHERE t.scope = $1 AND t.subject = coalesce($2::text, '')
