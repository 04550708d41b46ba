"""Named points of the send path at which a test may stop the process dead.

``LEDGER_TEST_STOP_AT=open.after:3`` ends the process with SIGKILL when it reaches ``open.after`` for the
third time. Without the variable a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

POINTS: Final = (
    "claim.after",
    "prepare.before",
    "prepare.after",
    "open.before",
    "open.after",
    "send.before",
    "send.after",
    "record.before",
    "record.after",
    "cancel.claim.after",
    "cancel.send.before",
    "cancel.send.after",
    "cancel.record.after",
    "look.before",
    "look.after",
    "evidence.after",
    "event.store.before",
    "event.store.after",
    "event.apply.after",
    "start.sweep.after",
    "start.preflight.after",
    "start.events.after",
    "start.read.after",
    "start.apply.after",
    "start.compare.after",
    "start.ready.before",
)
"""Every place between two durable effects, in the order a worker meets them."""

WITHDRAWAL_STEPS: Final = (
    *("stop", "drain", "prepare", "debit", "open", "send", "record", "look", "note", "lapse"),
    *("compensate", "escalate"),
)
WITHDRAWAL_POINTS: Final = (
    "withdraw.claim.after",
    *(f"withdraw.{step}.{when}" for step in WITHDRAWAL_STEPS for when in ("before", "after")),
)
"""The same of a withdrawal: before and after each commit, and each word with the outside."""

Reached = Callable[[str], None]


def nothing(_point: str) -> None:
    """What a point does outside tests."""


def from_environment() -> Reached:
    """The action of this process: nothing, or death at the point the environment names."""
    wanted = os.environ.get("LEDGER_TEST_STOP_AT")
    if not wanted:
        return nothing
    name, _, count = wanted.partition(":")
    if name not in (*POINTS, *WITHDRAWAL_POINTS):
        raise ValueError(f"LEDGER_TEST_STOP_AT names no point: {name!r}")
    left = [int(count or "1")]

    def stop(point: str) -> None:
        if point == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return stop
