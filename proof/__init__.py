"""Campaigns that try to break the ledger, and the report of what they tried.

``make prove`` runs them; nothing in ``app`` or ``workers`` imports this package.
"""
