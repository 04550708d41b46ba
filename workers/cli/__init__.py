"""The command line ``ledger-worker``: one small module per subject, joined in `workers.cli.main`.

Heavy imports (settings, driver, Rich) stand inside the functions that need them, since most
commands are typed by hand or called in a loop, and every tenth of a second is felt.
"""
