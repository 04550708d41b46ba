"""Limits, breakers and sizing. In this release caps, bursts and halts are decided in `app/ledger/sql`."""
