"""A model of the ledger's SQL in memory, for schedules in numbers that a database cannot play."""
