"""Polymarket's CLOB V2: an order's amounts, hash, signature, bytes and headers.

Integers only, no network, no SDK. Every part is proved equal to both official Python packages by
the tests.
"""
