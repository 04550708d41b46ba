-- purpose: write the user stream, in the order given.
-- locks:   none beyond the new rows; the caller holds the account rows.
-- index:   event_pkey.
-- fence:   the account rows' locks, taken before a number is drawn.
INSERT INTO paper.event (account, at_ms, payload)
SELECT n.account, n.at_ms, n.payload::json
FROM unnest($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY AS n (account, at_ms, payload, place)
ORDER BY n.place;
