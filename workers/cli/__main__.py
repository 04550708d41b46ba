"""``python -m workers.cli``, the same as ``ledger-worker``."""

from __future__ import annotations

from workers.cli.main import main

main()
