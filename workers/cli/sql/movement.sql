-- purpose: one movement by its key: what a person booked under it.
-- locks:   none.
-- index:   balance_entry by account and key.
-- fence:   none; it only reads.

SELECT b.asset, b.cause, b.available_delta_micros AS amount_micros, b.value_micros
FROM audit.balance_entries b WHERE b.account = $1 AND b.entry_key = $2
