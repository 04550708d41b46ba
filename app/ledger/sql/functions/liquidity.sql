-- purpose: whether a fill made or took liquidity, and how that is known.
-- locks:   none; the caller holds the lane. A book is what it was.
-- index:   book by primary key.
-- fence:   a function of the order as admitted and of the fill as first booked: any order of arrival gives the same.

CREATE FUNCTION ledger._crosses(r ledger.request, l ledger.limits) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
BEGIN
    -- An empty side cannot be crossed; without a good book nobody knows.
    RETURN CASE WHEN b.market_id IS NULL THEN NULL
        WHEN r.side = 'BUY' THEN coalesce(r.price_micros >= b.asks[1], false)
        ELSE coalesce(r.price_micros <= b.bids[1], false) END;
END $$;
COMMENT ON FUNCTION ledger._crosses(ledger.request, ledger.limits) IS
    'Whether the order would trade at once with the last good book; NULL without one.';

CREATE FUNCTION ledger._classified(INOUT f ledger.fill, o ledger.orders)
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    -- What rests of an order that crossed makes liquidity later. Of its fills those took for certain that got a better price
    -- than the order's own (a maker trades at its own price), and those that not even the venue calls a maker's.
    f.liquidity_source := CASE
        WHEN o.post_only THEN 'post_only'
        WHEN o.order_type IN ('FOK', 'FAK') THEN 'crossing'
        WHEN o.crossed AND (NOT f.is_maker OR CASE o.side WHEN 'BUY' THEN f.price_micros < o.price_micros
                                                          ELSE f.price_micros > o.price_micros END) THEN 'crossing'
        ELSE 'venue_flag' END;
    f.liquidity := CASE WHEN f.liquidity_source = 'post_only' OR f.liquidity_source = 'venue_flag' AND f.is_maker THEN 'maker'
        ELSE 'taker' END;
END $$;
COMMENT ON FUNCTION ledger._classified(ledger.fill, ledger.orders) IS
    'The fill with its liquidity, by the first of these that tells: a post-only order only makes; an order that cannot rest, or '
    'crossed the last good book, takes; the venue''s flag.';
