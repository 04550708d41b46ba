"""A worker process that tests start: the product's own start, and the means to hold it at a point.

``TEST_PAUSE_AT=send.after:2`` stops the process (SIGSTOP) when it reaches that point for the second
time; whoever sends SIGCONT lets it go on, unaware. Death at a point is the product's own
``LEDGER_TEST_STOP_AT``.
"""

from __future__ import annotations

import os
import signal
import sys

from app.config import load_settings
from workers.worker import main, points


def paused_at(wanted: str) -> points.Reached:
    """Stop this process once, when the named point is reached for the given time."""
    name, _, count = wanted.partition(":")
    assert name in points.POINTS, name
    left = [int(count or "1")]

    def pause(point: str) -> None:
        if point == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGSTOP)

    return pause


if __name__ == "__main__":
    if "TEST_PAUSE_AT" in os.environ:
        points.from_environment = lambda: paused_at(os.environ["TEST_PAUSE_AT"])
    sys.exit(main.run(load_settings()))
