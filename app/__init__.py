"""A durable order ledger for trading on Polymarket."""

__version__ = "0.2.0"
