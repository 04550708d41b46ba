"""A durable order ledger for trading on Polymarket."""

__version__ = "0.3.0"
