"""Order books from the market channel: read strictly, kept as integers, proved by the venue's hash."""
