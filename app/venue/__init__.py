"""The border to where orders are executed. The venue knows no ledger; the ledger knows no venue."""
