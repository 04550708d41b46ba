"""``python -m workers.demo``, the same as ``ledger-worker demo``."""

from __future__ import annotations

import sys

from workers.cli.main import run

sys.exit(run(["demo", *sys.argv[1:]]))
