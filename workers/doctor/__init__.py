"""Checks before a start, and the live test of what the venue's documents leave open.

Each check is a small function that returns a `Finding`; `examine` runs them in order and leaves out what
cannot be asked because something before it failed.
"""
