"""Waiting for a condition with a deadline, the only kind of waiting tests do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_TURN_S = 0.01


def wait_until(condition: Callable[[], T], what: str, *, within_s: float = 60.0) -> T:
    """The first true answer of ``condition``; fails, naming ``what``, if none comes in time."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s} s in vain until {what}")
        pause.wait(_TURN_S)
