"""Withdrawals: the pure decision of the next step, and who carries a transfer out.

What a step does to the books is decided by the ledger's functions (functions/withdraw.sql and
transfer.sql), one commit each. Here stands which of them comes next, and the border to the outside.
"""
