-- $1 account: when it was opened (0 on paper, where there is nobody else) and its oldest unsettled fill, in ms
SELECT CASE a.venue WHEN 'paper' THEN 0 ELSE floor(extract(epoch FROM a.created_at) * 1000)::bigint END AS opened,
    (SELECT floor(extract(epoch FROM min(f.matched_at)) * 1000)::bigint FROM ledger.fill f
     WHERE f.account_id = a.account_id AND f.settlement = 'provisional') AS oldest
FROM ledger.account a WHERE a.name = $1
