"""Comparison of the ledger's view with the venue's: pure; what to do about it is an action in a list."""
