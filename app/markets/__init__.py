"""Market metadata: what the venue says about a market, and whether that is enough to trade it."""
